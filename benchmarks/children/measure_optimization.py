"""Time optimised copies: `python measure_optimization.py REPEATS`, prints JSON.

Three classes, eight numbers with gaps, two columns of text and a date.
"""

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pipelines
import skops.io
from mlflow_practices.model.safe_loading import trusted_types
from mlflow_practices.optimization.array_preparation import Preparation, to_arrays
from mlflow_practices.optimization.optimization import choose_fastest
from mlflow_practices.optimization.optimized_model import Optimized

repeats = int(sys.argv[1])

ROWS, FITTED = 10_000, 2000
CASES = {
    "forest of 100": ("ensemble.RandomForestClassifier", {"n_estimators": 100}),
    "forest of 500": ("ensemble.RandomForestClassifier", {"n_estimators": 500}),
    "gradient boosting": ("ensemble.GradientBoostingClassifier", {}),
    "histogram gradient boosting": ("ensemble.HistGradientBoostingClassifier", {}),
    "logistic regression": ("linear_model.LogisticRegression", {}),
}

random = np.random.default_rng(0)
X = pd.DataFrame({f"number_{i}": random.normal(size=ROWS) for i in range(8)})
y = pd.Series(np.array(["low", "mid", "high"])[np.digitize(X["number_0"] + X["number_1"], [-1, 1])])
X = X.mask(random.random(X.shape) < 0.05)
X["island"] = random.choice(["Biscoe", "Dream", "Torgersen"], ROWS)
X["sex"] = pd.Series(random.choice(["male", "female"], ROWS)).mask(random.random(ROWS) < 0.05)
X["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 900, ROWS), "D")
columns = to_arrays(X)


def milliseconds(predict: Callable[[Any], object], batch: object, times: int) -> float:
    """Return the median of some calls in a row: what ran before has emptied the caches."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        predict(batch)
        found.append(1000 * (time.perf_counter() - start))
    return median(found)


def measure(name: str, path: str, params: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the median milliseconds of each copy for each number of rows."""
    few = X.head(FITTED)
    model = pipelines.build(f"sklearn.{path}", params, few, "classification")
    skops.io.dump(model.fit(few, y.head(FITTED)), folder / "model.skops")
    start = time.perf_counter()
    trusted = trusted_types(model, pipelines.session)
    report, onnx = choose_fastest(folder / "model.skops", trusted, X.tail(FITTED))
    seconds = time.perf_counter() - start
    prepare = Preparation.from_pipeline(model)
    copies = {"arrays": Optimized(model, prepare)}
    if onnx is not None:
        copies["ONNX"] = Optimized(model, prepare, onnx)
    times = {}
    for rows, calls in ((1, 20), (100, 5), (ROWS, 1)):
        frame, batch = X.head(rows), {name: values[:rows] for name, values in columns.items()}
        rounds = [
            {"original": milliseconds(model.predict, frame, calls)}
            | {which: milliseconds(copy.predict, batch, calls) for which, copy in copies.items()}
            for _ in range(repeats)
        ]
        times[f"{rows:,}"] = {which: median(r[which] for r in rounds) for which in rounds[0]}
    return {
        "estimator": name,
        "seconds": seconds,
        "reason": report.reason,
        "milliseconds": times,
    }


warnings.simplefilter("ignore")
with tempfile.TemporaryDirectory() as folder:
    print(json.dumps([measure(name, *case, Path(folder)) for name, case in CASES.items()]))
