"""A model version to production: staging, its tests, promotion, verification, and the way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from mlflow import MlflowClient, MlflowException
from rich.console import Console
from rich.markup import escape

from . import pins
from .registry import canary, evidence, lease, promotion, versions
from .registry.promotion import PromotionError
from .registry.versions import CHAMPION, Version
from .serving import acceptance, process, watch
from .serving.acceptance import Tested
from .serving.endpoint import Endpoint, EndpointError
from .serving.process import LocalProduction
from .settings import Settings, load_settings
from .tracking import experiments, identity, recording, store

LOOK_SECONDS = 0.2  # between two looks at production
SPARE_SECONDS = 300  # of a lease, for all that has no limit of its own
SMOKE = "smoke"  # the tests that are harmless to production


class DeploymentError(Exception):
    """A version was not deployed; the message says why, and what serves now."""


@dataclass(frozen=True)
class Step:
    """One line of a deployment: done or failed, after how many seconds, and what there is to say."""

    name: str
    outcome: str
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Deployed:
    """The version in production, what was done, and where the run is shown."""

    champion: Version
    steps: list[Step]
    address: str


class Steps:
    """The steps so far; each is printed when it ends."""

    def __init__(self, console: Console | None) -> None:
        """Start with none."""
        self.done: list[Step] = []
        self._console = console

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what is put into the list that it yields is said of it."""
        start, notes, outcome = time.perf_counter(), list[str](), "failed"
        try:
            yield notes
            outcome = "done"
        finally:
            made = Step(name, outcome, time.perf_counter() - start, "; ".join(notes))
            self.done.append(made)
            if self._console:
                line = f"{made.name:<17}  {made.outcome:<6} {made.seconds:6.1f} s  {made.note}"
                self._console.print(escape(line.rstrip()), highlight=False, soft_wrap=True)

    def log(self) -> None:
        """Log them with the run."""
        recording.log_metrics_efficiently({f"seconds_{s.name}": s.seconds for s in self.done})
        recording.log_dict({"steps": [asdict(step) for step in self.done]}, "steps.json")


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
    production = _Production(settings, client)
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
        with steps.step("promotion") as notes:
            promoted = promotion.promote(settings, candidate)
            notes.append(f"{promoted.champion} replaces {promoted.replaced or 'none'}")
        try:
            _verify(settings, production, promoted.champion, steps)
            recording.set_tags({"outcome": f"deployed as {promoted.champion}"})
        except BaseException as error:
            back = _take_back(settings, production, promoted.champion, steps, error)
            with suppress(MlflowException):  # where the store is gone, that must not hide this
                recording.set_tags({"outcome": back})
            if not isinstance(error, Exception):  # Ctrl-C, SIGTERM
                raise
            raise DeploymentError(f"{candidate}: {_words(error)}\n  {back}") from None
        return Deployed(promoted.champion, steps.done, address)


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
        DeploymentError: production does not follow, or does not pass its smoke tests.
        PromotionError: there is nothing to go back to.
    """
    client = store.connect(settings)
    production = _Production(settings, client)
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
    except (DeploymentError, EndpointError) as error:
        raise DeploymentError(
            f"{done.champion} is the champion again, but production has not followed: {error}"
        ) from None
    return done.champion


def history(client: MlflowClient, settings: Settings) -> list[list[str]]:
    """Return a row for each deployment and rollback, newest first.

    Its columns are when (UTC), what, which version, who, seconds, and what came of it.
    """
    which = {"deployment", "rollback"}
    found = []
    for run in experiments.find_runs(client, settings, "model-deployment"):
        tags, info = run.data.tags, run.info
        if tags.get("action") not in which or (
            tags["action"] == "rollback" and "reason" not in tags
        ):
            continue
        end = info.end_time or info.start_time
        running = info.status == "RUNNING"
        came = tags.get("outcome") or tags.get("failure_reason") or tags.get("reason", "")
        found.append(
            [
                datetime.fromtimestamp(info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
                tags["action"],
                tags.get("model_version", ""),
                tags.get("author", "").partition(" (")[0],
                "" if running else f"{(end - info.start_time) / 1000:.0f}",
                "under way" if running else came,
            ]
        )
    return found


class _Production:
    """The server in production, and the champion that it serves before a deployment."""

    def __init__(self, settings: Settings, client: MlflowClient) -> None:
        self._settings, self._client = settings, client
        self._name = versions.production_name(settings.project.name)
        self.champion = versions.holder(client, self._name, CHAMPION)
        self.place = Endpoint(process.address_of(settings))
        self._local = LocalProduction(settings) if settings.deployment.target == "local" else None
        self._usual = 0.0  # the share of requests that were refused or failed before

    def prepare(self) -> str:
        """Have the champion served, so that there is something to go back to; return in words."""
        if self.champion is None:
            if self._local and process.listens(self.place.url):
                served = self.place.version()
                raise DeploymentError(
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
        if self._local and not process.listens(self.place.url):
            self._local.start()
        self.follow(version)

    def follow(self, version: Version) -> None:
        """Wait until every worker serves a version.

        Raises:
            DeploymentError: it was refused, or ``deployment.switch_seconds`` are over.
        """
        limit = self._settings.deployment.switch_seconds
        deadline, seen = time.monotonic() + limit, ""
        while time.monotonic() < deadline:
            try:
                if self.place.everywhere(str(version)):
                    return
                health = self.place.health()
                seen = f"it serves {health['version'] or 'nothing'}"
                if health["registry"] != "ok":
                    seen += f", and says of the registry: {health['registry']}"
                refused = health.get("refused", {})
                if refused.get("version") == str(version):
                    raise DeploymentError(
                        f"{self.place.url} refuses {version}: {refused['reason']}"
                    )
            except EndpointError as error:
                seen = str(error)
            time.sleep(LOOK_SECONDS)
        raise DeploymentError(f"{self.place.url} did not serve {version} within {limit} s; {seen}")

    def watch(self, version: Version) -> str:
        """Watch the version at work for the time of ``deployment.watch``; return in words."""
        limits = self._settings.deployment.watch

        def still() -> None:
            with suppress(MlflowException):
                champion = versions.holder(self._client, self._name, CHAMPION)
                if champion != version:
                    raise DeploymentError(f"somebody made {champion} the champion meanwhile")

        found = watch.watch(self.place, str(version), limits, limits.seconds, self._usual, still)
        return watch.describe(found, str(version))

    def try_canary(self, candidate: Version, digest: str) -> str:
        """Have a share of the requests answered by a version, and compare; return in words.

        Raises:
            WatchError: it does worse than the champion, or too few requests came to say so.
        """
        wanted, champion = self._settings.deployment.canary, str(self.champion)
        longest = wanted.seconds + self._settings.deployment.switch_seconds + SPARE_SECONDS
        until = datetime.now(UTC) + timedelta(seconds=longest)
        copy = canary.start(self._client, self._settings, candidate, digest, wanted.share, until)
        try:
            self._await_canary(str(copy))
            limits = self._settings.deployment.watch
            found = watch.watch(self.place, str(copy), limits, wanted.seconds)
            watch.compare(found, str(copy), champion, wanted)
            return (
                f"{watch.describe(found, str(copy))}; champion: {watch.describe(found, champion)}"
            )
        finally:
            canary.end(self._client, self._settings)

    def _await_canary(self, copy: str) -> None:
        limit = self._settings.deployment.switch_seconds
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            state = self.place.health().get("canary") or {}
            if state.get("version") == copy:
                if "reason" in state:
                    raise DeploymentError(f"{self.place.url} refuses {copy}: {state['reason']}")
                return
            time.sleep(LOOK_SECONDS)
        raise DeploymentError(f"{self.place.url} took no canary within {limit} s")

    def end(self) -> bool:
        """End the server, where it is one of this machine that a deployment started."""
        return self._local.stop() if self._local else False


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


def _verify(settings: Settings, production: _Production, champion: Version, steps: Steps) -> None:
    with steps.step("production") as notes:
        production.require(champion)
        notes.append(f"{production.place.url} serves {champion}")
    with steps.step("smoke tests") as notes:
        notes.append(str(_smoke(settings, production)))
    with steps.step("watch") as notes:
        notes.append(production.watch(champion))


def _smoke(settings: Settings, production: _Production) -> Tested:
    return acceptance.check(settings, production.place.url, "production", SMOKE)


def _take_back(
    settings: Settings,
    production: _Production,
    failed: Version,
    steps: Steps,
    cause: BaseException,
) -> str:
    """Go back to the champion before ``failed``, and return in words what serves now."""
    try:
        with steps.step("rollback") as notes:
            done = _persist(settings, lambda: promotion.rollback(settings, _words(cause), failed))
            if done.champion is None:
                ended = "its server was ended" if production.end() else "its server still runs"
                notes.append(f"{failed} is no champion any more, there was none before; {ended}")
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
        with suppress(EndpointError):
            served = production.place.version()
            return (
                f"not rolled back, since the registry does not answer: {failed} is the champion "
                f"there, {production.place.url} serves {served}; run `rollback` when it does"
            )
        return "not rolled back, since the registry does not answer; run `rollback` when it does"
    except Exception as error:  # noqa: BLE001  whatever else, the first cause is what is said
        return f"rolled back in the registry, but {_words(error)}"


def _persist(
    settings: Settings, action: Callable[[], promotion.RolledBack]
) -> promotion.RolledBack:
    """Try for ``deployment.switch_seconds``: a registry that is away may come back."""
    deadline = time.monotonic() + settings.deployment.switch_seconds
    while True:
        try:
            return action()
        except store.FAILURES:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_SECONDS)


def _longest(settings: Settings) -> float:
    """Return the seconds after which a deployment has ended in any case."""
    limits = settings.deployment
    servers = 2 * limits.ready_seconds + 4 * limits.switch_seconds
    watched = limits.watch.seconds + (limits.canary.seconds if limits.canary.share else 0)
    return servers + 3 * limits.test_seconds + watched + SPARE_SECONDS


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
