"""The server under test, whose errors fail a test, and the forms of a request."""

from __future__ import annotations

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
from ..server_client import DOCUMENTED, Rows, ServerClient, as_json

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
    """The server at ``url``, on one connection, and the session of its project."""

    def __init__(self, url: str, session: Session) -> None:
        """Prepare the client; nothing is sent."""
        super().__init__(url, TIMEOUT_SECONDS, keep_alive=True)
        self.session, self.settings = session, session.settings

    @cached_property
    def rows(self) -> Rows:
        """The rows of the documented example, one or more."""
        return self.example()

    @cached_property
    def input_schema(self) -> InputSchema:
        """The documented columns."""
        keys = ("schema", "properties", "dataframe_records", "items", "properties")
        columns = self.lookup(self.request("/openapi.json"), *DOCUMENTED, *keys)
        return InputSchema(tuple(_column(name, rules) for name, rules in columns.items()))

    def _fail(self, problem: str) -> NoReturn:
        fail(privacy.redact_text(self.url + problem))


def _column(name: str, rules: dict[str, Any]) -> Column:
    nullable = "anyOf" in rules
    if nullable:
        rules = rules["anyOf"][0]
    if "enum" in rules:
        return Column(name, "text", nullable, frozenset(rules["enum"]))
    return Column(name, "date" if "pattern" in rules else KINDS[rules["type"]], nullable)


def as_table(rows: Rows, schema: InputSchema) -> pd.DataFrame:
    """Return rows of JSON as a table with the types of training."""
    return schema.frame(schema.read({name: [row[name] for row in rows] for name in schema.names}))


def with_nulls(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table for JSON, with None for a missing value."""
    return table.astype(object).where(table.notna(), None)


def _json(form: str, orient: str, **options: Any) -> Callable[[pd.DataFrame], bytes]:
    return lambda table: as_json({form: with_nulls(table).to_dict(orient, **options)})


# Every form of a request: what makes its body of a table, and the body's content type.
FORMS: dict[str, tuple[Callable[[pd.DataFrame], bytes], str]] = {
    "dataframe_split": (_json("dataframe_split", "split", index=False), JSON),
    "dataframe_records": (_json("dataframe_records", "records"), JSON),
    "instances": (_json("instances", "records"), JSON),
    "inputs": (_json("inputs", "list"), JSON),
    "CSV": (lambda table: table.to_csv(index=False).encode(), CSV),
    "Parquet": (lambda table: table.to_parquet(), PARQUET),
}
