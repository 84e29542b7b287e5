"""A server under test, reached over HTTP, and the project's configuration beside it."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pandas as pd
import pytest

from ...config.settings import Settings
from ...model.column_rules import Column, Kind
from ...model.input_schema import InputSchema
from ...serving.protocol import CSV, JSON, PARQUET
from ...tracking.session import Session

TIMEOUT_SECONDS = 30  # for one answer
MOST_CELLS = 100_000  # of a request: some 5 MB
IDLE_SECONDS = 2  # after which a connection may have been closed, and a new one is made

Rows = list[dict[str, Any]]


def fail(message: str) -> NoReturn:
    """Fail a test with a sentence; a traceback would show rows."""
    raise pytest.fail.Exception(message, pytrace=False) from None


def require(kept: bool, message: str) -> None:
    """Fail the test with ``message`` unless what it is about was kept."""
    if not kept:
        fail(message)


@dataclass(frozen=True)
class Reply:
    """An answer: the status of HTTP, the headers by their lower-case names, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return what the body says."""
        try:
            return json.loads(self.body)
        except ValueError:
            fail(f"expected JSON, got {len(self.body)} bytes that are not (status {self.status})")


class ServerUnderTest:
    """The server at ``url``, on one connection that is kept alive."""

    def __init__(self, url: str, session: Session) -> None:
        """Prepare it; nothing is sent yet."""
        self.url, self.session = url.rstrip("/"), session
        parts = urlsplit(self.url)
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = connect(parts.netloc, timeout=TIMEOUT_SECONDS)
        self._path = parts.path
        self._used = 0.0

    def request(
        self, path: str, body: bytes | None = None, kind: str = JSON, request_id: str = ""
    ) -> Reply:
        """Return the answer to a GET, or with a body to a POST.

        The requests' ids start with ``check-``, so that logs and monitoring can leave them out.
        """
        headers = {"x-request-id": request_id or f"check-{uuid.uuid4().hex}"}
        if body is not None:
            headers["content-type"] = kind
        if time.monotonic() > self._used + IDLE_SECONDS:
            self._connection.close()
        try:
            # A body that is too large is refused before its end.
            with suppress(BrokenPipeError, ConnectionResetError):
                method = "GET" if body is None else "POST"
                self._connection.request(method, self._path + path, body, headers)
            answer = self._connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            reply = Reply(answer.status, found, answer.read())
        except (OSError, HTTPException) as error:
            self._connection.close()
            fail(f"{self.url}{path} does not answer: {error or type(error).__name__}")
        self._used = time.monotonic()
        return reply

    def get(self, path: str) -> Reply:
        """Return the answer to a GET, which must be a good one."""
        reply = self.request(path)
        require(reply.status == 200, f"GET {path}: expected the status 200, got {reply.status}")
        return reply

    def ask(self, rows: Rows) -> list[Any]:
        """Return the predictions for rows, which must be answered."""
        return self.predictions(as_json({"dataframe_records": rows}))

    def predictions(self, body: bytes, kind: str = JSON) -> list[Any]:
        """Return the predictions for a body, which must be answered."""
        reply = self.request("/invocations", body, kind)
        if reply.status != 200:
            fail(f"POST /invocations: expected the status 200, got {reply.status}: {reply.text}")
        found: list[Any] = reply.json()["predictions"]
        return found

    @property
    def settings(self) -> Settings:
        """The configuration of the project that the server belongs to."""
        return self.session.settings

    @cached_property
    def example(self) -> Rows:
        """The model's example, as the server documents it; a row at least."""
        rows: Rows = self._documented["example"]["dataframe_records"]
        return rows

    @cached_property
    def input_schema(self) -> InputSchema:
        """The columns that the server documents."""
        row = self._documented["schema"]["properties"]["dataframe_records"]["items"]
        return InputSchema(tuple(_column(*item) for item in row["properties"].items()))

    @property
    def _documented(self) -> dict[str, Any]:
        document = self.get("/openapi.json").json()
        try:
            content: dict[str, Any] = document["paths"]["/invocations"]["post"]["requestBody"]
            return dict(content["content"][JSON])
        except KeyError as error:
            fail(f"/openapi.json: /invocations is documented without {error}")


def _column(name: str, schema: dict[str, Any]) -> Column:
    nullable = "anyOf" in schema
    schema = schema["anyOf"][0] if nullable else schema
    if "enum" in schema:
        return Column(name, "text", nullable, frozenset(schema["enum"]))
    kinds: dict[str, Kind] = {"number": "number", "boolean": "boolean", "string": "text"}
    return Column(name, "date" if "pattern" in schema else kinds[schema["type"]], nullable)


def as_json(content: object) -> bytes:
    """Return the body of a request."""
    return json.dumps(content, default=str).encode()


def records(table: pd.DataFrame) -> Rows:
    """Return a table as rows for JSON, missing values as null."""
    rows: Rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows


def as_table(rows: Rows, schema: InputSchema) -> pd.DataFrame:
    """Return rows of JSON as a table with the types of training."""
    return schema.frame(schema.read({name: [row[name] for row in rows] for name in schema.names}))


def _parquet(rows: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    rows.to_parquet(file)
    return file.getvalue()


def _split(rows: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(rows), "data": [list(row.values()) for row in records(rows)]}


# Every form of a request: what makes its body of a table, and the body's content type.
FORMS: dict[str, tuple[Callable[[pd.DataFrame], bytes], str]] = {
    "dataframe_split": (lambda rows: as_json({"dataframe_split": _split(rows)}), JSON),
    "dataframe_records": (lambda rows: as_json({"dataframe_records": records(rows)}), JSON),
    "instances": (lambda rows: as_json({"instances": records(rows)}), JSON),
    "inputs": (
        lambda rows: as_json(
            {"inputs": {name: [row[name] for row in records(rows)] for name in rows}}
        ),
        JSON,
    ),
    "CSV": (lambda rows: rows.to_csv(index=False).encode(), CSV),
    "Parquet": (_parquet, PARQUET),
}
