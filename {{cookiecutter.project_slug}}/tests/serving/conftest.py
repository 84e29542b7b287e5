"""The server under test: the one at SERVING_URL, otherwise a staging server with a model that was trained on a sample."""

from mlflow_practices.deployment.serving_checks.fixtures import expected, server

__all__ = ["expected", "server"]
