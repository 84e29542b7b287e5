"""Requests and their predictions: sampled, redacted, written to Parquet files for monitoring.

A request only joins a queue; a thread of the worker process writes. An error while writing is
counted, and logged once for each cause; it never reaches a request.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import xxhash

from .. import machine
from .inference_files import LoggedRequest, build_table, list_files

if TYPE_CHECKING:
    from ..config import sections
    from ..model.input_schema import Columns

CLOSE_SECONDS = 5  # for writing the last rows
ABANDONED_SECONDS = 3600  # then another machine no longer writes an unfinished file
_SAMPLE_SEED = 20261123
_BODY_BYTES_PER_ROW = 1000  # a longer row counts as several
_log = logging.getLogger(__name__)


class InferenceLog:
    """The log of one worker process, in a folder that workers share."""

    def __init__(self, settings: sections.InferenceLog, folder: Path) -> None:
        """Start the thread that writes; it creates ``folder`` when there is something to write."""
        self.written = 0  # rows
        self.dropped = 0  # rows of the sample that are not written: the queue was full, or an error
        self.errors = 0  # attempts to write that failed
        self._settings, self._folder = settings, folder
        self._sample_limit = int(settings.sample * 2**64)
        self._queue: deque[LoggedRequest] = deque()
        self._waiting_rows = 0
        self._lock = threading.Lock()  # of `dropped` and `_waiting_rows`
        self._bytes_before_check = 0.0  # to write before the folder's size is measured again
        self._causes: set[str] = set()
        self._wake, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="inference-log", daemon=True)
        self._thread.start()

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
            request_id: decides whether the request is in the sample, equally in every process.
            seconds: that the request took.
            size: bytes of its body, so that long texts count in the limit of memory.
        """
        id_bytes = request_id.encode(errors="replace")
        if xxhash.xxh3_64_intdigest(id_bytes, _SAMPLE_SEED) >= self._sample_limit:
            return
        rows = max(len(predictions), size // _BODY_BYTES_PER_ROW)
        with self._lock:
            if self._waiting_rows + rows > self._settings.max_waiting_rows:
                self.dropped += len(predictions)
                return
            self._waiting_rows += rows
        self._queue.append(
            LoggedRequest(columns, predictions, version, request_id, seconds, time.time(), rows)
        )
        if self._waiting_rows >= self._settings.flush_rows:
            self._wake.set()

    def close(self) -> None:
        """Write the rows that wait; give up after `CLOSE_SECONDS`."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        self._attempt(self._remove_abandoned)
        closing = False
        while not closing:
            self._wake.wait(self._settings.flush_seconds)
            self._wake.clear()
            closing = self._closing
            while self._queue and self._flush():
                self._attempt(self._limit_size)

    def _flush(self) -> bool:
        """Write one file; return False if the disk refused it, and the rows wait again."""
        requests = self._take_for_one_file()
        rows = sum(len(request.predictions) for request in requests)
        lost = 0
        try:
            self._write(requests)
            self.written += rows
        except OSError as error:
            self._queue.extendleft(reversed(requests))
            self._count_error(error)
            return False
        except Exception as error:  # noqa: BLE001  it must not end the thread
            lost = rows
            self._count_error(error)
        with self._lock:
            self.dropped += lost
            self._waiting_rows -= sum(request.waiting_rows for request in requests)
        return True

    def _take_for_one_file(self) -> list[LoggedRequest]:
        """Take the oldest requests that fit into one file from the queue."""
        taken = [self._queue.popleft()]
        rows = len(taken[0].predictions)
        while self._queue and rows < self._settings.flush_rows:
            if self._queue[0].file_key != taken[0].file_key:
                break
            taken.append(self._queue.popleft())
            rows += len(taken[-1].predictions)
        return taken

    def _write(self, requests: list[LoggedRequest]) -> None:
        day = datetime.fromtimestamp(requests[0].time, UTC).date()
        folder = self._folder / f"date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns()}-{os.getpid()}-{socket.gethostname()}"
        unfinished = folder / f".{name}"
        pq.write_table(build_table(requests), unfinished, compression="zstd")
        self._bytes_before_check -= unfinished.stat().st_size
        unfinished.rename(folder / f"{name}.parquet")

    def _limit_size(self) -> None:
        """Remove the oldest files if all together are too large; leave some room for new ones."""
        if self._bytes_before_check > 0:
            return
        limit = self._settings.max_mb * 1e6
        sizes = {file: file.stat().st_size for file in list_files(self._folder)}
        total = sum(sizes.values())
        wanted = limit if total <= limit else 0.9 * limit
        for file, size in sizes.items():
            if total <= wanted:
                break
            file.unlink(missing_ok=True)
            total -= size
            with suppress(OSError):  # the day has other files
                file.parent.rmdir()
        self._bytes_before_check = (limit - total) / 10  # other workers write too

    def _remove_abandoned(self) -> None:
        """Remove unfinished files of killed processes; those of other machines after an hour."""
        for file in self._folder.glob("date=*/.*-*-*"):
            _, process, host = file.name.split("-", 2)
            # In a container every start has the same process id; this one has no file yet.
            is_dead = int(process) == os.getpid() or not machine.is_alive(int(process))
            is_old = time.time() - file.stat().st_mtime > ABANDONED_SECONDS
            if is_old or (is_dead and host == socket.gethostname()):
                file.unlink(missing_ok=True)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001  it must not end the thread
            self._count_error(error)

    def _count_error(self, error: Exception) -> None:
        self.errors += 1
        # Not the error's own message, which may hold values.
        number = error.errno if isinstance(error, OSError) else None
        cause = os.strerror(number) if number else type(error).__name__
        if cause not in self._causes:
            self._causes.add(cause)
            _log.warning("%s: the inference log has a gap or is late: %s", self._folder, cause)
