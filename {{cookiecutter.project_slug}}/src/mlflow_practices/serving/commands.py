"""The command ``serve``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ..tracking.session import Session


def serve(
    session: Session,
    model: Annotated[
        str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION; default: the champion.")
    ] = "",
    host: Annotated[str, typer.Option(help="Default: serving.host.")] = "",
    port: Annotated[
        int | None, typer.Option(help="Default: serving.port; 0 takes a free one.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Default: serving.workers.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve a model over HTTP as MLflow does, and follow its alias."""
    # One row needs one thread; OpenMP reads this when scikit-learn is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from . import server

    options = {"host": host or None, "port": port, "workers": workers}
    changes = {name: value for name, value in options.items() if value is not None}
    server.serve(session, model, changes, parent)


COMMANDS = {"serve": serve}
