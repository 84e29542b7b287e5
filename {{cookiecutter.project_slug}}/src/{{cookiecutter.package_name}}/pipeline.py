"""The stages in order, under one pipeline id."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Column, Table

from . import data_preparation, model_evaluation, model_training
from .model_evaluation import Evaluated
from .settings import Settings


def run(settings: Settings, console: Console) -> Evaluated:
    """Prepare, train and evaluate; report each stage and, at the end, what came out."""
    with _timed(console, "data preparation"):
        prepared = data_preparation.run(settings)
    with _timed(console, "model training"):
        trained = model_training.run(settings, prepared.manifest)
    with _timed(console, "model evaluation"):
        evaluated = model_evaluation.run(settings, trained.version)
    for note in prepared.manifest.notes:
        console.print(f"note: {note}", markup=False)
    report(evaluated, console)
    addresses = [
        ("preparation", prepared.address),
        ("training", trained.address),
        ("evaluation", evaluated.address),
    ]
    for name, address in addresses:
        console.print(f"{name:<12} {address}", markup=False, soft_wrap=True)
    return evaluated


def report(evaluated: Evaluated, console: Console) -> None:
    """Print a version's metrics beside the baseline's and the champion's, and the verdict."""
    verdict = evaluated.verdict
    version = evaluated.version
    heading = f"{version.name} version {version.number}, on the test split ({verdict.rows} rows):"
    console.print(heading, markup=False)
    others = ["baseline", *(["champion"] if verdict.outcome != "no-champion" else [])]
    names = ["model", "interval", *others]
    table = Table("metric", *(Column(name, justify="right") for name in names))
    for name, found in verdict.metrics.items():
        values = [getattr(found, other) for other in others]
        interval = f"{found.low:.3g} to {found.high:.3g}"
        shown = ["" if value is None else f"{value:.4g}" for value in values]
        table.add_row(name, f"{found.value:.4g}", interval, *shown)
    console.print(table)
    passed = len(verdict.gates) - len(verdict.failed)
    console.print(f"verdict: {verdict.outcome}, {passed} of {len(verdict.gates)} gates passed")


@contextmanager
def _timed(console: Console, name: str) -> Iterator[None]:
    start = time.perf_counter()
    with console.status(f"{name} ..."):
        yield
    console.print(f"{name:<18} {time.perf_counter() - start:6.1f} s")
