"""Whatever goes to MLflow passes the redaction, and stays within MLflow's limits."""

from pathlib import Path

import mlflow
import pandas as pd

import {{ cookiecutter.package_name }}.settings as config
from {{ cookiecutter.package_name }}.tracking import recording, store

PERSON, PASSWORD = "ann@example.org", "hunter2"


class Address:
    """Stands for an object that becomes text only when it is logged."""

    def __str__(self) -> str:
        return f"https://ann:{PASSWORD}@example.org/x"


def test_nothing_personal_reaches_the_store(settings: config.Settings) -> None:
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


def test_long_values_are_kept_whole(settings: config.Settings) -> None:
    client = store.connect(settings)
    names = [f"column_{number}" for number in range(5000)]
    with mlflow.start_run() as run:
        recording.log_params({"columns": names})
    param = client.get_run(run.info.run_id).data.params["columns"]
    assert param == "see the artifact long_params.json"
    kept = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/long_params.json")
    assert names[-1] in kept["columns"]


def test_a_series_is_logged_step_by_step(settings: config.Settings) -> None:
    client = store.connect(settings)
    values = [float(step) for step in range(1200)]  # more than MLflow takes at once
    with mlflow.start_run() as run:
        recording.log_metrics_efficiently({"loss": values})
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == list(enumerate(values))
