"""What a fitted pipeline does to its columns, as a few array operations instead of data frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ..errors import PracticeError
from ..model.column_rules import DATES
from ..model.input_schema import Columns


class PreparationError(PracticeError):
    """A step of the pipeline has no counterpart here."""


@dataclass(frozen=True)
class Numbers:
    """Columns that become numbers at ``start``, as a transformer's ``transform_arrays`` makes them,
    if there is one; then imputed and scaled by arrays of shape (features,), if there are.
    """

    columns: list[str]
    start: int
    transform: Callable[[list[np.ndarray]], np.ndarray] | None = None
    missing: np.ndarray | None = None
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    def write(self, columns: Columns, made: np.ndarray) -> None:
        """Write features into ``made``, of shape (rows, all features), as scikit-learn has them."""
        values = [columns[name] for name in self.columns]
        if self.transform is None:
            found = made[:, self.start : self.start + len(values)]
            for index, column in enumerate(values):
                found[:, index] = column
        else:
            features = np.asarray(self.transform(values))
            found = made[:, self.start : self.start + features.shape[1]]
            found[:] = features
        if self.missing is not None:
            np.copyto(found, self.missing, where=np.isnan(found))
            found -= self.mean
            found /= self.scale


@dataclass(frozen=True)
class Encoded:
    """A column whose value says which feature is 1: ``places``, else ``other``; None is missing."""

    column: str
    places: dict[Any, int]
    other: int


@dataclass(frozen=True)
class Preparation:
    """The first step of a pipeline, the project's ``features.build``, to the last bit.

    It is known where that is a `ColumnTransformer` of imputed and scaled numbers, of one-hot
    encoded text, and of transformers with a method ``transform_arrays(columns)``: it takes a list
    of arrays of shape (rows,), which it must not change, and returns what ``transform`` does, an
    array of shape (rows, features). Arrays are float64 (NaN is missing), datetime64[ns] (NaT is),
    or objects (None is). Such a transformer may stand alone, or before an imputer and a scaler.
    """

    width: int
    numbers: list[Numbers]
    encoded: list[Encoded]

    @classmethod
    def from_pipeline(cls, pipeline: Pipeline) -> Self:
        """Read it off a fitted pipeline.

        Raises:
            PreparationError: a step has no counterpart here.
        """
        prepare = pipeline.steps[0][1]
        if len(pipeline.steps) != 2 or not isinstance(prepare, ColumnTransformer):
            raise PreparationError("the pipeline is not a ColumnTransformer and an estimator")
        places = prepare.output_indices_
        width = max((place.stop for place in places.values()), default=0)
        numbers: list[Numbers] = []
        encoded: list[Encoded] = []
        for name, step, columns in prepare.transformers_:
            if step == "drop":
                continue
            names, start = list(columns), places[name].start
            match step:
                case Pipeline(steps=[(_, SimpleImputer() as gaps), (_, StandardScaler() as z)]):
                    numbers.append(_scaled(names, start, None, gaps, z))
                case Pipeline(
                    steps=[(_, own), (_, SimpleImputer() as gaps), (_, StandardScaler() as z)]
                ) if hasattr(own, "transform_arrays"):
                    numbers.append(_scaled(names, start, own.transform_arrays, gaps, z))
                case OneHotEncoder(drop=None):
                    encoded += _encoded(names, start, step, width)
                case _ if hasattr(step, "transform_arrays"):
                    numbers.append(Numbers(names, start, step.transform_arrays))
                case _:
                    raise PreparationError(
                        f"its step {name!r} is of no known kind, and has no `transform_arrays`"
                    )
        return cls(width, numbers, encoded)

    def __call__(self, columns: Columns) -> np.ndarray:
        """Return what the estimator takes: float64 of shape (rows, features)."""
        rows = len(next(iter(columns.values())))
        # One more than wanted: there goes what no feature stands for.
        made = np.zeros((rows, self.width + 1))
        for numbers in self.numbers:
            numbers.write(columns, made)
        if self.encoded:
            ones = [
                [step.places.get(value, step.other) for value in _listed(columns[step.column])]
                for step in self.encoded
            ]
            made[np.arange(rows), ones] = 1
        return made[:, : self.width]


def drop_unservable_dates(X: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without dates that no request can hold; see `column_rules.DATES`."""
    first, last = DATES
    outside = [(X[name] < first) | (X[name] >= last) for name in X.select_dtypes("datetime")]
    return X[~np.any(outside, axis=0)] if outside else X


def to_arrays(X: pd.DataFrame) -> Columns:
    """Return a table's columns as arrays of shape (rows,), as an input schema makes them of requests."""
    found: Columns = {}
    for name, values in X.items():
        if pd.api.types.is_datetime64_dtype(values):
            found[str(name)] = values.to_numpy("datetime64[ns]")
        elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            found[str(name)] = values.to_numpy(np.float64, na_value=np.nan)
        else:
            found[str(name)] = values.astype(object).where(values.notna(), None).to_numpy(object)
    return found


def _scaled(
    columns: list[str],
    start: int,
    transform: Callable[[list[np.ndarray]], np.ndarray] | None,
    gaps: SimpleImputer,
    z: StandardScaler,
) -> Numbers:
    missing = gaps.statistics_.astype(np.float64)
    plain = not gaps.add_indicator and z.with_mean and z.with_std
    if not plain or np.isnan(missing).any() or not pd.isna(gaps.missing_values):
        raise PreparationError("an imputer or a scaler has options that are not known")
    return Numbers(columns, start, transform, missing, z.mean_, z.scale_)


def _encoded(columns: list[str], start: int, encoder: OneHotEncoder, width: int) -> list[Encoded]:
    rare = getattr(encoder, "infrequent_categories_", [None] * len(columns))
    found = []
    for name, categories, infrequent in zip(columns, encoder.categories_, rare, strict=True):
        shared = set(_values(infrequent)) if infrequent is not None else set()
        own = [value for value in _values(categories) if value not in shared]
        places = {value: start + index for index, value in enumerate(own)}
        start += len(own)
        other = width
        if shared:
            places.update(dict.fromkeys(shared, start))
            # Those that training did not see are among the rare ones, where there are any.
            other = start if encoder.handle_unknown == "infrequent_if_exist" else width
            start += 1
        found.append(Encoded(name, places, other))
    return found


def _listed(column: np.ndarray) -> list[Any]:
    """Return the values of a column, None for what is missing: NaN where it is of numbers."""
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f":
        for row in np.flatnonzero(np.isnan(column)):
            values[row] = None
    return values


def _values(categories: np.ndarray) -> list[Any]:
    return [None if pd.isna(value) else value for value in categories.tolist()]
