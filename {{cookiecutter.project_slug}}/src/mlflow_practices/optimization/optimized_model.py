"""A model that takes arrays instead of data frames, in ONNX where that agrees and is faster."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import numpy as np
import onnxruntime
from pydantic import BaseModel
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from ..model.input_schema import Columns
from .array_preparation import OptimizationError, Preparation
from .latency import Measurements
from .verification import Differences

FOLDER, MODEL, REPORT = "optimized", "model.onnx", "report.json"  # in a model's files


class Report(BaseModel, frozen=True):
    """Which candidate answers requests, and why.

    ``largest_batch`` is up to how many rows ONNX is faster, or None if it always is. ``differences``
    and ``opset`` are those of the ONNX model, if there is one that agrees.
    """

    winner: Literal["onnx", "arrays", "original"]
    reason: str
    largest_batch: int | None = None
    candidates: dict[str, Measurements]
    differences: Differences | None = None
    opset: dict[str, int] = {}
    versions: dict[str, str]
    trusted_types: list[str]


class Optimized:
    """A model that takes arrays: ONNX up to its largest batch, else the pipeline's own estimator."""

    def __init__(
        self,
        pipeline: Pipeline,
        preparation: Preparation,
        onnx: bytes | None = None,
        largest_batch: int | None = None,
    ) -> None:
        """Start a session for ``onnx``, if there is one; threads may share it."""
        self._prepare, self._estimator = preparation, pipeline[-1]
        self._largest = np.inf if largest_batch is None else largest_batch
        self._session: Any = None
        if onnx is None:
            return
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(onnx, options, providers=providers)
        tensor = self._session.get_inputs()[0]
        self._input = tensor.name
        self._precision = np.float32 if tensor.type == "tensor(float)" else np.float64
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._answer = self._outputs[:1]
        label = pipeline.classes_.tolist()[0] if is_classifier(pipeline) else 0.0
        # ONNX answers 0 or 1 for a boolean, and float32.
        self._type = {bool: np.bool_, float: np.float64}.get(type(label))

    @property
    def format(self) -> str:
        """Return what answers single rows: ``onnx`` or ``arrays``."""
        return "arrays" if self._session is None else "onnx"

    def predict(self, columns: Columns) -> np.ndarray:
        """Return labels of the original's type, or float64, of shape (rows,).

        A number that does not fit into ONNX's float32 raises `FloatingPointError`.
        """
        features = self._prepare(columns)
        if self._session is None or len(features) > self._largest:
            predicted: np.ndarray = self._estimator.predict(features)
            return predicted
        return self._run(features, self._answer)[0]

    def predict_with_probabilities(self, columns: Columns) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the answers to single rows, and probabilities of shape (rows, classes) or None."""
        features, estimator, probabilities = self._prepare(columns), self._estimator, None
        if self._session is not None:
            labels, *others = self._run(features, self._outputs)
            probabilities = others[0] if others else None
            return labels, probabilities
        if hasattr(estimator, "predict_proba"):
            probabilities = estimator.predict_proba(features)
        return estimator.predict(features), probabilities

    def _run(self, features: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
        with np.errstate(over="raise"):
            given = np.ascontiguousarray(features, dtype=self._precision)
        values, *others = self._session.run(outputs, {self._input: given})
        values = values.reshape(len(features))
        return [values if self._type is None else values.astype(self._type), *others]


def load(files: Path, pipeline: Pipeline) -> Optimized | None:
    """Return the optimised copy of ``pipeline`` in a model's folder, or None if there is none.

    Raises:
        OptimizationError: it cannot be loaded.
    """
    folder = files / FOLDER
    if not (folder / REPORT).exists():
        return None
    try:
        report = Report.model_validate_json((folder / REPORT).read_bytes())
        if report.winner == "original":
            return None
        onnx = (folder / MODEL).read_bytes() if report.winner == "onnx" else None
        return Optimized(pipeline, Preparation.from_pipeline(pipeline), onnx, report.largest_batch)
    except Exception as error:  # noqa: BLE001  ONNX Runtime's have no class in common
        reason = shorten(str(error), 200)
        raise OptimizationError(f"{FOLDER}/: {reason}; train the model again") from None
