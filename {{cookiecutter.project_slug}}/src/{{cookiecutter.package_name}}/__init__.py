"""The project: its data, features, metrics and stages. What they call is in `mlflow_practices`."""
