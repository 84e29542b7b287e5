"""The command line's part that looks at the configuration."""

from __future__ import annotations

from ..console import print_table
from ..tracking.session import Session


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
    "settings show": show_settings,
}
