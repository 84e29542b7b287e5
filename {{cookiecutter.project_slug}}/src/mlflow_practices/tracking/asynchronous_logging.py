"""How metrics and parameters get to MLflow: at once, or from a thread while the stage continues."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from .. import privacy
from ..errors import PracticeError
from . import store

MAX_WAITING = 1_000  # calls whose batches wait; the next call waits until there is room


class LoggingError(PracticeError):
    """Metrics or parameters did not arrive; the message says why."""


class _Batch(NamedTuple):
    run_id: str
    metrics: list[Metric]
    params: list[Param]


@contextmanager
def log_asynchronously(enabled: bool) -> Iterator[None]:
    """Send what the body logs from a thread, and wait for the last batch at the end.

    Everything is sent, also when the body fails. Only metrics and parameters are sent later: other
    processes rely on tags and artifacts, so these are written at once.

    Raises:
        LoggingError: a batch did not arrive. The next call that logs raises it, or else the end.
    """
    if not enabled:
        yield
        return
    sender = _Sender()
    token = _sender.set(sender)
    try:
        yield
    finally:
        _sender.reset(token)
        sender.close()
    sender.raise_error()


def log_batch(run_id: str, metrics: list[Metric], params: list[Param]) -> None:
    """Log to a run, in requests of the size that MLflow allows."""
    if sender := _sender.get():
        sender.put(_Batch(run_id, metrics, params))
    else:
        MlflowClient().log_batch(run_id, metrics, params)


class _Sender:
    """A thread that sends batches in their order, and the waiting metrics of a run together."""

    def __init__(self) -> None:
        self._client = MlflowClient()
        self._queue: queue.Queue[_Batch | None] = queue.Queue(MAX_WAITING)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-sender", daemon=True)
        self._thread.start()

    def put(self, batch: _Batch) -> None:
        self.raise_error()
        self._queue.put(batch)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def raise_error(self) -> None:
        if self._error:
            raise LoggingError(
                f"{privacy.redact_text(self._client.tracking_uri)}: metrics or parameters of the "
                f"run did not arrive: {store.error_message(self._error)}"
            )

    def _work(self) -> None:
        closed = False
        while not closed:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get())
            closed = waiting[-1] is None
            if self._error is None:  # after an error the rest is dropped
                try:
                    self._send([batch for batch in waiting if batch])
                except Exception as error:  # noqa: BLE001  raised again where it is seen
                    self._error = error

    def _send(self, batches: list[_Batch]) -> None:
        for run_id, group in groupby(batches, lambda batch: batch.run_id):
            of_run = list(group)
            self._client.log_batch(run_id, [metric for batch in of_run for metric in batch.metrics])
            for batch in of_run:  # one by one, so that MLflow notices a changed value
                self._client.log_batch(run_id, params=batch.params)


_sender: ContextVar[_Sender | None] = ContextVar("sender", default=None)
