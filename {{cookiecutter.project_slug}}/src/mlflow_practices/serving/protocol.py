"""The protocol of MLflow's scoring server: a request's body to columns, predictions to an answer.

Every form that MLflow accepts is: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..model.input_schema import Columns, InputSchema, RefusalError, count_rows

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
MAX_INFLATION = 20  # how many times larger than a Parquet file its table may be
PARQUET_ROWS = 64  # that are decoded before the size is checked again

Lists = dict[str, list[Any]]


def parse_request(body: bytes, content_type: str, schema: InputSchema) -> Columns:
    """Return the rows of a request.

    Raises:
        RefusalError: they are not what the model wants; the message says where and what.
    """
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8"):
        raise RefusalError("content_type", "the only parameter is charset=utf-8", 415)
    media_type = media_type.strip().lower()
    if media_type == JSON:
        columns = schema.read(_json_lists(body, schema))
    elif media_type == CSV:
        columns = schema.read(_csv_table(body, schema), typed=False)
    elif media_type == PARQUET:
        columns = schema.read(_parquet_table(body, schema))
    else:
        raise RefusalError("content_type", f"Content-Type must be {JSON}, {CSV} or {PARQUET}", 415)
    if not count_rows(columns):
        raise RefusalError("empty", "there are no rows")
    return columns


def format_response(predictions: Sequence[Any] | np.ndarray) -> bytes:
    """Return the body of an answer, as MLflow's server writes it."""
    options = orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps({"predictions": predictions}, option=options, default=_plain)


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _json_lists(body: bytes, schema: InputSchema) -> Lists:
    try:
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:  # NaN is not JSON, yet Python's encoder writes it
            request = json.loads(body)
    except (ValueError, RecursionError) as error:
        where = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise RefusalError("json", f"the body is not valid JSON{where}") from None
    forms = [form for form in FORMS if form in request] if isinstance(request, dict) else []
    if len(forms) != 1:
        raise RefusalError(
            "form", f"the body must be an object with exactly one of {', '.join(FORMS)}"
        )
    form, table = forms[0], request[forms[0]]
    if form == "dataframe_split":
        return _split_lists(table, schema)
    if form == "inputs" and isinstance(table, dict):
        return _column_lists(table)
    return _record_lists(table, form, schema)


def _split_lists(table: Any, schema: InputSchema) -> Lists:
    required = {"columns", "data"}
    if not (isinstance(table, dict) and required <= table.keys() <= {*required, "index"}):
        raise RefusalError(
            "form", "dataframe_split must hold `columns` and `data`, and may hold `index`"
        )
    names, rows = table["columns"], table["data"]
    if not (isinstance(names, list) and isinstance(rows, list)):
        raise RefusalError("form", "`columns` and `data` of dataframe_split must be lists")
    if not all(isinstance(name, str) for name in names):
        raise RefusalError("wrong_columns", "a column has a name that is not text")
    schema.require_names(names)
    for number, row in enumerate(rows):
        if not (isinstance(row, list) and len(row) == len(names)):
            raise RefusalError("form", f"row {number}: it must be a list of {len(names)} values")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: list(values) for name, values in zip(names, columns, strict=True)}


def _record_lists(rows: Any, form: str, schema: InputSchema) -> Lists:
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise RefusalError("form", f"{form} must be a list of objects, one for each row")
    if all(row.keys() == schema.names for row in rows):
        return {name: [row[name] for row in rows] for name in schema.names}
    # As MLflow has it, a value that one row lacks and another has is missing.
    schema.require_names(list(dict.fromkeys(name for row in rows for name in row)))
    return {name: [row.get(name) for row in rows] for name in schema.names}


def _column_lists(table: dict[str, Any]) -> Lists:
    lists = {name: each if isinstance(each, list) else [each] for name, each in table.items()}
    if len({len(values) for values in lists.values()}) > 1:
        raise RefusalError("form", "the lists of inputs must be of the same length")
    return lists


def _csv_table(body: bytes, schema: InputSchema) -> pd.DataFrame:
    try:
        # The header first: pandas takes seconds for ten thousand columns.
        header = next(csv.reader(io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")), [])
        if len(header) > len(schema.columns):
            schema.require_names(header)
        # The header as a row: only then does pandas refuse rows that are longer than it.
        table = pd.read_csv(io.BytesIO(body), dtype="str", header=None)
    except (ValueError, OverflowError, csv.Error):  # the message may hold values
        raise RefusalError("csv", "the body is not a CSV table in UTF-8 with a header") from None
    return table.set_axis(table.iloc[0], axis=1).iloc[1:].reset_index(drop=True)


def _parquet_table(body: bytes, schema: InputSchema) -> pd.DataFrame:
    """Return the table of a file, unless it is very large: a small file can hold such a table."""
    max_size, size, batches = MAX_INFLATION * max(len(body), 100_000), 0, []
    too_large = RefusalError("too_large", "the Parquet file holds too large a table", 413)
    try:
        with pq.ParquetFile(io.BytesIO(body), pre_buffer=False) as file:
            schema.require_names(file.schema_arrow.names)
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            declared_size = sum(group.total_byte_size for group in groups)
            if file.metadata.num_rows > len(body) or declared_size > max_size:
                raise too_large
            for batch in file.iter_batches(PARQUET_ROWS):
                size += batch.nbytes
                if size > max_size:
                    raise too_large
                batches.append(batch)
            return pa.Table.from_batches(batches, file.schema_arrow).to_pandas()
    except (OSError, ValueError, pa.ArrowException):
        raise RefusalError("parquet", "the body is not a Parquet file") from None
