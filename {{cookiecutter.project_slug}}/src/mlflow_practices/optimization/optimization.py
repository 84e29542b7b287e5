"""An optimised copy of a model: made, verified, measured, and added to the model's files."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.pipeline import Pipeline

from .. import privacy
from ..evaluation import predictions
from ..evaluation.predictions import Predictions
from ..model import safe_loading
from ..model.input_schema import Columns
from ..registry import model_files
from ..registry.versions import Version
from ..tracking import recording
from ..tracking.session import Session
from . import latency, onnx_export, verification
from .array_preparation import OptimizationError, Preparation, drop_unservable_dates, to_arrays
from .latency import Measurements
from .optimized_model import FOLDER, MODEL, REPORT, Optimized, Report
from .verification import Differences

if TYPE_CHECKING:
    from onnx import ModelProto

LIBRARIES = ("onnxruntime", "skl2onnx", "scikit-learn", "skops")


def add_optimized_copy(session: Session, version: Version, X: pd.DataFrame) -> Report:
    """Add an optimised copy to a version's files, or only a report of why the original stays.

    The copy has to agree with the original on ``X``, which are features of real rows, and on
    variations of it. A version that has a report keeps it. Evaluations and approvals cover all
    files of a version: a copy that is added after them makes them void.
    """
    with TemporaryDirectory() as temporary:
        files = model_files.download(version, temporary)
        known = files / FOLDER / REPORT
        if known.exists():
            return Report.model_validate_json(known.read_bytes())
        trusted = safe_loading.require_safe(files, session)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unknown categories, and from converters
            report, onnx = choose_fastest(safe_loading.pipeline_file(files), trusted, X)
        made = Path(temporary, "made")
        made.mkdir()
        (made / REPORT).write_text(report.model_dump_json(indent=2), encoding="utf-8")
        if onnx is not None:
            (made / MODEL).write_bytes(onnx)
        recording.log_model_files(version.model_id, made, FOLDER)
        return report


def choose_fastest(
    saved: Path, trusted: Sequence[str], X: pd.DataFrame
) -> tuple[Report, bytes | None]:
    """Return which candidate is the fastest that agrees, and the ONNX model if that is it.

    Args:
        saved: a pipeline in skops' format.
        trusted: the types in it that skops must trust.
        X: features of real rows.
    """
    start = time.perf_counter()
    pipeline = skops.io.load(saved, trusted=trusted)
    cost = {"size_mb": saved.stat().st_size / 1e6, "load_seconds": time.perf_counter() - start}
    candidates: dict[str, Measurements] = {}
    facts: dict[str, Any] = {"winner": "original", "candidates": candidates}
    onnx, problem, tables = None, "", dict[int, pd.DataFrame]()
    X = drop_unservable_dates(X)
    if not X.empty:
        tables = {rows: X.iloc[np.arange(rows) % len(X)] for rows in latency.SIZES}
        times = latency.measure(pipeline.predict, tables)
        candidates["original"] = Measurements(latency_ms=times, **cost)
    try:
        if X.empty:
            raise OptimizationError("no row is one that a request can hold")
        preparation = Preparation.from_pipeline(pipeline)
        columns, expected = _verification_rows(X, pipeline, preparation)
        copy = Optimized(pipeline, preparation)
        _require_agreement(expected, copy, columns)
        batches = {rows: to_arrays(table) for rows, table in tables.items()}
        array_times = latency.measure(copy.predict, batches)
        candidates["arrays"] = Measurements(latency_ms=array_times, **cost)
        facts["winner"] = "arrays"

        model, facts["differences"] = _convert(pipeline, preparation, columns, expected)
        converted = model.SerializeToString()
        start = time.perf_counter()
        copy = Optimized(pipeline, preparation, converted)
        cost = {"size_mb": len(converted) / 1e6, "load_seconds": time.perf_counter() - start}
        times = latency.measure(copy.predict, batches)
        candidates["onnx"] = Measurements(latency_ms=times, **cost)
        facts["opset"] = {part.domain or "ai.onnx": part.version for part in model.opset_import}
        largest_batch = latency.largest_faster_batch(times, array_times)
        if largest_batch == 0:
            raise OptimizationError("ONNX is no faster")
        facts |= {"winner": "onnx", "largest_batch": largest_batch}
        onnx = converted
    except OptimizationError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001  of a transformer of the project's
        problem = f"on arrays it raises {type(error).__name__}"  # its message may hold values
    report = Report(
        reason=_reason(facts, problem),
        versions={name: installed_version(name) for name in LIBRARIES},
        trusted_types=list(trusted),
        **facts,
    )
    return report, onnx


def _reason(facts: Mapping[str, Any], problem: str) -> str:
    winner = facts["winner"]
    if winner == "original":
        return f"the original stays: {problem}"
    one, before = (facts["candidates"][name].latency_ms[1] for name in (winner, "original"))
    gain = f"one row takes {one:.3f} ms instead of {before:.1f}"
    if winner == "arrays":
        return f"without data frames {gain}; {problem}"
    return f"in ONNX {gain}; {facts['differences']}"


def _verification_rows(
    X: pd.DataFrame, pipeline: Pipeline, preparation: Preparation
) -> tuple[Columns, Predictions]:
    """Return rows, and the pipeline's predictions; only real rows if it fails on variations."""
    rows = verification.probe_rows(X, pipeline, preparation)
    try:
        return to_arrays(rows), predictions.predict(pipeline, rows)
    except Exception:  # noqa: BLE001  of a transformer of the project's
        return to_arrays(X), predictions.predict(pipeline, X)


def _require_agreement(expected: Predictions, copy: Optimized, columns: Columns) -> Differences:
    found = verification.compare(expected, *copy.predict_with_probabilities(columns))
    if not found.agree:
        raise OptimizationError(f"in the format {copy.format}, {found}")
    return found


def _convert(
    pipeline: Pipeline, preparation: Preparation, columns: Columns, expected: Predictions
) -> tuple[ModelProto, Differences]:
    """Return an ONNX model of the estimator that agrees, or raise `OptimizationError`."""
    estimator = pipeline[-1]
    onnx_export.require_convertible(estimator)
    reasons = []
    for precision in (np.float32, np.float64):  # in this order: trees round features to float32
        try:
            model = onnx_export.convert(estimator, preparation.width, precision)
            copy = Optimized(pipeline, preparation, model.SerializeToString())
            return model, _require_agreement(expected, copy, columns)
        except OptimizationError as error:
            reasons.append(str(error))
        except Exception as error:  # noqa: BLE001  any converter's, and ONNX Runtime's
            text = privacy.redact_text(f"{type(error).__name__}: {error}")
            name = type(estimator).__name__
            reasons.append(f"{name} cannot be converted to ONNX: {shorten(text, 120)}")
    raise OptimizationError(reasons[0])
