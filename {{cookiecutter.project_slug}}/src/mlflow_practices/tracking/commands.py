"""The command line's part that looks after the store and the configuration."""

from __future__ import annotations

from ..console import print_table
from .session import Session


def create_experiments(session: Session) -> None:
    """Create the project's MLflow experiments where they do not exist."""
    from .. import __version__
    from . import experiments, store

    uri = store.resolve_uri(session.settings.tracking.uri, session.settings.root)
    name, root = session.settings.project.name, session.settings.root
    states = experiments.create_experiments(name, uri, __version__, root)
    for name, state in states.items():
        session.console.print(f"{state:<8} {name}", markup=False)


def ui(session: Session) -> None:
    """Open the MLflow UI of a local store (variable MLFLOW_PORT, default 5000)."""
    from . import store

    store.serve_ui(session.settings)


def show_settings(session: Session) -> None:
    """Print the effective values and the layer each came from, secrets masked."""
    rows = [
        [key, repr(value), session.settings.origin(key)]
        for key, value in session.settings.flat().items()
    ]
    print_table(session, ["key", "value", "from"], rows)


GROUPS = {
    "settings": "Look at the configuration.",
}
COMMANDS = {
    "experiments": create_experiments,
    "ui": ui,
    "settings show": show_settings,
}
