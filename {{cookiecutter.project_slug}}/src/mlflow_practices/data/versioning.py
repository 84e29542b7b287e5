"""Data versions: a manifest that names files and their hashes, and files verified by it."""

import hashlib
import io
import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import xxhash
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.models import infer_signature
from pydantic import BaseModel, ValidationError

from .. import machine, privacy
from ..tracking import recording
from . import DataError
from .hashing import content_hash, file_hash

MANIFEST = "manifest.json"
SCHEMA_ROWS = 1000
SCHEMA_LIMIT = 1_000_000  # characters that MLflow stores of a dataset's schema
ABANDONED_SECONDS = 3600


class SplitFile(BaseModel, frozen=True):
    """One prepared table: its file, rows, content hash, and the SHA-256 of the file's bytes."""

    file: str
    rows: int
    hash: str
    sha256: str


class Source(BaseModel, frozen=True):
    """The raw file: its path as configured, SHA-256 of its bytes, its size and rows."""

    path: str
    sha256: str
    bytes: int
    rows: int


class Manifest(BaseModel, frozen=True):
    """What preparation made, from which source, in which run."""

    version: str
    source: Source
    target: str
    columns: dict[str, str]
    splits: dict[str, SplitFile]
    notes: list[str]
    run_id: str
    pipeline_id: str

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return what identifies each split."""
        columns = len(self.columns)
        return {
            name: {"hash": split.hash, "rows": split.rows, "columns": columns}
            for name, split in self.splits.items()
        }

    def tags(self) -> dict[str, str]:
        """Return the tags of whatever is made of this data."""
        return {"data_version": self.version, "pipeline_id": self.pipeline_id}


@dataclass(frozen=True)
class Check:
    """The SHA-256 that a manifest expects of a file, and the one that was found."""

    file: Path
    expected: str
    found: str | None

    @property
    def status(self) -> Literal["ok", "missing", "changed"]:
        """Return the result of the comparison."""
        if self.found is None:
            return "missing"
        return "ok" if self.found == self.expected else "changed"


def describe_source(path: Path, configured: str, rows: int) -> Source:
    """Return what identifies the raw file, wherever the project is."""
    return Source(path=configured, sha256=file_hash(path), bytes=path.stat().st_size, rows=rows)


def write(
    splits: dict[str, pd.DataFrame],
    folder: Path,
    source: Source,
    notes: list[str],
    target: str,
    **run: str,
) -> Manifest:
    """Write the splits as Parquet under ``folder/<version>`` and name them in the manifest.

    The version is a hash over the splits' content hashes. Readers see the old manifest or the new
    one: the tables are written under a temporary name, and the manifest is replaced last.
    """
    hashes = {name: content_hash(table) for name, table in splits.items()}
    version = _version(hashes)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        files = {}
        for name, table in splits.items():
            path = partial / f"{name}.parquet"
            table.to_parquet(path, index=False)
            files[name] = SplitFile(
                file=f"{version}/{path.name}",
                rows=len(table),
                hash=hashes[name],
                sha256=file_hash(path),
            )
        manifest = Manifest(
            version=version,
            source=source,
            target=target,
            columns={str(name): str(kind) for name, kind in splits["train"].dtypes.items()},
            splits=files,
            notes=notes,
            **run,
        )
        text = manifest.model_dump_json(indent=2) + "\n"
        (partial / MANIFEST).write_text(text, encoding="utf-8")
        (folder / version).mkdir(exist_ok=True)  # made before: the same tables take its place
        for name in (*(f"{split}.parquet" for split in splits), MANIFEST):
            (partial / name).replace(folder / version / name)
        with machine.replacing(folder / MANIFEST, partial / "current") as current:
            current.write_text(text, encoding="utf-8")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def load_manifest(folder: Path, version: str = "") -> Manifest:
    """Return the manifest of the data prepared last, or of an earlier version; verified."""
    path = folder / version / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(versions(folder)) if version else ""
        hint = f"; there are: {known}" if known else "; run `prepare`"
        raise DataError(f"{path}: no prepared data{hint}") from None
    except ValidationError as error:
        raise DataError(
            f"{path}: not a manifest ({error.errors()[0]['msg']}); run `prepare` again"
        ) from None
    found = _version({name: split.hash for name, split in manifest.splits.items()})
    if found != manifest.version:
        raise DataError(
            f"{path}: edited since it was written: expected version {manifest.version}, the "
            f"hashes in it give {found}; run `prepare` again"
        )
    return manifest


def versions(folder: Path) -> list[str]:
    """Return the versions that are kept in ``folder``, oldest first."""
    manifests = sorted(folder.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    return [path.parent.name for path in manifests if not path.parent.name.startswith(".")]


def verify(manifest: Manifest, folder: Path, raw: Path) -> list[Check]:
    """Compare the bytes of the raw file and of every prepared file with the manifest."""
    expected = {raw: manifest.source.sha256}
    expected |= {folder / split.file: split.sha256 for split in manifest.splits.values()}
    return [
        Check(path, digest, file_hash(path) if path.is_file() else None)
        for path, digest in expected.items()
    ]


def read_split(manifest: Manifest, name: str, folder: Path) -> pd.DataFrame:
    """Return one prepared table; raises `DataError` unless its bytes are those of the manifest."""
    split = manifest.splits[name]
    path = folder / split.file
    try:
        content = path.read_bytes()  # once: what is verified is what is read
    except FileNotFoundError:
        raise DataError(f"{path}: missing; run `prepare` again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); run `prepare` again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != split.sha256:
        raise DataError(
            f"{path}: changed since it was prepared: expected SHA-256 {split.sha256}, "
            f"found {found}; run `prepare` again"
        )
    return pd.read_parquet(io.BytesIO(content))


def read_all(manifest: Manifest, folder: Path) -> pd.DataFrame:
    """Return the rows of all splits, each verified."""
    parts = [read_split(manifest, name, folder) for name in manifest.splits]
    return pd.concat(parts, ignore_index=True)


def log_data_version(
    data: pd.DataFrame,
    name: str,
    *,
    source: str = "",
    sample_rows: int = 5,
    policies: Mapping[str, privacy.Policy] | None = None,
    digest: str | None = None,
) -> Dataset:
    """Log a table to the run: its content hash and shape as parameters, its schema and a redacted
    sample as artifacts, and the table itself as a dataset input.

    Args:
        data: the table; it is neither copied nor stored.
        name: what the run calls it, such as ``train``.
        source: where it lies, a path or an address; empty for a table that code made.
        sample_rows: rows from the top to show, 0 for none.
        policies: what happens to columns of ``data`` that hold personal data.
        digest: the content hash, where it is known; else it is computed.

    Returns:
        The dataset input; its ``digest`` is the content hash.
    """
    rows, columns = data.shape
    digest = digest or content_hash(data)
    source = privacy.redact_text(source)
    dataset = _as_dataset(data, name, digest, source)
    recording.log_params({f"{name}_hash": digest, f"{name}_rows": rows, f"{name}_columns": columns})
    schema = [{"name": str(column), "type": str(kind)} for column, kind in data.dtypes.items()]
    recording.log_dict({"columns": schema}, f"data/{name}_schema.json")
    if sample_rows:
        sample, _ = privacy.protect(data.head(sample_rows), policies or {})
        recording.log_table(sample, f"data/{name}_sample.json")
    recording.log_input(dataset, name)
    return dataset


def _as_dataset(table: pd.DataFrame, name: str, digest: str, source: str) -> Dataset:
    """Return the table as an MLflow dataset, its schema that of the first rows.

    MLflow's own ``from_pandas`` hashes 10,000 rows only and takes seconds on a million.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # integers cannot be missing, two classes fit
        schema = infer_signature(table.head(SCHEMA_ROWS)).inputs
        if schema is not None and len(json.dumps(schema.to_dict())) > SCHEMA_LIMIT:
            schema = None  # it is an artifact too
        place = resolve_dataset_source(source) if source else CodeDatasetSource({})
        return MetaDataset(place, name, digest, schema)  # type: ignore[abstract]


def _version(hashes: Mapping[str, str]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(hashes, sort_keys=True).encode())


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed preparations left behind, once no living one can need it."""
    for partial in folder.glob(".partial-*"):
        if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)
