"""Predictions are kept for rows that come again, where looking up is faster than predicting."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from hashlib import blake2b
from statistics import median

import numpy as np
import orjson

from ..model.input_schema import Columns, count_rows
from .redis_store import URL_VARIABLE, RedisStore
from .settings import Cache
from .stores import LocalStore, Prediction, Store

Predict = Callable[[Columns], Awaitable[list[Prediction]]]

BREAK_EVEN = 0.5  # a look-up must take less than this share of a prediction's time
MEASURED_ROWS, REPEATS = (1, 10, 100, 1000), 5

_log = logging.getLogger(__name__)


def open_store(settings: Cache) -> Store | None:
    """Return the store, in the Redis of REDIS_URL or in this process; None if it is never used."""
    if settings.mode == "never":
        return None
    url = os.environ.get(URL_VARIABLE)
    return RedisStore(settings, url) if url else LocalStore(settings)


def row_keys(model_key: str, columns: Columns) -> list[bytes]:
    """Return a key of 16 bytes for each row: the same in every process, and for equal rows only.

    -0.0 equals 0.0, and every NaN is the same. With a weak hash a client could craft a row that gets
    another row's answer, so it is BLAKE2b (RFC 7693), keyed by the model and the kinds of columns.
    """
    kinds = "".join([values.dtype.kind for values in columns.values()])
    hash_key = blake2b(f"{kinds} {model_key}".encode(), digest_size=32).digest()
    parts: list[Iterable[bytes]] = []
    if numbers := [values for values in columns.values() if values.dtype.kind == "f"]:
        table = np.array(numbers) + 0.0  # -0.0 + 0.0 is 0.0
        table[np.isnan(table)] = np.nan
        parts.append(_row_bytes(table))
    if dates := [values for values in columns.values() if values.dtype.kind == "M"]:
        parts.append(_row_bytes(np.array(dates, "datetime64[ns]")))
    if objects := [values.tolist() for values in columns.values() if values.dtype.kind == "O"]:
        parts.append(map(orjson.dumps, zip(*objects, strict=True)))
    return [
        blake2b(b"".join(row), digest_size=16, key=hash_key).digest()
        for row in zip(*parts, strict=True)
    ]


def _row_bytes(columns: np.ndarray) -> list[bytes]:
    """Return the bytes of each row of a table of shape (columns, rows)."""
    rows = np.ascontiguousarray(columns.T)
    found: list[bytes] = rows.view(f"V{rows.itemsize * len(columns)}").ravel().tolist()
    return found


async def cache_model_predictions(
    store: Store | None, model_key: str, columns: Columns, predict: Predict
) -> tuple[list[Prediction], int]:
    """Return one prediction for each row, and how many of them came from the store.

    ``predict`` gets the rows that the store does not know, each once, or a batch that is too large
    to be looked up. New predictions are kept without delaying the request.

    Args:
        store: from `open_store`.
        model_key: names the model version among all that share the store.
        columns: arrays of shape (rows,).
        predict: returns one prediction for each row.
    """
    rows = count_rows(columns)
    if store is None or store.circuit_open or not 0 < rows <= store.largest_batch:
        return await predict(columns), 0
    keys = row_keys(model_key, columns)
    found = await store.get(keys)
    known = {key: answer for key, answer in zip(keys, found, strict=True) if answer is not None}
    hits = rows - found.count(None)
    store.hits += hits
    store.misses += rows - hits
    if hits < rows:
        unknown = {key: row for row, key in enumerate(keys) if key not in known}
        new = dict(zip(unknown, await predict(_take(columns, list(unknown.values()))), strict=True))
        store.put(new)
        known |= new
    return [known[key] for key in keys], hits


async def measure_benefit(
    store: Store, example: Columns, prediction_seconds: Callable[[int], float]
) -> None:
    """Set the largest batch that is looked up: its look-up takes less than half of a prediction.

    ``prediction_seconds`` returns how long the model takes for a number of rows. Redis is measured
    again when it answers after a failure.
    """
    if store.settings.mode == "always":
        return
    store.on_recovery = partial(measure_benefit, store, example, prediction_seconds)
    if store.circuit_open or not await store.is_ready():
        store.largest_batch = 0
        store.status = "off: Redis does not answer; it is tried again in the background"
        return
    largest, times = 0, ""
    for size in MEASURED_ROWS:
        rows = min(size, store.settings.max_rows)
        batch = _take(example, np.arange(rows) % count_rows(example))
        look_up, prediction = await _look_up_seconds(store, batch), prediction_seconds(rows)
        if not times:
            times = (
                f"a look-up takes {look_up * 1000:.3f} ms, a prediction {prediction * 1000:.3f} ms"
            )
        if look_up >= prediction * BREAK_EVEN:
            break
        largest = rows
    switch = f"on for up to {largest} rows" if largest else "off"
    store.largest_batch, store.status = largest, f"{switch}: {times}"
    _log.info("cache %s", store.status)


async def _look_up_seconds(store: Store, columns: Columns) -> float:
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        await store.get(row_keys("", columns))
        taken.append(time.perf_counter() - start)
    return median(taken)


def _take(columns: Columns, rows: list[int] | np.ndarray) -> Columns:
    return {name: values[rows] for name, values in columns.items()}
