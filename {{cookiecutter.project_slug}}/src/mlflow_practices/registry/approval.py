"""Decisions on a model version: who, when, why, on what evidence, and whether they still hold.

A decision is a run of the experiment ``<project>/model-deployment`` with the record as an artifact.
A tag of the version holds the same record, so a change of one of the two is noticed. An account that
can write both can forge an unsigned record; signatures prevent that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run
from pydantic import BaseModel, ValidationError

from .. import privacy
from ..config.settings import Settings
from ..errors import PracticeError, listed
from ..tracking import experiments, github, identity, recording, utc
from ..tracking.identity import Identity
from ..tracking.session import Session
from . import evidence, signing, versions
from .card_rendering import with_approval
from .evidence import Evidence
from .versions import Version

RECORD = "decision.json"
RECORD_TAG = "approval_record"
APPROVERS = "configs/approvers.yaml"
READ_ERRORS = (MlflowException, OSError, ValidationError)


class ApprovalError(PracticeError):
    """A version cannot be approved or rejected; the message lists every reason."""


class Decision(BaseModel, frozen=True, extra="forbid"):
    """One decision; times are UTC, ISO 8601."""

    decision: Literal["approved", "rejected"]
    model: str
    who: dict[str, str]
    when: str
    why: str
    evidence: Evidence | None
    expires: str | None = None
    signature: str | None = None

    @property
    def by(self) -> Identity:
        """Who decided."""
        return Identity.from_dict(self.who)

    @property
    def signed_content(self) -> dict[str, object]:
        """What a signature covers."""
        return self.model_dump(exclude={"signature"})

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the version that repeat the decision."""
        record = json.dumps(self.model_dump(), sort_keys=True, ensure_ascii=False)
        by = "approved_by" if self.decision == "approved" else "rejected_by"
        return {RECORD_TAG: record, "approval": self.decision, by: str(self.by)}

    @property
    def expired(self) -> bool:
        """Whether its last moment is over."""
        return self.expires is not None and self.expires <= utc(_now())

    def describe(self) -> str:
        """Return it as one line for people."""
        until = f", until {self.expires}" if self.expires else ""
        signed = ", signed" if self.signature else ""
        return f"{self.decision} by {self.by} on {self.when}{until}{signed}: {self.why}"


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
        problems += check_approval(client, settings, subject, found)
        decision = latest_decision(client, settings, subject)
        if problems or decision is None:
            heading = (
                f"{subject}: {APPROVERS} lists who may sign, and a job has no key; let one of them "
                f"run `approve {subject}`, then run this job again"
            )
            raise ApprovalError(listed(heading, problems))
        return decision
    who = session.identity
    if reviewed_in:
        who, how = _find_reviewer(session, subject, reviewed_in)
        reason = f"{reason} ({how})" if reason.strip() else ""
    problems += _four_eyes_problems(client, settings, subject, who)
    decision = _decide("approved", subject, who, reason, found, problems)
    if days := settings.approval.valid_days:
        expires = utc(_now() + timedelta(days=days))
        decision = decision.model_copy(update={"expires": expires})
    if signed:
        key = signing.private_key_path(settings.project.name)
        signature = signing.sign(decision.signed_content, key)
        decision = decision.model_copy(update={"signature": signature})
        if problems := list(_signature_problems(settings, decision)):
            raise ApprovalError(listed(f"{subject} cannot be approved", problems))
    _write(session, subject, decision)
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
    _write(session, subject, decision)
    return decision


def check_approval(
    client: MlflowClient, settings: Settings, version: Version, found: Evidence | None
) -> list[str]:
    """Return every reason why a version does not count as approved on this evidence."""
    run = _latest_run(client, settings, version)
    if run is None:
        return [f"nobody has approved it; run `approve {version}`"]
    try:
        decision = _read(run)
    except READ_ERRORS as error:
        return [f"the decision {run.info.run_id} cannot be read ({type(error).__name__})"]
    problems = list(_changes(client, version, decision, run))
    if decision.decision == "rejected":
        problems.append(decision.describe())
    else:
        problems += _evidence_problems(decision, found)
        problems += _signature_problems(settings, decision)
    return [*problems, *_four_eyes_problems(client, settings, version, decision.by)]


def approves_files(
    client: MlflowClient, settings: Settings, version: Version, digest: str, *, expired: bool
) -> bool:
    """Return whether the last decision on a version approves the files with this digest.

    Unlike `check_approval` it does not ask whether the evaluation is up to date: what was promoted
    stays. With ``expired``, an approval counts after its last day.
    """
    run = _latest_run(client, settings, version)
    if run is None:
        return False
    try:
        decision = _read(run)
    except ValidationError:
        return False
    if decision.decision == "rejected" or decision.evidence is None:
        return False
    if decision.evidence.model_digest != digest:
        return False
    problems = [
        *_changes(client, version, decision, run),
        *_signature_problems(settings, decision),
    ]
    if not expired:  # what is in production was checked before
        problems += _four_eyes_problems(client, settings, version, decision.by)
        return not problems and not decision.expired
    return not problems


def latest_decision(client: MlflowClient, settings: Settings, version: Version) -> Decision | None:
    """Return the last decision on a version, as it was recorded."""
    run = _latest_run(client, settings, version)
    try:
        return _read(run) if run else None
    except READ_ERRORS as error:
        where = f"the decision {run.info.run_id if run else ''} on {version}"
        raise ApprovalError(f"{where} cannot be read ({type(error).__name__})") from None


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
    if problems:
        raise ApprovalError(listed(f"{version} cannot be {decision}", problems))
    return Decision(
        decision=decision,
        model=str(version),
        who=who.as_dict(),
        when=utc(_now()),
        why=why,
        evidence=found,
    )


def _find_reviewer(session: Session, version: Version, environment: str) -> tuple[Identity, str]:
    """Return who let this job of GitHub Actions into an environment, and how, in words."""
    client, settings = session.client, session.settings
    logins = list(dict.fromkeys(github.reviewers(environment)))
    if logins:
        reviewers = [Identity(github=login) for login in logins]
        allowed = [
            who
            for who in reviewers
            if not list(_four_eyes_problems(client, settings, version, who))
        ]
        return (allowed or reviewers)[0], f"reviewed in {environment} by {', '.join(logins)}"
    how = f"nobody reviewed it: the environment {environment} of GitHub requires no review"
    if settings.approval.four_eyes:
        remedy = 'protect it with `make protect REVIEWERS="..."`'
        raise ApprovalError(f"{version} cannot be approved: {how}; {remedy}")
    return session.identity, how


def _write(session: Session, version: Version, decision: Decision) -> None:
    client, number = session.client, str(version.number)
    with session.stage(
        "model-deployment",
        pipeline_id=version.pipeline_id or None,
        upstream_run_id=version.run_id,
    ):
        recording.set_author(decision.by)
        recording.set_tags({"action": decision.decision, "model_version": str(version)})
        recording.log_record(decision.model_dump(), RECORD)
    # After the run: a rejection holds from the moment at which its run is finished.
    for key, value in decision.tags.items():
        client.set_model_version_tag(version.name, number, key, value)
    described = client.get_model_version(version.name, number).description or ""
    shown = with_approval(described, decision.describe())
    client.update_model_version(version.name, number, shown)


def _latest_run(client: MlflowClient, settings: Settings, version: Version) -> Run | None:
    finished = f"tags.model_version = '{version}' AND attributes.status = 'FINISHED'"
    runs = [
        run
        for run in experiments.find_runs(client, settings, "model-deployment", finished)
        if run.data.tags.get("action") in ("approved", "rejected")
    ]
    # Of two in the same millisecond the rejection counts.
    return max(
        runs,
        key=lambda run: (run.info.start_time, run.data.tags["action"] == "rejected"),
        default=None,
    )


def _read(run: Run) -> Decision:
    return Decision.model_validate_json(evidence.read_artifact(run, RECORD))


def _changes(client: MlflowClient, version: Version, decision: Decision, run: Run) -> Iterator[str]:
    """Yield what was changed of a decision after it was recorded."""
    where = f"the decision {run.info.run_id}"
    if decision.model != str(version):
        yield f"{where} is on {decision.model}"
    if decision.decision != run.data.tags["action"]:
        yield f"{where} does not say what its tag `action` says"
    tags = versions.get_tags(client, version)
    for key, value in decision.tags.items():
        if tags.get(key) != value:
            yield f"the tag `{key}` is not what {where} recorded"


def _evidence_problems(decision: Decision, found: Evidence | None) -> Iterator[str]:
    if decision.expired:
        yield f"the approval expired on {decision.expires}; approve it again"
    if found is None or decision.evidence is None:
        yield "the approval cannot be compared with its evidence"
        return
    for name, approved in decision.evidence.model_dump().items():
        now = getattr(found, name)
        if now != approved:
            what = name.replace("_", " ")
            yield f"approved with the {what} {approved[:12]}, it is {now[:12]} now; approve again"


def _signature_problems(settings: Settings, decision: Decision) -> Iterator[str]:
    approvers = signing.load_approvers(settings.root / APPROVERS)
    if not approvers:
        return
    if decision.signature is None:
        yield f"the approval is not signed, and {APPROVERS} lists who may sign"
        return
    try:
        signing.verify(decision.signed_content, decision.signature, approvers)
    except signing.SigningError as error:
        yield str(error)


def _four_eyes_problems(
    client: MlflowClient, settings: Settings, version: Version, approver: Identity
) -> Iterator[str]:
    if not settings.approval.four_eyes:
        return
    run = experiments.find_run(client, version.run_id)
    trainer = Identity.from_tags(run.data.tags if run else {})
    if trainer == Identity():
        what = "does not say who trained" if run else "was deleted, so nobody knows who trained"
        yield f"four eyes: the training run {version.run_id} {what}"
    elif same := identity.same_person(trainer, approver):
        yield f"four eyes: who trained it cannot approve it: {same}"


def _now() -> datetime:
    return datetime.now(UTC)
