"""Time a model alone, and a request's steps without HTTP: `... FILE NAME VERSION SECONDS`.

FILE holds the requests. Prints JSON: the microseconds of each case for one row and for a batch.
"""

import asyncio
import functools
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

import mlflow.sklearn
import orjson
import uvloop
from mlflow_practices.config.project import load_project
from mlflow_practices.registry import local_models, versions
from mlflow_practices.registry.versions import ModelReference
from mlflow_practices.scoring.inference_log import InferenceLog
from mlflow_practices.scoring.served_model import ServedModel
from mlflow_practices.serving import protocol
from mlflow_practices.serving.access_log import AccessLog
from mlflow_practices.serving.app import Application
from mlflow_practices.serving.settings import ServingSettings
from mlflow_practices.tracking.session import open_session

file, name, number, seconds = sys.argv[1:]
given = [
    "serving.cache.mode=never",
    "serving.local_copy=floor/copy",
    "serving.log.folder=floor/log",
]
session = open_session(load_project("my_ml_project"), overrides=given)
version = versions.find(session.client, name, number)


async def time_each(action: Callable[[], Any]) -> float:
    """Return the median microseconds of a call."""
    taken, end = [], time.perf_counter() + float(seconds)
    while (start := time.perf_counter()) < end:
        if inspect.isawaitable(result := action()):
            await result
        taken.append(time.perf_counter() - start)
    return median(taken) * 1e6


async def steps(body: bytes) -> dict[str, float]:
    """Return the microseconds of each step of a request."""
    served = ServedModel(session, version, local_models.download(session, version, Path("floor")))
    original = mlflow.sklearn.load_model(version.uri)
    columns = protocol.parse_request(body, protocol.JSON, served.input_schema)
    table, predictions = served.input_schema.frame(columns), served.predict(columns).tolist()
    limits = session.settings.section(ServingSettings).log
    rows = InferenceLog(limits, session.settings.path(Path("floor/steps")))
    lines = AccessLog()
    line: dict[str, Any] = {
        "time": "2026-01-01T00:00:00.000Z",
        "request_id": "0" * 32,
        "method": "POST",
    }
    line |= {"path": "/invocations", "version": name, "rows": 1, "status": 200, "ms": 0.123}
    actions: dict[str, Callable[[], object]] = {
        "the original's predict": functools.partial(original.predict, table),
        "parse": functools.partial(orjson.loads, body),
        "parse and check": functools.partial(
            protocol.parse_request, body, protocol.JSON, served.input_schema
        ),
        "predict": functools.partial(served.predict, columns),
        "write": functools.partial(protocol.format_response, predictions),
        "inference log": functools.partial(rows.append, columns, predictions, name, "0" * 32, 0.1),
        "access log": functools.partial(lines.add, line),
    }
    found = {step: await time_each(action) for step, action in actions.items()}
    rows.close()
    return found


async def whole(body: bytes) -> float:
    """Return the microseconds of the application, called as the server calls it."""
    application = Application(session, ModelReference(name, number))
    incoming, told = asyncio.Queue[Any](), asyncio.Queue[Any]()
    living = asyncio.create_task(
        application({"type": "lifespan"}, incoming.get, told.put), name="lifespan"
    )
    await incoming.put({"type": "lifespan.startup"})
    await told.get()
    headers = [(b"host", b"x"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    while status != 200:  # until it has loaded the model
        await application(scope, receive, send)
        await asyncio.sleep(0.05)
    found = await time_each(lambda: application(scope, receive, send))
    await incoming.put({"type": "lifespan.shutdown"})
    await living
    return found


async def main() -> dict[str, dict[str, float]]:
    """Measure both kinds of request."""
    requests = json.loads(Path(file).read_text(encoding="utf-8"))
    found = {}
    for kind in ("single", "batch"):
        body = requests[kind][0]["body"].encode()
        found[kind] = {**await steps(body), "application": await whole(body)}
    return found


# The application writes its access log there.
with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
    report = uvloop.run(main())
print(json.dumps(report))
