"""The serving application: MLflow's scoring server, with requests answered by a path of its own.

MLflow turns a request into a table, coerces it to the signature and runs scikit-learn, which takes
9 ms for a row that ONNX Runtime predicts in 0.02. So `/invocations` is answered here, in front of
MLflow's application and its middleware; whatever else there is goes on to that.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import joblib
import mlflow
import orjson
from fastapi import FastAPI, Response
from mlflow.pyfunc import scoring_server

from .. import privacy
from ..model.input_schema import Columns, RefusalError, count_rows
from ..registry.versions import ModelReference
from ..scoring import inference_log
from ..scoring.served_model import ServedModel
from ..tracking import utc, utc_now
from ..tracking.session import Session
from . import cache, openapi, prometheus, protocol
from .access_log import AccessLog
from .alias_follower import AliasFollower
from .settings import ServingSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

INLINE_SECONDS = 0.002  # a batch that takes longer is predicted in a thread, and
INLINE_BYTES = 65_536  # a body that is larger is read there, so that others do not wait for it
TICK_SECONDS = 0.5  # between two looks at what is counted elsewhere
REQUEST_ID = re.compile(rb"[\w.-]{1,64}")
log = logging.getLogger(__name__)


class Application:
    """An ASGI application that serves one reference of the registry."""

    def __init__(self, session: Session, reference: ModelReference) -> None:
        """Prepare it; the model is loaded when the server starts it (ASGI's lifespan)."""
        self._settings = session.settings.section(ServingSettings)
        self._log_folder = session.settings.path(self._settings.log.folder)
        self._limit = int(self._settings.max_body_mb * 1e6)
        self._follower = AliasFollower(session, reference, self._switched)
        self._threads = ThreadPoolExecutor(joblib.cpu_count(), "predict")
        self._access = AccessLog()
        self._api = self._extended()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or follow the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loop = asyncio.get_running_loop()
        self._store = cache.open_store(self._settings.cache)
        self._log = inference_log.InferenceLog(self._settings.log, self._log_folder)
        # First of all: a worker without a model must not take requests that another can answer.
        await asyncio.to_thread(self._follower.look)
        self._follower.start()
        ticking = asyncio.create_task(self._tick())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        ticking.cancel()
        self._follower.end()
        await asyncio.to_thread(self._log.close)
        if self._store:
            await self._store.close()
        self._access.flush()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else random.randbytes(16).hex()
        line: dict[str, Any] = {"time": utc_now(), "request_id": request_id}
        line |= {"method": scope["method"], "path": privacy.redact_text(scope["path"][:200])}

        async def reply(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
                line["status"] = message["status"]
            await send(message)

        asked = scope["path"] == "/invocations" and scope["method"] == "POST"
        try:
            if asked:
                await self._invoke(headers, receive, reply, line, start)
            else:
                await self._api(scope, receive, reply)
        finally:
            taken = time.perf_counter() - start
            if asked:
                prometheus.count_request(line.get("status", 0), line.get("version", ""), taken)
            if "rows" in line:
                prometheus.batch_rows.observe(line["rows"])
            self._access.add(line | {"ms": round(1000 * taken, 3)})

    async def _invoke(
        self,
        headers: dict[bytes, bytes],
        receive: Receive,
        send: Send,
        line: dict[str, Any],
        start: float,
    ) -> None:
        model = self._follower.model  # the whole request is answered by this one
        answer_headers = [(b"content-type", b"application/json")]
        try:
            body = await self._body(headers, receive)
            if model is None:
                raise RefusalError("not_ready", "no model is loaded yet; see /health", 503)
            kind = headers.get(b"content-type", b"").decode("latin-1")
            columns, predictions, content = await self._split(model, body, kind, line)
            status = 200
            answer_headers.append((b"x-model-version", line["version"].encode()))
        except RefusalError as refusal:
            status, content = refusal.status, _problem(refusal, line["request_id"])
            line["error"] = refusal.kind
            prometheus.errors.labels(refusal.kind).inc()
            if status == 413:
                answer_headers.append((b"connection", b"close"))
        except Exception as error:  # noqa: BLE001  of this program: the caller learns no more than that
            log.error("request %s failed: %s", line["request_id"], type(error).__name__)
            problem = RefusalError(
                "internal", "the server failed; its log has the request's id", 500
            )
            status, content = 500, _problem(problem, line["request_id"])
            line["error"] = "internal"
            prometheus.errors.labels("internal").inc()
        answer_headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": content})
        if status == 200:
            self._log.append(
                columns,
                predictions,
                line["version"],
                line["request_id"],
                time.perf_counter() - start,
                len(body),
            )

    async def _split(
        self, model: ServedModel, body: bytes, kind: str, line: dict[str, Any]
    ) -> tuple[Columns, Any, bytes]:
        """Let the canary answer its share; the champion answers the rest, and what it cannot."""
        running = self._follower.canary
        if running is None or random.random() >= running[0].share:
            return await self._predict(model, body, kind, line)
        candidate, start = running[1], time.perf_counter()
        try:
            return await self._predict(candidate, body, kind, line)
        except RefusalError as refusal:
            status, problem = refusal.status, refusal.kind
        except Exception as error:  # noqa: BLE001  no client may lose a request by it
            status, problem = 500, type(error).__name__
        taken = time.perf_counter() - start
        answer = await self._predict(model, body, kind, line)
        # Only now: what the champion refuses, too, does not speak against the canary.
        prometheus.count_request(status, str(candidate.version), taken)
        line["canary"] = {"version": str(candidate.version), "error": problem}
        return answer

    async def _predict(
        self, model: ServedModel, body: bytes, kind: str, line: dict[str, Any]
    ) -> tuple[Columns, Any, bytes]:
        line["version"] = str(model.version)
        if len(body) > INLINE_BYTES:
            columns = await self._in_thread(protocol.parse_request, body, kind, model.input_schema)
        else:
            columns = protocol.parse_request(body, kind, model.input_schema)
        line["rows"] = count_rows(columns)

        predictions, hits = await cache.cache_model_predictions(
            self._store, model.key, columns, partial(self._run, model)
        )
        if hits:
            line["cache_hits"] = hits
        return columns, predictions, protocol.format_response(predictions)

    async def _run(self, model: ServedModel, columns: Columns) -> list[Any]:
        if model.seconds(count_rows(columns)) > INLINE_SECONDS:
            predictions = await self._in_thread(model.predict, columns)
        else:
            predictions = model.predict(columns)
        answers: list[Any] = predictions.tolist()
        return answers

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._loop.run_in_executor(self._threads, function, *arguments)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        too_large = RefusalError(
            "too_large", f"the body is larger than {self._settings.max_body_mb:g} MB", 413
        )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit:
            raise too_large
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusalError("disconnected", "the client went away", 499)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                raise too_large
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _switched(self, model: ServedModel) -> None:
        """Decide whether the cache pays for this model; called in the follower's thread."""
        if store := self._store:
            measuring = cache.measure(store, model.example, partial(self._run, model))
            asyncio.run_coroutine_threadsafe(measuring, self._loop)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._update_metrics()
            self._access.flush()

    def _update_metrics(self) -> None:
        follower, canary = self._follower, self._follower.canary
        prometheus.update(
            {
                "model_loaded": float(follower.model is not None),
                "model_version": follower.model.version.number if follower.model else 0,
                "model_refused": float(follower.refused is not None),
                "canary_version": canary[0].version.number if canary else 0,
                "registry_up": float(not follower.registry_problem),
                "log_written": self._log.written,
                "log_dropped": self._log.dropped,
                "log_errors": self._log.errors,
            }
        )
        if store := self._store:
            counted = store.counters
            prometheus.update(
                {
                    "cache_hits": counted.hits,
                    "cache_misses": counted.misses,
                    "cache_errors": counted.errors,
                    "cache_dropped": counted.dropped,
                    "cache_open": float(counted.open),
                    "cache_rows": store.worth.rows,
                }
            )

    def _extended(self) -> FastAPI:
        """Return MLflow's application with this one's answers in place of some of its own."""
        api: FastAPI = scoring_server.init(_Signed())  # type: ignore[arg-type]
        ours = {"/health", "/version", "/invocations", "/docs", "/redoc", "/openapi.json"}
        api.router.routes[:] = [
            route for route in api.router.routes if getattr(route, "path", "") not in ours
        ]

        @api.get("/health")
        async def health() -> Response:
            follower = self._follower
            state: dict[str, Any] = {
                "ready": follower.model is not None,
                "version": str(follower.model.version) if follower.model else None,
                "registry": follower.registry_problem or "ok",
            }
            if follower.refused:
                state["refused"] = follower.refused.told()
            if running := follower.canary:
                canary = running[0]
                state["canary"] = {
                    "version": str(canary.version),
                    "share": canary.share,
                    "until": utc(canary.until),
                }
            elif follower.canary_refused:
                state["canary"] = follower.canary_refused.told()
            return _json(state, 200 if follower.model else 503)

        @api.get("/version")
        async def version() -> Response:
            model = self._follower.model
            if model is None:
                return _json({"message": "no model is loaded yet; see /health"}, 503)
            made = model.version
            return _json(
                {
                    "name": made.name,
                    "version": made.number,
                    "model_id": made.model_id,
                    "run_id": made.run_id,
                    "data_version": made.data_version,
                    "loaded_at": model.loaded_at,
                    "format": model.format,
                    "cache": self._store.worth.reason if self._store else "off: serving.cache.mode",
                    "mlflow": mlflow.__version__,
                }
            )

        @api.get("/metrics")
        async def metrics() -> Response:
            self._update_metrics()
            content, kind = prometheus.render()
            return Response(content, media_type=kind)

        @api.get("/openapi.json")
        async def document() -> Response:
            return _json(openapi.build_document(self._follower.model))

        @api.get("/docs")
        async def docs() -> Response:
            return Response(openapi.docs_page(self._follower.model), media_type="text/html")

        return api


class _Signed:
    """What MLflow's application asks a model for when it is made."""

    metadata = property(lambda self: self)

    def get_input_schema(self) -> None:
        """Say that there is no schema: no request reaches MLflow's own parser."""


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _problem(refusal: RefusalError, request_id: str) -> bytes:
    """Return an error as MLflow writes it."""
    code = "BAD_REQUEST" if refusal.status < 500 else "INTERNAL_ERROR"
    return orjson.dumps({"error_code": code, "message": str(refusal), "request_id": request_id})
