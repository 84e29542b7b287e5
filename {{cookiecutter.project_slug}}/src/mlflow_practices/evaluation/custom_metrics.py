"""Metrics of a project's own: functions of rows, which are called once for each resample.

So their cost is limited: `RESAMPLES` resamples at most, of about `ROWS` rows at most. For a larger
table fewer groups are drawn than it has, and the distances to the metric of all rows shrink by the
root of that share (m out of n bootstrap: Bickel, Götze and van Zwet, Statistica Sinica, 1997).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..config.metrics import Metric
from .scores import Scores, draw_groups

if TYPE_CHECKING:
    from .predictions import Predictions

RESAMPLES = 200
ROWS = 4_000

OnRows = Callable[[np.ndarray | slice], float]  # the metric of the rows of this index


class _UndefinedError(Exception):
    """A metric is not defined on some rows; the message says why."""


def measure(
    y: pd.Series,
    predictions: Predictions,
    metrics: Mapping[str, Metric],
    resamples: int = 0,
    seed: int = 0,
) -> Scores:
    """Return the metrics that the rows define, and their values on resamples.

    A metric of the other problem type is left out. One that most resamples do not define counts as
    not defined, since it would have no interval.
    """
    kind = "classification" if predictions.classification else "regression"
    own = {name: metric for name, metric in metrics.items() if metric.problem_type == kind}
    points, replicates, undefined = {}, {}, {}
    samples, shrink = _draw_rows(len(y), min(resamples, RESAMPLES), seed) if own else ([], 1.0)
    for name, metric in own.items():
        try:
            on_rows = _on_rows(metric, y, predictions)
            point = on_rows(slice(None))
        except _UndefinedError as reason:
            undefined[name] = str(reason)
            continue
        values, last_reason = _on_each(on_rows, samples)
        defined = int(np.isfinite(values).sum())
        if samples and 2 * defined <= len(samples):
            share = f"only {defined} of {len(samples)} resamples define it"
            undefined[name] = f"{share}: {last_reason}"
            continue
        points[name] = point
        replicates[name] = point + shrink * (values - point)
    better = {name: metric.higher_is_better for name, metric in own.items()}
    return Scores(points, replicates, better, undefined)


def by_slice(
    y: pd.Series, predictions: Predictions, metric: Metric, codes: np.ndarray
) -> np.ndarray:
    """Return a metric on each slice, shape (slices,), NaN where a slice does not define it."""
    return _on_each(_on_rows(metric, y, predictions), _rows_of_groups(codes))[0]


def _draw_rows(rows: int, resamples: int, seed: int) -> tuple[list[np.ndarray], float]:
    """Return the rows of each resample, and by what their distances to the point shrink."""
    groups, draws = draw_groups(rows, resamples, seed)
    members = _rows_of_groups(groups)
    size = max(1, round(len(members) * min(1, ROWS / rows)))
    samples = [
        np.concatenate([members[group] for group in drawn[:size]])
        for drawn in chain.from_iterable(draws)
    ]
    return samples, float(np.sqrt(size / len(members)))


def _rows_of_groups(groups: np.ndarray) -> list[np.ndarray]:
    order, sizes = np.argsort(groups, kind="stable"), np.bincount(groups)
    return np.split(order, np.cumsum(sizes)[:-1])


def _on_each(on_rows: OnRows, samples: Sequence[np.ndarray]) -> tuple[np.ndarray, str]:
    """Return the metric of each sample, NaN where not defined, and the reason of the last one."""
    values, reason = np.full(len(samples), np.nan), ""
    for number, rows in enumerate(samples):
        try:
            values[number] = on_rows(rows)
        except _UndefinedError as error:
            reason = str(error)
    return values, reason


def _on_rows(metric: Metric, y: pd.Series, predictions: Predictions) -> OnRows:
    true, predicted = y.to_numpy(), predictions.values
    if metric.needs_probabilities:
        if predictions.probabilities is None:
            raise _UndefinedError("the model gives no probabilities")
        predicted = predictions.probabilities.to_numpy()
        if predicted.shape[1] == 2:
            predicted = predicted[:, 1]

    def on_rows(rows: np.ndarray | slice) -> float:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # there would be one for each resample
                # Copies: a function may sort what it gets.
                found = metric.function(true[rows].copy(), predicted[rows].copy())
        except Exception as error:  # noqa: BLE001  whatever the function of a project raises
            # Its message may hold values of rows.
            raise _UndefinedError(f"its function raised {type(error).__name__}") from None
        if not isinstance(found, Real) or isinstance(found, bool):
            raise _UndefinedError(f"its function returned no number but {type(found).__name__}")
        if not abs(found) <= sys.float_info.max:
            raise _UndefinedError("its function returned no finite number")
        return float(found)

    return on_rows
