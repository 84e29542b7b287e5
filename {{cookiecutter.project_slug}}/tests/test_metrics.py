"""The project's own metrics."""

import numpy as np
import pytest

from {{ cookiecutter.package_name }}.metrics import METRICS


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_prediction_is_better_than_a_wrong_one(name: str) -> None:
    metric = METRICS[name]
    if metric.problem_type == "classification":
        true = np.array([0, 1, 0, 1, 1, 0])
        wrong = 1 - true
        right = true
        if metric.needs_probabilities:
            right, wrong = (np.clip(labels, 0.1, 0.9) for labels in (right, wrong))
    else:
        true = right = np.linspace(1, 10, 6)
        wrong = true[::-1]
    better, worse = metric.function(true, right), metric.function(true, wrong)
    assert (better > worse) == metric.higher_is_better
