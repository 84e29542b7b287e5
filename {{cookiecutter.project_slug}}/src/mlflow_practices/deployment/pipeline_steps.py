"""The steps of a deployment; each returns a note for the log, or raises."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property

from mlflow import MlflowException

from .. import environment
from ..errors import PracticeError, listed
from ..registry import promotion, versions
from ..registry.evidence import Evidence
from ..registry.promotion import PromotionError
from ..registry.versions import CHAMPION, Version
from ..tracking.session import Session
from . import canary, live_metrics
from .production_server import ProductionServer
from .server_client import ServerError
from .server_process import staging_server
from .serving_tests import run_serving_tests
from .settings import DeploymentSettings

SMOKE = "smoke"  # the mark of the tests that are harmless to production
CANARY_SPARE_SECONDS = 60  # of a canary, for all that has no limit of its own


class DeploymentError(PracticeError):
    """A version was not deployed; the message says why, and what serves now."""


class Deployment:
    """A deployment under way, which every step gets.

    ``champion`` is the version in production that was promoted, and ``baseline_rate`` the share of
    production's requests that failed or were refused before.
    """

    def __init__(self, session: Session, candidate: Version) -> None:
        """Prepare the deployment; nothing is asked."""
        self.session, self.candidate = session, candidate
        self.settings = session.settings.section(DeploymentSettings)
        self.production = ProductionServer(session)
        self.champion: Version | None = None
        self.baseline_rate = 0.0

    @cached_property
    def former_champion(self) -> Version | None:
        """The champion before the promotion, to which a failed deployment goes back."""
        return self.find_champion()

    @cached_property
    def evidence(self) -> Evidence:
        """What the candidate's promotion rests on.

        Raises:
            PromotionError: with every reason why it may not be promoted.
        """
        session, version = self.session, self.candidate
        evidence, reasons = promotion.check_promotion(session.client, session.settings, version)
        differences = environment.lock_differences(session.settings.root)
        reasons += [f"{difference}; run `make setup`" for difference in differences]
        if reasons or evidence is None:
            raise PromotionError(listed(f"{version} cannot be deployed", reasons))
        return evidence

    @property
    def promoted(self) -> Version:
        """The version in production that was promoted and has to be served.

        Raises:
            RuntimeError: nothing is promoted yet: the step must come after the promotion.
        """
        if self.champion is None:
            raise RuntimeError("nothing is promoted yet; put the step after the promotion")
        return self.champion

    def find_champion(self) -> Version | None:
        """Return the champion of now."""
        name = versions.production_name(self.session.settings.project.name)
        return versions.find_by_alias(self.session.client, name, CHAMPION)


Step = Callable[[Deployment], str | None]


def check_preconditions(deployment: Deployment) -> str:
    """Require all that `promote` does, the pinned packages, and that production serves its champion.

    Raises:
        PromotionError: with every reason why not.
        ServerError: production does not serve the champion, or another program answers there.
    """
    _ = deployment.evidence
    production, champion = deployment.production, deployment.former_champion
    if champion is None:
        if deployment.settings.target == "local" and production.client.is_listening():
            raise ServerError(
                f"{production.url} serves {production.client.version()} already, and there is no "
                "champion yet; end that server, or use another address (deployment.url)"
            )
        return "there is no champion yet"
    production.require(champion)
    deployment.baseline_rate = production.client.metrics().failure_rate()
    return f"{production.url} serves {champion}"


def run_staging_tests(deployment: Deployment) -> str:
    """Serve the version on a staging server, which ends in every case, and run its tests.

    Raises:
        ServerError: the server does not start.
        ServingTestError: the version does not pass.
    """
    with staging_server(deployment.session, deployment.candidate) as client:
        return f"{client.url}: {run_serving_tests(deployment.session, client.url, 'staging')}"


def try_canary(deployment: Deployment) -> str:
    """Let the version answer a share of production's requests (``deployment.canary``).

    Raises:
        LimitError: it is worse than the champion, or too few requests came to judge it.
        ServerError: production does not take the canary.
    """
    limits, champion = deployment.settings.canary, deployment.former_champion
    if not limits.share:
        return "none: deployment.canary.share is 0"
    if champion is None:
        return "none: there is no champion yet"
    client, settings = deployment.session.client, deployment.session.settings
    seconds = limits.seconds + deployment.settings.switch_seconds + CANARY_SPARE_SECONDS
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    digest = deployment.evidence.model_digest
    copy = canary.start(client, settings, deployment.candidate, digest, limits.share, until)
    try:
        deployment.production.wait_for_canary(copy)
        server, watched = deployment.production.client, deployment.settings.watch
        found = live_metrics.watch(server, str(copy), watched, limits.seconds)
        live_metrics.require_good_canary(found, str(copy), str(champion), limits)
    finally:
        canary.end(client, settings)
    return f"{found.describe(str(copy))}; champion: {found.describe(str(champion))}"


def verify_production(deployment: Deployment) -> str:
    """Have every worker of production serve the promoted version.

    Raises:
        ServerError: it is refused, or ``deployment.switch_seconds`` are over.
    """
    deployment.production.require(deployment.promoted)
    return f"{deployment.production.url} serves {deployment.promoted}"


def run_smoke_tests(deployment: Deployment) -> str:
    """Run the tests that are harmless to production against it.

    Raises:
        ServingTestError: one failed.
    """
    return run_serving_tests(deployment.session, deployment.production.url, "production", SMOKE)


def watch_live_metrics(deployment: Deployment) -> str:
    """Watch failures and latency of production for the seconds of ``deployment.watch``.

    Raises:
        DeploymentError: somebody made another version the champion.
        LimitError: a limit is exceeded, or the server does not answer any more.
    """
    promoted, limits = deployment.promoted, deployment.settings.watch

    def require_champion() -> None:
        with suppress(MlflowException):  # the server works without the registry
            champion = deployment.find_champion()
            if champion != promoted:
                raise DeploymentError(f"somebody made {champion} the champion meanwhile")

    found = live_metrics.watch(
        deployment.production.client,
        str(promoted),
        limits,
        limits.seconds,
        deployment.baseline_rate,
        require_champion,
    )
    return found.describe(str(promoted))
