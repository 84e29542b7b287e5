"""The bytes that are hashed of a column; the table in `hashing.content_hash` names the parts."""

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from types import UnionType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

NOT_HASHABLE = (TypeError, ValueError, NotImplementedError)
ROWS = 2**17  # numbers that are looked up at a time
TEXT_TYPES = (pa.string(), pa.large_string(), pa.string_view())
TEXT_OR_MISSING = ("string", "empty")  # as pandas names what objects are


class Layout(NamedTuple):
    """A column's type (and categories), its values without a copy, and what encodes a block."""

    header: tuple[Any, ...]
    values: Any
    encode: Callable[[Any], tuple[Any, ...]]


def layout(column: pd.Series, by_block: bool) -> Layout:
    """Return how a column is hashed: in format 2 ``by_block``, in format 1 as a whole."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _category_layout(column, by_block)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zone = pa.timestamp("us", column.dtype.tz).tz  # spelled alike by all versions of pandas
        values = column.dt.tz_convert(None).to_numpy()
        return Layout((f"datetime {zone}".encode(),), values, _times)
    if column.dtype == object:
        if not by_block and pd.api.types.infer_dtype(column.to_numpy()) in TEXT_OR_MISSING:
            return Layout((b"text",), column.to_numpy(), _texts)
        return _object_layout(column, by_block)
    values = column.to_numpy() if isinstance(column.dtype, np.dtype) else pa.array(column)
    arrow_type = getattr(values, "type", None)
    if arrow_type in TEXT_TYPES:
        return Layout((b"text",), values, _texts)
    dtype = np.asarray(values[:0]).dtype
    if isinstance(arrow_type, pa.BaseExtensionType) or dtype.kind not in "iubfMm":
        return _object_layout(column, by_block)
    if dtype.kind == "m":
        return Layout((b"timedelta",), values, _times)
    if dtype.kind == "M":
        kind = "date" if arrow_type == pa.date32() else "datetime"
        zone = getattr(arrow_type, "tz", None) or ""
        return Layout((f"{kind} {zone}".strip().encode(),), values, _times)
    encode = _floats if dtype.kind == "f" else _integers
    return Layout((dtype.name.encode(),), values, encode)


def _object_layout(column: pd.Series, by_block: bool) -> Layout:
    if not by_block:
        return Layout((b"object",), column.array, _objects)
    header = () if len(column) else (b"text",)  # else each block has a type of its own
    return Layout(header, column.iloc, _typed_objects)


@np.errstate(all="ignore")
def _floats(block: Any) -> tuple[Any, Any]:
    values = np.ascontiguousarray(block)
    if not np.isnan(values.dot(values)):  # twice as fast as a look at each value
        return values, b""
    missing = np.isnan(values)
    one_nan = np.array(np.nan, values.dtype)
    bits = values.view(f"i{values.itemsize}")
    has_its_bits = bits == one_nan.view(bits.dtype)
    if not np.array_equal(has_its_bits, missing):  # NaN has many bit patterns
        values = np.where(missing, one_nan, values)
    return values, b""


def _integers(block: Any) -> tuple[Any, Any]:
    if isinstance(block, np.ndarray) or not block.null_count:
        return np.asarray(block), b""
    return np.asarray(block.fill_null(pa.scalar(0).cast(block.type))), np.asarray(block.is_null())


def _times(block: Any) -> tuple[Any, Any]:
    values = np.asarray(block)
    microseconds = values.astype(f"{values.dtype.kind}8[us]", copy=False)
    if np.datetime_data(values.dtype)[0] != "ns":
        return microseconds.view(np.int64), b""
    nanoseconds = np.where(np.isnat(values), 0, (values - microseconds).view(np.int64))
    return microseconds.view(np.int64), nanoseconds if nanoseconds.any() else b""


def _texts(block: Any) -> tuple[Any, Any]:
    if isinstance(block, np.ndarray):
        block = pa.array(block, pa.large_string(), from_pandas=True)
    if isinstance(block, pa.ChunkedArray):
        block = block.combine_chunks()
    texts = block.cast(pa.large_string())
    _, offsets, content = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    sizes = np.diff(ends)
    if texts.null_count:
        missing = np.asarray(texts.is_null())
        if sizes[missing].any():  # Arrow allows any bytes below a missing value
            sizes, joined = _texts(texts.fill_null(""))
            return sizes - missing, joined
        sizes = sizes - missing
    return sizes, memoryview(content or b"")[ends[0] : ends[-1]]


def _typed_objects(block: pd.Series) -> tuple[Any, ...]:
    """Return the type of a block and its parts: text if all that is not missing is text."""
    objects = block.to_numpy(dtype=object)
    if pd.api.types.infer_dtype(objects) == "string":  # or missing
        return b"text", *_texts(objects)
    missing = block.isna().to_numpy()  # also what Arrow does not know as missing
    if pd.api.types.infer_dtype(objects[~missing], skipna=False) in TEXT_OR_MISSING:
        return b"text", *_texts(np.where(missing, None, objects))
    return b"object", *_objects(block.array)


def _objects(block: Iterable[Any]) -> tuple[Any, Any]:
    return _joined([exact(value) for value in block])


def _joined(values: list[bytes]) -> tuple[Any, Any]:
    return np.array([len(value) for value in values], dtype="<i8"), b"".join(values)


def _category_layout(column: pd.Series, by_block: bool) -> Layout:
    """Number the categories in use: of the whole column in format 1, of each block in format 2.

    In format 2 all categories of an ordered column count: no block knows which others are in use,
    and the order of two that share no block must count.
    """
    codes, categories = column.cat.codes.to_numpy(), column.cat.categories
    ordered = column.cat.ordered
    used = _used(codes, len(categories))
    if by_block and ordered:
        used = np.arange(len(categories))
    names = [exact(category) for category in categories[used]]
    if not ordered:
        order = sorted(range(len(names)), key=names.__getitem__)
        used, names = used[order], [names[position] for position in order]
    numbers = _numbering(used, len(categories))

    def encode_block(block: Any) -> tuple[Any, ...]:
        in_column = numbers[block]
        present = _used(in_column, len(names))
        in_block = _numbering(present, len(names))[in_column]
        return *_joined([names[number] for number in present]), in_block, b""

    if by_block and not ordered:
        return Layout((b"category",), codes, encode_block)
    kind = b"ordered" if ordered else b"category"
    return Layout((kind, *_joined(names)), codes, lambda block: (numbers[block], b""))


def _used(codes: Any, count: int) -> Any:
    """Return in order which codes below ``count`` occur; -1 is a missing value."""
    occurs = np.zeros(count + 1, dtype=bool)
    for start in range(0, len(codes), ROWS):  # an index of small integers is copied
        occurs[codes[start : start + ROWS]] = True
    return np.flatnonzero(occurs[:-1])


def _numbering(used: Any, count: int) -> Any:
    """Return the number of each code below ``count``, and last that of a missing value, -1."""
    numbers = np.full(count + 1, -1)
    numbers[used] = np.arange(len(used))
    return numbers


def exact(value: Any) -> bytes:
    """Return bytes that no other value has, whichever library made it."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in "Mm":
        value = value.tolist()
    if isinstance(value, dict):
        return b"dict:" + exact(list(value.items()))
    if isinstance(value, list | tuple):
        sizes, joined = _objects(value)
        return b"".join([b"list:", sizes.tobytes(), joined])
    if pd.isna(value):
        return b""
    for types, name, write in EXACT:
        if isinstance(value, types):
            text = write(value)
            return name + b":" + (text if isinstance(text, bytes) else text.encode())
    raise TypeError


def _decimal(number: Decimal) -> str:
    text = f"{number:f}" if number else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


# The first that fits: a bool is an int, and a datetime a date.
EXACT: tuple[tuple[type | UnionType, bytes, Callable[[Any], str | bytes]], ...] = (
    (str, b"text", str),
    (bool, b"bool", str),
    (int, b"int", str),
    (float | complex, b"number", lambda number: repr(number + 0.0)),
    (bytes, b"bytes", bytes),
    (Decimal, b"decimal", _decimal),
    (dt.datetime, b"datetime", lambda time: pd.Timestamp(time).isoformat(timespec="nanoseconds")),
    (dt.date | dt.time, b"date", lambda time: time.isoformat()),
    (dt.timedelta, b"timedelta", lambda time: pd.Timedelta(time).isoformat()),
    (pd.Period | pd.Interval, b"span", repr),
)
