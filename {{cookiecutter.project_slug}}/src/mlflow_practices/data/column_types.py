"""Columns of the types that a model can learn from: text, booleans, numbers and dates."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa

from ..model.column_rules import ISO_DATE

# What may stand together in a column of objects, and stays as it is.
_ALIKE: tuple[tuple[type, ...], ...] = ((str,), (bytes,), (bool, np.bool_), (int, float, np.number))


def convert(values: pd.Series) -> pd.Series | None:
    """Return a column as text, booleans, numbers or dates, or None if it is of another type.

    Text that is ISO 8601 dates (or times) throughout, calendar dates and times of a zone become
    UTC-naive dates; decimals become floats, and pyarrow's types those of pandas.
    """
    if isinstance(values.dtype, pd.ArrowDtype):
        values = pa.Array.from_pandas(values).to_pandas().set_axis(values.index)
    kind = values.dtype.kind
    if isinstance(values.dtype, pd.StringDtype):
        return _dates_in(values)
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert(None)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return None if convert(values.cat.categories.to_series()) is None else values
    if kind == "O":
        return _of_objects(values)
    return values if kind in "biufM" else None


def describe(values: pd.Series) -> str:
    """Return what a column holds, in words."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return describe(values.cat.categories.to_series())
    if values.dtype.kind != "O" or isinstance(values.dtype, pd.ArrowDtype):
        return f"{values.dtype} values"
    kinds = sorted({type(value).__name__ for value in values.dropna()})
    return f"{' and '.join(kinds)} values"


def _of_objects(values: pd.Series) -> pd.Series | None:
    present = values.dropna()
    kinds = set(map(type, present))
    if any(all(issubclass(kind, alike) for kind in kinds) for alike in _ALIKE):
        return values
    if kinds == {Decimal}:
        return values.astype(float)
    if all(issubclass(kind, dt.date) for kind in kinds):
        return pd.to_datetime(values, utc=True).dt.tz_convert(None)
    return None


def _dates_in(values: pd.Series) -> pd.Series:
    present = values.dropna()
    if len(present) and present.str.fullmatch(ISO_DATE).all():
        parsed = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
        if parsed.notna().sum() == len(present):  # 2024-13-45 looks like a date and is none
            return parsed.dt.tz_localize(None)
    return values
