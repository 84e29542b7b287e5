"""Write requests and their right answers: `python serving_requests.py ROWS FILE VERSION...`

For each kind (`single` rows, `batch`es of 100) a list of requests with a body and, by each version,
the predictions of the original pipeline; `different` are single rows on which the versions differ.
The rows are those of the test split, with other numbers drawn from each column.
"""

import json
import sys
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow_practices.config.project import load_project
from mlflow_practices.config.settings import load_settings
from mlflow_practices.data import versioning
from mlflow_practices.tracking import store

rows, file, *names = sys.argv[1:]
settings = load_settings(load_project("my_ml_project"))
store.connect(settings)
BATCH = 100

folder = settings.path(settings.data.processed)
test = versioning.read_split(versioning.load_manifest(folder), "test", folder)
X = test.drop(columns=settings.data.target).dropna()
random = np.random.default_rng(0)
X = X.iloc[random.integers(len(X), size=int(rows))].reset_index(drop=True)
for name in X.select_dtypes("float"):
    X[name] = random.permutation(X[name]) + random.normal(0, 1e-3, len(X)).round(4)

answers, sure = {}, np.ones(len(X), dtype=bool)
for name in names:
    pipeline = mlflow.sklearn.load_model(f"models:/{name}")
    chances = np.sort(pipeline.predict_proba(X), axis=1)
    sure &= chances[:, -1] - chances[:, -2] > 1e-4  # at a tie, float32 may decide otherwise
    answers[name] = pipeline.predict(X)
X, answers = X[sure], {name: values[sure] for name, values in answers.items()}


def request(part: slice) -> dict[str, Any]:
    table: pd.DataFrame = X.iloc[part]
    split = table.astype(object).to_dict("split", index=False)
    right = {name: values[part].tolist() for name, values in answers.items()}
    return {"body": json.dumps({"dataframe_split": split}), "answers": right}


singles = [request(slice(i, i + 1)) for i in range(len(X))]
differ = [len({str(answer) for answer in each["answers"].values()}) > 1 for each in singles]
made = {
    "single": singles,
    "batch": [request(slice(i, i + BATCH)) for i in range(0, len(X) - BATCH + 1, BATCH)],
    "different": [each for each, differs in zip(singles, differ, strict=True) if differs],
}
Path(file).write_text(json.dumps(made), encoding="utf-8")
