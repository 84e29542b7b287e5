"""Experiments and versions say what they are; saying it again writes nothing."""

import re
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow_practices.config.settings import Settings
from mlflow_practices.data import versioning
from mlflow_practices.evaluation.verdict import MetricResult, Verdict
from mlflow_practices.registry import card_rendering, model_card, versions
from mlflow_practices.registry.versions import Version
from mlflow_practices.tracking import documentation, recording, store
from my_ml_project.project import PROJECT
from sklearn.dummy import DummyClassifier

NOTE = documentation.DESCRIPTION
LONG_AGO = "2020-01-01T00:00:00Z"
TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
CARD = "# A card\n\nof ann@example.org"


@pytest.fixture
def client(settings: Settings) -> MlflowClient:
    return store.connect(settings)


@pytest.fixture
def version(client: MlflowClient) -> Version:
    """Return a version whose preparation and training are on record."""
    with mlflow.start_run() as preparation:
        recording.log_metrics_efficiently({"raw_quality_score": 0.875})
    with mlflow.start_run():
        recording.set_tags(
            {
                "upstream_run_id": preparation.info.run_id,
                "git_commit": "c0ffee",
                "git_dirty": "true",
                "python_version": "3.11.7",
                "packages": "as locked",
                "author_account": "ben",
            }
        )
        recording.log_params({"training.estimator": "a.B", "training.seed": 7, "data.raw": "x"})
        model = recording.log_sklearn_model(
            DummyClassifier().fit([[0], [1]], [0, 1]),
            pd.DataFrame(),
            pip_requirements=["scikit-learn>=1"],
        )
        tags = {"data_version": "abc", "pipeline_id": "p1"}
        return versions.register_challenger(client, model, "example", tags)


def collect(client: MlflowClient, settings: Settings, version: Version) -> str:
    """Return the Markdown of the version's card."""
    measured = {"accuracy": MetricResult(0.5, 0.4, 0.6)}
    values = model_card.collect_values(
        client,
        settings,
        version,
        versioning.Manifest(
            version="abc",
            source=versioning.Source(path="data/raw/a.csv", sha256="5" * 64, bytes=9, rows=1234),
            target="label",
            columns={"size": "float64", "label": "str"},
            splits={"train": versioning.SplitFile(file="f", rows=1000, hash="h", sha256="s")},
            notes=["a note"],
            run_id="another",
            pipeline_id="p1",
        ),
        Verdict("no-champion", [], measured, [], rows=10, latency_ms=1, size_mb=1),
        model_card.Statements(),
        "the-evaluation",
    )
    template = PROJECT.root / model_card.TEMPLATE
    return card_rendering.render_card(template, values, {}).markdown


def test_an_experiment_says_what_it_is_and_again_nothing_is_written(
    client: MlflowClient, project: Path
) -> None:
    def describe(text: str, owner: str, *, overwrite: bool = True) -> dict[str, str]:
        tags = {"owner": owner, "phase": "x"}
        state = documentation.document_experiment(client, "a/b", text, tags, overwrite=overwrite)
        found = client.get_experiment_by_name("a/b")
        assert found is not None
        return {**found.tags, "state": state}

    first = describe("Of ann@example.org", "ben")
    assert re.fullmatch(TIME, first.pop("documented_at"))
    assert first == {"owner": "ben", "phase": "x", NOTE: "Of [REDACTED]", "state": "created"}

    number = client.get_experiment_by_name("a/b")
    assert number is not None
    client.set_experiment_tag(number.experiment_id, "documented_at", LONG_AGO)
    before = (project / "mlflow.db").read_bytes()
    assert describe("Of ann@example.org", "ben") == {
        **first,
        "state": "exists",
        "documented_at": LONG_AGO,
    }
    describe("Mine", "cat", overwrite=False)
    assert (project / "mlflow.db").read_bytes() == before

    after = describe("Ours", "ben")
    assert (after[NOTE], after["owner"]) == ("Ours", "ben")
    assert after["documented_at"] > LONG_AGO

    client.delete_experiment(number.experiment_id)
    assert describe("Gone", "cat")["state"] == "deleted"
    assert describe("Gone", "cat")[NOTE] == "Ours"


def test_what_an_experiment_lacks_is_added_and_the_rest_left(client: MlflowClient) -> None:
    number = client.create_experiment("a/b", tags={NOTE: "by hand", "owner": ""})
    tags = {"owner": "ben", "phase": "x"}
    assert documentation.document_experiment(client, "a/b", "?", tags, overwrite=False) == "exists"
    found = client.get_experiment(number).tags
    assert re.fullmatch(TIME, found.pop("documented_at"))
    assert found == {NOTE: "by hand", "owner": "", "phase": "x"}


def test_a_version_says_what_it_reaches_and_again_nothing_is_written(
    client: MlflowClient, version: Version, project: Path
) -> None:
    def describe(text: str, metrics: dict[str, float], gate: str, author: str = "ben") -> None:
        outcomes = {"verdict": "passed", f"{documentation.GATE}{gate}": "passed: by ann@x.org"}
        documentation.document_model(client, "example", 1, text, metrics, author, outcomes)

    describe(CARD, {"accuracy": 0.91234567, "rmse": 2}, "size")
    made = client.get_model_version("example", "1")
    assert made.description == "# A card\n\nof [REDACTED]"
    assert re.fullmatch(TIME, made.tags["documented_at"])
    assert made.tags["author"] == "ben"
    assert made.tags["metric_accuracy"] == "0.912346"
    assert made.tags["metric_rmse"] == "2"
    assert made.tags["gate.size"] == "passed: by [REDACTED]"
    assert made.tags["data_version"] == "abc"  # what others set stays

    client.set_model_version_tag("example", "1", "documented_at", LONG_AGO)
    before = (project / "mlflow.db").read_bytes()
    describe(CARD, {"accuracy": 0.91234567, "rmse": 2}, "size")
    again = client.get_model_version("example", "1")
    assert again.last_updated_timestamp == made.last_updated_timestamp
    assert again.tags == {**made.tags, "documented_at": LONG_AGO}
    assert (project / "mlflow.db").read_bytes() == before

    describe(CARD, {"accuracy": 0.91234567}, "latency")
    changed = client.get_model_version("example", "1").tags
    gone = {key for key in made.tags if key not in changed}
    assert gone == {"metric_rmse", "gate.size"}
    assert changed["documented_at"] > LONG_AGO


@pytest.mark.parametrize(
    ("text", "metrics", "author"),
    [
        ("other", {"accuracy": 0.5}, "ben"),
        (CARD, {"accuracy": 0.6}, "ben"),
        (CARD, {"accuracy": 0.5}, "cat"),
        (CARD, {}, "ben"),
    ],
    ids=["description", "metric", "author", "fewer metrics"],
)
def test_any_change_is_dated(
    client: MlflowClient, version: Version, text: str, metrics: dict[str, float], author: str
) -> None:
    documentation.document_model(client, "example", 1, CARD, {"accuracy": 0.5}, "ben")
    client.set_model_version_tag("example", "1", "documented_at", LONG_AGO)
    documentation.document_model(client, "example", 1, text, metrics, author)
    assert client.get_model_version("example", "1").tags["documented_at"] > LONG_AGO


def test_a_card_tells_what_mlflow_knows(
    client: MlflowClient, settings: Settings, version: Version
) -> None:
    card = collect(client, settings, version)
    upstream = client.get_run(version.run_id).data.tags["upstream_run_id"]
    for line in (
        "# example/1",
        "**Approval:** none yet",
        "- **Estimator:** a.B",
        "- **Author:** ben",
        "- **Source:** data/raw/a.csv, 1,234 rows",
        f"- **SHA-256 of the source:** {'5' * 64}",
        "- **Rows:** train 1,000",
        "- **Columns:** 2, with the target label",
        "- **Quality scores:** raw 0.875, prepared not found",
        "- **Note 1:** a note",
        "| training.seed | 7 |",
        "- **Chain:** data/raw/a.csv -> data abc -> training -> example/1",
        f"- **Preparation run:** {upstream}",
        f"- **Training run:** {version.run_id}",
        "- **Commit:** c0ffee, files differed from it",
        "- **Packages:** as locked",
        f"- **The model needs:** mlflow=={mlflow.__version__}, scikit-learn>=1",
    ):
        assert f"{line}\n" in card
    assert "data.raw" not in card


def test_a_card_of_deleted_runs_says_so(
    client: MlflowClient, settings: Settings, version: Version
) -> None:
    upstream = client.get_run(version.run_id).data.tags["upstream_run_id"]
    client.delete_run(upstream)
    card = collect(client, settings, version)
    assert f"- **Preparation run:** {upstream} not found\n" in card
    assert "- **Estimator:** a.B\n" in card
    client.delete_run(version.run_id)
    client.delete_logged_model(version.model_id)
    card = collect(client, settings, version)
    for line in (
        "- **Estimator:** not found",
        f"- **Training run:** {version.run_id} not found",
        "- **Preparation run:** another not found",  # as the manifest says
        "- **Commit:** not found",
        "- **Python:** not found",
    ):
        assert f"{line}\n" in card
    assert "## Parameters" not in card
