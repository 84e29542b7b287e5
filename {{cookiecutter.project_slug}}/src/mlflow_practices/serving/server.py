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
from pathlib import Path
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
from .settings import ServingSettings

KEEP_ALIVE_SECONDS = 75  # longer than the 60 of most proxies, so that it is they who close
WORKER_ANSWERS_SECONDS = 60  # a worker that loads a large model is not a dead one
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
PARENT_SECONDS = 0.5  # between two looks at whether the parent lives
GRACE_SECONDS = 10  # beyond draining; then a process whose parent is gone ends in any case
log = logging.getLogger(__name__)


class ServingError(PracticeError):
    """The server cannot start; the message says what to do."""


def serve(session: Session, model: str, given: Mapping[str, Any]) -> None:
    """Serve a model until SIGTERM or Ctrl-C; requests that are under way are answered first.

    ``given`` goes before `ServingSettings`' host, port and number of workers; its ``parent`` is the id of
    the process that started this one: when that is gone, this ends as on SIGTERM (POSIX only).

    Raises:
        CacheError: REDIS_URL is no address.
        ServingError: the port is taken, or there is no model and no copy of one.
    """
    settings = session.settings
    served = parse_reference(model, settings.project.name)
    given = dict(given)
    parent = given.pop("parent", None)
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, force=True)
    serving = settings.section(ServingSettings).model_copy(update=given)
    _end_with(parent, serving.drain_seconds)
    _require_model(session, served, settings.path(serving.local_copy))
    cache.open_store(serving.cache)  # which says now what is wrong with its address
    listening = _listen(serving.host, serving.port)
    config = uvicorn.Config(
        # What every worker makes a session of its own from.
        partial(
            _application,
            session.project.package,
            settings.environment,
            settings.overrides,
            served,
            os.getpid() if serving.workers > 1 else None,
        ),
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
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"{served} on {address} (docs at {address}/docs)", file=sys.stderr, flush=True)
    with listening, TemporaryDirectory(prefix="metrics-") as shared:
        if serving.workers == 1:
            uvicorn.Server(config).run(sockets=[listening])
            return
        os.environ[MULTIPROCESS_FOLDER] = shared
        Multiprocess(config, sockets=[listening]).run()


def _application(
    package: str,
    environment: str,
    overrides: Sequence[str],
    served: ModelReference,
    parent: int | None,
) -> object:
    """Make the application in the process that runs it: this one, or a worker of ``parent``."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, force=True)
    session = open_session(load_project(package), environment, overrides)
    from .app import Application  # late: it counts where the environment says by now

    _end_with(parent, session.settings.section(ServingSettings).drain_seconds)
    return Application(session, served)


def _end_with(parent: int | None, drain_seconds: int) -> None:
    """End this process when ``parent``, if any, is its parent no more, also while a model loads."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        log.error("the process that started this one is gone; so it ends, too")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(drain_seconds + GRACE_SECONDS)
        os._exit(143)

    if parent is not None:
        threading.Thread(target=watch, name="parent", daemon=True).start()


def _require_model(session: Session, served: ModelReference, copies: Path) -> None:
    """Raise `ServingError` where there is nothing to serve and waiting would not help."""
    try:
        versions.find(session.client, served.name, served.alias_or_number)
        return
    except versions.RegistryError as error:
        raise ServingError(f"{error}; promote a version, or name another with --model") from None
    except store.STORE_ERRORS as error:
        problem = store.error_message(error) if isinstance(error, MlflowException) else str(error)
    try:
        local_models.last_served(served.folder(copies))
    except local_models.LocalModelError as error:
        raise ServingError(f"{served}: {problem}; and {error}") from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ServingError(f"{host}:{port}: {reason}; choose another with --port") from None
