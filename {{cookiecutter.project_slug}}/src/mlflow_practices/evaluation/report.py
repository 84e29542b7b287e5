"""The result of an evaluation, for the console."""

from __future__ import annotations

from rich.table import Column, Table

from ..console import print_text
from ..tracking.session import Session
from .verdict import Verdict


def print_report(session: Session, name: str, verdict: Verdict) -> None:
    """Print a version's metrics beside the baseline's and the champion's, and the verdict."""
    print_text(session, f"{name}, on the test split ({verdict.rows} rows):")
    others = ["baseline"]
    if verdict.outcome != "no-champion":
        others.append("champion")
    headings = ["model", "interval", *others]
    table = Table("metric", *(Column(heading, justify="right") for heading in headings))
    for metric, found in verdict.metrics.items():
        cells = [f"{found.value:.4g}", f"{found.low:.3g} to {found.high:.3g}"]
        for other in others:
            value = getattr(found, other)
            cells.append("" if value is None else f"{value:.4g}")
        table.add_row(metric, *cells)
    session.console.print(table)
    for metric, reason in verdict.undefined.items():
        print_text(session, f"note: {metric} is not defined on these rows: {reason}")
    passed = len(verdict.gates) - len(verdict.failed)
    print_text(
        session, f"verdict: {verdict.outcome}, {passed} of {len(verdict.gates)} gates passed"
    )
