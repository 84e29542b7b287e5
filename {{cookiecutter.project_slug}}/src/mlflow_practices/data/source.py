"""The raw table: what the project's hook ``read`` returns, and the file that stands for it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from .. import privacy
from . import DataError, tables, versioning
from .hashing import content_hash
from .versioning import Source

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..tracking.session import Session

HOOK = "data_preparation.read"
FOLDER = Path("data/raw")  # where a table is kept that was read from elsewhere
_READ = "mlflow_practices.read"  # the attribute of a frame that says what `read_table` read


@dataclass(frozen=True)
class RawTable:
    """The raw table, the file that it is known by, and what becomes of its personal columns."""

    table: pd.DataFrame = field(repr=False)
    source: Source
    path: Path
    policies: dict[str, privacy.Policy]
    hash: str

    def facts(self) -> dict[str, Any]:
        """Return what tells this table from another."""
        return {"sha256": self.source.sha256, "rows": len(self.table)}


def read_table(settings: Settings) -> pd.DataFrame:
    """Return the table in the file ``data.raw``: CSV or Parquet, its ISO 8601 dates as dates.

    Raises:
        DataError: no file is named, or it cannot be used; see `tables.read`.
    """
    raw = settings.data.raw
    if raw is None:
        raise DataError(
            f"data.raw: names no file; set it in configs/base.yaml, or let {HOOK} return a table "
            "from elsewhere"
        )
    table = tables.read(settings.path(raw), settings.data)
    table.attrs[_READ] = {"file": raw.as_posix(), "hash": content_hash(table)}
    return table


def read_raw(session: Session) -> RawTable:
    """Return what the project's hook ``read`` returns, with the file that stands for it.

    That is ``data.raw`` where the hook returned what `read_table` gave it. Any other table, also
    one that the hook made of that, is written to ``data/raw/source-<hash>.parquet``, which git
    ignores, so that its bytes can be hashed and compared later; the same table gives the same file.

    Raises:
        DataError: the hook returned no table, or one that cannot be used.
        PrivacyError: the target looks like personal data.
    """
    settings = session.settings
    table = session.project.read(settings)
    if not isinstance(table, pd.DataFrame):
        module, kind = type(table).__module__, type(table).__qualname__
        kind = kind if module == "builtins" else f"{module}.{kind}"
        returned = "nothing" if table is None else f"a {kind}"
        raise DataError(f"{HOOK}: returned {returned}; return a pandas data frame")
    known = table.attrs.get(_READ, {})
    table = table.copy(deep=False)
    table.attrs = {}
    digest = _hash(table) if known else ""
    if known and digest == known["hash"]:
        file = known["file"]
    else:
        table = _checked(table, settings.data.drop)
        digest = _hash(table)
        file = _keep(table, digest, settings)
    policies = privacy.policies(table, settings.privacy.policies)
    if policies.get(settings.data.target) == "drop":
        raise privacy.PrivacyError(
            f"data.target: {settings.data.target!r} looks like personal data; name it in "
            "privacy.keep if it is not, or in privacy.pseudonymise"
        )
    path = settings.path(Path(file))
    source = versioning.describe_source(path, Path(file), len(table))
    return RawTable(table, source, path, policies, digest)


def _checked(table: pd.DataFrame, drop: list[str]) -> pd.DataFrame:
    """Return a table that the hook made, typed as one that was read from a file."""
    if table.empty:
        raise DataError(f"{HOOK}: returned a table without rows")
    if lost := [str(name) for name in table.index.names if name is not None]:
        raise DataError(
            f"{HOOK}: the index {', '.join(map(repr, lost))} would be lost; make it a column with "
            "reset_index(), or leave it out with reset_index(drop=True)"
        )
    return tables.typed(HOOK, table.reset_index(drop=True), drop)


def _hash(table: pd.DataFrame) -> str:
    try:
        return content_hash(table)
    except DataError as error:
        raise DataError(f"{HOOK}: {error}") from None


def _keep(table: pd.DataFrame, digest: str, settings: Settings) -> str:
    """Write a table to a file that is named after its content; return the file, from the root."""
    try:
        place = FOLDER / f"source-{digest.rpartition('-')[2][:16]}.parquet"
        path = settings.path(place)
        if not _holds(path, digest):
            _write(table, path)
    except (pa.ArrowException, DataError, OverflowError, TypeError, ValueError) as error:
        # Its words may hold values of rows.
        raise DataError(
            f"{HOOK}: the table cannot be kept as Parquet ({type(error).__name__} in "
            f"{', '.join(_unfit(table)) or 'the table'}); make each column text, numbers or dates"
        ) from None
    return place.as_posix()


def _unfit(table: pd.DataFrame) -> Iterator[str]:
    """Yield the columns that Parquet cannot hold."""
    for name in table.columns:
        try:
            pa.array(table[name])
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            yield repr(name)


def _holds(path: Path, digest: str) -> bool:
    """Return whether a file is there and whole, so that it keeps its bytes and their hash."""
    try:
        return content_hash(pd.read_parquet(path)) == digest
    except (OSError, ValueError, DataError, pa.ArrowException):
        return False


def _write(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        table.to_parquet(partial, index=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
