"""The behaviour in configs/behaviour.yaml, and that of any model. Add checks of your own below."""

from mlflow_practices.deployment.serving_checks.test_behaviour import *
