"""What the commands of all rooms share: options, and how results are printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from .tracking.session import Session

UNFOLDED = 10_000  # characters of a line

Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def print_text(session: Session, text: str) -> None:
    """Print text as it is, long lines unfolded."""
    session.console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(
    session: Session, headings: list[str], rows: list[list[str]], header: bool = True
) -> None:
    """Print rows of text in columns; folded on a terminal alone."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(heading, overflow="fold") for heading in headings]
    table = Table(*columns, box=None, show_header=header)
    for row in rows:
        table.add_row(*map(Text, row))
    # A file or a pipe has no edge at which a line would have to be folded.
    console: Console = session.console
    (console if console.is_terminal else Console(width=UNFOLDED)).print(table)


def print_json(value: object) -> None:
    """Print a value as JSON, redacted."""
    import json

    from . import privacy

    typer.echo(json.dumps(privacy.redact(value), indent=2, ensure_ascii=False, default=str))


@contextmanager
def timed(session: Session, name: str) -> Iterator[None]:
    """Print how many seconds the body took, and that it is under way on a terminal."""
    start = time.perf_counter()
    with session.console.status(f"{name} ..."):
        yield
    print_text(session, f"{name:<18} {time.perf_counter() - start:6.1f} s")
