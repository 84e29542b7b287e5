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
INFLATED = 20  # times its own size that the table of a Parquet file may have, and
PARQUET_ROWS = 64  # rows of it that are decoded before the next look
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def parse_request(body: bytes, content_type: str, schema: InputSchema) -> Columns:
    """Return the rows of a request.

    Raises:
        RefusalError: they are not what the model wants, with a sentence that says where and what.
    """
    kind, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8"):
        raise RefusalError("content_type", "the only parameter is charset=utf-8", 415)
    kind = kind.strip().lower()
    if kind == JSON:
        columns = _from_json(body, schema)
    elif kind == CSV:
        columns = schema.read(_read_csv(body, schema), typed=False)
    elif kind == PARQUET:
        columns = schema.read(_read_parquet(body, schema))
    else:
        raise RefusalError("content_type", f"Content-Type must be {JSON}, {CSV} or {PARQUET}", 415)
    if not count_rows(columns):
        raise RefusalError("empty", "there are no rows")
    return columns


def format_response(predictions: Sequence[Any] | np.ndarray) -> bytes:
    """Return the body of an answer, as MLflow's server writes it."""
    return orjson.dumps(
        {"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY, default=_plain
    )


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _from_json(body: bytes, schema: InputSchema) -> Columns:
    request = _parse(body)
    given = [form for form in FORMS if form in request]
    if len(given) != 1:
        raise RefusalError("form", f"the body must hold exactly one of {', '.join(FORMS)}")
    form, table = given[0], request[given[0]]
    if form == "dataframe_split":
        return schema.read(_of_split(table, schema))
    if isinstance(table, dict) and form == "inputs":
        return schema.read(_of_columns(table, schema))
    return schema.read(_of_records(table, form, schema))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:  # NaN is no JSON, yet Python's encoder writes it
            request = json.loads(body)
    except (ValueError, RecursionError) as error:
        where = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise RefusalError("json", f"the body is not valid JSON{where}") from None
    if not isinstance(request, dict):
        raise RefusalError("form", f"the body must be an object with one of {', '.join(FORMS)}")
    return request


def _of_split(table: Any, schema: InputSchema) -> dict[str, list[Any]]:
    if not (isinstance(table, dict) and {"columns", "data"} <= table.keys() <= SPLIT):
        raise RefusalError(
            "form", "dataframe_split must hold `columns` and `data` (and `index` or not)"
        )
    names, data = table["columns"], table["data"]
    if not (isinstance(names, list) and isinstance(data, list)):
        raise RefusalError("form", "`columns` and `data` of dataframe_split must be lists")
    if any(isinstance(name, list | dict) for name in names):
        raise RefusalError("wrong_columns", "a column has a name that is not text")
    schema.require_names(names)
    width = len(names)
    for number, row in enumerate(data):
        if not (isinstance(row, list) and len(row) == width):
            raise RefusalError("form", f"row {number}: it must be a list of {width} values")
    return (
        dict(zip(names, map(list, zip(*data, strict=True)), strict=True)) if data else _none(names)
    )


SPLIT = {"columns", "data", "index"}


def _of_records(table: Any, form: str, schema: InputSchema) -> dict[str, list[Any]]:
    if not (isinstance(table, list) and all(isinstance(row, dict) for row in table)):
        raise RefusalError("form", f"{form} must be a list of objects, one a row")
    wanted = schema.names
    if all(row.keys() == wanted for row in table):
        return {name: [row[name] for row in table] for name in wanted}
    # As MLflow has it, a value that one row lacks and another has is missing.
    schema.require_names(list(dict.fromkeys(name for row in table for name in row)))
    return {name: [row.get(name) for row in table] for name in wanted}


def _of_columns(table: dict[str, Any], schema: InputSchema) -> dict[str, list[Any]]:
    schema.require_names(table)
    lists = {
        name: values if isinstance(values, list) else [values] for name, values in table.items()
    }
    if len({len(values) for values in lists.values()}) > 1:
        raise RefusalError("form", "the lists of inputs must be of the same length")
    return lists


def _none(names: list[str]) -> dict[str, list[Any]]:
    return {name: [] for name in names}


def _read_csv(body: bytes, schema: InputSchema) -> pd.DataFrame:
    try:
        # The header first: pandas takes seconds for ten thousand columns.
        header = next(csv.reader(io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")), [])
        if len(header) > len(schema.columns):
            schema.require_names(header)
        # The header as a row: only then does pandas refuse rows that are longer than it.
        table = pd.read_csv(io.BytesIO(body), dtype="str", header=None)
    except (ValueError, OverflowError, csv.Error) as error:
        del error  # it may hold values
        raise RefusalError("csv", "the body is not a CSV table in UTF-8 with a header") from None
    return table.set_axis(table.iloc[0], axis=1).iloc[1:].reset_index(drop=True)


def _read_parquet(body: bytes, schema: InputSchema) -> pd.DataFrame:
    """Return the table; a small file can stand for a very large one, which is refused."""
    too_large = RefusalError("too_large", "the Parquet file stands for too large a table", 413)
    most, size, batches = INFLATED * max(len(body), 100_000), 0, []
    try:
        with pq.ParquetFile(io.BytesIO(body), pre_buffer=False) as file:
            schema.require_names(file.schema_arrow.names)
            groups = (file.metadata.row_group(n) for n in range(file.num_row_groups))
            told = sum(group.total_byte_size for group in groups)
            if file.metadata.num_rows > len(body) or told > most:
                raise too_large
            for batch in file.iter_batches(PARQUET_ROWS):
                size += batch.nbytes
                if size > most:
                    raise too_large
                batches.append(batch)
            return pa.Table.from_batches(batches, file.schema_arrow).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        del error
        raise RefusalError("parquet", "the body is not a Parquet file") from None
