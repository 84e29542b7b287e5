"""Turn the raw table into validated, protected and versioned splits, listed in a manifest."""

from dataclasses import dataclass

import pandas as pd
from mlflow_practices.config.settings import Settings
from mlflow_practices.data.cleaning import protect_and_clean
from mlflow_practices.data.lineage import Transformation, track_data_lineage
from mlflow_practices.data.quality import validate_data_quality
from mlflow_practices.data.source import read_raw, read_table
from mlflow_practices.data.splits import save_splits, split_table
from mlflow_practices.data.suites import suite_path
from mlflow_practices.data.versioning import Manifest, log_data_version
from mlflow_practices.tracking.session import Session


def read(settings: Settings) -> pd.DataFrame:
    """Return the raw table: the file ``data.raw``, or the result of a query or an API."""
    return read_table(settings)


def clean(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to learn from. It may drop rows and correct the target, but no columns."""
    return table


@dataclass(frozen=True)
class Prepared:
    """The manifest of the prepared data, and the address of the run."""

    manifest: Manifest
    address: str


def run(session: Session) -> Prepared:
    """Split the raw table into versioned tables."""
    settings = session.settings
    with session.stage("data-preparation") as stage:
        raw = read_raw(session)
        log_data_version(
            raw.table,
            "raw",
            source=str(raw.path),
            sample_rows=settings.privacy.sample_rows,
            policies=raw.policies,
            digest=raw.hash,
        )
        before = validate_data_quality(
            raw.table, suite_path(settings, "raw"), "raw", raw.policies, raw.source.path
        )
        cleaned = protect_and_clean(raw, session)
        after = validate_data_quality(
            cleaned.table, suite_path(settings, "prepared"), "prepared", (), "the prepared table"
        )
        notes = [*cleaned.notes, *before.warnings, *after.warnings]
        splits = split_table(cleaned, settings.data)
        manifest = save_splits(splits, raw, notes, settings, stage)
        rows, kept, how = len(raw.table), len(cleaned.table), settings.data.split
        columns = f"{raw.table.shape[1]} columns -> {cleaned.table.shape[1]}"
        track_data_lineage(
            {raw.source.path: raw.facts()},
            [
                Transformation("validate raw", rows, rows, [f"score {before.score:.3g}"]),
                Transformation("protect and clean", rows, kept, [columns, *cleaned.notes]),
                Transformation("validate prepared", kept, kept, [f"score {after.score:.3g}"]),
                Transformation("split", kept, kept, [how.method, f"seed {how.seed}"]),
            ],
            manifest.facts(),
        )
        return Prepared(manifest, stage.address)
