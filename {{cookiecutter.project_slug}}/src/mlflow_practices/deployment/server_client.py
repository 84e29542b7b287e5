"""A running server of this project, asked over HTTP: what it serves, and its figures by version."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from .. import privacy
from ..errors import PracticeError

CONNECTIONS = 4  # that must all agree on the version: each may reach another worker
GONE = ("0", "499")  # the statuses of requests whose client went away
JSON = "application/json"


class ServerError(PracticeError):
    """A server does not answer, or not as this project's does; names its address and the remedy."""


@dataclass(frozen=True)
class RequestMetrics:
    """Counts of POST /invocations since the server's start, of all its workers together.

    Of each version (NAME/NUMBER; "" where none could answer): requests by HTTP status, and in
    ``buckets`` how many took at most so many seconds, cumulative as Prometheus has them. Without
    a version the methods below take all together.
    """

    statuses: Mapping[tuple[str, str], float]  # by version and status
    buckets: Mapping[tuple[str, float], float]  # by version and upper bound, seconds

    def since(self, earlier: RequestMetrics) -> RequestMetrics:
        """Return what was counted after ``earlier``: all of it where the server restarted."""
        if any(self.statuses.get(key, 0) < count for key, count in earlier.statuses.items()):
            return self
        return RequestMetrics(
            {key: count - earlier.statuses.get(key, 0) for key, count in self.statuses.items()},
            {key: count - earlier.buckets.get(key, 0) for key, count in self.buckets.items()},
        )

    def requests(self, version: str | None = None) -> int:
        """Return how many were answered, refused or failed."""
        return self._count(version, "")

    def failed(self, version: str | None = None) -> int:
        """Return how many failed in the server (5xx)."""
        return self._count(version, "5")

    def refused(self, version: str | None = None) -> int:
        """Return how many were refused (4xx)."""
        return self._count(version, "4")

    def error_rate(self, version: str | None = None) -> float:
        """Return the share that failed; 0 of no requests."""
        return self.failed(version) / max(1, self.requests(version))

    def refusal_rate(self, version: str | None = None) -> float:
        """Return the share that was refused; 0 of no requests."""
        return self.refused(version) / max(1, self.requests(version))

    def quantile(self, share: float, version: str | None = None) -> float | None:
        """Return a quantile of the seconds to an answer, or None of no requests.

        Interpolated linearly within a bucket, as Prometheus' ``histogram_quantile``; in the last,
        which is open, its lower bound.
        """
        bounds = sorted({bound for _, bound in self.buckets})
        counts = [
            sum(
                count
                for (named, limit), count in self.buckets.items()
                if limit == bound and version in (None, named)
            )
            for bound in bounds
        ]
        if not counts or not counts[-1]:
            return None
        rank = share * counts[-1]
        last = next(n for n, count in enumerate(counts) if count >= rank)
        lower, below = (bounds[last - 1], counts[last - 1]) if last else (0.0, 0.0)
        if last == len(bounds) - 1 or counts[last] == below:
            return lower
        return lower + (bounds[last] - lower) * (rank - below) / (counts[last] - below)

    def _count(self, version: str | None, status: str) -> int:
        return int(
            sum(
                count
                for (named, found), count in self.statuses.items()
                if version in (None, named) and found not in GONE and found.startswith(status)
            )
        )


class ServerClient:
    """The server at ``url``. Each call takes a connection of its own and a bounded time."""

    def __init__(self, url: str, timeout_seconds: float = 5) -> None:
        """Prepare it; nothing is sent yet."""
        self.url, self._timeout = url.rstrip("/"), timeout_seconds
        self._parts = urlsplit(self.url)

    def version(self) -> str:
        """Return what answers, as NAME/NUMBER.

        Raises:
            ServerError: nothing does, or something else.
        """
        found = self._json("/version")
        return f"{self._named(found, 'name')}/{self._named(found, 'version')}"

    def health(self) -> dict[str, Any]:
        """Return what it says of its health, also when it is not ready (503).

        Raises:
            ServerError: nothing answers, or something else.
        """
        found = self._json("/health", allowed=(200, 503))
        self._named(found, "ready")
        self._named(found, "registry")
        return found

    def example(self) -> list[dict[str, Any]]:
        """Return the rows that its documentation has as an example.

        Raises:
            ServerError: nothing answers, or something else, or no model is loaded.
        """
        found: Any = self._json("/openapi.json")
        for key in ("paths", "/invocations", "post", "requestBody", "content", JSON, "example"):
            found = self._named(found, key)
        rows: list[dict[str, Any]] = self._named(found, "dataframe_records")
        return rows

    def ask(self, rows: list[dict[str, Any]], request_id: str) -> list[Any]:
        """Return the predictions for rows.

        Raises:
            ServerError: it does not answer, refuses or fails.
        """
        body = json.dumps({"dataframe_records": rows}).encode()
        found = self._json("/invocations", body, request_id)
        answers: list[Any] = self._named(found, "predictions")
        return answers

    def serves_everywhere(self, version: str) -> bool:
        """Return whether every worker behind the address answers with ``version``.

        Raises:
            ServerError: nothing answers, or something else.
        """
        number = float(version.rpartition("/")[2])
        samples = [n for name, _, n in self._samples() if name == "serving_model_version"]
        return set(samples) == {number} and all(
            self.version() == version for _ in range(CONNECTIONS)
        )

    def figures(self) -> RequestMetrics:
        """Return its figures since it started.

        Raises:
            ServerError: nothing answers, or something else.
        """
        statuses: dict[tuple[str, str], float] = {}
        buckets: dict[tuple[str, float], float] = {}
        for name, labels, value in self._samples():
            if name == "serving_requests_total":
                statuses[labels["version"], labels["status"]] = value
            elif name == "serving_request_seconds_bucket":
                buckets[labels["version"], float(labels["le"])] = value
        return RequestMetrics(statuses, buckets)

    def _samples(self) -> list[tuple[str, dict[str, str], float]]:
        text = self._request("/metrics").decode(errors="replace")
        try:
            families = list(text_string_to_metric_families(text))
            return [(one.name, one.labels, one.value) for kind in families for one in kind.samples]
        except (ValueError, KeyError, IndexError) as error:
            raise self._other(f"/metrics cannot be read ({type(error).__name__})") from None

    def _json(
        self,
        path: str,
        body: bytes | None = None,
        request_id: str = "",
        allowed: tuple[int, ...] = (200,),
    ) -> dict[str, Any]:
        content = self._request(path, body, request_id, allowed)
        try:
            found = json.loads(content)
        except ValueError:
            raise self._other(f"{path} is not JSON") from None
        if not isinstance(found, dict):
            raise self._other(f"{path} is not an object")
        return found

    def _named(self, found: Any, key: str) -> Any:
        if not isinstance(found, dict) or key not in found:
            raise self._other(f"an answer without {key!r}")
        return found[key]

    def _request(
        self,
        path: str,
        body: bytes | None = None,
        request_id: str = "",
        allowed: tuple[int, ...] = (200,),
    ) -> bytes:
        """Return the body of an answer whose status is ``allowed``."""
        headers = {"Content-Type": JSON} if body is not None else {}
        if request_id:
            headers["X-Request-ID"] = request_id
        method = "GET" if body is None else "POST"
        end = time.monotonic() + self._timeout
        connect = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        try:
            with closing(connect(self._parts.netloc, timeout=self._timeout)) as connection:
                connection.connect()
                # The socket's limit is one of a single read; a slow server can make many of them.
                timer = threading.Timer(end - time.monotonic(), _shut, [connection.sock])
                timer.start()
                try:
                    connection.request(method, self._parts.path + path, body, headers)
                    answer = connection.getresponse()
                    content = answer.read()
                finally:
                    timer.cancel()
            if time.monotonic() >= end:
                raise TimeoutError
        except (OSError, ValueError, HTTPException) as error:
            late = isinstance(error, TimeoutError) or time.monotonic() >= end
            reason = f"no answer within {self._timeout:g} s" if late else _words(error)
            raise ServerError(
                f"{self._shown}{path}: {reason}; is the server running, and the address right?"
            ) from None
        if answer.status not in allowed:
            said = privacy.redact_text(" ".join(content[:300].decode(errors="replace").split()))
            raise ServerError(
                f"{self._shown}{path}: status {answer.status}, {said}; see its /health and its log"
            )
        return content

    @property
    def _shown(self) -> str:
        return privacy.redact_text(self.url)

    def _other(self, what: str) -> ServerError:
        return ServerError(
            f"{self._shown}: {what}; that is not this project's server, or an older one of it: "
            "start it with serve"
        )


def _shut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return privacy.redact_text(text) or type(error).__name__
