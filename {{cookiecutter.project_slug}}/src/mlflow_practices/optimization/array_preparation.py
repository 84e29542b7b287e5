"""What a fitted pipeline does to its columns, as a few array operations instead of data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from ..model.input_schema import Columns, count_rows


class OptimizationError(PracticeError):
    """There is no optimised copy, or it cannot be loaded."""


@dataclass(frozen=True)
class Numbers:
    """Columns that become numeric features from ``start`` on.

    They are made by ``transform``, if there is one, then imputed and scaled by arrays of shape
    (features,), if there are.
    """

    columns: list[str]
    start: int
    transform: Callable[[list[np.ndarray]], np.ndarray] | None = None
    missing: np.ndarray | None = None
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    def write(self, columns: Columns, features: np.ndarray) -> None:
        """Write into ``features``, of shape (rows, all features), as scikit-learn has them."""
        values = [columns[name] for name in self.columns]
        if self.transform is None:
            own = features[:, self.start : self.start + len(values)]
            for index, column in enumerate(values):
                own[:, index] = column
        else:
            made = np.asarray(self.transform(values))
            own = features[:, self.start : self.start + made.shape[1]]
            own[:] = made
        if self.missing is not None:
            np.copyto(own, self.missing, where=np.isnan(own))
            own -= self.mean
            own /= self.scale


@dataclass(frozen=True)
class OneHot:
    """A column whose value says which feature is 1: that in ``features``, else ``unknown``."""

    column: str
    features: dict[Any, int]  # by value; None is missing
    unknown: int


@dataclass(frozen=True)
class Preparation:
    """The first step of a pipeline, the project's ``features.build``, to the last bit.

    It must be a `ColumnTransformer` of imputed and scaled numbers, of one-hot encoded text, and of
    transformers with a method ``transform_arrays(columns)``, alone or before an imputer and a
    scaler. The method takes a list of arrays of shape (rows,), which it must not change. It returns
    what ``transform`` does, an array of shape (rows, features). Arrays are float64 (NaN is
    missing), datetime64[ns] (NaT is), or objects (None is).
    """

    width: int
    numbers: list[Numbers]
    one_hot: list[OneHot]

    @classmethod
    def from_pipeline(cls, pipeline: Pipeline) -> Self:
        """Read it from a fitted pipeline, or raise `OptimizationError`."""
        prepare = pipeline.steps[0][1]
        if len(pipeline.steps) != 2 or not isinstance(prepare, ColumnTransformer):
            raise OptimizationError("the pipeline is not a ColumnTransformer and an estimator")
        slices = prepare.output_indices_
        found = cls(max((each.stop for each in slices.values()), default=0), [], [])
        for name, transformer, columns in prepare.transformers_:
            if transformer == "drop":
                continue
            names, start, own = list(columns), slices[name].start, None
            steps = [transformer]
            if isinstance(transformer, Pipeline):
                steps = [step for _, step in transformer.steps]
            if hasattr(steps[0], "transform_arrays"):
                own = steps.pop(0).transform_arrays
            match steps:
                case []:
                    found.numbers.append(Numbers(names, start, own))
                case [SimpleImputer() as imputer, StandardScaler() as scaler]:
                    found.numbers.append(_scaled(names, start, own, imputer, scaler))
                case [OneHotEncoder(drop=None) as encoder] if own is None:
                    found.one_hot.extend(_one_hot(names, start, encoder, found.width))
                case _:
                    raise OptimizationError(
                        f"its step {name!r} is of an unknown kind without `transform_arrays`"
                    )
        return found

    def __call__(self, columns: Columns) -> np.ndarray:
        """Return what the estimator takes: float64 of shape (rows, features)."""
        rows = count_rows(columns)
        features = np.zeros((rows, self.width + 1))  # the last is that of unknown categories
        for numbers in self.numbers:
            numbers.write(columns, features)
        if self.one_hot:
            ones = [
                [each.features.get(value, each.unknown) for value in _listed(columns[each.column])]
                for each in self.one_hot
            ]
            features[np.arange(rows), ones] = 1
        return features[:, : self.width]


def drop_unservable_dates(X: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without dates that no request can hold; see `column_rules.DATES`."""
    first, last = DATES
    outside = np.zeros(len(X), dtype=bool)
    for name in X.select_dtypes("datetime"):
        outside |= ((X[name] < first) | (X[name] >= last)).to_numpy()
    return X[~outside]


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
    imputer: SimpleImputer,
    scaler: StandardScaler,
) -> Numbers:
    missing = imputer.statistics_.astype(np.float64)
    is_plain = not imputer.add_indicator and scaler.with_mean and scaler.with_std
    if not is_plain or np.isnan(missing).any() or not pd.isna(imputer.missing_values):
        raise OptimizationError("an imputer or a scaler has options that are not known")
    return Numbers(columns, start, transform, missing, scaler.mean_, scaler.scale_)


def _one_hot(
    columns: list[str], start: int, encoder: OneHotEncoder, unknown: int
) -> Iterator[OneHot]:
    infrequent = getattr(encoder, "infrequent_categories_", [None] * len(columns))
    for name, categories, rare in zip(columns, encoder.categories_, infrequent, strict=True):
        shared = set() if rare is None else {_none_if_missing(value) for value in rare.tolist()}
        values = [_none_if_missing(value) for value in categories.tolist()]
        features = {}
        for value in values:
            if value not in shared:
                features[value] = start
                start += 1
        other = unknown
        if shared:
            features |= dict.fromkeys(shared, start)
            # Those that training did not see are among the rare ones, where there are any.
            if encoder.handle_unknown == "infrequent_if_exist":
                other = start
            start += 1
        yield OneHot(name, features, other)


def _listed(column: np.ndarray) -> list[Any]:
    """Return the values of a column, None for what is missing: NaN where it is of numbers."""
    values: list[Any] = column.tolist()
    if column.dtype.kind == "f":
        for row in np.flatnonzero(np.isnan(column)):
            values[row] = None
    return values


def _none_if_missing(value: Any) -> Any:
    return None if pd.isna(value) else value
