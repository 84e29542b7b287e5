"""The server gives the same answers as the model. Add your own checks below."""

from mlflow_practices.deployment.serving_checks.test_correctness import *
