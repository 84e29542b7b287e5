"""What a model says of some rows, and the metrics of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor

from ..config.metrics import Metric as Metric  # noqa: PLC0414  for the projects
from ..data import versioning
from ..data.splits import LoggedSplit
from ..data.versioning import Manifest
from ..tracking import recording
from . import custom_metrics

if TYPE_CHECKING:
    from ..config.project import Project
    from ..config.settings import Settings

WARM_UP, TIMED = 3, 30  # predictions of one row


def baseline(problem_type: str) -> DummyClassifier | DummyRegressor:
    """Return what any model must beat: the most frequent class, or the mean."""
    return (
        DummyClassifier(strategy="prior") if problem_type == "classification" else DummyRegressor()
    )


@dataclass(frozen=True)
class Predictions:
    """What a model says of some rows: shape (rows,), and for a classifier that gives
    probabilities a frame of shape (rows, classes) whose columns are the classes.
    """

    values: np.ndarray
    probabilities: pd.DataFrame | None
    classification: bool


def predict(model: Any, X: pd.DataFrame) -> Predictions:
    """Return the predictions, made once for all who need them."""
    probabilities = None
    if hasattr(model, "predict_proba"):
        probabilities = pd.DataFrame(model.predict_proba(X), columns=model.classes_, index=X.index)
    return Predictions(model.predict(X), probabilities, is_classifier(model))


def latency(model: Any, X: pd.DataFrame, seed: int = 0) -> float:
    """Return the median of the milliseconds that predicting one row takes, on rows at random."""
    chosen = np.random.default_rng(seed).integers(len(X), size=WARM_UP + TIMED)
    times = []
    for row in chosen:
        one = X.iloc[[row]]
        start = time.perf_counter()
        model.predict(one)
        times.append(time.perf_counter() - start)
    return 1000 * median(times[WARM_UP:])


@dataclass(frozen=True)
class Encoded:
    """What was true and what a model says of it, in numbers, shape (rows,) each.

    Of a classifier these are codes of labels, below ``classes``, its own classes first in the order
    of ``probabilities``; those, shape (rows, own classes), are None unless the rows define metrics of
    probabilities: finite ones, and rows of every class of its own and of no other.
    """

    true: np.ndarray
    predicted: np.ndarray
    classes: int = 0
    probabilities: np.ndarray | None = None


def encode(y: pd.Series, predictions: Predictions) -> Encoded:
    """Return labels as codes, which are compared and counted far more quickly than text."""
    if not predictions.classification:
        return Encoded(np.asarray(y, dtype=float), np.asarray(predictions.values, dtype=float))
    factorized = [pd.factorize(labels) for labels in (y, predictions.values)]
    probabilities = predictions.probabilities
    own = [] if probabilities is None else list(probabilities)
    labels = dict.fromkeys([*own, *(label for _, unique in factorized for label in unique)])
    code = {label: number for number, label in enumerate(labels)}
    true, predicted = (
        np.array([code[label] for label in unique])[codes] for codes, unique in factorized
    )
    found = np.flatnonzero(np.bincount(true))
    if probabilities is None or len(own) < 2 or not np.array_equal(found, range(len(own))):
        return Encoded(true, predicted, len(code))
    values = probabilities.to_numpy()
    return Encoded(true, predicted, len(code), values if np.isfinite(values).all() else None)


def measure(y: pd.Series, predictions: Predictions) -> dict[str, float]:
    """Return the metrics; one that these rows do not define is left out."""
    rows = encode(y, predictions)
    if not predictions.classification:
        if not np.isfinite(rows.predicted).all():
            return {}
        values = {
            "rmse": metrics.root_mean_squared_error(rows.true, rows.predicted),
            "mae": metrics.mean_absolute_error(rows.true, rows.predicted),
        }
        if len(y) > 1:
            values["r2"] = metrics.r2_score(rows.true, rows.predicted)
        return {name: float(value) for name, value in values.items()}
    # Rows with the same two labels are counted once; scikit-learn takes the counts as weights.
    pairs, counts = np.unique(rows.true * rows.classes + rows.predicted, return_counts=True)
    cells = np.divmod(pairs, rows.classes)
    weights: dict[str, Any] = {"sample_weight": counts}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        *cells, average="macro", zero_division=0, **weights
    )
    values = {
        "accuracy": metrics.accuracy_score(*cells, **weights),
        "balanced_accuracy": metrics.balanced_accuracy_score(*cells, **weights),
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
    }
    if rows.probabilities is not None:
        own = rows.probabilities.shape[1]
        values["log_loss"] = metrics.log_loss(rows.true, rows.probabilities, labels=range(own))
        values["roc_auc"] = metrics.roc_auc_score(
            rows.true,
            rows.probabilities[:, 1] if own == 2 else rows.probabilities,
            multi_class="ovr",
        )
    return {name: float(value) for name, value in values.items()}


def predict_baseline(manifest: Manifest, X: pd.DataFrame, settings: Settings) -> Predictions:
    """Return what the baseline, fitted on the training split, says of some rows."""
    train = versioning.read_split(manifest, "train", settings.path(settings.data.processed))
    y = train[manifest.target]
    return predict(baseline(settings.problem_type).fit(train.drop(columns=manifest.target), y), X)


def log_validation_metrics(
    model: Any, validation: LoggedSplit, model_id: str, project: Project
) -> dict[str, float]:
    """Log the metrics of a model on the validation split, tied to both, and return them.

    An own metric that these rows do not define is named in a tag of the run, with the reason.
    """
    predictions = predict(model, validation.X)
    own, undefined = custom_metrics.measure(validation.y, predictions, project.metrics)
    custom_metrics.log_undefined(undefined)
    metrics = {**measure(validation.y, predictions), **own}
    recording.log_metrics_efficiently(
        {f"{validation.name}_{name}": value for name, value in metrics.items()},
        dataset=validation.dataset,
        model_id=model_id,
    )
    return metrics
