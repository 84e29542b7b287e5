"""Content hashes: the same table gives the same digest on every machine, any change another.

A table is hashed in fixed blocks of rows. Each block has a digest of its own, so several machines
can hash one table: `combine(map(block_hash, blocks(table)), len(table))` is `content_hash(table)`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xxhash

from . import DataError
from .hash_encoding import NOT_HASHABLE, exact, layout

FORMAT = "2"  # the prefix of the digest; format 1, which `matches` still verifies, has no prefix
BLOCK = 2**17  # rows: few enough for a processor's cache; another number gives other digests

Algorithm = Literal["xxh3_128", "sha256"]
ALGORITHMS: dict[int, Algorithm] = {32: "xxh3_128", 64: "sha256"}  # by hexadecimal digits


def content_hash(table: pd.DataFrame, algorithm: Algorithm = "xxh3_128") -> str:
    """Return a digest over names, types, order and every value of ``table``: ``2-<hexadecimal>``.

    The index does not count; the order of rows and of columns does. How pandas holds the values
    does not: text is text as ``str``, ``string`` or objects, ``Int64`` is ``int64``, and dates are
    alike in every unit. All missing values of a column are equal. Categories that no row has are
    ignored, unless they are ordered. XXH3 finds accidents, in 34 characters (MLflow takes 36);
    SHA-256 also finds forgeries, and takes longer.

    The table's digest is over its number of rows (int64) and the hexadecimal digests of its
    blocks of 131,072 rows (at least one). A block's digest is over its numbers of rows and columns
    (int64) and over each column: the name (as an object), the type and, if there are rows, two
    parts. After the type of categories come those that the block has (as objects, sorted); after
    that of ordered ones, all in their order. Objects are text where all that is not missing in the
    block is text. All is little-endian, each part after its number of bytes (int64).

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
        DataError: a column holds objects other than numbers, text, bytes, dates, times, periods,
            intervals, and lists and dictionaries of those.
    """
    return combine(_hash(table, algorithm), len(table), algorithm)


def blocks(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the blocks of rows that are hashed apart, uncopied and in order; at least one."""
    for start in range(0, max(len(table), 1), BLOCK):
        yield table.iloc[start : start + BLOCK]


def block_hash(rows: pd.DataFrame, algorithm: Algorithm = "xxh3_128") -> str:
    """Return the hexadecimal digest of one block; raises as `content_hash` does."""
    if len(rows) > BLOCK:
        raise DataError(f"a block of {len(rows):,} rows: at most {BLOCK:,} are hashed at once")
    return _hash(rows, algorithm)[0]


def combine(block_hashes: Iterable[str], rows: int, algorithm: Algorithm = "xxh3_128") -> str:
    """Return the `content_hash` of a table of ``rows`` rows from the digests of its blocks.

    Args:
        block_hashes: what `block_hash` returned for each of the `blocks`, in order.
        rows: of the whole table.
        algorithm: the one of the blocks.

    Raises:
        DataError: the number of blocks does not fit the rows, or one is not a digest.
    """
    state, count = _new_state(algorithm), 0
    _update(state, np.array([rows], dtype=np.int64))
    for count, digest in enumerate(block_hashes, start=1):
        if ALGORITHMS.get(len(digest)) != algorithm:
            raise DataError(f"block {count}: {digest!r} is not a digest by {algorithm}")
        _update(state, digest.encode())
    expected = len(range(0, max(rows, 1), BLOCK))
    if count != expected:
        raise DataError(f"{rows:,} rows are {expected:,} blocks, not {count:,}")
    return f"{FORMAT}-{state.hexdigest()}"


def matches(table: pd.DataFrame, digest: str) -> bool:
    """Return whether ``digest`` is the table's, in the format and algorithm that it names.

    Raises:
        DataError: the format is unknown, it is no digest, or the table has none.
    """
    version, _, value = digest.rpartition("-")
    if version not in ("", FORMAT):
        raise DataError(
            f"{digest!r}: content hashes of format {version} are unknown here, only 1 (without a "
            f"prefix) and {FORMAT}; update the practices, or prepare the data again"
        )
    algorithm = ALGORITHMS.get(len(value))
    if algorithm is None:
        raise DataError(f"{digest!r} is no content hash: those end with 32 or 64 digits")
    if version:
        return content_hash(table, algorithm) == digest
    return _hash(table, algorithm, by_block=False) == [digest]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(table: pd.DataFrame, algorithm: Algorithm, by_block: bool = True) -> list[str]:
    """Return the digest of each block, or in format 1 that of all rows."""
    rows, columns = table.shape
    step = BLOCK if by_block else max(rows, 1)  # rows of a digest
    states = []
    for start in range(0, max(rows, 1), step):
        state = _new_state(algorithm)
        _update(state, np.array([min(step, rows - start), columns], dtype=np.int64))
        states.append(state)
    for name, column in table.items():
        try:
            header, values, encode = layout(column, by_block)
            for state in states:
                for part in (exact(name), *header):
                    _update(state, part)
            for start in range(0, rows, BLOCK):
                for part in encode(values[start : start + BLOCK]):
                    _update(states[start // step], part)
        except NOT_HASHABLE:  # its message may show a value
            raise DataError(
                f"column {name!r}: its values ({column.dtype}) have no exact form to hash; "
                "make them text, numbers or dates"
            ) from None
    return [state.hexdigest() for state in states]


def _new_state(algorithm: Algorithm) -> Any:
    return xxhash.xxh3_128() if algorithm == "xxh3_128" else hashlib.sha256()


def _update(state: Any, part: Any) -> None:
    if isinstance(part, np.ndarray):
        part = np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<"))
    state.update(memoryview(part).nbytes.to_bytes(8, "little"))
    state.update(part)
