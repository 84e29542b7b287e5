"""Decisions on a model version: who, when, why and on what evidence; and whether they still hold.

A decision is a run of the experiment ``<project>/model-deployment`` with the record as an artifact,
and the same record is a tag of the version: whoever changes one of the two is found out. Whoever
may write both can forge an unsigned record; that is what signatures are for.
"""

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
from . import evidence, model_card, signing, versions
from .evidence import Evidence
from .versions import Version

RECORD = "decision.json"
RECORD_TAG = "approval_record"
APPROVERS = "configs/approvers.yaml"


class ApprovalError(PracticeError):
    """A version cannot be approved or rejected; the message names every reason."""


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
        """Return who decided."""
        return Identity.from_dict(self.who)

    def describe(self) -> str:
        """Return it as one line for people."""
        until = f", until {self.expires}" if self.expires else ""
        signed = ", signed" if self.signature else ""
        return f"{self.decision} by {self.by} on {self.when}{until}{signed}: {self.why}"


def approve_model(
    name: str,
    version: int,
    reason: str,
    session: Session,
    *,
    reviewed_in: str = "",
) -> Decision:
    """Decision that the caller approves a version, on the evidence there is now.

    With ``reviewed_in``, an environment of GitHub, it is who let this job into that. A job has no
    key to sign with: where approvals are signed, the one that somebody made by hand before is
    returned.

    Raises:
        ApprovalError: it did not pass its evaluation, or who approves it may not.
        GitHubError: GitHub does not say who reviewed the job.
    """
    if reviewed_in and signing.load_approvers(session.settings.root / APPROVERS):
        return _signed_before(session, name, version)
    return _decide("approved", name, version, reason, session, reviewed_in)


def reject_model(name: str, version: int, reason: str, session: Session) -> Decision:
    """Decision that the caller rejects a version; it stays so until a new approval.

    Raises:
        ApprovalError: no reason is given.
    """
    return _decide("rejected", name, version, reason, session)


def check_approval(
    client: MlflowClient, settings: Settings, version: Version, rests_on: Evidence | None
) -> list[str]:
    """Return every reason why a version does not count as approved."""
    decided = _decisions(client, settings, version)
    if not decided:
        return [f"nobody has approved it; run `approve {version}`"]
    try:
        record = _load(decided[0])
    except (MlflowException, OSError, ValidationError) as error:
        return [f"the decision {decided[0].info.run_id} cannot be read ({type(error).__name__})"]
    tags = client.get_model_version(version.name, str(version.number)).tags
    return [
        *_changed(record, tags, str(version), decided[0]),
        *_outdated(record, rests_on),
        *_unsigned(settings, record),
        *_four_eyes(client, settings, version, record.by),
    ]


def approves_files(
    client: MlflowClient, settings: Settings, version: Version, digest: str, *, expired: bool
) -> bool:
    """Return whether the last decision on a version approves the files with this digest.

    Unlike `check_approval` it does not ask whether the evaluation is still of today: what was promoted
    stays. With ``expired``, an approval counts after its last day.

    Raises:
        MlflowException: the store does not answer, which says nothing of the approval.
        OSError: the same of the artifacts.
        SigningError: the list of approvers cannot be read.
    """
    decided = _decisions(client, settings, version)
    try:
        record = _load(decided[0]) if decided else None
    except ValidationError:
        return False
    if record is None or record.decision != "approved" or record.evidence is None:
        return False
    if record.evidence.model_digest != digest or not (expired or _holds(record)):
        return False
    tags = client.get_model_version(version.name, str(version.number)).tags
    doubts = [*_changed(record, tags, str(version), decided[0]), *_unsigned(settings, record)]
    if not expired:  # what is in production was asked before it came there
        doubts += _four_eyes(client, settings, version, record.by)
    return not doubts


def latest_decision(client: MlflowClient, settings: Settings, version: Version) -> Decision | None:
    """Return the last decision on a version, as it was recorded.

    Raises:
        ApprovalError: the record cannot be read.
    """
    decided = _decisions(client, settings, version)
    try:
        return _load(decided[0]) if decided else None
    except (MlflowException, OSError, ValidationError) as error:
        where = f"the decision {decided[0].info.run_id} on {version}"
        raise ApprovalError(f"{where} cannot be read ({type(error).__name__})") from None


def _decide(
    decision: Literal["approved", "rejected"],
    name: str,
    number: int,
    reason: str,
    session: Session,
    reviewed_in: str = "",
) -> Decision:
    client, settings = session.client, session.settings
    version = versions.find(client, name, str(number))
    if reviewed_in:
        who, how = _reviewer(session, version, reviewed_in)
        reason = f"{reason} ({how})" if reason.strip() else ""
    else:
        who = session.identity
    why = privacy.redact_text(" ".join(reason.split()))
    rests_on, reasons = evidence.check_evaluation(client, settings, version)
    if decision == "approved":
        reasons += _four_eyes(client, settings, version, who)
    else:
        reasons = []
    if not why:
        reasons.append("no reason is given; --reason says why")
    if reasons:
        raise ApprovalError(listed(f"{version} cannot be {decision}", reasons))
    now = _now()
    days = settings.approval.valid_days if decision == "approved" else None
    record = Decision(
        decision=decision,
        model=str(version),
        who=who.as_dict(),
        when=utc(now),
        why=why,
        evidence=rests_on,
        expires=utc(now + timedelta(days=days)) if days else None,
    )
    if decision == "approved" and signing.load_approvers(settings.root / APPROVERS):
        key = signing.private_key_path(settings.project.name)
        signature = signing.sign(_payload(record), key)
        record = record.model_copy(update={"signature": signature})
        if unsigned := list(_unsigned(settings, record)):
            raise ApprovalError(listed(f"{version} cannot be {decision}", unsigned))
    _write(session, version, record)
    return record


def _reviewer(session: Session, version: Version, environment: str) -> tuple[Identity, str]:
    """Return who let this job of GitHub Actions into an environment, and in words how it was."""
    client, settings = session.client, session.settings
    logins = list(dict.fromkeys(github.reviewers(environment)))
    if logins:
        every = [Identity(github=login) for login in logins]
        # Of several, one who may.
        allowed = [who for who in every if not list(_four_eyes(client, settings, version, who))]
        return (allowed or every)[0], f"reviewed in {environment} by {', '.join(logins)}"
    how = f"nobody reviewed it: the environment {environment} of GitHub requires no review"
    if settings.approval.four_eyes:
        remedy = 'protect it with `make protect REVIEWERS="..."`'
        raise ApprovalError(f"{version} cannot be approved: {how}; {remedy}")
    return session.identity, how


def _signed_before(session: Session, name: str, number: int) -> Decision:
    client, settings = session.client, session.settings
    version = versions.find(client, name, str(number))
    rests_on, reasons = evidence.check_evaluation(client, settings, version)
    reasons += check_approval(client, settings, version, rests_on)
    record = latest_decision(client, settings, version)
    if reasons or record is None:
        heading = (
            f"{version}: {APPROVERS} lists who may sign, and a job has no key; let one of them run "
            f"`approve {version}`, then run this job again"
        )
        raise ApprovalError(listed(heading, reasons))
    return record


def _write(session: Session, version: Version, record: Decision) -> None:
    client = session.client
    with session.stage(
        "model-deployment",
        pipeline_id=version.pipeline_id or None,
        upstream_run_id=version.run_id,
    ):
        recording.set_author(record.by)
        recording.set_tags({"action": record.decision, "model_version": str(version)})
        recording.log_record(record.model_dump(), RECORD)
    # After the run: a rejection holds from the moment at which its run is finished.
    summary = {
        RECORD_TAG: _canonical(record),
        "approval": record.decision,
        "approved_by" if record.decision == "approved" else "rejected_by": str(record.by),
    }
    for key, value in summary.items():
        client.set_model_version_tag(version.name, str(version.number), key, value)
    described = client.get_model_version(version.name, str(version.number)).description or ""
    shown = model_card.with_approval(described, record.describe())
    client.update_model_version(version.name, str(version.number), shown)


def _decisions(client: MlflowClient, settings: Settings, version: Version) -> list[Run]:
    which = f"tags.model_version = '{version}' AND attributes.status = 'FINISHED'"
    found = experiments.find_runs(client, settings, "model-deployment", which)
    decided = [run for run in found if run.data.tags.get("action") in ("approved", "rejected")]
    # Of two in the same millisecond the rejection counts.
    return sorted(
        decided,
        key=lambda run: (run.info.start_time, run.data.tags["action"] == "rejected"),
        reverse=True,
    )


def _load(run: Run) -> Decision:
    return Decision.model_validate_json(evidence.read_artifact(run, RECORD))


def _changed(record: Decision, tags: dict[str, str], version: str, run: Run) -> Iterator[str]:
    if record.model != version:
        yield f"the decision {run.info.run_id} is on {record.model}"
    if record.decision != run.data.tags["action"]:
        yield f"the decision {run.info.run_id} does not say what its tag `action` says"
    summary = {RECORD_TAG: _canonical(record), "approval": record.decision}
    if record.decision == "approved":
        summary["approved_by"] = str(record.by)
    for key, value in summary.items():
        if tags.get(key) != value:
            yield f"the tag `{key}` is not what the decision {run.info.run_id} recorded"


def _outdated(record: Decision, rests_on: Evidence | None) -> Iterator[str]:
    if record.decision == "rejected":
        yield record.describe()
        return
    if not _holds(record):
        yield f"the approval expired on {record.expires}; approve it again"
    if rests_on is None or record.evidence is None:
        yield "the approval cannot be compared with its evidence"
        return
    for name, approved in record.evidence.model_dump().items():
        now = getattr(rests_on, name)
        if now != approved:
            what = name.replace("_", " ")
            yield f"approved with the {what} {approved[:12]}, it is {now[:12]} now; approve again"


def _holds(record: Decision) -> bool:
    return record.expires is None or record.expires > utc(_now())


def _unsigned(settings: Settings, record: Decision) -> Iterator[str]:
    approvers = signing.load_approvers(settings.root / APPROVERS)
    if not approvers or record.decision == "rejected":
        return
    if record.signature is None:
        yield f"the approval is not signed, and {APPROVERS} lists who may sign"
        return
    try:
        signing.verify(_payload(record), record.signature, approvers)
    except signing.SigningError as error:
        yield str(error)


def _four_eyes(
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


def _payload(record: Decision) -> dict[str, object]:
    return record.model_dump(exclude={"signature"})


def _canonical(record: Decision) -> str:
    return json.dumps(record.model_dump(), sort_keys=True, ensure_ascii=False)


def _now() -> datetime:
    return datetime.now(UTC)
