"""Data versions: a content hash for each table, and a manifest that says what belongs together."""

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.models import infer_signature
from pydantic import BaseModel, ValidationError

from ..tracking import recording

MANIFEST = "manifest.json"
SCHEMA_ROWS = 1000
ABANDONED_SECONDS = 3600


class VersionError(Exception):
    """Prepared data is missing, or is not what the manifest says it is."""


class SplitFile(BaseModel, frozen=True):
    """One prepared table: its file, beside the manifest, its rows and its content hash."""

    file: str
    rows: int
    hash: str


class Source(BaseModel, frozen=True):
    """The raw file: its path as configured, SHA-256 of its bytes, its size and rows."""

    path: str
    sha256: str
    bytes: int
    rows: int


class Manifest(BaseModel, frozen=True):
    """What preparation made, from what, in which run."""

    version: str
    source: Source
    target: str
    columns: dict[str, str]
    splits: dict[str, SplitFile]
    notes: list[str]
    run_id: str
    pipeline_id: str


def content_hash(table: pd.DataFrame) -> str:
    """Return 32 hexadecimal digits over names, types, order and every value of ``table``.

    The index does not count, the order of rows does. Equal tables give equal hashes in every
    process and after a round trip through Parquet; the hash is xxHash's XXH3 with 128 bits.
    """
    state = xxhash.xxh3_128()
    for name, column in table.items():
        values = pa.Array.from_pandas(column)
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        kind = values.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            state.update(f"{name}\0text\0{len(values)}\0".encode())
            _update_text(state, values)
        elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
            state.update(f"{name}\0{kind}\0{len(values)}\0".encode())
            numbers = np.ascontiguousarray(values.to_numpy(zero_copy_only=False))
            if numbers.dtype.kind == "f":
                numbers = np.where(np.isnan(numbers), np.nan, numbers + 0.0)  # one NaN, one zero
            state.update(numbers.tobytes())
        else:  # booleans, dates and the rest, as text that says it exactly
            state.update(f"{name}\0{kind}\0{len(values)}\0".encode())
            _update_text(state, values.cast(pa.large_string()))
    return state.hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_source(path: Path, configured: Path, rows: int) -> Source:
    """Return what identifies the raw file, wherever it stands."""
    return Source(
        path=configured.as_posix(), sha256=file_hash(path), bytes=path.stat().st_size, rows=rows
    )


def write(
    splits: dict[str, pd.DataFrame],
    folder: Path,
    source: Source,
    notes: list[str],
    target: str,
    **run: str,
) -> Manifest:
    """Write the splits as Parquet under ``folder/<version>`` and name them in the manifest.

    The version is a hash over the splits' hashes. Readers see the old manifest or the new one:
    the tables are written under a temporary name, and the manifest is replaced last.
    """
    hashes = {name: content_hash(table) for name, table in splits.items()}
    version = xxhash.xxh3_64_hexdigest(json.dumps(hashes, sort_keys=True).encode())
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        for name, table in splits.items():
            table.to_parquet(partial / f"{name}.parquet", index=False)
        manifest = Manifest(
            version=version,
            source=source,
            target=target,
            columns={str(name): str(kind) for name, kind in splits["train"].dtypes.items()},
            splits={
                name: SplitFile(
                    file=f"{version}/{name}.parquet", rows=len(table), hash=hashes[name]
                )
                for name, table in splits.items()
            },
            notes=notes,
            **run,
        )
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        shutil.copy(partial / MANIFEST, partial / "current")
        final = folder / version
        final.mkdir(exist_ok=True)  # a version made before: the same tables take its place
        for name in (*(f"{split}.parquet" for split in splits), MANIFEST):
            os.replace(partial / name, final / name)
        os.replace(partial / "current", folder / MANIFEST)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def load_manifest(folder: Path, version: str = "") -> Manifest:
    """Return the manifest of the data prepared last, or of an earlier version.

    Raises:
        VersionError: there is none, or it cannot be read.
    """
    path = folder / version / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise VersionError(f"{path}: no prepared data; run `prepare`") from None
    except ValidationError as error:
        raise VersionError(
            f"{path}: not a manifest ({error.errors()[0]['msg']}); run `prepare` again"
        ) from None


def read_split(manifest: Manifest, name: str, folder: Path) -> pd.DataFrame:
    """Return one prepared table, after its hash was found to be the manifest's.

    Raises:
        VersionError: the file is missing, damaged or changed.
    """
    split = manifest.splits[name]
    path = folder / split.file
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise VersionError(f"{path}: missing; run `prepare` again") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise VersionError(f"{path}: cannot be read ({error}); run `prepare` again") from None
    found = content_hash(table)
    if found != split.hash:
        raise VersionError(
            f"{path}: changed since it was prepared: expected {split.hash}, found {found}; "
            "run `prepare` again"
        )
    return table


def as_dataset(table: pd.DataFrame, name: str, digest: str, source: str) -> Dataset:
    """Return the table as an MLflow dataset, its schema read off the first rows.

    MLflow's own ``from_pandas`` hashes 10,000 rows only and takes seconds on a million.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # integers cannot be missing, two classes fit
        schema = infer_signature(table.head(SCHEMA_ROWS)).inputs
        return MetaDataset(  # type: ignore[abstract]
            resolve_dataset_source(source), name, digest, schema
        )


def log_data_version(manifest: Manifest, name: str, table: pd.DataFrame, folder: Path) -> Dataset:
    """Log a split's hash and shape, and the split as a dataset input of the run; return that."""
    split = manifest.splits[name]
    dataset = as_dataset(table, f"{manifest.version}-{name}", split.hash, str(folder / split.file))
    recording.log_params(
        {f"{name}_hash": split.hash, f"{name}_rows": split.rows, f"{name}_columns": table.shape[1]}
    )
    recording.log_input(dataset, name)
    return dataset


def _update_text(state: xxhash.xxh3_128, values: pa.Array) -> None:
    # Lengths first (-1: missing), so that "ab","c" and "a","bc" differ.
    lengths = pc.fill_null(pc.binary_length(values), -1).cast(pa.int64())
    state.update(memoryview(lengths.to_numpy(zero_copy_only=False)).cast("B"))
    for text in pc.fill_null(values, "").buffers()[2:]:
        if text is not None:
            state.update(text)


def _sweep(folder: Path) -> None:
    """Remove what killed preparations left behind, once no living one can still need it."""
    for left in folder.glob(".partial-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
