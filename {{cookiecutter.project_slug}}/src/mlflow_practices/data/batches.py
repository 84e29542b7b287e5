"""Tables of any size: read and written in batches of some ten thousand rows."""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import machine
from ..config.sections import Data
from . import DataError
from .tables import PARQUET, READ_ERRORS, csv_header, csv_options, explain, long_rows_refused

ROWS = 50_000  # of a batch
BUFFER = 2**20  # bytes; without one, a whole column of a row group is read at once
EDGE = 2**16  # bytes at both ends of a file, by which it is known again
# What pandas.read_csv, with which training reads, takes for no value.
MISSING_TEXTS = {"", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "n/a", "NA", "nan", "NaN", "-nan"}
MISSING_TEXTS |= {"-NaN", "NULL", "null", "None", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}


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
    except READ_ERRORS as error:
        raise DataError(f"{path}: cannot be read after row {rows:,}: {explain(error)}") from None


def write(path: Path, folder: Path, tables: Iterator[pa.Table], separator: str) -> None:
    """Write tables of the same columns, at least one, to a Parquet or CSV file in one step.

    Until it is whole, the file is in ``folder``.
    """
    first = next(tables)
    tables = itertools.chain([first], tables)
    with machine.replacing(path, folder / "writing") as temporary:
        if path.suffix in PARQUET:
            with pq.ParquetWriter(temporary, first.schema) as writer:
                for table in tables:
                    writer.write_table(table)
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file, delimiter=separator, lineterminator="\n")
            lines.writerow(first.column_names)
            for table in tables:
                columns = [column.to_pylist() for column in table.columns]
                lines.writerows(zip(*columns, strict=True))


def write_part(table: pa.Table, path: Path) -> None:
    """Write a table in one step, such that it can be read again quickly."""
    fast = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        machine.replacing(path) as temporary,
        pa.ipc.new_file(str(temporary), table.schema, options=fast) as writer,
    ):
        writer.write_table(table)


def read_part(path: Path) -> pa.Table:
    """Return a table that `write_part` wrote."""
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def fingerprint(path: Path) -> list[int | str]:
    """Return what shows that a file is still the same: its size, its time, and both its ends."""
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
    names = csv_header(path, settings)
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        reader = pd.read_csv(
            file,
            header=0,
            names=names,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            chunksize=ROWS,
            **csv_options(settings),
        )
        while True:
            with long_rows_refused():
                batch = next(reader, None)
            if batch is None or batch.empty:
                return
            table = pa.Table.from_pandas(batch, preserve_index=False)
            yield table.replace_schema_metadata(None), raw.tell() / path.stat().st_size
