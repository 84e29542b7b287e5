"""The table to learn from: personal data taken out, and the project's own cleaning applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from .. import privacy
from ..model.column_rules import list_names
from . import DataError, column_types, located
from .source import RawTable, require_frame

if TYPE_CHECKING:
    from ..config.sections import Data
    from ..tracking.session import Session

HOOK = "data_preparation.clean"
REMEDY = "put that into features.py, or training and serving would differ"


@dataclass(frozen=True)
class Cleaned:
    """The rows to learn from.

    Attributes:
        table: without the columns of ``data.drop``, personal data taken out.
        split_columns: the same rows, with the target and the raw values of ``data.split.column``.
        notes: lines on what was left out or masked.
    """

    table: pd.DataFrame = field(repr=False)
    split_columns: pd.DataFrame = field(repr=False)
    notes: list[str]


def protect_and_clean(raw: RawTable, session: Session) -> Cleaned:
    """Take personal data out of the raw table, then apply the project's hook ``clean``.

    What decides the split is kept aside before: a column that says whose row it is may be personal.
    Rows without a target and columns without any value are left out.

    Raises:
        DataError: a column that the configuration names is missing, the hook did what it must not,
            or nothing is left to learn from.
        PrivacyError: the key of pseudonyms is missing or too short.
    """
    settings, data = session.settings, session.settings.data
    require_columns(raw.table, data)
    protected, masked = privacy.protect(raw.table, raw.policies)
    rows = len(protected)
    protected.index = pd.RangeIndex(-rows, 0)  # a new index made by a hook does not look like this
    cleaned = apply_clean(session.project.clean, protected, data.target)
    gone = rows - len(cleaned)
    notes = [f"{gone:,} rows left out by {HOOK}"] if gone else []
    kept, left_out = prepare(cleaned, data, settings.problem_type)
    split_columns = kept[[data.target]].reset_index(drop=True)
    column = data.split.column
    if column is not None and column != data.target:
        positions = kept.index.to_numpy() + rows
        split_columns[column] = raw.table[column].iloc[positions].array
    table = kept.drop(columns=data.drop, errors="ignore")
    return Cleaned(table.reset_index(drop=True), split_columns, [*notes, *left_out, *masked])


def require_columns(table: pd.DataFrame, settings: Data) -> None:
    """Raise `DataError` unless a table has the columns that the configuration names."""
    named = [("target", settings.target), *(("drop", name) for name in settings.drop)]
    if settings.split.column is not None:
        named.append(("split.column", settings.split.column))
    for key, name in named:
        if name not in table.columns:
            raise DataError(
                f"data.{key}: no column {name!r} in {settings.raw or 'the table that `read` returns'}"
                f"; it has: {list_names(list(table.columns))}"
            )


def apply_clean(
    clean: Callable[[pd.DataFrame], pd.DataFrame], table: pd.DataFrame, target: str
) -> pd.DataFrame:
    """Return what the hook ``clean`` makes of a table, its columns in their order.

    It may leave out rows, sort them, and correct the target. Requests do not pass through it: what
    it did to another column would be missing in serving. The table's index must be its own.
    """
    with located(HOOK):
        cleaned = clean(table.copy())
        require_frame(cleaned)
        if mistake := _mistake(table, cleaned, target):
            raise DataError(mistake)
        labels = column_types.convert(cleaned[target])
        if labels is None:
            held = column_types.describe(cleaned[target])
            raise DataError(
                f"the target {target!r} holds {held}; make it text, booleans or numbers"
            )
    return cleaned[list(table.columns)].assign(**{target: labels})


def _mistake(table: pd.DataFrame, cleaned: pd.DataFrame, target: str) -> str:
    """Return what a hook must not do to a table and did; empty if all is well."""
    if added := [str(name) for name in cleaned if name not in table]:
        return f"adds or renames {list_names(added)}; {REMEDY}"
    if missing := [str(name) for name in table if name not in cleaned]:
        return f"takes away {list_names(missing)}; name it in data.drop instead"
    if twice := list(cleaned.columns[cleaned.columns.duplicated()]):
        return f"has {list_names(twice)} twice; return each column once"
    rows = cleaned.index
    numbered = pd.api.types.is_integer_dtype(rows) and rows.is_unique
    if not numbered or not rows.isin(table.index).all():
        return (
            "adds rows or makes a new index; keep the index of the rows that stay "
            "(no reset_index), it ties them to what decides the split"
        )
    if cleaned.empty:
        return "leaves out every row"
    before = table if rows.equals(table.index) else table.loc[rows]
    for name in table.columns.drop(target):
        old, new = before[name], cleaned[name]
        if old.dtype != new.dtype:
            return f"makes {name!r} {new.dtype}, it was {old.dtype}; {REMEDY}"
        if not old.equals(new):
            return f"changes the values of {name!r}; {REMEDY}"
    return ""


def prepare(
    table: pd.DataFrame, settings: Data, problem_type: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that can be learned from, their index kept, and notes on what was left out."""
    notes = []
    known = table[settings.target].notna()
    if not known.all():
        notes.append(f"{int((~known).sum())} rows without {settings.target!r} left out")
        table = table[known]
    if mismatch := _target_mismatch(table[settings.target], problem_type):
        raise DataError(f"data.target: {settings.target!r} {mismatch}")
    empty = [name for name in table if table[name].isna().all()]
    notes += [f"column {name!r} left out: it has no values" for name in empty]
    table = table.drop(columns=empty)
    if not set(table.columns) - {settings.target, *settings.drop}:
        raise DataError("no column is left to learn from; see data.drop and privacy")
    return table, notes


def _target_mismatch(target: pd.Series, problem_type: str) -> str:
    """Return why a model of this type cannot learn the target; empty if it can."""
    numeric = pd.api.types.is_numeric_dtype(target) and target.dtype != bool
    if target.empty:
        return "has no values"
    if problem_type == "regression" and not numeric:
        return f"holds {target.dtype} values; regression needs numbers"
    if target.nunique() < 2:
        return "has one value in all rows; there is nothing to learn"
    if problem_type == "classification" and target.dtype.kind == "f" and (target % 1 != 0).any():
        return "holds fractions; set problem_type: regression"
    return ""
