"""The built-in metrics, and the class of a project's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from .. import privacy
from .validation_errors import SettingsError

ProblemType = Literal["classification", "regression"]

# For each problem type and name, whether higher is better.
METRICS: Mapping[ProblemType, Mapping[str, bool]] = {
    "classification": {
        "accuracy": True,
        "balanced_accuracy": True,
        "precision_macro": True,
        "recall_macro": True,
        "f1_macro": True,
        "log_loss": False,
        "roc_auc": True,
    },
    "regression": {"rmse": False, "mae": False, "r2": True},
}
HIGHER_IS_BETTER = {name: better for kind in METRICS.values() for name, better in kind.items()}

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


@dataclass(frozen=True)
class Metric:
    """A metric of a project's own, computed wherever the built-in ones are.

    The intervals call the function at most 200 times for each model, with at most 4,000 rows (see
    `evaluation.custom_metrics`): a function that takes 5 ms for 4,000 rows adds 1 s.

    Attributes:
        function: takes two arrays of shape (rows,), the true and the predicted labels or numbers,
            and returns a finite number. With ``needs_probabilities`` the second array contains
            probabilities, shape (rows, classes), columns in the order of the model's ``classes_``;
            with two classes those of the second, shape (rows,). If it raises, the metric is not
            defined on these rows, and the evaluation reports why.
        problem_type: the kind of models that it measures.
        needs_probabilities: whether it takes probabilities; for classification only.
        higher_is_better: which way is better.

    Example:
        >>> def cost(true, predicted):
        ...     return float(5 * ((true == "ill") & (predicted == "well")).mean())
        >>> METRICS = {"cost": Metric(cost, "classification", higher_is_better=False)}
    """

    function: Callable[..., float]
    problem_type: ProblemType
    needs_probabilities: bool = False
    higher_is_better: bool = True


def check_custom_metrics(own: Mapping[str, Metric]) -> None:
    """Check a project's own metrics.

    Raises:
        SettingsError: a name or a metric is wrong; one line each, with the remedy.
    """
    mistakes = [(name, _mistake(name, metric)) for name, metric in own.items()]
    if lines := [f"metrics.py: {name}: {mistake}" for name, mistake in mistakes if mistake]:
        raise SettingsError("\n".join(lines))


def _mistake(name: str, metric: Metric) -> str | None:
    if not _NAME.fullmatch(str(name)):
        return "a metric's name has lower-case letters, digits and _, and begins with a letter"
    if name in HIGHER_IS_BETTER:
        return "a built-in metric has this name; rename yours"
    if privacy.is_sensitive(name):
        return "the name says personal data or a secret, which is never written; rename it"
    if not isinstance(metric, Metric):
        return 'is no Metric; write Metric(function, "classification")'
    if not callable(metric.function):
        return "its function cannot be called; give its name without quotes"
    if metric.problem_type not in get_args(ProblemType):
        return f"problem_type is {metric.problem_type!r}; use classification or regression"
    if metric.needs_probabilities and metric.problem_type == "regression":
        return "regression has no probabilities; leave out needs_probabilities"
    return None
