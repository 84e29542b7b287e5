"""The columns that a model takes, and what a table lacks of them."""

import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow_practices.config.settings import Settings
from mlflow_practices.model.estimators import make_pipeline
from mlflow_practices.model.signature import features, make_signature, mismatch
from my_ml_project.features import build


@pytest.fixture
def X(table: pd.DataFrame) -> pd.DataFrame:
    return features(table.drop(columns=["customer", "price"]), "label")


@pytest.fixture
def signed(table: pd.DataFrame, X: pd.DataFrame, settings: Settings) -> ModelSignature:
    """Return the signature of a model, of a column whose first value comes late, too."""
    X = X.assign(late=["late" if row > 100 else None for row in range(len(X))])
    pipeline = make_pipeline(build(X, settings), settings).fit(X, table["label"])
    return make_signature(X, pipeline)


def test_every_column_is_required_with_the_type_of_its_values(signed: ModelSignature) -> None:
    assert {column.name: column.type.name for column in signed.inputs} == {
        "size": "double",
        "count": "double",  # an integer could not be missing
        "colour": "string",
        "active": "boolean",
        "seen": "datetime",
        "late": "string",
    }
    assert all(column.required for column in signed.inputs)


def test_what_a_table_lacks_is_named(signed: ModelSignature, X: pd.DataFrame) -> None:
    assert mismatch(signed, X.assign(late="x", another=1)) == ""
    other = X.assign(late="x", colour=1.5).drop(columns="size")
    assert mismatch(signed, other) == (
        "it needs other columns: size (double) is missing, colour (string) is double"
    )
    assert mismatch(None, X) == "it has no signature"
