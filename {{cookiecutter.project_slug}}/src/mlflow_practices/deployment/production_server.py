"""The server in production; where ``deployment.target`` is local, a process of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..serving.settings import ServingSettings
from ..tracking.session import Session
from .server_client import ServerClient, ServerError, attempts
from .server_process import ServerProcess, stop_seconds
from .settings import DeploymentSettings

if TYPE_CHECKING:
    from ..registry.versions import Version


class ProductionServer:
    """The server where production answers, wherever it runs."""

    def __init__(self, session: Session) -> None:
        """Prepare a client; neither the server nor the store is asked."""
        self._session = session
        self._settings = session.settings.section(DeploymentSettings)
        serving = session.settings.section(ServingSettings)
        self._folder = session.settings.path(serving.local_copy)
        self._pid_file = self._folder / "production.pid"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(serving.host, serving.host)
        host = f"[{host}]" if ":" in host else host
        self.client = ServerClient(self._settings.url or f"http://{host}:{serving.port}")
        self.url = self.client.url

    @property
    def is_away(self) -> bool:
        """Whether it is a server of this machine that does not run."""
        return self._settings.target == "local" and not self.client.is_listening()

    def require(self, version: Version) -> None:
        """Have every worker serve a version; a server of this machine is started if it is away."""
        if self.is_away:
            self.start()
        self.wait_for_version(version)

    def wait_for_version(self, version: Version) -> None:
        """Wait until every worker serves a version, at most ``deployment.switch_seconds``."""
        limit, problem = self._settings.switch_seconds, ""
        for _ in attempts(limit):
            try:
                if self.client.serves_everywhere(str(version)):
                    return
                health = self.client.health()
            except ServerError as error:
                problem = str(error)
                continue
            refused = health.get("refused", {})
            if refused.get("version") == str(version):
                raise ServerError(f"{self.url} refuses {version}: {refused['reason']}")
            problem = f"it serves {health['version'] or 'nothing'}"
            if health["registry"] != "ok":
                problem += f", and reports of the registry: {health['registry']}"
        raise ServerError(f"{self.url} did not serve {version} within {limit} s; {problem}")

    def wait_for_canary(self, canary: Version) -> None:
        """Wait until a canary answers requests, at most ``deployment.switch_seconds``."""
        limit = self._settings.switch_seconds
        for _ in attempts(limit):
            state = self.client.health().get("canary", {})
            if state.get("version") == str(canary):
                if "reason" in state:
                    raise ServerError(f"{self.url} refuses {canary}: {state['reason']}")
                return
        raise ServerError(f"{self.url} did not start the canary {canary} within {limit} s")

    def stop(self) -> bool:
        """End the server, and return whether there was one that a deployment started here."""
        pid = self._running_pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        for _ in attempts(stop_seconds(self._session)):
            if self._running_pid() is None:
                self._pid_file.unlink(missing_ok=True)
                return True
        raise ServerError(f"the server does not end; end the process {pid}")

    def start(self) -> None:
        """Start the server on this machine, to outlive this process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        address = urlsplit(self.url)
        arguments = ["--host", str(address.hostname), "--port", str(address.port or 80)]
        server = ServerProcess(self._session, self._folder / "production.log", arguments, {})
        self._pid_file.write_text(str(server.process.pid), encoding="ascii")
        try:
            server.wait_until_ready()
        except BaseException:
            server.stop()
            raise

    def _running_pid(self) -> int | None:
        """Return the server's process id, unless it ended and another program has the id now."""
        with suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text(encoding="ascii"))
            if f"-m {self._session.project.package} serve" in _command_line(pid):
                return pid
        return None


def _command_line(pid: int) -> str:
    """Return the command line of a process; empty if there is none, or it has ended."""
    with suppress(OSError):
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
    with suppress(OSError):  # a system without /proc
        command = ["ps", "-p", str(pid), "-o", "args="]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return ""
