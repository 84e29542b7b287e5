"""Starts the serving application: one process, or several workers behind one port."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from mlflow import MlflowException
from uvicorn.supervisors import Multiprocess

from ..config.project import load_project
from ..errors import PracticeError
from ..registry import local_models, versions
from ..registry.versions import ModelReference, parse_reference
from ..tracking import store
from ..tracking.session import Session, open_session
from . import cache
from .settings import METRICS_FOLDER, ServingSettings

KEEP_ALIVE_SECONDS = 75  # proxies mostly wait 60: they close a connection first, not the server
WORKER_ANSWERS_SECONDS = 60  # a worker that loads a large model is not a dead one
PARENT_CHECK_SECONDS = 0.5
GRACE_SECONDS = 10  # after draining; then a process whose parent is gone ends in any case
log = logging.getLogger(__name__)


class ServingError(PracticeError):
    """The server cannot start; the message says what to do."""


def serve(
    session: Session, model: str, changes: Mapping[str, Any], parent: int | None = None
) -> None:
    """Serve a model until SIGTERM or Ctrl-C; requests that are under way are answered first.

    Args:
        session: of the project.
        model: as ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; empty for the champion.
        changes: values that replace those of `ServingSettings`.
        parent: the id of the process that started this one; this one ends when that is gone.

    Raises:
        CacheError: REDIS_URL is not the address of a Redis.
        ServingError: the port is taken, or there is neither a model nor a local copy of one.
    """
    settings = session.settings
    reference = parse_reference(model, settings.project.name)
    serving = settings.section(ServingSettings).model_copy(update=dict(changes))
    _log_to_stderr()
    _end_with(parent, serving.drain_seconds)
    _require_model(session, reference)
    cache.open_store(serving.cache)  # raises where the address is wrong
    listening = _listen(serving.host, serving.port)
    # From these every worker makes a session of its own.
    facts = (session.project.package, settings.environment, settings.overrides, reference)
    config = uvicorn.Config(
        partial(_application, *facts, os.getpid() if serving.workers > 1 else None),
        factory=True,
        lifespan="on",
        ws="none",
        workers=serving.workers,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=serving.drain_seconds,
        timeout_worker_healthcheck=WORKER_ANSWERS_SECONDS,
    )
    host, port = listening.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"{reference} on {address} (docs at {address}/docs)", file=sys.stderr, flush=True)
    with listening, TemporaryDirectory(prefix="metrics-") as folder:
        if serving.workers == 1:
            uvicorn.Server(config).run(sockets=[listening])
        else:
            os.environ[METRICS_FOLDER] = folder
            Multiprocess(config, sockets=[listening]).run()


def _application(
    package: str,
    environment: str,
    overrides: Sequence[str],
    reference: ModelReference,
    parent: int | None,
) -> object:
    """Make the application in the process that runs it: this one, or a worker of ``parent``."""
    _log_to_stderr()
    session = open_session(load_project(package), environment, overrides)
    from .app import Application  # late: its metrics go where the environment says by now

    _end_with(parent, session.settings.section(ServingSettings).drain_seconds)
    return Application(session, reference)


def _log_to_stderr() -> None:
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, force=True)


def _end_with(parent: int | None, drain_seconds: int) -> None:
    """End this process when ``parent`` is gone, even while a model loads (POSIX only)."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_SECONDS)
        log.error("the process that started this one is gone; this one ends, too")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(drain_seconds + GRACE_SECONDS)
        os._exit(143)

    if parent is not None:
        threading.Thread(target=watch, name="parent", daemon=True).start()


def _require_model(session: Session, reference: ModelReference) -> None:
    """Raise `ServingError` where there is nothing to serve and waiting would not help."""
    try:
        versions.find(session.client, reference.name, reference.alias_or_number)
        return
    except versions.RegistryError as error:
        raise ServingError(f"{error}; promote a version, or name another with --model") from None
    except store.STORE_ERRORS as error:
        problem = store.error_message(error) if isinstance(error, MlflowException) else str(error)
    copies = session.settings.path(session.settings.section(ServingSettings).local_copy)
    try:
        local_models.last_served(reference.folder(copies))
    except local_models.LocalModelError as error:
        raise ServingError(f"{reference}: {problem}; and {error}") from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ServingError(f"{host}:{port}: {reason}; choose another with --port") from None
