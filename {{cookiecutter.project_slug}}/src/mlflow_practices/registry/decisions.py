"""Recorded decisions on a model version, and whether they still hold.

A decision is a run of the experiment ``<project>/model-deployment`` with the record as an artifact.
A tag of the version holds the same record, so a change of one of the two is noticed. An account that
can write both can forge an unsigned record; signatures prevent that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run
from pydantic import BaseModel, ValidationError

from ..config.settings import Settings
from ..errors import PracticeError
from ..tracking import experiments, identity, utc
from ..tracking.identity import Identity
from . import evidence, signing, versions
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
        return self.expires is not None and self.expires <= utc(now())

    def describe(self) -> str:
        """Return it as one line for people."""
        until = f", until {self.expires}" if self.expires else ""
        signed = ", signed" if self.signature else ""
        return f"{self.decision} by {self.by} on {self.when}{until}{signed}: {self.why}"


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def latest_decision(client: MlflowClient, settings: Settings, version: Version) -> Decision | None:
    """Return the last decision on a version, as it was recorded.

    Raises:
        ApprovalError: the record cannot be read.
    """
    run = _latest_run(client, settings, version)
    if run is None:
        return None
    try:
        return _read(run)
    except READ_ERRORS as error:
        where = f"the decision {run.info.run_id} on {version}"
        raise ApprovalError(f"{where} cannot be read ({type(error).__name__})") from None


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
        problems += signature_problems(settings, decision)
    return [*problems, *four_eyes_problems(client, settings, version, decision.by)]


def approves_files(
    client: MlflowClient, settings: Settings, version: Version, digest: str, *, in_production: bool
) -> bool:
    """Return whether the last decision on a version approves the files with this digest.

    Unlike `check_approval` it does not ask whether the evaluation is up to date: what was promoted
    stays. A version in production was checked before, and its approval counts after its last day.

    Raises:
        MlflowException: the store does not answer, which says nothing about the approval.
        OSError: the same, for the artifacts.
        SigningError: the list of approvers cannot be read.
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
    problems = [*_changes(client, version, decision, run), *signature_problems(settings, decision)]
    if not in_production:
        problems += _expiry_problems(decision)
        problems += four_eyes_problems(client, settings, version, decision.by)
    return not problems


def signature_problems(settings: Settings, decision: Decision) -> Iterator[str]:
    """Yield why the signature of an approval does not count, where approvals must be signed."""
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


def four_eyes_problems(
    client: MlflowClient, settings: Settings, version: Version, approver: Identity
) -> Iterator[str]:
    """Yield why an approver may be the person who trained the version, if that is forbidden."""
    if not settings.approval.four_eyes:
        return
    run = experiments.find_run(client, version.run_id)
    trainer = Identity.from_tags(run.data.tags if run else {})
    if trainer == Identity():
        what = "does not say who trained" if run else "was deleted, so nobody knows who trained"
        yield f"four eyes: the training run {version.run_id} {what}"
    elif same := identity.same_person(trainer, approver):
        yield f"four eyes: who trained it cannot approve it: {same}"


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
    """Yield what was changed after the decision was recorded."""
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
    yield from _expiry_problems(decision)
    if found is None or decision.evidence is None:
        yield "the approval cannot be compared with its evidence"
        return
    for name, approved in decision.evidence.model_dump().items():
        present = getattr(found, name)
        if present != approved:
            what = name.replace("_", " ")
            yield (
                f"approved with the {what} {approved[:12]}, it is {present[:12]} now; approve again"
            )


def _expiry_problems(decision: Decision) -> Iterator[str]:
    if decision.expired:
        yield f"the approval expired on {decision.expires}; approve it again"
