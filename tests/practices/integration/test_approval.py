"""Who may make a version the champion, and what stands against it; on a real store."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow_practices.registry import (
    approval,
    decisions,
    evidence,
    promotion,
    reports,
    signing,
    versions,
)
from mlflow_practices.registry.versions import Version
from mlflow_practices.tracking.session import Session
from my_ml_project import data_preparation, model_evaluation, model_training
from my_ml_project.model_evaluation import Evaluated

from projects import open_project, run_command
from servers import TrainedProject


@pytest.fixture
def session(served: TrainedProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """Return a session of a project on a server; before and afterwards nothing is in production."""
    served.use(monkeypatch)
    opened = open_project()
    empty_production(opened)  # other files of tests use the server, too
    yield opened
    empty_production(opened)


def empty_production(session: Session) -> None:
    if versions.list_versions(session.client, "example-production"):
        session.client.delete_registered_model("example-production")


@pytest.fixture
def client(session: Session) -> MlflowClient:
    return session.client


def another(client: MlflowClient) -> Version:
    """Register the trained model once more, as the challenger."""
    first = client.get_model_version("example", "1")
    made = client.create_model_version(
        "example",
        str(first.source),
        first.run_id,
        {key: first.tags[key] for key in ("data_version", "pipeline_id")},
        model_id=versions.as_version(first).model_id,
    )
    client.set_registered_model_alias("example", versions.CHALLENGER, made.version)
    return versions.as_version(made)


@pytest.fixture
def version(client: MlflowClient) -> Version:
    """Return a new version."""
    return another(client)


@pytest.fixture
def evaluated(session: Session, version: Version) -> Evaluated:
    return model_evaluation.run(session, version)


@pytest.fixture
def approved(session: Session, evaluated: Evaluated) -> Version:
    version: Version = evaluated.version
    approval.approve_model(version.name, version.number, "looks right", session)
    return version


def reasons(session: Session, version: Version, *options: str) -> str:
    """Return what the command line says against a promotion; it has to refuse."""
    before = versions.find_by_alias(MlflowClient(), "example-production", "champion")
    done = run_command("promote", str(version), *options)
    assert done.exit_code == 1
    assert "cannot be promoted" in done.stderr
    assert versions.find_by_alias(MlflowClient(), "example-production", "champion") == before
    return " ".join(done.stderr.split())


def test_the_whole_road_on_the_command_line(
    session: Session, client: MlflowClient, version: Version
) -> None:
    name = str(version)
    said = reasons(session, version)
    assert "no finished evaluation" in said
    assert "nobody has approved it" in said
    for command in (
        ["evaluate", "--version", str(version.number)],
        ["approve", name, "--reason", "better than what we have"],
    ):
        done = run_command(*command)
        assert done.exit_code == 0, done.output
    dry = run_command("promote", name, "--dry-run")
    assert "would be copied to example-production" in dry.stdout
    assert versions.list_versions(client, "example-production") == []
    done = run_command("promote")
    assert f"{name} is the champion now, as example-production/1" in done.stdout, done.output
    again = run_command("promote", name)
    assert f"{name} is the champion already" in again.stdout, again.output

    champion = client.get_model_version_by_alias("example-production", "champion")
    assert champion.tags["source_version"] == name
    assert champion.tags["approved_by"].startswith("ann@example.com")
    assert "better than what we have" in str(champion.description)
    loaded = mlflow.sklearn.load_model("models:/example-production@champion")
    assert hasattr(loaded, "predict_proba")

    # The next one is judged beside it, and takes its place.
    second = another(client)
    done = run_command("evaluate", "--version", str(second.number))
    assert done.exit_code == 0, done.output
    tags = client.get_model_version("example", str(second.number)).tags
    assert tags["verdict"] == "passed"
    for words in (["approve", "--reason", "again"], ["promote"]):
        done = run_command(*words, str(second))
        assert done.exit_code == 0, done.output
    holders = client.get_registered_model("example-production").aliases
    assert {alias: int(number) for alias, number in holders.items()} == {
        "champion": 2,
        "previous": 1,
    }
    new, old = str(second), name
    events = reports.list_events(client, session.settings)
    assert [(event.action, event.version) for event in events[:4]] == [
        ("promotion", new),
        ("approved", new),
        ("promotion", old),
        ("approved", old),
    ]
    assert events[0].result == "champion as example-production/2"
    shown = run_command("registry", "history").stdout
    assert all(event.action in shown and event.version in shown for event in events[:4])
    assert events[1].who.startswith("ann@example.com")
    assert "champion" in run_command("registry", "list").stdout
    rows = [row[:2] for row in reports.version_rows(client, "example")]
    assert rows[:2] == [["example-production/2", "champion"], ["example-production/1", "previous"]]
    assert rows[2] == [new, "challenger"]
    shown = run_command("registry", "show", new).stdout
    assert "approved by ann@example.com" in " ".join(shown.split())
    link = {
        link["name"]: link
        for link in json.loads(
            run_command("lineage", "show", "example-production@champion", "--json").stdout
        )["links"]
    }
    assert link["approval"]["status"] == "ok", link
    assert link["evaluation"]["status"] == "ok"


def test_a_version_that_failed_a_gate_is_refused(
    session: Session, client: MlflowClient, version: Version
) -> None:
    strict = "evaluation.gates.metrics={accuracy: {at_least: 1.0}, f1_macro: {at_least: 0.1}}"
    done = run_command("evaluate", "--version", str(version.number), "--set", strict)
    assert done.exit_code == 1
    assert f"{version} failed 1 of 2 gates" in done.stderr
    assert "accuracy at least" in done.stderr
    found = evidence.latest_evaluation(client, session.settings, version)
    assert found is not None
    assert found.info.status == "FINISHED"
    assert found.data.tags["verdict"] == "failed"
    tags = client.get_model_version("example", str(version.number)).tags
    assert tags["verdict"] == "failed"
    assert tags["gate.accuracy_at_least"].startswith("failed")
    assert tags["gate.f1_macro_at_least"].startswith("passed")
    with pytest.raises(decisions.ApprovalError, match="failed"):
        approval.approve_model("example", version.number, "please", session)
    said = reasons(session, version)
    assert "failed: accuracy" in said
    assert "nobody has approved it" in said


def test_an_approval_needs_an_evaluation_and_a_reason(session: Session, version: Version) -> None:
    with pytest.raises(decisions.ApprovalError) as caught:
        approval.approve_model("example", version.number, "  ", session)
    assert "no finished evaluation" in str(caught.value)
    assert "no reason is given" in str(caught.value)


def test_a_rejection_wins_until_a_new_approval(
    session: Session, client: MlflowClient, approved: Version
) -> None:
    assert promotion.check_promotion(client, session.settings, approved)[1] == []
    done = run_command("reject", str(approved), "--reason", "bias, ask bob@example.com")
    assert done.exit_code == 0, done.output
    said = reasons(session, approved)
    assert re.search(r"rejected by \S+ .* bias, ask \[REDACTED\]", said)
    assert "@" not in said
    described = str(client.get_model_version("example", str(approved.number)).description)
    assert "**Approval:** rejected by ann@example.com" in described
    approval.approve_model("example", approved.number, "mended", session)
    assert promotion.check_promotion(client, session.settings, approved)[1] == []


def test_an_approval_expires(
    session: Session,
    client: MlflowClient,
    evaluated: Evaluated,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limited = open_project(overrides=["approval.valid_days=30"])
    version = evaluated.version
    record = approval.approve_model("example", version.number, "for now", limited)
    assert record.expires is not None
    assert promotion.check_promotion(client, limited.settings, version)[1] == []
    later = datetime.now(UTC) + timedelta(days=31)
    monkeypatch.setattr(decisions, "now", lambda: later)
    assert f"expired on {record.expires}" in reasons(session, version)


def test_an_evaluation_beside_another_champion_is_stale(
    session: Session, client: MlflowClient, approved: Version
) -> None:
    other = another(client)
    model_evaluation.run(session, other)
    approval.approve_model("example", other.number, "quicker", session)
    promotion.promote(session, other)
    said = reasons(session, approved)
    assert "evaluated beside no champion, now it is example-production/1" in said
    assert f"run `evaluate --version {approved.number}`" in said


def test_an_evaluation_on_other_data_is_stale(
    session: Session, client: MlflowClient, approved: Version
) -> None:
    other = open_project(overrides=["data.split.seed=7"])
    found = data_preparation.run(other).manifest
    try:
        assert f"the data {found.version} was prepared since" in reasons(session, approved)
        # What another environment prepares is no reason.
        client.set_tag(found.run_id, "environment", "elsewhere")
        assert promotion.check_promotion(client, session.settings, approved)[1] == []
    finally:
        client.delete_run(found.run_id)
        data_preparation.run(session)


def test_an_evaluation_by_other_gates_is_stale(session: Session, approved: Version) -> None:
    said = reasons(session, approved, "--set", "evaluation.gates.complete_card=true")
    assert "evaluated by other gates than local has now" in said


def test_a_rejected_champion_is_pointed_at(session: Session, approved: Version) -> None:
    promotion.promote(session, approved)
    done = run_command("reject", str(approved), "--reason", "it is biased")
    assert "note: example-production/1 in production is a copy of it" in " ".join(
        done.stdout.split()
    )


def test_a_changed_model_file_is_found(
    session: Session, served: TrainedProject, approved: Version
) -> None:
    [file] = served.artifacts.rglob(f"{approved.model_id}/artifacts/model.skops")
    original = file.read_bytes()
    try:
        file.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        said = reasons(session, approved)
        assert "those evaluated" in said
        assert "approved with the model digest" in said
        file.unlink()
        said = reasons(session, approved)
        assert "cannot" in said
    finally:
        file.write_bytes(original)
    assert promotion.describe_promotion(session, approved).startswith(f"{approved} would be copied")


@pytest.mark.parametrize("key", ["approval", "approved_by", decisions.RECORD_TAG])
def test_a_changed_tag_is_found(
    session: Session, client: MlflowClient, approved: Version, key: str
) -> None:
    number = str(approved.number)
    value = client.get_model_version("example", number).tags[key]
    client.set_model_version_tag("example", number, key, value.replace("a", "b"))
    assert f"the tag `{key}` is not what the decision" in reasons(session, approved)
    client.delete_model_version_tag("example", number, key)
    assert f"the tag `{key}` is not what the decision" in reasons(session, approved)


def test_a_changed_evaluation_is_found(
    session: Session, served: TrainedProject, client: MlflowClient, approved: Version
) -> None:
    found = evidence.latest_evaluation(client, session.settings, approved)
    assert found is not None
    run_id = found.info.run_id
    value = found.data.metrics["test_accuracy"]
    client.log_metric(run_id, "test_accuracy", 1.5)
    assert "its metric test_accuracy is 1.5" in reasons(session, approved)
    client.log_metric(run_id, "test_accuracy", value)
    client.set_tag(run_id, "verdict", "better")
    assert "its tag `verdict` is not what" in reasons(session, approved)
    client.set_tag(run_id, "verdict", found.data.tags["verdict"])
    assert promotion.check_promotion(client, session.settings, approved)[1] == []

    [path] = served.artifacts.rglob(f"{run_id}/artifacts/{evidence.VERDICT}")
    verdict = json.loads(path.read_text())
    path.write_text(json.dumps({**verdict, "rows": 10**9}, indent=2))
    said = reasons(session, approved)
    assert "is not the file that it wrote" in said
    assert "approved with the evaluation digest" in said
    (path.parent / evidence.CARD).unlink()
    assert "holds no model card" in reasons(session, approved)
    path.write_text("{")
    assert "holds no readable verdict.json" in reasons(session, approved)
    client.delete_run(run_id)
    assert "no finished evaluation" in reasons(session, approved)


def test_evaluating_again_asks_for_a_new_approval(session: Session, approved: Version) -> None:
    model_evaluation.run(session, approved)
    assert "approved with the evaluation run id" in reasons(session, approved)


def test_four_eyes(session: Session, client: MlflowClient, evaluated: Evaluated) -> None:
    careful = open_project(overrides=["approval.four_eyes=true"])
    version, tags = evaluated.version, client.get_run(evaluated.version.run_id).data.tags
    with pytest.raises(decisions.ApprovalError, match="who trained it cannot approve it"):
        approval.approve_model("example", version.number, "my own", careful)
    approval.approve_model("example", version.number, "my own", session)
    option = ["--set", "approval.four_eyes=true"]
    assert "who trained it cannot approve it" in reasons(session, version, *option)
    mine = {key: value for key, value in tags.items() if key.startswith("author")}
    try:
        for key in mine:
            client.delete_tag(version.run_id, key)
        assert "does not say who trained" in reasons(session, version, *option)
        client.delete_run(version.run_id)
        assert "was deleted, so nobody knows who trained" in reasons(session, version, *option)
        client.restore_run(version.run_id)
        client.set_tag(version.run_id, "author_email", "ben@example.com")
        client.set_tag(version.run_id, "author_user", "ben")
        assert promotion.check_promotion(client, careful.settings, version)[1] == []
    finally:
        for key, value in mine.items():
            client.set_tag(version.run_id, key, value)


def test_signed_approvals(
    session: Session,
    client: MlflowClient,
    approved: Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    approvers = session.settings.root / decisions.APPROVERS
    monkeypatch.setenv("APPROVAL_KEY", str(tmp_path / "ann.pem"))
    done = run_command("approval", "keygen")
    assert done.exit_code == 0, done.output
    assert "PRIVATE" not in done.output
    line = done.stdout.splitlines()[-1]
    try:
        approvers.write_text(f"{line}\n")
        assert "is not signed" in reasons(session, approved)
        record = approval.approve_model("example", approved.number, "signed now", session)
        assert record.signature
        assert promotion.check_promotion(client, session.settings, approved)[1] == []

        # Who may write everything still cannot forge it: the record and its tag say another thing.
        assert decisions.latest_decision(client, session.settings, approved) == record
        forged = record.model_copy(update={"why": "forged"})
        experiment = client.get_experiment_by_name("example/model-deployment")
        assert experiment is not None
        newest = client.search_runs([experiment.experiment_id], max_results=1)[0]
        client.log_text(newest.info.run_id, forged.model_dump_json(), decisions.RECORD)
        number, tag = str(approved.number), json.dumps(forged.model_dump(), sort_keys=True)
        client.set_model_version_tag("example", number, decisions.RECORD_TAG, tag)
        assert "signature" in reasons(session, approved)
        client.log_text(newest.info.run_id, record.model_dump_json(), decisions.RECORD)
        tag = json.dumps(record.model_dump(), sort_keys=True)
        client.set_model_version_tag("example", number, decisions.RECORD_TAG, tag)
        assert promotion.check_promotion(client, session.settings, approved)[1] == []

        # Another key, under her name; and nobody's name under the right key.
        monkeypatch.setenv("APPROVAL_KEY", str(tmp_path / "other.pem"))
        signing.keygen(tmp_path / "other.pem")
        with pytest.raises(decisions.ApprovalError, match="cannot be approved"):
            approval.approve_model("example", approved.number, "not mine", session)
        approvers.write_text(line.replace("ann", "ben"))
        assert "configs/approvers.yaml must list a key" in reasons(session, approved)
    finally:
        approvers.unlink()


def test_the_champion_that_no_longer_fits_is_a_failed_gate(
    session: Session, client: MlflowClient, approved: Version
) -> None:
    promotion.promote(session, approved)
    margin = "evaluation.gates.metrics={accuracy: {champion_margin: 0.1}}"
    strict = open_project(overrides=[margin])
    same = model_evaluation.run(strict, approved)
    assert same.verdict.outcome == "passed"
    assert same.verdict.metrics["accuracy"].champion == same.verdict.metrics["accuracy"].value

    narrow = open_project(overrides=[margin, "data.drop=[customer, price, seen, size]"])
    try:
        smaller = model_training.run(narrow, data_preparation.run(narrow).manifest).version
        found = model_evaluation.run(narrow, smaller).verdict
    finally:
        data_preparation.run(session)
    [failed] = found.failed
    assert failed.name == "accuracy against champion"
    assert "size" in failed.reason
    assert versions.find_by_alias(client, "example-production", "champion") is not None


def test_what_is_not_there_is_said_in_one_line(
    session: Session, approved: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (
        ["promote", "example/4711"],
        ["promote", "example@nobody"],
        ["approve", "nothing/1", "--reason", "x"],
        ["registry", "show", "example/4711"],
    ):
        done = run_command(*command)
        assert done.exit_code == 1, command
        assert re.fullmatch(r"error: the model \S+ has no version .*\n", done.stderr), done.stderr
    done = run_command("promote", "example/1", "--set", "project.name=other")
    assert "it is a version of example, not of other" in done.stderr
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        for command in (["promote"], ["approve", "x/1", "--reason", "x"]):
            done = run_command(*command)
            assert done.exit_code == 1
            assert re.fullmatch(r"error: .*no MLflow server answers there.*\n", done.stderr)
