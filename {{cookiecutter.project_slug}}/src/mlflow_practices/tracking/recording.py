"""All that is logged to MLflow: redacted, in batches, within its limits."""

from __future__ import annotations

import json
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowException
from mlflow.entities import Metric, Param

from .. import privacy
from ..errors import PracticeError
from .asynchronous_logging import log_batch
from .identity import Identity

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.data.dataset import Dataset
    from mlflow.models.model import ModelInfo

PARAM_LIMIT = 6_000  # characters; MLflow truncates the rest
TAG_LIMIT = 8_000
JSON_CELLS = 100_000  # of a table; more would be megabytes in the browser
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


class RecordingError(PracticeError):
    """A value cannot be logged; the message says what to do."""


def log_params(params: Mapping[str, Any]) -> None:
    """Log parameters as one batch; a value too long for MLflow goes to an artifact."""
    values = {_name(key): _text(value) for key, value in privacy.redact(params).items()}
    long = {key: value for key, value in values.items() if len(value) > PARAM_LIMIT}
    if long:
        log_dict(long, "long_params.json")
    values |= dict.fromkeys(long, "see the artifact long_params.json")
    log_batch(run_id(), [], [Param(key, value) for key, value in values.items()])


def set_tags(tags: Mapping[str, Any]) -> None:
    """Set tags as one batch."""
    redacted = privacy.redact(tags)
    mlflow.set_tags({_name(key): _text(value)[:TAG_LIMIT] for key, value in redacted.items()})


def log_metrics_efficiently(
    metrics: Mapping[str, float | Sequence[float] | np.ndarray],
    *,
    step: int = 0,
    dataset: Dataset | None = None,
    model_id: str | None = None,
) -> None:
    """Log metrics in as few requests as MLflow allows.

    A sequence is logged as a series, one value for each step, from ``step`` on. ``dataset`` and
    ``model_id`` connect each metric with the data and the model that it was measured on.
    """
    run = run_id()
    # Taken once: MLflow's client repeats a request whose answer was lost, and the server ignores a
    # point with the same key, step, value and time.
    now = time.time_ns() // 1_000_000
    links: dict[str, Any] = {"model_id": model_id, "run_id": run}
    if dataset:
        links |= {"dataset_name": dataset.name, "dataset_digest": dataset.digest}
    points = []
    for key, values in metrics.items():
        name = _name(key)
        for number, value in enumerate(np.ravel(values).tolist(), step):
            points.append(Metric(name, float(value), now, number, **links))
    log_batch(run, points, [])


def log_dict(values: Mapping[str, Any], path: str) -> None:
    """Log values as a JSON or YAML artifact, by the suffix of ``path``."""
    mlflow.log_dict(privacy.redact(values), path)


def log_sensitive_data(data: Mapping[str, Any], path: str = "data.json") -> None:
    """Log data; secrets and personal data in it are masked, by name and by pattern."""
    log_dict(data, path)


def log_text(text: str, path: str) -> str:
    """Log text, such as an HTML page, as an artifact; return it as it was written."""
    written = privacy.redact_text(text)
    mlflow.log_text(written, path)
    return written


def log_record(record: Mapping[str, Any], path: str) -> None:
    """Log a decision as JSON, unredacted: it may be signed, and names people on purpose."""
    mlflow.log_text(json.dumps(record, indent=2, ensure_ascii=False), path)


def set_author(who: Identity) -> None:
    """Set the user as tags of the run, unredacted: an approver must be known."""
    mlflow.set_tags(who.tags())


def log_table(table: pd.DataFrame, path: str) -> str:
    """Log a table as JSON, which the MLflow UI shows, and return its path.

    A table of more than `JSON_CELLS` cells becomes a Parquet file.
    """
    written = privacy.redact_table(table)
    if table.size > JSON_CELLS:
        large = str(PurePosixPath(path).with_suffix(".parquet"))
        with suppress(ValueError, TypeError), _artifact(large) as file:  # columns of mixed types
            written.to_parquet(file, index=False)
            return large
    mlflow.log_table(written, path)
    return path


def log_array(array: np.ndarray, path: str) -> None:
    """Log an array of any shape as a NumPy file (.npy).

    Raises:
        RecordingError: it contains Python objects, which only a pickle could store.
    """
    if array.dtype.hasobject:
        raise RecordingError(
            f"{path}: an array of Python objects; convert it by .astype(float) or .astype(str)"
        )
    with _artifact(path) as file, file.open("wb") as opened:
        np.save(opened, privacy.redact(array), allow_pickle=False)


def log_figure(figure: Figure, path: str) -> bytes:
    """Log a figure as a PNG image, close it, and return the image."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings(), _artifact(path) as image:
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a label in another script
        figure.savefig(image, dpi=100)
        plt.close(figure)
        return image.read_bytes()


def log_input(dataset: Dataset, context: str) -> None:
    """Log the data that the run read, as an MLflow dataset input."""
    try:
        mlflow.log_input(dataset, context)
    except MlflowException:
        # Another process logged the same data at this moment; now it exists.
        mlflow.log_input(dataset, context)


def log_sklearn_model(model: object, example: pd.DataFrame, **options: Any) -> ModelInfo:
    """Log a scikit-learn model, with redacted rows as its input example (none if empty)."""
    import mlflow.sklearn

    rows = privacy.redact_table(example) if len(example) else None
    info: ModelInfo = mlflow.sklearn.log_model(model, name="model", input_example=rows, **options)
    return info


def log_model_files(model_id: str, files: Path, folder: str) -> None:
    """Add files to those of a logged model, below ``folder``."""
    mlflow.MlflowClient().log_model_artifacts(model_id, str(files), folder)


def run_id() -> str:
    """Return the id of the active run; start one if there is none."""
    return str((mlflow.active_run() or mlflow.start_run()).info.run_id)


def _name(key: str) -> str:
    return _NOT_IN_NAMES.sub("_", privacy.redact_text(str(key)))[:250]


def _text(value: object) -> str:
    return value if isinstance(value, str) else privacy.redact_text(str(value))


@contextmanager
def _artifact(path: str) -> Iterator[Path]:
    """Yield a path to write a file to, and log the file."""
    place = PurePosixPath(path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, place.name)
        yield file
        mlflow.log_artifact(str(file), str(place.parent))
