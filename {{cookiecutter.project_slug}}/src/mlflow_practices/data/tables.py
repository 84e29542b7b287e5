"""Raw tables in files: CSV or Parquet, read with clear errors and within the memory."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import machine
from ..config.sections import Data
from . import DataError, column_types, located

PARQUET = (".parquet", ".pq")
SMALL_FILE = 32 * 2**20  # bytes; such a file is read without a look at the memory
PROBE = 2**20  # bytes of a CSV file, and
PROBE_ROWS = 10_000  # rows of a Parquet file, from which its size in memory is estimated
# Measured at the peak: the table as read, cleaned, split and written; and what the CSV parser
# holds, which is the text and two numbers a cell, in buffers that grow by doubling.
COPIES, PARSER_COPIES, BYTES_A_CELL = 4.5, 2, 16
PYTHON_ERRORS = (OSError, EOFError, ValueError, LookupError, MemoryError)
READ_ERRORS = (*PYTHON_ERRORS, zlib.error, pa.ArrowException, pd.errors.ParserWarning)


def read(path: Path, settings: Data) -> pd.DataFrame:
    """Read a CSV or Parquet file, its columns typed; see `column_types.typed`.

    Raises:
        DataError: the file is missing, empty, corrupt, wrongly encoded, of an unknown kind or larger
            than the memory left, or its columns cannot be used.
    """
    with located(path):
        return column_types.typed(_read(path, settings), settings.drop)


def _read(path: Path, settings: Data) -> pd.DataFrame:
    try:
        _check_memory(path, settings)
        if path.suffix in PARQUET:
            return pd.read_parquet(path)
        if not path.name.endswith((".csv", ".csv.gz")):
            raise DataError("unknown kind of file; data.raw takes .csv, .csv.gz or .parquet")
        column_types.check_names(pd.Index(csv_header(path, settings)))
        with long_rows_refused():
            return pd.read_csv(path, index_col=False, low_memory=False, **csv_options(settings))
    except FileNotFoundError:
        raise DataError("no such file; set data.raw in configs/base.yaml") from None
    except READ_ERRORS as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            raise _too_large("more memory than there is") from None
        raise DataError(f"cannot be read: {explain(error)}") from None


def csv_options(settings: Data) -> dict[str, Any]:
    """Return how `pandas.read_csv` has to read the file."""
    return {"encoding": settings.encoding, "sep": settings.separator}


def csv_header(path: Path, settings: Data) -> list[str]:
    """Return the names of the columns; pandas would rename a second "a" to "a.1" without a word."""
    options = {"header": None, "nrows": 1, "dtype": str, "keep_default_na": False}
    names: list[str] = pd.read_csv(path, **options, **csv_options(settings)).iloc[0].tolist()
    return names


@contextmanager
def long_rows_refused() -> Iterator[None]:
    """Raise `pandas.errors.ParserWarning` where rows have more cells than the header."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        yield


def explain(error: Exception) -> str:
    """Return the text for one of `READ_ERRORS`."""
    if isinstance(error, pd.errors.EmptyDataError):
        return "the file is empty"
    if isinstance(error, pd.errors.ParserWarning):
        return "rows have more cells than the header"
    if isinstance(error, UnicodeDecodeError):
        return (
            f"it is not {error.encoding.upper()} (byte 0x{error.object[error.start]:02x}); "
            "save it as UTF-8, or set data.encoding (such as latin-1)"
        )
    return " ".join(str(error).split()) or type(error).__name__


def _check_memory(path: Path, settings: Data) -> None:
    """Refuse a file before it is read when the memory left cannot hold what is made of it."""
    if path.stat().st_size < SMALL_FILE:
        return
    need = _needed_memory(path, settings)
    left = machine.available_memory()
    if left is not None and need > left:
        raise _too_large(f"about {need / 2**30:.2f} GiB")


def _needed_memory(path: Path, settings: Data) -> float:
    """Return about how many bytes it takes to prepare a file, by its first rows."""
    if path.suffix in PARQUET:
        with pq.ParquetFile(path) as file:
            first = next(file.iter_batches(PROBE_ROWS)).to_pandas()
            share = len(first) / file.metadata.num_rows
        return float(COPIES * first.memory_usage(deep=True).sum() / share)
    with path.open("rb") as raw:
        content = (gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw).read(PROBE)
        share = raw.tell() / path.stat().st_size  # of the file, compressed or not
    lines, newline, _ = content.rpartition(b"\n")
    if not newline:  # not even the header fits in
        return float(PARSER_COPIES * path.stat().st_size)
    first = pd.read_csv(
        io.BytesIO(lines + newline),
        index_col=False,
        on_bad_lines="skip",
        encoding_errors="replace",
        **csv_options(settings),
    )
    parser = PARSER_COPIES * (len(content) + BYTES_A_CELL * first.size)
    return float(max(COPIES * first.memory_usage(deep=True).sum(), parser) / share)


def _too_large(need: str) -> DataError:
    left = machine.available_memory()
    has = "" if left is None else f"; {max(left, 0) / 2**30:.2f} GiB are left"
    return DataError(
        f"preparing it takes {need}{has}: "
        "leave out rows or columns, or use a machine with more memory"
    )
