"""Data quality: a reviewed suite of expectations, checked by Great Expectations.

Only its engine is used, on the table in memory: no context, no files, no network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pandas as pd

from .. import privacy
from ..tracking import recording
from . import DataError, located
from .suites import Entry, one_line, read_suite

EXAMPLES = 3  # of values, in a sentence
SHOWN = 200  # characters of an argument or a finding, in a sentence; the JSON holds all
# What is written of an expectation on a personal column: which it is, and counts.
HARMLESS = ("column", "column_A", "column_B", "column_list", "mostly")
COUNTS = ("_count", "_percent", "_percent_total", "_percent_nonmissing")
STYLE = (
    "body{font:16px/1.5 sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "th,td{border-bottom:1px solid #ccc;overflow-wrap:anywhere;padding:.4rem;text-align:left}"
)


@dataclass(frozen=True)
class Quality:
    """The share of expectations met, from 0 to 1, and a line for each unmet warning."""

    score: float
    warnings: list[str]


@dataclass(frozen=True)
class _Outcome:
    expectation: str
    arguments: dict[str, Any]
    severity: str
    met: bool
    expected: str
    found: str
    result: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.expected}; {self.found}"


def validate_data_quality(
    table: pd.DataFrame,
    suite: Path,
    name: str,
    personal: Collection[str] = (),
    place: str = "",
) -> Quality:
    """Check ``table`` against the expectations in the file ``suite`` and log what was found.

    The active run gets the metric ``<name>_quality_score``, the tag ``<name>_quality``, and the
    results as ``quality/<name>.json`` and ``quality/<name>.html``. Values of columns that are
    ``personal``, or sensitive by their name, appear in none of these. ``place`` says in messages
    where the table is from.

    Raises:
        DataError: an expectation of severity ``error`` is not met; or the suite is missing or
            wrong, and then nothing was checked or logged.
    """
    file = "/".join(suite.parts[-3:])  # the same wherever the project is
    with _quietly(), located(file):
        outcomes = _check(table, read_suite(suite), personal)
    unmet = sorted((each for each in outcomes if not each.met), key=lambda each: each.severity)
    counts = Counter(each.severity for each in unmet)
    plural = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items()]
    verdict = ", ".join(plural) or "passed"
    score = (len(outcomes) - len(unmet)) / len(outcomes)
    summary = {
        "table": place or name,
        "rows": len(table),
        "suite": file,
        "verdict": verdict,
        "score": score,
    }
    recording.log_metrics_efficiently({f"{name}_quality_score": score})
    results = [dataclasses.asdict(each) for each in outcomes]
    recording.log_dict({**summary, "expectations": results}, f"quality/{name}.json")
    recording.log_text(_page(summary, outcomes), f"quality/{name}.html")
    recording.set_tags({f"{name}_quality": verdict})
    if counts["error"]:
        lines = [
            f"{place or name} does not meet {file}: {verdict} in {len(outcomes)} expectations",
            *(f"  {each.severity}: {each}" for each in unmet),
            f"  correct the data, or edit {file} if the change is meant",
            "  for data of another kind `quality suggest --force` drafts both suites again",
        ]
        raise DataError("\n".join(lines))
    return Quality(score, [str(each) for each in unmet])


def _check(table: pd.DataFrame, entries: list[Entry], personal: Collection[str]) -> list[_Outcome]:
    # The engine by itself: a context would hash the whole table, twice, only to name it.
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.validator.validator import Validator

    configurations = []
    for number, entry in enumerate(entries):
        if set(entry.columns) <= set(table.columns):
            configuration = entry.expectation.configuration
            configuration.kwargs = _with_times(configuration.kwargs)
            configuration.meta = {"entry": number}  # results come in an order of their own
            configurations.append(configuration)
    engine = PandasExecutionEngine(batch_data_dict={"table": _in_nanoseconds(table)})
    options = {"result_format": "BASIC", "partial_unexpected_count": 20}
    results = Validator(engine).graph_validate(configurations, {"result_format": options})
    # As JSON throughout, without the types of numpy and pandas.
    plain = json.loads(json.dumps([each.to_json_dict() for each in results], default=str))
    by_entry = {each["expectation_config"]["meta"]["entry"]: each for each in plain}
    return [
        _outcome(entry, by_entry.get(number), entry.is_personal(personal), table.columns)
        for number, entry in enumerate(entries)
    ]


def _outcome(
    entry: Entry, validation: dict[str, Any] | None, hidden: bool, columns: Collection[str]
) -> _Outcome:
    def redacted(values: dict[str, Any], is_harmless: Callable[[str], bool]) -> dict[str, Any]:
        return {
            key: privacy.REDACTED if hidden and not is_harmless(key) else privacy.redact(value)
            for key, value in values.items()
        }

    met, result = False, dict[str, Any]()
    if validation is None:
        missing = [repr(name) for name in entry.columns if name not in columns]
        found = f"the table has no column {', '.join(missing)}"
    elif error := _error(validation["exception_info"]):
        found = f"cannot be checked: {privacy.REDACTED if hidden else privacy.redact_text(error)}"
    else:
        met = validation["success"]
        result = redacted(validation["result"], lambda key: key.endswith(COUNTS))
        found = _found(result)
    arguments = redacted(entry.arguments, lambda key: key in HARMLESS)
    expected = _expected(entry, arguments)
    return _Outcome(entry.kind, arguments, entry.severity, met, expected, found, result)


def _expected(entry: Entry, arguments: dict[str, Any]) -> str:
    """Return the text of an expectation, such as "column 'a': expected values to be unique"."""
    subject, _, what = entry.kind.removeprefix("expect_").replace("_", " ").partition(" ")
    if entry.columns:
        what = what if subject == "column" else f"{subject} {what}"
        subject = f"column {', '.join(map(repr, entry.columns))}"
        arguments = {key: arguments[key] for key in arguments if not key.startswith("column")}
    details = ", ".join(f"{key} {_show(value)}" for key, value in arguments.items())
    return f"{subject}: expected {what}" + (f" ({details})" if details else "")


def _found(result: dict[str, Any]) -> str:
    examples = result.get("partial_unexpected_list") or []
    if isinstance(examples, list):  # else redacted
        different = dict.fromkeys(_show(value) for value in examples if value is not None)
        examples = ", ".join(list(different)[:EXAMPLES])
    such_as = f", such as {examples}" if examples else ""
    if "element_count" in result:
        return f"{result['unexpected_count']} of {result['element_count']} rows fail{such_as}"
    observed, details = result.get("observed_value"), result.get("details")
    if isinstance(details, dict):
        observed = details.get("mismatched", observed)
    return f"found {'none' if observed is None else _show(observed)}{such_as}"


def _page(summary: dict[str, Any], outcomes: list[_Outcome]) -> str:
    rows = [
        {"Expectation": o.expected, "Severity": o.severity, "Met": o.met, "Found": o.found}
        for o in outcomes
    ]
    with pd.option_context("display.max_colwidth", None):
        facts = pd.Series(summary).to_frame().to_html(header=False, border=0)
        table = pd.DataFrame(rows).replace({"Met": {True: "yes", False: "NO"}})
        results = table.to_html(index=False, border=0)
    title = f"Data quality: {summary['verdict']}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{facts}{results}</html>\n"
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    # Great Expectations draws progress bars, and warns of its own use of pandas.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _in_nanoseconds(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with dates in the one unit that is compared column by column.

    Others are compared value by value: 4 seconds a million, where this takes milliseconds.
    """
    dates = {}
    for name, values in table.select_dtypes(["datetime", "datetimetz"]).items():
        with contextlib.suppress(pd.errors.OutOfBoundsDatetime):  # after the year 2262
            dates[name] = values.dt.as_unit("ns")
    return table.assign(**dates)


def _with_times(value: Any) -> Any:
    """Return ``value`` with dates as times, for that is what columns hold."""
    if isinstance(value, dict):
        return {key: _with_times(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_times(item) for item in value]
    is_date = isinstance(value, date) and not isinstance(value, datetime)
    return datetime.combine(value, time()) if is_date else value


def _error(info: dict[str, Any]) -> str:
    """Return why an expectation cannot be checked, if so; the engine has two forms for that."""
    infos = [info] if "raised_exception" in info else info.values()
    raised = [one_line(each["exception_message"]) for each in infos if each["raised_exception"]]
    return raised[0] if raised else ""


def _show(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
