"""The commands that show model versions and decide on them."""

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
    """Return the version that an argument `Model` means."""
    from . import versions

    return versions.resolve(session.client, model, session.settings.project.name)


def approve(
    session: Session,
    model: Model,
    reason: Reason,
    reviewed_in: Annotated[
        str,
        typer.Option(
            help="In GitHub Actions: record who approved this job in that environment.",
            metavar="ENVIRONMENT",
        ),
    ] = "",
) -> None:
    """Record that you approve a version, with the evaluation that it has now."""
    from . import approval

    version = find_version(session, model)
    decision = approval.approve_model(
        version.name, version.number, reason, session, reviewed_in=reviewed_in
    )
    print_text(session, f"{version} {decision.describe()}")


def reject(session: Session, model: Model, reason: Reason) -> None:
    """Record that you reject a version; this holds until a new approval."""
    from . import approval, promotion

    version = find_version(session, model)
    decision = approval.reject_model(version.name, version.number, reason, session)
    print_text(session, f"{version} {decision.describe()}")
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
    """Make an approved version the champion; the former one gets the alias `previous`."""
    from . import promotion

    version = find_version(session, model)
    if dry_run:
        print_text(session, promotion.describe_promotion(session, version))
        return
    done = promotion.promote(session, version)
    if not done.address:
        print_text(session, f"{version} is the champion already, as {done.champion}")
        return
    replaced = done.replaced or "none"
    print_text(
        session, f"{version} is the champion now, as {done.champion}; it replaces {replaced}"
    )
    print_text(session, f"promotion  {done.address}")


def show_lineage(session: Session, model: Model = "", json: Json = False) -> None:
    """Trace a model version back to the raw file, and say what is missing or has changed."""
    from . import provenance

    links = provenance.trace(session, find_version(session, model))
    if json:
        print_json(provenance.as_dict(links))
        return
    rows = []
    for link in links:
        lines = [link.problem] if link.problem else []
        lines += [f"{key}: {value}" for key, value in link.facts.items()]
        rows.append([link.status, link.name, "\n".join(lines)])
    print_table(session, ["", "link", "what is known"], rows)


def list_versions(session: Session) -> None:
    """List the versions, in training and in production: verdict, approval, aliases."""
    from . import reports

    rows = reports.version_rows(session.client, session.settings.project.name)
    print_table(session, ["version", "aliases", "made (UTC)", "verdict", "approval", "data"], rows)


def show_version(session: Session, model: Model = "") -> None:
    """Show a version: its verdict, decision, and what prevents its promotion."""
    from . import reports

    details = reports.version_details(session, find_version(session, model))
    print_table(session, ["", ""], [list(pair) for pair in details.items()], header=False)


def show_history(session: Session) -> None:
    """List approvals, rejections, promotions, deployments and rollbacks, newest first."""
    from . import reports

    events = reports.list_events(session.client, session.settings)
    rows = [[e.started, e.action, e.version, e.who, e.result] for e in events]
    print_table(session, ["when (UTC)", "what", "version", "who", "result"], rows)


def summary(
    session: Session,
    model: Model = "",
    champion: Annotated[
        bool, typer.Option("--champion", help="Print the champion as JSON, for --beside.")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option(help="Compare with this champion, of another store.")
    ] = None,
) -> None:
    """Print a version's evaluation beside the champion's, as Markdown (for GitHub, for example)."""
    from . import champion_comparison

    client, settings = session.client, session.settings
    if champion:
        print_json(champion_comparison.champion_figures(client, settings))
        return
    version = find_version(session, model)
    typer.echo(champion_comparison.compare_with_champion(client, settings, version, beside))


def keygen(session: Session) -> None:
    """Make the key that signs your approvals; print the line for configs/approvers.yaml."""
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
    "approval": "Keys that sign approvals.",
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
