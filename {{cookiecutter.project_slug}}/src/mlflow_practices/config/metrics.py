"""Which metrics there are: the built-in ones, and what one of a project's own is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

ProblemType = Literal["classification", "regression"]

# By problem type and name, whether higher is better.
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

    The intervals call the function 200 times at most for each model, with 10,000 rows at most (see
    `evaluation.custom_metrics`), so that one that takes 10 ms for 10,000 rows takes 2 s.

    Attributes:
        function: takes two arrays, what was true and what was predicted, shape (rows,) each, with
            labels or numbers as the table holds them, and returns a finite number. With
            ``needs_probabilities`` the second holds probabilities, shape (rows, classes), columns
            in the order of the model's ``classes_``; of two classes, those of the second one alone,
            shape (rows,). Where it raises, the metric is not defined on these rows, and the
            evaluation says why.
        problem_type: which models it is of.
        needs_probabilities: whether it is computed of probabilities; of classification only.
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


def mistakes(own: Mapping[str, Metric]) -> list[str]:
    """Return what is wrong with a project's own metrics, a line each, with the remedy."""
    found = []
    for name, metric in own.items():
        if not _NAME.fullmatch(str(name)):
            found.append(
                f"{name!r}: names of metrics are lower-case letters, digits and _, and begin with "
                "a letter; rename it"
            )
        elif name in HIGHER_IS_BETTER:
            found.append(f"{name}: a built-in metric has this name; rename yours")
        elif not isinstance(metric, Metric):
            found.append(f'{name}: is no Metric; write Metric(function, "classification")')
        elif not callable(metric.function):
            found.append(f"{name}: its function cannot be called; give its name without quotes")
        elif metric.problem_type not in (kinds := get_args(ProblemType)):
            found.append(
                f"{name}: problem_type is {metric.problem_type!r}; use {' or '.join(kinds)}"
            )
        elif metric.needs_probabilities and metric.problem_type == "regression":
            found.append(f"{name}: regression has no probabilities; leave out needs_probabilities")
    return found
