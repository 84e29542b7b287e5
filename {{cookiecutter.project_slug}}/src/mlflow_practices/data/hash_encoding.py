"""What is hashed of a column: its type, and the bytes of every value, whichever library holds it.

The table in `hashing.content_hash` says what these parts are.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from types import UnionType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

NO_FORM = (TypeError, ValueError, NotImplementedError)
CHUNK = 2**17  # of an index that is read at a time
TEXT = (pa.string(), pa.large_string(), pa.string_view())
# The type (and categories), the values uncopied, and what makes the two parts of a block of them.
Layout = tuple[tuple[Any, ...], Any, Callable[[Any], tuple[Any, ...]]]


def block_layout(column: pd.Series) -> Layout:
    """Return the layout of a column in format 2, where no block needs to know of the others."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _categories(column, by_block=True)
    layout = None if column.dtype == object else layout_of(column)
    if layout and layout[0] != (b"object",):
        return layout
    return () if len(column) else (b"text",), column.iloc, _objects_or_texts


def layout_of(column: pd.Series) -> Layout:
    """Return the layout of a column in format 1, where the whole column decides."""
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
    (kind,), values, encode = layout_of(block)
    if kind == b"object":
        missing, objects = block.isna().to_numpy(), block.to_numpy(dtype=object)
        if pd.api.types.infer_dtype(objects[~missing], skipna=False) in ("string", "empty"):
            return b"text", *_texts(np.where(missing, None, objects))
    return kind, *encode(values)


def _objects(block: Iterable[Any]) -> tuple[Any, Any]:
    return _in_a_row([exact(value) for value in block])


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
    forms = [exact(category) for category in categories[used]]
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
    for start in range(0, len(numbers), CHUNK):  # an index of other integers is copied
        occurs[numbers[start : start + CHUNK]] = True
    return np.flatnonzero(occurs[:-1])


def exact(value: Any) -> bytes:
    """Return what tells a value from all others, whichever library made it."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "Mm":
        value = value.tolist()
    if isinstance(value, dict):
        return b"dict:" + exact(list(value.items()))
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
