"""A client of a running server of this project: its version, health, metrics and predictions."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests

from .. import privacy
from ..errors import PracticeError
from ..serving.protocol import JSON
from .request_metrics import RequestMetrics, parse_metrics

CONNECTIONS = 4  # that must all reach the same version: each may reach another worker
PAUSE_SECONDS = 0.2  # between two attempts

Rows = list[dict[str, Any]]


class ServerError(PracticeError):
    """A server does not start, answer or serve what it must; the message says which and why."""


class ServerClient:
    """The server at ``url``. A request takes at most ``timeout_seconds``.

    The ids of its requests start with ``check-``, so that logs and monitoring can leave them out.
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
        found = self._get_json("/version")
        return f"{self.lookup(found, 'name')}/{self.lookup(found, 'version')}"

    def health(self) -> dict[str, Any]:
        """Return what the server reports of its health, also when it is not ready (503)."""
        found: dict[str, Any] = self._get_json("/health", allowed=(200, 503))
        for key in ("ready", "registry"):
            self.lookup(found, key)
        return found

    def request_documentation(self) -> Any:
        """Return how the server documents a request: its ``example`` and its ``schema``."""
        found = self._get_json("/openapi.json")
        return self.lookup(found, "paths", "/invocations", "post", "requestBody", "content", JSON)

    def example(self) -> Rows:
        """Return the rows of the documented example."""
        rows: Rows = self.lookup(self.request_documentation(), "example", "dataframe_records")
        return rows

    def predict(self, rows: Rows) -> list[Any]:
        """Return the predictions for rows."""
        return self.predict_body(as_json({"dataframe_records": rows}))

    def predict_body(self, body: bytes, content_type: str = JSON) -> list[Any]:
        """Return the predictions for the body of a request."""
        response = self.fetch("/invocations", body, content_type)
        predictions: list[Any] = self.lookup(self.decode(response), "predictions")
        return predictions

    def metrics(self) -> RequestMetrics:
        """Return the metrics of requests since the server started."""
        return self._read_metrics()[0]

    def serves_everywhere(self, version: str) -> bool:
        """Return whether every worker behind the address answers with ``version``."""
        numbers = self._read_metrics()[1]
        if numbers != {float(version.rpartition("/")[2])}:
            return False
        return all(self.version() == version for _ in range(CONNECTIONS))

    def is_listening(self) -> bool:
        """Return whether any program accepts connections at the address."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with suppress(OSError), socket.create_connection((str(parts.hostname), port), timeout=5):
            return True
        return False

    def fetch(
        self,
        path: str,
        body: bytes | None = None,
        content_type: str = JSON,
        allowed: tuple[int, ...] = (200,),
    ) -> requests.Response:
        """Return the answer to a request, which must have an allowed status."""
        response = self.request(path, body, content_type)
        if response.status_code not in allowed:
            text = " ".join(response.content[:300].decode(errors="replace").split())
            self._fail(
                f"{path}: status {response.status_code}, {text}; see its /health and its log"
            )
        return response

    def request(
        self, path: str, body: bytes | None = None, content_type: str = JSON, request_id: str = ""
    ) -> requests.Response:
        """Return the answer to a GET, or with a body to a POST, whatever its status.

        Raises:
            ServerError: there is none in time. All other methods raise it, too, when the answer is
                not that of a server of this project.
        """
        headers = {"X-Request-ID": request_id or f"check-{uuid.uuid4().hex}"}
        if body is not None:
            headers["Content-Type"] = content_type
        method = "GET" if body is None else "POST"
        deadline = time.monotonic() + self._timeout
        try:
            response = self._session.request(
                method,
                self.url + path,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            # The timeout holds for a single read; a slow server can cause many of them.
            timer = threading.Timer(deadline - time.monotonic(), _interrupt, [response])
            timer.start()
            try:
                _ = response.content
            finally:
                timer.cancel()
            if time.monotonic() >= deadline:
                raise requests.Timeout
        except OSError as error:  # as all errors of requests are
            late = isinstance(error, requests.Timeout) or time.monotonic() >= deadline
            reason = f"no answer within {self._timeout:g} s" if late else _root_cause(error)
            self._fail(f"{path}: {reason}; is the server running, and is the address right?")
        return response

    def decode(self, response: requests.Response) -> Any:
        """Return the JSON of an answer."""
        try:
            return response.json()
        except ValueError:
            self._fail_as_other(f"an answer with status {response.status_code} that is not JSON")

    def _get_json(self, path: str, allowed: tuple[int, ...] = (200,)) -> Any:
        return self.decode(self.fetch(path, allowed=allowed))

    def lookup(self, found: Any, *keys: str) -> Any:
        """Return the value at a path of keys in an answer."""
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                self._fail_as_other(f"an answer without {key!r}")
            found = found[key]
        return found

    def _read_metrics(self) -> tuple[RequestMetrics, set[float]]:
        page = self.fetch("/metrics").content.decode(errors="replace")
        try:
            return parse_metrics(page)
        except (ValueError, KeyError, IndexError) as error:
            self._fail_as_other(f"/metrics cannot be read ({type(error).__name__})")

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


def attempts(seconds: float, pause: float = PAUSE_SECONDS) -> Iterator[None]:
    """Yield again and again, with a pause between, until the seconds are over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)


def _interrupt(response: requests.Response) -> None:
    with suppress(OSError, RuntimeError, ValueError):  # it was read meanwhile
        response.raw.shutdown()


def _root_cause(error: BaseException) -> str:
    """Return the message of the first error, which requests wraps several times."""
    while error.__context__:
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__
