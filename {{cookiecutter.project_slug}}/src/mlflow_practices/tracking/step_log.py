"""The steps of a run: each is timed and printed when it ends, and all are logged with the run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from rich.console import Console

from . import recording


@dataclass(frozen=True)
class TimedStep:
    """A step of a deployment: done or failed, its duration, and a note on what it did."""

    name: str
    outcome: str
    seconds: float
    note: str = ""


class StepLog:
    """The steps that have ended."""

    def __init__(self, console: Console) -> None:
        """Start without steps."""
        self.done: list[TimedStep] = []
        self._console = console

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step. It may append notes to the list that is yielded."""
        notes: list[str] = []
        outcome = "failed"
        start = time.perf_counter()
        try:
            yield notes
            outcome = "done"
        finally:
            step = TimedStep(name, outcome, time.perf_counter() - start, "; ".join(notes))
            self.done.append(step)
            line = f"{step.name:<17}  {step.outcome:<6} {step.seconds:6.1f} s  {step.note}"
            self._console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)

    def log(self) -> None:
        """Log the steps with the run."""
        seconds = {f"seconds_{step.name}": step.seconds for step in self.done}
        recording.log_metrics_efficiently(seconds)
        recording.log_dict({"steps": [asdict(step) for step in self.done]}, "steps.json")
