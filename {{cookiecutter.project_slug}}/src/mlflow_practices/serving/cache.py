"""Predictions kept for rows that come again: in Redis for all workers, else in this process.

Redis may be slow, full, restarted or gone: a request is then answered by the model, without an
error and after `timeout_ms` at most. After a few failures in a row a circuit breaker opens: no
request looks up any more until Redis has answered a probe, in the background.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import os
import statistics
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

import numpy as np
import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..errors import PracticeError
from ..model.input_schema import Columns
from .settings import Cache

Prediction = str | int | float | bool
Predict = Callable[[Columns], Awaitable[list[Prediction]]]

VARIABLE = "REDIS_URL"
PREFIX = b"p:"
FAILURES = 3  # in a row, which open the breaker
RETRY_SECONDS = 1.0  # between probes, and without writes after one failed
BACKGROUND_SECONDS = 1.0  # for what no request waits for: a first connection (TLS), writes
READ_ROWS, WRITE_ROWS = 1000, 100  # in one command: the event loop stands still meanwhile (5, 1 ms)
WAITING_ROWS = 10_000  # not yet written; more are dropped
BREAK_EVEN = 0.5  # a cache that needs more hits than this share of rows does not pay
TRIED_ROWS, TRIES = (1, 10, 100, 1000), 5

_log = logging.getLogger(__name__)


class CacheError(PracticeError):
    """The cache is not configured rightly; the message names the variable and the remedy."""


@dataclass
class Counters:
    """What the cache did: rows found and not, failed calls of Redis, rows never written."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    dropped: int = 0
    open: bool = False  # the breaker: Redis is not asked


@dataclass(frozen=True)
class Worth:
    """The largest batch for which the cache pays, in rows (0: for none), and why, for people."""

    rows: int
    reason: str


class Store(ABC):
    """Where predictions are kept. Make it, and use it, in one event loop."""

    def __init__(self, settings: Cache) -> None:
        """Make an empty one; with mode ``auto`` it is off until `measure` found that it pays."""
        self.counters = Counters()
        self.settings = settings
        self.again: Callable[[], Awaitable[Worth]] | None = None  # to call when it is back
        self.worth = Worth(0, "off: not measured yet")
        if settings.mode == "always":
            self.worth = Worth(settings.max_rows, "on: serving.cache.mode is always")

    @abstractmethod
    async def ready(self) -> bool:
        """Whether the store answers."""

    @abstractmethod
    async def get(self, keys: Sequence[bytes]) -> list[Prediction | None]:
        """Return for each key what is kept, or None; never raises."""

    @abstractmethod
    def put(self, answers: Mapping[bytes, Prediction]) -> None:
        """Keep answers by their keys, at once or in the background; never raises."""

    async def close(self) -> None:  # noqa: B027 (there may be nothing to end)
        """End what runs in the background; no request may be under way."""


class LocalStore(Store):
    """Keeps the most recently used predictions in this process."""

    def __init__(self, settings: Cache) -> None:
        """Make one of at most ``max_entries`` rows, each kept for ``ttl_seconds``."""
        super().__init__(settings)
        self._entries: OrderedDict[bytes, tuple[float, Prediction]] = OrderedDict()

    async def ready(self) -> bool:
        """Whether the store answers: always."""
        return True

    async def get(self, keys: Sequence[bytes]) -> list[Prediction | None]:
        """Return for each key what is kept, or None."""
        now, found = time.monotonic(), list[Prediction | None]()
        for key in keys:
            expires, answer = self._entries.get(key, (0.0, None))
            if expires > now:
                self._entries.move_to_end(key)
            found.append(answer if expires > now else None)
        return found

    def put(self, answers: Mapping[bytes, Prediction]) -> None:
        """Keep answers; the least recently used make room."""
        expires = time.monotonic() + self.settings.ttl_seconds
        for key, answer in answers.items():
            self._entries[key] = expires, answer
            self._entries.move_to_end(key)
        while len(self._entries) > self.settings.max_entries:
            self._entries.popitem(last=False)


class RedisStore(Store):
    """Keeps predictions in Redis, as JSON, behind a circuit breaker.

    Requests that come together share one MGET, on one connection: at 64 at a time that costs a
    tenth of an MGET each, and no burst of connections is ever made.
    """

    def __init__(self, settings: Cache, url: str) -> None:
        """Make one; it connects when it is first asked. How much it holds, Redis decides.

        Raises:
            CacheError: the address is none of a Redis.
        """
        super().__init__(settings)
        try:
            self._redis = Redis.from_url(
                url, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=None
            )
        except ValueError:
            raise CacheError(
                f"{VARIABLE} is no address of a Redis; "
                "write redis://[user:password@]host:port/0, or rediss:// for TLS"
            ) from None
        self._asked: deque[tuple[Sequence[bytes], asyncio.Future[list[Prediction | None]]]] = (
            deque()
        )
        self._unwritten: dict[bytes, Prediction] = {}
        self._write_from = 0.0
        self._failures = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def ready(self) -> bool:
        """Whether Redis answers; if not, the breaker opens, and `again` is called when it does."""
        if not self.counters.open and not await self._probe():
            self._open()
        return not self.counters.open

    async def get(self, keys: Sequence[bytes]) -> list[Prediction | None]:
        """Return for each key what is kept, or None: so too for whatever cannot be read."""
        if self.counters.open:
            return [None] * len(keys)
        found: asyncio.Future[list[Prediction | None]]
        found = asyncio.get_running_loop().create_future()
        self._asked.append((keys, found))
        self._run("read", self._read)
        return await found

    def put(self, answers: Mapping[bytes, Prediction]) -> None:
        """Write answers in the background, or drop them where Redis takes them too slowly."""
        full = len(self._unwritten) + len(answers) > WAITING_ROWS
        if self.counters.open or full or time.monotonic() < self._write_from:
            self.counters.dropped += len(answers)
        else:
            self._unwritten.update(answers)
            self._run("write", self._write)

    async def close(self) -> None:
        """Drop what is not written, and disconnect."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._redis.aclose()

    def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = asyncio.create_task(work())

    async def _ask(self, keys: Sequence[bytes], seconds: float) -> list[bytes | None] | None:
        """Return the values, or None where there is no answer in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                values = await self._redis.mget([PREFIX + key for key in keys])
        except Exception:  # noqa: BLE001 (whatever goes wrong here, the model can answer)
            self.counters.errors += 1
            if loop.time() < deadline + seconds:  # later: it was this process that stood still
                self._failures += 1
            return None
        self._failures = 0
        return cast("list[bytes | None]", values)

    async def _read(self) -> None:
        while self._asked:
            requests, rows = [], 0
            while self._asked and rows < READ_ROWS:
                requests.append(self._asked.popleft())
                rows += len(requests[-1][0])
            keys = [key for wanted, _ in requests for key in wanted]
            values = await self._ask(keys, self.settings.timeout_ms / 1000)
            if values is None:  # so have those who came meanwhile: they would wait once more
                requests += self._asked
                self._asked.clear()
                if self._failures >= FAILURES:
                    self._open()
            rest = itertools.repeat(None) if values is None else iter(values)
            for wanted, found in requests:
                answers = [_decode(value) for value in itertools.islice(rest, len(wanted))]
                if not found.done():  # its client may have gone
                    found.set_result(answers)

    async def _write(self) -> None:
        while self._unwritten:
            count = min(WRITE_ROWS, len(self._unwritten))
            batch = [self._unwritten.popitem() for _ in range(count)]
            pipeline = self._redis.pipeline(transaction=False)
            try:
                for key, answer in batch:
                    pipeline.set(PREFIX + key, orjson.dumps(answer), ex=self.settings.ttl_seconds)
                async with asyncio.timeout(BACKGROUND_SECONDS):
                    await pipeline.execute()
            except Exception:  # noqa: BLE001 (such as a full memory; reading may still work)
                self.counters.errors += 1
                self.counters.dropped += count + len(self._unwritten)
                self._unwritten.clear()
                self._write_from = time.monotonic() + RETRY_SECONDS

    def _open(self) -> None:
        self.counters.open = True
        _log.warning("cache: Redis does not answer; the model answers until it does")
        self._run("recover", self._recover)

    async def _recover(self) -> None:
        while self.counters.open:
            await asyncio.sleep(RETRY_SECONDS)
            if await self._probe():
                self.counters.open = False
                _log.warning("cache: Redis answers again")
                if self.again:
                    await self.again()  # which may find it gone once more

    async def _probe(self) -> bool:
        # First with time to connect, then as fast as a request needs it.
        return None not in (
            await self._ask([b""], BACKGROUND_SECONDS),
            await self._ask([b""], self.settings.timeout_ms / 1000),
        )


def open_store(settings: Cache) -> Store | None:
    """Return the store: in the Redis of REDIS_URL, else in this process; None if it is never used.

    Raises:
        CacheError: REDIS_URL is no address of a Redis.
    """
    if settings.mode == "never":
        return None
    url = os.environ.get(VARIABLE)
    return RedisStore(settings, url) if url else LocalStore(settings)


def row_keys(version_id: str, columns: Columns) -> list[bytes]:
    """Return a key of 16 bytes for each row: the same in every process, and for equal rows only.

    A hash that can be broken would let a client craft a row that gets another row's answer, so it
    is BLAKE2b (RFC 7693), keyed by the version and the kinds of the columns.

    Args:
        version_id: what names the model version among all that share the store, such as its
            MLflow model id.
        columns: the rows; -0.0 equals 0.0, and every NaN is the same.
    """
    kinds = "".join([values.dtype.kind for values in columns.values()])
    version = blake2b(f"{kinds} {version_id}".encode(), digest_size=32).digest()
    parts: list[Iterable[bytes]] = []
    if numbers := [values for values in columns.values() if values.dtype.kind == "f"]:
        table = np.concatenate(numbers).reshape(len(numbers), -1).T + 0.0  # -0.0 + 0.0 is 0.0
        table[np.isnan(table)] = np.nan
        parts.append(_rows(table.astype("<f8")))
    if dates := [values for values in columns.values() if values.dtype.kind == "M"]:
        table = np.concatenate(dates).reshape(len(dates), -1).T
        parts.append(_rows(table.astype("datetime64[ns]").astype("<i8")))
    if objects := [values.tolist() for values in columns.values() if values.dtype.kind == "O"]:
        parts.append(map(orjson.dumps, zip(*objects, strict=True)))
    return [
        blake2b(b"".join(row), digest_size=16, key=version).digest()
        for row in zip(*parts, strict=True)
    ]


async def cache_model_predictions(
    store: Store | None, version_id: str, columns: Columns, predict: Predict
) -> tuple[list[Prediction], int]:
    """Answer each row from the store, or else by the model, which is called once at most.

    What the model answers is kept, which the request does not wait for. Batches for which the
    store does not pay go to the model as they are.

    Args:
        store: of `open_store`.
        version_id: as for `row_keys`.
        columns: the rows.
        predict: returns one prediction a row; it gets the rows that are not known, each once.

    Returns:
        The predictions in the order of the rows, and how many came from the store.
    """
    rows = _count(columns)
    if store is None or store.counters.open or not 0 < rows <= store.worth.rows:
        return await predict(columns), 0
    keys = row_keys(version_id, columns)
    found = await store.get(keys)
    known = {key: answer for key, answer in zip(keys, found, strict=True) if answer is not None}
    hits = rows - found.count(None)
    store.counters.hits += hits
    store.counters.misses += rows - hits
    if hits < rows:
        unknown = {key: row for row, key in enumerate(keys) if key not in known}
        answers = await predict(_take(columns, list(unknown.values())))
        new = dict(zip(unknown, answers, strict=True))
        store.put(new)
        known |= new
    return [known[key] for key in keys], hits


async def measure(store: Store, columns: Columns, predict: Predict) -> Worth:
    """Find, set and return for which batches the store pays: to be called when a model is warmed.

    It pays where a look-up takes less than half as long as the model does, so that it gains once
    every second row is known. A Redis that is back after it was gone is measured anew.

    Args:
        store: of `open_store`; nothing is measured where its mode is ``always``.
        columns: rows of the model's input example.
        predict: as for `cache_model_predictions`.
    """
    if store.settings.mode == "always":
        return store.worth
    store.again = functools.partial(measure, store, columns, predict)
    if not await store.ready():
        store.worth = Worth(0, "off: Redis does not answer; it is tried again in the background")
        return store.worth
    rows, speed = 0, ""
    for size in sorted({min(size, store.settings.max_rows) for size in TRIED_ROWS}):
        batch = _take(columns, np.arange(size) % _count(columns))
        look_up = await _median_seconds(functools.partial(_look_up, store, batch))
        model = await _median_seconds(functools.partial(predict, batch))
        if not speed:
            speed = (
                f"to look up a row takes {look_up * 1000:.3f} ms, the model {model * 1000:.3f} ms"
            )
        if look_up >= model * BREAK_EVEN:
            break
        rows = size
    store.worth = Worth(rows, f"on for up to {rows} rows: {speed}" if rows else f"off: {speed}")
    _log.info("cache %s", store.worth.reason)
    return store.worth


async def _look_up(store: Store, columns: Columns) -> None:
    await store.get(row_keys("", columns))


async def _median_seconds(call: Callable[[], Awaitable[object]]) -> float:
    taken: list[float] = []
    for _ in range(TRIES):
        start = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _count(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _take(columns: Columns, rows: Sequence[int] | np.ndarray) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def _rows(table: np.ndarray) -> list[bytes]:
    data, width = table.tobytes(), table.itemsize * table.shape[1]
    return [data[start : start + width] for start in range(0, len(data), width)]


def _decode(value: bytes | None) -> Prediction | None:
    """Return what was written, or None where it is nothing of ours."""
    if value is not None:
        with suppress(orjson.JSONDecodeError):
            answer = orjson.loads(value)
            return answer if isinstance(answer, str | int | float) else None
    return None
