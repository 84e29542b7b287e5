"""Predictions in Redis, behind a circuit breaker.

Redis may be slow, full, restarted or gone: the model then answers, without an error and after
``timeout_ms`` at most. After some failures in a row the circuit opens: requests ask Redis no more
until it answers a probe in the background.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..errors import PracticeError
from .settings import Cache
from .stores import Prediction, Store

URL_VARIABLE = "REDIS_URL"
PREFIX = b"p:"
MAX_FAILURES = 3  # in a row; then the circuit opens
RETRY_SECONDS = 1.0  # between probes, and without writes after one failed
BACKGROUND_SECONDS = 1.0  # for what no request waits for: a first connection (TLS), writes
READ_ROWS, WRITE_ROWS = 1000, 100  # in one command: the event loop stops for 5 and 1 ms
MAX_UNWRITTEN_ROWS = 10_000

_log = logging.getLogger(__name__)


class CacheError(PracticeError):
    """The cache is configured wrongly; the message names the variable and the remedy."""


class RedisStore(Store):
    """Keeps predictions in Redis, as JSON; Redis decides how many.

    Requests that come together share one MGET on one connection: for 64 at a time that costs a
    tenth of an MGET each, and there is no burst of connections.
    """

    def __init__(self, settings: Cache, url: str) -> None:
        """Make one; it connects when it is first asked. A wrong address raises `CacheError`."""
        super().__init__(settings)
        try:
            self._redis = Redis.from_url(
                url, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=None
            )
        except ValueError:
            raise CacheError(
                f"{URL_VARIABLE} is not the address of a Redis; "
                "write redis://[user:password@]host:port/0, or rediss:// for TLS"
            ) from None
        self._timeout = settings.timeout_ms / 1000
        self._waiting = deque[tuple[Sequence[bytes], asyncio.Future[list[Prediction | None]]]]()
        self._unwritten: dict[bytes, Prediction] = {}
        self._no_writes_until = 0.0
        self._failures = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def is_ready(self) -> bool:
        """Return whether Redis answers, first with time to connect, then as fast as for a request."""
        for seconds in (BACKGROUND_SECONDS, self._timeout):
            if await self._ask([b""], seconds) is None:
                self._open_circuit()
                return False
        return True

    async def get(self, keys: Sequence[bytes]) -> list[Prediction | None]:
        """Return the prediction of each key; None where there is none that can be read."""
        if self.circuit_open:
            return [None] * len(keys)
        found = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, found))
        self._start("read", self._read)
        predictions: list[Prediction | None] = await found
        return predictions

    def put(self, predictions: Mapping[bytes, Prediction]) -> None:
        """Write predictions in the background, or drop them where Redis is too slow for them."""
        is_full = len(self._unwritten) + len(predictions) > MAX_UNWRITTEN_ROWS
        if self.circuit_open or is_full or time.monotonic() < self._no_writes_until:
            self.dropped += len(predictions)
        else:
            self._unwritten.update(predictions)
            self._start("write", self._write)

    async def close(self) -> None:
        """Drop what is not written, and disconnect."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._redis.aclose()

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = asyncio.create_task(work())

    async def _ask(self, keys: Sequence[bytes], seconds: float) -> list[bytes | None] | None:
        """Return the values, or None where Redis does not answer in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                values = await self._redis.mget([PREFIX + key for key in keys])
        except Exception:  # noqa: BLE001  whatever goes wrong here, the model can answer
            self.errors += 1
            if loop.time() < deadline + seconds:  # later: this process was paused
                self._failures += 1
            return None
        self._failures = 0
        return cast("list[bytes | None]", values)

    async def _read(self) -> None:
        while self._waiting:
            requests, keys = [], list[bytes]()
            while self._waiting and len(keys) < READ_ROWS:
                requests.append(self._waiting.popleft())
                keys += requests[-1][0]
            values = await self._ask(keys, self._timeout)
            if values is None:  # those that came meanwhile have waited, too
                requests += self._waiting
                self._waiting.clear()
                values = [None] * sum(len(wanted) for wanted, _ in requests)
                if self._failures >= MAX_FAILURES:
                    self._open_circuit()
            start = 0
            for wanted, found in requests:
                end = start + len(wanted)
                if not found.done():  # its client may have gone
                    found.set_result([_decode(value) for value in values[start:end]])
                start = end

    async def _write(self) -> None:
        while self._unwritten:
            count = min(WRITE_ROWS, len(self._unwritten))
            pipeline = self._redis.pipeline(transaction=False)
            for _ in range(count):
                key, prediction = self._unwritten.popitem()
                value = orjson.dumps(prediction)
                pipeline.set(PREFIX + key, value, ex=self.settings.ttl_seconds)
            try:
                async with asyncio.timeout(BACKGROUND_SECONDS):
                    await pipeline.execute()
            except Exception:  # noqa: BLE001  such as a full memory; reading may still work
                self.errors += 1
                self.dropped += count + len(self._unwritten)
                self._unwritten.clear()
                self._no_writes_until = time.monotonic() + RETRY_SECONDS

    def _open_circuit(self) -> None:
        if not self.circuit_open:
            self.circuit_open = True
            _log.warning("cache: Redis does not answer; the model answers until it does")
            self._start("recover", self._recover)

    async def _recover(self) -> None:
        while self.circuit_open:
            await asyncio.sleep(RETRY_SECONDS)
            if await self.is_ready():
                self.circuit_open = False
                _log.warning("cache: Redis answers again")
                if self.on_recovery:
                    await self.on_recovery()  # which may find it gone once more


def _decode(value: bytes | None) -> Prediction | None:
    """Return a prediction, or None where the value is not one that was written here."""
    try:
        prediction = None if value is None else orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return prediction if isinstance(prediction, str | int | float) else None
