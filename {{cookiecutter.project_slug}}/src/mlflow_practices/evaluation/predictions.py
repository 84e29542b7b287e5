"""A model's predictions for some rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor

from ..data import versioning
from ..data.versioning import Manifest

if TYPE_CHECKING:
    from ..config.settings import Settings

WARM_UP, TIMED = 3, 30  # predictions of one row


@dataclass(frozen=True)
class Predictions:
    """Predicted values, shape (rows,), and the probabilities of a classifier that gives them.

    These are a frame of shape (rows, classes), whose columns are named by the classes.
    """

    values: np.ndarray
    probabilities: pd.DataFrame | None
    classification: bool


def predict(model: Any, X: pd.DataFrame) -> Predictions:
    """Return a model's predictions for ``X``."""
    probabilities = None
    if hasattr(model, "predict_proba"):
        probabilities = pd.DataFrame(model.predict_proba(X), X.index, model.classes_)
    return Predictions(model.predict(X), probabilities, is_classifier(model))


def make_baseline(problem_type: str) -> DummyClassifier | DummyRegressor:
    """Return the model that any other must beat: the most frequent class, or the mean."""
    if problem_type == "classification":
        return DummyClassifier(strategy="prior")
    return DummyRegressor()


def predict_baseline(manifest: Manifest, X: pd.DataFrame, settings: Settings) -> Predictions:
    """Return the predictions for ``X`` of a baseline that is fitted on the training split."""
    train = versioning.read_split(manifest, "train", settings.path(settings.data.processed))
    model = make_baseline(settings.problem_type)
    return predict(model.fit(train.drop(columns=manifest.target), train[manifest.target]), X)


def measure_latency(model: Any, X: pd.DataFrame, seed: int = 0) -> float:
    """Return the median time in milliseconds of predicting one row, for random rows of ``X``."""
    times = []
    for row in np.random.default_rng(seed).integers(len(X), size=WARM_UP + TIMED):
        one = X.iloc[[row]]
        start = time.perf_counter()
        model.predict(one)
        times.append(time.perf_counter() - start)
    return 1000 * median(times[WARM_UP:])
