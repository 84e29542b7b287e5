"""What models were asked and what they answered: sampled, redacted, in Parquet, for monitoring.

The files are ``<folder>/date=2026-11-23/<name>.parquet``, days in UTC, a row for each predicted
row: `OWN`, then the inputs. A request only joins a queue; a thread of the worker process writes.
What goes wrong there is counted, and warned about once a cause; no request ever hears of it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from .. import machine, privacy

if TYPE_CHECKING:
    from ..config import sections
    from ..model.input_schema import Columns

OWN = ("request_id", "row", "time", "model_version", "latency_ms", "prediction")
CLOSE = 5  # seconds that the last rows have
_SEED = 20261123  # of the sample
_BYTES_A_ROW = 1000  # of a request's body; a longer row counts as several
_DAY = 86_400  # seconds
_log = logging.getLogger(__name__)


class _Request(NamedTuple):
    columns: Columns
    predictions: np.ndarray | Sequence[Any]
    version: str
    request_id: str
    seconds: float
    came: float  # seconds since 1970
    size: int  # rows, as far as memory is concerned

    def joins(self, other: _Request) -> bool:
        """Return whether both fit in one file."""
        return (
            self.version == other.version
            and self.came // _DAY == other.came // _DAY
            and self.columns.keys() == other.columns.keys()
        )


class InferenceLog:
    """The log of one worker process, in a folder that workers share."""

    def __init__(self, settings: sections.InferenceLog, folder: Path) -> None:
        """Start the thread that writes; it makes ``folder`` when there is something to write."""
        self.written = 0  # rows
        self.errors = 0  # attempts to write that failed
        self._settings, self._folder = settings, folder
        self._limit = int(settings.sample * 2**64)
        self._queue: deque[_Request] = deque()
        # Each of these is changed by one thread only, so that none needs a lock.
        self._came = self._gone = self._refused = self._lost = 0
        self._room = 0.0  # bytes to write before the next look at the folder's size
        self._causes: set[str] = set()
        self._wake, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="inference-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Rows of the sample that are not in the log: the queue was full, or they fit no file."""
        return self._refused + self._lost

    def append(
        self,
        columns: Columns,
        predictions: np.ndarray | Sequence[Any],
        version: str,
        request_id: str,
        seconds: float,
        size: int = 0,
    ) -> None:
        """Keep a request if it is in the sample; takes microseconds, and never raises.

        Args:
            columns: the input, which nobody may change afterwards.
            predictions: shape (rows,).
            version: of the model.
            request_id: decides whether the request is in the sample, in every process alike.
            seconds: that the request took.
            size: bytes of its body, so that long texts count in the bound of memory.
        """
        if xxhash.xxh3_64_intdigest(request_id.encode(errors="replace"), _SEED) >= self._limit:
            return
        rows = max(len(predictions), size // _BYTES_A_ROW)
        waiting = self._came - self._gone + rows
        if waiting > self._settings.max_waiting_rows:
            self._refused += len(predictions)
            return
        self._came += rows
        self._queue.append(
            _Request(columns, predictions, version, request_id, seconds, time.time(), rows)
        )
        if waiting >= self._settings.flush_rows:
            self._wake.set()

    def close(self) -> None:
        """Write what waits; give up after `CLOSE` seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE)

    def _work(self) -> None:
        self._attempt(self._remove_abandoned)
        closing = False
        while not closing:
            self._wake.wait(self._settings.flush_seconds)
            self._wake.clear()
            closing = self._closing
            while self._queue and self._flush():
                self._attempt(self._keep_within_limit)

    def _flush(self) -> bool:
        """Write one file; return False if the disk refused it, and the rows wait again."""
        taken = self._take()
        rows = sum(len(request.predictions) for request in taken)
        try:
            self._write(taken)
            self.written += rows
        except OSError as error:
            self._queue.extendleft(reversed(taken))
            self._warn(error)
            return False
        except Exception as error:  # noqa: BLE001  it must not end the thread
            self._lost += rows
            self._warn(error)
        self._gone += sum(request.size for request in taken)
        return True

    def _take(self) -> list[_Request]:
        """Take the oldest requests from the queue, as many as go into one file."""
        taken = [self._queue.popleft()]
        rows = len(taken[0].predictions)
        while self._queue and rows < self._settings.flush_rows and taken[0].joins(self._queue[0]):
            taken.append(self._queue.popleft())
            rows += len(taken[-1].predictions)
        return taken

    def _write(self, requests: list[_Request]) -> None:
        day = datetime.fromtimestamp(requests[0].came, UTC).date()
        folder = self._folder / f"date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns()}-{os.getpid()}-{socket.gethostname()}"
        unfinished = folder / f".{name}"
        pq.write_table(_table(requests), unfinished, compression="zstd")
        self._room -= unfinished.stat().st_size
        unfinished.rename(folder / f"{name}.parquet")

    def _keep_within_limit(self) -> None:
        """Remove the oldest files where there are too many, with some room for what comes."""
        if self._room > 0:
            return
        limit = self._settings.max_mb * 1e6
        sizes = {file: file.stat().st_size for file in _files(self._folder)}
        total = sum(sizes.values())
        keep = limit if total <= limit else 0.9 * limit
        for file, size in sizes.items():
            if total <= keep:
                break
            file.unlink(missing_ok=True)
            total -= size
            with suppress(OSError):  # the day has other files
                file.parent.rmdir()
        self._room = (limit - total) / 10  # other workers write too

    def _remove_abandoned(self) -> None:
        """Remove what killed processes left unfinished: of another machine, after an hour."""
        for file in self._folder.glob("date=*/.*-*-*"):
            _, pid, host = file.name.split("-", 2)
            # In a container each start has the same number; this one has begun no file yet.
            dead = int(pid) == os.getpid() or not machine.is_alive(int(pid))
            if (host == socket.gethostname() and dead) or time.time() - file.stat().st_mtime > 3600:
                file.unlink(missing_ok=True)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001  nor may this
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Count an error, and name its cause the first time; its own words may hold values."""
        self.errors += 1
        number = error.errno if isinstance(error, OSError) else None
        cause = os.strerror(number) if number else type(error).__name__
        if cause not in self._causes:
            self._causes.add(cause)
            _log.warning("%s: the inference log has a gap or is late: %s", self._folder, cause)


def read(folder: Path, since: date | None = None) -> pd.DataFrame:
    """Return the rows of all days from ``since`` on (UTC), in the order in which they were written.

    `OWN` come first, then the inputs of all model versions. An input is missing in the rows of a
    version without it, and text where its type changed. A damaged file is warned of and left out.
    """
    tables = []
    for file in _files(folder, since):
        try:
            tables.append(pq.read_table(file, partitioning=None))
        except FileNotFoundError:
            pass  # a worker has removed it: the log became too large
        except pa.ArrowInvalid:
            _log.warning("%s: is damaged, and left out", file)
    if not tables:
        return pd.DataFrame(columns=list(OWN))
    types: dict[str, list[pa.DataType]] = {}
    for field in (field for table in tables for field in table.schema):
        types.setdefault(field.name, []).append(field.type)
    common = {name: _common(found) for name, found in types.items()}
    tables = [
        table.cast(pa.schema([(name, common[name]) for name in table.column_names]))
        for table in tables
    ]
    return pa.concat_tables(tables, promote_options="default").to_pandas()


def input_names(columns: Iterable[str]) -> dict[str, str]:
    """Return under which name each input is in the log: its own, unless the log uses that."""
    names = {name: name for name in columns}
    for name in {*OWN, "date"} & names.keys():
        while names[name] in {*OWN, "date"} or (names[name] != name and names[name] in names):
            names[name] = f"input_{names[name]}"
    return names


def _files(folder: Path, since: date | None = None) -> list[Path]:
    """Return the finished files of those days, oldest first."""
    return sorted(
        file
        for day in folder.glob("date=*")
        if since is None or day.name >= f"date={since}"
        for file in day.glob("*.parquet")
    )


def _table(requests: list[_Request]) -> pa.Table:
    """Return the rows of requests to one model version, redacted."""
    rows = [len(request.predictions) for request in requests]
    own = (
        np.repeat(np.array([request.request_id for request in requests], dtype=object), rows),
        np.arange(sum(rows)) - np.repeat(np.cumsum(rows) - rows, rows),
        pd.to_datetime(np.repeat([request.came for request in requests], rows), unit="s", utc=True),
        requests[0].version,
        np.repeat([1000 * request.seconds for request in requests], rows),
        _joined([np.asarray(request.predictions) for request in requests]),
    )
    inputs = {
        name: _joined([request.columns[column] for request in requests])
        for column, name in input_names(requests[0].columns).items()
    }
    frame = pd.DataFrame(dict(zip(OWN, own, strict=True)) | inputs)
    redacted = privacy.redact_table(frame)
    return pa.Table.from_pandas(redacted, preserve_index=False).replace_schema_metadata()


def _joined(parts: list[np.ndarray]) -> Any:
    """Join arrays; booleans with gaps get a dtype of their own, as objects are redacted slowly."""
    joined = np.concatenate(parts)
    if joined.dtype == object and isinstance(next(filter(None, joined), None), bool | np.bool_):
        return pd.array(joined, dtype="boolean")
    return joined


def _common(types: list[pa.DataType]) -> pa.DataType:
    """Return a type that holds the values of all: text if nothing else does."""
    schemas = [pa.schema([("", kind)]) for kind in types]
    with suppress(pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    return pa.large_string()
