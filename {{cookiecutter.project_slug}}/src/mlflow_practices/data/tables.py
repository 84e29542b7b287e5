"""Tables: read with clear errors, typed, and split."""

import gzip
import io
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from .. import machine, privacy
from ..config.sections import Data, Split
from . import DataError, column_types

PARQUET = (".parquet", ".pq")
SPLITS = ("train", "validation", "test")
SMALL_FILE = 32 * 2**20  # bytes; such a file is read without a look at the memory
PROBE = 2**20  # bytes of a CSV file, and
PROBE_ROWS = 10_000  # rows of a Parquet file, from which its size in memory is told
# Measured at the peak: the table as read, cleaned, split and written; and what the CSV parser
# holds, which is the text and two numbers a cell, in buffers that grow by doubling.
COPIES, PARSER_COPIES, BYTES_A_CELL = 4.5, 2, 16


def read(path: Path, settings: Data) -> pd.DataFrame:
    """Read a CSV or Parquet file, its columns typed; see `typed`.

    Raises:
        DataError: the file is missing, empty, corrupt, wrongly encoded, of an unknown kind, larger
            than the memory left, or has no rows, a duplicate column, an infinite number, or values
            of a type that no model learns from.
    """
    try:
        _check_memory(path, settings)
        if path.suffix in PARQUET:
            table = pd.read_parquet(path)
        elif path.name.endswith((".csv", ".csv.gz")):
            table = _read_csv(path, settings)
        else:
            raise DataError(
                f"{path}: unknown kind of file; data.raw takes .csv, .csv.gz or .parquet"
            )
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; set data.raw in configs/base.yaml") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the file is empty") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} (0x{error.object[error.start]:02x}) is not "
            f"{error.encoding.upper()}; "
            "save the file as UTF-8, or set data.encoding (such as latin-1)"
        ) from None
    except (
        MemoryError,
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        OSError,
        ValueError,
    ) as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            left = machine.available_memory()
            raise DataError(_too_large(path, "more memory than there is", left)) from None
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    return typed(path, table, settings.drop)


def typed(place: object, table: pd.DataFrame, drop: Collection[str] = ()) -> pd.DataFrame:
    """Return the table with its columns as text, booleans, numbers or dates; see `column_types`.

    Those that are dropped, ``drop``, stay as they are.

    Raises:
        DataError: the table has no rows, a column has no good name, cannot be converted, or holds
            infinity. The message names ``place``.
    """
    _check_names(place, table.columns)
    if table.empty:
        raise DataError(f"{place}: has a header and no rows")
    table = table.copy(deep=False)
    for column in table.columns.difference(list(drop), sort=False):
        values = table[column]
        converted = column_types.convert(values)
        if converted is None:
            raise DataError(
                f"{place}: column {column!r} holds {column_types.describe(values)}; "
                "make it text, numbers or dates"
            )
        if converted is not values:
            table[column] = converted
    for column in table.select_dtypes("number"):
        if infinite := int(np.isinf(table[column]).sum()):
            raise DataError(
                f"{place}: column {column!r} holds infinity in {infinite} rows; "
                "leave those cells empty"
            )
    return table


def require_columns(table: pd.DataFrame, settings: Data) -> None:
    """Raise `DataError` unless a table has the columns that the configuration names."""
    columns = list(table.columns)
    named = [("target", settings.target), *(("drop", name) for name in settings.drop)]
    if settings.split.column is not None:
        named.append(("split.column", settings.split.column))
    for key, name in named:
        if name not in columns:
            raise DataError(
                f"data.{key}: no column {name!r} in {settings.raw or 'the table that `read` returns'}"
                f"; it has: {_listing(columns)}"
            )


def prepare(
    table: pd.DataFrame, settings: Data, problem_type: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that can be learned from, their index kept, and notes on what was left out.

    Rows without a target and columns without any value are left out.

    Raises:
        DataError: the target is missing, has one class, or does not suit ``problem_type``; or no
            column is left to learn from.
    """
    notes = []
    known = table[settings.target].notna()
    if not known.all():
        notes.append(f"{int((~known).sum())} rows without {settings.target!r} left out")
        table = table[known]
    _check_target(table[settings.target], problem_type)
    for column in list(table.columns):
        if table[column].isna().all():
            notes.append(f"column {column!r} left out: it has no values")
            table = table.drop(columns=column)
    features = set(table.columns) - {settings.target, *settings.drop}
    if not features:
        raise DataError("no column is left to learn from; see data.drop and privacy")
    return table, notes


def split(
    table: pd.DataFrame, settings: Data, content: pd.DataFrame | None = None
) -> dict[str, pd.DataFrame]:
    """Return train, validation and test, each with the columns of ``data.drop`` taken out.

    Random and stratified splits keep the rows' order; a grouped split keeps each value of
    ``split.column`` in one part; a time split takes the latest rows for test.

    Args:
        table: holds the target and ``split.column``, which decide.
        settings: how to split.
        content: the same rows, to be shared out in place of ``table``'s.

    Raises:
        DataError: a part would be empty, or a class or group is too small to be shared out.
    """
    how = settings.split
    if how.column is not None and table[how.column].isna().any():
        raise DataError(
            f"data.split.column: {how.column!r} has missing values; "
            "fill them or leave those rows out"
        )
    try:
        parts = _positions(table, settings.target, how)
    except ValueError as error:
        raise DataError(
            f"data.split: the rows cannot be shared out by {how.method!r}: {error}"
        ) from None
    if empty := [name for name, rows in parts.items() if len(rows) == 0]:
        raise DataError(
            f"data.split: {len(table)} rows are too few: {', '.join(empty)} would be empty"
        )
    kept = (table if content is None else content).drop(columns=settings.drop, errors="ignore")
    return {name: kept.iloc[rows].reset_index(drop=True) for name, rows in parts.items()}


def _positions(table: pd.DataFrame, target: str, how: Split) -> dict[str, np.ndarray]:
    everything = np.arange(len(table))
    if how.method == "time":
        order = np.argsort(table[how.column].to_numpy(), kind="stable")
        ends = np.cumsum(
            [
                round(len(table) * (1 - how.validation - how.test)),
                round(len(table) * how.validation),
            ]
        )
        return dict(zip(SPLITS, np.split(order, ends), strict=True))
    # First test from all, then validation from what remains.
    rest, test = _two(everything, table, target, how, how.test)
    train, validation = _two(rest, table, target, how, how.validation / (1 - how.test))
    return {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}


def _two(
    rows: np.ndarray, table: pd.DataFrame, target: str, how: Split, share: float
) -> tuple[np.ndarray, np.ndarray]:
    if how.method == "grouped":
        splitter = GroupShuffleSplit(n_splits=1, test_size=share, random_state=how.seed)
        first, second = next(splitter.split(rows, groups=table[how.column].iloc[rows]))
        return rows[first], rows[second]
    labels = table[target].iloc[rows] if how.method == "stratified" else None
    first, second = train_test_split(rows, test_size=share, random_state=how.seed, stratify=labels)
    return first, second


def _read_csv(path: Path, settings: Data) -> pd.DataFrame:
    options = {"encoding": settings.encoding, "sep": settings.separator}
    # pandas renames a second "a" to "a.1" without a word, so the header is looked at by itself.
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **options)
    _check_names(path, header.iloc[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
        return pd.read_csv(path, index_col=False, low_memory=False, **options)


def _check_memory(path: Path, settings: Data) -> None:
    """Refuse a file before it is read when the memory left cannot hold what is made of it."""
    if path.stat().st_size < SMALL_FILE:
        return
    parquet = path.suffix in PARQUET
    need = _needed_by_parquet(path) if parquet else _needed_by_csv(path, settings)
    left = machine.available_memory()
    if left is not None and need > left:
        raise DataError(_too_large(path, f"about {need / 2**30:.2f} GiB", left))


def _needed_by_parquet(path: Path) -> float:
    with pq.ParquetFile(path) as file:
        first = next(file.iter_batches(PROBE_ROWS)).to_pandas()
        rows = file.metadata.num_rows
    return float(COPIES * first.memory_usage(deep=True).sum() / len(first) * rows)


def _needed_by_csv(path: Path, settings: Data) -> float:
    with path.open("rb") as file:
        probe = (gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file).read(PROBE)
        share = file.tell() / path.stat().st_size  # of the file, compressed or not
    if b"\n" not in probe:  # not even the header fits in
        return float(PARSER_COPIES * path.stat().st_size)
    text = io.BytesIO(probe[: probe.rfind(b"\n") + 1])
    options = {"encoding": settings.encoding, "encoding_errors": "replace"}
    first = pd.read_csv(
        text, index_col=False, on_bad_lines="skip", sep=settings.separator, **options
    )
    parser = PARSER_COPIES * (len(probe) + BYTES_A_CELL * first.size)
    return float(max(COPIES * first.memory_usage(deep=True).sum(), parser) / share)


def _too_large(path: Path, need: str, left: int | None) -> str:
    has = "" if left is None else f"; {max(left, 0) / 2**30:.2f} GiB are left"
    return (
        f"{path}: preparing it takes {need}{has}: "
        "leave out rows or columns, or use a machine with more memory"
    )


def _check_names(place: object, columns: Iterable[object]) -> None:
    names = pd.Series(list(columns), dtype=object)
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"{place}: a column has no name, or one that is not text; name it")
    if any(privacy.redact_text(name) != name for name in names):
        raise DataError(
            f"{place}: a column's name looks like personal data; does the file lack a header line?"
        )
    if len(twice := names[names.duplicated()].unique()):
        raise DataError(f"{place}: duplicate column name: {_listing(twice)}; rename one of them")


def _check_target(target: pd.Series, problem_type: str) -> None:
    if target.empty:
        raise DataError(f"data.target: {target.name!r} has no values")
    if problem_type == "regression" and (
        not pd.api.types.is_numeric_dtype(target) or target.dtype == bool
    ):
        raise DataError(
            f"data.target: {target.name!r} holds {target.dtype} values; regression needs numbers"
        )
    if target.nunique() < 2:
        raise DataError(
            f"data.target: {target.name!r} has one value in all rows; there is nothing to learn"
        )
    if (
        problem_type == "classification"
        and pd.api.types.is_float_dtype(target)
        and (target % 1 != 0).any()
    ):
        raise DataError(
            f"data.target: {target.name!r} holds fractions; set problem_type: regression"
        )


def _listing(names: Iterable[object]) -> str:
    texts = [str(name) for name in names]
    return ", ".join(texts[:20]) + (f" and {len(texts) - 20} more" if len(texts) > 20 else "")
