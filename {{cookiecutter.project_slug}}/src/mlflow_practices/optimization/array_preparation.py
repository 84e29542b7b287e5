"""What a fitted pipeline does to its columns, as a few array operations instead of data frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ..estimators import DateParts
from .contract import Columns

PARTS = 4  # of a date, as `DateParts` takes it apart


class PreparationError(Exception):
    """A step of the pipeline has no counterpart here."""


@dataclass(frozen=True)
class Scaled:
    """Columns to impute and to scale; the last three have the shape (features,)."""

    columns: list[str]
    start: int
    missing: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def fill(self, found: np.ndarray) -> None:
        """Finish numbers of shape (rows, features) in place, NaN for missing, as scikit-learn."""
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
    """The ``prepare`` step of a pipeline of `estimators.build`, to the last bit."""

    width: int
    numbers: Scaled | None
    dates: Scaled | None
    encoded: list[Encoded]

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """Read it off a fitted pipeline.

        Raises:
            PreparationError: a step is not one that `estimators.build` makes.
        """
        prepare = pipeline.steps[0][1]
        if len(pipeline.steps) != 2 or not isinstance(prepare, ColumnTransformer):
            raise PreparationError("the pipeline is not a ColumnTransformer and an estimator")
        places = prepare.output_indices_
        width = max((place.stop for place in places.values()), default=0)
        scaled: dict[str, Scaled] = {}
        encoded: list[Encoded] = []
        for name, step, columns in prepare.transformers_:
            first = places[name].start if name in places else 0
            match step:
                case Pipeline(steps=[(_, SimpleImputer() as gaps), (_, StandardScaler() as z)]):
                    scaled["numbers"] = _scaled(list(columns), first, gaps, z)
                case Pipeline(
                    steps=[
                        (_, DateParts()),
                        (_, SimpleImputer() as gaps),
                        (_, StandardScaler() as z),
                    ]
                ):
                    scaled["dates"] = _scaled(list(columns), first, gaps, z)
                case OneHotEncoder(drop=None):
                    encoded += _encoded(list(columns), first, step, width)
                case "drop":
                    pass
                case _:
                    raise PreparationError(f"its step {name!r} is none of `estimators.build`")
        return cls(width, scaled.get("numbers"), scaled.get("dates"), encoded)

    def __call__(self, columns: Columns) -> np.ndarray:
        """Return what the estimator takes: float64 of shape (rows, features)."""
        rows = len(next(iter(columns.values())))
        # One more than wanted: there goes what no feature stands for.
        made = np.zeros((rows, self.width + 1))
        if numbers := self.numbers:
            found = made[:, numbers.start : numbers.start + len(numbers.columns)]
            for index, name in enumerate(numbers.columns):
                found[:, index] = columns[name]
            numbers.fill(found)
        if dates := self.dates:
            found = made[:, dates.start : dates.start + PARTS * len(dates.columns)]
            for index, name in enumerate(dates.columns):
                _take_apart(columns[name], found[:, PARTS * index : PARTS * (index + 1)])
            dates.fill(found)
        if self.encoded:
            ones = [
                [step.places.get(value, step.other) for value in columns[step.column].tolist()]
                for step in self.encoded
            ]
            made[np.arange(rows), ones] = 1
        return made[:, : self.width]


def arrays(X: pd.DataFrame) -> Columns:
    """Return a table's columns as arrays of shape (rows,), as a contract makes them of requests."""
    found: Columns = {}
    for name, values in X.items():
        if pd.api.types.is_datetime64_dtype(values):
            found[str(name)] = values.to_numpy("datetime64[ns]")
        elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            found[str(name)] = values.to_numpy(np.float64, na_value=np.nan)
        else:
            found[str(name)] = values.astype(object).where(values.notna(), None).to_numpy(object)
    return found


def _take_apart(dates: np.ndarray, parts: np.ndarray) -> None:
    """Write year, month, day of the week and days since 1970, as `DateParts` has them."""
    days = dates.astype("datetime64[D]").astype(np.int64)
    months = dates.astype("datetime64[M]").astype(np.int64)
    parts[:, 0] = months // 12 + 1970
    parts[:, 1] = months % 12 + 1
    parts[:, 2] = (days + 3) % 7  # 1970 began on a Thursday
    parts[:, 3] = dates.view(np.int64) / 86_400e9
    parts[np.isnat(dates)] = np.nan


def _scaled(columns: list[str], start: int, gaps: SimpleImputer, z: StandardScaler) -> Scaled:
    missing = gaps.statistics_.astype(np.float64)
    plain = not gaps.add_indicator and z.with_mean and z.with_std
    if not plain or np.isnan(missing).any() or not pd.isna(gaps.missing_values):
        raise PreparationError("an imputer or a scaler has options that are not known")
    return Scaled(columns, start, missing, z.mean_, z.scale_)


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


def _values(categories: np.ndarray) -> list[Any]:
    return [None if pd.isna(value) else value for value in categories.tolist()]
