"""The project's experiments, one for each phase, and the runs in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Experiment, Run

from .. import __version__
from . import PHASES, documentation, experiment_name, experiment_tags, store

if TYPE_CHECKING:
    from ..config.settings import Settings
    from .identity import Identity
    from .session import Session


def create_experiments(
    client: MlflowClient, project: str, author: Identity | None = None
) -> dict[str, str]:
    """Create the project's experiments and return each name's state.

    The state is ``created``, ``exists`` or ``deleted``. A deleted experiment is not restored.
    """
    states = {}
    for phase, description in PHASES.items():
        name = experiment_name(project, phase)
        tags = experiment_tags(project, phase, __version__)
        if author:
            tags["author"] = str(author)
        location = store.artifact_location(client.tracking_uri, name)
        states[name] = documentation.document_experiment(
            client, name, description, tags, artifact_location=location, overwrite=False
        )
    return states


def get_experiment(session: Session, phase: str) -> Experiment:
    """Return the experiment of a phase, created if it does not exist.

    Raises:
        StoreError: the experiment was deleted.
    """
    client, project = session.client, session.settings.project.name
    name = experiment_name(project, phase)
    found = client.get_experiment_by_name(name)
    if found is None:
        create_experiments(client, project, session.identity)
        found = client.get_experiment_by_name(name)
        assert found is not None
    if found.lifecycle_stage == "deleted":
        remedy = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        raise store.StoreError(f"the experiment {name} was deleted; restore it with `{remedy}`")
    return found


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, or None if it does not exist or was deleted."""
    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def find_runs(
    client: MlflowClient,
    settings: Settings,
    phase: str,
    filter_string: str = "",
    max_results: int | None = None,
) -> list[Run]:
    """Return the runs of a phase that match a filter of MLflow's, newest first."""
    experiment = client.get_experiment_by_name(experiment_name(settings.project.name, phase))
    if experiment is None:
        return []
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            filter_string,
            max_results=max_results or 1000,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        runs += page
        token = page.token
        if max_results or not token:
            return runs


def start_time(run: Run) -> str:
    """Return when a run started, in UTC, to the second."""
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
