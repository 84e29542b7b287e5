"""Values of every shape, made safe to write: mappings, sequences, arrays, tables."""

from __future__ import annotations

import dataclasses
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .field_names import REDACTED, is_sensitive
from .patterns import card_number
from .text import ROUGH, redact_text

if TYPE_CHECKING:
    import pandas as pd

Change = Callable[[Any, "pd.Series"], "pd.Series | None"]


def redact(value: Any, parent: str = "") -> Any:
    """Return a copy of ``value`` that is safe to write, at any depth of mappings and sequences.

    A value under a sensitive key is masked whole, unless it is None or empty text; so is one whose
    key is sensitive together with its parent's (``{"api": {"key": ...}}``). Keys that become equal
    are numbered. Exceptions and paths become text, dataclasses mappings. Numbers stay, except those
    of credit cards.

    Args:
        value: anything.
        parent: the key that ``value`` is found under.
    """
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, numbers.Integral):
        return REDACTED if card_number(str(value)) else value
    if isinstance(value, Mapping):
        items = [_redact_item(str(key), item, parent) for key, item in value.items()]
        return dict(zip(_redact_labels(value), items, strict=True))
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return kind(redact(item, parent) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return redact({name: getattr(value, name) for name in names}, parent)
    if isinstance(value, BaseException):
        return redact_text(f"{type(value).__name__}: {value}")
    if isinstance(value, bytes | bytearray):
        return redact_text(value.decode(errors="replace"))
    if isinstance(value, PurePath):
        return redact_text(str(value))
    return _redact_array(value, parent)


def _redact_item(name: str, value: Any, parent: str) -> Any:
    if value is None or (isinstance(value, str) and not value):
        return value
    full_name = f"{parent}.{name}"  # with the dot, so that a kept name is known
    return REDACTED if is_sensitive(name) or is_sensitive(full_name) else redact(value, name)


def _redact_labels(labels: Iterable[Any]) -> list[Any]:
    """Redact keys or labels; those that become equal are numbered, so that none is lost."""
    old = list(labels)
    taken, new = set(old), []
    for label in old:
        first = masked = redact(label)
        number = 1
        while masked != label and masked in taken:
            number += 1
            masked = f"{first} ({number})"
        taken.add(masked)
        new.append(masked)
    return new


def _redact_array(value: Any, parent: str) -> Any:
    # If numpy or pandas was not imported, the value is not theirs.
    if (np := sys.modules.get("numpy")) and isinstance(value, np.ndarray):
        if value.dtype.kind not in "OSTU":
            return value
        cells = np.frompyfunc(lambda cell: redact(cell, parent), 1, 1)(value.astype(object))
        return np.asarray(cells, object if value.dtype.kind == "O" else str)
    if pd := sys.modules.get("pandas"):
        if isinstance(value, pd.DataFrame):
            return redact_table(value)
        if isinstance(value, pd.Series):
            return redact_table(value.to_frame()).iloc[:, 0].rename(redact(value.name))
        if isinstance(value, pd.Index):
            return _redact_index(value)
    return value


def redact_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that is safe to write, with the same shape and, where possible, dtypes.

    In columns with a sensitive name, and in columns of credit card numbers, text is masked and
    other values become missing (integers floats). In other columns of text, the patterns are
    masked, and in the index and the labels. Columns that do not change share their memory.
    """
    return rewrite_table(table, _redact_column)


def rewrite_table(table: pd.DataFrame, change: Change) -> pd.DataFrame:
    """Return a table of changed columns, with its index, labels and attributes redacted.

    Args:
        table: is not changed.
        change: takes a label and its column, returns the new column, or None to leave it out.
    """
    import pandas as pd

    result, kept = table.copy(deep=False), []
    for position, (label, column) in enumerate(table.items()):
        new = change(label, column)
        if new is not None:
            kept.append(position)
            if new is not column:
                result.isetitem(position, new)
    if len(kept) < len(table.columns):
        result = result.iloc[:, kept]
    result.index = _redact_index(result.index)
    labels, names = _redact_labels(result.columns), _redact_labels(result.columns.names)
    if labels != list(result.columns) or names != list(result.columns.names):
        result.columns = pd.Index(labels).set_names(names)
    result.attrs = redact(table.attrs)
    return result


def _redact_index(index: pd.Index) -> pd.Index:
    import pandas as pd

    if isinstance(index, pd.MultiIndex):
        levels = [_redact_index(index.get_level_values(i)) for i in range(index.nlevels)]
        return pd.MultiIndex.from_arrays(levels, names=_redact_labels(index.names))
    column = index.to_series()
    masked = _redact_column(index.name, column)
    return index if masked is column else pd.Index(masked, name=redact(index.name))


def _redact_column(label: Any, column: pd.Series) -> pd.Series:
    return _blank(column) if is_personal(label, column) else mask_patterns(column)[0]


def is_personal(label: Any, column: pd.Series) -> bool:
    """Return whether a column's name, or any part of it, is sensitive, or it holds card numbers."""
    parts = label if isinstance(label, tuple) else (label,)
    return any(is_sensitive(str(part)) for part in parts) or holds_cards(column)


def holds_cards(column: pd.Series) -> bool:
    """Return whether all of the first hundred numbers are those of credit cards."""
    if column.dtype.kind not in "iuf":
        return False
    sample = column.dropna().head(100).tolist()
    return bool(sample) and all(float(n).is_integer() and card_number(str(int(n))) for n in sample)


def _blank(column: pd.Series) -> pd.Series:
    """Mask all text; other values become missing."""
    if column.dtype == "bool":
        column = column.astype("boolean")  # the dtype with missing values
    is_category = column.dtype == "category"
    if is_category and column.cat.categories.dtype.kind == "O":
        return column.astype(object).where(column.isna(), REDACTED).astype("category")
    if is_category or column.dtype.kind != "O":
        return column.mask(column.notna())
    return column.where(column.isna(), REDACTED)


def mask_patterns(column: pd.Series) -> tuple[pd.Series, int]:
    """Return the column with patterns masked, and in how many rows; the same one if in none."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.dtype == "category":
        categories = column.cat.categories.to_series()
        masked, found = mask_patterns(categories)
        if not found:
            return column, 0
        plain = column.astype(object)
        new = plain.map(dict(zip(categories, masked, strict=True)))
        return new.astype("category"), int((new != plain)[column.notna()].sum())
    if column.dtype.kind not in "OSU":
        return column, 0
    if column.dtype == object or not pd.api.types.is_string_dtype(column.dtype):
        cells = [redact(cell) for cell in column]
        found = sum(repr(new) != repr(old) for new, old in zip(cells, column, strict=True))
        if not found:
            return column, 0
        return pd.Series(cells, column.index, object, column.name), found
    texts = pa.array(column, pa.large_string(), from_pandas=True)
    rows = np.flatnonzero(pc.match_substring_regex(texts, ROUGH).fill_null(False))
    suspects = column.iloc[rows]
    masked = suspects.map({text: redact_text(text) for text in suspects.unique()})
    changed = (masked != suspects).to_numpy()
    if not changed.any():
        return column, 0
    new = column.copy()
    new.iloc[rows[changed]] = masked.to_numpy()[changed]
    return new, int(changed.sum())
