"""Metrics of your own. Gates, intervals, plots and the model card use each entry."""

from mlflow_practices.evaluation.metrics import Metric
from sklearn.metrics import matthews_corrcoef, median_absolute_error

# A function takes the true and the predicted values, and returns one number; see `Metric`.
METRICS = {
    "matthews": Metric(matthews_corrcoef, "classification"),
    "median_absolute_error": Metric(median_absolute_error, "regression", higher_is_better=False),
}
