"""The command line's part that looks at data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import Json, print_json, print_table
from ..tracking.session import Session
from . import DataError


def show_data(
    session: Session,
    version: Annotated[str, typer.Argument(help="A data version; the last by default.")] = "",
) -> None:
    """Show a version of the prepared data: its source, splits, columns and notes."""
    from ..data import versioning

    folder = session.settings.path(session.settings.data.processed)
    manifest = versioning.load_manifest(folder, version)
    lines = {
        "version": manifest.version,
        "source": f"{manifest.source.path}, {manifest.source.rows} rows",
        "sha256": manifest.source.sha256,
        "target": manifest.target,
        "run": manifest.run_id,
        **{f"{n} split": f"{s.rows} rows, {s.hash}" for n, s in manifest.splits.items()},
        **{f"column {name}": kind for name, kind in manifest.columns.items()},
        **{f"note {number}": note for number, note in enumerate(manifest.notes, 1)},
        "versions here": ", ".join(versioning.versions(folder)),
    }
    print_table(session, ["", ""], [[key, value] for key, value in lines.items()], header=False)


def verify(
    session: Session,
    version: Annotated[str, typer.Argument(help="A data version; the last by default.")] = "",
) -> None:
    """Compare the raw and the prepared files with the hashes in the manifest."""
    from ..data import versioning

    folder = session.settings.path(session.settings.data.processed)
    manifest = versioning.load_manifest(folder, version)
    raw = session.settings.path(Path(manifest.source.path))
    checks = versioning.verify(manifest, folder, raw)
    for check in checks:
        found = f", found {check.found}" if check.status == "changed" else ""
        line = f"{check.status:<8} {check.file}: SHA-256 {check.expected}{found}"
        session.console.print(line, markup=False, soft_wrap=True)
    if any(check.status != "ok" for check in checks):
        raise DataError(
            f"data version {manifest.version} is not what was recorded; run `prepare` for the raw "
            "file as it is now, or bring back the files as they were"
        )


def diff(
    session: Session,
    old: Annotated[str, typer.Argument(help="A data version.")],
    new: Annotated[str, typer.Argument(help="A data version; the last by default.")] = "",
    key: Annotated[str, typer.Option(help="The column that tells rows apart; data.key.")] = "",
    json: Json = False,
) -> None:
    """Compare two data versions: columns, rows added, removed and changed, values."""
    from ..data import comparison, versioning

    folder = session.settings.path(session.settings.data.processed)
    manifests = [versioning.load_manifest(folder, version) for version in (old, new)]
    before, after = (versioning.read_all(manifest, folder) for manifest in manifests)
    found = comparison.compare(before, after, key or session.settings.data.key)
    if json:
        print_json(found.as_dict())
        return
    header = "versions: {} -> {}".format(*(manifest.version for manifest in manifests))
    for line in (header, *found.lines()):
        session.console.print(line, markup=False, highlight=False, soft_wrap=True)


def suggest(
    session: Session,
    force: Annotated[bool, typer.Option("--force", help="Replace suites that exist.")] = False,
) -> None:
    """Draft the expectation suites from the data, for a person to edit."""
    from . import cleaning

    for path in cleaning.suggest_suites(session, force):
        session.console.print(
            f"drafted {path}: read it, and edit what is not meant", soft_wrap=True
        )


GROUPS = {
    "data": "Look at the versions of the prepared data.",
    "quality": "What the data must look like.",
}
COMMANDS = {
    "data show": show_data,
    "data verify": verify,
    "data diff": diff,
    "quality suggest": suggest,
}
