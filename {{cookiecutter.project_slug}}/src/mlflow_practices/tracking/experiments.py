"""The experiments, one a phase, and the run that each stage is."""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Experiment, Run, RunStatus

from .. import __version__, machine
from . import (
    PHASES,
    asynchronous_logging,
    documentation,
    experiment_name,
    experiment_tags,
    identity,
    recording,
    reproducibility,
    store,
)

if TYPE_CHECKING:
    from ..config.settings import Settings


@dataclass(frozen=True)
class Stage:
    """The run of a stage, the pipeline it belongs to, and where the MLflow UI shows it."""

    run_id: str
    pipeline_id: str
    address: str


def create_experiments(
    project: str, tracking_uri: str, template_version: str, root: Path | None = None
) -> dict[str, str]:
    """Create the project's experiments and return each name's state.

    The state is ``created``, ``exists`` or ``deleted``: an experiment that somebody deleted is
    left as it is. With the project's folder, ``root``, their tag ``author`` says who did it.
    """
    client = store.open_store(tracking_uri)
    author = {"author": str(identity.current(root))} if root else {}
    names = {phase: experiment_name(project, phase) for phase in PHASES}
    return {
        name: documentation.document_experiment(
            client,
            name,
            PHASES[phase],
            experiment_tags(project, phase, template_version) | author,
            artifact_location=store.artifact_location(tracking_uri, name),
            overwrite=False,
        )
        for phase, name in names.items()
    }


@contextmanager
def stage_run(
    client: MlflowClient,
    settings: Settings,
    phase: str,
    *,
    pipeline_id: str | None = None,
    upstream_run_id: str | None = None,
) -> Iterator[Stage]:
    """Open the run of one stage in the experiment of its phase.

    The effective configuration and the tags that tie runs together are logged at once. A stage
    that raises leaves its run FAILED with the reason in the tag ``failure_reason``.

    A stage within a stage is a run below its run.

    Raises:
        StoreError: the store cannot be used, or the experiment was deleted.
        LoggingError: metrics or parameters did not arrive (``tracking.asynchronous``).
    """
    experiment = _experiment(client, settings, phase)
    _close_abandoned(client, experiment)
    pipeline_id = pipeline_id or uuid.uuid4().hex
    tags = {
        "project": settings.project.name,
        "phase": phase,
        "environment": settings.environment,
        "pipeline_id": pipeline_id,
        "process": _process(),
        **({"upstream_run_id": upstream_run_id} if upstream_run_id else {}),
        **reproducibility.code_version(settings.root),
    }
    failure: BaseException | None = None
    try:
        with (
            _termination_held_back() as let_go,
            mlflow.start_run(
                _project_run(client, experiment),
                experiment.experiment_id,
                nested=mlflow.active_run() is not None,
            ) as run,
        ):
            try:
                with asynchronous_logging.log_asynchronously(settings.tracking.asynchronous):
                    recording.set_tags(tags)
                    reproducibility.load_and_log_config(settings)
                    let_go()
                    yield Stage(
                        run.info.run_id,
                        pipeline_id,
                        store.run_address(experiment.experiment_id, run.info.run_id),
                    )
            except BaseException as error:
                failure = error
                with suppress(Exception):
                    reason = str(error) or type(error).__name__
                    recording.set_tags({"failure_reason": " ".join(reason.split())})
                raise
    except Exception as error:
        # Where the store itself fails, its second complaint must not hide the first.
        if failure is not None and failure is not error:
            raise failure from None
        raise


def start_time(run: Run) -> str:
    """Return when a run started, in UTC, to the second."""
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, or None where there is none or it was deleted."""
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
    """Return the runs of a phase that a filter of MLflow's lets through, newest first."""
    experiment = client.get_experiment_by_name(experiment_name(settings.project.name, phase))
    found: list[Run] = []
    token: str | None = None
    while (
        experiment
        and (token is None or token)
        and (max_results is None or len(found) < max_results)
    ):
        page = client.search_runs(
            [experiment.experiment_id],
            filter_string,
            max_results=max_results or 1000,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found += page
        token = page.token or ""
    return found


@contextmanager
def _termination_held_back() -> Iterator[Callable[[], None]]:
    """Hold SIGTERM back until the yielded function is called.

    A run whose process is ended while MLflow opens it would say RUNNING for ever, and so might one
    whose first tags are cut off in the middle: an SQLite file can be locked by them then.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one handles signals
        yield lambda: None
        return
    came: list[bool] = []
    former = signal.signal(signal.SIGTERM, lambda *_: came.append(True)) or signal.SIG_DFL

    def let_go() -> None:
        signal.signal(signal.SIGTERM, former)
        if came:
            signal.raise_signal(signal.SIGTERM)

    try:
        yield let_go
    finally:
        signal.signal(signal.SIGTERM, former)


def _experiment(client: MlflowClient, settings: Settings, phase: str) -> Experiment:
    name = experiment_name(settings.project.name, phase)
    found = client.get_experiment_by_name(name)
    if found is None:
        uri = client.tracking_uri
        create_experiments(settings.project.name, uri, __version__, settings.root)
        found = client.get_experiment_by_name(name)
        assert found is not None
    if found.lifecycle_stage == "deleted":
        remedy = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        raise store.StoreError(f"the experiment {name} was deleted; bring it back with `{remedy}`")
    return found


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _close_abandoned(client: MlflowClient, experiment: Experiment) -> None:
    """Mark runs whose process on this machine was killed; they would say RUNNING for ever."""
    host = socket.gethostname()
    running = "attributes.status = 'RUNNING'"
    for run in client.search_runs(
        [experiment.experiment_id], f"{running} AND tags.process LIKE '{host}:%'"
    ):
        if machine.is_alive(int(run.data.tags["process"].rpartition(":")[2])):
            continue
        client.set_tag(run.info.run_id, "failure_reason", "the process was killed")
        client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def _project_run(client: MlflowClient, experiment: Experiment) -> str | None:
    """Adopt the run that ``mlflow run`` opened, when it stands in this stage's experiment.

    Its variables are taken out of the environment, or every run here would have to be that one.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    if run_id is None:
        return None
    with suppress(MlflowException):
        if client.get_run(run_id).info.experiment_id == experiment.experiment_id:
            return run_id
    return None
