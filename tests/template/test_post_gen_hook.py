"""What the post hook does, and what it says when something that it would use is not there."""

import base64
import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml
from cookiecutter.utils import create_env_with_context

from http_servers import Answer, Request, http_server, send
from renderings import TEMPLATE, Bake, Render

PHASES = [
    "data-preparation",
    "hyperparameter-tuning",
    "model-deployment",
    "model-evaluation",
    "model-monitoring",
    "model-training",
]
posix = pytest.mark.skipif(os.name == "nt", reason="needs scripts that start with #!")


class Outcome(NamedTuple):
    """What a user of the hook sees."""

    lines: list[str]
    seconds: float

    def line(self, title: str) -> str:
        [line] = [line for line in self.lines if line.startswith(f"{title}: ")][-1:]
        return line


Hook = Callable[..., Outcome]


@pytest.fixture
def project(render: Render) -> Path:
    """Return a rendered project in which no hook has run."""
    return render(project_slug="churn", package_name="churn")


@pytest.fixture
def nowhere(tmp_path: Path) -> str:
    """Return a PATH without any program on it."""
    (tmp_path / "nowhere").mkdir()
    return str(tmp_path / "nowhere")


@pytest.fixture
def run_hook(answers: dict[str, Any], tmp_path: Path) -> Hook:
    """Return a function that runs the rendered hook in a project; it must end well."""

    def run_hook(
        root: Path, python: Path | str, environment: dict[str, str] | None = None, **given: Any
    ) -> Outcome:
        quiet = {"create_experiments": False, "init_git": False}
        slugs = {"project_slug": "churn", "package_name": "churn"}
        hook = rendered(
            {**answers, **quiet, **slugs, **given}, tmp_path / f"{os.urandom(4).hex()}.py"
        )
        start = time.monotonic()
        done = subprocess.run(
            [python, hook],
            cwd=root,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return Outcome(done.stdout.splitlines(), time.monotonic() - start)

    return run_hook


def rendered(answers: dict[str, Any], path: Path) -> Path:
    text = (TEMPLATE / "hooks" / "post_gen_project.py").read_text(encoding="utf-8")
    environment = create_env_with_context({"cookiecutter": answers})
    path.write_text(environment.from_string(text).render(cookiecutter=answers), encoding="utf-8")
    return path


def tree(root: Path) -> dict[str, bytes]:
    """Return every file's bytes, git's own and the MLflow store aside."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".git" not in path.parts and "mlflow.db" not in path.name
    }


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- pins


def test_tested_pins_are_written_without_uv_or_network(
    project: Path, bare_python: Path, run_hook: Hook, nowhere: str
) -> None:
    before = tree(project)
    outcome = run_hook(project, bare_python, {"PATH": nowhere})
    assert outcome.line("Pins") == "Pins: the tested versions"
    after = tree(project)
    assert {name for name in after if after[name] != before.get(name)} == {
        "conda.yaml",
        "python_env.yaml",
    }
    lock = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lock if line and not line.startswith("#")]
    conda = yaml.safe_load((project / "conda.yaml").read_text(encoding="utf-8"))
    assert conda["dependencies"][-1] == {"pip": pins}
    python_env = yaml.safe_load((project / "python_env.yaml").read_text(encoding="utf-8"))
    assert python_env["dependencies"] == pins
    assert any(pin.startswith("mlflow==") for pin in pins)


def test_latest_pins_are_resolved_afresh(
    project: Path, bare_python: Path, run_hook: Hook, uv: Path
) -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        (project / name).write_text("mlflow==3.0.0\n", encoding="utf-8")
    outcome = run_hook(project, bare_python, {"PATH": str(uv.parent)}, pins="latest")
    assert outcome.line("Pins") == "Pins: the newest versions that work together"
    lock = (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert "mlflow==3.0.0" not in lock
    assert any(line.startswith("scikit-learn==") for line in lock)
    conda = yaml.safe_load((project / "conda.yaml").read_text(encoding="utf-8"))
    assert conda["dependencies"][-1] == {"pip": lock}


def test_latest_pins_fall_back_without_uv(
    project: Path, bare_python: Path, run_hook: Hook, nowhere: str
) -> None:
    run_hook(project, bare_python, {"PATH": nowhere})
    tested = tree(project)
    (project / "conda.yaml").write_text("", encoding="utf-8")
    outcome = run_hook(project, bare_python, {"PATH": nowhere}, pins="latest")
    line = outcome.line("Pins")
    assert "skipped: uv is not installed" in line
    assert line.endswith("the tested versions are kept. To do it later: make lock")
    assert tree(project) == tested


@posix
@pytest.mark.parametrize(
    ("does", "reason"),
    [("echo no solution >&2; exit 1", "no solution"), ("sleep 60", "did not answer within 1 s")],
)
def test_latest_pins_fall_back_when_uv_fails(
    project: Path,
    answers: dict[str, Any],
    post_hook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    does: str,
    reason: str,
) -> None:
    given = {**answers, "package_name": "churn"}
    post_hook.pin(project, given)
    tested = tree(project)
    script(tmp_path / "uv", f"exec sh -c '{does}'")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(post_hook, "LOCK", 1)
    with pytest.raises(post_hook.StepSkipped, match=reason):
        post_hook.pin(project, {**given, "pins": "latest"})
    assert tree(project) == tested


# --- experiments


def in_mlflow(python: Path, uri: str, code: str) -> Any:
    """Run code that prints JSON, with an MLflow client for the store at hand."""
    code = f"import json, mlflow\nclient = mlflow.MlflowClient({uri!r})\n{code}"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [str(python), "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def in_store(python: Path, uri: str, then: str = "") -> dict[str, dict[str, str]]:
    """Return the tags of each experiment of churn by name, as MLflow reads them from a store."""
    code = f"""
found = client.search_experiments(filter_string="name LIKE 'churn/%'")
{then}
print(json.dumps({{experiment.name: experiment.tags for experiment in found}}))"""
    found: dict[str, dict[str, str]] = in_mlflow(python, uri, code)
    return found


def api(server: str, path: str, **body: str | int) -> Any:
    """Ask a server for something under experiments/; with a body by POST."""
    url = f"{server}/api/2.0/mlflow/experiments/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def in_server(server: str, project: str) -> dict[str, dict[str, str]]:
    """Return the tags of each experiment of a project by name, as a server tells them."""
    found = api(server, "search", filter=f"name LIKE '{project}/%'", max_results=100)
    return {
        experiment["name"]: {tag["key"]: tag["value"] for tag in experiment["tags"]}
        for experiment in found["experiments"]
    }


def assert_described(found: dict[str, dict[str, str]], project: str) -> None:
    """The names, tags and descriptions are those that the MLflow UI shows."""
    assert sorted(found) == [f"{project}/{phase}" for phase in PHASES]
    for name, tags in found.items():
        phase = name.removeprefix(f"{project}/")
        assert tags["project"] == project
        assert tags["phase"] == phase
        assert tags["template_version"] == "0.1.0"
        assert len(tags["mlflow.note.content"]) > 30
    assert len({tags["mlflow.note.content"] for tags in found.values()}) == len(PHASES)


@pytest.fixture(scope="module")
def server(
    project_python: Path, post_hook: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the address of a real MLflow server that ends with this file's tests."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [str(project_python), "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{(folder / 'server.db').as_posix()}"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **quiet},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not answers_health(port):
            assert process.poll() is None, (folder / "server.log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        post_hook.end(process)
        process.wait(10)


def answers_health(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_through_mlflow_in_the_interpreter_and_deleted(
    project: Path, project_python: Path, run_hook: Hook, nowhere: str
) -> None:
    store = project / "mlflow.db"
    uri = f"sqlite:///{store.as_posix()}"
    alone = {"PATH": nowhere}
    outcome = run_hook(project, project_python, alone, create_experiments=True)
    assert outcome.line("Experiments") == "Experiments: 6 created, 0 already existed"
    assert not list(project.rglob("__pycache__"))
    delete = "client.delete_experiment(found[0].experiment_id)"
    found = in_store(project_python, uri, delete)
    assert_described(found, "churn")

    line = run_hook(project, project_python, alone, create_experiments="True").line("Experiments")
    deleted = next(iter(found))
    assert f"skipped: these were deleted earlier: {deleted}. To do it later: " in line
    assert "mlflow experiments restore --experiment-id ID" in line
    assert "mlflow gc" in line
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT name, lifecycle_stage FROM experiments").fetchall()
    assert [name for name, stage in rows if stage == "deleted"] == [deleted]


def test_through_uv(
    project: Path, bare_python: Path, project_python: Path, run_hook: Hook, uv: Path
) -> None:
    """Also where the project asks for a newer Python than Cookiecutter's: none is downloaded."""
    alone = {"PATH": str(uv.parent), "UV_PYTHON_DOWNLOADS": "never"}
    given = {"create_experiments": True, "python_version": "3.14"}
    outcome = run_hook(project, bare_python, alone, **given)
    assert outcome.line("Experiments") == "Experiments: 6 created, 0 already existed"
    uri = f"sqlite:///{(project / 'mlflow.db').as_posix()}"
    assert_described(in_store(project_python, uri), "churn")


@posix
def test_through_the_environment_of_the_project(
    project: Path, bare_python: Path, project_python: Path, run_hook: Hook, uv: Path
) -> None:
    """`make setup` makes the environment that the project needs anyway; no other one is built."""
    (project / "Makefile").write_text("setup: ; @echo It is ready.\n")
    (project / ".venv/bin").mkdir(parents=True)
    script(project / ".venv/bin/python", f'exec {project_python} "$@"')
    alone = {"PATH": f"{uv.parent}:/bin:/usr/bin"}
    outcome = run_hook(project, bare_python, alone, create_experiments=True)
    assert outcome.line("Experiments") == "Experiments: 6 created, 0 already existed"
    uri = f"sqlite:///{(project / 'mlflow.db').as_posix()}"
    assert_described(in_store(project_python, uri), "churn")


def test_through_rest_again_and_deleted(
    project: Path, bare_python: Path, run_hook: Hook, server: str, nowhere: str
) -> None:
    alone = {"PATH": nowhere}
    given = {"create_experiments": True, "tracking_uri": f"{server}/", "project_slug": "by-rest"}
    outcome = run_hook(project, bare_python, alone, **given)
    assert outcome.line("Experiments") == "Experiments: 6 created, 0 already existed"
    assert outcome.seconds < 10
    assert_described(in_server(server, "by-rest"), "by-rest")
    assert not (project / "mlflow.db").exists()

    outcome = run_hook(project, bare_python, alone, **given)
    assert outcome.line("Experiments") == "Experiments: 0 created, 6 already existed"

    name = "get-by-name?experiment_name=by-rest/model-training"
    api(server, "delete", experiment_id=api(server, name)["experiment"]["experiment_id"])
    line = run_hook(project, bare_python, alone, **given).line("Experiments")
    assert "these were deleted earlier: by-rest/model-training. To do it later: " in line
    assert "mlflow experiments restore --experiment-id ID" in line
    assert api(server, name)["experiment"]["lifecycle_stage"] == "deleted"


def test_rest_and_mlflow_write_the_same(
    project: Path,
    bare_python: Path,
    project_python: Path,
    run_hook: Hook,
    server: str,
    nowhere: str,
) -> None:
    """The environment's address goes before the answer, as in the rendered project."""
    alone = {"PATH": nowhere, "MLFLOW_TRACKING_URI": server}
    for python, slug in ((bare_python, "one"), (project_python, "two")):
        given = {"project_slug": slug, "tracking_uri": "sqlite:///unused.db"}
        outcome = run_hook(project, python, alone, create_experiments=True, **given)
        assert outcome.line("Experiments") == "Experiments: 6 created, 0 already existed"
    one, two = (
        re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "now", json.dumps(in_server(server, slug)))
        for slug in ("one", "two")
    )
    assert json.loads(two.replace("two", "one")) == json.loads(one)
    assert one.count('"now"') == 6
    assert not (project / "unused.db").exists()


def test_two_hooks_at_once_on_a_new_store(
    project: Path,
    answers: dict[str, Any],
    project_python: Path,
    tmp_path: Path,
    nowhere: str,
) -> None:
    store = tmp_path / "shared.db"
    uri = f"sqlite:///{store.as_posix()}"
    given = {"project_slug": "churn", "package_name": "churn", "tracking_uri": uri}
    hook = rendered({**answers, **given, "init_git": False}, tmp_path / "hook.py")
    both = [
        subprocess.Popen(
            [project_python, hook],
            cwd=project,
            env={**os.environ, "PATH": nowhere},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    created = 0
    for process in both:
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0
        [line] = [line for line in output.splitlines() if line.startswith("Experiments: ")]
        assert line.endswith(" already existed"), line
        created += int(line.split()[1])
    assert created == 6
    assert_described(in_store(project_python, uri), "churn")
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert len(connection.execute("SELECT * FROM alembic_version").fetchall()) == 1
    assert [path.name for path in tmp_path.glob(".shared.db.*")] == []


def test_without_mlflow_uv_and_server_it_says_what_is_left(
    project: Path, bare_python: Path, run_hook: Hook, nowhere: str
) -> None:
    outcome = run_hook(project, bare_python, {"PATH": nowhere}, create_experiments=True)
    assert outcome.line("Experiments") == (
        "Experiments: skipped: this Python does not have the locked version of MLflow, and uv is not installed."
        " To do it later: make experiments"
    )
    assert not (project / "mlflow.db").exists()


@pytest.mark.parametrize("value", [False, "False"])
def test_experiments_and_git_can_be_declined(
    project: Path, bare_python: Path, run_hook: Hook, value: object
) -> None:
    before = set(tree(project))
    outcome = run_hook(project, bare_python, create_experiments=value, init_git=value)
    assert [line.partition(":")[0] for line in outcome.lines] == [
        "Pins",
        "Next",
        "  cd churn" if "/" not in outcome.lines[2] else outcome.lines[2],
        "  make run",
        "  make test",
    ]
    assert set(tree(project)) == before
    assert not (project / ".git").exists()


@pytest.mark.parametrize("scheme", ["http", "postgresql", "postgresql+psycopg"])
def test_a_server_that_is_down_takes_seconds(
    project: Path, project_python: Path, run_hook: Hook, scheme: str
) -> None:
    """Also where MLflow, whose own patience is minutes, and uv are at hand."""
    uri = f"{scheme}://user@127.0.0.1:{free_port()}/x"
    environment = {"MLFLOW_TRACKING_URI": uri.replace("user@", "user:hunter2@")}
    outcome = run_hook(project, project_python, environment, create_experiments=True)
    line = outcome.line("Experiments")
    assert "skipped: nothing answers at 127.0.0.1" in line
    assert line.endswith("To do it later: make experiments")
    assert outcome.seconds < 8
    assert "hunter2" not in "\n".join(outcome.lines)


@pytest.mark.parametrize(
    ("way", "reason"), [("mlflow", "no MLflow server answers there"), ("rest", "timed out")]
)
def test_a_server_that_never_answers_is_given_up(
    project: Path,
    bare_python: Path,
    project_python: Path,
    run_hook: Hook,
    nowhere: str,
    way: str,
    reason: str,
) -> None:
    python = bare_python if way == "rest" else project_python
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        given = {"create_experiments": True, "tracking_uri": uri}
        outcome = run_hook(project, python, {"PATH": nowhere}, **given)
    line = outcome.line("Experiments")
    assert "skipped: " in line
    assert reason in line
    assert line.endswith("To do it later: make experiments")
    assert outcome.seconds < 40


def test_an_address_that_cannot_be_read_is_not_shown(
    project: Path, bare_python: Path, run_hook: Hook
) -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://u:p@h:hunter2"}
    outcome = run_hook(project, bare_python, environment, create_experiments=True)
    assert "skipped: the tracking address is not valid" in outcome.line("Experiments")
    assert "hunter2" not in "\n".join(outcome.lines)


@pytest.fixture
def guarded(server: str) -> Iterator[str]:
    """Yield a proxy before the MLflow server that asks for an account or a token."""
    basic = "Basic " + base64.b64encode(b"user:hunter2").decode()

    def guard(request: Request) -> Answer:
        if request.headers.get("Authorization") not in (basic, "Bearer t0ken"):
            return Answer(401, b"You are not authenticated.")
        return send(server, request)

    with http_server(guard) as address:
        yield address


ACCOUNT = {"MLFLOW_TRACKING_USERNAME": "user", "MLFLOW_TRACKING_PASSWORD": "hunter2"}


@pytest.mark.parametrize(
    ("slug", "environment", "userinfo"),
    [
        ("account", ACCOUNT, ""),
        ("account-before-token", {**ACCOUNT, "MLFLOW_TRACKING_TOKEN": "wrong"}, ""),
        ("token", {"MLFLOW_TRACKING_TOKEN": "t0ken"}, ""),
        ("in-the-address", {}, "user:hunter%32@"),
    ],
)
def test_rest_takes_the_credentials_that_mlflow_takes(
    project: Path,
    bare_python: Path,
    run_hook: Hook,
    guarded: str,
    nowhere: str,
    slug: str,
    environment: dict[str, str],
    userinfo: str,
) -> None:
    uri = guarded.replace("://", f"://{userinfo}")
    alone = {"PATH": nowhere, "MLFLOW_TRACKING_URI": uri, **environment}
    outcome = run_hook(project, bare_python, alone, create_experiments=True, project_slug=slug)
    assert outcome.line("Experiments") == "Experiments: 6 created, 0 already existed"


@pytest.mark.parametrize("password", ["", "wr0ng-pa55"])
def test_rest_without_an_account_is_told_which_variables_to_set(
    project: Path,
    bare_python: Path,
    run_hook: Hook,
    guarded: str,
    nowhere: str,
    password: str,
) -> None:
    alone = {"PATH": nowhere, "MLFLOW_TRACKING_USERNAME": "user"}
    alone["MLFLOW_TRACKING_PASSWORD"] = password
    given = {"create_experiments": True, "tracking_uri": guarded}
    line = run_hook(project, bare_python, alone, **given).line("Experiments")
    assert "HTTP 401" in line
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line
    assert line.endswith("To do it later: make experiments")
    assert "wr0ng-pa55" not in line


def test_mlflow_without_an_account_says_so_without_the_password(
    project: Path, project_python: Path, run_hook: Hook, guarded: str
) -> None:
    uri = guarded.replace("://", "://user:wr0ng-pa55@")
    outcome = run_hook(
        project, project_python, {"MLFLOW_TRACKING_URI": uri}, create_experiments=True
    )
    line = outcome.line("Experiments")
    assert "skipped: " in line
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line
    assert "wr0ng-pa55" not in "\n".join(outcome.lines)


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (200, b"<html>a login page</html>", "the server gave no usable answer"),
        (200, b"[1]", "the server gave no usable answer"),
        (404, b"not found", "the server answered HTTP 404 (not found)."),
        (500, b'{"error_code": "INTERNAL_ERROR"}', "the server answered INTERNAL_ERROR"),
        (403, b"Invalid Host header", "the server answered HTTP 403 (Invalid Host header), set "),
    ],
)
def test_rest_with_something_that_is_not_mlflow(
    project: Path,
    bare_python: Path,
    run_hook: Hook,
    nowhere: str,
    code: int,
    body: bytes,
    reason: str,
) -> None:
    with http_server(lambda _: Answer(code, body)) as address:
        given = {"create_experiments": True, "tracking_uri": address}
        line = run_hook(project, bare_python, {"PATH": nowhere}, **given).line("Experiments")
    assert f"skipped: {reason}" in line


def test_rest_gives_its_credentials_to_no_other_host(
    project: Path, bare_python: Path, run_hook: Hook, nowhere: str
) -> None:
    seen: list[str | None] = []

    def elsewhere(request: Request) -> Answer:
        seen.append(request.headers.get("Authorization"))
        return Answer(200, b"{}")

    with (
        http_server(elsewhere) as other,
        http_server(lambda _: Answer(302, headers={"location": f"{other}/"})) as address,
    ):
        given = {"create_experiments": True, "tracking_uri": address}
        run_hook(project, bare_python, {"PATH": nowhere, **ACCOUNT}, **given)
    assert seen
    assert set(seen) == {None}


def test_a_server_behind_a_proxy_is_reached_through_it(
    project: Path, bare_python: Path, run_hook: Hook, nowhere: str
) -> None:
    """No direct connection may be asked for: this host can only be known to the proxy."""
    asked: list[str] = []

    def forward(request: Request) -> Answer:
        asked.append(request.path)
        return Answer(200, b"{}")

    with http_server(forward) as proxy:
        environment = {"PATH": nowhere, "http_proxy": proxy, "no_proxy": ""}
        given = {"create_experiments": True, "tracking_uri": "http://mlflow.invalid:5000"}
        outcome = run_hook(project, bare_python, environment, **given)
    assert outcome.line("Experiments") == "Experiments: 6 created, 0 already existed"
    assert set(asked) == {"http://mlflow.invalid:5000/api/2.0/mlflow/experiments/create"}


@pytest.mark.parametrize(
    ("installed", "uri", "fits"),
    [
        ("3.17.2", "", True),
        ("3.17.9", "sqlite:///x.db", True),
        ("3.18.0", "sqlite:///x.db", False),
        ("3.1.0", "sqlite:///x.db", False),
        ("3.18.0", "https://h", True),
        ("2.22.0", "http://h", False),
        (None, "http://h", False),
        ("3.17.2", "postgresql://h/x", False),
    ],
)
def test_only_a_fitting_mlflow_may_write_to_the_store(
    post_hook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    installed: str | None,
    uri: str,
    fits: bool,
) -> None:
    """Another minor version's tables could not be opened; Postgres needs its driver too."""

    def version(name: str) -> str:
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert post_hook.has_mlflow("3.17.2", uri) is fits


@posix
def test_a_way_that_does_not_work_here_gives_place_to_the_next(
    project: Path, bare_python: Path, run_hook: Hook, server: str, nowhere: str
) -> None:
    script(Path(nowhere) / "uv", "echo 'error: no network' >&2; exit 2")
    (project / "Makefile").write_text("setup: ; @uv pip install mlflow\n")
    alone = {"PATH": f"{nowhere}:/bin:/usr/bin"}
    given = {"create_experiments": True, "project_slug": "after-uv"}
    outcome = run_hook(project, bare_python, alone, tracking_uri=server, **given)
    assert outcome.line("Experiments") == "Experiments: 6 created, 0 already existed"
    line = run_hook(project, bare_python, alone, **given).line("Experiments")
    assert line == (
        "Experiments: skipped: make setup printed: error: no network."
        " To do it later: make experiments"
    )


# --- git


@pytest.fixture
def identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give git a name and an e-mail address; return its settings."""
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n\tname = Ada\n\temail = ada@example.com\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    return settings


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.usefixtures("identity")
def test_all_that_was_rendered_is_committed_on_main(
    project: Path, run_hook: Hook, home: Path
) -> None:
    with Path(os.environ["GIT_CONFIG_GLOBAL"]).open("a", encoding="utf-8") as settings:
        settings.write("[init]\n\tdefaultBranch = trunk\n")
    (project / "mlflow.db").touch()
    outcome = run_hook(project, sys.executable, init_git=True)
    assert outcome.line("Git") == "Git: a new repository with a first commit"
    assert git(project, "branch", "--show-current") == "main"
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "log", "--format=%an %ae %s") == (
        "Ada ada@example.com Start from cookiecutter-mlflow 0.1.0"
    )
    assert sorted(git(project, "ls-files").splitlines()) == sorted(tree(project))


def test_git_that_is_absent(project: Path, bare_python: Path, run_hook: Hook, nowhere: str) -> None:
    line = run_hook(project, bare_python, {"PATH": nowhere}, init_git=True).line("Git")
    assert line.startswith(
        "Git: skipped: git is not installed. To do it later: git init -b main && "
    )
    assert not (project / ".git").exists()


def test_git_that_does_not_know_the_user(project: Path, run_hook: Hook) -> None:
    """Git must not make one up, as it may from the names of the user and the machine."""
    made_up = {"EMAIL": "root@localhost"}
    line = run_hook(project, sys.executable, made_up, init_git=True).line("Git")
    assert "skipped: no commit, git does not know who you are. To do it later: git config" in line
    assert line.endswith('git add -A && git commit -m "First commit"')
    assert git(project, "symbolic-ref", "HEAD") == "refs/heads/main"
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, check=False
    )
    assert done.returncode != 0


@pytest.mark.usefixtures("identity")
def test_a_project_inside_another_repository_is_left_to_it(project: Path, run_hook: Hook) -> None:
    git(project.parent, "init", "--quiet")
    line = run_hook(project, sys.executable, init_git=True).line("Git")
    assert line.startswith("Git: not needed, this folder is already in the repository ")
    assert project.parent.name in line
    assert not (project / ".git").exists()


@pytest.mark.usefixtures("identity")
def test_the_variables_of_another_repository_do_not_mislead(
    project: Path, run_hook: Hook, tmp_path: Path
) -> None:
    """Git sets them for its hooks, and a hook's test may well render this template."""
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    (outer / "a").touch()
    git(outer, "add", "a")
    git(outer, "commit", "--quiet", "-m", "outer")
    head, index = git(outer, "rev-parse", "HEAD"), (outer / ".git" / "index").read_bytes()
    environment = {
        "GIT_DIR": str(outer / ".git"),
        "GIT_WORK_TREE": str(outer),
        "GIT_INDEX_FILE": str(outer / ".git" / "index"),
        "GIT_PREFIX": "x/",
    }
    outcome = run_hook(project, sys.executable, environment, init_git=True)
    assert outcome.line("Git") == "Git: a new repository with a first commit"
    assert git(project, "status", "--porcelain") == ""
    assert git(outer, "rev-parse", "HEAD") == head
    assert (outer / ".git" / "index").read_bytes() == index


@posix
def test_a_hook_of_the_user_may_refuse_the_commit(
    project: Path, run_hook: Hook, identity: Path, tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    script(tmp_path / "hooks" / "pre-commit", "echo 'no ticket number' >&2; exit 1")
    with identity.open("a", encoding="utf-8") as settings:
        settings.write(f"[core]\n\thooksPath = {tmp_path / 'hooks'}\n")
    line = run_hook(project, sys.executable, init_git=True).line("Git")
    assert line == (
        "Git: skipped: git commit printed: no ticket number."
        ' To do it later: git add -A && git commit -m "First commit"'
    )
    assert git(project, "diff", "--cached", "--name-only")


@posix
@pytest.mark.parametrize(
    "setting",
    ["[commit]\ngpgsign = true\n[gpg]\nprogram = {script}", '[filter "slow"]\nclean = {script}'],
    ids=["signing", "adding"],
)
def test_what_waits_for_ever_is_given_up(
    project: Path,
    identity: Path,
    tmp_path: Path,
    post_hook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, Any],
    setting: str,
) -> None:
    """Such as signing, which may want a passphrase; git must not be left locked."""
    waits = script(tmp_path / "waits", f"echo $$ > {tmp_path / 'pid'}; exec sleep 60")
    (tmp_path / "attributes").write_text("* filter=slow\n", encoding="utf-8")
    known = identity.read_text(encoding="utf-8")
    everywhere = f"[core]\nattributesFile = {tmp_path / 'attributes'}\n"
    identity.write_text(known + everywhere + setting.format(script=waits), encoding="utf-8")
    monkeypatch.setattr(post_hook, "GIT", 2)
    start = time.monotonic()
    with pytest.raises(post_hook.StepSkipped, match="git did not finish within 2 s"):
        post_hook.start_repository(project, answers)
    assert time.monotonic() - start < 15
    assert ends(int((tmp_path / "pid").read_text(encoding="utf-8")))
    identity.write_text(known, encoding="utf-8")
    git(project, "add", "-A")
    git(project, "commit", "--quiet", "-m", "First commit")
    assert git(project, "status", "--porcelain") == ""


# --- the hook as a whole


def ends(pid: int) -> bool:
    """Tell whether a process ends within seconds; nobody may be there to bury it."""
    for _ in range(50):
        stat = Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
            if stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except ProcessLookupError:
            return True
        except FileNotFoundError:
            if Path("/proc/self").exists():
                return True
        time.sleep(0.1)
    return False


@posix
def test_what_takes_too_long_is_ended_with_its_children(
    post_hook: ModuleType, tmp_path: Path
) -> None:
    grandchild = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    start = time.monotonic()
    with pytest.raises(post_hook.MethodUnavailable, match="did not finish within 3 s"):
        post_hook.run([sys.executable, "-c", child], 3, tmp_path, os.environ)
    assert time.monotonic() - start < 15
    assert ends(int((tmp_path / "pid").read_text(encoding="utf-8")))


@posix
def test_an_interrupted_hook_leaves_nothing_running(post_hook: ModuleType, tmp_path: Path) -> None:
    # What a shell starts in the background ignores interrupts.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(1, os.kill, [os.getpid(), signal.SIGINT])
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        post_hook.run(["sh", "-c", "echo $$ > pid; exec sleep 60"], 60, tmp_path, os.environ)
    interrupt.join()
    signal.signal(signal.SIGINT, former)
    assert ends(int((tmp_path / "pid").read_text(encoding="utf-8")))


@posix
def test_a_daemon_that_a_command_leaves_does_not_hold_it_up(
    post_hook: ModuleType, tmp_path: Path
) -> None:
    start = time.monotonic()
    code, output, _ = post_hook.run(["sh", "-c", "sleep 20 & echo $!"], 60, tmp_path, os.environ)
    os.kill(int(output), 9)
    assert code == 0
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("error", [ValueError("boom\nsecond line"), KeyboardInterrupt()])
def test_a_step_that_fails_leaves_the_project_and_the_other_steps(
    post_hook: ModuleType,
    answers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    def fail(root: Path, answers: dict[str, Any]) -> str:
        raise error

    steps = (("First", fail, "make first"), ("Second", lambda root, answers: "done", ""))
    monkeypatch.setattr(post_hook, "STEPS", steps)
    monkeypatch.setattr(post_hook, "ANSWERS", json.dumps(answers))
    monkeypatch.setattr(sys, "argv", ["hook.py"])
    assert post_hook.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"First: skipped: {type(error).__name__}")
    assert lines[0].endswith(". To do it later: make first")
    assert lines[1] == "Second: done"
    assert lines[2] == "Next:"


@posix
def test_a_reader_who_left_does_not_cost_the_project(
    project: Path, answers: dict[str, Any], tmp_path: Path
) -> None:
    """`cookiecutter ... | head -1` closes the hook's output while it still has lines to print."""
    given = {"package_name": "churn", "create_experiments": False, "init_git": False}
    hook = rendered({**answers, **given}, tmp_path / "hook.py")
    # Unbuffered, Python would have nothing left to complain of when it ends.
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, hook], cwd=project, env=buffered, stdout=writing, check=False
    )
    os.close(writing)
    assert done.returncode == 0


def test_the_lines_print_on_any_console(render: Render, run_hook: Hook, tmp_path: Path) -> None:
    project = render(into=tmp_path / "日本", project_slug="churn", package_name="churn")
    environment = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "PWD": ""}
    outcome = run_hook(project, sys.executable, environment)
    assert r"\u65e5\u672c" in outcome.lines[2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://u:hunter2@h/x", "at http://***@h/x"),
        ("at postgresql://u:hun/ter2@h/x", "at postgresql://***@h/x"),
        ("at postgresql://h/x?sslpassword=hunter2&a=b", "at postgresql://h/x?sslpassword=***&a=b"),
        ("Authorization s3cret-of-mine", "Authorization ***"),
    ],
)
def test_credentials_are_masked(
    post_hook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    shown: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret-of-mine")
    post_hook.say(text)
    assert capsys.readouterr().out == f"{shown}\n"


def test_a_reason_is_masked_before_it_is_cut(
    post_hook: ModuleType,
    answers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(root: Path, answers: dict[str, Any]) -> str:
        raise post_hook.StepSkipped("x" * 390 + "hunter2-and-more")

    monkeypatch.setenv("PGPASSWORD", "hunter2-and-more")
    monkeypatch.setattr(post_hook, "STEPS", (("First", fail, "make first"),))
    monkeypatch.setattr(post_hook, "ANSWERS", json.dumps(answers))
    monkeypatch.setattr(sys, "argv", ["hook.py"])
    assert post_hook.main() == 0
    shown = capsys.readouterr().out
    assert "x***. To do it later: make first" in shown
    assert "hunter2" not in shown


@posix
@pytest.mark.parametrize(
    ("here", "folder"),
    [("", "churn"), ("..", "a b/churn"), ("churn/src", None), ("/elsewhere", None), (None, None)],
)
def test_the_next_commands_fit_the_folder_of_the_shell(
    post_hook: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    here: str | None,
    folder: str | None,
) -> None:
    root = tmp_path / "a b" / "churn"
    monkeypatch.delenv("PWD", raising=False)
    if here is not None:
        monkeypatch.setenv("PWD", os.path.normpath(root.parent / here))
    shown = shlex.quote(folder or str(root))
    assert post_hook.next_commands(root) == f"Next:\n  cd {shown}\n  make run\n  make test"


@pytest.mark.usefixtures("identity")
def test_cookiecutter_renders_the_same_bytes_twice(
    bake: Bake, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = (bake(create_experiments=False).require() for _ in range(2))
    assert tree(one) == tree(two)
    assert not list(one.rglob("__pycache__"))
    assert git(one, "status", "--porcelain") == ""
    assert git(one, "rev-parse", "HEAD^{tree}") == git(two, "rev-parse", "HEAD^{tree}")
    assert tomllib.loads((one / "pyproject.toml").read_text(encoding="utf-8"))
    titles = [line.partition(":")[0] for line in capfd.readouterr().out.splitlines()]
    expected = ["Pins", "Git", "Next"]
    assert [title for title in titles if not title.startswith("  ")] == expected * 2
