"""Time an evaluation's gates: `python measure_gates.py ROWS REPEATS`, prints JSON.

Three classes whose labels are text, then numbers; predictions are made up before the clock starts.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pipelines
from mlflow_practices.config.metrics import METRICS, ProblemType
from mlflow_practices.config.sections import Gates
from mlflow_practices.evaluation.gates import judge
from mlflow_practices.evaluation.predictions import (
    Predictions,
    make_baseline,
    measure_latency,
    predict,
)
from sklearn import metrics

rows, repeats = map(int, sys.argv[1:])

random = np.random.default_rng(0)
labels = np.array(["Adelie", "Chinstrap", "Gentoo"], dtype=object)
codes = random.integers(3, size=rows)
X = pd.DataFrame({f"number_{i}": random.normal(size=rows) for i in range(5)})
X["island"] = np.array(["Biscoe", "Dream", "Torgersen"])[random.integers(3, size=rows)]
X["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 900, rows), "D")


def classifier(skill: float) -> Predictions:
    probabilities = random.dirichlet([1, 1, 1], rows)
    probabilities[np.arange(rows), codes] += skill
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    values = labels[probabilities.argmax(axis=1)]
    return Predictions(values, pd.DataFrame(probabilities, columns=labels), True)


def regressor(noise: float) -> Predictions:
    return Predictions(codes + random.normal(0, noise, rows), None, False)


def bare_classification(y: pd.Series, predictions: Predictions) -> None:
    predicted, probabilities = predictions.values, predictions.probabilities
    metrics.accuracy_score(y, predicted)
    metrics.balanced_accuracy_score(y, predicted)
    metrics.precision_score(y, predicted, average="macro")
    metrics.recall_score(y, predicted, average="macro")
    metrics.f1_score(y, predicted, average="macro")
    metrics.log_loss(y, probabilities)
    metrics.roc_auc_score(y, probabilities, multi_class="ovr")


def bare_regression(y: pd.Series, predictions: Predictions) -> None:
    metrics.root_mean_squared_error(y, predictions.values)
    metrics.mean_absolute_error(y, predictions.values)
    metrics.r2_score(y, predictions.values)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(
    problem: ProblemType, y: pd.Series, path: str, make: Any, bare: Any
) -> list[dict[str, float]]:
    """Return the seconds of each case in each round."""
    names = METRICS[problem]
    limits = {
        name: (
            {"at_least": 0.1, "beats_baseline_by": 0.0, "champion_margin": 0.1}
            if higher_is_better
            else {"at_most": 9.0, "champion_margin": 0.1}
        )
        for name, higher_is_better in names.items()
    }
    slices = {
        "columns": ["number_0", "island", "day"],
        "metric": next(iter(names)),
        "at_least": 0.0,
    }
    demanded = Gates.model_validate(
        {"metrics": limits, "slices": slices, "latency_ms": 1000, "size_mb": 1000}
    )
    few = X.head(1000)
    model = pipelines.build(path, {}, few, problem).fit(few, y.head(1000))
    dummy = predict(make_baseline(problem).fit(few, y.head(1000)), X)
    candidate, champion = make(0.5), make(0.49)

    def every_gate(latency_ms: float) -> None:
        verdict = judge(
            demanded, X, y, candidate, dummy, champion, latency_ms=latency_ms, size_mb=1
        )
        if verdict.outcome != "passed":
            raise SystemExit(f"a gate fails that should not: {verdict.failed}")

    cases = {
        "bare metrics": lambda: bare(y, candidate),
        "every gate": lambda: every_gate(measure_latency(model, X)),
        "every gate but latency": lambda: every_gate(1),
    }
    return [{name: seconds(case) for name, case in cases.items()} for _ in range(repeats)]


print(
    json.dumps(
        {
            "classification": compare(
                "classification",
                pd.Series(labels[codes]),
                "sklearn.linear_model.LogisticRegression",
                classifier,
                bare_classification,
            ),
            "regression": compare(
                "regression",
                pd.Series(codes.astype(float)),
                "sklearn.linear_model.Ridge",
                regressor,
                bare_regression,
            ),
        }
    )
)
