"""The two models that an evaluation compares: the candidate and the champion."""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryDirectory

import pandas as pd
from mlflow import MlflowException
from mlflow.models import Model
from sklearn.pipeline import Pipeline

from ..errors import PracticeError
from ..evaluation.predictions import Predictions, predict
from ..model import signature
from ..tracking.session import Session
from . import loading, model_files, versions
from .versions import Version


@dataclass(frozen=True)
class Candidate:
    """A version's model, the SHA-256 over its files, and their size in bytes."""

    model: Pipeline
    digest: str
    size: int


@dataclass(frozen=True)
class Champion:
    """The champion and its predictions, or the reason why there are none; None without one."""

    version: Version | None = None
    predictions: Predictions | str | None = None


def load_candidate(session: Session, version: Version) -> Candidate:
    """Return a version's model, loaded from the files that are evaluated.

    Raises:
        ModelFilesError: the files cannot be read.
        UnsafeModelError: loading them could run code that nobody approved.
    """
    with TemporaryDirectory() as folder:
        files = model_files.download(version, folder)
        size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
        return Candidate(loading.load(session, version, files), model_files.digest(files), size)


def predict_as_champion(session: Session, X: pd.DataFrame) -> Champion:
    """Return the champion in production and its predictions for ``X``, or why there are none."""
    name = versions.production_name(session.settings.project.name)
    champion = versions.find_by_alias(session.client, name, versions.CHAMPION)
    if champion is None:
        return Champion()
    with TemporaryDirectory() as folder:
        try:
            files = model_files.download(champion, folder)
            model_files.require_promoted(session.client, champion, files)
            if mismatch := signature.mismatch(Model.load(str(files)).signature, X):
                return Champion(champion, mismatch)
            return Champion(champion, predict(loading.load(session, champion, files), X))
        except (PracticeError, MlflowException, OSError, ValueError) as error:
            return Champion(champion, " ".join(str(error).split()))
