"""The plots that people look at before they trust a model."""

from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed, and none is opened

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    PredictionErrorDisplay,
    RocCurveDisplay,
)

from ..config.settings import Settings
from ..data.splits import LoggedSplit
from ..tracking import recording
from .importance import permutation_losses
from .predictions import Predictions
from .verdict import Verdict

MAX_CURVES = 10  # classes, the most frequent ones
SCATTER_ROWS = 2000
SHOWN_COLUMNS = 30  # in the plot of importance, the most important ones


def log_performance(y: pd.Series, predictions: Predictions, verdict: Verdict) -> dict[str, bytes]:
    """Log the plot of the metrics and those that suit the predictions; return images by name."""
    figures = {"metrics": plot_metrics(verdict)} if verdict.metrics else {}
    if predictions.classification:
        figures |= _plot_classification(y, predictions)
    else:
        figures |= _plot_errors(y, predictions.values)
    return {
        name: recording.log_figure(figure, f"plots/{name}.png") for name, figure in figures.items()
    }


def plot_metrics(verdict: Verdict) -> Figure:
    """Return each metric with its interval, beside baseline and champion, on a scale of its own."""
    count = len(verdict.metrics)
    figure, rows = plt.subplots(
        count, figsize=(7, 1 + 0.6 * count), squeeze=False, layout="constrained"
    )
    for axes, (name, found) in zip(rows[:, 0], verdict.metrics.items(), strict=True):
        axes.hlines(0, found.low, found.high, "C0", linewidth=3, alpha=0.5, label="interval")
        axes.plot(found.value, 0, "oC0", label="model")
        for other, mark in (("baseline", "xC7"), ("champion", "dC1")):
            if (value := getattr(found, other)) is not None:
                axes.plot(value, 0, mark, label=other)
        better = "higher" if found.higher_is_better else "lower"
        axes.set_yticks([0], [f"{name}\n({better} is better)"], fontsize="small")
        axes.margins(y=0.5)
    shown = {
        label: handle
        for axes in rows[:, 0]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=4)
    return figure


def log_importance(model: Any, split: LoggedSplit, settings: Settings) -> dict[str, bytes]:
    """Log permutation importance (Breiman, 2001), and return the image by its name.

    Its cost grows with the columns. So a table with more than ``evaluation.importance_columns``
    gets none, and a tag of the run says so.
    """
    limits, width = settings.evaluation, split.X.shape[1]
    if width > limits.importance_columns:
        reason = f"skipped: {width} columns, evaluation.importance_columns is lower"
        recording.set_tags({"permutation_importance": reason})
        return {}
    count, seed = min(limits.importance_rows, len(split.X)), settings.data.split.seed
    X = split.X.sample(count, random_state=seed)
    losses = permutation_losses(model, X, split.y[X.index], limits.importance_repeats)
    mean = losses.mean(axis=1)
    order = np.argsort(mean)
    values = {str(X.columns[i]): float(mean[i]) for i in order[::-1]}
    recording.log_dict(values, "permutation_importance.json")
    shown = order[-SHOWN_COLUMNS:]
    figure, axes = plt.subplots(figsize=(7, 1 + 0.3 * len(shown)), layout="constrained")
    axes.barh(X.columns[shown], mean[shown], xerr=losses[shown].std(axis=1))
    axes.set(title=f"Permutation importance, {count} test rows", xlabel="Loss of score if shuffled")
    image = recording.log_figure(figure, "plots/permutation_importance.png")
    return {"permutation_importance": image}


def _plot_classification(y: pd.Series, predictions: Predictions) -> dict[str, Figure]:
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        y, predictions.values, ax=axes, xticks_rotation="vertical", colorbar=False
    )
    figures, probabilities = {"confusion_matrix": figure}, predictions.probabilities
    if probabilities is None:
        return figures
    # With two classes the second one's curve says it all.
    frequent = y.value_counts().index[:MAX_CURVES]
    shown = frequent if probabilities.shape[1] > 2 else probabilities.columns[1:]
    curves = {
        "roc": RocCurveDisplay,
        "precision_recall": PrecisionRecallDisplay,
        "calibration": CalibrationDisplay,
    }
    for name, display in curves.items():
        figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
        for label in shown:
            if (y == label).nunique() == 2:
                options = {"n_bins": 10} if name == "calibration" else {}
                display.from_predictions(
                    y == label, probabilities[label], ax=axes, name=str(label), **options
                )
        axes.set_title(name.replace("_", " ").capitalize())
        figures[name] = figure
    return figures


def _plot_errors(y: pd.Series, predicted: np.ndarray) -> dict[str, Figure]:
    figures = {}
    for kind in ("residual_vs_predicted", "actual_vs_predicted"):
        figures[kind], axes = plt.subplots(figsize=(6, 5), layout="constrained")
        PredictionErrorDisplay.from_predictions(
            y, predicted, kind=kind, ax=axes, subsample=min(SCATTER_ROWS, len(y)), random_state=0
        )
        axes.set_title(kind.replace("_", " ").capitalize())
    return figures
