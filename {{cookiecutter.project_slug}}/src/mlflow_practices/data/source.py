"""The raw table: what the project's hook ``read`` returns, and the file that holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from .. import machine, privacy
from . import DataError, column_types, located, tables, versioning
from .hashing import content_hash
from .versioning import Source

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..tracking.session import Session

HOOK = "data_preparation.read"
FOLDER = Path("data/raw")  # where a table is kept that was read from elsewhere
READ = "mlflow_practices.read"  # the attribute of a frame that says what `read_table` read


@dataclass(frozen=True)
class RawTable:
    """The raw table, the file that holds it, and what happens to its personal columns."""

    table: pd.DataFrame = field(repr=False)
    source: Source
    path: Path
    policies: dict[str, privacy.Policy]
    hash: str

    def facts(self) -> dict[str, Any]:
        """Return what identifies this table."""
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
    table.attrs[READ] = {"file": raw.as_posix(), "hash": content_hash(table)}
    return table


def read_raw(session: Session) -> RawTable:
    """Return what the project's hook ``read`` returns, with the file that holds it.

    That is ``data.raw`` where the hook returned what `read_table` gave it. Any other table, also
    one that the hook made of that, is written to ``data/raw/source-<hash>.parquet``, which git
    ignores, so that its bytes can be hashed and compared later; the same table gives the same file.

    Raises:
        DataError: the hook returned no table, or one that cannot be used.
        PrivacyError: the target looks like personal data.
    """
    settings = session.settings
    table = session.project.read(settings)
    with located(HOOK):
        require_frame(table)
        was_read = table.attrs.get(READ)
        table = table.copy(deep=False)
        table.attrs = {}
        digest = content_hash(table) if was_read else ""
        if was_read and digest == was_read["hash"]:
            file = was_read["file"]
        else:
            table = _typed(table, settings.data.drop)
            digest = content_hash(table)
            file = _keep(table, digest, settings)
    policies = privacy.policies(table, settings.privacy.policies)
    if policies.get(settings.data.target) == "drop":
        raise privacy.PrivacyError(
            f"data.target: {settings.data.target!r} looks like personal data; name it in "
            "privacy.keep if it is not, or in privacy.pseudonymise"
        )
    path = settings.path(Path(file))
    source = versioning.describe_source(path, file, len(table))
    return RawTable(table, source, path, policies, digest)


def require_frame(returned: object) -> None:
    """Raise `DataError` unless a hook returned a pandas data frame."""
    if isinstance(returned, pd.DataFrame):
        return
    kind = type(returned)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    found = "nothing" if returned is None else f"a {module}{kind.__qualname__}"
    raise DataError(f"returned {found}; return a pandas data frame")


def _typed(table: pd.DataFrame, drop: list[str]) -> pd.DataFrame:
    """Return a table that the hook made, typed as one that was read from a file."""
    if table.empty:
        raise DataError("returned a table without rows")
    if lost := [repr(str(name)) for name in table.index.names if name is not None]:
        raise DataError(
            f"the index {', '.join(lost)} would be lost; make it a column with reset_index(), or "
            "leave it out with reset_index(drop=True)"
        )
    return column_types.typed(table.reset_index(drop=True), drop)


def _keep(table: pd.DataFrame, digest: str, settings: Settings) -> str:
    """Write a table to a file that is named after its content; return the file, from the root."""
    file = FOLDER / f"source-{digest.rpartition('-')[2][:16]}.parquet"
    path = settings.path(file)
    if not _holds(path, digest):
        for name in table:
            try:
                pa.array(table[name])
            except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
                raise DataError(  # the error's words may hold values of rows
                    f"column {name!r} cannot be kept as Parquet ({type(error).__name__}); "
                    "make it text, numbers or dates"
                ) from None
        path.parent.mkdir(parents=True, exist_ok=True)
        with machine.replacing(path) as partial:
            table.to_parquet(partial, index=False)
    return file.as_posix()


def _holds(path: Path, digest: str) -> bool:
    """Return whether a file is there and whole, so that it keeps its bytes and their hash."""
    try:
        return content_hash(pd.read_parquet(path)) == digest
    except (OSError, ValueError, DataError, pa.ArrowException):
        return False
