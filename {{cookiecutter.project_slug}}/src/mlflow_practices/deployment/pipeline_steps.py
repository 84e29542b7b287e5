"""The steps of a deployment; each returns what there is to say of it, or raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from .. import environment
from ..errors import listed
from ..registry import promotion
from ..registry.evidence import Evidence
from ..registry.promotion import PromotionError
from ..registry.versions import Version
from ..tracking.session import Session
from . import server_process, serving_tests
from .production_server import Production
from .settings import DeploymentSettings

SMOKE = "smoke"  # the tests that are harmless to production


@dataclass
class Deployment:
    """A deployment under way: of which version, and what production serves meanwhile.

    After the promotion ``champion`` is the version in production that has to be served.
    """

    session: Session
    candidate: Version
    production: Production
    champion: Version | None = None

    @cached_property
    def settings(self) -> DeploymentSettings:
        """The section ``deployment`` of the configuration."""
        return self.session.settings.section(DeploymentSettings)

    @cached_property
    def evidence(self) -> Evidence:
        """What the candidate's promotion rests on.

        Raises:
            PromotionError: with every reason why it may not be promoted.
        """
        session, version = self.session, self.candidate
        rests_on, reasons = promotion.check_promotion(session.client, session.settings, version)
        different = environment.lock_differences(session.settings.root)
        reasons += [f"{each}; run `make setup`" for each in different]
        if reasons or rests_on is None:
            raise PromotionError(listed(f"{version} cannot be deployed", reasons))
        return rests_on

    @property
    def promoted(self) -> Version:
        """The version in production that has to be served.

        Raises:
            RuntimeError: nothing is promoted yet: the step stands before the promotion.
        """
        if self.champion is None:
            raise RuntimeError("nothing is promoted yet; the step belongs after the promotion")
        return self.champion


Step = Callable[[Deployment], str | None]


def check_preconditions(deployment: Deployment) -> str:
    """Require all that `promote` does, the pinned packages, and that production serves its champion.

    Raises:
        PromotionError: with every reason why not.
        ProductionError: production does not serve the champion.
    """
    _ = deployment.evidence
    return deployment.production.prepare()


def run_staging_tests(deployment: Deployment) -> str:
    """Serve the version on a staging server, which ends in every case, and run its tests.

    Raises:
        ServingTestError: it did not pass.
        ServerProcessError: the server did not come up.
    """
    with server_process.staging(deployment.session, deployment.candidate) as server:
        place = server.wait()
        return f"{place.url}: {serving_tests.check(deployment.session, place.url, 'staging')}"


def try_canary(deployment: Deployment) -> str:
    """Let the version answer a share of production's requests (``deployment.canary``).

    Raises:
        ProductionError: it was not taken up.
        LimitError: it does worse than the champion, or too few requests came to say so.
    """
    production = deployment.production
    if not deployment.settings.canary.share:
        return "none: deployment.canary.share is 0"
    if production.champion is None:
        return "none: there is no champion yet"
    return production.try_canary(deployment.candidate, deployment.evidence.model_digest)


def verify_production(deployment: Deployment) -> str:
    """Have every worker of production serve the new champion.

    Raises:
        ProductionError: it was refused, or ``deployment.switch_seconds`` are over.
    """
    deployment.production.require(deployment.promoted)
    return f"{deployment.production.place.url} serves {deployment.promoted}"


def run_smoke_tests(deployment: Deployment) -> str:
    """Run the tests that are harmless to production against it.

    Raises:
        ServingTestError: one failed.
    """
    url = deployment.production.place.url
    return str(serving_tests.check(deployment.session, url, "production", SMOKE))


def watch_live_metrics(deployment: Deployment) -> str:
    """Watch the new champion at work for the time of ``deployment.watch``.

    Raises:
        ProductionError: somebody made another version the champion.
        LimitError: a limit is passed, or the server is gone.
    """
    return deployment.production.watch(deployment.promoted)
