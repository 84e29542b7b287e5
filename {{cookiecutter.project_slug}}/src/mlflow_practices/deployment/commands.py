"""The commands that bring versions to production."""

from __future__ import annotations

from ..console import Reason, print_table, print_text
from ..registry.commands import Model, find_version
from ..tracking.session import Session

STAGE = "model_deployment"  # of the project


def stage(session: Session, model: Model = "") -> None:
    """Run the serving tests against a version on a staging server; nothing is promoted."""
    from . import pipeline

    print_text(session, f"staging  {pipeline.stage(session, find_version(session, model))}")


def deploy(session: Session, model: Model = "") -> None:
    """Bring an approved version to production, through staging and its tests; or roll back."""
    version = find_version(session, model)
    done = session.project.module(STAGE).run(session, version)
    print_text(session, f"{version} is in production, as {done.champion}")
    print_text(session, f"deployment  {done.address}")


def rollback(session: Session, reason: Reason) -> None:
    """Make the former champion the champion again, and check that production follows."""
    from . import pipeline

    done = pipeline.rollback(session, reason)
    print_text(session, f"{done} is the champion")


def deployments(session: Session) -> None:
    """List deployments and rollbacks, newest first."""
    from ..registry import reports

    rows = [
        [
            event.started,
            event.action,
            event.version,
            event.who,
            "" if event.seconds is None else f"{event.seconds:.0f}",
            event.result,
        ]
        for event in reports.list_events(session.client, session.settings)
        if event.action in ("deployment", "rollback")
    ]
    print_table(session, ["when (UTC)", "what", "version", "who", "seconds", "result"], rows)


def undeploy(session: Session) -> None:
    """End the production server that `deploy` started on this machine."""
    from .production_server import ProductionServer

    ended = ProductionServer(session).stop()
    print_text(
        session, "the production server has ended" if ended else "no production server runs here"
    )


COMMANDS = {
    "stage": stage,
    "deploy": deploy,
    "rollback": rollback,
    "deployments": deployments,
    "undeploy": undeploy,
}
