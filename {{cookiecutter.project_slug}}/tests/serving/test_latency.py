"""One row takes no longer than evaluation.gates.latency_ms. Add checks of your own below."""

from mlflow_practices.deployment.serving_checks.test_latency import *
