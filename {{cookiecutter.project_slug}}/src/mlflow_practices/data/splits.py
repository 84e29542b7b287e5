"""The splits of the prepared data: made and saved once, and read with their hashes verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.data.dataset import Dataset
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from ..model.signature import features
from ..tracking import recording
from . import DataError, versioning
from .versioning import Manifest

if TYPE_CHECKING:
    from ..config.sections import Data
    from ..config.settings import Settings
    from ..tracking.stages import Stage
    from .cleaning import Cleaned
    from .source import RawTable

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class LoggedSplit:
    """A split that a run read: features of shape (rows, columns), target of shape (rows,).

    ``dataset`` is the split as an input of the run, to tie metrics to.
    """

    name: str
    X: pd.DataFrame = field(repr=False)
    y: pd.Series = field(repr=False)
    dataset: Dataset = field(repr=False)

    def facts(self) -> dict[str, Any]:
        """Return what identifies this split."""
        rows, columns = self.X.shape
        return {"hash": self.dataset.digest, "rows": rows, "columns": columns + 1}


def split_table(cleaned: Cleaned, settings: Data) -> dict[str, pd.DataFrame]:
    """Return train, validation and test.

    Random and stratified splits keep the rows' order; a grouped split keeps each value of
    ``data.split.column`` in one part; a time split takes the latest rows for test.

    Raises:
        DataError: a part would be empty, or a class or group is too small to be split.
    """
    split_columns, how = cleaned.split_columns, settings.split
    if how.column is not None and split_columns[how.column].isna().any():
        raise DataError(
            f"data.split.column: {how.column!r} has missing values; "
            "fill them or leave those rows out"
        )
    try:
        parts = dict(zip(SPLITS, _positions(split_columns, settings), strict=True))
    except ValueError as error:
        raise DataError(
            f"data.split: the rows cannot be split by {how.method!r}: {error}"
        ) from None
    if empty := [name for name, rows in parts.items() if len(rows) == 0]:
        raise DataError(
            f"data.split: {len(split_columns)} rows are too few: {', '.join(empty)} would be empty"
        )
    return {name: cleaned.table.iloc[rows].reset_index(drop=True) for name, rows in parts.items()}


def _positions(split_columns: pd.DataFrame, settings: Data) -> list[np.ndarray]:
    count, how = len(split_columns), settings.split
    if how.method == "time":
        order = np.argsort(split_columns[how.column].to_numpy(), kind="stable")
        first = round(count * (1 - how.validation - how.test))
        return np.split(order, [first, first + round(count * how.validation)])
    rest, test = _divide(np.arange(count), split_columns, settings, how.test)
    train, validation = _divide(rest, split_columns, settings, how.validation / (1 - how.test))
    return [np.sort(rows) for rows in (train, validation, test)]


def _divide(
    rows: np.ndarray, split_columns: pd.DataFrame, settings: Data, share: float
) -> tuple[np.ndarray, np.ndarray]:
    how = settings.split
    if how.method == "grouped":
        splitter = GroupShuffleSplit(n_splits=1, test_size=share, random_state=how.seed)
        first, second = next(splitter.split(rows, groups=split_columns[how.column].iloc[rows]))
        return rows[first], rows[second]
    labels = split_columns[settings.target].iloc[rows] if how.method == "stratified" else None
    first, second = train_test_split(rows, test_size=share, random_state=how.seed, stratify=labels)
    return first, second


def save_splits(
    splits: dict[str, pd.DataFrame],
    raw: RawTable,
    notes: list[str],
    settings: Settings,
    stage: Stage,
) -> Manifest:
    """Write the splits as Parquet, log each and the manifest that names them, and return that."""
    manifest = versioning.write(
        splits,
        settings.path(settings.data.processed),
        raw.source,
        notes,
        settings.data.target,
        run_id=stage.run_id,
        pipeline_id=stage.pipeline_id,
    )
    for name, table in splits.items():
        _log(table, name, manifest, settings)
    recording.log_dict(manifest.model_dump(), versioning.MANIFEST)
    recording.set_tags({"data_version": manifest.version})
    return manifest


def read_and_log_split(manifest: Manifest, name: str, settings: Settings) -> LoggedSplit:
    """Return one split, verified, and log it as an input of the run.

    Raises:
        DataError: the file is missing, damaged or changed.
    """
    table = versioning.read_split(manifest, name, settings.path(settings.data.processed))
    dataset = _log(table, name, manifest, settings)
    return LoggedSplit(name, features(table, manifest.target), table[manifest.target], dataset)


def _log(table: pd.DataFrame, name: str, manifest: Manifest, settings: Settings) -> Dataset:
    split = manifest.splits[name]
    return versioning.log_data_version(
        table,
        name,
        source=str(settings.path(settings.data.processed) / split.file),
        sample_rows=settings.privacy.sample_rows,
        digest=split.hash,  # of the bytes that were written, or found to be those
    )
