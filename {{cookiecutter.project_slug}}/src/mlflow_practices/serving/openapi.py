"""What the server says of itself: OpenAPI, and a page that needs nothing from elsewhere."""

from __future__ import annotations

from typing import Any

import orjson

from ..model.column_rules import LARGEST, Column
from ..registry import markdown
from ..scoring.served_model import ServedModel
from . import protocol

TYPES: dict[str, dict[str, Any]] = {
    "number": {"type": "number", "minimum": -LARGEST, "maximum": LARGEST},
    "text": {"type": "string"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "pattern": r"^(19|20)\d{2}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])$"},
}
NEEDY = ("/health", "/version")  # of a model
GETS = {
    "/ping": "Whether the process lives.",
    "/health": "Whether a model is loaded; a canary, what was refused, whether the registry answers.",
    "/version": "Which version answers.",
    "/metrics": "Figures for Prometheus.",
}


def build_document(model: ServedModel | None) -> dict[str, Any]:
    """Return the OpenAPI document, with the model's own columns and example."""
    return {
        "openapi": "3.1.0",
        "info": {"title": _title(model), "version": str(model.version.number) if model else "0"},
        "paths": {
            "/invocations": {"post": _invocations(model)},
            **{
                path: {
                    "get": {
                        "summary": text,
                        "responses": {
                            "200": {"description": "Yes."},
                            **(
                                {"503": {"description": "No model is loaded."}}
                                if path in NEEDY
                                else {}
                            ),
                        },
                    }
                }
                for path, text in GETS.items()
            },
        },
    }


def docs_page(model: ServedModel | None) -> str:
    """Return the same for people, as HTML without a script or an outside address."""
    parts = [f"# {_title(model)}"]
    if model is None:
        parts.append("No model is loaded yet; see [/health](/health).")
    else:
        rows = [
            [column.name, column.requirement, "yes" if column.nullable else "no"]
            for column in model.input_schema.columns
        ]
        example = orjson.dumps({"dataframe_records": model.records()[:1]}).decode()
        command = "curl -H 'Content-Type: application/json' --data @- THIS-SERVER/invocations"
        parts += [
            markdown.table(["column", "values", "may be missing"], rows),
            f"    {command} <<'END'\n    {example}\n    END",
            f"Other forms: {', '.join(protocol.FORMS)}, {protocol.CSV} and {protocol.PARQUET}.",
        ]
    parts.append("\n".join(f"- [{path}]({path}): {text}" for path, text in GETS.items()))
    parts.append("[/openapi.json](/openapi.json) says this to programs.")
    return markdown.page(_title(model), "\n\n".join(parts), {})


def _invocations(model: ServedModel | None) -> dict[str, Any]:
    columns = model.input_schema.columns if model else ()
    row = {
        "type": "object",
        "properties": {column.name: _schema(column) for column in columns},
        "required": [column.name for column in columns],
        "additionalProperties": False,
    }
    request = {
        "type": "object",
        "properties": {"dataframe_records": {"type": "array", "minItems": 1, "items": row}},
        "required": ["dataframe_records"],
    }
    content: dict[str, Any] = {"schema": request}
    if model:
        content["example"] = {"dataframe_records": model.records()}
    problem = {
        "type": "object",
        "properties": {
            name: {"type": "string"} for name in ("error_code", "message", "request_id")
        },
    }
    answer = {"type": "object", "properties": {"predictions": {"type": "array"}}}
    meanings = {
        "400": "The rows are not what the model wants.",
        "413": "The body is too large.",
        "415": "The content type is not known.",
        "422": "The model cannot answer these rows.",
        "503": "No model is loaded.",
    }
    return {
        "summary": "Predict. Also dataframe_split, instances, inputs, CSV and Parquet, as MLflow has them.",
        "requestBody": {"required": True, "content": {protocol.JSON: content}},
        "responses": {
            "200": {"description": "Predictions.", "content": {protocol.JSON: {"schema": answer}}},
            **{
                status: {"description": text, "content": {protocol.JSON: {"schema": problem}}}
                for status, text in meanings.items()
            },
        },
    }


def _schema(column: Column) -> dict[str, Any]:
    found = dict(TYPES[column.kind])
    if column.categories is not None:
        found = {"enum": sorted(column.categories)}
    return {"anyOf": [found, {"type": "null"}]} if column.nullable else found


def _title(model: ServedModel | None) -> str:
    return str(model.version) if model else "No model yet"
