"""What the model must do by configs/behaviour.yaml, and what any model must. Add checks of your own below."""

from mlflow_practices.deployment.serving_checks.test_behaviour import *
