"""The result of an evaluation: metrics, slices, and which gates were passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..errors import PracticeError, listed

Outcome = Literal["passed", "failed", "no-champion"]


class GateError(PracticeError):
    """A version did not pass its evaluation; the message names each gate that failed."""


@dataclass(frozen=True)
class MetricResult:
    """One metric on the test rows: value, confidence interval, and the value of other models."""

    value: float
    low: float
    high: float
    baseline: float | None = None
    champion: float | None = None
    higher_is_better: bool = True


@dataclass(frozen=True)
class Slice:
    """The rows that share a value of a column, and the metric on them."""

    column: str
    value: str
    rows: int
    metric: float


@dataclass(frozen=True)
class Gate:
    """One requirement: the value that was found, the limit, and a sentence with both."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    reason: str


@dataclass(frozen=True)
class Verdict:
    """All results; ``no-champion`` is passed, with no champion to compare with.

    ``undefined`` says which custom metrics are not defined on these rows, and why.
    """

    outcome: Outcome
    gates: Sequence[Gate]
    metrics: Mapping[str, MetricResult]
    slices: Sequence[Slice]
    rows: int
    latency_ms: float
    size_mb: float
    undefined: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[Gate]:
        """Return the gates that were not passed."""
        return [gate for gate in self.gates if not gate.passed]

    def figures(self) -> dict[str, float]:
        """Return what is logged as metrics of the run."""
        figures = {"latency_ms": self.latency_ms, "size_mb": self.size_mb}
        for name, found in self.metrics.items():
            figures[f"test_{name}"] = found.value
            if found.baseline is not None:
                figures[f"baseline_{name}"] = found.baseline
            if found.champion is not None:
                figures[f"champion_{name}"] = found.champion
        return figures


def require_passed(name: str, verdict: Verdict) -> None:
    """Raise `GateError` unless every gate was passed."""
    if failed := verdict.failed:
        count = f"{len(failed)} of {len(verdict.gates)} gates"
        reasons = [f"{gate.name}: {gate.reason}" for gate in failed]
        raise GateError(listed(f"{name} failed {count}", reasons))
