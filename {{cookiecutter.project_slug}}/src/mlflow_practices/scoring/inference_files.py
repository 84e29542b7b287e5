"""The files of the inference log: ``<folder>/date=2026-11-23/<name>.parquet``, days in UTC.

Each predicted row is a row: first the `LOG_COLUMNS`, then the inputs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import privacy

if TYPE_CHECKING:
    from ..model.input_schema import Columns

LOG_COLUMNS = ("request_id", "row", "time", "model_version", "latency_ms", "prediction")
_DAY_SECONDS = 86_400
_log = logging.getLogger(__name__)


class LoggedRequest(NamedTuple):
    """A request that waits to be written."""

    columns: Columns
    predictions: np.ndarray | Sequence[Any]
    version: str
    request_id: str
    seconds: float
    time: float  # seconds since 1970
    waiting_rows: int  # more than its rows if its body is long

    @property
    def file_key(self) -> tuple[Any, ...]:
        """What requests in the same file have in common."""
        return self.version, self.time // _DAY_SECONDS, self.columns.keys()


def read(folder: Path, since: date | None = None) -> pd.DataFrame:
    """Return the rows of all days from ``since`` on (UTC), in the order in which they were written.

    `LOG_COLUMNS` come first, then the inputs of all model versions. An input is missing in the rows
    of a version without it, and text if its type changed. A damaged file is logged and left out.
    """
    tables = []
    for file in list_files(folder, since):
        try:
            tables.append(pq.read_table(file, partitioning=None))
        except FileNotFoundError:
            pass  # a worker has removed it: the log became too large
        except pa.ArrowInvalid:
            _log.warning("%s: is damaged, and left out", file)
    if not tables:
        return pd.DataFrame(columns=list(LOG_COLUMNS))
    types: dict[str, list[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, []).append(field.type)
    common = {name: _common_type(found) for name, found in types.items()}
    schemas = [pa.schema([(name, common[name]) for name in t.column_names]) for t in tables]
    tables = [table.cast(schema) for table, schema in zip(tables, schemas, strict=True)]
    return pa.concat_tables(tables, promote_options="default").to_pandas()


def list_files(folder: Path, since: date | None = None) -> list[Path]:
    """Return the finished files of all days from ``since`` on, oldest first."""
    days = [day for day in folder.glob("date=*") if since is None or day.name >= f"date={since}"]
    return sorted(file for day in days for file in day.glob("*.parquet"))


def input_names(columns: Iterable[str]) -> dict[str, str]:
    """Return the name of each input in the log: its own, unless the log uses that itself."""
    reserved = {*LOG_COLUMNS, "date"}
    names = {name: name for name in columns}
    for name in reserved & names.keys():
        new = f"input_{name}"
        while new in names or new in reserved:
            new = f"input_{new}"
        names[name] = new
    return names


def build_table(requests: list[LoggedRequest]) -> pa.Table:
    """Return the rows of requests with the same ``file_key``, redacted."""
    rows = [len(request.predictions) for request in requests]
    first_rows = np.repeat(np.cumsum(rows) - rows, rows)
    request_ids = np.array([request.request_id for request in requests], dtype=object)
    times = np.repeat([request.time for request in requests], rows)
    values: dict[str, Any] = {
        "request_id": np.repeat(request_ids, rows),
        "row": np.arange(sum(rows)) - first_rows,
        "time": pd.to_datetime(times, unit="s", utc=True),
        "model_version": requests[0].version,
        "latency_ms": np.repeat([1000 * request.seconds for request in requests], rows),
        "prediction": _concatenate([np.asarray(request.predictions) for request in requests]),
    }
    for column, name in input_names(requests[0].columns).items():
        values[name] = _concatenate([request.columns[column] for request in requests])
    redacted = privacy.redact_table(pd.DataFrame(values))
    return pa.Table.from_pandas(redacted, preserve_index=False).replace_schema_metadata()


def _concatenate(parts: list[np.ndarray]) -> Any:
    joined = np.concatenate(parts)
    if joined.dtype == object:
        first = next((value for value in joined if value is not None), None)
        if isinstance(first, bool | np.bool_):
            return pd.array(joined, dtype="boolean")  # redacted much faster than objects
    return joined


def _common_type(types: list[pa.DataType]) -> pa.DataType:
    """Return a type that holds the values of all: text if nothing else does."""
    schemas = [pa.schema([("", each)]) for each in types]
    with suppress(pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    return pa.large_string()
