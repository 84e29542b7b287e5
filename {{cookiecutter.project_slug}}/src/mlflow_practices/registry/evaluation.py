"""What evaluation needs of the registry: a version's model, the champion's answers, the card."""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryDirectory

import pandas as pd
from mlflow import MlflowException
from mlflow.models import Model
from sklearn.pipeline import Pipeline

from ..data.versioning import Manifest
from ..errors import PracticeError
from ..evaluation.predictions import Predictions, predict
from ..evaluation.verdict import Verdict
from ..model import signature
from ..tracking import documentation, recording
from ..tracking.session import Session
from . import approval, evidence, loading, model_card, model_files, promotion, versions
from .model_card import Statements
from .versions import Version


@dataclass(frozen=True)
class Candidate:
    """A version's model, the SHA-256 over its files, and their size in bytes."""

    model: Pipeline
    digest: str
    size: int


@dataclass(frozen=True)
class Champion:
    """The champion, and what it says of some rows or why it can say nothing; None without one."""

    version: Version | None = None
    predictions: Predictions | str | None = None


def load_candidate(session: Session, version: Version) -> Candidate:
    """Return a version's model, loaded from the files that are judged.

    Raises:
        ModelFilesError: the files cannot be had.
        UnsafeModelError: loading them could run anybody's code.
    """
    with TemporaryDirectory() as folder:
        files = model_files.download(version, folder)
        digest, size = model_files.digest(files), model_files.size(files)
        return Candidate(loading.load(session, version, files), digest, size)


def predict_as_champion(session: Session, X: pd.DataFrame) -> Champion:
    """Return the champion in production and its predictions for ``X``, or why there are none."""
    name = versions.production_name(session.settings.project.name)
    champion = versions.find_by_alias(session.client, name, versions.CHAMPION)
    if champion is None:
        return Champion()
    with TemporaryDirectory() as folder:
        try:
            files = model_files.download(champion, folder)
            promotion.require_promoted_files(session.client, champion, files)
            if mismatch := signature.mismatch(Model.load(str(files)).signature, X):
                return Champion(champion, mismatch)
            return Champion(champion, predict(loading.load(session, champion, files), X))
        except (PracticeError, MlflowException, OSError, ValueError) as error:
            return Champion(champion, " ".join(str(error).split()))


def log_card(
    session: Session,
    version: Version,
    manifest: Manifest,
    verdict: Verdict,
    statements: Statements,
    plots: dict[str, bytes],
    evaluation_run_id: str,
) -> None:
    """Log the model card; set what fits of it, and the verdict, on the version."""
    client, settings = session.client, session.settings
    subject = model_card.collect_facts(
        client, settings, version, manifest, verdict, statements, evaluation_run_id
    )
    card = model_card.render_card(subject, plots)
    # An approval was of an earlier evaluation and no longer counts, a rejection does.
    last = approval.latest_decision(client, settings, version)
    state = last.describe() if last and last.decision == "rejected" else model_card.NOT_APPROVED
    recording.log_text(model_card.with_approval(card.markdown, state), evidence.CARD)
    recording.log_text(model_card.with_approval(card.html, state), evidence.PAGE)
    outcomes = {
        f"{documentation.GATE}{gate.name.replace(' ', '_')}": (
            f"{'passed' if gate.passed else 'failed'}: {gate.reason}"
        )
        for gate in verdict.gates
    }
    documentation.document_model(
        client,
        version.name,
        version.number,
        model_card.with_approval(card.summary, state),
        {name: found.value for name, found in verdict.metrics.items()},
        subject.author,
        {"verdict": verdict.outcome, "evaluation_run_id": evaluation_run_id, **outcomes},
    )
