"""The server answers as the model itself does. Add checks of your own below."""

from mlflow_practices.deployment.serving_checks.test_correctness import *
