"""How metrics and parameters get to MLflow: at once, or from a thread while the stage goes on."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param

from .. import privacy
from ..errors import PracticeError
from . import store

WAITING = 1_000  # calls that wait to be sent; one more waits itself


class LoggingError(PracticeError):
    """Metrics or parameters did not arrive; the message says why."""


class _Batch(NamedTuple):
    run_id: str
    metrics: list[Metric]
    params: list[Param]


@contextmanager
def log_asynchronously(wanted: bool) -> Iterator[None]:
    """If wanted, send what is logged within from a thread, and at the end wait for the last.

    It is all sent too when the body fails. Only metrics and parameters: tags and artifacts are
    what other processes go by, and stay in their place in time.

    Raises:
        LoggingError: something did not arrive; at the next call that logs, else at the end.
    """
    if not wanted:
        yield
        return
    sender = _Sender()
    token = _current.set(sender)
    try:
        yield
    finally:
        _current.reset(token)
        sender.finish()
    sender.check()


def log_batch(run_id: str, metrics: list[Metric], params: list[Param]) -> None:
    """Send to a run, in requests of the size that MLflow allows."""
    if sender := _current.get():
        sender.put(_Batch(run_id, metrics, params))
    else:
        MlflowClient().log_batch(run_id, metrics, params)


class _Sender:
    """A thread that sends in order; metrics that wait go together."""

    def __init__(self) -> None:
        self._client = MlflowClient()
        self._waiting: list[_Batch] = []
        self._finished = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="mlflow-sender", daemon=True)
        self._thread.start()

    def put(self, batch: _Batch) -> None:
        self.check()
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < WAITING)
            self._waiting.append(batch)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until everything has been sent, or something failed."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()
        self._thread.join()

    def check(self) -> None:
        if self._error is None:
            return
        place = privacy.redact_text(mlflow.get_tracking_uri())
        reason = (
            store.error_message(self._error)
            if isinstance(self._error, MlflowException)
            else privacy.redact_text(f"{type(self._error).__name__}: {self._error}")
        )
        raise LoggingError(f"{place}: metrics or parameters of the run did not arrive: {reason}")

    def _work(self) -> None:
        while batches := self._next():
            try:
                for run_id, group in itertools.groupby(batches, lambda batch: batch.run_id):
                    self._send(run_id, list(group))
            except Exception as error:  # noqa: BLE001  `check` raises it where it is seen
                self._error = error

    def _next(self) -> list[_Batch]:
        """Wait for batches and take all; none after the last. After an error they are let go."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._finished)
            batches, self._waiting = self._waiting, []
            self._changed.notify_all()
        return batches

    def _send(self, run_id: str, batches: list[_Batch]) -> None:
        if self._error is None:
            self._client.log_batch(
                run_id, [metric for batch in batches for metric in batch.metrics]
            )
            for batch in batches:  # each alone, so that MLflow sees one that changes a value
                self._client.log_batch(run_id, params=batch.params)


_current: ContextVar[_Sender | None] = ContextVar("sender", default=None)
