"""The columns that a model takes, and whether rows fit them.

The kind of each column comes from the model's signature. Whether a value may be missing, and which
categories there are, comes from the training data and is kept in the model's metadata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import Model

from .. import privacy
from ..errors import PracticeError
from .column_rules import Column, Kind, list_names

Columns = dict[str, np.ndarray]  # of each column an array of shape (rows,), in the model's order

MAX_CATEGORIES = 50  # of a column; with more, serving accepts a new one
METADATA = "columns"  # the key in the model's metadata
_KINDS: dict[str, Kind] = {  # by the types of MLflow's signatures
    **dict.fromkeys(("double", "float", "integer", "long"), "number"),
    "string": "text",
    "boolean": "boolean",
    "datetime": "date",
}
_EXAMPLES: dict[Kind, Any] = {
    "number": 0.0,
    "text": "text",
    "boolean": False,
    "date": "2020-01-01",
}


class RefusalError(PracticeError):
    """A request or its rows are refused; the message is a sentence without any value of the rows.

    Attributes:
        kind: what is wrong, for counting.
        status: that of HTTP.
        column: the name of the column at fault, empty where none is.
    """

    def __init__(self, kind: str, message: str, status: int = 400, column: str = "") -> None:
        """Make one."""
        super().__init__(message)
        self.kind, self.status, self.column = kind, status, column


class InputSchemaError(PracticeError):
    """A model cannot be served, since the columns that it takes are not known."""


@dataclass(frozen=True)
class InputSchema:
    """The columns that a model takes, in its order."""

    columns: tuple[Column, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """The columns' names."""
        return frozenset(column.name for column in self.columns)

    def require_names(self, names: Collection[object]) -> None:
        """Raise `RefusalError` unless these are the columns, in any order."""
        if len(names) == len(self.names) and self.names.issuperset(names):
            return
        texts = [name if isinstance(name, str) else "" for name in names]
        if "" in texts:
            raise RefusalError("wrong_columns", "a column has a name that is not text, or no name")
        counts = Counter(texts)
        if missing := [column.name for column in self.columns if column.name not in counts]:
            raise RefusalError("missing_column", f"missing: {_columns(missing)}", column=missing[0])
        if extra := sorted(counts.keys() - self.names):
            raise RefusalError("extra_column", f"not known to the model: {_columns(extra)}")
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise RefusalError("wrong_columns", f"there twice: {_columns(twice)}")

    def read(self, table: Mapping[str, list[Any]] | pd.DataFrame, typed: bool = True) -> Columns:
        """Return rows as arrays.

        Args:
            table: a list of JSON values for each column, or a data frame.
            typed: False if all values are text, as in a CSV file.

        Raises:
            RefusalError: the columns are not those of the model, or a value does not fit; the
                message names the first one by its column and row (counted from 0).
        """
        self.require_names(list(table))
        found: Columns = {}
        for column in self.columns:
            values = table[column.name]
            array = column.convert(values) if isinstance(values, list) else None
            if array is None:
                array, faults = column.check(values, typed)
                for row in np.flatnonzero(faults != ""):
                    sentence = f"row {row}: {column.explain(faults[row])}"
                    raise RefusalError(faults[row], sentence, column=column.name)
            found[column.name] = array
        return found

    def select_valid(self, table: pd.DataFrame, typed: bool) -> tuple[Columns, np.ndarray]:
        """Return the rows of a table that fit as arrays, and for each row of it why it does not.

        The reasons have the shape (rows,) and are empty where a row fits. Other columns than those
        of the model raise `RefusalError`.
        """
        self.require_names(list(table))
        reasons = np.full(len(table), "", dtype=object)
        found: Columns = {}
        for column in self.columns:
            found[column.name], faults = column.check(table[column.name], typed)
            for fault in set(faults) - {""}:
                reasons[(faults == fault) & (reasons == "")] = column.explain(fault)
        fits = reasons == ""
        return {name: array[fits] for name, array in found.items()}, reasons

    def frame(self, columns: Columns) -> pd.DataFrame:
        """Return arrays as a data frame with the types of training."""
        table = {}
        for column in self.columns:
            array = columns[column.name]
            if column.kind == "text":
                array = pd.array(array, dtype="str")
            elif column.kind == "boolean" and None not in array:
                array = array.astype(bool)
            table[column.name] = array
        return pd.DataFrame(table, copy=False)

    def example_row(self) -> Columns:
        """Return one row that fits, with made-up values."""
        return self.read(
            {
                column.name: [min(column.categories or [_EXAMPLES[column.kind]])]
                for column in self.columns
            }
        )


def count_rows(columns: Columns) -> int:
    """Return the number of rows in arrays of columns."""
    return len(next(iter(columns.values())))


def column_metadata(
    X: pd.DataFrame, policies: Mapping[str, privacy.Policy] = MappingProxyType({})
) -> dict[str, Any]:
    """Return what serving has to know about the columns of training, as metadata of the model.

    For a text column with few values (`MAX_CATEGORIES`) these are recorded, and serving refuses any
    other, such as a mistyped one.
    """
    columns: dict[str, Any] = {}
    for name in X.columns:
        columns[name] = {"nullable": bool(X[name].isna().any())}
        if name in policies:
            columns[name]["policy"] = policies[name]
        values = X[name].dropna().unique()
        is_text = len(values) > 0 and all(isinstance(value, str) for value in values)
        if is_text and len(values) <= MAX_CATEGORIES:
            columns[name]["categories"] = sorted(values)
    return {METADATA: columns}


def of_model(model: Model) -> InputSchema:
    """Return the input schema of a logged model.

    Raises:
        InputSchemaError: the model has no signature of named columns, or JSON has no plain value
            for the type of a column.
    """
    schema = model.get_input_schema()  # type: ignore[no-untyped-call]
    if schema is None or not schema.has_input_names() or schema.is_tensor_spec():
        raise InputSchemaError("the model has no signature with named columns")
    metadata = (model.metadata or {}).get(METADATA, {})
    columns = []
    for spec in schema.inputs:
        type_name = getattr(spec.type, "name", str(spec.type))
        if type_name not in _KINDS:
            raise InputSchemaError(f"the column {spec.name!r} is of the type {type_name}")
        known = metadata.get(spec.name, {})
        categories = frozenset(known["categories"]) if "categories" in known else None
        nullable, policy = known.get("nullable", True), known.get("policy")
        columns.append(Column(spec.name, _KINDS[type_name], nullable, categories, policy))
    return InputSchema(tuple(columns))


def _columns(names: Sequence[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {list_names(names)}"
