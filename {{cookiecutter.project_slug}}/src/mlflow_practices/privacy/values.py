"""Values of every shape, made safe to write: mappings, sequences, tables."""

from __future__ import annotations

import dataclasses
import numbers
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .names import REDACTED, is_sensitive
from .text import ROUGH, card_number, redact_text

if TYPE_CHECKING:
    import pandas as pd


def redact(value: Any) -> Any:
    """Return a copy of ``value`` that is safe to write, at any depth of mappings and sequences.

    A value under a sensitive key is masked whole, unless it is None or empty text; so is one whose
    key is sensitive together with the one above it (``{"api": {"key": ...}}``). Keys that become
    the same are numbered. Exceptions and paths become text, dataclasses mappings. Numbers stay,
    except those of credit cards.
    """
    return _redact(value, "")


def _redact(value: Any, above: str) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, numbers.Integral):
        return REDACTED if card_number(str(value)) else value
    if isinstance(value, Mapping):
        fields = [_field(str(key), item, above) for key, item in value.items()]
        return dict(zip(_renamed(value), fields, strict=True))
    if isinstance(value, list | tuple | set | frozenset):
        kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
        return kind(_redact(item, above) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _redact({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, above)
    if isinstance(value, BaseException):
        return redact_text(f"{type(value).__name__}: {value}")
    if isinstance(value, bytes | bytearray):
        return redact_text(value.decode(errors="replace"))
    return redact_text(str(value)) if isinstance(value, PurePath) else _redact_array(value, above)


def _field(name: str, value: Any, above: str) -> Any:
    if value is None or (isinstance(value, str) and not value):
        return value
    whole = f"{above}.{name}"  # with the dot, so that a kept name is known
    return REDACTED if is_sensitive(name) or is_sensitive(whole) else _redact(value, name)


def _renamed(labels: Iterable[Any]) -> list[Any]:
    """Redact keys or labels; those that become the same are numbered, so that none is lost."""
    old = list(labels)
    taken, numbers_used, new = set(old), Counter[Any](), []
    for label in old:
        name = masked = redact(label)
        while masked != label and masked in taken:
            numbers_used[name] += 1
            masked = f"{name} ({numbers_used[name] + 1})"
        taken.add(masked)
        new.append(masked)
    return new


def _redact_array(value: Any, above: str) -> Any:
    # What was not imported cannot have made the value.
    if (np := sys.modules.get("numpy")) and isinstance(value, np.ndarray):
        if value.dtype.kind not in "OSTU":
            return value
        cells = np.empty(value.size, dtype=object)
        cells[:] = [_redact(cell, above) for cell in value.ravel().tolist()]
        return cells.astype("O" if value.dtype.kind == "O" else "U").reshape(value.shape)
    if pd := sys.modules.get("pandas"):
        if isinstance(value, pd.DataFrame):
            return redact_table(value)
        if isinstance(value, pd.Series):
            return redact_table(value.to_frame()).iloc[:, 0].rename(redact(value.name))
        if isinstance(value, pd.Index):
            return redact_index(value)
    return value


def redact_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that is safe to write, with the same shape and, where possible, dtypes.

    In columns with a sensitive name, and in columns of credit card numbers, text is masked and
    other values become missing (integers floats). In other columns of text, the patterns are
    masked, and in the index and the labels. Columns that stay as they are share their memory.
    """
    result = table.copy(deep=False)
    for position, (label, column) in enumerate(table.items()):
        personal = is_personal(label, column)
        masked = _blank(column) if personal else mask_patterns(column)[0]
        if masked is not column:
            result.isetitem(position, masked)
    result.index = redact_index(table.index)
    result.columns = redact_labels(table.columns)
    result.attrs = redact(table.attrs)
    return result


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
    if column.dtype == "category" and column.cat.categories.dtype.kind == "O":
        return column.astype(object).where(column.isna(), REDACTED).astype("category")
    if column.dtype == "category" or column.dtype.kind != "O":
        return column.mask(column.notna())
    return column.where(column.isna(), REDACTED)


def mask_patterns(column: pd.Series) -> tuple[pd.Series, int]:
    """Return the column with patterns masked, and in how many rows; the same one if in none."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.dtype == "category":
        known = column.cat.categories.to_series()
        masked, found = mask_patterns(known)
        if not found:
            return column, 0
        new = column.astype(object).map(dict(zip(known, masked, strict=True)))
        return new.astype("category"), int((new != column.astype(object))[column.notna()].sum())
    if column.dtype.kind not in "OSU":
        return column, 0
    if column.dtype == object or not pd.api.types.is_string_dtype(column.dtype):
        cells = [redact(cell) for cell in column]
        found = sum(repr(a) != repr(b) for a, b in zip(cells, column, strict=True))
        new = pd.Series(cells, column.index, object, column.name)
        return (new, found) if found else (column, 0)
    texts = pa.array(column, pa.large_string(), from_pandas=True)
    rough = pc.match_substring_regex(texts, ROUGH)
    rows = np.flatnonzero(np.asarray(rough.fill_null(False)))
    suspects = column.iloc[rows]
    masked = suspects.map({text: redact_text(text) for text in suspects.unique()})
    changed = (masked != suspects).to_numpy()
    if not changed.any():
        return column, 0
    new = column.copy()
    new.iloc[rows[changed]] = masked.to_numpy()[changed]
    return new, int(changed.sum())


def redact_index(index: pd.Index) -> pd.Index:
    """Return the index of rows as `redact_table` would a column."""
    import pandas as pd

    if isinstance(index, pd.MultiIndex):
        levels = [redact_index(index.get_level_values(i)) for i in range(index.nlevels)]
        return pd.MultiIndex.from_arrays(levels, names=_renamed(index.names))
    column = index.to_series()
    masked = _blank(column) if is_personal(index.name, column) else mask_patterns(column)[0]
    return index if masked is column else pd.Index(masked, name=redact(index.name))


def redact_labels(labels: pd.Index) -> pd.Index:
    """Return the labels of columns with patterns masked; the same object if there are none."""
    import pandas as pd

    new, names = _renamed(labels), _renamed(labels.names)
    if new == list(labels) and names == list(labels.names):
        return labels
    if isinstance(labels, pd.MultiIndex):
        return pd.MultiIndex.from_tuples(new, names=names)
    return pd.Index(new, name=names[0])
