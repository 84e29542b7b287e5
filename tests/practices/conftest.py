"""Fixtures with small projects for the practices: invented data, a configuration and a store.

The template is rendered once a session, without its hooks; its package ``my_ml_project`` brings the
stages and hooks, and every test brings the folder that they work in.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from renderings import render_into

_folder = tempfile.mkdtemp(prefix="practices-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["COOKIECUTTER_CONFIG"] = str(Path(_folder, "cookiecutter.yaml"))
Path(_folder, "cookiecutter.yaml").write_text(f"replay_dir: '{_folder}/replay'\n")
RENDERED = render_into(Path(_folder))
# For this process, and for those that it starts.
sys.path.insert(0, str(RENDERED / "src"))
os.environ["PYTHONPATH"] = str(RENDERED / "src")
practices = importlib.import_module("mlflow_practices")  # before MLflow, which reads what it sets

import mlflow
from mlflow_practices.config.settings import Settings
from mlflow_practices.tracking import store
from mlflow_practices.tracking.session import Session

import projects
import servers


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Set the environment that the practices set at their import, because other tests remove it."""
    importlib.reload(practices)


@pytest.fixture(scope="session", autouse=True)
def _nobody_on_github() -> Iterator[None]:
    """Hide from the tests that they may run in GitHub Actions."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own server and settings, and the run of the last test."""
    while mlflow.active_run():
        with contextlib.suppress(Exception):  # its store may be gone
            mlflow.end_run()
    for name in list(os.environ):
        if name.startswith(("MLFLOW_TRACKING", "MLFLOW_RUN", projects.PREFIX)):
            monkeypatch.delenv(name)


@pytest.fixture
def table() -> pd.DataFrame:
    """Return rows with every kind of column, gaps in each, and both kinds of target."""
    return projects.make_table()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite store with its tables; making them takes longer than copying them."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with contextlib.chdir(path.parent):  # where MLflow's default experiment keeps its artifacts
        store.open_store(f"sqlite:///{path.as_posix()}")
    return path


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> Iterator[servers.TrainedProject]:
    """Return a project with a server and a trained version, which tests share."""
    if sys.platform == "win32":
        pytest.skip("ends servers by their process group, which Windows does not have")
    folder = tmp_path_factory.mktemp("served")
    projects.make_project(folder, projects.make_table(), empty_store)
    # Without the date the model needs no code of the project, so it is a few files only.
    (folder / "configs/local.yaml").write_text("data: {drop: [customer, price, seen]}")
    for words in (["init", "--quiet"], ["config", "user.email", "ann@example.com"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    with servers.mlflow_server(tmp_path_factory.mktemp("server"), store=empty_store) as server:
        found = servers.TrainedProject(folder, server)
        with pytest.MonkeyPatch.context() as patch:
            found.use(patch)
            projects.train(projects.open_project())
        yield found


@pytest.fixture
def project(
    tmp_path: Path, table: pd.DataFrame, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the folder of a project that predicts ``label`` from data/raw/table.csv."""
    projects.make_project(tmp_path, table, empty_store)
    monkeypatch.setenv(projects.ROOT, str(tmp_path))
    monkeypatch.setattr(mlflow, "_experiment_id", None, raising=False)
    return tmp_path


@pytest.fixture
def session(project: Path) -> Session:
    """Return a session of that project."""
    return projects.open_project()


@pytest.fixture
def settings(session: Session) -> Settings:
    """Return that project's settings."""
    return session.settings
