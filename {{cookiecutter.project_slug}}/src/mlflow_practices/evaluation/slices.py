"""A metric on slices: the rows that share a value of a column, or a range of it."""

from __future__ import annotations

from itertools import pairwise
from numbers import Real

import numpy as np
import pandas as pd

from .. import privacy
from ..config.sections import SliceGate
from .metrics import ScoredRows
from .scores import Scores
from .verdict import Slice

FEW_VALUES = 10  # of numbers or dates; with more, slices are quarters of the rows
MAX_VALUES = 50  # of a column; the rows of rarer values are one slice


def measure_slices(
    gate: SliceGate, X: pd.DataFrame, rows: ScoredRows, scores: Scores
) -> list[Slice]:
    """Return all slices, the worst first; none if the metric is not defined on all rows."""
    if gate.metric is None or gate.metric not in scores.points:
        return []
    found = []
    for column in gate.columns:
        if column in X:
            codes, names = _cut(X[column])
            values = rows.by_slice(gate.metric, codes)
            counts = np.bincount(codes)
            for code in np.flatnonzero(counts):
                count, value = int(counts[code]), float(values[code])
                found.append(Slice(column, names[code], count, value))
    sign = 1 if scores.higher_is_better[gate.metric] else -1
    return sorted(found, key=lambda each: (np.isfinite(each.metric), sign * each.metric))


def format_value(value: object) -> str:
    """Return a value for people: a number with four digits, a date without an empty time."""
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value) + 0  # not -0
        return f"{number:.4g}" if abs(number) < 1000 else f"{number:.7g}"
    return str(value).removesuffix(" 00:00:00")


def _cut(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return the slice of each row, shape (rows,), and the names of the slices."""
    types = pd.api.types
    is_number = types.is_numeric_dtype(column) and not types.is_bool_dtype(column)
    is_ordered = is_number or types.is_datetime64_any_dtype(column)
    if is_ordered and column.nunique() > FEW_VALUES:
        quarters, ends = pd.qcut(column, 4, labels=False, retbins=True, duplicates="drop")
        codes = quarters.fillna(-1).to_numpy(dtype=int)
        names = [f"{format_value(low)} to {format_value(high)}" for low, high in pairwise(ends)]
    else:
        frequent = column.value_counts().index[:MAX_VALUES]
        codes = frequent.get_indexer(column)
        names = [privacy.redact_text(format_value(value)) for value in frequent]
    other, missing = len(names), len(names) + 1
    codes = np.where(codes < 0, other, codes)
    codes = np.where(column.isna(), missing, codes)
    return codes, [*names, "other", "missing"]
