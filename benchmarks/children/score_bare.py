"""The peer of `score`: `python score_bare.py MODEL INPUT OUTPUT`, all in memory."""

# Runs in the project's environment, whose packages the template's own does not have.
# mypy: disable-error-code="import-not-found, import-untyped"

import sys

import mlflow.sklearn
import pandas as pd

model, source, output = sys.argv[1:]
table = pd.read_parquet(source)
table["prediction"] = mlflow.sklearn.load_model(model).predict(table)
table.to_parquet(output)
