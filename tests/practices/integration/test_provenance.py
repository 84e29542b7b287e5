"""From a model version back to the raw file, and what is said when the chain is broken."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from mlflow_practices import environment
from mlflow_practices.registry import approval, provenance
from my_ml_project import pipeline

from projects import open_project, run_command


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def committed(project: Path) -> Path:
    """Return a project under git, with a lock that agrees with what is installed, run once."""
    (project / ".gitignore").write_text("*.db\nmlruns\ndata/processed\n")
    (project / environment.RUN_LOCK).write_text(f"pandas=={pd.__version__}\n")
    git(project, "init", "--quiet")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "first")
    pipeline.run(open_project())
    return project


def links(model: str = "example") -> dict[str, provenance.Link]:
    done = run_command("lineage", "show", model, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["complete"] == all(link["status"] == "ok" for link in found["links"])
    return {link["name"]: provenance.Link(**link) for link in found["links"]}


def test_a_fresh_version_is_traced_to_the_raw_bytes(committed: Path) -> None:
    found = links("example@challenger")
    statuses = {name: link.status for name, link in found.items()}
    assert statuses.pop("approval") == "missing"  # nobody approved it
    assert set(statuses.values()) == {"ok"}, found
    assert found["model"].facts["name"] == "example/1"
    assert found["code"].facts["git_commit"] == git(committed, "rev-parse", "HEAD")
    assert found["pins"].facts["packages"] == "as locked"
    assert found["parameters"].facts["training.params.n_estimators"] == "10"
    assert found["evaluation"].facts["test_accuracy"] > 0.5
    raw = committed / "data/raw/table.csv"
    assert found["raw file"].facts["bytes"] == raw.stat().st_size
    assert links("example/1") == links("example") == links("") == found

    shown = run_command("lineage", "show").output
    for word in (*statuses, str(found["raw file"].facts["sha256"])):
        assert word in "".join(shown.split()) or word in shown


def test_what_changed_and_what_is_gone_is_said(committed: Path) -> None:
    client = open_project().client
    (committed / "data/raw/table.csv").write_text("size\n1\n")
    (committed / environment.RUN_LOCK).write_text("pandas==1.0\n")
    next((committed / "data/processed").glob("*/test.parquet")).unlink()
    found = links()
    assert found["raw file"].status == "changed"
    assert "has the SHA-256" in found["raw file"].problem
    assert found["prepared data"].status == "missing"
    assert "test.parquet missing" in found["prepared data"].problem
    assert (found["pins"].status, found["code"].status) == ("changed", "ok")

    experiment = client.get_experiment_by_name("example/model-evaluation")
    assert experiment is not None
    for entry in client.search_runs([experiment.experiment_id]):
        client.delete_run(entry.info.run_id)
    client.delete_run(str(found["preparation"].facts["run_id"]))
    (committed / "data/raw/table.csv").unlink()
    found = links()
    assert found["preparation"].problem.endswith("was deleted")
    assert found["evaluation"].problem.endswith("run `evaluate --version 1`")
    assert found["raw file"].status == "missing"

    client.delete_run(str(found["training"].facts["run_id"]))
    found = links()
    assert {link.status for name, link in found.items() if name != "model"} == {"missing"}


def test_code_that_was_not_committed_is_said(committed: Path) -> None:
    (committed / "new.py").write_text("")
    pipeline.run(open_project())
    assert links()["code"].problem.startswith("files differed from the commit")
    assert links("example/1")["code"].status == "ok"
    git(committed, "update-ref", "-d", "HEAD")
    git(committed, "reflog", "expire", "--expire=now", "--all")
    git(committed, "gc", "--quiet", "--prune=now")
    assert links("example/1")["code"].problem.startswith("this repository has no such commit")


def test_an_approval_is_part_of_the_chain(committed: Path) -> None:
    session = open_project()
    approval.approve_model("example", 1, "it is right", session)
    assert links()["approval"].status == "ok"
    assert links()["approval"].facts["approval"] == "approved"
    session.client.set_model_version_tag("example", "1", "approved_by", "somebody else")
    assert links()["approval"].status == "changed"
    assert "the tag `approved_by` is not what" in links()["approval"].problem


def test_a_model_that_does_not_exist_is_named(project: Path) -> None:
    for name in ("nothing", "nothing@champion", "example/7"):
        done = run_command("lineage", "show", name)
        assert done.exit_code == 1
        assert "has no version" in done.stderr
