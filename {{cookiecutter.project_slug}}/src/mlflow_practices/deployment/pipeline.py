"""A version to production through its steps, or the way back to the champion before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mlflow import MlflowException
from rich.markup import escape

from ..errors import PracticeError
from ..registry import promotion
from ..registry.promotion import PromotionError
from ..registry.versions import Version
from ..tracking import recording, store
from ..tracking.session import Session
from ..tracking.step_log import StepLog, TimedStep
from . import lease, server_process
from .pipeline_steps import Deployment, Step, run_smoke_tests, run_staging_tests
from .production_server import Production, ProductionError
from .server_client import ServerError
from .settings import DeploymentSettings

RETRY_SECONDS = 0.2  # between two attempts at a registry that is away
SPARE_SECONDS = 300  # of a lease, for all that has no limit of its own


class DeploymentError(PracticeError):
    """A version was not deployed; the message says why, and what serves now."""


@dataclass(frozen=True)
class Deployed:
    """The version in production, what was done, and where the run is shown."""

    champion: Version
    steps: list[TimedStep]
    address: str


def deploy_model_pipeline(
    version: Version,
    session: Session,
    before_promotion: Sequence[Step],
    after_promotion: Sequence[Step],
) -> Deployed:
    """Bring an approved version through its steps to production, or leave production as it was.

    Args:
        version: of the project's model.
        session: of the project.
        before_promotion: steps that touch no production; one that raises ends the deployment.
        after_promotion: steps of which a failure brings the former champion back.

    Raises:
        DeploymentError: it was tried, and did not get through; the former champion serves.
        LeaseError: another deployment is under way.
        PracticeError: a step before the promotion refused it.
    """
    client, settings = session.client, session.settings
    production = Production(session)
    deployment = Deployment(session, version, production)
    with _logged(session, version) as (steps, address):
        own = [step for step in (*before_promotion, *after_promotion) if _is_own(step)]
        seconds = _longest(deployment.settings, len(own))
        lease.claim(client, settings, recording.run_id(), seconds)
        if champion := promotion.find_champion_copy(client, settings, version):
            with steps.step("production") as notes:
                production.require(champion)
                notes.append(f"{version} is the champion already, as {champion}")
            recording.set_tags({"outcome": f"was the champion already, as {champion}"})
            return Deployed(champion, steps.done, address)
        _take(before_promotion, deployment, steps)
        promoted: Version | None = None
        try:
            with steps.step("promotion") as notes:
                done = promotion.promote(session, version)
                promoted = done.champion
                notes.append(f"{promoted} replaces {done.replaced or 'none'}")
            deployment.champion = promoted
            _take(after_promotion, deployment, steps)
            recording.set_tags({"outcome": f"deployed as {promoted}"})
        except BaseException as error:
            if isinstance(error, PromotionError) and promoted is None:  # it was refused
                raise

            # One that was interrupted, or whose answer was lost, may have taken effect.
            def failed() -> Version | None:
                return promoted or promotion.find_champion_copy(client, settings, version)

            back = _take_back(deployment, failed, steps, error)
            with suppress(MlflowException):  # where the store is gone, that must not hide this
                recording.set_tags({"outcome": back})
            if not isinstance(error, Exception):  # Ctrl-C, SIGTERM
                raise
            raise DeploymentError(f"{version}: {_words(error)}\n  {back}") from None
        return Deployed(promoted, steps.done, address)


def stage(session: Session, version: Version) -> str:
    """Serve a version on a staging server and run its tests; return where the run is shown.

    Raises:
        ServingTestError: it did not pass.
        ServerProcessError: the server did not come up.
    """
    with _logged(session, version) as (steps, address):
        recording.set_tags({"action": "staging"})
        _take([run_staging_tests], Deployment(session, version, Production(session)), steps)
        recording.set_tags({"outcome": "passed its tests"})
        return address


def rollback(session: Session, reason: str) -> Version:
    """Make the champion before this one the champion again, and verify that production serves it.

    Raises:
        DeploymentError: production does not follow.
        PromotionError: there is nothing to go back to.
    """
    production = Production(session)
    done = promotion.rollback(session, reason)
    assert done.champion is not None  # or it would have raised
    session.console.print(
        escape(f"{done.champion} is the champion again, in place of {done.replaced}"),
        highlight=False,
        soft_wrap=True,
    )
    local = session.settings.section(DeploymentSettings).target == "local"
    if local and not server_process.listens(production.place.url):
        return done.champion
    try:
        production.follow(done.champion)
    except (ProductionError, ServerError) as error:
        raise DeploymentError(
            f"{done.champion} is the champion again, but production has not followed: {error}"
        ) from None
    return done.champion


@contextmanager
def _logged(session: Session, version: Version) -> Iterator[tuple[StepLog, str]]:
    """Open the run of a deployment; its steps are logged with it whatever happens."""
    with session.stage(
        "model-deployment",
        pipeline_id=version.pipeline_id or None,
        upstream_run_id=version.run_id,
    ) as run:
        recording.set_author(session.identity)
        recording.set_tags({"model_version": str(version)})
        steps = StepLog(session.console)
        try:
            yield steps, run.address
        except BaseException:
            with suppress(Exception):  # where the store is gone, its complaint must not hide this
                steps.log()
            raise
        steps.log()


def _take(chosen: Sequence[Step], deployment: Deployment, steps: StepLog) -> None:
    for step in chosen:
        called = getattr(step, "__name__", type(step).__name__)
        _, _, name = called.partition("_")  # without the verb
        with steps.step((name or called).replace("_", " ")) as notes:
            if said := step(deployment):
                notes.append(str(said))


def _take_back(
    deployment: Deployment,
    failed: Callable[[], Version | None],
    steps: StepLog,
    cause: BaseException,
) -> str:
    """Go back to the champion before ``failed``, and return in words what serves now."""
    production = deployment.production

    def go_back() -> promotion.RollbackResult | None:
        version = failed()
        return promotion.rollback(deployment.session, _words(cause), version) if version else None

    try:
        with steps.step("rollback") as notes:
            done = _persist(deployment.settings.switch_seconds, go_back)
            if done is None:
                notes.append("nothing was promoted")
                return notes[0]
            if done.champion is None:
                ended = "its server was ended" if production.end() else "its server still runs"
                notes.append(
                    f"{done.replaced} is no champion any more, there was none before; {ended}"
                )
                return notes[0]
            production.require(done.champion)
            notes.append(f"{production.place.url} serves {done.champion} again")
        if isinstance(cause, Exception):
            with steps.step("smoke tests again") as again:
                again.append(run_smoke_tests(deployment))
        return f"rolled back: {notes[0]}"
    except PromotionError as error:
        return f"not rolled back: {error}"
    except store.STORE_ERRORS:
        serves = ""
        with suppress(ServerError):
            serves = f": {production.place.url} serves {production.place.version()}"
        return (
            f"not rolled back, since the registry does not answer{serves}; when it does, look at "
            "`registry list`, and run `rollback`"
        )
    except Exception as error:  # noqa: BLE001  whatever else, the first cause is what is said
        return f"rolled back in the registry, but {_words(error)}"


def _persist(
    seconds: float, action: Callable[[], promotion.RollbackResult | None]
) -> promotion.RollbackResult | None:
    """Try for some seconds: a registry that is away may come back."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except store.STORE_ERRORS:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)


def _is_own(step: Step) -> bool:
    """Return whether a step is the project's."""
    return getattr(step, "__module__", "") != Deployment.__module__


def _longest(limits: DeploymentSettings, own_steps: int) -> float:
    """Return the seconds after which a deployment has ended in any case.

    A step of the project's own may take as long as the tests do, ``deployment.test_seconds``.
    """
    servers = 2 * limits.ready_seconds + 4 * limits.switch_seconds
    watched = limits.watch.seconds + (limits.canary.seconds if limits.canary.share else 0)
    return servers + (3 + own_steps) * limits.test_seconds + watched + SPARE_SECONDS


def _words(error: BaseException) -> str:
    if not isinstance(error, Exception):  # Ctrl-C, SIGTERM
        return "the deployment was ended"
    return str(error) or type(error).__name__
