"""What the model predicts without the server: its version from the registry, on prepared rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow import MlflowException

from ...data import DataError, versioning
from ...errors import PracticeError
from ...model import safe_loading
from ...model.signature import features
from ...optimization import verification
from ...registry import loading, model_files, versions
from ...tracking.session import Session
from .server_under_test import MOST_CELLS, ServerUnderTest, as_table, fail

MOST_ROWS = 1000


@dataclass(frozen=True)
class ExpectedPredictions:
    """Rows that fit the model, where they are from, and its predictions, shape (rows,).

    ``tolerance`` is of numbers; ``tied`` says of each row, shape (rows,), whether its two most
    likely classes are equally so, and either is right.
    """

    rows: pd.DataFrame = field(repr=False)
    source: str
    predictions: list[Any] = field(repr=False)
    tolerance: float
    tied: np.ndarray = field(repr=False)

    def differences(self, answers: list[Any], start: int = 0) -> list[str]:
        """Return in words where answers to the rows from ``start`` on are wrong."""
        return [
            f"row {row} of {self.source}: expected {expected!r}, got {answer!r}"
            for row, answer in enumerate(answers, start)
            if not (self.tied[row] or self._same(expected := self.predictions[row], answer))
        ]

    def _same(self, expected: object, answer: object) -> bool:
        if isinstance(expected, float) and isinstance(answer, float | int):
            return abs(expected - answer) <= self.tolerance
        return type(expected) is type(answer) and expected == answer


def predict(service: ServerUnderTest, folder: Path) -> ExpectedPredictions:
    """Return what the version that the server names predicts of the rows of its test split.

    Without that split here, of the example that the server documents. The test fails if the
    registry does not have the model.
    """
    named = service.get("/version").json()
    try:
        client = service.session.client
        version = versions.find(client, named["name"], str(named["version"]))
        files = model_files.download(version, str(folder))
        model = _load(service.session, version, files)
    except (PracticeError, MlflowException) as error:
        what = f"{named['name']}/{named['version']}, which {service.url} serves"
        fail(f"{what}, cannot be had for comparison: {error}; is MLFLOW_TRACKING_URI its registry?")
    rows, source = _rows(service, version.data_version)
    values = np.asarray(model.predict(rows))
    tied = np.zeros(len(rows), dtype=bool)
    if hasattr(model, "predict_proba"):
        best = np.sort(model.predict_proba(rows), axis=1)[:, -2:]
        tied = best[:, -1] - best[:, 0] < verification.TIE_MARGIN if best.shape[1] > 1 else tied
    span = float(np.ptp(values)) if values.dtype.kind == "f" else 0.0
    return ExpectedPredictions(
        rows, source, values.tolist(), verification.TOLERANCE * (span or 1.0), tied
    )


def _load(session: Session, version: versions.Version, files: Path) -> Any:
    """Return the model as MLflow loads it, which is not how the server does; with code of another
    commit, which MLflow would mix up with the project's, as the server does.
    """
    try:
        safe_loading.require_safe(files, session)
    except safe_loading.UnsafeModelError:
        return loading.load(session, version, files)
    return mlflow.sklearn.load_model(str(files))


def _rows(service: ServerUnderTest, data_version: str) -> tuple[pd.DataFrame, str]:
    folder = service.settings.path(service.settings.data.processed)
    try:
        manifest = versioning.load_manifest(folder, data_version)
        test = versioning.read_split(manifest, "test", folder)
    except DataError:
        return as_table(service.example, service.input_schema), "the model's example"
    rows = features(test, manifest.target)
    _, reasons = service.input_schema.select_valid(
        rows, typed=True
    )  # such as a category that training lacked
    fit = rows[reasons == ""]
    most = min(MOST_ROWS, max(1, MOST_CELLS // len(fit.columns)))
    return fit.head(most).reset_index(drop=True), "the test split (rows that fit, from 0)"
