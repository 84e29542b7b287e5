"""What a person sees: one readable line for each failure, and a run that says why."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow_practices.tracking.session import Session, SessionError, open_session
from my_ml_project.project import PROJECT

import projects
from projects import run_command as run


def last_run(session: Session, phase: str) -> tuple[str, str]:
    """Return the status of the newest run of a phase, and its reason."""
    found = session.client.get_experiment_by_name(f"example/{phase}")
    assert found is not None
    newest = session.client.search_runs([found.experiment_id], max_results=1)[0]
    return newest.info.status, newest.data.tags.get("failure_reason", "")


def test_run_prints_stages_metrics_and_addresses(project: Path) -> None:
    done = run("run")
    assert done.exit_code == 0, done.output
    for word in ("data preparation", "model training", "accuracy", "baseline", "/#/experiments/"):
        assert word in done.output
    assert "example version 1" in done.output


def test_stages_are_commands(project: Path) -> None:
    for command, word in (
        ("prepare", "data version"),
        ("train", "registered example version 1"),
        ("evaluate", "accuracy"),
        ("experiments", "exists"),
    ):
        done = run(command)
        assert done.exit_code == 0, done.output
        assert word in done.output


def test_settings_show_names_layers_and_masks_secrets(project: Path) -> None:
    done = run("settings", "show", "--set", "training.params.token=hunter2")
    assert done.exit_code == 0
    assert "configs/base.yaml" in done.output
    assert "hunter2" not in done.output


def test_a_table_that_goes_into_a_pipe_is_not_folded(project: Path) -> None:
    long = "all the world is a stage " * 20
    done = run("settings", "show", "--set", f"training.params.note='{long.strip()}'")
    assert done.exit_code == 0, done.output
    assert long.strip() in done.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("size,label\n", "no rows"),
        ("size,size,label\n1,2,a\n", "duplicate column name"),
        ("size\n1\n2\n", "no column 'label'"),
        ("size,label,customer,price\n1,a,1,1\n2,a,1,1\n", "one value in all rows"),
    ],
)
def test_a_bad_table_fails_its_run_in_one_line(project: Path, content: str, words: str) -> None:
    (project / "data/raw/table.csv").write_text(content)
    done = run("run")
    assert done.exit_code == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    status, reason = last_run(projects.open_project(), "data-preparation")
    assert status == "FAILED"
    assert words in reason


def test_constant_and_void_columns_are_no_obstacle(project: Path, table: object) -> None:
    path = project / "data/raw/table.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{lines[0]},same,void", *(f"{line},1," for line in lines[1:])]))
    done = run("run")
    assert done.exit_code == 0, done.output
    assert "column 'void' left out" in done.output


def test_an_unwritable_folder_is_named(project: Path) -> None:
    (project / "data/processed").write_text("a file where the folder should be")
    done = run("prepare")
    assert done.exit_code == 1
    assert "processed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert last_run(projects.open_project(), "data-preparation")[0] == "FAILED"


def test_a_server_that_is_down_is_reported_soon(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    start = time.monotonic()
    done = run("run")
    assert time.monotonic() - start < 60
    assert done.exit_code == 1
    assert done.stderr.startswith("error: http://127.0.0.1:9: no MLflow server answers there")


def test_a_version_that_does_not_exist_is_named(project: Path) -> None:
    assert "has no version 'challenger'; it has none yet" in run("evaluate").stderr
    assert run("run").exit_code == 0
    assert "has no version '7'; it has the versions 1" in run("evaluate", "--version", "7").stderr


def test_a_deleted_experiment_is_reported_with_the_remedy(project: Path) -> None:
    assert run("prepare").exit_code == 0
    client = projects.open_project().client
    found = client.get_experiment_by_name("example/data-preparation")
    assert found is not None
    client.delete_experiment(found.experiment_id)
    done = run("prepare")
    assert done.exit_code == 1
    assert f"mlflow experiments restore --experiment-id {found.experiment_id}" in done.stderr


def test_debug_shows_the_traceback(project: Path) -> None:
    done = run("run", "--debug", "--set", "data.target=nothing")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    assert "DataError: data.target: no column 'nothing'" in done.stderr


def test_data_commands_show_verify_and_compare_versions(project: Path) -> None:
    assert "no prepared data; run `prepare`" in run("data", "show").stderr
    assert run("prepare").exit_code == 0
    shown = run("data", "show")
    assert shown.exit_code == 0, shown.output
    first = shown.stdout.split()[1]
    for word in ("data/raw/table.csv, 240 rows", "train split", "168 rows", "column colour"):
        assert word in shown.stdout
    assert run("data", "verify").stdout.count("ok ") == 4

    raw = project / "data/raw/table.csv"
    table = pd.read_csv(raw).assign(number=range(240))
    table.loc[3, "colour"] = "pink"
    table.iloc[1:].to_csv(raw, index=False)
    verified = run("data", "verify")
    assert verified.exit_code == 1
    assert f"changed  {raw}: SHA-256" in verified.stdout
    assert f"data version {first} is not what was recorded" in verified.stderr
    assert run("prepare").exit_code == 0
    assert run("data", "verify").exit_code == 0
    done = run("data", "diff", first)
    assert done.exit_code == 0, done.output
    for word in (f"versions: {first} -> ", "number", "pink", "240", "239"):
        assert word in done.stdout
    found = json.loads(run("data", "diff", first, "--json").stdout)
    assert found["added_columns"] == {"number": "int64"}
    assert found["rows"] == [240, 239]

    missing = run("data", "diff", first, "--key", "nothing")
    assert missing.exit_code == 1
    assert "nothing" in missing.stderr
    assert f"there are: {first}, " in run("data", "diff", "nothing").stderr
    next((project / "data/processed" / first).glob("test.parquet")).write_bytes(b"PAR1")
    assert "changed since it was prepared" in run("data", "diff", first).stderr


def test_versions_with_a_key_are_compared_row_by_row(project: Path) -> None:
    raw = project / "data/raw/table.csv"
    table = pd.read_csv(raw).assign(number=range(240))
    table.to_csv(raw, index=False)
    assert run("prepare").exit_code == 0
    first = run("data", "show").stdout.split()[1]
    table.loc[3, "count"] = 99
    table.iloc[1:].to_csv(raw, index=False)
    assert run("prepare").exit_code == 0
    command = ["data", "diff", first, "--json", "--set", "data.key=number"]
    found = json.loads(run(*command).stdout)
    counts = [found[f"{what}_rows"] for what in ("added", "removed", "changed")]
    assert counts == [0, 1, 1]
    assert {change["column"]: change["cells"] for change in found["changed_columns"]}["count"] == 1


def test_quality_is_drafted_checked_and_stops_the_pipeline(project: Path) -> None:
    folder = project / "configs/expectations"
    refused = run("quality", "suggest")
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    for suite in folder.glob("*.yaml"):
        suite.unlink()
    missing = run("run")
    assert missing.exit_code == 1
    assert "quality suggest" in missing.stderr
    assert run("quality", "suggest").exit_code == 0
    assert {path.name for path in folder.iterdir()} == {"raw.yaml", "prepared.yaml"}
    assert run("run").exit_code == 0

    raw = folder / "raw.yaml"
    drafted = raw.read_text()
    entry = "- expect_column_values_to_be_between: {column: count, max_value: 3}\n"
    raw.write_text(f"{drafted}{entry}  severity: warning\n")
    warned = run("run")
    assert warned.exit_code == 0, warned.output
    assert "note: column 'count': expected" in warned.stdout
    raw.write_text(f"{drafted}{entry}")
    before = (project / "data/processed/manifest.json").read_text()
    failed = run("run")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: data/raw/table.csv does not meet configs/")
    assert "column 'count': expected" in failed.stderr
    assert (project / "data/processed/manifest.json").read_text() == before
    status, reason = last_run(projects.open_project(), "data-preparation")
    assert status == "FAILED"
    assert "column 'count': expected" in reason


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_stopped_training_leaves_nothing_half_done(project: Path, how: signal.Signals) -> None:
    assert run("run").exit_code == 0
    slow = ["--set", "training.params.n_estimators=1000000"]
    command = [sys.executable, "-m", projects.PACKAGE, "train", *slow]
    process = subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL)
    try:
        session = projects.open_project()
        for _ in range(600):
            if last_run(session, "model-training")[0] == "RUNNING":
                break
            time.sleep(0.1)
        process.send_signal(how)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    if how == signal.SIGTERM:
        assert last_run(session, "model-training")[0] == "FAILED"
    assert run("train").exit_code == 0
    client = session.client
    found = client.get_experiment_by_name("example/model-training")
    assert found is not None
    statuses = [entry.info.status for entry in client.search_runs([found.experiment_id])]
    assert statuses[0] == "FINISHED"
    assert statuses[1] == ("FAILED" if how == signal.SIGTERM else "KILLED")


SLOW = {"mlflow", "pandas", "sklearn", "numpy", "great_expectations", "fastapi"}
LOOK = f"""
import runpy, sys
sys.argv = ["{projects.PACKAGE}", *sys.argv[1:]]
try:
    runpy.run_module("{projects.PACKAGE}", run_name="__main__")
except SystemExit as end:
    print(end.code, *{{name.partition(".")[0] for name in sys.modules}}, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["data", "--help"], ["train", "--help"], ["settings", "show"]]
)
def test_what_only_looks_imports_nothing_slow(project: Path, words: list[str]) -> None:
    command = [sys.executable, "-c", LOOK, *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert ("Usage:" in done.stdout) == ("--help" in words)
    code, *modules = done.stderr.split()
    assert code == "0"
    assert "mlflow_practices" in modules
    assert not SLOW & set(modules)


@pytest.mark.parametrize("words", [["--help"], ["settings", "show"]])
def test_what_only_looks_opens_no_store(project: Path, words: list[str]) -> None:
    (project / "mlflow.db").unlink()
    before = sorted(project.rglob("*"))
    command = [sys.executable, "-m", projects.PACKAGE, *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "evaluat" in done.stdout
    assert sorted(project.rglob("*")) == before


def test_two_projects_in_one_interpreter_are_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = session.settings.root
    (root / "another_project").mkdir()
    (root / "another_project/__init__.py").touch()
    monkeypatch.syspath_prepend(root)
    monkeypatch.setenv("ANOTHER_PROJECT__ROOT", str(root))
    with pytest.raises(SessionError) as caught:
        open_session(replace(PROJECT, package="another_project"))
    assert str(caught.value) == (
        "this interpreter already works for my_ml_project; start another one for another_project, "
        "since each process has one list of what is redacted"
    )
    assert projects.open_project().settings == session.settings  # the first one goes on
