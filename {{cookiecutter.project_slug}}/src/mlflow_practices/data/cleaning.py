"""The table to learn from: personal data taken out, and the project's own cleaning applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .. import privacy
from . import suggestion, tables
from .quality import QualityError
from .source import RawTable, read_raw
from .tables import TableError

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..tracking.session import Session

SUITES = Path("configs/expectations")
HOOK = "data_preparation.clean"


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
        TableError: the hook changed columns or added rows; or see `tables.prepare`.
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
    deciding = kept[[settings.data.target]]
    if (column := settings.data.split.column) is not None and column != settings.data.target:
        deciding = deciding.assign(**{column: raw.table[column].to_numpy()[kept.index + rows]})
    table = kept.drop(columns=settings.data.drop, errors="ignore")
    return Cleaned(
        table.reset_index(drop=True),
        deciding.reset_index(drop=True),
        [*notes, *left_out, *masked],
    )


def apply_clean(
    clean: Callable[[pd.DataFrame], pd.DataFrame], table: pd.DataFrame, target: str
) -> pd.DataFrame:
    """Return what the hook ``clean`` makes of a table, its columns in their order.

    Raises:
        TableError: it returned no table, added or reordered what it must not, or retyped a column:
            serving gets the columns of the raw table, and would differ from training.
    """
    cleaned = clean(table.copy())
    if not isinstance(cleaned, pd.DataFrame):
        raise TableError(f"{HOOK}: returned {type(cleaned).__name__}; return the table")
    added = [str(name) for name in cleaned.columns if name not in table.columns]
    missing = [str(name) for name in table.columns if name not in cleaned.columns]
    if added:
        raise TableError(
            f"{HOOK}: adds or renames {', '.join(map(repr, added))}; put that into features.py, or "
            "training and serving would differ"
        )
    if missing:
        raise TableError(
            f"{HOOK}: takes away {', '.join(map(repr, missing))}; name them in data.drop instead"
        )
    if not cleaned.index.is_unique or not cleaned.index.isin(table.index).all():
        raise TableError(
            f"{HOOK}: adds rows or makes a new index; keep the index of the rows that stay, it "
            "ties them to what decides the split"
        )
    cleaned = cleaned[list(table.columns)]
    for name in table.columns:
        before, after = table[name].dtype, cleaned[name].dtype
        if before != after and name != target:
            raise TableError(
                f"{HOOK}: makes {name!r} {after}, it was {before}; put that into features.py, or "
                "training and serving would differ"
            )
    return cleaned


def split_table(cleaned: Cleaned, settings: Settings) -> dict[str, pd.DataFrame]:
    """Return train, validation and test; see `tables.split`."""
    return tables.split(cleaned.deciding, settings.data, cleaned.table)


def suite(settings: Settings, name: str) -> Path:
    """Return the file of the expectations of the ``raw`` or the ``prepared`` table."""
    return settings.path(SUITES) / f"{name}.yaml"


def suggest_suites(session: Session, force: bool = False) -> list[Path]:
    """Draft the suites that are missing (with ``force``, both) and return their files.

    Raises:
        QualityError: both are there, and may have been edited.
    """
    paths = {name: suite(session.settings, name) for name in ("raw", "prepared")}
    wanted = [name for name, path in paths.items() if force or not path.exists()]
    if not wanted:
        raise QualityError(
            f"{SUITES}: raw.yaml and prepared.yaml are there, and somebody may have edited them; "
            "--force overwrites them"
        )
    raw = read_raw(session)
    drafts = {
        "raw": suggestion.suggest(raw.table, raw.policies),
        "prepared": suggestion.suggest(protect_and_clean(raw, session).table),
    }
    for name in wanted:
        suggestion.write(drafts[name], paths[name])
    return [paths[name] for name in wanted]
