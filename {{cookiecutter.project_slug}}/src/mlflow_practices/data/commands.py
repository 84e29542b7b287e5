"""The command line's part that looks at data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..console import Json, print_json, print_table, print_text
from ..tracking.session import Session
from . import DataError

Version = Annotated[str, typer.Argument(help="A data version; the last by default.")]


def show_data(session: Session, version: Version = "") -> None:
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


def verify(session: Session, version: Version = "") -> None:
    """Compare the raw and the prepared files with the hashes in the manifest."""
    from ..data import versioning

    folder = session.settings.path(session.settings.data.processed)
    manifest = versioning.load_manifest(folder, version)
    raw = session.settings.path(Path(manifest.source.path))
    checks = versioning.verify(manifest, folder, raw)
    for check in checks:
        found = f", found {check.found}" if check.status == "changed" else ""
        print_text(session, f"{check.status:<8} {check.file}: SHA-256 {check.expected}{found}")
    if any(check.status != "ok" for check in checks):
        raise DataError(
            f"data version {manifest.version} is not what was recorded; run `prepare` for the raw "
            "file as it is now, or restore the files"
        )


def diff(
    session: Session,
    old: Annotated[str, typer.Argument(help="A data version.")],
    new: Version = "",
    key: Annotated[str, typer.Option(help="The column that identifies a row; data.key.")] = "",
    json: Json = False,
) -> None:
    """Compare two data versions: columns, rows added, removed and changed, values."""
    from ..data import comparison, versioning

    folder = session.settings.path(session.settings.data.processed)
    manifests = [versioning.load_manifest(folder, version) for version in (old, new)]
    before, after = (versioning.read_all(manifest, folder) for manifest in manifests)
    found = comparison.compare(before, after, key or session.settings.data.key)
    if json:
        print_json(asdict(found))
        return
    print_text(session, f"versions: {manifests[0].version} -> {manifests[1].version}")
    for line in found.lines():
        print_text(session, line)


def suggest(
    session: Session,
    force: Annotated[bool, typer.Option("--force", help="Replace suites that exist.")] = False,
) -> None:
    """Draft the expectation suites from the data, for a person to edit."""
    from . import suite_draft

    for path in suite_draft.draft_suites(session, force):
        print_text(session, f"drafted {path}: read it, and edit what is not meant")


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
