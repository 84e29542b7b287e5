"""The paths beside ``/invocations``: health, version, metrics and documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlflow
import orjson
from fastapi import FastAPI, Response

from ..tracking import utc
from . import openapi, prometheus
from .alias_follower import AliasFollower
from .stores import Store


def create(
    follower: AliasFollower, store: Store | None, update_metrics: Callable[[], None]
) -> FastAPI:
    """Return the application with all paths but ``/invocations``."""
    api = FastAPI(openapi_url=None)  # FastAPI's own documentation needs scripts from elsewhere

    @api.get("/ping")
    async def ping() -> Response:
        return Response("\n", media_type="application/json")

    @api.get("/health")
    async def health() -> Response:
        return _json(_health(follower), 200 if follower.model else 503)

    @api.get("/version")
    async def version() -> Response:
        model = follower.model
        if model is None:
            return _json({"message": "no model is loaded yet; see /health"}, 503)
        return _json(
            {
                "name": model.version.name,
                "version": model.version.number,
                "model_id": model.version.model_id,
                "run_id": model.version.run_id,
                "data_version": model.version.data_version,
                "loaded_at": model.loaded_at,
                "format": model.format,
                "cache": store.status if store else "off: serving.cache.mode is never",
                "mlflow": mlflow.__version__,
            }
        )

    @api.get("/metrics")
    async def metrics() -> Response:
        update_metrics()
        content, content_type = prometheus.render()
        return Response(content, media_type=content_type)

    @api.get("/openapi.json")
    async def document() -> Response:
        return _json(openapi.build_document(follower.model))

    @api.get("/docs")
    async def docs() -> Response:
        return Response(openapi.docs_page(follower.model), media_type="text/html")

    return api


def _health(follower: AliasFollower) -> dict[str, Any]:
    health: dict[str, Any] = {
        "ready": follower.model is not None,
        "version": str(follower.model.version) if follower.model else None,
        "registry": follower.registry_problem or "ok",
    }
    if follower.loader.refusal:
        health["refused"] = follower.loader.refusal
    if running := follower.canary:
        canary = running[0]
        health["canary"] = {
            "version": str(canary.version),
            "share": canary.share,
            "until": utc(canary.until),
        }
    elif follower.canary_loader.refusal:
        health["canary"] = follower.canary_loader.refusal
    return health


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
