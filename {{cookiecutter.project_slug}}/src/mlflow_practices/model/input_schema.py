"""What a model wants of a row, and whether rows are that.

The kind of each column comes from the model's signature; whether a value may be missing, and which
categories there are, from what training saw, which travels in the model's metadata.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from mlflow.models import Model

from .. import privacy
from ..errors import PracticeError

Columns = dict[str, np.ndarray]  # of each column an array of shape (rows,), in the model's order
Kind = Literal["number", "text", "boolean", "date"]

MAX_CATEGORIES = 50  # of a column; with more, one that is new is no mistake
METADATA = "columns"  # the key in the model's metadata
LARGEST = float(np.finfo(np.float32).max)  # what estimators can take, most of which use float32
SHOWN = 10  # names or categories in a message
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("double", "float", "integer", "long"), "number"),
    "string": "text",
    "boolean": "boolean",
    "datetime": "date",
}
WANTED = {
    "number": f"must be a finite number within ±{LARGEST:.3g}",
    "text": "must be text",
    "boolean": "must be true or false",
    "date": "must be an ISO 8601 date from 1678 to 2261",
}
DATES = (np.datetime64("1678-01-01", "us"), np.datetime64("2262-01-01", "us"))
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
PSEUDONYM = r"p_[0-9a-f]{32}"
_BOOLEANS = {"true": True, "false": False}


class RefusalError(PracticeError):
    """Rows are not what the model wants.

    ``kind`` is for counting, ``column`` the one at fault, if one is; the message is a sentence
    without any value of the rows.
    """

    def __init__(self, kind: str, message: str, status: int = 400, column: str = "") -> None:
        """Make one; ``status`` is that of HTTP."""
        super().__init__(message)
        self.kind, self.status, self.column = kind, status, column


class InputSchemaError(PracticeError):
    """A model cannot be served, since what it wants is not known."""


@dataclass(frozen=True)
class Column:
    """A column that the model wants; ``categories`` where other values are refused.

    ``policy`` is what preparation does to personal data in it, and so is done here: a model that
    learned from pseudonyms gets pseudonyms. Values that went through it already stay as they are.
    """

    name: str
    kind: Kind
    nullable: bool = True
    categories: frozenset[str] | None = None
    policy: privacy.Policy | None = None

    def wanted(self) -> str:
        """Return what its values must be, in words."""
        if self.categories is None:
            return WANTED[self.kind]
        return f"must be one of {_listing(sorted(self.categories))}"

    def take(self, values: list[Any]) -> np.ndarray | None:
        """Return values of JSON as an array of shape (rows,), or None if one does not fit."""
        found = set(map(type, values))
        if self.nullable:
            found.discard(type(None))
        if self.kind == "number" and found <= {int, float}:
            try:
                numbers = np.array(values, dtype=np.float64)
            except OverflowError:
                return None
            if self.nullable:
                return None if (np.abs(numbers) > LARGEST).any() else numbers
            return numbers if (np.abs(numbers) <= LARGEST).all() else None
        if self.kind == "text" and self.policy in (None, "keep") and found <= {str}:
            known = [value for value in values if value is not None]
            if self.categories is not None:
                fits = self.categories.issuperset(known)
            else:
                fits = _is_unicode("".join(known))
            if self.categories is None and self.policy is None:
                values = [value and privacy.redact_text(value) for value in values]
            return np.array(values, dtype=object) if fits else None
        if self.kind == "boolean" and found <= {bool}:
            return np.array(values, dtype=object)
        if self.kind == "date" and found <= {str}:
            return _dates(values)
        return None

    def select_valid(self, values: pd.Series, typed: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return a table's column as an array, and for each row what is wrong with it.

        Both have the shape (rows,). What is wrong is a kind of `RefusalError`, or empty; there, a
        value means nothing.

        Args:
            values: the column.
            typed: False if all values are text still, as in a CSV file.
        """
        missing = values.isna().to_numpy()
        array, fits = getattr(self, f"_{self.kind}")(values, missing, typed)
        fault = "wrong_value"
        if self.categories is not None:
            fits &= np.array([value in self.categories for value in np.where(fits, array, "")])
            fault = "unknown_category"
        wrong = np.where(fits, "", fault).astype(object)
        wrong[missing] = "" if self.nullable else "null"
        return array, wrong

    def _number(
        self, values: pd.Series, missing: np.ndarray, typed: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        if numeric:
            array = values.to_numpy(np.float64, na_value=np.nan)
        elif not typed:
            array = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        else:
            array = np.array([_number(value) for value in values], dtype=np.float64)
        return array, np.abs(array) <= LARGEST

    def _text(
        self, values: pd.Series, missing: np.ndarray, typed: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        fits = np.ones(len(values), dtype=bool)
        if not isinstance(values.dtype, pd.StringDtype):
            # Of a person a number may be known, which as a pseudonym is text.
            known = (str, int, float) if self.policy == "pseudonymise" else (str,)
            fits = np.array([type(v) in known and _is_unicode(str(v)) for v in values], dtype=bool)
            values = values.astype(object).where(fits, None)
        if self.policy in ("mask", "pseudonymise") or (self.policy or self.categories) is None:
            values = self._protected(values)
        return values.astype(object).where(values.notna(), None).to_numpy(object), fits

    def _protected(self, values: pd.Series) -> pd.Series:
        """Return text as preparation would have written it."""
        policies = {self.name: self.policy} if self.policy else {}
        table, _ = privacy.protect(values.astype("str").to_frame(self.name), policies)
        done = values.astype("str").str.fullmatch(PSEUDONYM).fillna(False)
        return table.iloc[:, 0].mask(done, values)

    def _boolean(
        self, values: pd.Series, missing: np.ndarray, typed: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        if not typed:
            values = values.str.lower().map(_BOOLEANS)
        array = values.astype(object).where(~missing, None).to_numpy(object)
        return array, np.array([isinstance(v, bool | np.bool_) for v in array], dtype=bool)

    def _date(
        self, values: pd.Series, missing: np.ndarray, typed: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        fits = ~missing
        if not pd.api.types.is_datetime64_any_dtype(values):
            if values.dtype == object:  # a Parquet file may hold days without a time
                values = values.map(lambda v: v.isoformat() if isinstance(v, date) else v)
            texts = values.where(pd.Series([isinstance(v, str) for v in values], values.index))
            texts = texts.astype("str")
            fits &= texts.str.fullmatch(_ISO).fillna(False).to_numpy(bool)
            values = pd.to_datetime(texts.where(fits), format="ISO8601", utc=True, errors="coerce")
        if values.dt.tz is not None:
            values = values.dt.tz_convert(None)
        inside = values.between(*map(pd.Timestamp, DATES), inclusive="left")
        return values.where(inside).to_numpy("datetime64[ns]"), fits & inside.to_numpy()


@dataclass(frozen=True)
class InputSchema:
    """The columns that a model wants, in its order."""

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
            raise RefusalError("wrong_columns", "a column has a name that is not text, or none")
        counts = Counter(texts)
        if missing := [column.name for column in self.columns if column.name not in counts]:
            raise RefusalError("missing_column", f"missing: {_columns(missing)}", column=missing[0])
        if extra := sorted(counts.keys() - self.names):
            raise RefusalError("extra_column", f"not known to the model: {_columns(extra)}")
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise RefusalError("wrong_columns", f"there twice: {_columns(twice)}")

    def read(self, values: Mapping[str, list[Any]]) -> Columns:
        """Return values of JSON, a list for each column, as arrays.

        Raises:
            RefusalError: the first value that does not fit, by its column and row (counted from 0).
        """
        found: Columns = {}
        for column in self.columns:
            array = column.take(values[column.name])
            if array is None:
                array = self._explain(column, pd.Series(values[column.name], dtype=object), True)
            found[column.name] = array
        return found

    def read_text(self, table: pd.DataFrame) -> Columns:
        """Return a table of text, such as a CSV file, as arrays; raises as `read` does."""
        self.require_names(list(table.columns))
        return {
            column.name: self._explain(column, table[column.name], False) for column in self.columns
        }

    def read_table(self, table: pd.DataFrame) -> Columns:
        """Return a typed table, such as a Parquet file, as arrays; raises as `read` does."""
        self.require_names(list(table.columns))
        return {
            column.name: self._explain(column, table[column.name], True) for column in self.columns
        }

    def select_valid(self, table: pd.DataFrame, typed: bool) -> tuple[Columns, np.ndarray]:
        """Return a table's rows that fit, and for every row why not, an empty text if it fits.

        Raises:
            RefusalError: the columns are not those of the model.
        """
        self.require_names(list(table.columns))
        reasons = np.full(len(table), "", dtype=object)
        found: Columns = {}
        for column in self.columns:
            found[column.name], wrong = column.select_valid(table[column.name], typed)
            for kind in set(wrong) - {""}:
                reasons[(wrong == kind) & (reasons == "")] = _sentence(column, kind)
        keep = reasons == ""
        return {name: array[keep] for name, array in found.items()}, reasons

    def frame(self, columns: Columns) -> pd.DataFrame:
        """Return a batch as a table with the types of training."""
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
        """Return one row that fits, made up."""
        made: dict[Kind, Any] = {"number": 0.0, "text": "text", "boolean": False}
        values = {
            column.name: min(column.categories or [made.get(column.kind, "2020-01-01")])
            for column in self.columns
        }
        return self.read({name: [value] for name, value in values.items()})

    def _explain(self, column: Column, values: pd.Series, typed: bool) -> np.ndarray:
        array, wrong = column.select_valid(values, typed)
        if not (bad := np.flatnonzero(wrong != "")).size:
            return array
        row, kind = bad[0], wrong[bad[0]]
        raise RefusalError(kind, f"row {row}: {_sentence(column, kind)}", column=column.name)


def count_rows(columns: Columns) -> int:
    """Return the number of rows in a batch."""
    return len(next(iter(columns.values())))


def learn(
    X: pd.DataFrame, policies: Mapping[str, privacy.Policy] = MappingProxyType({})
) -> dict[str, Any]:
    """Return what serving has to know of the columns that a model was trained on, for JSON.

    Text columns with few values are refused others in serving, as a mistyped one would be taken
    for none of them; those with many (`MAX_CATEGORIES`) may bring new ones.
    """
    columns: dict[str, Any] = {}
    for name in X.columns:
        columns[name] = {"nullable": bool(X[name].isna().any())}
        if name in policies:
            columns[name]["policy"] = policies[name]
        values = X[name].dropna().unique()
        few = len(values) <= MAX_CATEGORIES
        if few and len(values) and all(isinstance(value, str) for value in values):
            columns[name]["categories"] = sorted(values)
    return {METADATA: columns}


def of_model(model: Model) -> InputSchema:
    """Return the input schema of a logged model.

    Raises:
        InputSchemaError: the model has no signature of named columns, or one of a kind that JSON has
            no plain value for.
    """
    schema = model.get_input_schema()  # type: ignore[no-untyped-call]
    if schema is None or not schema.has_input_names() or schema.is_tensor_spec():
        raise InputSchemaError("the model has no signature with named columns")
    known = (model.metadata or {}).get(METADATA, {})
    columns = []
    for spec in schema.inputs:
        type_name = getattr(spec.type, "name", str(spec.type))
        if type_name not in KINDS:
            raise InputSchemaError(f"the column {spec.name!r} is of the type {type_name}")
        told = known.get(spec.name, {})
        categories = told.get("categories")
        columns.append(
            Column(
                spec.name,
                KINDS[type_name],
                told.get("nullable", True),
                None if categories is None else frozenset(categories),
                told.get("policy"),
            )
        )
    return InputSchema(tuple(columns))


def _sentence(column: Column, kind: str) -> str:
    if kind == "null":
        return f"the column {column.name!r} must have a value"
    return f"the column {column.name!r} {column.wanted()}"


def _columns(names: Sequence[str]) -> str:
    return f"the column{'s' * (len(names) > 1)} {_listing(names)}"


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(repr(privacy.redact_text(name[:100])) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _number(value: object) -> float:
    if isinstance(value, int | float | np.number | Decimal) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    return np.nan


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a half of a surrogate pair, which JSON can escape
        return False
    return True


def _dates(values: Iterable[str | None]) -> np.ndarray | None:
    found: list[datetime | None] = []
    for value in values:
        if value is None:
            found.append(None)
            continue
        if not _ISO.fullmatch(value):
            return None
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                moment = moment.astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError) as error:
            del error
            return None
        found.append(moment)
    dates = np.array(found, dtype="datetime64[us]")
    outside = (dates < DATES[0]) | (dates >= DATES[1])
    return None if outside.any() else dates.astype("datetime64[ns]")
