"""Data quality: a reviewed suite of expectations, checked by Great Expectations.

Only its engine is used, on the table in memory: no context, no files, no network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import html
import io
import json
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from .. import privacy
from ..tracking import recording
from . import DataError

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

SEVERITIES = {"error": "critical", "warning": "warning"}  # ours, and Great Expectations'
EXAMPLES = 3  # of values, in a sentence
SHOWN = 200  # characters of an argument or a finding, in a sentence; the JSON holds all
# What is written of an expectation on a personal column: which it is, and counts.
_HARMLESS = ("column", "column_A", "column_B", "column_list", "mostly")
_COUNTS = ("_count", "_percent", "_percent_total", "_percent_nonmissing")
_STYLE = """\
body{font:16px/1.5 sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
th,td{border-bottom:1px solid #ccc;overflow-wrap:anywhere;padding:.4rem;vertical-align:top}
"""


@dataclass(frozen=True)
class Quality:
    """The share of expectations met, from 0 to 1, and each unmet warning in words."""

    score: float
    warnings: list[str]


@dataclass(frozen=True)
class _Entry:
    kind: str
    arguments: dict[str, Any]
    severity: str
    expectation: Expectation

    @property
    def columns(self) -> list[str]:
        if self.kind.startswith("expect_table_"):  # its column_list is what should exist
            return []
        single = [self.arguments.get(key) for key in ("column", "column_A", "column_B")]
        return [name for name in single if name] + list(self.arguments.get("column_list", []))

    def is_personal(self, personal: Collection[str]) -> bool:
        condition = str(self.arguments.get("row_condition", ""))
        named = [*self.columns, *(name for name in personal if name in condition)]
        return any(name in personal or privacy.is_sensitive(name) for name in [*named, condition])


@dataclass(frozen=True)
class _Outcome:
    expectation: str
    arguments: dict[str, Any]
    severity: str
    met: bool
    expected: str
    found: str
    result: dict[str, Any]

    @property
    def words(self) -> str:
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
    with _quietly():
        outcomes = _check(table, _read(suite), personal)
    unmet = {
        severity: [each.words for each in outcomes if not each.met and each.severity == severity]
        for severity in SEVERITIES
    }
    counts = [
        f"{len(found)} {severity}{'s' * (len(found) > 1)}"
        for severity, found in unmet.items()
        if found
    ]
    verdict = ", ".join(counts) or "passed"
    quality = Quality(sum(each.met for each in outcomes) / len(outcomes), unmet["warning"])
    summary = {
        "table": place or name,
        "rows": len(table),
        "suite": _shown(suite),
        "verdict": verdict,
        "score": quality.score,
    }
    recording.log_metrics_efficiently({f"{name}_quality_score": quality.score})
    results = [dataclasses.asdict(each) for each in outcomes]
    recording.log_dict({**summary, "expectations": results}, f"quality/{name}.json")
    recording.log_text(_page(summary, outcomes), f"quality/{name}.html")
    recording.set_tags({f"{name}_quality": verdict})
    if unmet["error"]:
        file = summary["suite"]
        lines = [
            f"{place or name} does not meet {file}: {verdict} in {len(outcomes)} expectations",
            *(f"  {severity}: {words}" for severity, found in unmet.items() for words in found),
            f"  mend the data, or edit {file} if the change is meant",
            "  for data of another kind `quality suggest --force` drafts both suites anew",
        ]
        raise DataError("\n".join(lines))
    return quality


def _shown(suite: Path) -> str:
    """Return the part of a path that is the same wherever the project stands."""
    return "/".join(suite.parts[-3:])


def _read(path: Path) -> list[_Entry]:
    place = _shown(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{place}: no such file; draft one with `quality suggest`, then edit it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter for a date such as 2024-13-45
        raise DataError(f"{place}: not valid YAML: {_one_line(error)}") from None
    if not isinstance(values, list) or not values:
        raise DataError(
            f"{place}: must be a list of expectations, at least one; `quality suggest` drafts one"
        )
    return [_entry(f"{place}: entry {number}", value) for number, value in enumerate(values, 1)]


def _entry(place: str, value: object) -> _Entry:
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations import registry
    from great_expectations.expectations.expectation import BatchExpectation

    kinds = [key for key in value if key != "severity"] if isinstance(value, dict) else []
    if not isinstance(value, dict) or len(kinds) != 1:
        raise DataError(
            f"{place}: must be one expectation and its arguments, and perhaps a severity, such as "
            "`expect_column_values_to_be_unique: {column: id}`"
        )
    kind, severity = str(kinds[0]), value.get("severity", "error")
    known = registry.list_registered_expectation_implementations()
    if kind not in known:
        raise DataError(f"{place}: there is no expectation {kind!r}{_near(kind, known)}")
    place = f"{place}, {kind}"
    if severity not in list(SEVERITIES):
        raise DataError(f"{place}: severity must be error or warning, not {severity!r}")
    implementation = registry.get_expectation_impl(kind)
    allowed = sorted(set(implementation.__fields__) - set(BatchExpectation.__fields__))
    takes = f"it takes {', '.join(allowed)}"
    arguments = value[kinds[0]] or {}
    if not isinstance(arguments, dict):
        raise DataError(f"{place}: its arguments must be a mapping; {takes}")
    for key in map(str, arguments):
        if key not in allowed:
            raise DataError(f"{place}: no argument {key!r}{_near(key, allowed)}; {takes}")
    try:
        expectation = implementation(**{**arguments, "severity": SEVERITIES[severity]})
    except (ValueError, TypeError, GreatExpectationsError) as error:
        raise DataError(f"{place}: {privacy.redact_text(_mistakes(error))}; {takes}") from None
    return _Entry(kind, arguments, severity, expectation)


def _check(table: pd.DataFrame, entries: list[_Entry], personal: Collection[str]) -> list[_Outcome]:
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
    entry: _Entry, validation: dict[str, Any] | None, hidden: bool, columns: Collection[str]
) -> _Outcome:
    arguments = {
        key: privacy.REDACTED if hidden and key not in _HARMLESS else privacy.redact(value)
        for key, value in entry.arguments.items()
    }
    met, result = False, dict[str, Any]()
    if validation is None:
        missing = [repr(name) for name in entry.columns if name not in columns]
        found = f"the table has no column {', '.join(missing)}"
    elif error := _error(validation["exception_info"]):
        found = f"cannot be checked: {privacy.REDACTED if hidden else privacy.redact_text(error)}"
    else:
        met = validation["success"]
        result = {
            key: privacy.REDACTED if hidden and not key.endswith(_COUNTS) else privacy.redact(value)
            for key, value in validation["result"].items()
        }
        found = _found(result)
    expected = _expected(entry, arguments)
    return _Outcome(entry.kind, arguments, entry.severity, met, expected, found, result)


def _expected(entry: _Entry, arguments: dict[str, Any]) -> str:
    subject, _, what = entry.kind.removeprefix("expect_").replace("_", " ").partition(" ")
    if entry.columns:
        what = what if subject == "column" else f"{subject} {what}"
        subject = f"column {', '.join(map(repr, entry.columns))}"
    details = [
        f"{key} {_show(value)}"
        for key, value in arguments.items()
        if not (entry.columns and key.startswith("column"))
    ]
    return f"{subject}: expected {what}" + (f" ({', '.join(details)})" if details else "")


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
        {
            "Expectation": each.expected,
            "Severity": each.severity,
            "Met": "yes" if each.met else "NO",
            "Found": each.found,
        }
        for each in outcomes
    ]
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(rows).to_html(index=False, border=0, justify="left")
    facts = "".join(f"<li>{key}: {html.escape(str(value))}</li>" for key, value in summary.items())
    title = f"Data quality: {summary['verdict']}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1><ul>{facts}</ul>{table}</html>\n"
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
    """Return why an expectation cannot be checked, if so; the engine has two ways to tell."""
    infos = [info] if "raised_exception" in info else info.values()
    raised = [_one_line(each["exception_message"]) for each in infos if each["raised_exception"]]
    return raised[0] if raised else ""


def _mistakes(error: Exception) -> str:
    """Return what pydantic found, the first of each argument; of others the message."""
    if not hasattr(error, "errors"):
        return _one_line(error)
    found: dict[str, str] = {}
    for mistake in error.errors():
        found.setdefault(str(mistake["loc"][0]), mistake["msg"])
    return "; ".join(f"{where}: {what}".removeprefix("__root__: ") for where, what in found.items())


def _near(word: str, known: list[str]) -> str:
    matches = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _show(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
