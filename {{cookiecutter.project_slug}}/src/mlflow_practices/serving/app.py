"""The serving application: an ASGI application that serves one reference of the registry.

MLflow's own server turns a request into a table, coerces it to the signature and runs scikit-learn,
which takes 9 ms for a row that ONNX Runtime predicts in 0.02. So ``/invocations`` is answered here,
in front of FastAPI and its middleware, which answer the other paths.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from .. import privacy
from ..model.input_schema import RefusalError
from ..registry.versions import ModelReference
from ..scoring.inference_log import InferenceLog
from ..scoring.served_model import ServedModel
from ..tracking import utc_now
from ..tracking.session import Session
from . import cache, endpoints, prometheus
from .access_log import AccessLog
from .alias_follower import AliasFollower
from .predictor import Predictor
from .settings import ServingSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

UPDATE_SECONDS = 0.5  # between two updates of the metrics that others count
REQUEST_ID = re.compile(rb"[\w.-]{1,64}")
log = logging.getLogger(__name__)


class Application:
    """Answers requests by the model that an alias names."""

    def __init__(self, session: Session, reference: ModelReference) -> None:
        """Prepare it; the model is loaded when the server starts it (ASGI's lifespan)."""
        settings = session.settings.section(ServingSettings)
        self._max_body_mb = settings.max_body_mb
        self._store = cache.open_store(settings.cache)
        self._follower = AliasFollower(session, reference, self._measure_cache)
        self._predictor = Predictor(self._follower, self._store)
        self._inference_log = InferenceLog(settings.log, session.settings.path(settings.log.folder))
        self._access_log = AccessLog()
        self._api = endpoints.create(self._follower, self._store, self._update_metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or follow the server's start and end."""
        if scope["type"] == "lifespan":
            await self._start_and_end(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _start_and_end(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loop = asyncio.get_running_loop()
        # First, since a worker without a model must not take requests that another can answer.
        await asyncio.to_thread(self._follower.check_alias)
        self._follower.start()
        updating = asyncio.create_task(self._update_regularly())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        updating.cancel()
        self._follower.end()
        await asyncio.to_thread(self._inference_log.close)
        if self._store:
            await self._store.close()
        self._access_log.flush()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else random.randbytes(16).hex()
        entry: dict[str, Any] = {
            "time": utc_now(),
            "request_id": request_id,
            "method": scope["method"],
            "path": privacy.redact_text(scope["path"][:200]),
        }

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                id_header = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), id_header]
                entry["status"] = message["status"]
            await send(message)

        is_invocation = scope["path"] == "/invocations" and scope["method"] == "POST"
        try:
            if is_invocation:
                await self._invoke(headers, receive, send_with_id, entry, start)
            else:
                await self._api(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - start
            if is_invocation:
                prometheus.count_request(entry.get("status", 0), entry.get("version", ""), seconds)
            if "rows" in entry:
                prometheus.batch_rows.observe(entry["rows"])
            self._access_log.add(entry | {"ms": round(1000 * seconds, 3)})

    async def _invoke(
        self,
        headers: dict[bytes, bytes],
        receive: Receive,
        send: Send,
        entry: dict[str, Any],
        start: float,
    ) -> None:
        answered = None
        answer_headers = [(b"content-type", b"application/json")]
        try:
            body = await self._read_body(headers, receive)
            content_type = headers.get(b"content-type", b"").decode("latin-1")
            answered = await self._predictor.answer(body, content_type, entry)
            status, content = 200, answered.content
            answer_headers.append((b"x-model-version", entry["version"].encode()))
        except Exception as error:  # noqa: BLE001  the caller learns no more than a refusal says
            refusal = error if isinstance(error, RefusalError) else _internal(error, entry)
            status, content = refusal.status, _error_content(refusal, entry["request_id"])
            entry["error"] = refusal.kind
            prometheus.errors.labels(refusal.kind).inc()
            if status == 413:
                answer_headers.append((b"connection", b"close"))
        answer_headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": content})
        if answered:
            self._inference_log.append(
                answered.columns,
                answered.predictions,
                entry["version"],
                entry["request_id"],
                time.perf_counter() - start,
                len(body),
            )

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        message = f"the body is larger than {self._max_body_mb:g} MB"
        too_large = RefusalError("too_large", message, 413)
        limit = self._max_body_mb * 1e6
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            raise too_large
        parts, size, more = list[bytes](), 0, True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise RefusalError("disconnected", "the client went away", 499)
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise too_large
            more = event.get("more_body", False)
        return b"".join(parts)

    def _measure_cache(self, model: ServedModel) -> None:
        """Measure whether the cache pays for this model; called in the follower's thread."""
        if self._store:
            measuring = cache.measure_benefit(self._store, model.example, model.seconds)
            asyncio.run_coroutine_threadsafe(measuring, self._loop)

    async def _update_regularly(self) -> None:
        while True:
            await asyncio.sleep(UPDATE_SECONDS)
            self._update_metrics()
            self._access_log.flush()

    def _update_metrics(self) -> None:
        follower, canary, written = self._follower, self._follower.canary, self._inference_log
        totals = {
            "log_written": written.written,
            "log_dropped": written.dropped,
            "log_errors": written.errors,
        }
        values: dict[str, float] = {
            "model_loaded": follower.model is not None,
            "model_version": follower.model.version.number if follower.model else 0,
            "model_refused": follower.loader.refusal is not None,
            "canary_version": canary[0].version.number if canary else 0,
            "registry_up": not follower.registry_problem,
        }
        if store := self._store:
            for name in ("hits", "misses", "errors", "dropped"):
                totals[f"cache_{name}"] = getattr(store, name)
            values |= {"cache_open": store.circuit_open, "cache_rows": store.largest_batch}
        prometheus.update(totals, values)


def _internal(error: Exception, entry: dict[str, Any]) -> RefusalError:
    log.error("request %s failed: %s", entry["request_id"], type(error).__name__)
    return RefusalError("internal", "the server failed; its log has the request's id", 500)


def _error_content(refusal: RefusalError, request_id: str) -> bytes:
    """Return an error as MLflow writes it."""
    code = "BAD_REQUEST" if refusal.status < 500 else "INTERNAL_ERROR"
    return orjson.dumps({"error_code": code, "message": str(refusal), "request_id": request_id})
