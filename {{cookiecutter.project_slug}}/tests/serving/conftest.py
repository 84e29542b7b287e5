"""The server under test: the one at SERVING_URL, else a staging server for a model of a sample."""

from mlflow_practices.deployment.serving_checks.fixtures import expected, server

__all__ = ["expected", "server"]
