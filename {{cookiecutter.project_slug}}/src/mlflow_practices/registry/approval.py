"""Approve or reject a model version, with the evidence that there is now."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from .. import privacy
from ..errors import listed
from ..tracking import github, recording, utc
from ..tracking.identity import Identity
from ..tracking.session import Session
from . import decisions, evidence, signing, versions
from .card_rendering import with_approval
from .decisions import APPROVERS, ApprovalError, Decision
from .evidence import Evidence
from .versions import Version


def approve_model(
    name: str, version: int, reason: str, session: Session, *, reviewed_in: str = ""
) -> Decision:
    """Record that the caller approves a version, with the evidence that there is now.

    With ``reviewed_in``, an environment of GitHub, the approver is who let this job into it. A job
    has no key: where approvals are signed, the approval that a person recorded before is returned.

    Raises:
        ApprovalError: it did not pass its evaluation, or this person may not approve it.
        GitHubError: GitHub does not say who reviewed the job.
    """
    client, settings = session.client, session.settings
    subject = versions.find(client, name, str(version))
    found, problems = evidence.check_evaluation(client, settings, subject)
    signed = bool(signing.load_approvers(settings.root / APPROVERS))
    if reviewed_in and signed:
        return _require_signed(session, subject, found, problems)
    who = session.identity
    if reviewed_in:
        who, how = _find_reviewer(session, subject, reviewed_in)
        reason = f"{reason} ({how})" if reason.strip() else ""
    problems += decisions.four_eyes_problems(client, settings, subject, who)
    decision = _decide("approved", subject, who, reason, found, problems)
    if days := settings.approval.valid_days:
        expires = utc(decisions.now() + timedelta(days=days))
        decision = decision.model_copy(update={"expires": expires})
    if signed:
        key = signing.private_key_path(settings.project.name)
        signature = signing.sign(decision.signed_content, key)
        decision = decision.model_copy(update={"signature": signature})
        _require("approved", subject, list(decisions.signature_problems(settings, decision)))
    _record(session, subject, decision)
    return decision


def reject_model(name: str, version: int, reason: str, session: Session) -> Decision:
    """Record that the caller rejects a version; this holds until a new approval.

    Raises:
        ApprovalError: no reason is given.
    """
    client, settings = session.client, session.settings
    subject = versions.find(client, name, str(version))
    found, _ = evidence.check_evaluation(client, settings, subject)
    decision = _decide("rejected", subject, session.identity, reason, found, [])
    _record(session, subject, decision)
    return decision


def _require_signed(
    session: Session, version: Version, found: Evidence | None, problems: list[str]
) -> Decision:
    client, settings = session.client, session.settings
    problems = problems + decisions.check_approval(client, settings, version, found)
    decision = decisions.latest_decision(client, settings, version)
    if problems or decision is None:
        heading = (
            f"{version}: {APPROVERS} lists who may sign, and a job has no key; let one of them run "
            f"`approve {version}`, then run this job again"
        )
        raise ApprovalError(listed(heading, problems))
    return decision


def _decide(
    decision: Literal["approved", "rejected"],
    version: Version,
    who: Identity,
    reason: str,
    found: Evidence | None,
    problems: list[str],
) -> Decision:
    why = privacy.redact_text(" ".join(reason.split()))
    if not why:
        problems = [*problems, "no reason is given; --reason says why"]
    _require(decision, version, problems)
    return Decision(
        decision=decision,
        model=str(version),
        who=who.as_dict(),
        when=utc(decisions.now()),
        why=why,
        evidence=found,
    )


def _require(decision: str, version: Version, problems: list[str]) -> None:
    if problems:
        raise ApprovalError(listed(f"{version} cannot be {decision}", problems))


def _find_reviewer(session: Session, version: Version, environment: str) -> tuple[Identity, str]:
    """Return who let this job of GitHub Actions into an environment, and how, as text."""
    client, settings = session.client, session.settings
    logins = list(dict.fromkeys(github.reviewers(environment)))
    if not logins:
        how = f"nobody reviewed it: the environment {environment} of GitHub requires no review"
        if settings.approval.four_eyes:
            remedy = 'protect it with `make protect REVIEWERS="..."`'
            raise ApprovalError(f"{version} cannot be approved: {how}; {remedy}")
        return session.identity, how
    how = f"reviewed in {environment} by {', '.join(logins)}"
    reviewers = [Identity(github=login) for login in logins]
    for who in reviewers:
        if not list(decisions.four_eyes_problems(client, settings, version, who)):
            return who, how
    return reviewers[0], how


def _record(session: Session, version: Version, decision: Decision) -> None:
    client, number = session.client, str(version.number)
    with versions.open_stage(session, version, author=decision.by):
        recording.set_tags({"action": decision.decision})
        recording.log_record(decision.model_dump(), decisions.RECORD)
    # After the run: a rejection holds from the moment at which its run is finished.
    for key, value in decision.tags.items():
        client.set_model_version_tag(version.name, number, key, value)
    described = client.get_model_version(version.name, number).description or ""
    shown = with_approval(described, decision.describe())
    client.update_model_version(version.name, number, shown)
