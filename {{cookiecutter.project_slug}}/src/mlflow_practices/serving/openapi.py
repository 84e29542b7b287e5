"""The server's documentation: OpenAPI for programs, and a page that loads nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import yaml
from jinja2 import Template

from ..model.column_rules import LARGEST, Column
from ..scoring.served_model import ServedModel
from . import protocol

DOCUMENT = Path(__file__).with_name("openapi.yaml")
PAGE = Path(__file__).with_name("docs.html.j2")
TYPES: dict[str, dict[str, Any]] = {
    "number": {"type": "number", "minimum": -LARGEST, "maximum": LARGEST},
    "text": {"type": "string"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "pattern": r"^(19|20)\d{2}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])$"},
}


def build_document(model: ServedModel | None) -> dict[str, Any]:
    """Return the OpenAPI document, with the model's own columns and example."""
    document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    if model is not None:
        document["info"] = {"title": str(model.version), "version": str(model.version.number)}
        request = document["paths"]["/invocations"]["post"]["requestBody"]["content"][protocol.JSON]
        request["example"] = {"dataframe_records": model.records()}
        row = request["schema"]["properties"]["dataframe_records"]["items"]
        row["properties"] = {column.name: _schema(column) for column in model.input_schema.columns}
        row["required"] = list(row["properties"])
    return document


def docs_page(model: ServedModel | None) -> str:
    """Return the same for people, as HTML."""
    document = build_document(model)
    example = {"dataframe_records": model.records()[:1]} if model else {}
    page: str = Template(PAGE.read_text(encoding="utf-8"), autoescape=True).render(
        document=document, model=model, example=orjson.dumps(example).decode(), protocol=protocol
    )
    return page


def _schema(column: Column) -> dict[str, Any]:
    schema = TYPES[column.kind]
    if column.categories is not None:
        schema = {"enum": sorted(column.categories)}
    return {"anyOf": [schema, {"type": "null"}]} if column.nullable else schema
