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
from .source import read_raw
from .suites import SUITES, suite_path

if TYPE_CHECKING:
    from ..tracking.session import Session

MAX_COLUMNS = 200  # an expectation costs milliseconds in every run, so other columns get none
MAX_CATEGORIES = 20  # text with more different values is no list of categories
COMMON = 5  # rows; a category in fewer rows suggests that the list is not complete
MIN_UNIQUE = 20  # rows; in fewer, all values may differ by chance
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

    Ranges, widened by a tenth, and lists of categories with rare ones only warn. Of columns that are
    ``personal`` or sensitive by their name, missing values alone are drafted; and no list
    of categories where one looks like personal data.
    """
    text = HEADER.format(rows=len(table))
    if table.shape[1] > MAX_COLUMNS:
        text += f"# Entries for the first {MAX_COLUMNS} of {table.shape[1]} columns: add what matters.\n"
    half = (len(table) + 1) // 2
    text += _as_yaml(
        [
            _entry("expect_table_row_count_to_be_between", min_value=half),
            _entry("expect_table_columns_to_match_set", column_set=list(table.columns)),
        ]
    )
    for name, values in table.iloc[:, :MAX_COLUMNS].items():
        entries = list(_draft_nulls(name, values))
        if name not in personal and not privacy.is_sensitive(name):
            entries.extend(_draft_values(name, values))
        text += _as_yaml(entries)
    return text


def _as_yaml(entries: list[dict[str, Any]]) -> str:
    if not entries:
        return ""
    dumped: str = yaml.safe_dump(
        entries, default_flow_style=None, sort_keys=False, allow_unicode=True, width=100
    )
    return f"\n{dumped}"


def _draft_nulls(name: str, values: pd.Series) -> Iterator[dict[str, Any]]:
    present = values.notna().sum()
    if present == len(values):
        yield _entry("expect_column_values_to_not_be_null", column=name)
    elif mostly := math.floor(95 * present / len(values)) / 100:
        yield _entry("expect_column_values_to_not_be_null", "warning", column=name, mostly=mostly)


def _draft_values(name: str, values: pd.Series) -> Iterator[dict[str, Any]]:
    present = values.dropna()
    if isinstance(values.dtype, pd.CategoricalDtype):
        present = present.astype(values.cat.categories.dtype)
    text = types.infer_dtype(present) in ("string", "boolean")
    if present.empty or not (text or present.dtype.kind in "iufM"):
        return
    if (text or present.dtype.kind in "iu") and len(values) > MIN_UNIQUE and values.is_unique:
        yield _entry("expect_column_values_to_be_unique", column=name)
    elif text:
        counts = present.value_counts()
        words = sorted(counts.index.tolist())
        fixed = len(words) <= MAX_CATEGORIES and len(words) * COMMON <= len(present)
        if fixed and privacy.redact(words) == words:
            severity = "error" if counts.min() >= COMMON else "warning"
            limits = {"column": name, "value_set": words}
            yield _entry("expect_column_values_to_be_in_set", severity, **limits)
    else:
        # At the end of numbers, or of time, there is no room.
        with contextlib.suppress(OverflowError, ValueError, NotImplementedError):
            low, high = _widened(present.min(), present.max())
            limits = {"column": name, "min_value": low, "max_value": high}
            yield _entry("expect_column_values_to_be_between", "warning", **limits)


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


def _entry(kind: str, severity: str = "error", **arguments: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {kind: arguments}
    return entry if severity == "error" else {**entry, "severity": severity}
