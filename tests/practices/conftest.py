"""A small project of its own for each test: made-up data, its own configuration and store."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import servers
import yaml

import {{ cookiecutter.package_name }}.data_preparation as preparation
import {{ cookiecutter.package_name }}.model_training as training
import {{ cookiecutter.package_name }}.settings as config
from {{ cookiecutter.package_name }} import layers
from {{ cookiecutter.package_name }}.tracking import store

ROWS = 240


@pytest.fixture(scope="session", autouse=True)
def _nobody_on_github() -> Iterator[None]:
    """Keep GitHub Actions, where these tests run as well, out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own server and settings out of the tests."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_TRACKING", "MLFLOW_RUN", layers.PREFIX)):
            monkeypatch.delenv(name)


def make_table() -> pd.DataFrame:
    """Return rows with every kind of column, gaps in each, and both kinds of target."""
    random = np.random.default_rng(0)
    size = random.normal(50, 10, ROWS)
    frame = pd.DataFrame(
        {
            "size": size,
            "count": random.integers(0, 9, ROWS),
            "colour": random.choice(["red", "green", "blue"], ROWS),
            "active": random.random(ROWS) > 0.5,
            "seen": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(random.integers(0, 900, ROWS), "D"),
            "customer": random.integers(0, 40, ROWS),
        }
    )
    frame["price"] = frame["size"] * 3 + frame["count"] + random.normal(0, 1, ROWS)
    frame["label"] = np.where(frame["price"] > frame["price"].median(), "high", "low")
    frame["size"] = frame["size"].mask(random.random(ROWS) < 0.05)
    frame["colour"] = frame["colour"].mask(random.random(ROWS) < 0.05)
    return frame


def make_project(folder: Path, table: pd.DataFrame, empty_store: Path) -> None:
    """Write a project that predicts ``label`` from data/raw/table.csv, and runs quickly."""
    configuration = {
        "project": {"name": "example", "template_version": "0"},
        "problem_type": "classification",
        "data": {"raw": "data/raw/table.csv", "target": "label", "drop": ["customer", "price"]},
        "training": {
            "estimator": "sklearn.ensemble.RandomForestClassifier",
            "params": {"n_estimators": 10},
        },
        "evaluation": {"importance_repeats": 1},
    }
    (folder / "configs").mkdir()
    (folder / "configs/base.yaml").write_text(yaml.safe_dump(configuration))
    (folder / "configs/local.yaml").write_text("{}")
    (folder / "configs/model_card.yaml").write_text("intended_use: to try things\n")
    (folder / "configs/expectations").mkdir()
    for name in ("raw", "prepared"):
        suite = "- expect_table_row_count_to_be_between: {min_value: 1}\n"
        (folder / f"configs/expectations/{name}.yaml").write_text(suite)
    (folder / "data/raw").mkdir(parents=True)
    table.to_csv(folder / "data/raw/table.csv", index=False)
    shutil.copy(empty_store, folder / "mlflow.db")


@pytest.fixture
def table() -> pd.DataFrame:
    """Return rows with every kind of column, gaps in each, and both kinds of target."""
    return make_table()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite store with its tables; making them takes longer than copying them."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    store.open_store(f"sqlite:///{path.as_posix()}")
    return path


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[servers.Served]:
    """Return a project on a server of its own, with a trained version, for tests that share it."""
    if sys.platform == "win32":
        pytest.skip("ends servers by their process group, which Windows does not have")
    folder = tmp_path_factory.mktemp("served")
    make_project(folder, make_table(), empty_store)
    # Without the date the model needs no code of this package, so it is a few files only.
    (folder / "configs/local.yaml").write_text("data: {drop: [customer, price, seen]}")
    for words in (["init", "--quiet"], ["config", "user.email", "ann@example.com"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    with servers.mlflow_server(tmp_path_factory.mktemp("server"), store=empty_store) as server:
        found = servers.Served(folder, server)
        with pytest.MonkeyPatch.context() as patch:
            found.use(patch)
            settings = config.load_settings()
            training.run(settings, preparation.run(settings).manifest)
        yield found


@pytest.fixture
def project(
    tmp_path: Path, table: pd.DataFrame, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the folder of a project that predicts ``label`` from data/raw/table.csv."""
    make_project(tmp_path, table, empty_store)
    monkeypatch.setenv(layers.ROOT, str(tmp_path))
    monkeypatch.setattr(mlflow, "_experiment_id", None, raising=False)
    return tmp_path


@pytest.fixture
def settings(project: Path) -> config.Settings:
    """Return that project's settings."""
    return config.load_settings()
