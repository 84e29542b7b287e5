"""The metrics of predictions: the built-in ones and those of the project, measured alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config.metrics import Metric as Metric  # noqa: PLC0414  for the projects
from ..data.splits import LoggedSplit
from ..tracking import recording
from . import built_in_metrics, custom_metrics
from .predictions import Predictions, predict
from .scores import Scores

if TYPE_CHECKING:
    from ..config.project import Project


@dataclass(frozen=True)
class ScoredRows:
    """True values, shape (rows,), a model's predictions for the same rows, and custom metrics."""

    y: pd.Series
    predictions: Predictions
    custom: Mapping[str, Metric] = field(default_factory=dict)

    @cached_property
    def _encoded(self) -> built_in_metrics.EncodedRows:
        return built_in_metrics.encode(self.y, self.predictions)

    def measure(self, resamples: int = 0, seed: int = 0) -> Scores:
        """Return the metrics that the rows define, and their values on resamples."""
        custom = custom_metrics.measure(self.y, self.predictions, self.custom, resamples, seed)
        return built_in_metrics.measure(self._encoded, resamples, seed) | custom

    def by_slice(self, metric: str, codes: np.ndarray) -> np.ndarray:
        """Return a metric on each slice, shape (slices,), NaN where a slice does not define it.

        ``codes`` are the slice of each row, shape (rows,), counted from 0.
        """
        if metric in self.custom:
            return custom_metrics.by_slice(self.y, self.predictions, self.custom[metric], codes)
        return built_in_metrics.by_slice(self._encoded, metric, codes)


def log_validation_metrics(
    model: Any, validation: LoggedSplit, model_id: str, project: Project
) -> dict[str, float]:
    """Log the metrics of a model on the validation split, tied to both, and return them.

    A tag of the run names each custom metric that these rows do not define, with the reason.
    """
    rows = ScoredRows(validation.y, predict(model, validation.X), project.metrics)
    scores = rows.measure()
    log_undefined(scores.undefined)
    recording.log_metrics_efficiently(
        {f"{validation.name}_{name}": value for name, value in scores.points.items()},
        dataset=validation.dataset,
        model_id=model_id,
    )
    return dict(scores.points)


def log_undefined(undefined: Mapping[str, str]) -> None:
    """Record in a tag of the run which custom metrics are not defined on its rows, and why."""
    if undefined:
        reasons = [f"{name}: {reason}" for name, reason in undefined.items()]
        recording.set_tags({"undefined_metrics": "; ".join(reasons)})
