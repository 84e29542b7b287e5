"""Metrics of a project's own: plain functions of rows, measured wherever the built-in ones are.

A function has to be called for each resample, so its cost is bounded: at most `RESAMPLES` resamples,
of about `ROWS` rows at most. Where a table has more rows, fewer groups are drawn than it has, and
the distances to the metric of all rows shrink by the root of that share (m out of n bootstrap:
Bickel, Götze and van Zwet, Statistica Sinica, 1997). All models get the same rows.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from itertools import chain
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..config.metrics import Metric
from ..tracking import recording
from . import intervals
from .intervals import Resampled

if TYPE_CHECKING:
    from .metrics import Predictions

RESAMPLES = 200
ROWS = 10_000

OnRows = Callable[[np.ndarray | slice], float]  # the metric of the rows of this index


class _UndefinedError(Exception):
    """A metric is not defined on some rows; the message says why."""


def measure(
    y: pd.Series, predictions: Predictions, metrics: Mapping[str, Metric]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the metrics of all rows, and of each that is not defined on them the reason.

    Those that are not of this kind of predictions are left out.
    """
    kind = "classification" if predictions.classification else "regression"
    points, undefined = {}, {}
    for name, metric in metrics.items():
        if metric.problem_type == kind:
            try:
                points[name] = _on_rows(metric, y, predictions)(slice(None))
            except _UndefinedError as reason:
                undefined[name] = str(reason)
    return points, undefined


def resample(
    y: pd.Series,
    predictions: Predictions,
    metrics: Mapping[str, Metric],
    resamples: int,
    seed: int = 0,
) -> Resampled:
    """Return what `measure` does, with the values on resamples.

    A metric that most resamples do not define counts as not defined: it would have no interval.
    """
    points, undefined = measure(y, predictions, metrics)
    better = {name: metric.higher_is_better for name, metric in metrics.items()}
    if not points:
        return Resampled({}, {}, better, undefined)
    groups, draws = intervals.deal(len(y), min(resamples, RESAMPLES), seed)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    size = max(1, round(len(members) * min(1, ROWS / len(y))))
    shrink = np.sqrt(size / len(members))
    rows = [
        np.concatenate([members[group] for group in drawn[:size]])
        for drawn in chain.from_iterable(draws)
    ]
    replicates = {}
    for name in list(points):
        values, reason = _on_each(_on_rows(metrics[name], y, predictions), rows)
        defined = int(np.isfinite(values).sum())
        if 2 * defined > len(values):
            replicates[name] = points[name] + shrink * (values - points[name])
        else:
            del points[name]
            undefined[name] = f"only {defined} of {len(values)} resamples define it: {reason}"
    return Resampled(points, replicates, better, undefined)


def by_slice(
    y: pd.Series, predictions: Predictions, metric: Metric, codes: np.ndarray
) -> np.ndarray:
    """Return a metric on each slice, shape (slices,), NaN where a slice does not define it.

    Args:
        y: what was true, shape (rows,).
        predictions: of the same rows.
        metric: which.
        codes: the slice of each row, shape (rows,), counted from 0.
    """
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    return _on_each(_on_rows(metric, y, predictions), members)[0]


def log_undefined(undefined: Mapping[str, str]) -> None:
    """Say in a tag of the run which metrics are not defined on its rows, and why."""
    if undefined:
        reasons = [f"{name}: {reason}" for name, reason in undefined.items()]
        recording.set_tags({"undefined_metrics": "; ".join(reasons)})


def _on_each(on_rows: OnRows, every: list[np.ndarray]) -> tuple[np.ndarray, str]:
    """Return the metric of each set of rows, NaN where not defined, and a reason if any is not."""
    values, reason = np.full(len(every), np.nan), ""
    for number, rows in enumerate(every):
        try:
            values[number] = on_rows(rows)
        except _UndefinedError as why:
            reason = str(why)
    return values, reason


def _on_rows(metric: Metric, y: pd.Series, predictions: Predictions) -> OnRows:
    true, second = y.to_numpy(), predictions.values
    if metric.needs_probabilities:
        if predictions.probabilities is None:
            raise _UndefinedError("the model gives no probabilities")
        second = predictions.probabilities.to_numpy()
        second = second[:, 1] if second.shape[1] == 2 else second

    def on_rows(rows: np.ndarray | slice) -> float:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # there would be one a resample
                # Copies: a function may sort what it gets.
                found = metric.function(true[rows].copy(), second[rows].copy())
        except Exception as error:  # noqa: BLE001  whatever the function of a project raises
            # Its words may hold values of rows.
            raise _UndefinedError(f"its function raised {type(error).__name__}") from None
        if not isinstance(found, Real) or isinstance(found, bool):
            raise _UndefinedError(f"its function returned no number but {type(found).__name__}")
        if not abs(found) <= sys.float_info.max:
            raise _UndefinedError("its function returned no finite number")
        return float(found)

    return on_rows
