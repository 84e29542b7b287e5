"""The peer of `score`: `python score_bare.py MODEL INPUT OUTPUT`, all in memory."""

import sys

import mlflow.sklearn
import pandas as pd

model, source, output = sys.argv[1:]
table = pd.read_parquet(source)
table["prediction"] = mlflow.sklearn.load_model(model).predict(table)
table.to_parquet(output)
