"""The checks of behaviour in configs/behaviour.yaml, read strictly."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Self, TypeGuard

from pydantic import Field, ValidationError, model_validator

from ...config import sources
from ...config.sections import Section
from ...config.validation_errors import SettingsError, explain

PATH = "configs/behaviour.yaml"
Row = dict[str, Any]


class Check(Section):
    """A row with all columns of the model, and what must hold of the answers to it and its changes."""

    name: str
    row: Row

    @property
    def rows(self) -> list[Row]:
        """The row, and the row with each change."""
        return [self.row, *({**self.row, **change} for change in self._changes())]

    def problem(self, answers: list[Any]) -> str:
        """Return what is wrong with the answers to the rows; empty if nothing is."""
        raise NotImplementedError

    def _changes(self) -> list[Row]:
        return []


class MinimumFunctionality(Check):
    """An answer that must come: exactly, or a number between limits."""

    answer: Any = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if self.answer is None and self.at_least is None and self.at_most is None:
            raise ValueError("needs `answer`, `at_least` or `at_most`")
        return self

    def problem(self, answers: list[Any]) -> str:  # noqa: D102
        got = answers[0]
        if self.answer is not None and not equal(got, self.answer):
            return f"expected {self.answer!r}, got {got!r}"
        if self.at_least is not None and not (is_number(got) and got >= self.at_least):
            return f"expected at least {self.at_least:g}, got {got!r}"
        if self.at_most is not None and not (is_number(got) and got <= self.at_most):
            return f"expected at most {self.at_most:g}, got {got!r}"
        return ""


class Invariance(Check):
    """Changes that must not change the answer, a number by no more than ``within``."""

    changes: list[Row] = Field(min_length=1)
    within: float = Field(default=0, ge=0)

    def _changes(self) -> list[Row]:
        return self.changes

    def problem(self, answers: list[Any]) -> str:  # noqa: D102
        before = answers[0]
        found = []
        for change, after in zip(self.changes, answers[1:], strict=True):
            if not equal(before, after, self.within):
                changed = ", ".join(change)
                found.append(f"another {changed} changes the answer from {before!r} to {after!r}")
        return "; ".join(found)


class Direction(Check):
    """A change that moves the answer: a number up or down, or to another class."""

    change: Row
    answer: Literal["higher", "lower"] | None = None
    becomes: Any = None

    @model_validator(mode="after")
    def _expects_one_thing(self) -> Self:
        if (self.answer is None) == (self.becomes is None):
            raise ValueError("needs either `answer` or `becomes`")
        return self

    def _changes(self) -> list[Row]:
        return [self.change]

    def problem(self, answers: list[Any]) -> str:  # noqa: D102
        before, after = answers
        if self.answer is None:
            expected = f"become {self.becomes!r}"
            right = equal(after, self.becomes) and not equal(before, self.becomes)
        else:
            expected = f"get {self.answer}"
            low, high = (before, after) if self.answer == "higher" else (after, before)
            right = is_number(low) and is_number(high) and low < high
        changed = f"with another {', '.join(self.change)} the answer should {expected}"
        return "" if right else f"{changed}: got {before!r} before and {after!r} after"


class Behaviour(Section):
    """All checks, by their kind."""

    minimum_functionality: list[MinimumFunctionality] = Field(default=[])
    invariance: list[Invariance] = Field(default=[])
    direction: list[Direction] = Field(default=[])


def read(root: Path, columns: Collection[str]) -> Behaviour:
    """Return the checks for a model that has these columns.

    Raises:
        SettingsError: the file cannot be read, or has an unknown or a missing key or column.
    """
    try:
        values = sources.parse_yaml(PATH, (root / PATH).read_text("utf-8"))
        found = Behaviour.model_validate(values or {})
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{PATH}: cannot be read: {error}; an empty file will do") from None
    except ValidationError as error:
        raise SettingsError(explain(error, Behaviour, {}, PATH)) from None
    for kind in Behaviour.model_fields:
        for check in getattr(found, kind):
            _require_columns(f"{PATH}: {kind}: {check.name!r}", check, columns)
    return found


def equal(one: object, other: object, within: float = 0) -> bool:
    """Return whether two answers are the same, or numbers that differ by no more than ``within``."""
    if is_number(one) and is_number(other):
        return abs(one - other) <= within
    return type(one) is type(other) and one == other


def is_number(answer: object) -> TypeGuard[float]:
    """Return whether an answer is a number, which True is not."""
    return isinstance(answer, int | float) and not isinstance(answer, bool)


def _require_columns(place: str, check: Check, columns: Collection[str]) -> None:
    known = ", ".join(columns)
    for name in (name for row in check.rows for name in row):
        if name not in columns:
            raise SettingsError(f"{place}: the model has no column {name!r}; it has {known}")
    if missing := [name for name in columns if name not in check.row]:
        raise SettingsError(f"{place}: `row` lacks {', '.join(missing)}; write null for no value")
