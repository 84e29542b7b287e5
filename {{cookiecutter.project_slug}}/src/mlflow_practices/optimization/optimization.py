"""An optimised copy of a model: made, verified, measured, and added to the model's files."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from .. import privacy
from ..evaluation import metrics
from ..evaluation.metrics import Predictions
from ..model import safe_loading
from ..model.input_schema import Columns
from ..registry import model_files
from ..registry.versions import Version
from ..tracking import recording
from ..tracking.session import Session
from . import verification
from .array_preparation import Preparation, PreparationError, drop_unservable_dates, to_arrays
from .optimized_model import FOLDER, MODEL, REPORT, OptimizationError, Optimized, Report
from .verification import Differences, Measurements

if TYPE_CHECKING:
    from onnx import ModelProto

PRECISIONS = (np.float32, np.float64)  # in this order: trees round their features to the first
MOST_NODES = 200_000  # of all trees: converting as many takes 4 s, four times as many 30 s
LIBRARIES = ("onnxruntime", "skl2onnx", "scikit-learn", "skops")


def add_optimized_copy(session: Session, version: Version, X: pd.DataFrame) -> Report:
    """Add an optimised copy to a version's files, or only a report of why the original stays.

    The copy is made of the version's own files and has to agree with them on ``X`` and variations
    of it. A version that has a report keeps it. Evaluations and approvals are of all files of a
    version: added after them, the copy makes them void.

    Args:
        session: of the project.
        version: of a registered model.
        X: features of real rows, such as the validation split's.

    Raises:
        ModelFilesError: the files cannot be had.
        UnsafeModelError: they are not to be loaded.
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
    """Return which candidate is the best, and the ONNX model if that is it.

    Probed for agreement are real rows and variations; timed are batches of the real ones.

    Args:
        saved: a pipeline in skops' format.
        trusted: the types in it that skops has to be told of.
        X: features of real rows.
    """
    start = time.perf_counter()
    pipeline = skops.io.load(saved, trusted=trusted)
    seconds, size = time.perf_counter() - start, saved.stat().st_size
    X = drop_unservable_dates(X)
    facts: dict[str, Any] = {
        "candidates": {},
        "versions": {name: installed(name) for name in LIBRARIES},
        "trusted_types": trusted,
    }
    if X.empty:
        reason = "the original stays: no row is one that a request can hold"
        return Report(winner="original", reason=reason, **facts), None
    real = to_arrays(X)

    def measure(copy: Optimized, size: int, seconds: float) -> Measurements:
        def batch(places: np.ndarray) -> Columns:
            return {name: values[places] for name, values in real.items()}

        return verification.measure_latency(copy.predict, batch, len(X), size, seconds)

    candidates: dict[str, Measurements] = facts["candidates"]
    candidates["original"] = verification.measure_latency(
        pipeline.predict, lambda places: X.iloc[places], len(X), size, seconds
    )
    try:
        preparation = Preparation.from_pipeline(pipeline)
        rows, expected = _probe(X, pipeline, preparation)
        columns = to_arrays(rows)
        plain = Optimized(pipeline, preparation)
        _require_agreement(expected, plain, columns)
    except (PreparationError, OptimizationError) as error:
        return Report(winner="original", reason=f"the original stays: {error}", **facts), None
    except Exception as error:  # noqa: BLE001  of a transformer of the project's
        # Its words may hold values of rows.
        reason = f"the original stays: on arrays it raises {type(error).__name__}"
        return Report(winner="original", reason=reason, **facts), None
    candidates["arrays"] = measure(plain, size, seconds)
    try:
        model, facts["differences"] = _convert(pipeline, preparation, columns, expected)
        onnx: bytes = model.SerializeToString()
        start = time.perf_counter()
        copy = Optimized(pipeline, preparation, onnx)
        candidates["onnx"] = measure(copy, len(onnx), time.perf_counter() - start)
        facts["opset"] = {part.domain or "ai.onnx": part.version for part in model.opset_import}
        largest = verification.largest_batch(candidates["onnx"], candidates["arrays"])
        if largest == 0:
            raise OptimizationError("ONNX is no faster")
    except OptimizationError as error:
        reason = f"without data frames {_gain(candidates, 'arrays')}; {error}"
        return Report(winner="arrays", reason=reason, **facts), None
    reason = f"in ONNX {_gain(candidates, 'onnx')}; {facts['differences']}"
    return Report(winner="onnx", reason=reason, largest_batch=largest, **facts), onnx


def _probe(
    X: pd.DataFrame, pipeline: Pipeline, preparation: Preparation
) -> tuple[pd.DataFrame, Predictions]:
    """Return rows, and what the pipeline says of them; real ones alone if gaps make it fail."""
    rows = verification.probe_rows(X, pipeline, preparation)
    try:
        return rows, metrics.predict(pipeline, rows)
    except Exception:  # noqa: BLE001  of a transformer of the project's
        return X, metrics.predict(pipeline, X)


def _in_words(error: Exception) -> str:
    return shorten(privacy.redact_text(f"{type(error).__name__}: {error}"), 120)


def _gain(candidates: Mapping[str, Measurements], name: str) -> str:
    one, before = (candidates[which].latency_ms[1] for which in (name, "original"))
    return f"one row takes {one:.3f} ms instead of {before:.1f}"


def _require_agreement(expected: Predictions, copy: Optimized, columns: Columns) -> Differences:
    found = verification.compare(expected, *copy.predict_with_probabilities(columns))
    if not found.agree:
        raise OptimizationError(f"in the format {copy.format}, {found}")
    return found


def _convert(
    pipeline: Pipeline, preparation: Preparation, columns: Columns, expected: Predictions
) -> tuple[ModelProto, Differences]:
    """Return an ONNX model of the estimator that agrees.

    Raises:
        OptimizationError: why there is none.
    """
    if (nodes := _tree_nodes(pipeline[-1])) > MOST_NODES:
        raise OptimizationError(
            f"converting {nodes:,} nodes of trees to ONNX takes too long (at most {MOST_NODES:,})"
        )
    reasons = []
    for precision in PRECISIONS:
        try:
            model = _export(pipeline[-1], preparation.width, precision)
            copy = Optimized(pipeline, preparation, model.SerializeToString())
            return model, _require_agreement(expected, copy, columns)
        except OptimizationError as error:
            reasons.append(str(error))
        except Exception as error:  # noqa: BLE001  any converter's, and ONNX Runtime's
            what = f"{type(pipeline[-1]).__name__} cannot be converted to ONNX"
            reasons.append(f"{what}: {_in_words(error)}")
    raise OptimizationError(reasons[0])


def _tree_nodes(estimator: Any) -> int:
    """Return how many nodes the trees of an ensemble have together; 0 if it has none."""
    if hasattr(estimator, "tree_"):
        return int(estimator.tree_.node_count)
    members = getattr(estimator, "estimators_", [])  # a table of them in gradient boosting
    return sum(map(_tree_nodes, members.ravel() if hasattr(members, "ravel") else members))


def _export(estimator: Any, width: int, precision: type) -> ModelProto:
    import skl2onnx  # a second, which serving must not spend
    from skl2onnx.common import data_types

    tensor = data_types.FloatTensorType if precision is np.float32 else data_types.DoubleTensorType
    plain = {id(estimator): {"zipmap": False}} if is_classifier(estimator) else None
    inputs = [("features", tensor([None, width]))]
    made: ModelProto = skl2onnx.convert_sklearn(estimator, initial_types=inputs, options=plain)
    return made
