"""Whether a copy of a model answers as the original does."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import BaseModel
from sklearn.pipeline import Pipeline

from ..evaluation.predictions import Predictions
from .array_preparation import Preparation

TOLERANCE = 1e-5  # of a probability, or of the range of a regression's predictions
TIE_MARGIN = 1e-6  # the two largest probabilities of a row are the same
MAX_REAL_ROWS, VARIED_ROWS = 10_000, 500  # that are compared; the second of each variation
VARIED_SHARE = 0.2  # of all values
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # a category that no data has


class Differences(BaseModel, frozen=True):
    """How a copy differs from the original on the same rows.

    ``labels`` is how many labels differ (None for regression), ``ties`` how many of these rows have
    two equal largest probabilities. ``largest`` is the largest difference of a probability, or of a
    value as a share of the values' range; None for a classifier without probabilities.
    """

    rows: int
    labels: int | None = None
    ties: int = 0
    largest: float | None

    @property
    def agree(self) -> bool:
        """Return whether only ties and roundings differ."""
        close = self.largest is None or self.largest <= TOLERANCE
        return close and (self.labels or 0) == self.ties

    def __str__(self) -> str:
        """Return the differences as text."""
        numbers = "values" if self.labels is None else "probabilities"
        found = []
        if self.labels is not None:
            found.append(f"{self.labels} labels differ ({self.ties} of them ties)")
        if self.largest is not None:
            found.append(f"{numbers} differ by up to {self.largest:.1g}")
        return f"on {self.rows} rows {', '.join(found)}"


def compare(
    expected: Predictions, values: np.ndarray, probabilities: np.ndarray | None = None
) -> Differences:
    """Compare predictions of shape (rows,), and probabilities of shape (rows, classes).

    A label of another type, such as 1 for True, differs.
    """
    rows = len(values)
    if not expected.classification:
        span = float(np.ptp(expected.values)) or 1.0
        largest = float(np.abs(expected.values - values).max()) / span
        return Differences(rows=rows, largest=largest)
    pairs = zip(expected.values.tolist(), values.tolist(), strict=True)
    wrong = np.array([a != b or type(a) is not type(b) for a, b in pairs])
    if expected.probabilities is None:
        return Differences(rows=rows, labels=wrong.sum(), largest=None)
    own = expected.probabilities.to_numpy()
    margin = np.diff(np.sort(own)[:, -2:]).min(axis=1, initial=np.inf)  # infinite with one class
    largest = np.inf
    if probabilities is not None and probabilities.shape == own.shape:
        largest = float(np.abs(own - probabilities).max())
    ties = (wrong & (margin <= TIE_MARGIN)).sum()
    return Differences(rows=rows, labels=wrong.sum(), ties=ties, largest=largest)


def probe_rows(X: pd.DataFrame, pipeline: Pipeline, preparation: Preparation) -> pd.DataFrame:
    """Return real rows, and variations: gaps, unknown categories, numbers where a tree splits."""
    random = np.random.default_rng(0)
    real = X.iloc[random.permutation(len(X))[:MAX_REAL_ROWS]]
    varied = X.iloc[random.integers(len(X), size=VARIED_ROWS)].reset_index(drop=True)
    gaps, strange = varied.copy(), varied.copy()
    for name in X.columns:
        if pd.api.types.is_bool_dtype(gaps[name]):
            gaps[name] = gaps[name].astype(object)
        gaps[name] = gaps[name].mask(random.random(VARIED_ROWS) < VARIED_SHARE)
        if pd.api.types.infer_dtype(X[name]) == "string":
            strange[name] = strange[name].mask(random.random(VARIED_ROWS) < VARIED_SHARE, UNKNOWN)
    split = _at_splits(varied, pipeline[-1], preparation, random)
    return pd.concat([real, gaps, strange, split], ignore_index=True)


def _at_splits(
    rows: pd.DataFrame, estimator: object, preparation: Preparation, random: np.random.Generator
) -> pd.DataFrame:
    """Return rows with a number each where a tree of the estimator splits, as near as it gets."""
    scaled = [numbers for numbers in preparation.numbers if numbers.transform is None]
    members = np.ravel(getattr(estimator, "estimators_", [estimator]))
    trees = [member.tree_ for member in members if hasattr(member, "tree_")]
    if not scaled or not trees:
        return rows.head(0)
    numbers = scaled[0]
    feature = np.concatenate([tree.feature for tree in trees]) - numbers.start
    threshold = np.concatenate([tree.threshold for tree in trees])
    usable = np.flatnonzero((feature >= 0) & (feature < len(numbers.columns)))
    if not len(usable):
        return rows.head(0)
    chosen = usable[random.integers(len(usable), size=len(rows))]
    column = feature[chosen]
    values = rows[numbers.columns].to_numpy(np.float64, copy=True)
    assert numbers.scale is not None  # as those without a transformer of their own are
    assert numbers.mean is not None
    raw = threshold[chosen] * numbers.scale[column] + numbers.mean[column]
    values[np.arange(len(rows)), column] = raw
    return rows.assign(**dict(zip(numbers.columns, values.T, strict=True)))
