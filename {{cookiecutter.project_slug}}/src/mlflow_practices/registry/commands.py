"""The command line's part that decides on versions, and looks at them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import Json, Reason, print_json, print_table, print_text
from ..tracking.session import Session

if TYPE_CHECKING:
    from .versions import Version

Model = Annotated[
    str, typer.Argument(help="NAME, NAME@ALIAS or NAME/VERSION; the challenger by default.")
]


def find_version(session: Session, model: str) -> Version:
    """Return the version that an argument `Model` means.

    Raises:
        RegistryError: there is no such version.
    """
    from . import versions

    return versions.resolve(session.client, model, session.settings.project.name)


def approve(
    session: Session,
    model: Model,
    reason: Reason,
    reviewed_in: Annotated[
        str,
        typer.Option(
            help="In GitHub Actions: record who let this job into that environment.",
            metavar="ENVIRONMENT",
        ),
    ] = "",
) -> None:
    """Record that you approve a version, on the evidence there is now."""
    from . import approval

    version = find_version(session, model)
    record = approval.approve_model(
        version.name, version.number, reason, session, reviewed_in=reviewed_in
    )
    print_text(session, f"{version} {record.describe()}")


def reject(session: Session, model: Model, reason: Reason) -> None:
    """Record that you reject a version; it stays so until a new approval."""
    from . import approval, promotion

    version = find_version(session, model)
    record = approval.reject_model(version.name, version.number, reason, session)
    print_text(session, f"{version} {record.describe()}")
    if champion := promotion.find_champion_copy(session.client, session.settings, version):
        print_text(
            session, f"note: {champion} in production is a copy of it; promote another version"
        )


def promote(
    session: Session,
    model: Model = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
    ] = False,
) -> None:
    """Make an approved version the champion; the former one stays as `previous`."""
    from . import promotion

    version = find_version(session, model)
    if dry_run:
        print_text(session, promotion.describe_promotion(session, version))
        return
    done = promotion.promote(session, version)
    if not done.address:
        print_text(session, f"{version} is the champion already, as {done.champion}")
        return
    print_text(
        session,
        f"{version} is the champion now, as {done.champion}; it replaces {done.replaced or 'none'}",
    )
    print_text(session, f"promotion  {done.address}")


def show_lineage(session: Session, model: Model = "", json: Json = False) -> None:
    """Walk from a model version back to the raw file; say what is missing or has changed."""
    from . import provenance

    links = provenance.trace(session, find_version(session, model))
    if json:
        print_json(provenance.as_dict(links))
        return
    rows = [
        [link.status, link.name, "\n".join([*([link.problem] if link.problem else []), *facts])]
        for link in links
        for facts in [[f"{key}: {value}" for key, value in link.facts.items()]]
    ]
    print_table(session, ["", "link", "what is known"], rows)


def list_versions(session: Session) -> None:
    """List the versions, in training and in production: verdict, approval, aliases."""
    from . import reports

    rows = reports.version_rows(session.client, session.settings.project.name)
    print_table(session, ["version", "aliases", "made (UTC)", "verdict", "approval", "data"], rows)


def show_version(session: Session, model: Model = "") -> None:
    """Show a version: its verdict, decision, and what prevents its promotion."""
    from . import reports

    version = find_version(session, model)
    print_table(session, ["", ""], reports.version_details(session, version), header=False)


def show_history(session: Session) -> None:
    """List approvals, rejections and promotions, newest first."""
    from . import promotion

    events = promotion.history(session.client, session.settings)
    rows = [[e.when, e.action, e.version, e.who, e.result] for e in events]
    print_table(session, ["when (UTC)", "what", "version", "who", "result"], rows)


def summary(
    session: Session,
    model: Model = "",
    champion: Annotated[
        bool, typer.Option("--champion", help="The champion as JSON instead, for --beside.")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option(help="Compare with this champion, of another store.")
    ] = None,
) -> None:
    """Print a version's evaluation beside the champion's, in Markdown, such as for GitHub."""
    from . import champion_comparison

    if champion:
        print_json(champion_comparison.champion_figures(session.client, session.settings))
        return
    version = find_version(session, model)
    typer.echo(
        champion_comparison.compare_with_champion(session.client, session.settings, version, beside)
    )


def keygen(session: Session) -> None:
    """Make the key that your approvals are signed with; print the line for configs/approvers.yaml."""
    from . import signing

    name = session.identity.name
    path = signing.private_key_path(session.settings.project.name)
    public = signing.keygen(path)
    print_text(session, f"wrote the private key {path}: keep it, and give it to nobody")
    print_text(
        session, f"add this line to configs/approvers.yaml, and have it reviewed:\n{name}: {public}"
    )


GROUPS = {
    "lineage": "Where a model came from.",
    "registry": "Look at the model's versions.",
    "approval": "Keys that approvals are signed with.",
}
COMMANDS = {
    "approve": approve,
    "reject": reject,
    "promote": promote,
    "summary": summary,
    "lineage show": show_lineage,
    "registry list": list_versions,
    "registry show": show_version,
    "registry history": show_history,
    "approval keygen": keygen,
}
