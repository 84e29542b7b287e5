"""The whole road against a real store, and what MLflow says of it afterwards."""

import signal
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run
from mlflow_practices import tracking
from mlflow_practices.data import DataError, splits, versioning
from mlflow_practices.registry import versions
from mlflow_practices.tracking import experiments, identity
from mlflow_practices.tracking.session import Session
from my_ml_project import data_preparation, model_evaluation, model_training, pipeline
from my_ml_project.model_evaluation import Evaluated

import projects

REGRESSION = ["problem_type=regression data.target=price data.drop=[label, customer]"]


def runs(session: Session, phase: str) -> list[Run]:
    found = session.client.get_experiment_by_name(f"example/{phase}")
    return session.client.search_runs([found.experiment_id]) if found else []


def measured(evaluated: Evaluated) -> dict[str, float]:
    return {name: found.value for name, found in evaluated.verdict.metrics.items()}


def test_each_split_is_hashed_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def counted(name: str) -> Any:
        function = getattr(versioning, name)

        def hash_it(value: Any) -> str:
            hashed.append(name)
            return str(function(value))

        return hash_it

    for name in ("content_hash", "file_hash"):
        monkeypatch.setattr(versioning, name, counted(name))
    manifest = data_preparation.run(session).manifest
    assert hashed.count("content_hash") == 3
    assert hashed.count("file_hash") == 1 + 3  # the raw file, and the bytes of each split
    hashed.clear()
    with session.stage("model-training"):
        train = splits.read_and_log_split(manifest, "train", session.settings)
    assert train.dataset.digest == manifest.splits["train"].hash
    assert hashed == []  # its bytes were, and are the manifest's


@pytest.mark.parametrize("overrides", [[], REGRESSION], ids=["classification", "regression"])
def test_the_pipeline_leaves_an_evaluated_challenger(project: Path, overrides: list[str]) -> None:
    if overrides:
        overrides = [*overrides, "training.estimator=sklearn.ensemble.RandomForestRegressor"]
    session = projects.open_project(overrides=overrides)
    evaluated = pipeline.run(session)

    [prepared], [trained], [measured] = (
        runs(session, phase) for phase in ("data-preparation", "model-training", "model-evaluation")
    )
    for run in (prepared, trained, measured):
        assert run.info.status == "FINISHED"
        assert run.data.tags["pipeline_id"] == prepared.data.tags["pipeline_id"]
        assert run.data.tags["data_version"] == prepared.data.tags["data_version"]
        assert run.data.params["training.seed"] == "42"
    assert trained.data.tags["upstream_run_id"] == prepared.info.run_id
    assert measured.data.tags["upstream_run_id"] == trained.info.run_id
    assert trained.data.params["random_seed"] == "42"
    assert trained.inputs is not None
    assert {entry.dataset.digest for entry in trained.inputs.dataset_inputs} == {
        prepared.data.params["train_hash"],
        prepared.data.params["validation_hash"],
    }

    client = MlflowClient()
    version = client.get_model_version_by_alias("example", versions.CHALLENGER)
    assert version.run_id == trained.info.run_id
    assert "| Baseline |" in str(version.description)
    metrics = measured.data.metrics
    if overrides:
        assert metrics["test_rmse"] < 0.5 * metrics["baseline_rmse"]
        assert metrics["test_r2"] > 0.8
    else:
        assert metrics["test_accuracy"] > metrics["baseline_accuracy"] + 0.2
        assert 0.8 < metrics["test_roc_auc"] <= 1
    linked = client.get_logged_model(evaluated.version.model_id)
    assert linked.metrics
    assert {metric.key for metric in linked.metrics} >= set(metrics)
    plots = {item.path for item in client.list_artifacts(measured.info.run_id, "plots")}
    expected = (
        {"residual_vs_predicted", "actual_vs_predicted"}
        if overrides
        else {"confusion_matrix", "roc", "precision_recall", "calibration"}
    )
    assert plots == {
        f"plots/{name}.png" for name in {*expected, "metrics", "permutation_importance"}
    }

    model = mlflow.pyfunc.load_model(evaluated.version.uri)
    example = model.input_example
    assert list(example) == ["size", "count", "colour", "active", "seen"]
    assert len(model.predict(example)) == len(example)
    assert len(model.predict(example.assign(colour=None, size=None))) == len(example)
    with pytest.raises(MlflowException, match="missing inputs"):
        model.predict(example.drop(columns="size"))


def test_without_sample_rows_no_row_is_stored(project: Path) -> None:
    version = projects.train(projects.open_project(overrides=["privacy.sample_rows=0"]))
    assert mlflow.pyfunc.load_model(version.uri).input_example is None
    stored = [path.name for path in (project / "mlruns").rglob("*") if path.is_file()]
    assert "train_schema.json" in stored
    assert not [name for name in stored if "sample" in name or "example" in name]


def test_the_same_seed_gives_the_same_result(session: Session) -> None:
    settings = session.settings
    first, second = (pipeline.run(session) for _ in range(2))
    assert second.version.number == first.version.number + 1
    assert second.version.data_version == first.version.data_version
    assert measured(second) == measured(first)
    folder = settings.path(settings.data.processed)
    test = versioning.load_manifest(folder).splits["test"].file
    rows = pd.read_parquet(folder / test)
    one, two = (
        mlflow.sklearn.load_model(v.version.uri).predict_proba(rows) for v in (first, second)
    )
    assert (one == two).all()


def test_stages_run_one_by_one(session: Session) -> None:
    manifest = data_preparation.run(session).manifest
    trained = model_training.run(session, manifest)
    assert trained.version.data_version == manifest.version
    found = versions.find(session.client, "example")
    assert found == trained.version
    assert measured(model_evaluation.run(session, found))["accuracy"] > 0.5


def test_a_version_is_measured_on_its_own_data(project: Path) -> None:
    session = projects.open_project()
    first = pipeline.run(session)
    data_preparation.run(projects.open_project(overrides=["data.split.seed=7"]))
    again = model_evaluation.run(session, versions.find(session.client, "example", "1"))
    assert measured(again) == measured(first)


def test_training_refuses_data_that_changed(session: Session) -> None:
    settings = session.settings
    prepared = data_preparation.run(session)
    path = settings.path(settings.data.processed) / prepared.manifest.splits["train"].file
    pd.read_parquet(path).iloc[::-1].to_parquet(path)
    with pytest.raises(DataError, match="changed since it was prepared"):
        model_training.run(session, prepared.manifest)
    [failed] = runs(session, "model-training")
    assert failed.info.status == "FAILED"
    assert "changed since it was prepared" in failed.data.tags["failure_reason"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_run_that_is_stopped_while_it_opens_does_not_stay_running(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = mlflow.start_run

    def start_run(*arguments: Any, **options: Any) -> mlflow.ActiveRun:
        run = original(*arguments, **options)
        signal.raise_signal(signal.SIGTERM)
        return run

    def stop(*_: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(mlflow, "start_run", start_run)
    former = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(SystemExit):
            data_preparation.run(session)
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, former)
    [stopped] = runs(session, "data-preparation")
    assert stopped.info.status == "FAILED"


def test_every_phase_has_an_experiment_that_says_what_it_is(session: Session) -> None:
    client = session.client
    done = experiments.create_experiments(client, "example", session.identity)
    assert set(done.values()) == {"created"}
    first = client.get_experiment_by_name("example/model-training")
    assert first is not None
    assert first.tags["author"] == str(identity.current(session.settings.root))
    client.set_experiment_tag(first.experiment_id, "mlflow.note.content", "rewritten by hand")
    gone = client.get_experiment_by_name("example/model-monitoring")
    assert gone is not None
    client.delete_experiment(gone.experiment_id)
    states = experiments.create_experiments(client, "example")
    assert states.pop("example/model-monitoring") == "deleted"
    assert set(states.values()) == {"exists"}
    assert {name.removeprefix("example/") for name in states} == set(tracking.PHASES) - {
        "model-monitoring"
    }
    again = client.get_experiment_by_name("example/model-training")
    assert again is not None
    assert again.tags["mlflow.note.content"] == "rewritten by hand"
    assert again.tags["project"] == "example"
