"""Tables of any size: read, kept and written some ten thousand rows at a time."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..config.sections import Data
from . import DataError
from .tables import PARQUET

ROWS = 50_000  # of a chunk
BUFFER = 2**20  # bytes; without one, a whole column of a row group is read at once
EDGE = 2**16  # bytes at both ends of a file, by which it is known again
# What pandas.read_csv, with which training reads, takes for no value.
MISSING_TEXTS = {
    "",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "<NA>",
    "N/A",
    "n/a",
    "NA",
    "nan",
    "NaN",
    "-nan",
    "-NaN",
}
MISSING_TEXTS |= {"NULL", "null", "None", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}


def read(path: Path, settings: Data) -> Iterator[tuple[pa.Table, float]]:
    """Yield tables of `ROWS` rows, the last of fewer, and the share of the file read so far.

    Every column of a CSV file is text, an empty one where the cell is empty.

    Raises:
        DataError: the file is corrupt from some row on.
    """
    rows = 0
    try:
        for table, share in _parquet(path) if path.suffix in PARQUET else _csv(path, settings):
            rows += len(table)
            yield table, share
    except UnicodeDecodeError as error:
        reason = f"it is not {error.encoding.upper()}; save it as UTF-8, or set data.encoding"
    except pd.errors.ParserWarning:
        reason = "rows have more cells than the header"
    except (OSError, EOFError, zlib.error, ValueError, LookupError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
    else:
        return
    raise DataError(f"{path}: cannot be read after row {rows:,}: {reason}")


def write(path: Path, folder: Path, tables: Iterator[pa.Table], separator: str) -> None:
    """Write tables of the same columns, one at least, to a Parquet or CSV file in one step."""
    first = next(tables)
    tables = itertools.chain([first], tables)
    with atomic_file(path, folder) as file:
        if path.suffix in PARQUET:
            with pq.ParquetWriter(file, first.schema) as writer:
                for table in tables:
                    writer.write_table(table)
            return
        text = io.TextIOWrapper(file, "utf-8", newline="")
        lines = csv.writer(text, delimiter=separator, lineterminator="\n")
        lines.writerow(first.column_names)
        for table in tables:
            lines.writerows(zip(*(each.to_pylist() for each in table.columns), strict=True))
        text.detach()  # what it holds goes to the file


def write_part(table: pa.Table, path: Path) -> None:
    """Write a table, such that it can be read again quickly, in one step."""
    fast = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        atomic_file(path, path.parent) as file,
        pa.ipc.new_file(file, table.schema, options=fast) as writer,
    ):
        writer.write_table(table)


def read_part(path: Path) -> pa.Table:
    """Return a table that was kept."""
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


@contextmanager
def atomic_file(path: Path, folder: Path) -> Iterator[BinaryIO]:
    """Yield a file in ``folder`` that takes the name ``path`` when it is whole."""
    temporary = folder / "writing"
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fingerprint(path: Path) -> list[int | str]:
    """Return what tells that a file is still the same: its size, its time, and both its ends."""
    found = path.stat()
    with path.open("rb") as file:
        ends = file.read(EDGE)
        file.seek(max(0, found.st_size - EDGE))
        ends += file.read(EDGE)
    return [found.st_size, found.st_mtime_ns, hashlib.sha256(ends).hexdigest()]


def _parquet(path: Path) -> Iterator[tuple[pa.Table, float]]:
    # Buffered ahead, as by default, all that was read stays in memory.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) as file:
        done = 0
        for batch in file.iter_batches(ROWS):
            done += len(batch)
            yield pa.Table.from_batches([batch]), done / file.metadata.num_rows


def _csv(path: Path, settings: Data) -> Iterator[tuple[pa.Table, float]]:
    options: dict[str, Any] = {"encoding": settings.encoding, "sep": settings.separator}
    options |= {"dtype": str, "keep_default_na": False}
    # pandas renames a second "a" to "a.1" without a word, so the header is read by itself.
    names = pd.read_csv(path, header=None, nrows=1, **options).iloc[0].tolist()
    options |= {"header": 0, "names": names, "index_col": False, "chunksize": ROWS}
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        reader = pd.read_csv(file, **options)
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the header's
                chunk = next(reader, None)
            if chunk is None or chunk.empty:
                return
            table = pa.Table.from_pandas(chunk, preserve_index=False)
            yield table.replace_schema_metadata(None), raw.tell() / path.stat().st_size
