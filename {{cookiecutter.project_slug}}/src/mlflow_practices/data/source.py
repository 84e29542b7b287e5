"""The raw table: what the project's hook ``read`` returns, and the file that stands for it."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from .. import privacy
from . import tables, versioning
from .hashing import content_hash
from .tables import TableError
from .versioning import Source

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..tracking.session import Session

FOLDER = Path("data/raw")  # where a table is kept that was read from elsewhere
_FILE = "read_from"  # the attribute of a frame that `read_table` returned


@dataclass(frozen=True)
class RawTable:
    """The raw table, the file that it is known by, and what becomes of its personal columns."""

    table: pd.DataFrame = field(repr=False)
    source: Source
    path: Path
    policies: dict[str, privacy.Policy]

    def facts(self) -> dict[str, Any]:
        """Return what tells this table from another."""
        return {"sha256": self.source.sha256, "rows": len(self.table)}


def read_table(settings: Settings) -> pd.DataFrame:
    """Return the table in the file ``data.raw``: CSV or Parquet, its ISO 8601 dates as dates.

    Raises:
        TableError: no file is named, or it cannot be used; see `tables.read`.
    """
    if settings.data.raw is None:
        raise TableError(
            "data.raw: names no file; set it in configs/base.yaml, or let `read` in "
            "data_preparation.py return a table from elsewhere"
        )
    table = tables.read(settings.path(settings.data.raw), settings.data)
    table.attrs[_FILE] = settings.data.raw.as_posix()
    return table


def read_raw(session: Session) -> RawTable:
    """Return what the project's hook ``read`` returns, with the file that stands for it.

    That is ``data.raw`` where the hook returned what `read_table` gave it. Any other table is
    written to ``data/raw/source-<hash>.parquet``, which git ignores, so that its bytes can be
    hashed and compared later; the same table gives the same file.

    Raises:
        TableError: the hook returned no table, or one that cannot be used.
        PrivacyError: the target looks like personal data.
    """
    settings = session.settings
    table = session.project.read(settings)
    if not isinstance(table, pd.DataFrame):
        raise TableError(
            f"data_preparation.read: returned {type(table).__name__}; return a pandas data frame"
        )
    if (file := table.attrs.pop(_FILE, None)) is None:
        tables.check("data_preparation.read", table)
        table = tables.with_dates(table.reset_index(drop=True))
        file = _keep(table, settings)
    policies = privacy.policies(table, settings.privacy.policies)
    if policies.get(settings.data.target) == "drop":
        raise privacy.PrivacyError(
            f"data.target: {settings.data.target!r} looks like personal data; name it in "
            "privacy.keep if it is not, or in privacy.pseudonymise"
        )
    path = settings.path(Path(file))
    return RawTable(table, versioning.describe_source(path, Path(file), len(table)), path, policies)


def _keep(table: pd.DataFrame, settings: Settings) -> str:
    """Write a table to a file that is named after its content; return the file, from the root."""
    digest = content_hash(table).rpartition("-")[2]
    place = FOLDER / f"source-{digest[:16]}.parquet"
    path = settings.path(place)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        try:
            table.to_parquet(partial, index=False)
            os.replace(partial, path)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise TableError(
                f"data_preparation.read: the table cannot be kept as Parquet: "
                f"{' '.join(str(error).split())}; make each column text, numbers or dates"
            ) from None
        finally:
            partial.unlink(missing_ok=True)
    return place.as_posix()
