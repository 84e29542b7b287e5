"""Predicts the rows of a request: by the model or its canary, from the cache, inline or in a thread."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import joblib

from ..model.input_schema import Columns, RefusalError, count_rows
from ..scoring.served_model import ServedModel
from . import prometheus, protocol
from .alias_follower import AliasFollower
from .cache import cache_model_predictions
from .stores import Prediction, Store

INLINE_SECONDS = 0.002  # a batch that takes longer is predicted in a thread, and
INLINE_BYTES = 65_536  # a larger body is parsed there, so that others do not wait for it


class Answer(NamedTuple):
    """The rows of a request, their predictions, and the body of the response."""

    columns: Columns
    predictions: list[Prediction]
    content: bytes


class Predictor:
    """Predicts by the model that the follower holds."""

    def __init__(self, follower: AliasFollower, store: Store | None) -> None:
        """Prepare it; ``store`` keeps predictions."""
        self._follower, self._store = follower, store
        self._threads = ThreadPoolExecutor(joblib.cpu_count(), "predict")

    async def answer(self, body: bytes, content_type: str, entry: dict[str, Any]) -> Answer:
        """Answer a request with the champion, or a share of them with the canary.

        If the canary fails, the champion answers. The version, the rows and more are added to
        ``entry``, the request's line of the access log.
        """
        model, running = self._follower.model, self._follower.canary
        if model is None:
            raise RefusalError("not_ready", "no model is loaded yet; see /health", 503)
        if running is None or random.random() >= running[0].share:
            return await self._predict(model, body, content_type, entry)
        candidate, start = running[1], time.perf_counter()
        try:
            return await self._predict(candidate, body, content_type, entry)
        except RefusalError as refusal:
            status, problem = refusal.status, refusal.kind
        except Exception as error:  # noqa: BLE001  no client may lose a request by it
            status, problem = 500, type(error).__name__
        seconds = time.perf_counter() - start
        answer = await self._predict(model, body, content_type, entry)
        # Only now: what the champion refuses, too, does not speak against the canary.
        prometheus.count_request(status, str(candidate.version), seconds)
        entry["canary"] = {"version": str(candidate.version), "error": problem}
        return answer

    async def _predict(
        self, model: ServedModel, body: bytes, content_type: str, entry: dict[str, Any]
    ) -> Answer:
        entry["version"] = str(model.version)
        parse = partial(protocol.parse_request, body, content_type, model.input_schema)
        columns = await self._in_thread(parse) if len(body) > INLINE_BYTES else parse()
        entry["rows"] = count_rows(columns)
        predictions, hits = await cache_model_predictions(
            self._store, model.key, columns, partial(self._run, model)
        )
        if hits:
            entry["cache_hits"] = hits
        return Answer(columns, predictions, protocol.format_response(predictions))

    async def _run(self, model: ServedModel, columns: Columns) -> list[Prediction]:
        predict = partial(model.predict, columns)
        is_slow = model.seconds(count_rows(columns)) > INLINE_SECONDS
        predictions = await self._in_thread(predict) if is_slow else predict()
        answers: list[Prediction] = predictions.tolist()
        return answers

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)
