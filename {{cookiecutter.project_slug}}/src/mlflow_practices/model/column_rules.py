"""The rules for the values of one column, whether they come from JSON, a CSV file or a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from .. import privacy

Kind = Literal["number", "text", "boolean", "date"]
Fault = Literal["", "null", "wrong_value", "unknown_category"]
# An array of numbers or of dates, or else Python objects as in JSON, None where one is missing.
Values = list[Any] | np.ndarray

LARGEST = float(np.finfo(np.float32).max)  # what estimators can take, most of which use float32
DATES = (np.datetime64("1678-01-01", "us"), np.datetime64("2262-01-01", "us"))
ISO_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(?P<offset>Z|[+-]\d{2}:?\d{2})?)?"
)
PSEUDONYM = re.compile(r"p_[0-9a-f]{32}")
SHOWN = 10  # names or categories in a message
TABLE_ROWS = 1000  # with as many values, pandas masks personal data faster than a loop does

_REQUIREMENTS: dict[Kind, str] = {
    "number": f"must be a finite number within ±{LARGEST:.3g}",
    "text": "must be text",
    "boolean": "must be true or false",
    "date": "must be an ISO 8601 date from 1678 to 2261",
}
_TYPES: dict[Kind, tuple[type, ...]] = {
    "number": (int, float, np.integer, np.floating, Decimal),
    "text": (str,),
    "boolean": (bool, np.bool_),
    "date": (str, date),
}
_PLACEHOLDERS: dict[Kind, np.ndarray] = {  # in the place of a value that does not fit
    "number": np.array([np.nan]),
    "text": np.array([None]),
    "boolean": np.array([None]),
    "date": np.array(["NaT"], dtype="datetime64[ns]"),
}


@dataclass(frozen=True)
class Column:
    """A column that a model takes; where ``categories`` are known, other values are refused.

    ``policy`` is what data preparation does to personal data in the column. The same is done here:
    a model that learned from pseudonyms gets pseudonyms. A value that is a pseudonym stays.
    """

    name: str
    kind: Kind
    nullable: bool = True
    categories: frozenset[str] | None = None
    policy: privacy.Policy | None = None

    @property
    def requirement(self) -> str:
        """What the column's values must be, as text."""
        if self.categories is None:
            return _REQUIREMENTS[self.kind]
        return f"must be one of {list_names(sorted(self.categories))}"

    def explain(self, fault: Fault) -> str:
        """Return a sentence that says what a faulty value must be."""
        requirement = "must have a value" if fault == "null" else self.requirement
        return f"the column {self.name!r} {requirement}"

    def convert(self, values: Values) -> np.ndarray | None:
        """Return the values as an array of shape (rows,), or None if one of them breaks a rule."""
        if not isinstance(values, np.ndarray) and not self._have_right_types(values):
            return None
        try:
            if self.kind == "number":
                return self._convert_numbers(values)
            if self.kind == "date":
                return self._convert_dates(values)
            if self.kind == "text":
                return self._convert_texts(values)
            return np.array(values, dtype=object)
        except (ValueError, OverflowError):
            return None

    def check(self, values: list[Any] | pd.Series, typed: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the values as an array, and the `Fault` of each row; shape (rows,) both.

        Where there is a fault, the array's value means nothing. In a CSV file nothing is ``typed``.
        """
        if isinstance(values, list):
            values = pd.Series(values, dtype=object)
        if not typed:
            values = self._parse(values)
        faults = np.full(len(values), "", dtype=object)
        if not self.nullable:
            faults[values.isna()] = "null"
        rows = np.flatnonzero(faults == "")
        plain = self._plain(values.iloc[rows])
        array = np.repeat(_PLACEHOLDERS[self.kind], len(values))
        parts = [(0, len(rows))]
        while parts:  # where a value breaks a rule, look for it in each half
            start, stop = parts.pop()
            converted = self.convert(plain[start:stop])
            if converted is not None:
                array[rows[start:stop]] = converted
            elif stop - start == 1:
                faults[rows[start]] = (
                    "wrong_value" if self.categories is None else "unknown_category"
                )
            else:
                middle = (start + stop) // 2
                parts += [(start, middle), (middle, stop)]
        return array, faults

    def _parse(self, texts: pd.Series) -> pd.Series:
        """Return the values of the texts of a CSV file; a text that cannot be parsed is kept."""
        if self.kind == "number":
            parsed = pd.to_numeric(texts, errors="coerce")
        elif self.kind == "boolean":
            parsed = texts.str.lower().map({"true": True, "false": False})
        else:
            return texts
        failed = parsed.isna() & texts.notna()
        return parsed.astype(object).where(~failed, texts) if failed.any() else parsed

    def _plain(self, values: pd.Series) -> Values:
        types = pd.api.types
        if self.kind == "number" and types.is_numeric_dtype(values):
            if not types.is_bool_dtype(values):
                return np.asarray(values.to_numpy(np.float64, na_value=np.nan))
        elif self.kind == "date" and types.is_datetime64_any_dtype(values):
            dates = values if values.dt.tz is None else values.dt.tz_convert(None)
            return np.asarray(dates)
        return _with_none(values)

    @cached_property
    def _types(self) -> tuple[type, ...]:
        types = _TYPES[self.kind]
        if self.policy == "pseudonymise":
            types += (int, float)  # a person's number becomes a pseudonym, which is text
        return (*types, type(None)) if self.nullable else types

    def _have_right_types(self, values: Sequence[Any]) -> bool:
        for each in set(map(type, values)):
            if each is bool and self.kind != "boolean":  # Python counts a bool as an int
                return False
            if not issubclass(each, self._types):
                return False
        return True

    def _convert_numbers(self, values: Values) -> np.ndarray | None:
        numbers = np.asarray(values, dtype=np.float64)
        if self.nullable:
            fits = not (np.abs(numbers) > LARGEST).any()
        else:
            fits = bool((np.abs(numbers) <= LARGEST).all())  # of NaN, this is not true
        return numbers if fits else None

    def _convert_dates(self, values: Values) -> np.ndarray | None:
        if isinstance(values, np.ndarray):
            dates = values
        else:
            dates = np.array([_as_utc(value) for value in values], dtype="datetime64[us]")
        outside = (dates < DATES[0]) | (dates >= DATES[1])
        if not self.nullable:
            outside |= np.isnat(dates)
        return None if outside.any() else dates.astype("datetime64[ns]")

    def _convert_texts(self, values: Values) -> np.ndarray | None:
        if self.policy in ("mask", "pseudonymise") or (
            self.policy is None and self.categories is None
        ):
            values = self._protect(values)
        known = [value for value in values if value is not None]
        if self.categories is not None:
            return np.array(values, dtype=object) if self.categories.issuperset(known) else None
        "".join(known).encode()  # raises for half of a surrogate pair, which JSON can escape
        return np.array(values, dtype=object)

    def _protect(self, values: Values) -> list[str | None]:
        """Return the texts as data preparation would have written them."""
        if self.policy is None and len(values) < TABLE_ROWS:
            return [value and privacy.redact_text(value) for value in values]
        texts = pd.Series(values, dtype="str", name=self.name)
        policies = {self.name: self.policy} if self.policy else {}
        table, notes = privacy.protect(texts.to_frame(), policies)
        if not notes:
            return list(values)
        is_pseudonym = texts.str.fullmatch(PSEUDONYM).fillna(False)
        return _with_none(table.iloc[:, 0].mask(is_pseudonym, texts))


def list_names(names: Sequence[str]) -> str:
    """Return the first names, quoted and without personal data, and how many more there are."""
    shown = ", ".join(repr(privacy.redact_text(name[:100])) for name in names[:SHOWN])
    more = len(names) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _with_none(values: pd.Series) -> list[Any]:
    plain: list[Any] = values.astype(object).where(values.notna(), None).tolist()
    return plain


def _as_utc(value: str | date | None) -> str | None:
    """Return a date as ISO 8601 text without an offset, which NumPy reads quickly."""
    if value is None:
        return None
    text = value if isinstance(value, str) else value.isoformat()
    found = ISO_DATE.fullmatch(text)
    if not found:
        raise ValueError("not an ISO 8601 date")
    if not found["offset"]:
        return text
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None).isoformat()
