"""The verdict on a model version: each gate with its figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from numbers import Real
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from .. import privacy
from ..config.metrics import Metric
from ..config.sections import Gates, MetricGate, SliceGate
from ..errors import PracticeError, listed
from . import custom_metrics, intervals
from .intervals import Resampled
from .metrics import Encoded, Predictions, encode

FEW_VALUES = 10  # of numbers or dates; with more, slices are quarters of the rows
MAX_VALUES = 50  # of a column; the rows of rarer ones are a slice together
ROUNDING = 1e-9

Outcome = Literal["passed", "failed", "no-champion"]


class GateError(PracticeError):
    """A version did not pass its evaluation; the message names each gate that failed."""


@dataclass(frozen=True)
class MetricResult:
    """One metric on the test rows: value, confidence interval, and what others reach."""

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
    """One demand: what was found, the limit, and in words what it means."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    reason: str


@dataclass(frozen=True)
class Verdict:
    """What evaluation found; ``no-champion`` is passed with nothing to be compared with.

    ``undefined`` says which of the project's own metrics these rows do not define, and why.
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
            for other in ("baseline", "champion"):
                if (value := getattr(found, other)) is not None:
                    figures[f"{other}_{name}"] = value
        return figures

    def as_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """Return the verdict that `as_dict` made this of."""
        return cls(
            **{
                **values,
                "gates": [Gate(**gate) for gate in values["gates"]],
                "metrics": {name: MetricResult(**each) for name, each in values["metrics"].items()},
                "slices": [Slice(**each) for each in values["slices"]],
            }
        )


def require_passed(name: str, verdict: Verdict) -> None:
    """Raise `GateError` unless every gate was passed."""
    if failed := verdict.failed:
        count = f"{len(failed)} of {len(verdict.gates)} gates"
        reasons = [f"{gate.name}: {gate.reason}" for gate in failed]
        raise GateError(listed(f"{name} failed {count}", reasons))


def judge(
    gates: Gates,
    X: pd.DataFrame,
    y: pd.Series,
    candidate: Predictions,
    baseline: Predictions,
    champion: Predictions | str | None,
    *,
    latency_ms: float,
    size_mb: float,
    card_gaps: Sequence[str] = (),
    seed: int = 0,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> Verdict:
    """Hold a model's predictions for ``X`` against the gates.

    Args:
        gates: the limits.
        X: the features, shape (rows, columns), whose columns make the slices.
        y: what was true, shape (rows,).
        candidate: the model to be judged.
        baseline: what it must beat.
        champion: what it must not be worse than; None without one, a text if that one cannot
            predict these rows, which is the reason that its gates fail for.
        latency_ms: of one row, see `latency`.
        size_mb: of the model's files.
        card_gaps: fields of the model card that are empty.
        seed: of the bootstrap.
        metrics: of the project's own; those of the other problem type are left out.
    """
    rows = encode(y, candidate)

    def on_slices(name: str, codes: np.ndarray) -> np.ndarray:
        if name in metrics:
            return custom_metrics.by_slice(y, candidate, metrics[name], codes)
        return intervals.by_slice(rows, codes, name)

    def resample(rows: Encoded, predictions: Predictions) -> Resampled:
        own = custom_metrics.resample(y, predictions, metrics, gates.resamples, seed)
        return intervals.resample(rows, gates.resamples, seed) | own

    ours = resample(rows, candidate)
    points, undefined = custom_metrics.measure(y, baseline, metrics)
    dummy = Resampled(intervals.measure(encode(y, baseline)) | points, {}, undefined=undefined)
    theirs = (
        resample(encode(y, champion), champion) if isinstance(champion, Predictions) else champion
    )
    known = theirs.points if isinstance(theirs, Resampled) else {}
    slices = _slices(gates.slices, X, ours, on_slices)
    judged = [
        *(
            gate
            for name, wanted in gates.metrics.items()
            for gate in _metric(name, wanted, ours, dummy, theirs, gates.confidence)
        ),
        *_worst_slice(gates.slices, X, ours, slices),
        *_budget("latency", latency_ms, gates.latency_ms, "ms for one row"),
        *_budget("size", size_mb, gates.size_mb, "MB"),
        *(_card(card_gaps) if gates.complete_card else ()),
    ]
    passed: Outcome = "passed" if champion is not None else "no-champion"
    return Verdict(
        outcome=passed if all(gate.passed for gate in judged) else "failed",
        gates=judged,
        metrics={
            name: MetricResult(
                value,
                *ours.interval(name, gates.confidence),
                dummy.points.get(name),
                known.get(name),
                ours.higher_is_better[name],
            )
            for name, value in ours.points.items()
        },
        slices=[each for each in slices if np.isfinite(each.metric)],
        rows=len(y),
        latency_ms=float(latency_ms),
        size_mb=float(size_mb),
        undefined=_all_undefined(model=ours, baseline=dummy, champion=theirs),
    )


def _all_undefined(**models: Resampled | str | None) -> dict[str, str]:
    return {
        name if who == "model" else f"{name} of the {who}": reason
        for who, found in models.items()
        if isinstance(found, Resampled)
        for name, reason in found.undefined.items()
    }


def _undefined(name: str, found: Resampled) -> str:
    reason = found.undefined.get(name)
    return f"{name} is not defined on these test rows{f': {reason}' if reason else ''}"


def _metric(
    name: str,
    wanted: MetricGate,
    ours: Resampled,
    dummy: Resampled,
    theirs: Resampled | str | None,
    confidence: float,
) -> Iterator[Gate]:
    value = ours.points.get(name)
    undefined = _undefined(name, ours)
    for words, limit in _limits(wanted):
        gate = f"{name} {words}"
        if value is None:
            yield Gate(gate, False, None, limit, undefined)
            continue
        low, high = ours.interval(name, confidence)
        figures = f"{name} {_text(value)} ({_text(low)} to {_text(high)})"
        passed = _keeps(value, words, limit)
        yield Gate(gate, passed, value, limit, f"{figures}, {words} {_text(limit)} wanted")
    if (least := wanted.beats_baseline_by) is not None:
        gate = f"{name} against baseline"
        if value is None or name not in dummy.points:
            reason = undefined if value is None else f"the baseline's {_undefined(name, dummy)}"
            yield Gate(gate, False, None, least, reason)
        else:
            other = dummy.points[name]
            gain = (value - other) * (1 if ours.higher_is_better[name] else -1)
            figures = f"{name} {_text(value)} is {_apart(gain, 'baseline', other)}"
            passed = _keeps(gain, "at least", least)
            yield Gate(gate, passed, gain, least, f"{figures}, at least {_text(least)} wanted")
    if (margin := wanted.champion_margin) is not None and theirs is not None:
        gate = f"{name} against champion"
        if isinstance(theirs, str):
            yield Gate(gate, False, None, 0 - margin, f"the champion cannot be judged: {theirs}")
        elif value is None or name not in theirs.points:
            reason = undefined if value is None else f"the champion's {_undefined(name, theirs)}"
            yield Gate(gate, False, None, 0 - margin, reason)
        else:
            gain, low, high = ours.improvement(theirs, name, confidence)
            figures = f"{name} {_text(value)} is {_apart(gain, 'champion', theirs.points[name])}"
            reason = f"{figures} ({_text(low)} to {_text(high)}), no worse than by {_text(margin)}"
            passed = _keeps(low, "at least", -margin)
            yield Gate(gate, passed, low, 0 - margin, f"{reason} wanted")


def _slices(
    gate: SliceGate,
    X: pd.DataFrame,
    ours: Resampled,
    on_slices: Callable[[str, np.ndarray], np.ndarray],
) -> list[Slice]:
    """Return all slices, the worst first; none of a metric that is not defined on all rows."""
    if gate.metric is None or gate.metric not in ours.points:
        return []
    found = []
    for column in gate.columns:
        if column in X:
            codes, names = _cut(X[column])
            values = on_slices(gate.metric, codes)
            counts = np.bincount(codes)
            found += [
                Slice(column, names[code], int(counts[code]), float(values[code]))
                for code in np.flatnonzero(counts)
            ]
    sign = 1 if ours.higher_is_better[gate.metric] else -1
    return sorted(found, key=lambda each: (np.isfinite(each.metric), sign * each.metric))


def _cut(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return the slice of each row, shape (rows,), and what each slice is called."""
    types = pd.api.types
    number = types.is_numeric_dtype(column) and not types.is_bool_dtype(column)
    ordered = number or types.is_datetime64_any_dtype(column)
    if ordered and column.nunique() > FEW_VALUES:
        quarters, ends = pd.qcut(column, 4, labels=False, retbins=True, duplicates="drop")
        codes = quarters.fillna(-1).to_numpy(dtype=int)
        names = [f"{_text(low)} to {_text(high)}" for low, high in pairwise(ends)]
    else:
        frequent = column.value_counts().index[:MAX_VALUES]
        codes = frequent.get_indexer(column)
        names = [privacy.redact_text(_text(value)) for value in frequent]
    other, missing = len(names), len(names) + 1
    codes = np.where(column.isna(), missing, np.where(codes < 0, other, codes))
    return codes, [*names, "other", "missing"]


def _worst_slice(
    gate: SliceGate, X: pd.DataFrame, ours: Resampled, slices: Sequence[Slice]
) -> Iterator[Gate]:
    if not gate.columns:
        return
    limits = _limits(gate)
    limit = limits[0][1] if limits else None
    if absent := [name for name in gate.columns if name not in X]:
        more = f" and {X.shape[1] - 20} more" if X.shape[1] > 20 else ""
        there = f"there are {', '.join(map(str, X.columns[:20]))}{more}"
        yield Gate("slices", False, None, limit, f"no column {', '.join(absent)}; {there}")
    elif gate.metric not in ours.points:
        yield Gate("slices", False, None, limit, _undefined(str(gate.metric), ours))
    elif limits:
        judged = [each for each in slices if each.rows >= gate.min_rows]
        bad = [each for each in judged if not all(_keeps(each.metric, *one) for one in limits)]
        if not judged:
            reason = f"no slice has the {gate.min_rows} rows from which on it is judged"
            yield Gate("slices", True, None, limit, reason)
            return
        worst = (bad or judged)[0]
        figures = f"{gate.metric} {_text(worst.metric)} where {worst.column} is {worst.value}"
        wanted = " and ".join(f"{words} {_text(each)}" for words, each in limits)
        reason = (
            f"{figures} ({worst.rows} rows), the worst of {len(judged)} slices, {wanted} wanted"
        )
        value = worst.metric if np.isfinite(worst.metric) else None
        yield Gate("slices", not bad, value, limit, reason)


def _budget(name: str, value: float, limit: float | None, unit: str) -> Iterator[Gate]:
    if limit is not None:
        reason = f"{_text(value)} {unit}, at most {_text(limit)} wanted"
        yield Gate(name, _keeps(value, "at most", limit), float(value), limit, reason)


def _card(gaps: Sequence[str]) -> Iterator[Gate]:
    reason = f"the model card does not state {', '.join(gaps)}" if gaps else "nothing is missing"
    yield Gate("card", not gaps, None, None, reason)


def _limits(gate: MetricGate | SliceGate) -> list[tuple[str, float]]:
    both = (("at least", gate.at_least), ("at most", gate.at_most))
    return [(words, limit) for words, limit in both if limit is not None]


def _keeps(value: float, words: str, limit: float) -> bool:
    excess = value - limit if words == "at least" else limit - value
    return bool(np.isfinite(value) and excess >= -ROUNDING)


def _apart(gain: float, other: str, value: float) -> str:
    word = "better" if gain >= 0 else "worse"
    return f"{_text(abs(gain))} {word} than the {other}'s {_text(value)}"


def _text(value: object) -> str:
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value) + 0  # not -0
        return f"{number:.4g}" if abs(number) < 1000 else f"{number:.7g}"
    return str(value).removesuffix(" 00:00:00")  # of a date
