"""What a client may rely on: every form of a request, and refusals in words. Add checks of your own below."""

from mlflow_practices.deployment.serving_checks.test_http_api import *
