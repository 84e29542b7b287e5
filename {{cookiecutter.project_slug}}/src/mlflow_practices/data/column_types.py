"""The types that a model can learn from: text, booleans, numbers and dates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa

from .. import privacy
from ..model.column_rules import ISO_DATE, list_names
from . import DataError

# Values of these types may be mixed in a column of objects.
COMPATIBLE: tuple[tuple[type, ...], ...] = (
    (str,),
    (bytes,),
    (bool, np.bool_),
    (int, float, np.number),
)


def typed(table: pd.DataFrame, drop: Collection[str] = ()) -> pd.DataFrame:
    """Return the table with its columns converted, those in ``drop`` excepted; see `convert`."""
    check_names(table.columns)
    if table.empty:
        raise DataError("has a header and no rows")
    table = table.copy(deep=False)
    for name in [name for name in table.columns if name not in drop]:
        values = convert(table[name])
        if values is None:
            raise DataError(
                f"column {name!r} holds {describe(table[name])}; make it text, numbers or dates"
            )
        if values.dtype.kind == "f" and (infinite := int(np.isinf(values).sum())):
            raise DataError(
                f"column {name!r} holds infinity in {infinite} rows; leave those cells empty"
            )
        if values is not table[name]:
            table[name] = values
    return table


def convert(values: pd.Series) -> pd.Series | None:
    """Return a column as text, booleans, numbers or dates, or None if it is of another type.

    Text becomes dates if all of it is ISO 8601 dates. Calendar dates and times of a zone become
    UTC-naive dates, decimals become floats, and pyarrow's types those of pandas.
    """
    if isinstance(values.dtype, pd.ArrowDtype):
        values = pa.Array.from_pandas(values).to_pandas().set_axis(values.index)
    if isinstance(values.dtype, pd.StringDtype):
        return _dates_in_text(values)
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values.dt.tz_convert(None)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return None if convert(values.cat.categories.to_series()) is None else values
    if values.dtype.kind == "O":
        return _convert_objects(values)
    return values if values.dtype.kind in "biufM" else None


def describe(values: pd.Series) -> str:
    """Return a description of what a column holds."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return describe(values.cat.categories.to_series())
    if values.dtype.kind != "O" or isinstance(values.dtype, pd.ArrowDtype):
        return f"{values.dtype} values"
    kinds = sorted({type(value).__name__ for value in values.dropna()})
    return f"{' and '.join(kinds)} values"


def _convert_objects(values: pd.Series) -> pd.Series | None:
    kinds = {type(value) for value in values.dropna()}
    for compatible in COMPATIBLE:
        if all(issubclass(kind, compatible) for kind in kinds):
            return values
    if kinds == {Decimal}:
        return values.astype(float)
    if all(issubclass(kind, dt.date) for kind in kinds):
        return pd.to_datetime(values, utc=True).dt.tz_convert(None)
    return None


def _dates_in_text(values: pd.Series) -> pd.Series:
    present = values.dropna()
    if len(present) and present.str.fullmatch(ISO_DATE).all():
        dates = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
        if dates.notna().sum() == len(present):  # 2024-13-45 looks like a date and is none
            return dates.dt.tz_localize(None)
    return values


def check_names(columns: pd.Index) -> None:
    """Raise `DataError` unless each column has a good name of its own."""
    if not all(isinstance(name, str) and name.strip() for name in columns):
        raise DataError("a column has no name, or one that is not text; name it")
    if any(privacy.redact_text(name) != name for name in columns):
        raise DataError(
            "a column's name looks like personal data; does the file lack a header line?"
        )
    twice = columns[columns.duplicated()].unique()
    if len(twice):
        raise DataError(f"duplicate column name: {list_names(list(twice))}; rename one of them")
