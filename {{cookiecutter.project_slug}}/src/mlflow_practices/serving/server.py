"""Starts the serving application: one process, or several workers behind one port."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from mlflow import MlflowException
from uvicorn.supervisors import Multiprocess

from .. import privacy
from ..registry import versions
from ..settings import Settings
from ..tracking import store
from . import cache, copies
from .watcher import Reference, reference

KEEP_ALIVE_SECONDS = 75  # longer than the 60 of most proxies, so that it is they who close
WORKER_ANSWERS_SECONDS = 60  # a worker that loads a large model is not a dead one
SEVERAL = "PROMETHEUS_MULTIPROC_DIR"
PARENT_SECONDS = 0.5  # between two looks at whether the parent lives
GRACE_SECONDS = 10  # beyond draining; then a process whose parent is gone ends in any case
log = logging.getLogger(__name__)


class ServingError(Exception):
    """The server cannot start; the message says what to do."""


def serve(settings: Settings, model: str, given: Mapping[str, Any]) -> None:
    """Serve a model until SIGTERM or Ctrl-C; requests that are under way are answered first.

    ``given`` goes before `Serving`'s host, port and number of workers; its ``parent`` is the id of
    the process that started this one: when that is gone, this ends as on SIGTERM (POSIX only).

    Raises:
        CacheError: REDIS_URL is no address.
        ServingError: the port is taken, or there is no model and no copy of one.
    """
    served = reference(model, settings.project.name)
    given = dict(given)
    parent = given.pop("parent", None)
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, force=True)
    serving = settings.serving.model_copy(update=given)
    settings = settings.model_copy(update={"serving": serving})
    _end_with(parent, serving.drain_seconds)
    _require_model(settings, served)
    cache.open_store(serving.cache)  # which says now what is wrong with its address
    listening = _listen(serving.host, serving.port)
    config = uvicorn.Config(
        partial(_application, settings, served, os.getpid() if serving.workers > 1 else None),
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
        os.environ[SEVERAL] = shared
        Multiprocess(config, sockets=[listening]).run()


def _application(settings: Settings, served: Reference, parent: int | None) -> object:
    """Make the application in the process that runs it: this one, or a worker of ``parent``."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, force=True)
    privacy.configure(settings.privacy.fields, settings.privacy.keep)
    from .app import Application  # late: it counts where the environment says by now

    _end_with(parent, settings.serving.drain_seconds)
    return Application(settings, served)


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


def _require_model(settings: Settings, served: Reference) -> None:
    """Raise `ServingError` where there is nothing to serve and waiting would not help."""
    try:
        store.connect(settings)
        versions.find(served.name, served.which)
        return
    except versions.RegistryError as error:
        raise ServingError(f"{error}; promote a version, or name another with --model") from None
    except store.FAILURES as error:
        problem = store.complaint(error) if isinstance(error, MlflowException) else str(error)
    try:
        copies.last(served.folder(settings))
    except copies.CopyError as error:
        raise ServingError(f"{served}: {problem}; and {error}") from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ServingError(f"{host}:{port}: {reason}; choose another with --port") from None
