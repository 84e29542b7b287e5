"""Real MLflow servers for the tests, each with a store of its own; POSIX only."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import sqlalchemy

import projects

DATABASE = "TEST_DATABASE_URI"  # such as postgresql+psycopg://...: there instead of in SQLite
START = 120  # seconds that it may take on a busy machine
ADMIN = "admin"


class Server:
    """An ``mlflow server`` on 127.0.0.1, which can be killed and started again."""

    def __init__(self, folder: Path, backend: str, accounts: bool, port: int) -> None:
        """Prepare it; ``start`` runs it. Its log is server.log in ``folder``."""
        self.artifacts = folder / "artifacts"
        self.address = f"http://127.0.0.1:{port}"
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords = {ADMIN: secrets.token_urlsafe(16)}
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        self._command += ["--port", str(port), "--workers", "1", "--backend-store-uri", backend]
        self._command += ["--artifacts-destination", self.artifacts.as_uri()]
        self._environment = {
            **_inherited("MLFLOW_"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        if accounts:
            self._command += ["--app-name", "basic-auth"]
            settings = folder / "accounts.ini"
            settings.write_text(
                "[mlflow]\n"
                "default_permission = READ\n"
                f"database_uri = sqlite:///{folder / 'accounts.db'}\n"
                f"admin_username = {ADMIN}\n"
                "auth_cache_ttl_seconds = 60\n"  # checking a password takes 0.15 s
            )
            self._environment |= {
                "MLFLOW_AUTH_CONFIG_PATH": str(settings),
                "MLFLOW_AUTH_ADMIN_PASSWORD": self._passwords[ADMIN],
                "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
            }

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the MLflow server did not come up:\n{tail}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill all of its processes at once, like a power cut; do nothing if it is not running."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        for _ in range(1000):  # the worker closes the port a moment later
            if not self._listens():
                break
            time.sleep(0.01)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it accept connections without answering."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def add_account(self, name: str) -> None:
        """Create an account with a random password."""
        self._passwords[name] = secrets.token_urlsafe(16)
        with self.administration() as client:
            client.create_user(name, self._passwords[name])

    def login(self, name: str) -> dict[str, str]:
        """Return the environment variables that select an account."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": self._passwords[name],
        }

    @contextmanager
    def administration(self) -> Iterator[Any]:
        """Yield MLflow's client for accounts and permissions, under the administrator's account."""
        from mlflow.server import get_app_client  # a second, which only these tests need

        with pytest.MonkeyPatch.context() as patch:
            for variable, value in self.login(ADMIN).items():
                patch.setenv(variable, value)
            yield get_app_client("basic-auth", self.address)

    def answers(self) -> bool:
        """Whether it is up."""
        with suppress(URLError, OSError), urlopen(f"{self.address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def _listens(self) -> bool:
        host, port = self.address.removeprefix("http://").split(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
            return True
        return False


@dataclass(frozen=True)
class TrainedProject:
    """A project in ``folder`` whose store is a server; its model has a version."""

    folder: Path
    server: Server

    @property
    def artifacts(self) -> Path:
        """Where the server keeps all artifacts."""
        return self.server.artifacts

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Make it the project and the store of this process."""
        patch.setenv("MLFLOW_TRACKING_URI", self.server.address)
        patch.setenv(projects.ROOT, str(self.folder))


class ServingProcess:
    """The project's own ``serve`` in ``folder``, as a process that can be ended and killed."""

    def __init__(self, folder: Path, log: Path, *arguments: str, **variables: str) -> None:
        """Start it; its log is the file ``log``, its standard output ``log`` with ``.out``."""
        self.log, self.out = log, log.with_suffix(".out")
        with self.log.open("ab") as err, self.out.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", projects.PACKAGE, "serve", "--port", "0", *arguments],
                env={**_inherited(), projects.ROOT: str(folder), **variables},
                stdout=out,
                stderr=err,
            )
        self.address = ""

    def __enter__(self) -> Self:
        """Wait until a model is loaded."""
        try:
            self.wait()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.end()

    def wait(self, ready: Callable[[dict[str, Any]], bool] = lambda health: True) -> dict[str, Any]:
        """Wait until it is healthy and ``ready`` accepts its health, which is returned."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"http://\S+", self.log.read_text(errors="replace")):
                self.address = found[0]
                with suppress(URLError, OSError):
                    health: dict[str, Any] = self.get("/health")
                    if ready(health):
                        return health
            time.sleep(0.05)
        raise RuntimeError(f"it did not get ready:\n{self.log.read_text(errors='replace')[-2000:]}")

    def get(self, path: str) -> Any:
        """Return its answer at a path: JSON, or text."""
        with urlopen(self.address + path, timeout=30) as answer:
            content = answer.read().decode()
            json_type = "json" in answer.headers.get("Content-Type", "")
            return json.loads(content) if json_type else content

    def end(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(START)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is true, which takes a moment."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def mlflow_server(
    folder: Path,
    *,
    backend: str = "",
    store: Path | None = None,
    accounts: bool = False,
    port: int | None = None,
) -> Iterator[Server]:
    """Run a server whose files are in ``folder``, and end it.

    Its store is ``backend``, else a new database on the server of ``TEST_DATABASE_URI``, else
    SQLite in ``folder``: a copy of ``store``, an empty one with its tables, which saves a second.
    """
    with _database(folder, backend, store) as uri:
        server = Server(folder, uri, accounts, port or free_port())
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def _database(folder: Path, backend: str, store: Path | None) -> Iterator[str]:
    elsewhere = os.environ.get(DATABASE)
    if backend or not elsewhere:
        if store and not backend:
            shutil.copy(store, folder / "mlflow.db")
        yield backend or f"sqlite:///{folder / 'mlflow.db'}"
        return
    name = f"test_{secrets.token_hex(8)}"
    engine = sqlalchemy.create_engine(
        elsewhere, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        yield engine.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def _inherited(*without: str) -> dict[str, str]:
    """Return the variables of this process, except those that begin with one of the words."""
    theirs = (*without, "PYTHONDONTWRITEBYTECODE")  # without .pyc a server starts half as fast
    return {key: value for key, value in os.environ.items() if not key.startswith(theirs)}


def free_port() -> int:
    """Return a port that no other test session on this machine is about to use.

    A server takes seconds to listen; until this process ends, its UDP port of the same number says
    that the port is taken.
    """
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = int(listening.getsockname()[1])
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port


_claims: list[socket.socket] = []
