"""A saved model is loaded without pickle, and holds no type that nobody vouched for."""

import pandas as pd
import pytest
from mlflow_practices.model.estimators import make_pipeline
from mlflow_practices.model.safe_loading import UnsafeModelError, trusted_types, untrusted
from mlflow_practices.model.signature import features
from mlflow_practices.tracking.session import Session
from my_ml_project.features import build

import projects


def test_a_type_that_nobody_vouched_for_is_refused(table: pd.DataFrame, session: Session) -> None:
    X = features(table[["size", "label"]], "label")
    pipeline = make_pipeline(build(X, session.settings), session.settings).fit(X, table["label"])
    pipeline.strange = pytest.MonkeyPatch()
    with pytest.raises(UnsafeModelError, match=r"training.trusted_types: .*MonkeyPatch"):
        trusted_types(pipeline, session)
    strange = "_pytest.monkeypatch.MonkeyPatch"
    vouched = projects.open_project(overrides=[f"training.trusted_types=[{strange}]"])
    assert strange in trusted_types(pipeline, vouched)


def test_no_function_of_a_trusted_library_is_vouched_for(session: Session) -> None:
    """A saved model may have those that it lists called, and this one runs code."""
    function = "numpy.testing._private.utils.runstring"
    assert untrusted([function], "sklearn", session) == [function]
    types = ["sklearn.tree._tree.Tree", "numpy.dtype", "numpy.log1p", "my_ml_project.x.Y"]
    assert untrusted(types, "sklearn", session) == []
