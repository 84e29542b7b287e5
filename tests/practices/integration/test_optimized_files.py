"""The optimised copy lies beside the model's own files, which stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow_practices.data.hashing import file_hash
from mlflow_practices.model import safe_loading
from mlflow_practices.model.signature import features
from mlflow_practices.optimization import optimization, optimized_model
from mlflow_practices.optimization.array_preparation import to_arrays
from mlflow_practices.registry import model_files, versions
from mlflow_practices.tracking import recording
from mlflow_practices.tracking.session import Session
from sklearn.tree import DecisionTreeClassifier

import projects
import servers

ADDED = {"optimized/model.onnx", "optimized/report.json"}


def hashes(version: versions.Version, folder: Path) -> dict[str, str]:
    files = model_files.download(version, str(folder))
    return {
        path.relative_to(files).as_posix(): file_hash(path)
        for path in files.rglob("*")
        if path.is_file() and path.name != model_files.WRITTEN_BY_MLFLOW
    }


def test_a_version_gets_its_copy_once(
    project: Path, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> None:
    session = projects.open_project(overrides=["serving.optimize=false"])
    version = projects.train(session)
    X = features(table.drop(columns=["customer", "price"]), "label")
    without, once, twice = (tmp_path_factory.mktemp("files") for _ in range(3))
    before = hashes(version, without)
    report = optimization.add_optimized_copy(session, version, X)
    assert report.winner == "onnx", report.reason
    after = hashes(version, once)
    assert after.keys() - before.keys() == ADDED
    assert {name: after[name] for name in before} == before
    pipeline = safe_loading.load(once, session)
    copy = optimized_model.load(once, pipeline)
    assert copy is not None
    np.testing.assert_array_equal(copy.predict(to_arrays(X)), pipeline.predict(X))
    assert optimization.add_optimized_copy(session, version, X.head(9)) == report
    assert hashes(version, twice) == after


def test_a_server_keeps_the_copy_too(
    served: servers.TrainedProject,
    table: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.use(monkeypatch)
    session = projects.open_project()
    version = versions.find(session.client, session.settings.project.name, "1")
    files = model_files.download(version, str(tmp_path))
    pipeline = safe_loading.load(files, session)
    copy = optimized_model.load(files, pipeline)
    assert copy is not None
    assert copy.format == "onnx"
    X = features(table.drop(columns=["customer", "price", "seen"]), "label")
    np.testing.assert_array_equal(copy.predict(to_arrays(X)), pipeline.predict(X))


def test_a_model_saved_with_pickle_is_not_touched(
    session: Session, table: pd.DataFrame, tmp_path: Path
) -> None:
    X, y = table[["count"]].astype(float), table["label"]
    with session.stage("model-training"):
        model = recording.log_sklearn_model(
            DecisionTreeClassifier().fit(X, y),
            X.head(1),
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
    version = versions.register_challenger(session.client, model, "example", {})
    with pytest.raises(safe_loading.UnsafeModelError, match="is saved as cloudpickle"):
        optimization.add_optimized_copy(session, version, X)
    assert not ADDED & hashes(version, tmp_path / "files").keys()
