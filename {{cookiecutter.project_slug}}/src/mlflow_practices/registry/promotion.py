"""From an approved version to the champion, and back to the champion before it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from mlflow import MlflowClient

from .. import privacy
from ..config.settings import Settings
from ..errors import PracticeError, listed
from ..tracking import experiments, recording, utc_now
from ..tracking.session import Session
from . import decisions, evidence, lock, versions
from .evidence import Evidence
from .model_files import MODEL_DIGEST
from .versions import CHAMPION, PREVIOUS, Version

# Tags of a version in production: its source, the run that promoted it, the champion before it.
SOURCE, PROMOTION, REPLACES = "source_version", "promotion_run_id", "replaces"
ROLLED_BACK = "rolled_back"  # when, and why
ACTION = "promotion"
LOCK_SECONDS = 900  # after it, a promotion whose process no longer answers blocks no other
MARGIN_SECONDS = 300  # a promotion must have this much of its time left when it begins to copy


class PromotionError(PracticeError):
    """A version is not promoted; the message lists every reason."""


@dataclass(frozen=True)
class PromotionResult:
    """The champion, the version that it replaced, and the address of the promotion's run.

    The address is empty if the version was the champion already.
    """

    champion: Version
    replaced: Version | None
    address: str


@dataclass(frozen=True)
class RollbackResult:
    """The version that is the champion again, and the version that it replaced."""

    champion: Version | None
    replaced: Version
    address: str


def check_promotion(
    client: MlflowClient, settings: Settings, version: Version
) -> tuple[Evidence | None, list[str]]:
    """Return a version's evidence, and every reason against its promotion."""
    if version.name != settings.project.name:
        return None, [f"it is a version of {version.name}, not of {settings.project.name}"]
    found, problems = evidence.check_evaluation(client, settings, version)
    return found, problems + decisions.check_approval(client, settings, version, found)


def promote(session: Session, version: Version) -> PromotionResult:
    """Copy a version to production and make it the champion; the former one becomes ``previous``.

    Of several promotions at the same time one succeeds. An interrupted promotion has either moved
    the alias or not: the champion is an approved version in both cases.

    Raises:
        PromotionError: with every reason against it.
    """
    client, settings = session.client, session.settings
    production = versions.production_name(settings.project.name)
    if champion := find_champion_copy(client, settings, version):
        return PromotionResult(champion, versions.find_by_alias(client, production, PREVIOUS), "")
    replaced = versions.find_by_alias(client, production, CHAMPION)
    found, problems = check_promotion(client, settings, version)
    _require(version, problems)
    assert found is not None  # or there would be a problem
    upstream = found.evaluation_run_id
    with versions.open_stage(session, version, upstream_run_id=upstream) as stage:
        latest_start = time.monotonic() + LOCK_SECONDS - MARGIN_SECONDS
        try:
            lock.acquire(client, settings, ACTION, LOCK_SECONDS)
        except lock.LockError as error:
            raise PromotionError(f"{version} was not promoted: {error}") from None
        # Since the first check the approval may have been withdrawn, or the champion replaced.
        problems = decisions.check_approval(client, settings, version, found)
        champion = versions.find_by_alias(client, production, CHAMPION)
        if champion != replaced:
            problems.append(
                f"another promotion came first: the champion is {champion} now, it was {replaced}"
            )
        if time.monotonic() > latest_start:
            problems.append("it took too long; promote again")
        if problems:
            raise PromotionError(listed(f"{version} was not promoted", problems))
        tags = {PROMOTION: stage.run_id, REPLACES: str(replaced or "")}
        copy = copy_version(client, version, production, found.model_digest, tags)
        recording.set_tags({"production_version": str(copy)})
        if replaced is not None:
            client.set_registered_model_alias(production, PREVIOUS, str(replaced.number))
        client.set_registered_model_alias(production, CHAMPION, str(copy.number))
        return PromotionResult(copy, replaced, stage.address)


def rollback(session: Session, reason: str, failed: Version | None = None) -> RollbackResult:
    """Make the former champion the champion again; the present one gets a tag with the reason.

    A second rollback goes one version further back. With ``failed``, the version found to be bad,
    nothing is done if another version is the champion by now, and a version that replaced none
    leaves no champion.

    Raises:
        PromotionError: there is nothing to go back to, or it was rejected since.
    """
    why = privacy.redact_text(" ".join(reason.split()))
    if not why:
        raise PromotionError("no reason is given; --reason says why")
    client, settings = session.client, session.settings
    production = versions.production_name(settings.project.name)
    replaced = versions.find_by_alias(client, production, CHAMPION)
    if replaced is None or (failed and replaced != failed):
        now = "there is no champion"
        if replaced:
            now = f"the champion is {replaced} by now, not {failed}"
        raise PromotionError(f"{production}: {now}; nothing was rolled back")
    if failed:
        _end_promotion(client, failed)
    for run in lock.runs_in_progress(client, settings, ACTION):
        promoted = run.data.tags.get("model_version")
        raise PromotionError(f"the promotion of {promoted} is under way; roll back after it")
    target = versions.find_by_alias(client, production, PREVIOUS)
    if target == replaced:  # a rollback was interrupted
        target = _find_replaced(client, replaced)
    if target is not None:
        _require_not_rejected(client, settings, target)
    elif not failed:
        raise PromotionError(f"{replaced} replaced no version that is still there; promote another")
    with versions.open_stage(session, replaced) as stage:
        recording.set_tags({"action": "rollback", "reason": why})
        if target is None:
            client.delete_registered_model_alias(production, CHAMPION)
        else:
            client.set_registered_model_alias(production, CHAMPION, str(target.number))
        recording.set_tags({"production_version": str(target or "")})
        before = _find_replaced(client, target) if target else None
        if before is None:
            client.delete_registered_model_alias(production, PREVIOUS)
        else:
            client.set_registered_model_alias(production, PREVIOUS, str(before.number))
        client.set_model_version_tag(
            production, str(replaced.number), ROLLED_BACK, f"{utc_now()}: {why}"
        )
        return RollbackResult(target, replaced, stage.address)


def copy_version(
    client: MlflowClient, version: Version, production: str, digest: str, tags: dict[str, str]
) -> Version:
    """Copy a version whose files have this digest to production, with its tags and ``tags``."""
    versions.create_model(client, production)
    original = client.get_model_version(version.name, str(version.number))
    copied = client.create_model_version(
        production,
        str(original.source),
        original.run_id,
        {**original.tags, SOURCE: str(version), MODEL_DIGEST: digest, **tags},
        description=original.description,
        model_id=version.model_id,
    )
    return versions.as_version(copied)


def find_source(client: MlflowClient, version: Version) -> Version:
    """Return the version of which a version in production is a copy; any other is its own source."""
    source = versions.get_tags(client, version).get(SOURCE)
    return versions.resolve(client, source, "") if source else version


def find_champion_copy(
    client: MlflowClient, settings: Settings, version: Version
) -> Version | None:
    """Return the champion if it is a copy of a version."""
    production = versions.production_name(settings.project.name)
    champion = versions.find_by_alias(client, production, CHAMPION)
    if champion and versions.get_tags(client, champion).get(SOURCE) == str(version):
        return champion
    return None


def describe_promotion(session: Session, version: Version) -> str:
    """Return, as text, what `promote` would do now."""
    client, settings = session.client, session.settings
    production = versions.production_name(settings.project.name)
    if champion := find_champion_copy(client, settings, version):
        return f"{version} is the champion already, as {champion}; nothing would happen"
    champion = versions.find_by_alias(client, production, CHAMPION)
    _require(version, check_promotion(client, settings, version)[1])
    former = f"; {champion} would become {PREVIOUS}" if champion else ""
    return f"{version} would be copied to {production} and become its {CHAMPION}{former}"


def _require(version: Version, problems: list[str]) -> None:
    if problems:
        raise PromotionError(listed(f"{version} cannot be promoted", problems))


def _require_not_rejected(client: MlflowClient, settings: Settings, target: Version) -> None:
    with suppress(versions.RegistryError):  # its source was deleted
        decision = decisions.latest_decision(client, settings, find_source(client, target))
        if decision and decision.decision == "rejected":
            raise PromotionError(f"{target} was {decision.describe()}; promote another version")


def _find_replaced(client: MlflowClient, version: Version) -> Version | None:
    """Return the version that was the champion before this one, if it still exists."""
    replaced = versions.get_tags(client, version).get(REPLACES)
    with suppress(versions.RegistryError):
        return versions.resolve(client, replaced, "") if replaced else None
    return None


def _end_promotion(client: MlflowClient, copy: Version) -> None:
    """End the run of a promotion that is over, but could not reach the registry to say so."""
    run = experiments.find_run(client, versions.get_tags(client, copy).get(PROMOTION, ""))
    if run and run.info.status == "RUNNING":
        client.set_terminated(run.info.run_id, "KILLED")
