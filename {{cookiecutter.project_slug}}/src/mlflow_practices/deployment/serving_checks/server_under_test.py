"""The server under test, whose failures are those of a test, and the forms of a request."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cached_property
from typing import Any, NoReturn

import pandas as pd
import pytest

from ... import privacy
from ...model.column_rules import Column, Kind
from ...model.input_schema import InputSchema
from ...serving.protocol import CSV, JSON, PARQUET
from ...tracking.session import Session
from ..server_client import Rows, ServerClient, as_json

TIMEOUT_SECONDS = 30  # for one answer
MAX_CELLS = 100_000  # of a request: about 5 MB
KINDS: dict[str, Kind] = {"number": "number", "boolean": "boolean", "string": "text"}


def fail(message: str) -> NoReturn:
    """Fail a test with a sentence; a traceback would show rows."""
    raise pytest.fail.Exception(message, pytrace=False) from None


def require(condition: bool, message: str) -> None:
    """Fail the test with ``message`` unless a condition is met."""
    if not condition:
        fail(message)


class ServerUnderTest(ServerClient):
    """The server at ``url`` on one connection, and the session of the project that it belongs to."""

    def __init__(self, url: str, session: Session) -> None:
        """Prepare the client; nothing is sent."""
        super().__init__(url, TIMEOUT_SECONDS, keep_alive=True)
        self.session, self.settings = session, session.settings

    @cached_property
    def example_rows(self) -> Rows:
        """The documented example of a request, one row or more."""
        return self.example()

    @cached_property
    def input_schema(self) -> InputSchema:
        """The documented columns."""
        schema = self.lookup(self.request_documentation(), "schema", "properties")
        row = self.lookup(schema, "dataframe_records", "items", "properties")
        return InputSchema(tuple(_column(name, rules) for name, rules in row.items()))

    def _fail(self, problem: str) -> NoReturn:
        fail(privacy.redact_text(self.url + problem))


def _column(name: str, rules: dict[str, Any]) -> Column:
    nullable = "anyOf" in rules
    if nullable:
        rules = rules["anyOf"][0]
    if "enum" in rules:
        return Column(name, "text", nullable, frozenset(rules["enum"]))
    return Column(name, "date" if "pattern" in rules else KINDS[rules["type"]], nullable)


def records(table: pd.DataFrame) -> Rows:
    """Return a table as rows for JSON, missing values as null."""
    rows: Rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows


def as_table(rows: Rows, schema: InputSchema) -> pd.DataFrame:
    """Return rows of JSON as a table with the types of training."""
    return schema.frame(schema.read({name: [row[name] for row in rows] for name in schema.names}))


def _split(rows: pd.DataFrame) -> bytes:
    data = [list(row.values()) for row in records(rows)]
    return as_json({"dataframe_split": {"columns": list(rows), "data": data}})


def _inputs(rows: pd.DataFrame) -> bytes:
    return as_json({"inputs": {name: [row[name] for row in records(rows)] for name in rows}})


def _parquet(rows: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    rows.to_parquet(file)
    return file.getvalue()


# Every form of a request: what makes its body of a table, and the body's content type.
FORMS: dict[str, tuple[Callable[[pd.DataFrame], bytes], str]] = {
    "dataframe_split": (_split, JSON),
    "dataframe_records": (lambda rows: as_json({"dataframe_records": records(rows)}), JSON),
    "instances": (lambda rows: as_json({"instances": records(rows)}), JSON),
    "inputs": (_inputs, JSON),
    "CSV": (lambda rows: rows.to_csv(index=False).encode(), CSV),
    "Parquet": (_parquet, PARQUET),
}
