"""Content hashes: the same table gives the same digest on every machine, any change another.

A table is hashed in fixed blocks of rows. Each block gives a digest of its own, so several machines
can hash one table: `combine(map(block_hash, blocks(table)), len(table))` is `content_hash(table)`.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import xxhash

from ..errors import PracticeError

FORMAT = "2"  # stands before the digest; format 1, which `matches` still verifies, has no prefix
BLOCK = 2**17  # rows: few enough for a processor's cache; another number gives other digests
NO_FORM = (TypeError, ValueError, NotImplementedError)
TEXT = (pa.string(), pa.large_string(), pa.string_view())

Algorithm = Literal["xxh3_128", "sha256"]
ALGORITHMS: dict[int, Algorithm] = {32: "xxh3_128", 64: "sha256"}  # by hexadecimal digits
# The type (and categories), the values uncopied, and what makes the two parts of a block of them.
Layout = tuple[tuple[Any, ...], Any, Callable[[Any], tuple[Any, ...]]]


class HashError(PracticeError):
    """A table, its blocks or a digest cannot be hashed or compared; the message says why."""


def content_hash(table: pd.DataFrame, algorithm: Algorithm = "xxh3_128") -> str:
    """Return a digest over names, types, order and every value of ``table``: ``2-<hexadecimal>``.

    The index does not count; the order of rows and of columns does. How pandas holds the values
    does not: text is text as ``str``, ``string`` or objects, ``Int64`` is ``int64``, and dates are
    alike in every unit. All missing values of a column are equal. Categories that no row has are
    ignored, unless they are ordered. Objects other than text are hashed one by one, slowly. XXH3
    finds accidents, in 34 characters (MLflow takes 36); SHA-256 also finds forgeries, and takes
    longer.

    A block is 131,072 rows; the last one may be shorter, and no rows at all are one empty block.
    Only the block itself decides how it is hashed. So objects are text in a block where all that
    is not missing is text (or nothing is left), whatever other blocks hold.

    The table's digest is over its number of rows (int64) and the hexadecimal digests of its
    blocks; a block's over its numbers of rows and columns (int64) and, of each column, the name
    (as an object), the type, of categories also those that the block has (as objects, sorted), of
    ordered ones all in their order, and, if there are rows, two parts. All is little-endian, each
    part after its number of bytes (int64).

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
    return combine(_hash(table, algorithm, _block_layout, BLOCK), len(table), algorithm)


def blocks(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the blocks of rows that are hashed apart, uncopied and in order; at least one."""
    for start in range(0, max(len(table), 1), BLOCK):
        yield table.iloc[start : start + BLOCK]


def block_hash(rows: pd.DataFrame, algorithm: Algorithm = "xxh3_128") -> str:
    """Return the hexadecimal digest of one block; nothing but the block decides it.

    Raises:
        HashError: the block has more than ``BLOCK`` rows, or values as in `content_hash`.
    """
    if len(rows) > BLOCK:
        raise HashError(f"a block of {len(rows):,} rows: at most {BLOCK:,} are hashed at once")
    return _hash(rows, algorithm, _block_layout, BLOCK)[0]


def combine(block_hashes: Iterable[str], rows: int, algorithm: Algorithm = "xxh3_128") -> str:
    """Return the `content_hash` of a table of ``rows`` rows from the digests of its blocks.

    Args:
        block_hashes: what `block_hash` returned for each of the `blocks`, in order.
        rows: of the whole table.
        algorithm: the one of the blocks.

    Raises:
        HashError: these are not as many blocks as the rows make, or not their digests.
    """
    state, count = _state(algorithm), 0
    _update(state, np.array([rows], dtype=np.int64))
    for count, digest in enumerate(block_hashes, start=1):
        if ALGORITHMS.get(len(digest)) != algorithm:
            raise HashError(f"block {count}: {digest!r} is not a digest by {algorithm}")
        _update(state, digest.encode())
    expected = max(1, -(-rows // BLOCK))
    if count != expected:
        raise HashError(f"{rows:,} rows are {expected:,} blocks, not {count:,}")
    return f"{FORMAT}-{state.hexdigest()}"


def matches(table: pd.DataFrame, digest: str) -> bool:
    """Return whether ``digest`` is the table's, hashed in the format and algorithm it names.

    Format 1 hashed whole columns in one go and had no prefix: a cluster cannot compute it.

    Raises:
        HashError: the format is unknown, it is no digest, or the table has none.
    """
    version, _, value = digest.rpartition("-")
    if version not in ("", FORMAT):
        raise HashError(
            f"{digest!r}: content hashes of format {version} are unknown here, only 1 (without a "
            f"prefix) and {FORMAT}; update the practices, or prepare the data again"
        )
    algorithm = ALGORITHMS.get(len(value))
    if algorithm is None:
        raise HashError(f"{digest!r} is no content hash: those end with 32 or 64 digits")
    if version:
        return content_hash(table, algorithm) == digest
    return _hash(table, algorithm, _layout, max(len(table), 1)) == [digest]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(
    table: pd.DataFrame, algorithm: Algorithm, layout: Callable[[pd.Series], Layout], step: int
) -> list[str]:
    """Return a digest of every ``step`` rows: of each block, or of all rows in format 1."""
    rows, columns = table.shape
    states = []
    for start in range(0, max(rows, 1), step):
        states.append(_state(algorithm))
        _update(states[-1], np.array([min(step, rows - start), columns], dtype=np.int64))
    for name, column in table.items():
        try:
            header, values, encode = layout(column)
            for state in states:
                for part in (_exact(name), *header):
                    _update(state, part)
            for start in range(0, rows, BLOCK):
                for part in encode(values[start : start + BLOCK]):
                    _update(states[start // step], part)
        except NO_FORM:  # its message may show a value
            raise HashError(
                f"column {name!r}: its values ({column.dtype}) have no exact form to hash; "
                "make them text, numbers or dates"
            ) from None
    return [state.hexdigest() for state in states]


def _state(algorithm: Algorithm) -> Any:
    return xxhash.xxh3_128() if algorithm == "xxh3_128" else hashlib.sha256()


def _update(state: Any, part: Any) -> None:
    if isinstance(part, np.ndarray):
        part = np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<"))
    state.update(memoryview(part).nbytes.to_bytes(8, "little"))
    state.update(part)


def _block_layout(column: pd.Series) -> Layout:
    """Return the layout of a column in format 2, where no block needs to know of the others."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _categories(column, by_block=True)
    layout = None if column.dtype == object else _layout(column)
    if layout and layout[0] != (b"object",):
        return layout
    return () if len(column) else (b"text",), column.iloc, _objects_or_texts


def _layout(column: pd.Series) -> Layout:
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


def _objects_or_texts(block: pd.Series) -> tuple[Any, ...]:
    """Return type and parts of a block of objects; text and missing values alone are text."""
    (kind,), values, encode = _layout(block)
    if kind == b"object":
        missing, objects = block.isna().to_numpy(), block.to_numpy(dtype=object)
        if pd.api.types.infer_dtype(objects[~missing], skipna=False) in ("string", "empty"):
            return b"text", *_texts(np.where(missing, None, objects))
    return kind, *encode(values)


def _objects(block: Iterable[Any]) -> tuple[Any, Any]:
    return _in_a_row([_exact(value) for value in block])


def _in_a_row(every: Sequence[bytes]) -> tuple[Any, Any]:
    return np.array([len(value) for value in every], dtype="<i8"), b"".join(every)


def _categories(column: pd.Series, by_block: bool = False) -> Layout:
    """Number the categories in use: in the whole column, or in format 2 in each block.

    A block does not know which others are in use, so all categories of an ordered column count
    in format 2; otherwise the order of two that never share a block would go unseen.
    """
    codes, categories = column.cat.codes.to_numpy(), column.cat.categories
    used = _used(codes, len(categories))
    if by_block and column.cat.ordered:
        used = np.arange(len(categories))
    forms = [_exact(category) for category in categories[used]]
    if not column.cat.ordered:
        order = sorted(range(len(forms)), key=forms.__getitem__)
        used, forms = used[order], [forms[i] for i in order]
    number = np.full(len(categories) + 1, -1)  # the last is for missing values, whose code is -1
    number[used] = np.arange(len(used))

    def encode_alone(block: Any) -> tuple[Any, ...]:
        numbers = number[block]
        present = _used(numbers, len(forms))
        again = np.full(len(forms) + 1, -1)
        again[present] = np.arange(len(present))
        return *_in_a_row([forms[i] for i in present]), again[numbers], b""

    if by_block and not column.cat.ordered:
        return (b"category",), codes, encode_alone
    kind = b"ordered" if column.cat.ordered else b"category"
    return (kind, *_in_a_row(forms)), codes, lambda block: (number[block], b"")


def _used(numbers: Any, count: int) -> Any:
    """Return in order which numbers below ``count`` occur; -1 stands for a missing value."""
    occurs = np.zeros(count + 1, dtype=bool)
    for start in range(0, len(numbers), BLOCK):  # an index of other integers is copied
        occurs[numbers[start : start + BLOCK]] = True
    return np.flatnonzero(occurs[:-1])


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
