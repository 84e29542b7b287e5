"""The practices that the project's stages call: an update replaces this folder, so edit none of it."""

import os

__version__ = "0.1.0"

# Read by MLflow at import. Telemetry stays off unless the environment says otherwise, and a
# server that is down is reported after seconds, where MLflow's own default waits four minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # Great Expectations
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# The command line prints the addresses of runs itself.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
