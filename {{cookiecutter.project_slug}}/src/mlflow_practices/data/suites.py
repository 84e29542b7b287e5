"""Suites of expectations: the reviewed files that say what the data must look like."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .. import privacy
from ..errors import did_you_mean
from . import DataError, located

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from ..config.settings import Settings

SUITES = Path("configs/expectations")
SEVERITIES = {"error": "critical", "warning": "warning"}  # ours, and Great Expectations'


@dataclass(frozen=True)
class Entry:
    """An entry of a suite: an expectation, as it was written and as Great Expectations has it."""

    kind: str
    arguments: dict[str, Any]
    severity: str
    expectation: Expectation

    @property
    def columns(self) -> list[str]:
        """The columns that are checked."""
        if self.kind.startswith("expect_table_"):  # its column_list is what should exist
            return []
        single = [self.arguments.get(key) for key in ("column", "column_A", "column_B")]
        return [name for name in single if name] + list(self.arguments.get("column_list", []))

    def is_personal(self, personal: Collection[str]) -> bool:
        """Return whether a column is among ``personal``, or sensitive by its name."""
        condition = str(self.arguments.get("row_condition", ""))
        named = [*self.columns, *(name for name in personal if name in condition)]
        return any(name in personal or privacy.is_sensitive(name) for name in [*named, condition])


def suite_path(settings: Settings, name: str) -> Path:
    """Return the file of the expectations of the ``raw`` or the ``prepared`` table."""
    return settings.path(SUITES) / f"{name}.yaml"


def read_suite(path: Path) -> list[Entry]:
    """Return the entries of a suite; raises `DataError` with the number of a wrong one."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no such file; draft one with `quality suggest`, then edit it") from None
    except (OSError, yaml.YAMLError, ValueError) as error:  # the last for a date as 2024-13-45
        raise DataError(f"cannot be read or is not valid YAML: {one_line(error)}") from None
    if not isinstance(values, list) or not values:
        raise DataError(
            "must be a list of expectations, at least one; `quality suggest` drafts one"
        )
    entries = []
    for number, value in enumerate(values, 1):
        with located(f"entry {number}"):
            entries.append(_entry(value))
    return entries


def _entry(value: object) -> Entry:
    from great_expectations.expectations import registry

    fields = dict(value) if isinstance(value, dict) else {}
    severity = fields.pop("severity", "error")
    if len(fields) != 1:
        raise DataError(
            "must be one expectation and its arguments, and perhaps a severity, such as "
            "`expect_column_values_to_be_unique: {column: id}`"
        )
    [(kind, arguments)] = fields.items()
    known = registry.list_registered_expectation_implementations()
    if kind not in known:
        raise DataError(f"there is no expectation {kind!r}{did_you_mean(str(kind), known)}")
    with located(kind):
        if severity not in list(SEVERITIES):
            raise DataError(f"severity must be error or warning, not {severity!r}")
        arguments = {} if arguments is None else arguments
        return Entry(kind, arguments, severity, _expectation(kind, arguments, severity))


def _expectation(kind: str, arguments: object, severity: str) -> Expectation:
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations import registry
    from great_expectations.expectations.expectation import BatchExpectation

    implementation = registry.get_expectation_impl(kind)
    allowed = sorted(set(implementation.__fields__) - set(BatchExpectation.__fields__))
    takes = f"it takes {', '.join(allowed)}"
    if not isinstance(arguments, dict):
        raise DataError(f"its arguments must be a mapping; {takes}")
    for key in map(str, arguments):
        if key not in allowed:
            raise DataError(f"no argument {key!r}{did_you_mean(key, allowed)}; {takes}")
    try:
        return implementation(**{**arguments, "severity": SEVERITIES[severity]})
    except (ValueError, TypeError, GreatExpectationsError) as error:
        raise DataError(f"{privacy.redact_text(_mistakes(error))}; {takes}") from None


def _mistakes(error: Exception) -> str:
    """Return what pydantic found, the first of each argument; of others the message."""
    if not hasattr(error, "errors"):
        return one_line(error)
    found: dict[str, str] = {}
    for mistake in error.errors():
        found.setdefault(str(mistake["loc"][0]), mistake["msg"])
    return "; ".join(f"{where}: {what}".removeprefix("__root__: ") for where, what in found.items())


def one_line(text: object) -> str:
    """Return text without line breaks."""
    return " ".join(str(text).split())
