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
UI_PORT = int(os.environ.get("MLFLOW_PORT", "5000"))


class StoreError(PracticeError):
    """The MLflow store cannot be used as it is; the message says what to do."""


# What the variable says since MLflow was pointed at a store, and what it said before.
_exported: dict[str, str | None] = {}
STORE_ERRORS = (MlflowException, StoreError)  # of a store that does not answer, or refuses


def resolve_uri(configured: str, root: Path) -> str:
    """Return the tracking address: ``MLFLOW_TRACKING_URI``, else ``configured``, else a file here.

    A relative SQLite path is taken from ``root``, so that every folder reaches the same store.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named and named == _exported.get("uri"):  # by `open_store`, for an earlier session
        named = _exported.get("before")
    uri = named or configured or f"{SQLITE}mlflow.db"
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
            _take_name(fresh, path)
        finally:
            with suppress(OSError):  # gone, or on Windows still open
                fresh.unlink()
    if not uri.startswith("http"):
        _check_database(uri)
    before = os.environ.get("MLFLOW_TRACKING_URI")
    if before != _exported.get("uri"):
        _exported["before"] = before
    mlflow.set_tracking_uri(uri)  # which sets the variable
    _exported["uri"] = os.environ.get("MLFLOW_TRACKING_URI")
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
    """Keep a local store's artifacts beside it; MLflow would use the current folder."""
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).parent / "mlruns" / name).as_uri()


def run_address(experiment_id: str, run_id: str) -> str:
    """Return where the MLflow UI shows a run; for a local store, once ``make ui`` runs."""
    uri = mlflow.get_tracking_uri()
    base = uri.rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{UI_PORT}"
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}"


def serve_ui(settings: Settings) -> None:
    """Serve the MLflow UI of a store without a server until interrupted."""
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


def _take_name(fresh: Path, path: Path) -> None:
    """Give ``fresh`` the name ``path``, unless another process was first."""
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            fresh.replace(path)


def _check_database(uri: str) -> None:
    """Look once whether a database answers; MLflow itself would try for 100 seconds."""
    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        sqlalchemy.inspect(engine).has_table("experiments")
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise StoreError(f"{privacy.redact_text(uri)}: cannot be used: {reason}") from None


def error_message(error: MlflowException) -> str:
    """Return what MLflow complains of, in words that say what to do."""
    text = " ".join(str(error).split())
    if "failed with exception" in text:
        return "no MLflow server answers there; start it, or correct MLFLOW_TRACKING_URI"
    if "error code 401" in text:
        return (
            "the server wants an account; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if "error code 403" in text or error.error_code == "PERMISSION_DENIED":
        return "the account may not do this; it needs EDIT on the model and the experiment"
    return privacy.redact_text(text)
