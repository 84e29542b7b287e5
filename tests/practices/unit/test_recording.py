"""Whatever goes to MLflow passes the redaction, and stays within MLflow's limits."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow_practices.config.settings import Settings
from mlflow_practices.tracking import asynchronous_logging, experiments, recording, store
from mlflow_practices.tracking.session import Session

import projects

PERSON, PASSWORD = "ann@example.org", "hunter2"


class Address:
    """Stands for an object that becomes text only when it is logged."""

    def __str__(self) -> str:
        return f"https://ann:{PASSWORD}@example.org/x"


def test_nothing_personal_reaches_the_store(settings: Settings) -> None:
    client = store.connect(settings)
    table = pd.DataFrame({"email": [PERSON], "text": [f"by {PERSON}"]}, index=[PERSON])
    with mlflow.start_run() as run:
        recording.log_params({"password": PASSWORD, "uri": Address(), PERSON: 1, "rows": 3})
        recording.log_params({"nested": {"deep": [{"api_key": PASSWORD}]}})
        recording.set_tags({"owner": PERSON, f"by {PERSON}": Address()})
        recording.log_metrics_efficiently({f"loss of {PERSON}": 0.5})
        recording.log_dict({PERSON: [{"token": PASSWORD}, PERSON], "rows": 3}, "values.json")
        recording.log_text(f"from {PERSON}", "page.html")
        recording.log_table(table, "table.json")
    found = client.get_run(run.info.run_id).data
    assert found.params["password"] == "[REDACTED]"
    assert found.params["rows"] == "3"
    assert found.metrics == {"loss of _REDACTED_": 0.5}
    ours = {key: value for key, value in found.tags.items() if not key.startswith("mlflow.")}
    written = f"{found.params}{ours}{found.metrics}".encode()
    folders = [settings.root, Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    written += b"".join(path.read_bytes() for path in files)
    assert b"from [REDACTED]" in written
    assert PERSON.encode() not in written
    assert PASSWORD.encode() not in written


def test_long_values_are_kept_whole(settings: Settings) -> None:
    client = store.connect(settings)
    names = [f"column_{number}" for number in range(5000)]
    with mlflow.start_run() as run:
        recording.log_params({"columns": names})
    param = client.get_run(run.info.run_id).data.params["columns"]
    assert param == "see the artifact long_params.json"
    kept = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/long_params.json")
    assert names[-1] in kept["columns"]


def test_a_series_is_logged_step_by_step(settings: Settings) -> None:
    client = store.connect(settings)
    values = [float(step) for step in range(1200)]  # more than MLflow takes at once
    with mlflow.start_run() as run:
        recording.log_metrics_efficiently({"loss": np.array(values[:1100])})
        recording.log_metrics_efficiently({"loss": values[1100:]}, step=1100)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == list(enumerate(values))


def test_arrays_keep_their_shape_and_type(settings: Settings) -> None:
    store.connect(settings)
    arrays = {
        "numbers": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "days": np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        "text": np.array([["a", f"by {PERSON}"]]),
    }
    with mlflow.start_run() as run:
        for name, array in arrays.items():
            recording.log_array(array, f"arrays/{name}.npy")
        with pytest.raises(recording.RecordingError, match="astype") as refused:
            recording.log_array(np.array([PERSON, None], dtype=object), "objects.npy")
    assert PERSON not in str(refused.value)
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    arrays["text"] = np.array([["a", "by [REDACTED]"]])
    for name, array in arrays.items():
        kept = np.load(folder / f"arrays/{name}.npy", allow_pickle=False)
        assert kept.dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(kept, array)


def test_large_tables_become_parquet(settings: Settings) -> None:
    store.connect(settings)
    large = pd.DataFrame({"number": range(recording.JSON_CELLS), "by": PERSON})
    mixed = large.assign(by=large["number"].astype(object).where(large["number"] > 0, "none"))
    with mlflow.start_run() as run:
        paths = [
            recording.log_table(large.head(), "tables/small.json"),
            recording.log_table(large, "tables/large.json"),
            recording.log_table(mixed, "tables/mixed.json"),
        ]
    assert paths == ["tables/small.json", "tables/large.parquet", "tables/mixed.json"]
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    kept = pd.read_parquet(folder / "tables/large.parquet")
    assert kept["number"].equals(large["number"])
    assert set(kept["by"]) == {"[REDACTED]"}


@pytest.fixture
def hasty(project: Path) -> Session:
    """Return a session that does not wait for what is logged."""
    return projects.open_project(overrides=["tracking.asynchronous=true"])


def only_run(session: Session) -> Run:
    [run] = experiments.find_runs(session.client, session.settings, "model-training")
    assert isinstance(run, Run)
    return run


def test_what_waits_is_sent_even_when_the_stage_fails(hasty: Session) -> None:
    def fail() -> None:
        with hasty.stage("model-training"):
            for step in range(500):
                recording.log_metrics_efficiently({"loss": step / 2}, step=step)
            recording.log_params({"late": 1})
            raise ValueError("too late")

    with pytest.raises(ValueError, match="too late"):
        fail()
    run = only_run(hasty)
    assert run.info.status == "FAILED"
    assert run.data.tags["failure_reason"] == "too late"
    assert run.data.params["late"] == "1"
    assert run.data.params["tracking.asynchronous"] == "True"
    history = hasty.client.get_metric_history(run.info.run_id, "loss")
    assert sorted((m.step, m.value) for m in history) == [(n, n / 2) for n in range(500)]


@pytest.mark.parametrize("calls", [0, 10_000])
def test_what_did_not_arrive_fails_the_run_as_soon_as_it_is_known(
    hasty: Session, calls: int
) -> None:
    logged = 0

    def log_twice() -> None:
        nonlocal logged
        with hasty.stage("model-training"):
            recording.log_params({"rows": 1})
            recording.log_params({"rows": 2})
            for logged in range(calls):
                recording.log_metrics_efficiently({"loss": 0.5}, step=logged)

    with pytest.raises(
        asynchronous_logging.LoggingError, match="did not arrive: Changing param values"
    ):
        log_twice()
    assert logged < 9_999
    run = only_run(hasty)
    assert run.info.status == "FAILED"
    assert "Changing param values is not allowed" in run.data.tags["failure_reason"]
