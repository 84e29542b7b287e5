"""Small projects for the tests of the practices: a made-up table, a configuration, a store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from mlflow_practices.config import sources
from mlflow_practices.registry.versions import Version
from mlflow_practices.tracking.session import Session, open_session
from my_ml_project import data_preparation, model_training
from my_ml_project.__main__ import command_line
from my_ml_project.project import PROJECT
from typer.testing import CliRunner, Result

PACKAGE = PROJECT.package
PREFIX = sources.variable_prefix(PACKAGE)  # of the variables that are settings
ROOT = f"{PREFIX}ROOT"  # the variable that names the project's folder
ROWS = 240


def open_project(environment: str | None = None, overrides: Sequence[str] = ()) -> Session:
    """Return a session of the project in the folder that the variable `ROOT` names."""
    return open_session(PROJECT, environment, overrides)


def train(session: Session) -> Version:
    """Prepare the data, train on it, and return the version."""
    manifest = data_preparation.run(session).manifest
    version: Version = model_training.run(session, manifest).version
    return version


def run_command(*words: str) -> Result:
    """Run a command in this process, and return its exit code and output."""
    return CliRunner().invoke(command_line.app, list(words))


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
        "project": {"name": "example"},
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
    shutil.copy(PROJECT.root / "configs/model_card.md.j2", folder / "configs")
    (folder / "configs/expectations").mkdir()
    for name in ("raw", "prepared"):
        suite = "- expect_table_row_count_to_be_between: {min_value: 1}\n"
        (folder / f"configs/expectations/{name}.yaml").write_text(suite)
    (folder / "data/raw").mkdir(parents=True)
    table.to_csv(folder / "data/raw/table.csv", index=False)
    shutil.copy(empty_store, folder / "mlflow.db")
