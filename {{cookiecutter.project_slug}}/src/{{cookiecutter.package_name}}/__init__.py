"""The project: its data, features, metrics and stages, which call `mlflow_practices`."""
