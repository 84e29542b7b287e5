"""What changed between two versions of a table: schema, rows, columns; no personal values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .. import privacy
from . import DataError

NAMES = 5  # how many categories are named, and with how many characters
LENGTH = 40
MEASURES = {
    **dict.fromkeys("iuf", ("min", "mean", "max")),
    **dict.fromkeys("Mm", ("min", "max")),
}  # by a type's kind; the values of others are counted


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
        if self.gained:
            parts.append(f"gained {_counted(self.gained, self.gained_names)}")
        if self.lost:
            parts.append(f"lost {_counted(self.lost, self.lost_names)}")
        return f"{self.column}: {'; '.join(parts) or 'other values'}"


@dataclass(frozen=True)
class Comparison:
    """How two tables differ; ``changed_rows`` is None without a key that identifies a row.

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


def compare(old: pd.DataFrame, new: pd.DataFrame, key: str | None = None) -> Comparison:
    """Return how ``new`` differs from ``old``; missing values are equal.

    With ``key``, a column that identifies a row, rows and cells are matched by it. Without, equal
    rows are paired in any order (64-bit hashes identify them); the others were added or removed.

    Raises:
        DataError: the key is not in both tables, or has missing or repeated values; or two
            columns have one name.
    """
    for version, table in (("old", old), ("new", new)):
        if not table.columns.is_unique:
            raise DataError(f"the {version} table repeats a column's name; rename one")
        if key is not None:
            _check_key(table, key, version)
    both = [name for name in old if name in new]
    # Equal values have one code, -1 is a missing one; the rows of the new table come after the old.
    factorized = {name: _factorize(old[name], new[name]) for name in both}
    codes = pd.DataFrame({name: found for name, (found, _) in factorized.items()})
    before, after = codes.iloc[: len(old)], codes.iloc[len(old) :]
    cells, changed_rows = pd.Series(dtype=int), None
    if key is None:
        hashes = pd.util.hash_pandas_object(codes, index=False)
        hashes_before, hashes_after = hashes.iloc[: len(old)], hashes.iloc[len(old) :]
        pairs = hashes_before.value_counts().align(hashes_after.value_counts(), join="inner")
        common = int(np.minimum(*pairs).sum())
    else:
        place = pd.Index(after[key]).get_indexer(before[key])
        unequal = before[place >= 0].ne(after.iloc[place[place >= 0]].to_numpy())
        cells, changed_rows = unequal.sum(), int(unequal.any(axis=1).sum())
        common = len(unequal)
    changes = [
        _change(old[name], new[name], before[name], after[name], values, cells.get(name))
        for name, (_, values) in factorized.items()
        if name != key
    ]
    return Comparison(
        rows=(len(old), len(new)),
        key=key,
        added_rows=len(new) - common,
        removed_rows=len(old) - common,
        changed_rows=changed_rows,
        added_columns={str(name): str(new[name].dtype) for name in new if name not in old},
        removed_columns={str(name): str(old[name].dtype) for name in old if name not in new},
        retyped_columns={
            str(name): (str(old[name].dtype), str(new[name].dtype))
            for name in both
            if old[name].dtype != new[name].dtype
        },
        changed_columns=[change for change in changes if change is not None],
    )


def _check_key(table: pd.DataFrame, key: str, version: str) -> None:
    if key not in table:
        raise DataError(f"the {version} table has no column {key!r}; take another key")
    missing = table[key].isna().any()
    if missing or table[key].duplicated().any():
        raise DataError(
            f"column {key!r} of the {version} table has {'missing' if missing else 'repeated'} "
            "values; a key must identify each row: take another column"
        )


def _factorize(old: pd.Series, new: pd.Series) -> tuple[Any, pd.Index]:
    """Return the code of each value, and the values.

    Columns of two types meet in one that holds both: 1 equals 1.0, and "1" if one is text.
    """
    column = pd.concat([old, new], ignore_index=True)
    if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("str")
    codes, values = pd.factorize(column)
    return codes, pd.Index(values)


def _change(
    old: pd.Series,
    new: pd.Series,
    before: pd.Series,
    after: pd.Series,
    values: pd.Index,
    cells: int | None,
) -> ColumnChange | None:
    """Return how a column changed; None if it is the same, or has more or fewer of the same."""
    hidden = privacy.is_sensitive(str(old.name))
    measures = {"missing": (int((before < 0).sum()), int((after < 0).sum()))}
    was, has = before[before >= 0].unique(), after[after >= 0].unique()
    gained = lost = values[:0]
    names = MEASURES.get(old.dtype.kind)
    if names is None or names != MEASURES.get(new.dtype.kind):
        measures["distinct"] = (len(was), len(has))
        gained, lost = values[np.setdiff1d(has, was)], values[np.setdiff1d(was, has)]
    elif not hidden:
        for name in names:
            measures[name] = (_plain(getattr(old, name)()), _plain(getattr(new, name)()))
    moved = any(pair[0] != pair[1] for pair in measures.values()) or len(gained) or len(lost)
    changed = cells or moved
    if not changed and len(old) == len(new):
        changed = not np.array_equal(np.sort(before), np.sort(after))
    if not changed:
        return None
    return ColumnChange(
        str(old.name),
        None if cells is None else int(cells),
        measures,
        len(gained),
        len(lost),
        [] if hidden else [_name(value) for value in gained[:NAMES]],
        [] if hidden else [_name(value) for value in lost[:NAMES]],
    )


def _name(value: Any) -> str:
    text = " ".join(privacy.redact_text(str(value)).split())
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}..."


def _counted(count: int, names: list[str]) -> str:
    if not names:
        return f"{count:,}"
    more = [f"{count - len(names):,} more"] if count > len(names) else []
    return f"{count:,} ({', '.join(names + more)})"


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
