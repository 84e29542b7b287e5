"""The table to learn from: personal data taken out, and the project's own cleaning applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .. import privacy
from . import DataError, column_types, suite_draft, tables
from .source import RawTable, read_raw

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..tracking.session import Session

SUITES = Path("configs/expectations")
HOOK = "data_preparation.clean"
REMEDY = "put that into features.py, or training and serving would differ"


@dataclass(frozen=True)
class Cleaned:
    """The rows to learn from.

    Attributes:
        table: without the columns of ``data.drop``, personal data taken out.
        deciding: the same rows, with the target and the raw values of ``data.split.column``.
        notes: what was left out or masked, in words.
    """

    table: pd.DataFrame = field(repr=False)
    deciding: pd.DataFrame = field(repr=False)
    notes: list[str]


def protect_and_clean(raw: RawTable, session: Session) -> Cleaned:
    """Take personal data out of the raw table, then apply the project's hook ``clean``.

    What decides the split is kept aside before, since a column that says who a row is of may be
    personal. Rows without a target and columns without any value are left out.

    Raises:
        DataError: the hook did what it must not, see `apply_clean`; or see `tables.prepare`.
        PrivacyError: the key of pseudonyms is missing or too short.
    """
    settings = session.settings
    tables.require_columns(raw.table, settings.data)
    protected, masked = privacy.protect(raw.table, raw.policies)
    rows = len(protected)
    protected.index = pd.RangeIndex(-rows, 0)  # no index that a hook makes anew looks like this
    cleaned = apply_clean(session.project.clean, protected, settings.data.target)
    gone = rows - len(cleaned)
    notes = [f"{gone:,} rows left out by {HOOK}"] if gone else []
    kept, left_out = tables.prepare(cleaned, settings.data, settings.problem_type)
    deciding = kept[[settings.data.target]].reset_index(drop=True)
    if (column := settings.data.split.column) is not None and column != settings.data.target:
        positions = kept.index.to_numpy() + rows
        deciding[column] = raw.table[column].iloc[positions].array
    table = kept.drop(columns=settings.data.drop, errors="ignore")
    return Cleaned(table.reset_index(drop=True), deciding, [*notes, *left_out, *masked])


def apply_clean(
    clean: Callable[[pd.DataFrame], pd.DataFrame], table: pd.DataFrame, target: str
) -> pd.DataFrame:
    """Return what the hook ``clean`` makes of a table, its columns in their order.

    It may leave out rows, sort them, and mend the target. Requests do not pass through it: what it
    did to another column would be missing in serving.

    Args:
        clean: the hook.
        table: the table, whose index no other table has.
        target: the column that may change.

    Raises:
        DataError: it returned no table, or none of these rows; it added, renamed, took away,
            retyped or changed a column, added rows, or made a new index.
    """
    cleaned = clean(table.copy())
    if not isinstance(cleaned, pd.DataFrame):
        kind = "nothing" if cleaned is None else f"a {type(cleaned).__name__}"
        raise DataError(f"{HOOK}: returned {kind}; return the table")
    _check_columns(table, cleaned)
    rows = cleaned.index
    if not (
        pd.api.types.is_integer_dtype(rows) and rows.is_unique and rows.isin(table.index).all()
    ):
        raise DataError(
            f"{HOOK}: adds rows or makes a new index; keep the index of the rows that stay "
            "(no reset_index), it ties them to what decides the split"
        )
    if cleaned.empty:
        raise DataError(f"{HOOK}: leaves out every row")
    cleaned = cleaned[list(table.columns)]
    before = table if rows.equals(table.index) else table.loc[rows]
    for name in table.columns.drop(target):
        old, new = before[name], cleaned[name]
        if old.dtype != new.dtype:
            raise DataError(f"{HOOK}: makes {name!r} {new.dtype}, it was {old.dtype}; {REMEDY}")
        if not old.equals(new):
            raise DataError(f"{HOOK}: changes the values of {name!r}; {REMEDY}")
    labels = cleaned[target]
    mended = column_types.convert(labels)
    if mended is None:
        raise DataError(
            f"{HOOK}: the target {target!r} holds {column_types.describe(labels)}; "
            "make it text, booleans or numbers"
        )
    cleaned[target] = mended
    return cleaned


def _check_columns(table: pd.DataFrame, cleaned: pd.DataFrame) -> None:
    if added := [name for name in cleaned.columns if name not in table.columns]:
        raise DataError(f"{HOOK}: adds or renames {_listing(added)}; {REMEDY}")
    if missing := [name for name in table.columns if name not in cleaned.columns]:
        raise DataError(f"{HOOK}: takes away {_listing(missing)}; name it in data.drop instead")
    if len(twice := cleaned.columns[cleaned.columns.duplicated()]):
        raise DataError(f"{HOOK}: has {_listing(twice)} twice; return each column once")


def _listing(names: Iterable[object]) -> str:
    return ", ".join(repr(str(name)) for name in names)


def split_table(cleaned: Cleaned, settings: Settings) -> dict[str, pd.DataFrame]:
    """Return train, validation and test; see `tables.split`."""
    return tables.split(cleaned.deciding, settings.data, cleaned.table)


def suite(settings: Settings, name: str) -> Path:
    """Return the file of the expectations of the ``raw`` or the ``prepared`` table."""
    return settings.path(SUITES) / f"{name}.yaml"


def suggest_suites(session: Session, force: bool = False) -> list[Path]:
    """Draft the suites that are missing (with ``force``, both) and return their files.

    Raises:
        DataError: both are there, and may have been edited.
    """
    paths = {name: suite(session.settings, name) for name in ("raw", "prepared")}
    wanted = [name for name, path in paths.items() if force or not path.exists()]
    if not wanted:
        raise DataError(
            f"{SUITES}: raw.yaml and prepared.yaml are there, and somebody may have edited them; "
            "--force overwrites them"
        )
    raw = read_raw(session)
    drafts = {
        "raw": suite_draft.draft(raw.table, raw.policies),
        "prepared": suite_draft.draft(protect_and_clean(raw, session).table),
    }
    for name in wanted:
        suite_draft.write(drafts[name], paths[name])
    return [paths[name] for name in wanted]
