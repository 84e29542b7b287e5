"""The columns that a model takes: its signature, and whether a table has them."""

from __future__ import annotations

import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from sklearn.pipeline import Pipeline

SIGNATURE_ROWS = 1000


def features(table: pd.DataFrame, target: str) -> pd.DataFrame:
    """Return the columns to learn from; integers become floats, since those can be missing."""
    columns = table.drop(columns=target)
    return columns.astype(dict.fromkeys(columns.select_dtypes("integer"), "float64"))


def make_signature(X: pd.DataFrame, model: Pipeline) -> ModelSignature:
    """Return the model's signature: every column is required, a value in it may be missing."""
    rows = _typical_rows(X)
    inferred = infer_signature(rows, model.predict(rows))
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(column.type, column.name, required=True) for column in inferred.inputs
    ]
    return ModelSignature(Schema(columns), inferred.outputs)


def mismatch(signature: ModelSignature | None, X: pd.DataFrame) -> str:
    """Return a sentence on how a table's columns differ from a signature; empty if they fit."""
    if signature is None:
        return "it has no signature"
    types = {column.name: column.type for column in infer_signature(_typical_rows(X)).inputs}
    different = []
    for column in signature.inputs:
        found = types.get(column.name)
        if found != column.type:
            words = found.name if found else "missing"
            different.append(f"{column.name} ({column.type.name}) is {words}")
    return f"it needs other columns: {', '.join(different)}" if different else ""


def _typical_rows(X: pd.DataFrame) -> pd.DataFrame:
    """Return the first rows and, for each column, the first row that has a value."""
    present = {X[name].notna().argmax() for name in X.columns}
    return X.iloc[sorted(present | set(range(min(SIGNATURE_ROWS, len(X)))))]
