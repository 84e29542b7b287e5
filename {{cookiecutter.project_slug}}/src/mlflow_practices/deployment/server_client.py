"""A client of a running server of this project: its version, health, metrics and predictions."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Container, Iterator
from contextlib import suppress
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests

from .. import privacy
from ..errors import PracticeError
from .request_metrics import RequestMetrics, parse_metrics

JSON = "application/json"
# Where /openapi.json has the example and the schema of a request.
DOCUMENTED = ("paths", "/invocations", "post", "requestBody", "content", JSON)
CONNECTIONS = 4  # that must all reach the same version: each may reach another worker

Rows = list[dict[str, Any]]


class ServerError(PracticeError):
    """A server does not start, answer or serve what it must; the message says which and why."""


class ServerClient:
    """The server at ``url``. A request takes at most ``timeout_seconds``.

    Every method raises `ServerError` if there is no answer, or not one of this project's server.
    The ids of requests start with ``check-``, so that logs and monitoring can leave them out.
    """

    def __init__(self, url: str, timeout_seconds: float = 5, keep_alive: bool = False) -> None:
        """Prepare the client; nothing is sent."""
        self.url, self._timeout = url.rstrip("/"), timeout_seconds
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        if not keep_alive:
            self._session.headers["Connection"] = "close"

    def version(self) -> str:
        """Return the version that answers, as NAME/NUMBER."""
        answer = self.request("/version")
        return f"{self.lookup(answer, 'name')}/{self.lookup(answer, 'version')}"

    def health(self) -> dict[str, Any]:
        """Return what the server reports of its health, also when it is not ready (503)."""
        answer = self.request("/health", allowed=(200, 503))
        for key in ("ready", "version", "registry"):
            self.lookup(answer, key)
        return dict(answer.json())

    def example(self) -> Rows:
        """Return the rows of the documented example."""
        keys = (*DOCUMENTED, "example", "dataframe_records")
        rows: Rows = self.lookup(self.request("/openapi.json"), *keys)
        return rows

    def predict(self, rows: Rows) -> list[Any]:
        """Return the predictions for rows."""
        return self.predict_body(as_json({"dataframe_records": rows}))

    def predict_body(self, body: bytes, content_type: str = JSON) -> list[Any]:
        """Return the predictions for the body of a request."""
        answer = self.request("/invocations", body, content_type)
        predictions: list[Any] = self.lookup(answer, "predictions")
        return predictions

    def metrics(self) -> RequestMetrics:
        """Return the metrics of requests since the server started."""
        page = self.request("/metrics").content.decode(errors="replace")
        try:
            return parse_metrics(page)
        except (ValueError, KeyError, IndexError) as error:
            self._fail_as_other(f"/metrics cannot be read ({type(error).__name__})")

    def serves_everywhere(self, version: str) -> bool:
        """Return whether every worker behind the address answers with ``version``."""
        if self.metrics().worker_versions != {float(version.rpartition("/")[2])}:
            return False
        return all(self.version() == version for _ in range(CONNECTIONS))

    def is_listening(self) -> bool:
        """Return whether any program accepts connections at the address."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with suppress(OSError), socket.create_connection((str(parts.hostname), port), timeout=5):
            return True
        return False

    def request(
        self,
        path: str,
        body: bytes | None = None,
        content_type: str = JSON,
        allowed: Container[int] = (200,),
        request_id: str = "",
    ) -> requests.Response:
        """Return the answer to a GET, or with a body to a POST; its status must be allowed."""
        headers = {"X-Request-ID": request_id or f"check-{uuid.uuid4().hex}"}
        if body is not None:
            headers["Content-Type"] = content_type
        method = "GET" if body is None else "POST"
        deadline = time.monotonic() + self._timeout
        try:
            answer = self._session.request(
                method,
                self.url + path,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            # The timeout holds for a single read; a slow server can cause many of them.
            timer = threading.Timer(deadline - time.monotonic(), _interrupt, [answer])
            timer.start()
            try:
                _ = answer.content
            finally:
                timer.cancel()
            if time.monotonic() >= deadline:
                raise requests.Timeout
        except OSError as error:  # as all errors of requests are
            late = isinstance(error, requests.Timeout) or time.monotonic() >= deadline
            reason = f"no answer within {self._timeout:g} s" if late else _root_cause(error)
            self._fail(f"{path}: {reason}; is the server running, and is the address right?")
        if answer.status_code not in allowed:
            text = " ".join(answer.content[:300].decode(errors="replace").split())
            self._fail(f"{path}: status {answer.status_code}, {text}; see its /health and its log")
        return answer

    def lookup(self, answer: requests.Response, *keys: str) -> Any:
        """Return the value at a path of keys in the JSON of an answer."""
        try:
            found = answer.json()
        except ValueError:
            self._fail_as_other(f"an answer with status {answer.status_code} that is not JSON")
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                self._fail_as_other(f"an answer without {key!r}")
            found = found[key]
        return found

    def _fail_as_other(self, problem: str) -> NoReturn:
        self._fail(
            f": {problem}; that is not this project's server, or an older version of it: "
            "start it with `serve`"
        )

    def _fail(self, problem: str) -> NoReturn:
        raise ServerError(privacy.redact_text(self.url + problem)) from None


def as_json(content: object) -> bytes:
    """Return the body of a request."""
    return json.dumps(content, default=str).encode()


def attempts(seconds: float) -> Iterator[None]:
    """Yield again and again, with a pause between, until the seconds are over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.2)


def _interrupt(answer: requests.Response) -> None:
    with suppress(OSError, RuntimeError, ValueError):  # it was read meanwhile
        answer.raw.shutdown()


def _root_cause(error: BaseException) -> str:
    """Return the message of the first error, which requests wraps several times."""
    while error.__context__:
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__
