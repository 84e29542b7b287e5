"""Turn columns into features. Every model takes this file along: import no MLflow, no practices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

if TYPE_CHECKING:
    from mlflow_practices.config.settings import Settings

MAX_CATEGORIES = 50  # of one column; with more, the rarer ones share a feature


def build(X: pd.DataFrame, settings: Settings) -> ColumnTransformer:
    """Return an unfitted transformer for ``X``, which treats each column by its type.

    Numbers are imputed with the median and scaled, text and booleans one-hot encoded (missing is a
    category of its own), dates split into parts. A column without any value in ``X`` is not used.
    """
    known = X.loc[:, X.notna().any()]
    dates = list(known.select_dtypes("datetime"))
    numbers = list(known.select_dtypes("number"))
    rest = [name for name in known if name not in {*dates, *numbers}]
    wide = [name for name in rest if X[name].nunique() > MAX_CATEGORIES]
    encode = {"sparse_output": False, "handle_unknown": "ignore"}
    group = {**encode, "handle_unknown": "infrequent_if_exist", "max_categories": MAX_CATEGORIES}
    by_type = [
        ("numbers", make_pipeline(*_numeric()), numbers),
        ("categories", OneHotEncoder(**encode), [name for name in rest if name not in wide]),
        ("wide_categories", OneHotEncoder(**group), wide),
        ("dates", make_pipeline(DateParts(), *_numeric()), dates),
    ]
    steps = [step for step in by_type if step[2]] + derived(X)
    return ColumnTransformer(steps, verbose_feature_names_out=False)


def derived(X: pd.DataFrame) -> list[tuple[str, TransformerMixin, list[str]]]:
    """Return your own steps: a name, an unfitted transformer, and the columns that it takes."""
    return []


class DateParts(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn each date into year, month, weekday and days since 1970; missing stays missing."""

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn the names of the columns."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return an array of shape (rows, 4 x columns)."""
        return self.transform_arrays([X[name].to_numpy("datetime64[us]") for name in X.columns])

    def transform_arrays(self, columns: list[np.ndarray]) -> np.ndarray:
        """Return the same for arrays of shape (rows,), so that serving needs no data frame."""
        parts: list[np.ndarray] = []
        for column in columns:
            dates = column.astype("datetime64[us]")
            days = dates.astype("datetime64[D]").astype(np.int64)
            months = dates.astype("datetime64[M]").astype(np.int64)
            weekday = (days + 3) % 7  # 1970 began on a Thursday
            made = (months // 12 + 1970, months % 12 + 1, weekday, dates.view(np.int64) / 86_400e6)
            parts += [np.where(np.isnat(dates), np.nan, part) for part in made]
        return np.column_stack(parts)

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Return the names of the columns that `transform` returns."""
        parts = ("year", "month", "weekday", "days")
        return np.asarray(
            [f"{name}_{part}" for name in self.feature_names_in_ for part in parts], dtype=object
        )


def _numeric() -> tuple[TransformerMixin, ...]:
    return SimpleImputer(strategy="median"), StandardScaler()
