"""The command line's part that serves a model."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ..tracking.session import Session


def serve(
    session: Session,
    model: Annotated[
        str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION; the champion.")
    ] = "",
    host: Annotated[str, typer.Option(help="serving.host otherwise.")] = "",
    port: Annotated[int | None, typer.Option(help="serving.port otherwise; 0: a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="serving.workers otherwise.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve a model over HTTP as MLflow does, and follow its alias."""
    # One row needs one thread; OpenMP reads this when scikit-learn is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from . import server

    given = {"host": host or None, "port": port, "workers": workers, "parent": parent}
    server.serve(session, model, {key: each for key, each in given.items() if each is not None})


COMMANDS = {
    "serve": serve,
}
