"""Runs the project on a sample of its data, in a temporary folder with its own store."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest
from mlflow_practices.config import sources
from mlflow_practices.config.project import Project
from mlflow_practices.config.settings import Settings, load_settings
from mlflow_practices.registry.versions import Version
from mlflow_practices.tracking.session import Session, open_session

from {{ cookiecutter.package_name }} import pipeline
from {{ cookiecutter.package_name }}.model_evaluation import Evaluated
from {{ cookiecutter.package_name }}.project import PROJECT

SAMPLE_ROWS = 2000


@pytest.fixture(scope="session")
def project() -> Project:
    return PROJECT


@pytest.fixture(scope="session")
def session(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Return a session with configs/ci.yaml; it writes into a temporary folder."""
    settings = load_settings(project, "ci")

    def read_sample(_: Settings) -> pd.DataFrame:
        table = project.read(settings)  # in the project's own folder
        return table.sample(min(len(table), SAMPLE_ROWS), random_state=0)

    root = tmp_path_factory.mktemp("project")
    shutil.copytree(project.root / "configs", root / "configs")
    (root / "models").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{sources.variable_prefix(project.package)}ROOT", str(root))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(root / 'mlflow.db').as_posix()}")
        yield open_session(replace(project, read=read_sample), "ci")


@pytest.fixture(scope="session")
def evaluated(session: Session) -> Evaluated:
    """Return the result of the whole pipeline, whether it passed its gates or not."""
    return pipeline.run(session)


@pytest.fixture(scope="session")
def trained(session: Session, evaluated: Evaluated) -> tuple[Session, Version]:
    return session, evaluated.version


@pytest.fixture(scope="session")
def table(session: Session) -> pd.DataFrame:
    """Return a sample of the raw table."""
    return session.project.read(session.settings)
