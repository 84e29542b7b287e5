"""The plots that people look at before they trust a model."""

from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed, and none is opened

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.base import is_classifier
from sklearn.calibration import CalibrationDisplay
from sklearn.inspection import permutation_importance
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    PredictionErrorDisplay,
    RocCurveDisplay,
)

MAX_CURVES = 10  # classes, the most frequent ones
SCATTER_ROWS = 2000


@dataclass(frozen=True)
class Importance:
    """Mean loss of score when a column is shuffled, by column, and its picture."""

    values: dict[str, float]
    figure: Figure


def performance(model: Any, X: pd.DataFrame, y: pd.Series) -> dict[str, Figure]:
    """Return the plots that suit the model, by name."""
    if is_classifier(model):
        return _classification(model, X, y)
    predicted = model.predict(X)
    return {
        kind: _prediction_error(y, predicted, kind)
        for kind in ("residual_vs_predicted", "actual_vs_predicted")
    }


def importance(model: Any, X: pd.DataFrame, y: pd.Series, repeats: int) -> Importance:
    """Return permutation importance (Breiman, 2001) on the given rows."""
    found = permutation_importance(model, X, y, n_repeats=repeats, random_state=0)
    order = np.argsort(found.importances_mean)
    figure, axes = plt.subplots(figsize=(7, 1 + 0.3 * min(len(order), 30)), layout="constrained")
    shown = order[-30:]
    axes.boxplot(
        found.importances[shown].T, orientation="horizontal", tick_labels=list(X.columns[shown])
    )
    axes.set(
        title=f"Permutation importance on {len(X)} test rows", xlabel="Loss of score when shuffled"
    )
    return Importance(
        {str(X.columns[i]): float(found.importances_mean[i]) for i in order[::-1]}, figure
    )


def _classification(model: Any, X: pd.DataFrame, y: pd.Series) -> dict[str, Figure]:
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        y, model.predict(X), ax=axes, xticks_rotation="vertical", colorbar=False
    )
    figures = {"confusion_matrix": figure}
    if not hasattr(model, "predict_proba"):
        return figures
    chances = pd.DataFrame(model.predict_proba(X), columns=model.classes_, index=y.index)
    # With two classes the second one's curve says it all.
    frequent = (
        y.value_counts().index[:MAX_CURVES] if len(model.classes_) > 2 else model.classes_[1:]
    )
    curves = {
        "roc": RocCurveDisplay,
        "precision_recall": PrecisionRecallDisplay,
        "calibration": CalibrationDisplay,
    }
    for name, display in curves.items():
        figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
        for label in frequent:
            if (y == label).nunique() == 2:
                options = {"n_bins": 10} if name == "calibration" else {}
                display.from_predictions(
                    y == label, chances[label], ax=axes, name=str(label), **options
                )
        axes.set_title(name.replace("_", " ").capitalize())
        figures[name] = figure
    return figures


def _prediction_error(y: pd.Series, predicted: np.ndarray, kind: str) -> Figure:
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    PredictionErrorDisplay.from_predictions(
        y, predicted, kind=kind, ax=axes, subsample=min(SCATTER_ROWS, len(y)), random_state=0
    )
    axes.set_title(kind.replace("_", " ").capitalize())
    return figure
