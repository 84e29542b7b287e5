"""A version's way to production through its steps, and the way back to the former champion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mlflow import MlflowException

from ..console import print_text
from ..registry import lock, promotion, versions
from ..registry.promotion import PromotionError, RollbackResult
from ..registry.versions import Version
from ..tracking import recording, store
from ..tracking.session import Session
from ..tracking.step_log import StepLog, TimedStep
from .pipeline_steps import (
    Deployment,
    DeploymentError,
    Step,
    run_smoke_tests,
    run_staging_tests,
)
from .production_server import ProductionServer
from .server_client import ServerError, attempts
from .settings import DeploymentSettings

SPARE_SECONDS = 300  # of the lock, for all that has no limit of its own


@dataclass(frozen=True)
class Deployed:
    """The version in production, the steps with their outcomes, and where the run is shown."""

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
        before_promotion: steps that do not touch production; one that raises ends the deployment.
        after_promotion: steps of which a failure brings the former champion back.

    Raises:
        DeploymentError: a step failed after the promotion; the former champion serves again.
        LockError: another deployment is under way.
        PracticeError: a step before the promotion refused the version.
    """
    client, settings = session.client, session.settings
    deployment = Deployment(session, version)
    with _deployment_run(session, version) as (steps, address):
        steps_count = len(before_promotion) + len(after_promotion)
        seconds = _max_seconds(deployment.settings, steps_count)
        lock.acquire(client, settings, "deployment", seconds)
        if champion := promotion.find_champion_copy(client, settings, version):
            with steps.step("production") as notes:
                deployment.production.require(champion)
                notes.append(f"{version} is the champion already, as {champion}")
            recording.set_tags({"outcome": f"was the champion already, as {champion}"})
            return Deployed(champion, steps.done, address)
        _run_steps(before_promotion, deployment, steps)
        try:
            with steps.step("promotion") as notes:
                result = promotion.promote(session, version)
                deployment.champion = result.champion
                notes.append(f"{result.champion} replaces {result.replaced or 'none'}")
            _run_steps(after_promotion, deployment, steps)
            recording.set_tags({"outcome": f"deployed as {result.champion}"})
        except BaseException as error:
            if isinstance(error, PromotionError) and deployment.champion is None:
                raise  # the promotion was refused
            outcome = _roll_back(deployment, steps, error)
            with suppress(MlflowException):  # where the store is gone, that must not hide this
                recording.set_tags({"outcome": outcome})
            if not isinstance(error, Exception):  # Ctrl-C, SIGTERM
                raise
            raise DeploymentError(f"{version}: {_describe(error)}\n  {outcome}") from None
        return Deployed(result.champion, steps.done, address)


def stage(session: Session, version: Version) -> str:
    """Serve a version on a staging server and run its tests; return where the run is shown.

    Raises:
        ServerError: the server does not start.
        ServingTestError: the version does not pass.
    """
    with _deployment_run(session, version) as (steps, address):
        recording.set_tags({"action": "staging"})
        _run_steps([run_staging_tests], Deployment(session, version), steps)
        recording.set_tags({"outcome": "passed its tests"})
        return address


def rollback(session: Session, reason: str) -> Version:
    """Make the champion before this one the champion again, and verify that production serves it.

    Raises:
        DeploymentError: production does not follow.
        PromotionError: there is nothing to go back to.
    """
    done = promotion.rollback(session, reason)
    assert done.champion is not None  # or it would have raised
    print_text(session, f"{done.champion} is the champion again, in place of {done.replaced}")
    production = ProductionServer(session)
    if not production.is_away:
        try:
            production.wait_for_version(done.champion)
        except ServerError as error:
            raise DeploymentError(
                f"{done.champion} is the champion again, but production has not followed: {error}"
            ) from None
    return done.champion


@contextmanager
def _deployment_run(session: Session, version: Version) -> Iterator[tuple[StepLog, str]]:
    """Open the run of a deployment; its steps are logged with it whatever happens."""
    with versions.open_stage(session, version) as run:
        steps = StepLog(session.console)
        try:
            yield steps, run.address
        finally:
            # A store that is gone must not hide an error; the end of the run reports it, too.
            with suppress(*store.STORE_ERRORS):
                steps.log()


def _run_steps(chosen: Sequence[Step], deployment: Deployment, steps: StepLog) -> None:
    for step in chosen:
        name = getattr(step, "__name__", type(step).__name__)
        _verb, _, rest = name.partition("_")
        with steps.step((rest or name).replace("_", " ")) as notes:
            if note := step(deployment):
                notes.append(str(note))


def _roll_back(deployment: Deployment, steps: StepLog, cause: BaseException) -> str:
    """Go back to the former champion, and return as text what serves now."""
    production = deployment.production
    try:
        with steps.step("rollback") as notes:
            done = _roll_back_in_registry(deployment, _describe(cause))
            if done is None:
                notes.append("nothing was promoted")
                return notes[0]
            if done.champion is None:
                stopped = deployment.settings.target == "local" and production.stop()
                ended = "its server was ended" if stopped else "its server still runs"
                notes.append(f"{done.replaced} is not the champion, there was none before; {ended}")
                return notes[0]
            production.require(done.champion)
            notes.append(f"{production.url} serves {done.champion} again")
        if isinstance(cause, Exception):
            with steps.step("smoke tests again") as again:
                again.append(run_smoke_tests(deployment))
        return f"rolled back: {notes[0]}"
    except PromotionError as error:
        return f"not rolled back: {error}"
    except store.STORE_ERRORS:
        serves = ""
        with suppress(ServerError):
            serves = f": {production.url} serves {production.client.version()}"
        return (
            f"not rolled back, since the registry does not answer{serves}; when it does, look at "
            "`registry list`, and run `rollback`"
        )
    except Exception as error:  # noqa: BLE001  whatever else, the first cause is reported
        return f"rolled back in the registry, but {_describe(error)}"


def _roll_back_in_registry(deployment: Deployment, reason: str) -> RollbackResult | None:
    """Roll back what was promoted, if anything: a registry that is away may come back meanwhile."""
    session = deployment.session

    def roll_back() -> RollbackResult | None:
        # A promotion that was interrupted, or whose answer was lost, may have taken effect.
        failed = deployment.champion or promotion.find_champion_copy(
            session.client, session.settings, deployment.candidate
        )
        return promotion.rollback(session, reason, failed) if failed else None

    for _ in attempts(deployment.settings.switch_seconds):
        with suppress(*store.STORE_ERRORS):
            return roll_back()
    return roll_back()


def _max_seconds(limits: DeploymentSettings, steps: int) -> float:
    """Return the seconds after which a deployment has ended in any case.

    Each step, and the tests after a rollback, may take ``deployment.test_seconds``.
    """
    servers = 2 * limits.ready_seconds + 4 * limits.switch_seconds
    watched = limits.watch.seconds + limits.canary.seconds
    return servers + watched + (1 + steps) * limits.test_seconds + SPARE_SECONDS


def _describe(error: BaseException) -> str:
    if not isinstance(error, Exception):  # Ctrl-C, SIGTERM
        return "the deployment was ended"
    return str(error) or type(error).__name__
