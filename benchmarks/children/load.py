"""Ask a server over and over, and check every answer: JSON on standard input, JSON as the result.

Wanted are `address` (host and port), `connections`, `seconds`, `path` and `requests`: each a `body`
and its right `answers` by the version that the header `x-model-version` names ("": none does).
Each connection sends its next request when it has the answer to the last. It costs about 0.03 ms a
request, so that what is measured is the server. SIGTERM ends it before its time, with the result.
"""

import asyncio
import itertools
import json
import re
import signal
import sys
import time
from array import array
from collections import Counter
from typing import Any

PATIENCE = 30  # seconds to wait for the last answers
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
VERSION = re.compile(rb"x-model-version: *([^\r]+)", re.IGNORECASE)
HEAD = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


class Load:
    """The requests, the time until they end, and their results."""

    def __init__(self, path: str, requests: list[dict[str, Any]], seconds: float) -> None:
        """Prepare the bytes of the requests; the clock starts now."""
        bodies = [request["body"].encode() for request in requests]
        self.data = [HEAD.format(path, len(body)).encode() + body for body in bodies]
        self.answers = [request.get("answers") for request in requests]
        self.numbers = itertools.cycle(range(len(requests)))
        self.latencies = array("d")
        self.versions, self.failed = Counter[str](), Counter[str]()
        self._verdicts: dict[tuple[int, bytes, str, bytes], str] = {}
        self.start = time.perf_counter()
        self.end = self.start + seconds

    def stop(self) -> None:
        """Send no further requests."""
        self.end = 0.0

    def note(self, number: int, head: bytes, body: bytes, seconds: float) -> None:
        """Count an answer; each different one is looked into once."""
        named = VERSION.search(head)
        version = named[1].decode() if named else ""
        key = number, head[9:12], version, body
        if (verdict := self._verdicts.get(key)) is None:
            verdict = self._verdicts[key] = self._judge(*key)
        if verdict:
            self.failed[verdict] += 1
        self.latencies.append(seconds)
        self.versions[version] += 1

    def _judge(self, number: int, status: bytes, version: str, body: bytes) -> str:
        answers = self.answers[number]
        if status != b"200":
            return f"status {status.decode()}: {body[:200].decode()}"
        if answers is None or json.loads(body) == {"predictions": answers.get(version)}:
            return ""
        return f"not what version {version!r} answers"


class Connection(asyncio.Protocol):
    """Asks while there is time, one request after the other."""

    def __init__(self, load: Load) -> None:
        """Prepare it; `lost` is done when it is closed."""
        self.load, self.buffer, self.waits = load, b"", False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Send the first request."""
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Send the next request, or close."""
        self.sent = time.perf_counter()
        self.waits = self.sent < self.load.end
        if not self.waits:
            self.transport.close()
            return
        self.number = next(self.load.numbers)
        self.transport.write(self.load.data[self.number])

    def data_received(self, data: bytes) -> None:
        """Take what has come; send the next request if that is a whole answer."""
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if found and length and len(body) >= int(length[1]):
            self.buffer = b""
            self.load.note(self.number, head, body, time.perf_counter() - self.sent)
            self.send()

    def connection_lost(self, error: Exception | None) -> None:
        """Count a request that was not answered."""
        if self.waits:
            self.load.failed["the connection was lost"] += 1
        self.lost.set_result(None)


async def ask(
    address: tuple[str, int],
    requests: list[dict[str, Any]],
    connections: int,
    seconds: float,
    path: str = "/invocations",
) -> dict[str, Any]:
    """Return how many were answered and how fast (seconds), which failed, and who answered."""
    load = Load(path, requests, seconds)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, load.stop)

    async def keep_asking() -> None:
        while time.perf_counter() < load.end:
            try:
                _, connection = await loop.create_connection(lambda: Connection(load), *address)
            except OSError:
                load.failed["no connection"] += 1
                await asyncio.sleep(0.05)
            else:
                await connection.lost

    async with asyncio.timeout(seconds + PATIENCE):
        await asyncio.gather(*(keep_asking() for _ in range(connections)))
    taken, found = time.perf_counter() - load.start, sorted(load.latencies)
    return {
        "answered": len(found),
        "per_second": len(found) / taken,
        "p50": found[len(found) // 2] if found else None,
        "p99": found[len(found) * 99 // 100] if found else None,
        "longest": found[-1] if found else None,
        "versions": load.versions,
        "failed": load.failed,
    }


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(ask(**json.load(sys.stdin)))))
