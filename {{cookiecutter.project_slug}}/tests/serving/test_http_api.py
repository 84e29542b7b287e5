"""Every form of a request, and clear refusals. Add checks of your own below."""

from mlflow_practices.deployment.serving_checks.test_http_api import *
