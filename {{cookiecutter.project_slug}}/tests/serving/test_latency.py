"""A row is answered as quickly as evaluation.gates.latency_ms demands. Add checks of your own below."""

from mlflow_practices.deployment.serving_checks.test_latency import *
