"""The results of an evaluation, for the console."""

from __future__ import annotations

from rich.table import Column, Table

from ..console import print_text
from ..tracking.session import Session
from .verdict import Verdict


def print_report(session: Session, name: str, verdict: Verdict) -> None:
    """Print a version's metrics beside the baseline's and the champion's, and the verdict."""
    print_text(session, f"{name}, on the test split ({verdict.rows} rows):")
    others = ["baseline", *(["champion"] if verdict.outcome != "no-champion" else [])]
    names = ["model", "interval", *others]
    table = Table("metric", *(Column(each, justify="right") for each in names))
    for metric, found in verdict.metrics.items():
        values = [getattr(found, other) for other in others]
        interval = f"{found.low:.3g} to {found.high:.3g}"
        shown = ["" if value is None else f"{value:.4g}" for value in values]
        table.add_row(metric, f"{found.value:.4g}", interval, *shown)
    session.console.print(table)
    for metric, reason in verdict.undefined.items():
        print_text(session, f"note: {metric} is not defined on these rows: {reason}")
    passed = len(verdict.gates) - len(verdict.failed)
    print_text(
        session, f"verdict: {verdict.outcome}, {passed} of {len(verdict.gates)} gates passed"
    )
