"""What commands share: options, and how results are printed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .tracking.session import Session

Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def print_text(session: Session, text: str) -> None:
    """Print text as it is; long lines are not folded."""
    session.console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(
    session: Session, headings: list[str], rows: list[list[str]], header: bool = True
) -> None:
    """Print rows of text in columns; they are folded on a terminal only."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(heading, overflow="fold") for heading in headings]
    table = Table(*columns, box=None, show_header=header)
    for row in rows:
        table.add_row(*map(Text, row))
    console = session.console if session.console.is_terminal else Console(width=10_000)
    console.print(table)


def print_json(value: object) -> None:
    """Print a value as JSON, redacted."""
    from . import privacy

    typer.echo(json.dumps(privacy.redact(value), indent=2, ensure_ascii=False, default=str))


@contextmanager
def timed(session: Session, name: str) -> Iterator[None]:
    """Print how many seconds the body took; a terminal shows meanwhile that it is running."""
    start = time.perf_counter()
    with session.console.status(f"{name} ..."):
        yield
    print_text(session, f"{name:<18} {time.perf_counter() - start:6.1f} s")
