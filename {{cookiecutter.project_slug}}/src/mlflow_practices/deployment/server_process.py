"""The serving application as a process of its own: a staging server, and production on this machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from .. import privacy
from ..config import sources
from ..config.settings import Settings
from ..errors import PracticeError
from ..registry.versions import Version
from ..serving.settings import ServingSettings
from ..tracking.session import Session
from .server_client import ServerClient, ServerError
from .settings import DeploymentSettings

SHOWN_LINES = 12  # the last of a server's log, where it did not come up
STOP_SECONDS = 15  # beyond what it has to answer requests under way
LOOK_SECONDS = 0.1


class ServerProcessError(PracticeError):
    """A server did not come up or end; the message shows what it said last."""


class Server:
    """One ``serve`` of this project, in its environment."""

    def __init__(
        self,
        session: Session,
        log: Path,
        arguments: Sequence[str],
        variables: Mapping[str, str | None],
    ) -> None:
        """Start it; what it says goes to the file ``log``. A variable of None is taken away."""
        package, settings = session.project.package, session.settings
        root = {f"{sources.variable_prefix(package)}ROOT": str(settings.root)}
        environment = {**os.environ, **root, **variables}
        command = [sys.executable, "-m", package, "serve", "--env", settings.environment]
        self._log, self._drain = log, settings.section(ServingSettings).drain_seconds
        self._ready_seconds = settings.section(DeploymentSettings).ready_seconds
        with log.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, *arguments],
                env={key: value for key, value in environment.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a line a request
                stderr=err,
                # A Ctrl-C in the terminal is for this process, which then ends the server.
                start_new_session=True,
            )

    def wait(self) -> ServerClient:
        """Return where it answers, once its model is loaded.

        Raises:
            ServerProcessError: it ended, or ``deployment.ready_seconds`` are over.
        """
        limit = self._ready_seconds
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if (code := self.process.poll()) is not None:
                raise ServerProcessError(f"the server ended with exit code {code}; {self.said()}")
            if found := re.search(r"\bhttp://\S+", self._text()):
                endpoint = ServerClient(found[0])
                with suppress(ServerError):
                    if endpoint.health()["ready"]:
                        return endpoint
            time.sleep(LOOK_SECONDS)
        raise ServerProcessError(f"the server was not ready within {limit} s; {self.said()}")

    def said(self) -> str:
        """Return the last lines of its log."""
        lines = privacy.redact_text(self._text()).strip().splitlines()[-SHOWN_LINES:]
        return "\n  ".join(["its log ends:", *lines]) if lines else "its log is empty"

    def stop(self) -> None:
        """End it: it answers the requests under way first."""
        self.process.terminate()
        try:
            self.process.wait(self._drain + STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def staging(session: Session, version: Version) -> Iterator[Server]:
    """Serve a version on a free port of this machine, apart from all that production uses.

    The server ends in every case, also when this process is killed.
    """
    arguments = ["--model", version.uri, "--host", "127.0.0.1", "--port", "0"]
    arguments += ["--workers", "1", "--parent", str(os.getpid())]
    with TemporaryDirectory(prefix="staging-") as folder:
        prefix = sources.variable_prefix(session.project.package)
        variables = {
            f"{prefix}SERVING__LOCAL_COPY": folder,
            f"{prefix}SERVING__LOG__SAMPLE": "0",
            "REDIS_URL": None,
        }
        server = Server(session, Path(folder, "server.log"), arguments, variables)
        try:
            yield server
        finally:
            server.stop()


class LocalProduction:
    """The server in production where ``deployment.target`` is local: a process of this machine."""

    def __init__(self, session: Session) -> None:
        """Know its files: its process id and its log, beside the copies of what it serves."""
        self._session = session
        serving = session.settings.section(ServingSettings)
        self._drain = serving.drain_seconds
        self._folder = session.settings.path(serving.local_copy)
        self._pid = self._folder / "production.pid"
        self._server: Server | None = None

    def start(self) -> ServerClient:
        """Start it, to outlive this process, and return where it answers.

        Raises:
            ServerProcessError: it does not come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        address = urlsplit(address_of(self._session.settings))
        arguments = ["--host", str(address.hostname), "--port", str(address.port or 80)]
        self._server = Server(self._session, self._folder / "production.log", arguments, {})
        self._pid.write_text(str(self._server.process.pid), encoding="ascii")
        try:
            return self._server.wait()
        except BaseException:
            self._server.stop()
            self._pid.unlink(missing_ok=True)
            raise

    def stop(self) -> bool:
        """End it; return whether there was one that a deployment had started here.

        Raises:
            ServerProcessError: it does not end.
        """
        process = self._process()
        self._pid.unlink(missing_ok=True)
        if process is None:
            return False
        if self._server is not None:
            self._server.stop()
            return True
        os.kill(process, 15)
        deadline = time.monotonic() + self._drain + STOP_SECONDS
        while self._serves(process):
            if time.monotonic() > deadline:
                raise ServerProcessError(f"the server does not end; end the process {process}")
            time.sleep(LOOK_SECONDS)
        return True

    def _process(self) -> int | None:
        """Return the server's process id, unless it ended and another program has the id now."""
        with suppress(OSError, ValueError):
            process = int(self._pid.read_text(encoding="ascii"))
            return process if self._serves(process) else None
        return None

    def _serves(self, process: int) -> bool:
        return f"-m {self._session.project.package} serve" in _command(process)


def address_of(settings: Settings) -> str:
    """Return where production answers."""
    serving = settings.section(ServingSettings)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(serving.host, serving.host)
    host = f"[{host}]" if ":" in host else host
    return settings.section(DeploymentSettings).url or f"http://{host}:{serving.port}"


def listens(address: str) -> bool:
    """Return whether any program answers at an address."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with suppress(OSError), socket.create_connection((str(parts.hostname), port), timeout=5):
        return True
    return False


def _command(process: int) -> str:
    """Return the command line of a process; empty where there is none, or it has ended."""
    if (known := Path(f"/proc/{process}/cmdline")).exists():
        with suppress(OSError):
            return known.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    with suppress(OSError):
        command = ["ps", "-p", str(process), "-o", "args="]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return ""
