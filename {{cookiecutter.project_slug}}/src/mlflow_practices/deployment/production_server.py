"""The server in production during a deployment: what it serves, whether it follows, how it does."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from mlflow import MlflowException

from ..errors import PracticeError
from ..registry import versions
from ..registry.versions import CHAMPION, Version
from ..tracking.session import Session
from . import canary, live_metrics, server_process
from .server_client import ServerClient, ServerError
from .server_process import LocalProduction
from .settings import DeploymentSettings

LOOK_SECONDS = 0.2  # between two looks
SPARE_SECONDS = 60  # of a canary, for all that has no limit of its own


class ProductionError(PracticeError):
    """Production does not do what it was asked to; the message says what it does."""


class Production:
    """The server in production, and the champion that it serves before a deployment."""

    def __init__(self, session: Session) -> None:
        """Look up the champion; the server is not asked yet."""
        settings, client = session.settings, session.client
        self._settings, self._client = settings.section(DeploymentSettings), client
        self._project = settings
        self._name = versions.production_name(settings.project.name)
        self.champion = versions.find_by_alias(client, self._name, CHAMPION)
        self.place = ServerClient(server_process.address_of(settings))
        self._local = LocalProduction(session) if self._settings.target == "local" else None
        self._usual = 0.0  # the share of requests that were refused or failed before

    def prepare(self) -> str:
        """Have the champion served, so that there is something to go back to; return in words.

        Raises:
            ProductionError: it is not, or there is no champion and something answers all the same.
        """
        if self.champion is None:
            if self._local and server_process.listens(self.place.url):
                served = self.place.version()
                raise ProductionError(
                    f"{self.place.url} serves {served} already, and there is no champion yet; end "
                    "that server, or have this project's production elsewhere (deployment.url)"
                )
            return "there is no champion yet"
        self.require(self.champion)
        before = self.place.figures()
        self._usual = before.error_rate() + before.refusal_rate()
        return f"{self.place.url} serves {self.champion}"

    def require(self, version: Version) -> None:
        """Have a version served everywhere; a local server that does not run is started."""
        if self._local and not server_process.listens(self.place.url):
            self._local.start()
        self.follow(version)

    def follow(self, version: Version) -> None:
        """Wait until every worker serves a version.

        Raises:
            ProductionError: it was refused, or ``deployment.switch_seconds`` are over.
        """
        limit = self._settings.switch_seconds
        deadline, seen = time.monotonic() + limit, ""
        while time.monotonic() < deadline:
            try:
                if self.place.serves_everywhere(str(version)):
                    return
                health = self.place.health()
                seen = f"it serves {health['version'] or 'nothing'}"
                if health["registry"] != "ok":
                    seen += f", and says of the registry: {health['registry']}"
                refused = health.get("refused", {})
                if refused.get("version") == str(version):
                    raise ProductionError(
                        f"{self.place.url} refuses {version}: {refused['reason']}"
                    )
            except ServerError as error:
                seen = str(error)
            time.sleep(LOOK_SECONDS)
        raise ProductionError(f"{self.place.url} did not serve {version} within {limit} s; {seen}")

    def watch(self, version: Version) -> str:
        """Watch the version at work for the time of ``deployment.watch``; return in words.

        Raises:
            ProductionError: somebody made another version the champion.
            LimitError: a limit is passed, or the server is gone.
        """
        limits = self._settings.watch

        def still() -> None:
            with suppress(MlflowException):
                champion = versions.find_by_alias(self._client, self._name, CHAMPION)
                if champion != version:
                    raise ProductionError(f"somebody made {champion} the champion meanwhile")

        found = live_metrics.watch(
            self.place, str(version), limits, limits.seconds, self._usual, still
        )
        return live_metrics.describe(found, str(version))

    def try_canary(self, candidate: Version, digest: str) -> str:
        """Have a share of the requests answered by a version, and compare; return in words.

        Raises:
            ProductionError: it was not taken up.
            LimitError: it does worse than the champion, or too few requests came to say so.
        """
        wanted, champion = self._settings.canary, str(self.champion)
        longest = wanted.seconds + self._settings.switch_seconds + SPARE_SECONDS
        until = datetime.now(UTC) + timedelta(seconds=longest)
        copy = canary.start(self._client, self._project, candidate, digest, wanted.share, until)
        try:
            self._await_canary(str(copy))
            limits = self._settings.watch
            found = live_metrics.watch(self.place, str(copy), limits, wanted.seconds)
            live_metrics.compare(found, str(copy), champion, wanted)
            return f"{live_metrics.describe(found, str(copy))}; champion: {live_metrics.describe(found, champion)}"
        finally:
            canary.end(self._client, self._project)

    def _await_canary(self, copy: str) -> None:
        limit = self._settings.switch_seconds
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            state = self.place.health().get("canary") or {}
            if state.get("version") == copy:
                if "reason" in state:
                    raise ProductionError(f"{self.place.url} refuses {copy}: {state['reason']}")
                return
            time.sleep(LOOK_SECONDS)
        raise ProductionError(f"{self.place.url} took no canary within {limit} s")

    def end(self) -> bool:
        """End the server, where it is one of this machine that a deployment started."""
        return self._local.stop() if self._local else False
