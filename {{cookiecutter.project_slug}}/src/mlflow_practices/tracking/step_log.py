"""The steps of a run: each is said when it ends, and all are logged with the run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape

from . import recording


@dataclass(frozen=True)
class TimedStep:
    """One line of a deployment: done or failed, after how many seconds, and what there is to say."""

    name: str
    outcome: str
    seconds: float
    note: str = ""


class StepLog:
    """The steps so far; each is printed when it ends."""

    def __init__(self, console: Console | None) -> None:
        """Start with none."""
        self.done: list[TimedStep] = []
        self._console = console

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what is put into the list that it yields is said of it."""
        start, notes, outcome = time.perf_counter(), list[str](), "failed"
        try:
            yield notes
            outcome = "done"
        finally:
            made = TimedStep(name, outcome, time.perf_counter() - start, "; ".join(notes))
            self.done.append(made)
            if self._console:
                line = f"{made.name:<17}  {made.outcome:<6} {made.seconds:6.1f} s  {made.note}"
                self._console.print(escape(line.rstrip()), highlight=False, soft_wrap=True)

    def log(self) -> None:
        """Log them with the run."""
        recording.log_metrics_efficiently({f"seconds_{s.name}": s.seconds for s in self.done})
        recording.log_dict({"steps": [asdict(step) for step in self.done]}, "steps.json")
