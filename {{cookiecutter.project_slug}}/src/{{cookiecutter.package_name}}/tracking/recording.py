"""The only way into MLflow: redacted, batched, within its limits."""

from __future__ import annotations

import json
import re
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowException
from mlflow.entities import Metric

from .. import privacy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow.data.dataset import Dataset
    from mlflow.models.model import ModelInfo

    from .identity import Identity

PARAM_LIMIT = 6_000  # characters, of MLflow; it would cut the rest off
TAG_LIMIT = 8_000
METRICS_A_BATCH = 1_000
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


def log_params(params: Mapping[str, Any]) -> None:
    """Log parameters as one batch; a value too long for MLflow goes whole to an artifact."""
    values = {_name(key): _text(value) for key, value in privacy.redact(params).items()}
    long = {key: value for key, value in values.items() if len(value) > PARAM_LIMIT}
    if long:
        log_dict(long, "long_params.json")
    mlflow.log_params({**values, **dict.fromkeys(long, "see the artifact long_params.json")})


def set_tags(tags: Mapping[str, Any]) -> None:
    """Set tags as one batch."""
    mlflow.set_tags(
        {_name(key): _text(value)[:TAG_LIMIT] for key, value in privacy.redact(tags).items()}
    )


def log_metrics_efficiently(
    metrics: Mapping[str, float | Sequence[float]],
    *,
    dataset: Dataset | None = None,
    model_id: str | None = None,
) -> None:
    """Log metrics in as few requests as MLflow allows.

    A sequence is logged as a series, one step a value. ``dataset`` and ``model_id`` tie each
    metric to the data it was measured on and the model it was measured for.
    """
    run = mlflow.active_run() or mlflow.start_run()
    now = time.time_ns() // 1_000_000
    entities = [
        Metric(
            _name(key),
            float(value),
            now,
            step,
            model_id=model_id,
            dataset_name=dataset.name if dataset else None,
            dataset_digest=dataset.digest if dataset else None,
            run_id=run.info.run_id,
        )
        for key, values in metrics.items()
        for step, value in enumerate(values if isinstance(values, Sequence) else [values])
    ]
    client = mlflow.MlflowClient()
    for start in range(0, len(entities), METRICS_A_BATCH):
        client.log_batch(run.info.run_id, metrics=entities[start : start + METRICS_A_BATCH])


def log_dict(values: Mapping[str, Any], path: str) -> None:
    """Log ``values`` as a JSON or YAML artifact, by the ending of ``path``."""
    mlflow.log_dict(privacy.redact(values), path)


def log_text(text: str, path: str) -> str:
    """Log text, such as an HTML page or an SVG drawing, as an artifact; return it as written."""
    written = privacy.redact_text(text)
    mlflow.log_text(written, path)
    return written


def log_record(record: Mapping[str, Any], path: str) -> None:
    """Log who decided what as JSON, word for word: it may be signed, and names them on purpose."""
    mlflow.log_text(json.dumps(record, indent=2, ensure_ascii=False), path)


def set_author(who: Identity) -> None:
    """Set who does this as tags of the run; it is known on purpose, as an approver has to be."""
    mlflow.set_tags(who.tags())


def log_table(table: pd.DataFrame, path: str) -> None:
    """Log a small table as a JSON artifact, which the MLflow UI shows as a table."""
    mlflow.log_table(privacy.redact_table(table), path)


def log_figure(figure: Figure, path: str) -> bytes:
    """Log a figure as a PNG image, close it, and return the image."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a label in another script
        place = PurePosixPath(path)
        image = Path(folder, place.name)
        figure.savefig(image, dpi=100)
        plt.close(figure)
        mlflow.log_artifact(str(image), str(place.parent))
        return image.read_bytes()


def log_input(dataset: Dataset, context: str) -> None:
    """Log the data that the run read, as an MLflow dataset input."""
    try:
        mlflow.log_input(dataset, context)
    except MlflowException:
        # Another process was recording the same data at this moment; by now it is known.
        mlflow.log_input(dataset, context)


def log_sklearn_model(model: object, example: pd.DataFrame, **options: Any) -> ModelInfo:
    """Log a scikit-learn model, with a few rows, redacted, as its input example (none if empty)."""
    import mlflow.sklearn

    rows = privacy.redact_table(example) if len(example) else None
    info: ModelInfo = mlflow.sklearn.log_model(model, name="model", input_example=rows, **options)
    return info


def _name(key: str) -> str:
    return _NOT_IN_NAMES.sub("_", privacy.redact_text(str(key)))[:250]


def _text(value: object) -> str:
    return value if isinstance(value, str) else privacy.redact_text(str(value))
