"""What predictions are measured by; what some rows do not define is left out."""

import pandas as pd
from mlflow_practices.evaluation.metrics import ScoredRows
from mlflow_practices.evaluation.predictions import make_baseline, predict


def test_metrics_of_a_class_that_is_absent_are_left_out() -> None:
    X, y = pd.DataFrame({"a": [0.0, 1, 2, 3]}), pd.Series(["x", "y", "x", "y"])
    model = make_baseline("classification").fit(X, y)
    assert "roc_auc" in ScoredRows(y, predict(model, X)).measure().points
    assert "roc_auc" not in ScoredRows(y.replace("y", "x"), predict(model, X)).measure().points
