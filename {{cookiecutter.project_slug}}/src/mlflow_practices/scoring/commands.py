"""The command that predicts the rows of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import print_text
from ..tracking.session import Session


def score(
    session: Session,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Parquet or CSV.")],
    output: Annotated[Path, typer.Argument(help="Parquet or CSV; replaced at the end.")],
    model: Annotated[
        str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION; default: the champion.")
    ] = "",
    fail_on_rejects: Annotated[
        bool, typer.Option("--fail-on-rejects", help="End with an error if a row was rejected.")
    ] = False,
) -> None:
    """Predict every row of a file; the same command continues where it was ended."""
    from . import batch

    scored = batch.score(session, source, output, model)
    print_text(session, "\n".join(scored.lines()))
    if fail_on_rejects and scored.reasons:
        raise batch.ScoringError(
            f"{scored.rejects}: rows were rejected; correct them, or the source"
        )


COMMANDS = {"score": score}
