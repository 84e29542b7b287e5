"""The built-in metrics as functions of sums over rows.

The sums of a resample are the sums of its groups, so a product of two matrices gives all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..config.metrics import HIGHER_IS_BETTER
from .scores import Scores, draw_groups

if TYPE_CHECKING:
    from .predictions import Predictions

Sums = dict[str, np.ndarray]  # shape (groups, 1) or (groups, classes) each


@dataclass(frozen=True)
class EncodedRows:
    """True and predicted values as numbers, shape (rows,) each.

    For a classifier these are codes of labels, below ``classes``, in the order of the columns of
    ``probabilities``, then other labels. ``probabilities``, shape (rows, classes of the model), are
    None unless they are finite, and the true labels are just the classes of the model.
    """

    true: np.ndarray
    predicted: np.ndarray
    classes: int = 0
    probabilities: np.ndarray | None = None


def encode(y: pd.Series, predictions: Predictions) -> EncodedRows:
    """Return labels as codes, which are compared and counted far faster than text."""
    if not predictions.classification:
        return EncodedRows(np.asarray(y, dtype=float), np.asarray(predictions.values, dtype=float))
    own = [] if predictions.probabilities is None else list(predictions.probabilities)
    true_codes, true_labels = pd.factorize(y)
    predicted_codes, predicted_labels = pd.factorize(predictions.values)
    labels = dict.fromkeys([*own, *true_labels, *predicted_labels])
    codes = {label: code for code, label in enumerate(labels)}
    true = np.array([codes[label] for label in true_labels])[true_codes]
    predicted = np.array([codes[label] for label in predicted_labels])[predicted_codes]
    probabilities = None
    has_all_classes = np.array_equal(np.flatnonzero(np.bincount(true)), range(len(own)))
    if predictions.probabilities is not None and len(own) > 1 and has_all_classes:
        values = predictions.probabilities.to_numpy()
        probabilities = values if np.isfinite(values).all() else None
    return EncodedRows(true, predicted, len(codes), probabilities)


def measure(rows: EncodedRows, resamples: int = 0, seed: int = 0) -> Scores:
    """Return the metrics that the rows define, and their values on resamples.

    On a resample without some class, a mean over classes is that over the others. ROC AUC varies as
    the mean of its placement values does (DeLong et al., Biometrics, 1988).
    """
    groups, draws = draw_groups(len(rows.true), resamples, seed)
    sums = _sum_groups(rows, groups)
    totals = {name: part.sum(axis=0, keepdims=True) for name, part in sums.items()}
    points = {
        name: float(values[0])
        for name, values in _calculate(totals).items()
        if np.isfinite(values[0])
    }
    replicates = dict.fromkeys(points, np.empty(0))
    for drawn in draws:
        resample = np.arange(len(drawn))[:, None]
        weights = _count_pairs(resample, drawn, drawn.shape)  # how often each group is drawn
        values = _calculate({name: weights @ part for name, part in sums.items()})
        replicates = {name: np.append(known, values[name]) for name, known in replicates.items()}
    return Scores(points, replicates, HIGHER_IS_BETTER)


def by_slice(rows: EncodedRows, metric: str, codes: np.ndarray) -> np.ndarray:
    """Return a metric on each slice, shape (slices,), NaN where a slice does not define it.

    There is no ``roc_auc`` of slices, since it compares rows with one another.
    """
    return _calculate(_sum_groups(rows, codes, ranked=False))[metric]


def _count_pairs(
    groups: np.ndarray,
    columns: np.ndarray,
    shape: tuple[int, ...],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Count pairs of a group and a column, or add up their weights; shape (groups, columns)."""
    cells = np.ravel_multi_index((groups, columns), shape).ravel()
    counts = np.bincount(cells, weights, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(float)


def _sum_groups(rows: EncodedRows, groups: np.ndarray, ranked: bool = True) -> Sums:
    count = int(groups.max()) + 1
    if not rows.classes:
        error = rows.predicted - rows.true
        y = rows.true - rows.true.mean()  # centred, or the squares lose what they differ in
        terms = {
            "rows": np.ones_like(y),
            "y": y,
            "y_squared": y**2,
            "absolute_error": np.abs(error),
            "squared_error": error**2,
        }
        return {name: np.bincount(groups, term, count)[:, None] for name, term in terms.items()}
    shape = (count, rows.classes)
    hit = rows.true == rows.predicted
    sums = {
        "true": _count_pairs(groups, rows.true, shape),
        "predicted": _count_pairs(groups, rows.predicted, shape),
        "hit": _count_pairs(groups[hit], rows.true[hit], shape),
    }
    if rows.probabilities is not None:
        smallest = np.finfo(rows.probabilities.dtype).eps
        of_true = rows.probabilities[np.arange(len(rows.true)), rows.true]
        loss = -np.log(np.clip(of_true, smallest, 1 - smallest))
        sums["log_loss"] = np.bincount(groups, loss, count)[:, None]
        if ranked:
            sums |= _sum_placements(rows.true, rows.probabilities, groups, count)
    return sums


def _sum_placements(
    true: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, count: int
) -> Sums:
    """Return the sums of placement values, for each class against the others.

    That of a row of the class is the share of the other rows below it, that of another row is the
    share of the class above it, less the mean of those (which is the area under the curve).
    """
    classes = probabilities.shape[1]
    of_class, of_others = np.zeros((count, classes)), np.zeros((count, classes))
    for label in range(classes):
        if classes == 2 and label == 0:
            continue  # its area is that of the other class
        order = np.argsort(probabilities[:, label])
        positive = true[order] == label
        placements = _placements(probabilities[order, label], positive)
        area = placements[positive].mean()
        placements[~positive] -= area
        sums = _count_pairs(groups[order], positive.astype(int), (count, 2), placements)
        of_others[:, label], of_class[:, label] = sums[:, 0], sums[:, 1]
    return {"placements": of_class, "other_placements": of_others}


def _placements(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the placement value of each row, shape (rows,); the scores are in ascending order."""
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # of each run of equal scores
    run = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    positives = np.cumsum(positive)[ends]
    negatives = ends + 1 - positives

    def share_below(counts: np.ndarray) -> np.ndarray:
        ties = np.diff(counts, prepend=0)
        return np.asarray((counts - ties / 2) / counts[-1])  # ties count half

    return np.where(positive, share_below(negatives)[run], 1 - share_below(positives)[run])


def _calculate(sums: Sums) -> dict[str, np.ndarray]:
    """Return each metric, shape (groups,), NaN where the group does not define it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _for_regression(sums) if "y" in sums else _for_classification(sums)


def _for_regression(sums: Sums) -> dict[str, np.ndarray]:
    rows, y, y_squared, absolute, squared = (part[:, 0] for part in sums.values())
    spread = y_squared - y**2 / rows
    is_constant = spread <= 1e-12 * y_squared
    # As in scikit-learn, R2 of a constant target is 1 without an error, else 0.
    r2 = np.where(is_constant, squared == 0, 1 - squared / spread)
    return {
        "rmse": np.sqrt(squared / rows),
        "mae": absolute / rows,
        "r2": np.where(rows > 1, r2, np.nan),
    }


def _for_classification(sums: Sums) -> dict[str, np.ndarray]:
    true, predicted, hit = sums["true"], sums["predicted"], sums["hit"]
    rows, either = true.sum(axis=1), true + predicted
    values = {
        "accuracy": hit.sum(axis=1) / rows,
        "balanced_accuracy": _mean(hit / true, true > 0),
        "precision_macro": _mean(hit / np.maximum(predicted, 1), either > 0),
        "recall_macro": _mean(hit / np.maximum(true, 1), either > 0),
        "f1_macro": _mean(2 * hit / either, either > 0),
    }
    if "log_loss" in sums:
        values["log_loss"] = sums["log_loss"][:, 0] / rows
    if "placements" in sums:
        positives = true[:, : sums["placements"].shape[1]]
        negatives = rows[:, None] - positives
        areas = sums["placements"] / positives + sums["other_placements"] / negatives
        is_defined = (positives > 0) & (negatives > 0)
        if is_defined.shape[1] == 2:
            is_defined[:, 0] = False
        values["roc_auc"] = np.clip(_mean(areas, is_defined), 0, 1)
    return values


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the mean over classes, shape (groups,)."""
    return np.asarray(np.where(where, values, 0).sum(axis=1) / where.sum(axis=1))
