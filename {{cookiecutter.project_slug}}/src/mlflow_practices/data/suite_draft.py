"""A first suite of expectations, drafted from a table, for a person to edit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from pandas.api import types

from .. import machine, privacy
from . import DataError
from .cleaning import protect_and_clean
from .quality import SUITES, suite_path
from .source import read_raw

if TYPE_CHECKING:
    from ..tracking.session import Session

WIDE = 200  # columns; an expectation takes milliseconds each time, so others get none
CATEGORIES = 20  # a draft takes text with at most so many values for a fixed vocabulary,
SEEN_OFTEN = 5  # of which values rarer than this suggest that it is not complete;
MANY = 20  # and in fewer rows than this, it may be chance that all values differ
HEADER = """\
# Drafted from {rows} rows: what is true of them, with some room. It is yours to edit.
# Each entry is an expectation and its arguments, see https://greatexpectations.io/expectations;
# `mostly: 0.95` lets 5 % of the rows differ.
# severity: error, the default, stops the pipeline; warning only reports.
"""


def draft_suites(session: Session, force: bool = False) -> list[Path]:
    """Draft the suites that are missing (with ``force``, both) and return their files.

    Raises:
        DataError: both are there, and may have been edited.
    """
    paths = {name: suite_path(session.settings, name) for name in ("raw", "prepared")}
    wanted = [name for name, path in paths.items() if force or not path.exists()]
    if not wanted:
        raise DataError(
            f"{SUITES}: raw.yaml and prepared.yaml exist, and somebody may have edited them; "
            "--force overwrites them"
        )
    raw = read_raw(session)
    drafts = {
        "raw": draft(raw.table, raw.policies),
        "prepared": draft(protect_and_clean(raw, session).table),
    }
    for name in wanted:
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        with machine.replacing(paths[name]) as partial:
            partial.write_text(drafts[name], encoding="utf-8", newline="\n")
    return [paths[name] for name in wanted]


def draft(table: pd.DataFrame, personal: Collection[str] = ()) -> str:
    """Return a suite that ``table`` meets, as YAML for a person to edit.

    Errors are less than half the rows, other columns, missing values where there were none, a
    value twice where all differed, and one outside a vocabulary of which each was seen often.
    Ranges, widened by a tenth, and vocabularies with rare values only warn. Of columns that are
    ``personal`` or sensitive by their name, missing values alone are drafted; and no vocabulary
    where a value looks like personal data. Of a wide table the first 200 columns are looked at.
    """
    drafts = [
        [
            _draft("expect_table_row_count_to_be_between", min_value=(len(table) + 1) // 2),
            _draft("expect_table_columns_to_match_set", column_set=list(table.columns)),
        ]
    ]
    for name, values in table.iloc[:, :WIDE].items():
        drafts.append(list(_draft_nulls(name, values)))
        if name not in personal and not privacy.is_sensitive(name):
            drafts[-1].extend(_draft_values(name, values))
    texts = [
        yaml.dump(each, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
        for each in drafts
        if each
    ]
    header = HEADER.format(rows=len(table))
    if table.shape[1] > WIDE:
        header += f"# Entries for the first {WIDE} of {table.shape[1]} columns: add what matters.\n"
    return "\n".join([header, *texts])


def _draft_nulls(name: str, values: pd.Series) -> Iterator[dict[str, Any]]:
    present = values.notna().sum()
    if present == len(values):
        yield _draft("expect_column_values_to_not_be_null", column=name)
    elif mostly := math.floor(95 * present / len(values)) / 100:
        yield _draft("expect_column_values_to_not_be_null", "warning", column=name, mostly=mostly)


def _draft_values(name: str, values: pd.Series) -> Iterator[dict[str, Any]]:
    present = values.dropna()
    if isinstance(values.dtype, pd.CategoricalDtype):
        present = present.astype(values.cat.categories.dtype)
    text = types.infer_dtype(present) in ("string", "boolean")
    if present.empty or not (text or present.dtype.kind in "iufM"):
        return
    if (text or present.dtype.kind in "iu") and len(values) > MANY and values.is_unique:
        yield _draft("expect_column_values_to_be_unique", column=name)
    elif text:
        counts = present.value_counts()
        words = sorted(counts.index.tolist())
        fixed = len(words) <= CATEGORIES and len(words) * SEEN_OFTEN <= len(present)
        if fixed and privacy.redact(words) == words:
            severity = "error" if counts.min() >= SEEN_OFTEN else "warning"
            limits = {"column": name, "value_set": words}
            yield _draft("expect_column_values_to_be_in_set", severity, **limits)
    else:
        # At the end of numbers, or of time, there is no room.
        with contextlib.suppress(OverflowError, ValueError, NotImplementedError):
            low, high = _widened(present.min(), present.max())
            limits = {"column": name, "min_value": low, "max_value": high}
            yield _draft("expect_column_values_to_be_between", "warning", **limits)


def _widened(low: Any, high: Any) -> list[Any]:
    """Return the range widened by a tenth, to whole days or a round number, and not below 0."""
    if isinstance(low, pd.Timestamp):
        margin = (high - low) / 10
        days = [(low - margin).floor("D"), (high + margin).ceil("D")]
        return [day.to_pydatetime() if low.tz else day.date() for day in days]
    low, high = low.item(), high.item()
    margin = (high - low) / 10 or abs(high) / 10 or 1
    digits = min(-math.floor(math.log10(margin)), 300 if isinstance(low, float) else 0)
    step = 10.0**-digits
    lower = min(low, round(math.floor((low - margin) / step) * step, digits))
    upper = max(high, round(math.ceil((high + margin) / step) * step, digits))
    ends = [max(lower, 0) if low >= 0 else lower, upper]
    return [int(end) if float(end).is_integer() and abs(end) < 1e15 else end for end in ends]


def _draft(kind: str, severity: str = "error", **arguments: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {kind: _OneLine(arguments)}
    return entry if severity == "error" else {**entry, "severity": severity}


class _OneLine(dict[str, Any]):
    """A mapping that is written as {key: value}."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _OneLine,
    lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True),
)
