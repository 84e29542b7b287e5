"""A model version to production: staging, its tests, promotion, verification, and the way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mlflow import MlflowClient, MlflowException
from rich.console import Console
from rich.markup import escape

from . import pins
from .registry import evidence, lease, promotion, versions
from .registry.promotion import PromotionError
from .registry.versions import Version
from .serving import acceptance, process
from .serving.acceptance import Tested
from .serving.endpoint import EndpointError
from .serving.production import Production, ProductionError
from .settings import Settings, load_settings
from .tracking import experiments, identity, recording, store
from .tracking.steps import Step, Steps

RETRY_SECONDS = 0.2  # between two attempts at a registry that is away
SPARE_SECONDS = 300  # of a lease, for all that has no limit of its own
SMOKE = "smoke"  # the tests that are harmless to production


class DeploymentError(Exception):
    """A version was not deployed; the message says why, and what serves now."""


@dataclass(frozen=True)
class Deployed:
    """The version in production, what was done, and where the run is shown."""

    champion: Version
    steps: list[Step]
    address: str


def deploy_model_pipeline(
    name: str,
    version: int,
    settings: Settings | None = None,
    console: Console | None = None,
) -> Deployed:
    """Bring an approved version through staging to production, or leave production as it was.

    Raises:
        DeploymentError: it was tried, and did not get through; the former champion serves.
        LeaseError: another deployment is under way.
    """
    settings = settings or load_settings()
    client = store.connect(settings)
    candidate = versions.find(name, str(version))
    production = Production(settings, client)
    with _deployment(settings, candidate, console) as (steps, address):
        lease.claim(client, settings, recording.run_id(), _longest(settings))
        if champion := promotion.standing(client, settings, candidate):
            with steps.step("production") as notes:
                production.require(champion)
                notes.append(f"{candidate} is the champion already, as {champion}")
            recording.set_tags({"outcome": f"was the champion already, as {champion}"})
            return Deployed(champion, steps.done, address)
        with steps.step("preconditions") as notes:
            digest = _preconditions(settings, client, candidate)
            notes.append(production.prepare())
        _staging(settings, candidate, steps)
        if settings.deployment.canary.share and production.champion:
            with steps.step("canary") as notes:
                notes.append(production.try_canary(candidate, digest))
        promoted: Version | None = None
        try:
            with steps.step("promotion") as notes:
                done = promotion.promote(settings, candidate)
                promoted = done.champion
                notes.append(f"{promoted} replaces {done.replaced or 'none'}")
            _verify(settings, production, promoted, steps)
            recording.set_tags({"outcome": f"deployed as {promoted}"})
        except PromotionError:  # it was refused
            raise
        except BaseException as error:
            # One that was interrupted, or whose answer was lost, may have taken effect.
            def failed() -> Version | None:
                return promoted or promotion.standing(client, settings, candidate)

            back = _take_back(settings, production, failed, steps, error)
            with suppress(MlflowException):  # where the store is gone, that must not hide this
                recording.set_tags({"outcome": back})
            if not isinstance(error, Exception):  # Ctrl-C, SIGTERM
                raise
            raise DeploymentError(f"{candidate}: {_words(error)}\n  {back}") from None
        return Deployed(promoted, steps.done, address)


def stage(settings: Settings, version: Version, console: Console | None = None) -> str:
    """Serve a version on a staging server and run its tests; return where the run is shown.

    Raises:
        AcceptanceError: it did not pass.
        ProcessError: the server did not come up.
    """
    store.connect(settings)
    with _deployment(settings, version, console) as (steps, address):
        recording.set_tags({"action": "staging"})
        _staging(settings, version, steps)
        recording.set_tags({"outcome": "passed its tests"})
        return address


def rollback(settings: Settings, reason: str, console: Console | None = None) -> Version:
    """Make the champion before this one the champion again, and verify that production serves it.

    Raises:
        DeploymentError: production does not follow.
        PromotionError: there is nothing to go back to.
    """
    client = store.connect(settings)
    production = Production(settings, client)
    done = promotion.rollback(settings, reason)
    assert done.champion is not None  # or it would have raised
    if console:
        console.print(
            escape(f"{done.champion} is the champion again, in place of {done.left}"),
            highlight=False,
            soft_wrap=True,
        )
    if settings.deployment.target == "local" and not process.listens(production.place.url):
        return done.champion
    try:
        production.follow(done.champion)
    except (ProductionError, EndpointError) as error:
        raise DeploymentError(
            f"{done.champion} is the champion again, but production has not followed: {error}"
        ) from None
    return done.champion


@contextmanager
def _deployment(
    settings: Settings, version: Version, console: Console | None
) -> Iterator[tuple[Steps, str]]:
    """Open the run of a deployment; its steps are logged with it whatever happens."""
    with experiments.stage_run(
        settings,
        "model-deployment",
        pipeline_id=version.pipeline_id or None,
        upstream_run_id=version.run_id,
    ) as run:
        recording.set_author(identity.current(settings.root))
        recording.set_tags({"model_version": str(version)})
        steps = Steps(console)
        try:
            yield steps, run.address
        except BaseException:
            with suppress(Exception):  # where the store is gone, its complaint must not hide this
                steps.log()
            raise
        steps.log()


def _preconditions(settings: Settings, client: MlflowClient, version: Version) -> str:
    """Return the digest of a version's files, which may be promoted.

    Raises:
        PromotionError: with every reason why not.
    """
    rests_on, reasons = promotion.check(client, settings, version)
    reasons += pins.differences(settings.root)
    if reasons or rests_on is None:
        raise PromotionError(evidence.listed(f"{version} cannot be deployed", reasons))
    return rests_on.model_digest


def _staging(settings: Settings, version: Version, steps: Steps) -> None:
    with process.staging(settings, version) as started:
        with steps.step("staging") as notes:
            place = started.wait()
            notes.append(place.url)
        with steps.step("staging tests") as notes:
            notes.append(str(acceptance.check(settings, place.url, "staging")))


def _verify(settings: Settings, production: Production, champion: Version, steps: Steps) -> None:
    with steps.step("production") as notes:
        production.require(champion)
        notes.append(f"{production.place.url} serves {champion}")
    with steps.step("smoke tests") as notes:
        notes.append(str(_smoke(settings, production)))
    with steps.step("watch") as notes:
        notes.append(production.watch(champion))


def _smoke(settings: Settings, production: Production) -> Tested:
    return acceptance.check(settings, production.place.url, "production", SMOKE)


def _take_back(
    settings: Settings,
    production: Production,
    failed: Callable[[], Version | None],
    steps: Steps,
    cause: BaseException,
) -> str:
    """Go back to the champion before ``failed``, and return in words what serves now."""

    def go_back() -> promotion.RolledBack | None:
        version = failed()
        return promotion.rollback(settings, _words(cause), version) if version else None

    try:
        with steps.step("rollback") as notes:
            done = _persist(settings, go_back)
            if done is None:
                notes.append("nothing was promoted")
                return notes[0]
            if done.champion is None:
                ended = "its server was ended" if production.end() else "its server still runs"
                notes.append(f"{done.left} is no champion any more, there was none before; {ended}")
                return notes[0]
            production.require(done.champion)
            notes.append(f"{production.place.url} serves {done.champion} again")
        if isinstance(cause, Exception):
            with steps.step("smoke tests again") as again:
                again.append(str(_smoke(settings, production)))
        return f"rolled back: {notes[0]}"
    except PromotionError as error:
        return f"not rolled back: {error}"
    except store.FAILURES:
        serves = ""
        with suppress(EndpointError):
            serves = f": {production.place.url} serves {production.place.version()}"
        return (
            f"not rolled back, since the registry does not answer{serves}; when it does, look at "
            "`registry list`, and run `rollback`"
        )
    except Exception as error:  # noqa: BLE001  whatever else, the first cause is what is said
        return f"rolled back in the registry, but {_words(error)}"


def _persist(
    settings: Settings, action: Callable[[], promotion.RolledBack | None]
) -> promotion.RolledBack | None:
    """Try for ``deployment.switch_seconds``: a registry that is away may come back."""
    deadline = time.monotonic() + settings.deployment.switch_seconds
    while True:
        try:
            return action()
        except store.FAILURES:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)


def _longest(settings: Settings) -> float:
    """Return the seconds after which a deployment has ended in any case."""
    limits = settings.deployment
    servers = 2 * limits.ready_seconds + 4 * limits.switch_seconds
    watched = limits.watch.seconds + (limits.canary.seconds if limits.canary.share else 0)
    return servers + 3 * limits.test_seconds + watched + SPARE_SECONDS


def _words(error: BaseException) -> str:
    if not isinstance(error, Exception):  # Ctrl-C, SIGTERM
        return "the deployment was ended"
    return str(error) or type(error).__name__
