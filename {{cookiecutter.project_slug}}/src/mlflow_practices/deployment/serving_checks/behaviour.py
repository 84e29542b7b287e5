"""The checks of behaviour in configs/behaviour.yaml, read strictly."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Self, TypeGuard, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from ...config.sections import Section
from ...errors import PracticeError

PLACE = "configs/behaviour.yaml"
Row = dict[str, Any]


class BehaviourError(PracticeError):
    """The file is wrong; the message says where, and what to do."""


class Check(Section):
    """A row that is asked about, every column of the model in it."""

    name: str
    row: Row

    @property
    def rows(self) -> list[Row]:
        """All rows that are asked about."""
        return [self.row]

    def problem(self, answers: list[Any]) -> str:
        """Return in words what is wrong with the answers to the rows; empty if nothing is."""
        raise NotImplementedError


class MinimumFunctionality(Check):
    """An answer that must come: exactly, or a number between limits."""

    answer: Any = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if self.answer is self.at_least is self.at_most is None:
            raise ValueError("needs `answer`, `at_least` or `at_most`")
        return self

    def problem(self, answers: list[Any]) -> str:
        """Return what is wrong with the answer."""
        [got] = answers
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

    @property
    def rows(self) -> list[Row]:
        """The row, then each change of it."""
        return [self.row, *({**self.row, **change} for change in self.changes)]

    def problem(self, answers: list[Any]) -> str:
        """Return which changes changed the answer."""
        before, *after = answers
        return "; ".join(
            f"another {', '.join(change)} changes the answer from {before!r} to {got!r}"
            for change, got in zip(self.changes, after, strict=True)
            if not equal(before, got, self.within)
        )


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

    @property
    def rows(self) -> list[Row]:
        """The row before and after the change."""
        return [self.row, {**self.row, **self.change}]

    def problem(self, answers: list[Any]) -> str:
        """Return how the answer should have moved."""
        before, after = answers
        if self.answer is None:
            expected = f"become {self.becomes!r}"
            moved = equal(after, self.becomes) and not equal(before, self.becomes)
        else:
            expected = f"get {self.answer}"
            moved = is_number(before) and (
                after > before if self.answer == "higher" else after < before
            )
        changed = f"with another {', '.join(self.change)} the answer should {expected}"
        return "" if moved else f"{changed}: got {before!r} before and {after!r} after"


class Behaviour(Section):
    """All checks, by their kind."""

    minimum_functionality: list[MinimumFunctionality] = Field(default=[])
    invariance: list[Invariance] = Field(default=[])
    direction: list[Direction] = Field(default=[])


def read(root: Path, columns: Collection[str]) -> Behaviour:
    """Return the checks for a model that has these columns.

    Raises:
        BehaviourError: the file is not there, is no YAML, has a key or a column too many or too few.
    """
    try:
        found = Behaviour.model_validate(yaml.safe_load((root / PLACE).read_text("utf-8")) or {})
    except (OSError, UnicodeDecodeError) as error:
        raise BehaviourError(f"{PLACE}: cannot be read: {error}; an empty file will do") from None
    except yaml.YAMLError as error:
        raise BehaviourError(f"{PLACE}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise BehaviourError("\n".join(_explain(dict(found)) for found in error.errors())) from None
    for kind in Behaviour.model_fields:
        for check in getattr(found, kind):
            _require_columns(f"{PLACE}: {kind}: {check.name!r}", check, columns)
    return found


def equal(one: object, other: object, within: float = 0) -> bool:
    """Return whether two answers are the same, or numbers that differ by no more than ``within``."""
    if is_number(one) and is_number(other):
        return abs(one - other) <= within
    return type(one) is type(other) and one == other


def is_number(answer: object) -> TypeGuard[float]:
    """Return whether an answer is a number, which True is not."""
    return isinstance(answer, int | float) and not isinstance(answer, bool)


def _explain(error: dict[str, Any]) -> str:
    """Return a line such as ``PLACE: direction: check 2: chnage: unknown key; there are ...``."""
    parts = [f"check {part + 1}" if isinstance(part, int) else str(part) for part in error["loc"]]
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        there = Behaviour.model_fields
        if len(parts) > 1:
            there = get_args(there[parts[0]].annotation)[0].model_fields
        message = f"unknown key; there are {', '.join(there)}"
    return ": ".join([PLACE, *parts, message])


def _require_columns(place: str, check: Check, columns: Collection[str]) -> None:
    for row in check.rows:
        if unknown := sorted(row.keys() - set(columns)):
            there = ", ".join(columns)
            raise BehaviourError(f"{place}: the model has no column {unknown[0]!r}; it has {there}")
    if missing := [name for name in columns if name not in check.row]:
        raise BehaviourError(f"{place}: `row` lacks {', '.join(missing)}; write null for no value")
