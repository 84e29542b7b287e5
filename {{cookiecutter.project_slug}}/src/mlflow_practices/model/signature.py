"""The columns that a model takes: its signature, and whether a table has them."""

from __future__ import annotations

import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from sklearn.pipeline import Pipeline

SIGNATURE_ROWS = 1000


def features(table: pd.DataFrame, target: str) -> pd.DataFrame:
    """Return the columns to learn from, integers as floats since those can be missing."""
    columns = table.drop(columns=target)
    return columns.astype(dict.fromkeys(columns.select_dtypes("integer"), "float64"))


def signature(X: pd.DataFrame, model: Pipeline) -> ModelSignature:
    """Return the model's signature: every column has to be there, a value in it may be missing.

    It is derived from the first rows and, for each column, the first row that has a value.
    """
    rows = _typical(X)
    inferred = infer_signature(rows, model.predict(rows))
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(column.type, column.name, required=True) for column in inferred.inputs
    ]
    return ModelSignature(Schema(columns), inferred.outputs)


def mismatch(signature: ModelSignature | None, X: pd.DataFrame) -> str:
    """Return a text on what a model needs and a table lacks; empty if it fits."""
    if signature is None:
        return "it has no signature"
    found = {column.name: column.type for column in infer_signature(_typical(X)).inputs}
    wrong = [
        f"{column.name} ({column.type.name}) is {there.name if there else 'missing'}"
        for column in signature.inputs
        if (there := found.get(column.name)) != column.type
    ]
    return f"it wants other columns: {', '.join(wrong)}" if wrong else ""


def _typical(X: pd.DataFrame) -> pd.DataFrame:
    present = {X[name].notna().argmax() for name in X.columns}
    return X.iloc[sorted(present | set(range(min(SIGNATURE_ROWS, len(X)))))]
