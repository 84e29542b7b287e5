"""The splits of the prepared data: saved once, and read with their hashes verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.data.dataset import Dataset

from ..model.signature import features
from ..tracking import recording
from . import versioning
from .versioning import DataVersion, Manifest

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..tracking.stages import Stage
    from .source import RawTable


@dataclass(frozen=True)
class LoggedSplit:
    """A split that a run read: features of shape (rows, columns), target of shape (rows,)."""

    name: str
    X: pd.DataFrame = field(repr=False)
    y: pd.Series = field(repr=False)
    version: DataVersion

    @property
    def dataset(self) -> Dataset:
        """The split as an input of the run, to tie metrics to."""
        return self.version.dataset

    def facts(self) -> dict[str, Any]:
        """Return what tells this split from another."""
        return self.version.facts()


def save_splits(
    splits: dict[str, pd.DataFrame],
    raw: RawTable,
    notes: list[str],
    settings: Settings,
    stage: Stage,
) -> Manifest:
    """Write the splits as Parquet, log each and the manifest that names them, and return that."""
    folder = settings.path(settings.data.processed)
    manifest = versioning.write(
        splits,
        folder,
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
    version = _log(table, name, manifest, settings)
    return LoggedSplit(name, features(table, manifest.target), table[manifest.target], version)


def _log(table: pd.DataFrame, name: str, manifest: Manifest, settings: Settings) -> DataVersion:
    split = manifest.splits[name]
    return versioning.log_data_version(
        table,
        name,
        source=str(settings.path(settings.data.processed) / split.file),
        sample_rows=settings.privacy.sample_rows,
        digest=split.hash,  # of the bytes that were written, or found to be those
    )
