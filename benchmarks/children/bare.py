"""The peer of the pipeline: `python bare.py CSV JOBLIB N_JOBS`, a script without any of the practices.

It reads the same file, fits the same estimator on as many rows and writes the model.
"""

import sys

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

jobs = int(sys.argv[3]) or None
table = pd.read_csv(sys.argv[1])
train, _ = train_test_split(table, train_size=0.7, random_state=42)
X, y = train.drop(columns="target"), train["target"]
text = list(X.select_dtypes("str"))
model = make_pipeline(
    make_column_transformer((OneHotEncoder(sparse_output=False), text), remainder="passthrough"),
    RandomForestClassifier(n_estimators=100, min_samples_leaf=2, random_state=42, n_jobs=jobs),
)
joblib.dump(model.fit(X, y), sys.argv[2])
