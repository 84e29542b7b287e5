"""Metrics of your own: one entry each, and gates, intervals, card and plots know it."""

from mlflow_practices.evaluation.metrics import Metric
from sklearn.metrics import matthews_corrcoef, median_absolute_error

# A function takes what was true and what was predicted, and returns one number; see `Metric`.
METRICS = {
    "matthews": Metric(matthews_corrcoef, "classification"),
    "median_absolute_error": Metric(median_absolute_error, "regression", higher_is_better=False),
}
