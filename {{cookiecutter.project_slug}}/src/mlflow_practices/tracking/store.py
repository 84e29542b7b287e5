"""The MLflow store: where it is, opened safely, and its UI."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import sqlalchemy
from mlflow import MlflowClient, MlflowException

from .. import privacy
from ..errors import PracticeError

if TYPE_CHECKING:
    from ..config.settings import Settings

SQLITE = "sqlite:///"
VARIABLE = "MLFLOW_TRACKING_URI"
UI_PORT = int(os.environ.get("MLFLOW_PORT", "5000"))


class StoreError(PracticeError):
    """The MLflow store cannot be used as it is; the message says what to do."""


STORE_ERRORS = (MlflowException, StoreError)  # the store does not answer, or refuses
# MLflow sets the variable when it gets a store's address: what it set, and the value before.
_set_by_mlflow: str | None = None
_set_before: str | None = None


def resolve_uri(configured: str, root: Path) -> str:
    """Return the tracking address: ``MLFLOW_TRACKING_URI``, else ``configured``, else a file here.

    A relative SQLite path is relative to ``root``, so that every folder uses the same store.
    """
    variable = os.environ.get(VARIABLE)
    if variable == _set_by_mlflow:  # for an earlier session
        variable = _set_before
    uri = variable or configured or f"{SQLITE}mlflow.db"
    if uri.startswith(SQLITE):
        return SQLITE + (root / uri.removeprefix(SQLITE)).absolute().as_posix()
    return uri


def open_store(uri: str) -> MlflowClient:
    """Point MLflow at ``uri`` and return a client; a new SQLite file gets its tables first.

    Raises:
        StoreError: the store cannot be used, or does not answer.
    """
    global _set_by_mlflow, _set_before
    if uri.startswith(SQLITE):
        _create_sqlite(Path(uri.removeprefix(SQLITE)))
    if not uri.startswith("http"):
        _check_database(uri)
    before = os.environ.get(VARIABLE)
    if before != _set_by_mlflow:
        _set_before = before
    mlflow.set_tracking_uri(uri)
    _set_by_mlflow = os.environ.get(VARIABLE)
    client = MlflowClient(uri)
    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise StoreError(f"{privacy.redact_text(uri)}: {error_message(error)}") from None
    return client


def connect(settings: Settings) -> MlflowClient:
    """Open the store that the configuration and the environment name."""
    return open_store(resolve_uri(settings.tracking.uri, settings.root))


def artifact_location(uri: str, name: str) -> str | None:
    """Return where a local store keeps its artifacts; MLflow would use the current folder."""
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).parent / "mlruns" / name).as_uri()


def run_address(experiment_id: str, run_id: str) -> str:
    """Return where the MLflow UI shows a run; for a local store, once ``make ui`` runs."""
    uri = mlflow.get_tracking_uri()
    base = uri.rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{UI_PORT}"
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}"


def serve_ui(settings: Settings) -> None:
    """Serve the MLflow UI of a local store until interrupted; print the address of a server."""
    uri = resolve_uri(settings.tracking.uri, settings.root)
    if uri.startswith("http"):
        print(uri)
        return
    open_store(uri)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--backend-store-uri", uri, "--port", str(UI_PORT)]
    # The job runner and its eight processes serve features that this project does not use.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with suppress(KeyboardInterrupt):
        subprocess.run(command, env=environment, check=True)


def error_message(error: Exception) -> str:
    """Return the message of an error of the store in one line that says what to do."""
    text = " ".join(str(error).split())
    if not isinstance(error, STORE_ERRORS):
        return privacy.redact_text(f"{type(error).__name__}: {text}")
    if "failed with exception" in text:
        return "no MLflow server answers there; start it, or correct MLFLOW_TRACKING_URI"
    if "error code 401" in text:
        return (
            "the server wants an account; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    denied = isinstance(error, MlflowException) and error.error_code == "PERMISSION_DENIED"
    if denied or "error code 403" in text:
        return "the account may not do this; it needs EDIT on the model and the experiment"
    return privacy.redact_text(text)


def _create_sqlite(path: Path) -> None:
    """Create a database and its tables, if the file does not exist.

    Processes that create the tables of one SQLite file together break it. So each creates them in
    a file of its own, which then gets the final name in one step; the first process wins.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        _check_database(SQLITE + own.as_posix())
        MlflowClient(SQLITE + own.as_posix()).search_experiments(max_results=1)
        try:
            os.link(own, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                own.replace(path)
    finally:
        with suppress(OSError):  # renamed, or on Windows still open
            own.unlink()


def _check_database(uri: str) -> None:
    """Try once whether a database answers; MLflow itself would try for 100 seconds."""
    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        sqlalchemy.inspect(engine).has_table("experiments")
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise StoreError(f"{privacy.redact_text(uri)}: cannot be used: {reason}") from None
