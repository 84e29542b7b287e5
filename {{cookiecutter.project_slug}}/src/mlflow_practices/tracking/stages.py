"""The MLflow run of a stage: opened, tagged, and ended with the reason if the stage fails."""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.entities import RunStatus

from .. import machine
from . import experiments, git, recording, reproducibility, store
from .asynchronous_logging import log_asynchronously

if TYPE_CHECKING:
    from .session import Session


@dataclass(frozen=True)
class Stage:
    """The run of a stage, the pipeline it belongs to, and where the MLflow UI shows it."""

    run_id: str
    pipeline_id: str
    address: str


@contextmanager
def open_stage(
    session: Session, phase: str, pipeline_id: str | None, upstream_run_id: str | None
) -> Iterator[Stage]:
    """Open the run of a stage; see `Session.stage`."""
    client, settings = session.client, session.settings
    experiment_id = experiments.get_experiment(session, phase).experiment_id
    _end_abandoned_runs(client, experiment_id)
    pipeline_id = pipeline_id or uuid.uuid4().hex
    tags = {
        "project": settings.project.name,
        "phase": phase,
        "environment": settings.environment,
        "pipeline_id": pipeline_id,
        "process": f"{socket.gethostname()}:{os.getpid()}",
        **git.code_version(settings.root),
    }
    if upstream_run_id:
        tags["upstream_run_id"] = upstream_run_id
    failure: BaseException | None = None
    try:
        with (
            _sigterm_delayed() as handle_sigterm,
            mlflow.start_run(
                _run_of_mlflow_project(client, experiment_id),
                experiment_id,
                nested=mlflow.active_run() is not None,
            ) as run,
        ):
            try:
                with log_asynchronously(settings.tracking.asynchronous):
                    recording.set_tags(tags)
                    reproducibility.load_and_log_config(settings)
                    handle_sigterm()
                    run_id = run.info.run_id
                    yield Stage(run_id, pipeline_id, store.run_address(experiment_id, run_id))
            except BaseException as error:
                failure = error
                with suppress(Exception):
                    reason = str(error) or type(error).__name__
                    recording.set_tags({"failure_reason": " ".join(reason.split())})
                raise
    except Exception as error:
        # When the store itself fails, ending the run fails too, and must not hide the first error.
        if failure is not None and failure is not error:
            raise failure from None
        raise


@contextmanager
def _sigterm_delayed() -> Iterator[Callable[[], None]]:
    """Delay SIGTERM until the yielded function is called.

    A process that ends while MLflow opens its run would leave it RUNNING forever. One that ends
    while the first tags are written could leave an SQLite file locked.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one handles signals
        yield lambda: None
        return
    received = threading.Event()
    former = signal.signal(signal.SIGTERM, lambda *_: received.set()) or signal.SIG_DFL

    def handle() -> None:
        signal.signal(signal.SIGTERM, former)
        if received.is_set():
            signal.raise_signal(signal.SIGTERM)

    try:
        yield handle
    finally:
        signal.signal(signal.SIGTERM, former)


def _end_abandoned_runs(client: MlflowClient, experiment_id: str) -> None:
    """End runs whose process on this machine was killed; they would stay RUNNING forever."""
    own = f"attributes.status = 'RUNNING' AND tags.process LIKE '{socket.gethostname()}:%'"
    for run in client.search_runs([experiment_id], own):
        process = int(run.data.tags["process"].rpartition(":")[2])
        if not machine.is_alive(process):
            client.set_tag(run.info.run_id, "failure_reason", "the process was killed")
            client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def _run_of_mlflow_project(client: MlflowClient, experiment_id: str) -> str | None:
    """Return the run that ``mlflow run`` opened, if it is in this stage's experiment.

    Its variables are removed from the environment, or every later run would have to be that one.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    with suppress(MlflowException):
        if run_id and client.get_run(run_id).info.experiment_id == experiment_id:
            return run_id
    return None
