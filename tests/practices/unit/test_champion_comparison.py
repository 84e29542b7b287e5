"""A version beside the champion, as a job's summary shows it; on a real registry."""

import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from mlflow import MlflowClient
from mlflow_practices.tracking.session import Session

from projects import run_command

GOOD = {"metric_accuracy": "0.91", "metric_f1_macro": "0.9", "data_version": "d1"}
JUDGED = {"verdict": "failed", "gate.accuracy": "failed: it is: low", "gate.size": "passed: 1 MB"}


@pytest.fixture
def client(session: Session) -> MlflowClient:
    return session.client


def register(client: MlflowClient, name: str, tags: dict[str, str], alias: str) -> None:
    client.create_registered_model(name)
    made = client.create_model_version(name, "s3://models/1", tags=tags)
    client.set_registered_model_alias(name, alias, made.version)


def summary(*options: str) -> str:
    done = run_command("summary", *options)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_without_a_champion_it_says_so(client: MlflowClient) -> None:
    register(client, "example", GOOD | JUDGED, "challenger")
    text = summary()
    assert text.startswith("### example/1: failed\n")
    assert "| accuracy | 0.91 |" in text
    assert "There is no champion to compare with." in text
    assert "| accuracy | failed | it is: low |" in text
    assert MarkdownIt("commonmark").enable("table").render(text).count("<table>") == 2
    assert json.loads(summary("--champion")) is None


def test_beside_the_champion(client: MlflowClient, tmp_path: Path) -> None:
    register(client, "example", GOOD | {"metric_r2": "0.5"}, "challenger")
    other = {**GOOD, "metric_accuracy": "0.9", "data_version": "d0"}
    del other["metric_f1_macro"]
    register(client, "example-production", other, "champion")
    text = summary("example/1")
    assert "| accuracy | 0.91 | 0.9 | +0.01 |" in text
    assert "| r2 | 0.5 |  |  |" in text
    assert "The champion is example-production/1, measured on other data" in text

    # The champion of another store, as a pull request has it.
    file = tmp_path / "champion.json"
    file.write_text(summary("--champion"))
    client.delete_registered_model("example-production")
    assert summary("example/1", "--beside", str(file)) == text
    found = json.loads(file.read_text())
    file.write_text(json.dumps({**found, "data_version": "d1"}))
    assert "measured on the same data." in summary("--beside", str(file))
    file.write_text("null")
    assert "There is no champion" in summary("--beside", str(file))


@pytest.mark.parametrize(
    "content", [None, "{", "[]", "{}", '{"version": 1, "metrics": {"a": "b"}}']
)
def test_a_file_that_is_no_champion_is_one_line(
    client: MlflowClient, tmp_path: Path, content: str | None
) -> None:
    register(client, "example", GOOD, "challenger")
    file = tmp_path / "champion.json"
    if content is not None:
        file.write_text(content)
    done = run_command("summary", "--beside", str(file))
    assert done.exit_code == 1
    assert "champion.json: no champion" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_others_wrote_is_shown_as_text(client: MlflowClient) -> None:
    register(client, "example", {"verdict": "<img src=x>", "gate.a": "x: !| [y](z)"}, "challenger")
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(summary())
    assert "<img" not in page
    assert "not evaluated" not in page
