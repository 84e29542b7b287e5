"""What changed between two versions of a table: schema, rows, columns; no personal values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from .. import privacy
from . import DataError

NAMES = 5  # how many categories are named, and with how many characters
LENGTH = 40
VERSIONS = ("old", "new")
KINDS = {**dict.fromkeys("iuf", "number"), **dict.fromkeys("Mm", "date")}  # others are categories
MEASURES = {"number": ("min", "mean", "max"), "date": ("min", "max")}


@dataclass(frozen=True)
class ColumnChange:
    """A column of both tables whose values differ; the pairs are before and after.

    ``cells`` counts what differs in rows that the key found in both tables, None without a key.
    ``measures`` holds ``missing``; of numbers ``min``, ``mean`` and ``max``, of dates ``min`` and
    ``max``, of everything else ``distinct``, with the values ``gained`` and ``lost``.
    """

    column: str
    cells: int | None
    measures: dict[str, tuple[Any, Any]]
    gained: int
    lost: int
    gained_names: list[str]
    lost_names: list[str]

    def __str__(self) -> str:
        """Return one line for people."""
        parts = [] if self.cells is None else [f"changed cells {self.cells:,}"]
        for name, (before, after) in self.measures.items():
            if _shown(before) != _shown(after):
                parts.append(f"{name} {_shown(before)} -> {_shown(after)}")
        parts += _listed("gained", self.gained, self.gained_names)
        parts += _listed("lost", self.lost, self.lost_names)
        return f"{self.column}: {'; '.join(parts) or 'other values'}"


@dataclass(frozen=True)
class Comparison:
    """How two tables differ; ``changed_rows`` is None without a key that says which row is which.

    Rows are compared in the columns that both tables have; only columns that changed are listed.
    """

    rows: tuple[int, int]
    key: str | None
    added_rows: int
    removed_rows: int
    changed_rows: int | None
    added_columns: dict[str, str]
    removed_columns: dict[str, str]
    retyped_columns: dict[str, tuple[str, str]]
    changed_columns: list[ColumnChange]

    def lines(self) -> list[str]:
        """Return the differences for people: schema, rows, then a line a column."""
        rows = f"{self.added_rows:,} added, {self.removed_rows:,} removed"
        if self.changed_rows is not None:
            rows += f", {self.changed_rows:,} changed"
        retyped = self.retyped_columns.items()
        return [
            *(f"column added: {name} ({kind})" for name, kind in self.added_columns.items()),
            *(f"column removed: {name} ({kind})" for name, kind in self.removed_columns.items()),
            *(f"column retyped: {name} ({old} -> {new})" for name, (old, new) in retyped),
            f"rows: {self.rows[0]:,} -> {self.rows[1]:,} ({rows})",
            *map(str, self.changed_columns),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return asdict(self)


def compare(old: pd.DataFrame, new: pd.DataFrame, key: str | None = None) -> Comparison:
    """Return how ``new`` differs from ``old``; missing values are equal.

    With ``key``, a column that identifies a row, rows and cells are matched by it. Without, equal
    rows cancel out in whatever order they stand (64-bit hashes tell them apart), and those that
    are left were added or removed.

    Raises:
        DataError: the key is not in both tables, or has missing or repeated values; or two
            columns have one name.
    """
    for table, version in zip((old, new), VERSIONS, strict=True):
        if not table.columns.is_unique:
            raise DataError(f"the {version} table repeats a column's name; rename one")
        if key is not None and key not in table:
            raise DataError(f"the {version} table has no column {key!r}; take another key")
    both = [column for column in old if column in new]
    matched = None if key is None else _match(old[key], new[key])
    row_hashes = np.zeros(len(old) + len(new), dtype=np.uint64)
    differs = np.zeros(0 if matched is None else len(matched[0]), dtype=bool)
    changes = []
    for column in both:
        if column == key:
            continue
        codes, values = _codes(old[column], new[column])
        cells = None
        if matched is None:
            row_hashes = row_hashes * np.uint64(31) + pd.util.hash_array(codes)
        else:
            unequal = codes[matched[0]] != codes[len(old) + matched[1]]
            differs |= unequal
            cells = int(unequal.sum())
        changes.append(_change(old[column], new[column], codes, values, cells))
    if matched is None:
        before, after = _counts(pd.factorize(row_hashes)[0], len(old))
        common = int(np.minimum(before, after).sum())
    else:
        common = len(matched[0])
    return Comparison(
        rows=(len(old), len(new)),
        key=key,
        added_rows=len(new) - common,
        removed_rows=len(old) - common,
        changed_rows=None if matched is None else int(differs.sum()),
        added_columns={str(name): str(new[name].dtype) for name in new if name not in old},
        removed_columns={str(name): str(old[name].dtype) for name in old if name not in new},
        retyped_columns={
            str(name): (str(old[name].dtype), str(new[name].dtype))
            for name in both
            if old[name].dtype != new[name].dtype
        },
        changed_columns=[change for change in changes if change is not None],
    )


def _codes(old: pd.Series, new: pd.Series) -> tuple[Any, pd.Index]:
    """Return one integer a value, -1 if missing, the new table's after the old; and the values.

    Columns of two types meet in one that holds both: 1 equals 1.0, and "1" if one is text.
    """
    column = pd.concat([old, new], ignore_index=True)
    if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("str")
    codes, values = pd.factorize(column)
    return codes, pd.Index(values)


def _counts(codes: Any, split: int) -> tuple[Any, Any]:
    """Return how often each code occurs before and after ``split``, the missing values first."""
    size = codes.max(initial=-1) + 2
    before, after = codes[:split], codes[split:]
    return np.bincount(before + 1, minlength=size), np.bincount(after + 1, minlength=size)


def _match(old: pd.Series, new: pd.Series) -> tuple[Any, Any]:
    """Return the positions in both tables of each row whose key is in both."""
    codes, values = _codes(old, new)
    for counts, version in zip(_counts(codes, len(old)), VERSIONS, strict=True):
        if counts[0] or counts.max(initial=0) > 1:
            problem = "missing" if counts[0] else "repeated"
            raise DataError(
                f"column {old.name!r} of the {version} table has {problem} values; "
                "a key must identify each row: take another column"
            )
    position_in_new = np.full(len(values), -1)
    position_in_new[codes[len(old) :]] = np.arange(len(new))
    found = position_in_new[codes[: len(old)]]
    return np.flatnonzero(found >= 0), found[found >= 0]


def _change(
    old: pd.Series, new: pd.Series, codes: Any, values: pd.Index, cells: int | None
) -> ColumnChange | None:
    """Return what to say of a column; None if it is the same, or has more or fewer of the same."""
    before, after = _counts(codes, len(old))
    if not cells and np.array_equal(before, after):
        return None
    hidden = privacy.is_sensitive(str(old.name))
    measures = {"missing": (int(before[0]), int(after[0]))}
    gained = lost = values[:0]
    if _kind(old) != _kind(new) or _kind(old) == "category":
        was, has = before[1:] > 0, after[1:] > 0
        measures["distinct"] = (int(was.sum()), int(has.sum()))
        gained, lost = values[has & ~was], values[was & ~has]
    elif not hidden:
        for name in MEASURES[_kind(old)]:
            measures[name] = (_plain(getattr(old, name)()), _plain(getattr(new, name)()))
    moved = any(pair[0] != pair[1] for pair in measures.values()) or len(gained) or len(lost)
    if not (cells or moved or len(old) == len(new)):
        return None
    return ColumnChange(
        str(old.name),
        cells,
        measures,
        len(gained),
        len(lost),
        [] if hidden else [_name(value) for value in gained[:NAMES]],
        [] if hidden else [_name(value) for value in lost[:NAMES]],
    )


def _kind(column: pd.Series) -> str:
    return KINDS.get(column.dtype.kind, "category")


def _name(value: Any) -> str:
    text = " ".join(privacy.redact_text(str(value)).split())
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}..."


def _listed(verb: str, count: int, names: list[str]) -> list[str]:
    if not count:
        return []
    more = [f"{count - len(names):,} more"] if count > len(names) else []
    return [f"{verb} {count:,} ({', '.join(names + more)})" if names else f"{verb} {count:,}"]


def _plain(value: Any) -> Any:
    """Return a measure as JSON has it."""
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp | pd.Timedelta):
        return str(value)
    return (value.item() if isinstance(value, np.generic) else value) + 0  # -0.0 is 0.0


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
