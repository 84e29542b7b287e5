"""The metrics of a model on some rows, with bootstrap intervals.

Rows are put into random groups, and groups are resampled instead of rows (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993), so the cost does not grow with rows x resamples. With the same
seed all models get the same resamples, so their differences can be compared in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

GROUPS = 2000  # with fewer rows, each row is a group
BATCH = 64  # resamples at a time, which limits the memory


@dataclass(frozen=True)
class Scores:
    """The metrics that the rows define.

    Attributes:
        points: the values on all rows.
        replicates: the values on resamples, shape (resamples,), NaN where one does not define it.
        higher_is_better: of each metric.
        undefined: why a custom metric is not defined on these rows.
    """

    points: Mapping[str, float]
    replicates: Mapping[str, np.ndarray]
    higher_is_better: Mapping[str, bool]
    undefined: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: Scores) -> Scores:
        """Return the metrics of both."""
        return Scores(
            {**self.points, **other.points},
            {**self.replicates, **other.replicates},
            {**self.higher_is_better, **other.higher_is_better},
            {**self.undefined, **other.undefined},
        )

    def interval(self, metric: str, confidence: float) -> tuple[float, float]:
        """Return the percentile interval of a metric."""
        return _percentiles(self.replicates[metric], confidence)

    def gain(self, other: Scores, metric: str) -> float:
        """Return by how much this model is better than another; negative if it is worse."""
        return self._sign(metric) * (self.points[metric] - other.points[metric])

    def gain_interval(self, other: Scores, metric: str, confidence: float) -> tuple[float, float]:
        """Return the percentile interval of `gain`."""
        gains = self._sign(metric) * (self.replicates[metric] - other.replicates[metric])
        return _percentiles(gains, confidence)

    def _sign(self, metric: str) -> int:
        return 1 if self.higher_is_better[metric] else -1


def draw_groups(rows: int, resamples: int, seed: int) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Return the group of each row, shape (rows,), and the groups that are drawn for resamples.

    These come in batches, shape (resamples, groups).
    """
    random = np.random.default_rng(seed)
    count = min(rows, GROUPS)
    groups = random.permutation(rows) % count
    sizes = (min(BATCH, resamples - start) for start in range(0, resamples, BATCH))
    return groups, (random.integers(count, size=(size, count)) for size in sizes)


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
