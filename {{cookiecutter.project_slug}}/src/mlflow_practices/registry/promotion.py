"""From an approved version to the champion, and the history of how it came to be one."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from .. import privacy
from ..config.settings import Settings
from ..errors import PracticeError, listed
from ..tracking import experiments, recording, utc_now
from ..tracking.identity import Identity
from ..tracking.session import Session
from . import approval, evidence, model_files, versions
from .evidence import Evidence
from .versions import CHAMPION, PREVIOUS, Version

# Tags of a version in production: what it is a copy of, by which run, in whose place.
SOURCE, PROMOTION, REPLACES, MODEL_DIGEST = (
    "source_version",
    "promotion_run_id",
    "replaces",
    "model_digest",
)
ROLLED_BACK = "rolled_back"  # when, and why
LEASE_SECONDS = 900  # after it a promotion whose process no longer answers blocks no other
MARGIN_SECONDS = 60  # before its lease is over, a promotion gives up


class PromotionError(PracticeError):
    """A version is not promoted; the message names every reason."""


@dataclass(frozen=True)
class PromotionResult:
    """The version in production that is the champion, and where the promotion's run is shown.

    Without an address there was nothing to do: the version was the champion already.
    """

    champion: Version
    replaced: Version | None
    address: str


@dataclass(frozen=True)
class RollbackResult:
    """The version in production that is the champion again, and the one that it replaces."""

    champion: Version | None
    replaced: Version
    address: str


@dataclass(frozen=True)
class Event:
    """One line of the history; ``when`` is UTC."""

    when: str
    action: str
    version: str
    who: str
    result: str


def check_promotion(
    client: MlflowClient, settings: Settings, version: Version
) -> tuple[Evidence | None, list[str]]:
    """Return what a version rests on, and every reason against its promotion."""
    if version.name != settings.project.name:
        return None, [f"it is a version of {version.name}, not of {settings.project.name}"]
    rests_on, reasons = evidence.check_evaluation(client, settings, version)
    return rests_on, reasons + approval.check_approval(client, settings, version, rests_on)


def promote(session: Session, version: Version) -> PromotionResult:
    """Copy a version to production and make it the champion; the former one stays ``previous``.

    Of promotions at the same time one wins, the others raise; see `_claim`. One that is
    interrupted has moved the alias or has not: the champion is an approved version either way.

    Raises:
        PromotionError: with every reason why not.
    """
    client, settings = session.client, session.settings
    production = versions.production_name(settings.project.name)
    if champion := find_champion_copy(client, settings, version):
        return PromotionResult(champion, versions.find_by_alias(client, production, PREVIOUS), "")
    replaced = versions.find_by_alias(client, production, CHAMPION)
    rests_on, reasons = check_promotion(client, settings, version)
    _require(version, reasons)
    assert rests_on is not None  # or there would be a reason
    with session.stage(
        "model-deployment",
        pipeline_id=version.pipeline_id or None,
        upstream_run_id=rests_on.evaluation_run_id,
    ) as stage:
        started = time.monotonic()
        recording.set_author(session.identity)
        recording.set_tags({"action": "promotion", "model_version": str(version)})
        copy = _claim(client, version, production, replaced, stage.run_id, rests_on)
        recording.set_tags({"production_version": str(copy)})
        reasons = _lost(client, copy, replaced)
        # The approval may have been withdrawn since it was looked at.
        reasons += approval.check_approval(client, settings, version, rests_on)
        if time.monotonic() - started > LEASE_SECONDS - MARGIN_SECONDS:
            reasons.append("it took too long; promote again")
        if reasons:
            client.delete_model_version(copy.name, str(copy.number))
            raise PromotionError(listed(f"{version} was not promoted", reasons))
        if replaced is not None:
            client.set_registered_model_alias(production, PREVIOUS, str(replaced.number))
        client.set_registered_model_alias(production, CHAMPION, str(copy.number))
        return PromotionResult(copy, replaced, stage.address)


def rollback(session: Session, reason: str, failed: Version | None = None) -> RollbackResult:
    """Make the version that was the champion before it again; the one left is tagged with why.

    A second rollback goes one further back. Who found out that a version is no good names it as
    ``failed``: then nothing is done if another is the champion by now, and a version that replaced
    none leaves none.

    Raises:
        PromotionError: there is nothing to go back to, or it was rejected since.
    """
    why = privacy.redact_text(" ".join(reason.split()))
    if not why:
        raise PromotionError("no reason is given; --reason says why")
    client, settings = session.client, session.settings
    production = versions.production_name(settings.project.name)
    left = versions.find_by_alias(client, production, CHAMPION)
    if left is None or (failed and left != failed):
        now = f"the champion is {left} by now, not {failed}" if left else "there is no champion"
        raise PromotionError(f"{production}: {now}; nothing was rolled back")
    if failed:
        _end_promotion(client, failed)
    target = versions.find_by_alias(client, production, PREVIOUS)
    if target == left:  # a rollback was interrupted
        target = _replaced_by(client, left)
    _require_return(client, settings, left, target, failed)
    with session.stage(
        "model-deployment",
        pipeline_id=left.pipeline_id or None,
        upstream_run_id=left.run_id,
    ) as stage:
        recording.set_author(session.identity)
        recording.set_tags({"action": "rollback", "model_version": str(left), "reason": why})
        if target is None:
            client.delete_registered_model_alias(production, CHAMPION)
        else:
            client.set_registered_model_alias(production, CHAMPION, str(target.number))
        recording.set_tags({"production_version": str(target or "")})
        if target and (before := _replaced_by(client, target)):
            client.set_registered_model_alias(production, PREVIOUS, str(before.number))
        else:
            client.delete_registered_model_alias(production, PREVIOUS)
        client.set_model_version_tag(
            production, str(left.number), ROLLED_BACK, f"{utc_now()}: {why}"
        )
        return RollbackResult(target, left, stage.address)


def copy_version(
    client: MlflowClient, version: Version, production: str, digest: str, tags: dict[str, str]
) -> Version:
    """Copy a version whose files have this digest to production, with its tags and ``tags``."""
    versions.create_model(client, production)
    made = client.get_model_version(version.name, str(version.number))
    copied = client.create_model_version(
        production,
        str(made.source),
        made.run_id,
        {**made.tags, SOURCE: str(version), MODEL_DIGEST: digest, **tags},
        description=made.description,
        model_id=version.model_id,
    )
    return versions.as_version(copied)


def find_source(client: MlflowClient, version: Version) -> Version:
    """Return the version that one in production is a copy of; any other is its own.

    Raises:
        RegistryError: it was deleted.
    """
    tags = client.get_model_version(version.name, str(version.number)).tags
    return versions.resolve(client, tags[SOURCE], "") if SOURCE in tags else version


def find_champion_copy(
    client: MlflowClient, settings: Settings, version: Version
) -> Version | None:
    """Return the champion if it is a copy of a version."""
    production = versions.production_name(settings.project.name)
    champion = versions.find_by_alias(client, production, CHAMPION)
    if champion is None:
        return None
    made = client.get_model_version(champion.name, str(champion.number))
    return champion if made.tags.get(SOURCE) == str(version) else None


def describe_promotion(session: Session, version: Version) -> str:
    """Return in words what `promote` would do now.

    Raises:
        PromotionError: it would refuse, for the same reasons.
    """
    client, settings = session.client, session.settings
    production = versions.production_name(settings.project.name)
    if champion := find_champion_copy(client, settings, version):
        return f"{version} is the champion already, as {champion}; nothing would happen"
    champion = versions.find_by_alias(client, production, CHAMPION)
    _require(version, check_promotion(client, settings, version)[1])
    former = f"; {champion} would become {PREVIOUS}" if champion else ""
    return f"{version} would be copied to {production} and become its {CHAMPION}{former}"


def run_outcome(run: Run) -> str:
    """Return in words what came of a deployment, a rollback or a decision."""
    tags = run.data.tags
    return tags.get("outcome") or tags.get("failure_reason") or tags.get("reason", "")


def require_promoted_files(client: MlflowClient, champion: Version, files: Path) -> None:
    """Raise `PromotionError` unless the files are those that were promoted."""
    tags = client.get_model_version(champion.name, str(champion.number)).tags
    if tags.get(MODEL_DIGEST) != model_files.digest(files):
        raise PromotionError(f"{champion}: its files are not those that were promoted")


def history(client: MlflowClient, settings: Settings) -> list[Event]:
    """Return decisions, promotions, rollbacks and deployments, newest first.

    Whether an interrupted promotion took effect is read off the registry: its copy is the
    champion, or was replaced as one.
    """
    production = versions.production_name(settings.project.name)
    champion = versions.find_by_alias(client, production, CHAMPION)
    copies = versions.list_versions(client, production)
    replaced = {made.tags.get(REPLACES, "") for made in copies}
    left = {f"{production}/{made.version}" for made in copies if ROLLED_BACK in made.tags}
    took_effect = {*replaced, *left, str(champion)} - {""}
    runs = experiments.find_runs(client, settings, "model-deployment")
    return [_event(run, took_effect) for run in runs if "action" in run.data.tags]


def _require(version: Version, reasons: list[str]) -> None:
    if reasons:
        raise PromotionError(listed(f"{version} cannot be promoted", reasons))


def _require_return(
    client: MlflowClient,
    settings: Settings,
    left: Version,
    target: Version | None,
    failed: Version | None,
) -> None:
    """Raise `PromotionError` unless ``target`` may become the champion again."""
    for made in versions.list_versions(client, left.name):
        if PROMOTION in made.tags and _under_way(client, made.tags[PROMOTION]):
            what = made.tags.get(SOURCE)
            raise PromotionError(f"the promotion of {what} is under way; roll back after it")
    if target is None:
        if failed:
            return
        raise PromotionError(f"{left} replaced no version that is still there; promote another")
    with suppress(versions.RegistryError):  # what it is a copy of was deleted
        decision = approval.latest_decision(client, settings, find_source(client, target))
        if decision and decision.decision == "rejected":
            raise PromotionError(f"{target} was {decision.describe()}; promote another version")


def _replaced_by(client: MlflowClient, version: Version) -> Version | None:
    """Return the version in whose place one was promoted, if it is still there."""
    tags = client.get_model_version(version.name, str(version.number)).tags
    with suppress(versions.RegistryError):
        return versions.resolve(client, tags[REPLACES], "") if tags.get(REPLACES) else None
    return None


def _claim(
    client: MlflowClient,
    version: Version,
    production: str,
    replaced: Version | None,
    run_id: str,
    rests_on: Evidence,
) -> Version:
    """Copy a version to production; the copy is at once the claim to become the champion.

    The registry numbers versions one after the other, and that order decides who wins: whoever
    holds the lowest number of all that are under way (`_lost`). So the claim has to be there in
    the same request as the copy, which MLflow's ``copy_model_version`` does not offer.
    """
    tags = {PROMOTION: run_id, REPLACES: str(replaced or "")}
    return copy_version(client, version, production, rests_on.model_digest, tags)


def _lost(client: MlflowClient, copy: Version, replaced: Version | None) -> list[str]:
    """Return who came first.

    A promotion that ended before the claims were read has moved the champion already, so the
    claims are read first, and the champion after them.
    """
    lower = [
        made
        for made in versions.list_versions(client, copy.name)
        if int(made.version) < copy.number
    ]
    for made in lower:
        if PROMOTION in made.tags and _under_way(client, made.tags[PROMOTION]):
            return [f"the promotion of {made.tags.get(SOURCE)} came first; promote again after it"]
    now = versions.find_by_alias(client, copy.name, CHAMPION)
    if now != replaced:
        return [f"another promotion came first: the champion is {now} now, it was {replaced}"]
    return []


def _end_promotion(client: MlflowClient, copy: Version) -> None:
    """End the run of a promotion that is over, but could not say so to a registry that was away."""
    run_id = client.get_model_version(copy.name, str(copy.number)).tags.get(PROMOTION, "")
    if _under_way(client, run_id):
        client.set_terminated(run_id, "KILLED")


def _under_way(client: MlflowClient, run_id: str) -> bool:
    run = experiments.find_run(client, run_id)
    if run is None or run.info.status != "RUNNING":
        return False
    return bool(time.time() - run.info.start_time / 1000 < LEASE_SECONDS)


def _event(run: Run, took_effect: set[str]) -> Event:
    tags = run.data.tags
    return Event(
        experiments.start_time(run),
        tags["action"],
        tags.get("model_version", ""),
        str(Identity.from_tags(tags)),
        _result(run, took_effect),
    )


def _result(run: Run, took_effect: set[str]) -> str:
    tags = run.data.tags
    if tags["action"] != "promotion":
        return run_outcome(run)
    copy = tags.get("production_version", "")
    if run.info.status == "RUNNING" and copy not in took_effect:
        return "under way"
    if run.info.status == "FINISHED":
        return f"champion as {copy}"
    if copy in took_effect:
        return f"champion as {copy}, interrupted after that"
    reason = tags.get("failure_reason", "")
    return f"not promoted ({run.info.status.lower()}) {reason}".strip()
