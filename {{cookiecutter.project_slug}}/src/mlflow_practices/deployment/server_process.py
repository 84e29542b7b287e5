"""The project's own ``serve`` as a process of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .. import privacy
from ..config import sources
from ..serving.settings import ServingSettings
from ..tracking.session import Session
from .server_client import ServerClient, ServerError, attempts
from .settings import DeploymentSettings

if TYPE_CHECKING:
    from ..registry.versions import Version

SHOWN_LINES = 12  # the last of the log of a server that does not start
STOP_SECONDS = 15  # beyond the time that a server has for the requests under way


class ServerProcess:
    """One ``serve`` of this project, in its environment."""

    def __init__(
        self,
        session: Session,
        log: Path,
        arguments: Sequence[str],
        variables: Mapping[str, str | None],
    ) -> None:
        """Start it with its log in the file ``log``. A variable of None is taken away."""
        self._session, self._log = session, log
        prefix = sources.variable_prefix(session.project.package)
        environment = {**os.environ, f"{prefix}ROOT": str(session.settings.root), **variables}
        command = [sys.executable, "-m", session.project.package, "serve"]
        command += ["--env", session.settings.environment, *arguments]
        with log.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                env={key: value for key, value in environment.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a line a request
                stderr=err,
                # A Ctrl-C in the terminal is for this process, which then ends the server.
                start_new_session=True,
            )

    def wait_until_ready(self) -> ServerClient:
        """Return a client when the model is loaded, after ``deployment.ready_seconds`` at most."""
        limit = self._session.settings.section(DeploymentSettings).ready_seconds
        for _ in attempts(limit):
            if (code := self.process.poll()) is not None:
                raise ServerError(f"the server ended with exit code {code}; {self._log_end()}")
            if found := re.search(r"\bhttp://\S+", self._read_log()):
                client = ServerClient(found[0])
                with suppress(ServerError):
                    if client.health()["ready"]:
                        return client
        raise ServerError(f"the server was not ready within {limit} s; {self._log_end()}")

    def stop(self) -> None:
        """End the server after the requests under way are answered."""
        self.process.terminate()
        try:
            self.process.wait(stop_seconds(self._session))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _log_end(self) -> str:
        lines = privacy.redact_text(self._read_log()).strip().splitlines()[-SHOWN_LINES:]
        return "\n  ".join(["its log ends:", *lines]) if lines else "its log is empty"

    def _read_log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def stop_seconds(session: Session) -> float:
    """Return how long a server may take to end."""
    return session.settings.section(ServingSettings).drain_seconds + STOP_SECONDS


@contextmanager
def staging_server(session: Session, version: Version) -> Iterator[ServerClient]:
    """Serve a version on a free port of this machine, apart from all that production uses.

    The server ends in every case, also when this process is killed.
    """
    arguments = ["--model", version.uri, "--host", "127.0.0.1", "--port", "0"]
    arguments += ["--workers", "1", "--parent", str(os.getpid())]
    prefix = sources.variable_prefix(session.project.package)
    with TemporaryDirectory(prefix="staging-") as folder:
        variables = {
            f"{prefix}SERVING__LOCAL_COPY": folder,
            f"{prefix}SERVING__LOG__SAMPLE": "0",
            "REDIS_URL": None,
        }
        server = ServerProcess(session, Path(folder, "server.log"), arguments, variables)
        try:
            yield server.wait_until_ready()
        finally:
            server.stop()
