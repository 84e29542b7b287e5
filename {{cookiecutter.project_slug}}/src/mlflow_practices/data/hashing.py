"""Content hashes: the same table gives the same digest on every machine, any change another."""

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import xxhash

BLOCK = 2**17  # rows: few enough for a processor's cache; another number gives other digests
NO_FORM = (TypeError, ValueError, NotImplementedError)
TEXT = (pa.string(), pa.large_string(), pa.string_view())


class HashError(Exception):
    """A column holds what has no exact form; the message names it."""


def content_hash(table: pd.DataFrame, algorithm: Literal["xxh3_128", "sha256"] = "xxh3_128") -> str:
    """Return a hexadecimal digest over names, types, order and every value of ``table``.

    The index does not count; the order of rows and of columns does. How pandas holds the values
    does not: text is text as ``str``, ``string`` or objects, ``Int64`` is ``int64``, and dates are
    alike in every unit. All missing values of a column are equal; categories that no row has are
    ignored. Objects other than text are hashed one by one, slowly. XXH3 finds accidents; SHA-256
    also finds forgeries, and takes longer.

    What is hashed, little-endian, each part after its number of bytes (int64): rows and columns
    (int64); of each column its name (as an object) and type, of a category also the categories
    (as objects, sorted unless ordered), and for every 131,072 rows two parts:

    ====================  ======================================  =============================
    type                  first part                              second part
    ====================  ======================================  =============================
    float64, ...          values, with one NaN                    empty
    int64, uint8, bool    values, 0 where missing                 1 where missing; empty if none
    date, datetime ZONE,  microseconds (UTC), -2**63 if missing   nanoseconds; empty if all are 0
      timedelta
    text                  bytes of each (int64), -1 if missing    all in a row, UTF-8
    object                bytes of each (int64)                   all as ``type:value`` in a row
    category, ordered     number of the category, -1 if missing   empty
    ====================  ======================================  =============================

    Raises:
        HashError: a column holds objects other than numbers, text, bytes, dates, times, periods,
            intervals, and lists and dictionaries of those.
    """
    state = xxhash.xxh3_128() if algorithm == "xxh3_128" else hashlib.sha256()
    _update(state, np.array(table.shape, dtype=np.int64))
    for name, column in table.items():
        try:
            header, values, encode = _layout(column)
            for part in (_exact(name), *header):
                _update(state, part)
            for start in range(0, len(column), BLOCK):
                for part in encode(values[start : start + BLOCK]):
                    _update(state, part)
        except NO_FORM:  # its message may show a value
            raise HashError(
                f"column {name!r}: its values ({column.dtype}) have no exact form to hash; "
                "make them text, numbers or dates"
            ) from None
    return str(state.hexdigest())


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _update(state: Any, part: Any) -> None:
    if isinstance(part, np.ndarray):
        part = np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<"))
    state.update(memoryview(part).nbytes.to_bytes(8, "little"))
    state.update(part)


def _layout(column: pd.Series) -> tuple[tuple[Any, ...], Any, Any]:
    """Return the type (and categories), the values uncopied, and what makes a block two parts."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _categories(column)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zone = pa.timestamp("us", column.dtype.tz).tz  # spelled alike by all versions of pandas
        return (f"datetime {zone}".encode(),), column.dt.tz_convert(None).to_numpy(), _times
    values = column.to_numpy() if isinstance(column.dtype, np.dtype) else pa.array(column)
    arrow = getattr(values, "type", None)
    if arrow in TEXT or (
        column.dtype == object and pd.api.types.infer_dtype(values) in ("string", "empty")
    ):
        return (b"text",), values, _texts
    dtype = np.asarray(values[:0]).dtype
    if isinstance(arrow, pa.BaseExtensionType) or dtype.kind not in "iubfMm":
        return (b"object",), column.array, _objects
    if dtype.kind in "Mm":
        kind = "timedelta" if dtype.kind == "m" else "date" if arrow == pa.date32() else "datetime"
        return (f"{kind} {getattr(arrow, 'tz', None) or ''}".strip().encode(),), values, _times
    return (dtype.name.encode(),), values, _floats if dtype.kind == "f" else _integers


@np.errstate(all="ignore")
def _floats(block: Any) -> tuple[Any, Any]:
    values = np.ascontiguousarray(block)
    if np.isnan(values.dot(values)):  # squares tell whether there is a NaN in half the time
        missing = np.isnan(values)
        usual = np.array(np.nan, values.dtype)
        bits = values.view(f"i{values.itemsize}")
        if not np.array_equal(bits == usual.view(bits.dtype), missing):
            values = np.where(missing, usual, values)  # of the many bit patterns of NaN one
    return values, b""


def _integers(block: Any) -> tuple[Any, Any]:
    if isinstance(block, np.ndarray) or not block.null_count:
        return np.asarray(block), b""
    return np.asarray(block.fill_null(pa.scalar(0).cast(block.type))), np.asarray(block.is_null())


def _times(block: Any) -> tuple[Any, Any]:
    values = np.asarray(block)
    micro = values.astype(f"{values.dtype.kind}8[us]", copy=False)
    if np.datetime_data(values.dtype)[0] != "ns":
        return micro.view(np.int64), b""
    rest = np.where(np.isnat(values), 0, (values - micro).view(np.int64))
    return micro.view(np.int64), rest if rest.any() else b""


def _texts(block: Any) -> tuple[Any, Any]:
    if isinstance(block, np.ndarray):
        block = pa.array(block, pa.large_string(), from_pandas=True)
    if isinstance(block, pa.ChunkedArray):
        block = block.combine_chunks()
    texts = block.cast(pa.large_string())
    ends = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
    sizes, every = np.diff(ends), memoryview(texts.buffers()[2] or b"")[ends[0] : ends[-1]]
    if texts.null_count:
        missing = np.asarray(texts.is_null())
        if (sizes * missing).any():  # below a missing value Arrow allows anything
            sizes, every = _texts(texts.fill_null(""))
        sizes = sizes - missing
    return sizes, every


def _objects(block: Iterable[Any]) -> tuple[Any, Any]:
    every = [_exact(value) for value in block]
    return np.array([len(value) for value in every], dtype="<i8"), b"".join(every)


def _categories(column: pd.Series) -> tuple[tuple[Any, ...], Any, Any]:
    codes, categories = column.cat.codes.to_numpy(), column.cat.categories
    used = np.sort(pd.unique(codes[codes >= 0]))
    if not column.cat.ordered:
        used = used[sorted(range(len(used)), key=lambda i: _exact(categories[used[i]]))]
    number = np.full(len(categories) + 1, -1)  # the last is for missing values, whose code is -1
    number[used] = np.arange(len(used))
    kind = b"ordered" if column.cat.ordered else b"category"
    return (kind, *_objects(categories[used])), codes, lambda block: (number[block], b"")


def _exact(value: Any) -> bytes:
    """Return what tells a value from all others, whichever library made it."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "Mm":
        value = value.tolist()
    if isinstance(value, dict):
        return b"dict:" + _exact(list(value.items()))
    if isinstance(value, list | tuple):
        sizes, every = _objects(value)
        return b"list:%s%s" % (sizes.tobytes(), every)
    if pd.isna(value):
        return b""
    for types, name, write in FORMS:
        if isinstance(value, types):
            text = write(value)
            return b"%s:%s" % (name, text if isinstance(text, bytes) else text.encode())
    raise TypeError


def _digits(number: Decimal) -> str:
    text = f"{number:f}" if number else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


# The first that fits: a bool is an int, and a datetime a date.
FORMS: tuple[tuple[type | UnionType, bytes, Callable[[Any], str | bytes]], ...] = (
    (str, b"text", str),
    (bool, b"bool", str),
    (int, b"int", str),
    (float | complex, b"number", lambda number: repr(number + 0.0)),
    (bytes, b"bytes", bytes),
    (Decimal, b"decimal", _digits),
    (dt.datetime, b"datetime", lambda time: pd.Timestamp(time).isoformat(timespec="nanoseconds")),
    (dt.date | dt.time, b"date", lambda time: time.isoformat()),
    (dt.timedelta, b"timedelta", lambda time: pd.Timedelta(time).isoformat()),
    (pd.Period | pd.Interval, b"span", repr),
)
