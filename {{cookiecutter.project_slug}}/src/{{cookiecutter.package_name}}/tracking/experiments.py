"""The store, its experiments, and the run that each stage is."""

import logging
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import sqlalchemy
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Experiment, RunStatus

from .. import privacy
from . import PHASES, documentation, experiment_name, experiment_tags, recording, reproducibility

if TYPE_CHECKING:
    from ..settings import Settings

SQLITE = "sqlite:///"


class StoreError(Exception):
    """The MLflow store cannot be used as it is; the message says what to do."""


@dataclass(frozen=True)
class StageRun:
    """The run of a stage, the pipeline it belongs to, and where the MLflow UI shows it."""

    run_id: str
    pipeline_id: str
    address: str


def resolve_uri(configured: str, root: Path) -> str:
    """Return the tracking address: ``MLFLOW_TRACKING_URI``, else ``configured``, else a file here.

    A relative SQLite path is taken from ``root``, so that every folder reaches the same store.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or configured or f"{SQLITE}mlflow.db"
    if uri.startswith(SQLITE):
        return SQLITE + (root / uri.removeprefix(SQLITE)).absolute().as_posix()
    return uri


def open_store(uri: str) -> MlflowClient:
    """Point MLflow at ``uri`` and return a client; a new SQLite file gets its tables first.

    Processes that create the tables of one SQLite file together ruin it. So they are made in a
    file of this process, which then takes the name in one step; whoever comes second uses that.
    """
    if uri.startswith(SQLITE) and not (path := Path(uri.removeprefix(SQLITE))).exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            _check_database(SQLITE + fresh.as_posix())
            MlflowClient(SQLITE + fresh.as_posix()).search_experiments(max_results=1)
            with suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    if not uri.startswith("http"):
        _check_database(uri)
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise StoreError(f"{privacy.redact_text(uri)}: {_complaint(error)}") from None
    return client


def _check_database(uri: str) -> None:
    """Look once whether a database answers; MLflow itself would try for 100 seconds."""
    try:
        sqlalchemy.inspect(sqlalchemy.create_engine(uri)).has_table("experiments")
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise StoreError(f"{privacy.redact_text(uri)}: cannot be used: {reason}") from None


def _complaint(error: MlflowException) -> str:
    text = " ".join(str(error).split())
    if "failed with exception" in text:
        return "no MLflow server answers there; start it, or correct MLFLOW_TRACKING_URI"
    if "error code 401" in text:
        return (
            "the server wants an account; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return privacy.redact_text(text)


def connect(settings: "Settings") -> MlflowClient:
    """Open the store that the configuration and the environment name."""
    return open_store(resolve_uri(settings.tracking.uri, settings.root))


def create_hierarchy(project: str, tracking_uri: str, template_version: str) -> dict[str, str]:
    """Create the project's experiments and return each name's state.

    The state is ``created``, ``exists`` or ``deleted``: an experiment that somebody deleted is
    left as it is.
    """
    client = open_store(tracking_uri)
    names = {phase: experiment_name(project, phase) for phase in PHASES}
    return {
        name: documentation.document_experiment(
            client,
            name,
            experiment_tags(project, phase, template_version),
            _artifact_location(tracking_uri, name),
        )
        for phase, name in names.items()
    }


@contextmanager
def stage_run(
    settings: "Settings",
    phase: str,
    *,
    pipeline_id: str | None = None,
    upstream_run_id: str | None = None,
) -> Iterator[StageRun]:
    """Open the run of one stage in the experiment of its phase.

    The effective configuration and the tags that tie runs together are logged at once. A stage
    that raises leaves its run FAILED with the reason in the tag ``failure_reason``.

    Raises:
        StoreError: the experiment was deleted.
    """
    client = connect(settings)
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
    with mlflow.start_run(_project_run(client, experiment), experiment.experiment_id) as run:
        try:
            recording.set_tags(tags)
            reproducibility.load_and_log_config(settings)
            yield StageRun(
                run.info.run_id, pipeline_id, run_address(experiment.experiment_id, run.info.run_id)
            )
        except BaseException as error:
            # The store itself may be what failed: its second complaint must not hide the first.
            with suppress(Exception):
                reason = str(error) or type(error).__name__
                recording.set_tags({"failure_reason": " ".join(reason.split())})
            raise


def run_address(experiment_id: str, run_id: str) -> str:
    """Return where the MLflow UI shows a run; for a local store, once ``make ui`` runs."""
    uri = mlflow.get_tracking_uri()
    base = uri.rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}"


def serve_ui(settings: "Settings", port: int = 5000) -> None:
    """Serve the MLflow UI of a store without a server until interrupted."""
    uri = resolve_uri(settings.tracking.uri, settings.root)
    if uri.startswith("http"):
        print(uri)
        return
    open_store(uri)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        uri,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    # The job runner and its eight processes serve features that this project does not use.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with suppress(KeyboardInterrupt):
        subprocess.run(command, env=environment, check=True)


def _experiment(client: MlflowClient, settings: "Settings", phase: str) -> Experiment:
    name = experiment_name(settings.project.name, phase)
    found = client.get_experiment_by_name(name)
    if found is None:
        uri = client.tracking_uri
        create_hierarchy(settings.project.name, uri, settings.project.template_version)
        found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        remedy = (
            f"mlflow experiments restore --experiment-id {found.experiment_id}"
            if found
            else "make experiments"
        )
        raise StoreError(f"the experiment {name} was deleted; bring it back with `{remedy}`")
    return found


def _artifact_location(uri: str, name: str) -> str | None:
    """Keep a local store's artifacts beside it; MLflow would use the current folder."""
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).parent / "mlruns" / name).as_uri()


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _close_abandoned(client: MlflowClient, experiment: Experiment) -> None:
    """Mark runs whose process on this machine was killed; they would say RUNNING for ever."""
    host = socket.gethostname()
    running = "attributes.status = 'RUNNING'"
    for run in client.search_runs(
        [experiment.experiment_id], f"{running} AND tags.process LIKE '{host}:%'"
    ):
        pid = int(run.data.tags["process"].rpartition(":")[2])
        if not Path("/proc/self").exists() or Path(f"/proc/{pid}").exists():
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
