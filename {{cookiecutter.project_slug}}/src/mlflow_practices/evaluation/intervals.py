"""Bootstrap intervals of metrics, at a cost that does not grow with rows x resamples.

Every built-in metric is a function of sums over rows. Rows are dealt at random into groups, and the groups
are resampled (Efron and Tibshirani, An Introduction to the Bootstrap, 1993): a product of matrices
gives the sums of all resamples. With the same seed, models are resampled alike, in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..config.metrics import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from .metrics import Encoded

GROUPS = 2000  # with fewer rows, each is a group
CHUNK = 64  # resamples at a time, which bounds the memory

Sums = dict[str, np.ndarray]  # shape (groups, 1) or (groups, classes) each


@dataclass(frozen=True)
class Resampled:
    """The metrics that the rows define, and the values of each on all resamples.

    Attributes:
        points: the metrics of all rows.
        replicates: the values on resamples, shape (resamples,), NaN where one does not define it.
        higher_is_better: of each metric.
        undefined: why an own metric is not defined on these rows.
    """

    points: Mapping[str, float]
    replicates: Mapping[str, np.ndarray]
    higher_is_better: Mapping[str, bool] = field(default_factory=lambda: HIGHER_IS_BETTER)
    undefined: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: Resampled) -> Resampled:
        """Return the metrics of both."""
        return Resampled(
            {**self.points, **other.points},
            {**self.replicates, **other.replicates},
            {**self.higher_is_better, **other.higher_is_better},
            {**self.undefined, **other.undefined},
        )

    def interval(self, metric: str, confidence: float) -> tuple[float, float]:
        """Return the percentile interval of a metric."""
        return _percentiles(self.replicates[metric], confidence)

    def improvement(
        self, other: Resampled, metric: str, confidence: float
    ) -> tuple[float, float, float]:
        """Return by how much this is better than the other, and the interval of that."""
        sign = 1 if self.higher_is_better[metric] else -1
        point = sign * (self.points[metric] - other.points[metric])
        replicates = sign * (self.replicates[metric] - other.replicates[metric])
        return (point, *_percentiles(replicates, confidence))


def resample(model: Encoded, resamples: int, seed: int = 0) -> Resampled:
    """Return a model's metrics, each with its values on resamples of the rows.

    The metrics are those of `metrics.measure`, on a resample that lacks a class the mean over
    the others. ROC AUC varies as the mean of its placement values does (DeLong et al., 1988).
    """
    groups, draws = deal(len(model.true), resamples, seed)
    sums = _sums(model, groups)
    chunks = []
    for drawn in draws:
        size, count = drawn.shape
        cells = drawn + count * np.arange(size)[:, None]
        weights = np.bincount(cells.ravel(), minlength=size * count).reshape(size, count)
        chunks.append(_metrics({name: weights @ part for name, part in sums.items()}))
    points = _points(sums)
    return Resampled(
        points, {name: np.concatenate([chunk[name] for chunk in chunks]) for name in points}
    )


def deal(rows: int, resamples: int, seed: int) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Deal rows into groups, and draw groups for each resample.

    Returns:
        The group of each row, shape (rows,), and the groups that are drawn, a chunk of resamples
        at a time, shape (resamples, groups).
    """
    random = np.random.default_rng(seed)
    count = min(rows, GROUPS)
    groups = random.permutation(rows) % count
    sizes = (min(CHUNK, resamples - start) for start in range(0, resamples, CHUNK))
    return groups, (random.integers(count, size=(size, count)) for size in sizes)


def measure(model: Encoded) -> dict[str, float]:
    """Return the metrics alone: what `metrics.measure` returns, without its checks."""
    return _points(_sums(model, np.zeros(len(model.true), dtype=int)))


def by_slice(model: Encoded, codes: np.ndarray, metric: str) -> np.ndarray:
    """Return a metric on each slice, shape (slices,), NaN where a slice does not define it.

    Args:
        model: the rows.
        codes: the slice of each row, shape (rows,), counted from 0.
        metric: any but ``roc_auc``, which compares rows with one another.

    Raises:
        KeyError: the rows do not define the metric, or it is ``roc_auc``.
    """
    return _metrics(_sums(model, codes, ranked=False))[metric]


def _points(sums: Sums) -> dict[str, float]:
    total = _metrics({name: part.sum(axis=0, keepdims=True) for name, part in sums.items()})
    return {name: float(value[0]) for name, value in total.items() if np.isfinite(value[0])}


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _sums(model: Encoded, groups: np.ndarray, ranked: bool = True) -> Sums:
    count = int(groups.max()) + 1

    def add(values: np.ndarray) -> np.ndarray:
        return np.bincount(groups, values, count)[:, None]

    def tally(codes: np.ndarray, of: np.ndarray | slice = slice(None)) -> np.ndarray:
        cells = groups[of] * model.classes + codes[of]
        found = np.bincount(cells, minlength=count * model.classes)
        return found.reshape(count, model.classes).astype(float)

    if not model.classes:
        error = model.predicted - model.true
        y = model.true - model.true.mean()  # centred, or the squares lose what they differ in
        terms = {"rows": np.ones_like(y), "y": y, "y2": y**2}
        terms |= {"absolute": np.abs(error), "squared": error**2}
        return {name: add(values) for name, values in terms.items()}
    hit = model.true == model.predicted
    sums = {
        "true": tally(model.true),
        "predicted": tally(model.predicted),
        "hit": tally(model.true, hit),
    }
    if model.probabilities is not None:
        tiny = np.finfo(model.probabilities.dtype).eps
        chance = model.probabilities[np.arange(len(hit)), model.true]
        sums["loss"] = add(-np.log(np.clip(chance, tiny, 1 - tiny)))
        if ranked:
            sums |= _ranks(model.true, model.probabilities, groups, count)
    return sums


def _ranks(true: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, count: int) -> Sums:
    """Return the sums of placement values, for each class against the rest.

    That of a row of the class is the share of the other rows below it (ties count half), that of
    another row the share of the class above it; the latter less their mean, the area itself.
    """
    inside, outside = np.zeros((2, count, probabilities.shape[1]))
    labels = range(probabilities.shape[1])
    for label in labels if len(labels) > 2 else labels[1:]:
        order = np.argsort(probabilities[:, label])
        score, positive = probabilities[order, label], true[order] == label
        ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True]) + 1  # of each run of ties
        positives = np.r_[0, np.cumsum(positive)[ends - 1]]
        negatives = np.r_[0, ends] - positives
        below = (negatives[1:] + negatives[:-1]) / 2 / negatives[-1]
        above = 1 - (positives[1:] + positives[:-1]) / 2 / positives[-1]
        run = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        placement = np.where(positive, below[run], above[run])
        area = placement[positive].mean()
        cells = 2 * groups[order] + positive
        found = np.bincount(cells, placement - np.where(positive, 0, area), 2 * count)
        outside[:, label], inside[:, label] = found.reshape(count, 2).T
    return {"inside": inside, "outside": outside}


def _metrics(sums: Sums) -> dict[str, np.ndarray]:
    """Return each metric, shape (groups,), NaN where its group does not define it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _of_numbers(sums) if "squared" in sums else _of_labels(sums)


def _of_numbers(sums: Sums) -> dict[str, np.ndarray]:
    rows, y, y2, absolute, squared = (part[:, 0] for part in sums.values())
    spread = y2 - y**2 / rows
    constant = spread <= 1e-12 * y2  # then R2 is 1 without an error, else 0, as scikit-learn has it
    r2 = np.where(constant, squared == 0, 1 - squared / spread)
    return {
        "rmse": np.sqrt(squared / rows),
        "mae": absolute / rows,
        "r2": np.where(rows > 1, r2, np.nan),
    }


def _of_labels(sums: Sums) -> dict[str, np.ndarray]:
    true, predicted, hit = (sums[name] for name in ("true", "predicted", "hit"))
    rows, named = true.sum(axis=1), true + predicted
    values = {
        "accuracy": hit.sum(axis=1) / rows,
        "balanced_accuracy": _mean(hit / true, true > 0),
        "precision_macro": _mean(hit / np.maximum(predicted, 1), named > 0),
        "recall_macro": _mean(hit / np.maximum(true, 1), named > 0),
        "f1_macro": _mean(2 * hit / named, named > 0),
    }
    if "loss" in sums:
        values["log_loss"] = sums["loss"][:, 0] / rows
    if "inside" in sums:
        positive = true[:, : sums["inside"].shape[1]]
        negative = rows[:, None] - positive
        area = sums["inside"] / positive + sums["outside"] / negative
        ranked = (positive > 0) & (negative > 0)
        if ranked.shape[1] == 2:
            ranked[:, 0] = False  # the second class says it all
        values["roc_auc"] = np.clip(_mean(area, ranked), 0, 1)
    return values


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the mean over classes, shape (groups,)."""
    return np.asarray(np.where(where, values, 0).sum(axis=1) / where.sum(axis=1))
