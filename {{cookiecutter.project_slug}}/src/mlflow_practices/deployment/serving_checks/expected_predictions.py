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
from ...registry.versions import Version
from .server_under_test import MAX_CELLS, ServerUnderTest, as_table, fail

MAX_ROWS = 1000


@dataclass(frozen=True)
class ExpectedPredictions:
    """Rows that fit the model, where they are from, and its predictions, shape (rows,).

    ``tolerance`` is of numbers. ``tied`` is true for a row, shape (rows,), whose two most likely
    classes are equally likely: either is right.
    """

    rows: pd.DataFrame = field(repr=False)
    source: str
    predictions: list[Any] = field(repr=False)
    tolerance: float
    tied: np.ndarray = field(repr=False)

    def differences(self, answers: list[Any]) -> list[str]:
        """Return as text where answers to the first rows are wrong."""
        found = []
        for row, answer in enumerate(answers):
            right = self.predictions[row]
            if not self.tied[row] and not self._is_same(right, answer):
                found.append(f"row {row} of {self.source}: expected {right!r}, got {answer!r}")
        return found

    def _is_same(self, expected: object, answer: object) -> bool:
        if isinstance(expected, float) and isinstance(answer, float | int):
            return abs(expected - answer) <= self.tolerance
        return type(expected) is type(answer) and expected == answer


def compute(server: ServerUnderTest, folder: Path) -> ExpectedPredictions:
    """Return what the served version predicts for the rows of its test split.

    Without that split on this machine, for the example that the server documents. The test fails
    if the registry does not have the model.
    """
    served = server.version()
    try:
        client, settings = server.session.client, server.settings
        version = versions.resolve(client, served, settings.project.name)
        model = _load(server, version, model_files.download(version, str(folder)))
    except (PracticeError, MlflowException) as error:
        fail(
            f"{served}, which {server.url} serves, cannot be loaded for comparison: {error}; "
            "is MLFLOW_TRACKING_URI its registry?"
        )
    rows, source = _rows(server, version.data_version)
    values = np.asarray(model.predict(rows))
    tied = np.zeros(len(rows), dtype=bool)
    if hasattr(model, "predict_proba"):
        best = np.sort(model.predict_proba(rows), axis=1)[:, -2:]
        if best.shape[1] > 1:
            tied = best[:, 1] - best[:, 0] < verification.TIE_MARGIN
    span = float(np.ptp(values)) if values.dtype.kind == "f" else 0.0
    tolerance = verification.TOLERANCE * (span or 1.0)
    return ExpectedPredictions(rows, source, values.tolist(), tolerance, tied)


def _load(server: ServerUnderTest, version: Version, files: Path) -> Any:
    """Return the model as MLflow loads it, which is not how the server does.

    Code of another commit, which MLflow would mix up with the project's, is loaded as the server does.
    """
    try:
        safe_loading.require_safe(files, server.session)
    except safe_loading.UnsafeModelError:
        return loading.load(server.session, version, files)
    return mlflow.sklearn.load_model(str(files))


def _rows(server: ServerUnderTest, data_version: str) -> tuple[pd.DataFrame, str]:
    folder = server.settings.path(server.settings.data.processed)
    try:
        manifest = versioning.load_manifest(folder, data_version)
        test = versioning.read_split(manifest, "test", folder)
    except DataError:
        return as_table(server.rows, server.input_schema), "the model's example"
    rows = features(test, manifest.target)
    # A row may have a category that the training rows lack.
    _, reasons = server.input_schema.select_valid(rows, typed=True)
    valid = rows[reasons == ""]
    count = min(MAX_ROWS, max(1, MAX_CELLS // len(valid.columns)))
    return valid.head(count).reset_index(drop=True), "the test split (valid rows, from 0)"
