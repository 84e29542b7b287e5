"""The commands for the store and the configuration."""

from __future__ import annotations

from ..console import print_table, print_text
from .session import Session


def create_experiments(session: Session) -> None:
    """Create the project's MLflow experiments if they do not exist."""
    from . import experiments

    project = session.settings.project.name
    states = experiments.create_experiments(session.client, project, session.identity)
    for name, state in states.items():
        print_text(session, f"{state:<8} {name}")


def ui(session: Session) -> None:
    """Open the MLflow UI of a local store (variable MLFLOW_PORT, default 5000)."""
    from . import store

    store.serve_ui(session.settings)


def show_settings(session: Session) -> None:
    """Print the effective values and the source of each, secrets masked."""
    settings = session.settings
    rows = [[key, repr(value), settings.origin(key)] for key, value in settings.flat().items()]
    print_table(session, ["key", "value", "from"], rows)


GROUPS = {
    "settings": "Look at the configuration.",
}
COMMANDS = {
    "experiments": create_experiments,
    "ui": ui,
    "settings show": show_settings,
}
