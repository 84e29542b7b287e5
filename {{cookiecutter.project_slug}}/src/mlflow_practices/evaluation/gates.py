"""The gates of an evaluation: what a model version must reach before anybody may approve it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from ..config.metrics import Metric
from ..config.sections import Gates, MetricGate, SliceGate
from ..model.column_rules import list_names
from .metrics import ScoredRows
from .predictions import Predictions
from .scores import Scores
from .slices import format_value, measure_slices
from .verdict import Gate, MetricResult, Outcome, Slice, Verdict

ROUNDING = 1e-9

# Its words, its value, and the function that says whether a value is within it.
Limit = tuple[str, float, Callable[[float, float], bool]]


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
    """Compare a model's predictions for ``X`` with the limits of the gates.

    Args:
        gates: the limits.
        X: the features, shape (rows, columns), whose columns make the slices.
        y: the true values, shape (rows,).
        candidate: predictions of the model that is judged.
        baseline: predictions of the model that it must beat.
        champion: predictions of the model that it must not be worse than; None without one, a text
            if that one cannot predict these rows, which is why its gates fail.
        latency_ms: of predicting one row, see `measure_latency`.
        size_mb: of the model's files.
        card_gaps: fields of the model card that are empty.
        seed: of the bootstrap.
        metrics: of the project's own; those of the other problem type are left out.
    """
    rows = ScoredRows(y, candidate, metrics)
    model = rows.measure(gates.resamples, seed)
    scores: dict[str, Scores] = {
        "model": model,
        "baseline": ScoredRows(y, baseline, metrics).measure(),
    }
    if isinstance(champion, Predictions):
        scores["champion"] = ScoredRows(y, champion, metrics).measure(gates.resamples, seed)
    slices = measure_slices(gates.slices, X, rows, model)
    judged: list[Gate] = []
    for name, limits in gates.metrics.items():
        judged += _judge_limits(name, limits, model, gates.confidence)
        if limits.beats_baseline_by is not None:
            judged.append(_judge_baseline(name, limits.beats_baseline_by, scores))
        if limits.champion_margin is not None and champion is not None:
            problem = champion if isinstance(champion, str) else ""
            margin = limits.champion_margin
            judged.append(_judge_champion(name, margin, scores, problem, gates.confidence))
    judged += _judge_slices(gates.slices, X, model, slices)
    if gates.latency_ms is not None:
        judged.append(_judge_budget("latency", latency_ms, gates.latency_ms, "ms for one row"))
    if gates.size_mb is not None:
        judged.append(_judge_budget("size", size_mb, gates.size_mb, "MB"))
    if gates.complete_card:
        gaps = f"the model card does not state {', '.join(card_gaps)}"
        reason = gaps if card_gaps else "nothing is missing"
        judged.append(Gate("card", not card_gaps, None, None, reason))
    outcome: Outcome = "failed"
    if all(gate.passed for gate in judged):
        outcome = "no-champion" if champion is None else "passed"
    return Verdict(
        outcome=outcome,
        gates=judged,
        metrics=_results(scores, gates.confidence),
        slices=[each for each in slices if np.isfinite(each.metric)],
        rows=len(y),
        latency_ms=float(latency_ms),
        size_mb=float(size_mb),
        undefined={
            name if owner == "model" else f"{name} of the {owner}": reason
            for owner, found in scores.items()
            for name, reason in found.undefined.items()
        },
    )


def _results(scores: Mapping[str, Scores], confidence: float) -> dict[str, MetricResult]:
    model, baseline = scores["model"], scores["baseline"]
    champion = scores["champion"].points if "champion" in scores else {}
    return {
        name: MetricResult(
            value,
            *model.interval(name, confidence),
            baseline.points.get(name),
            champion.get(name),
            model.higher_is_better[name],
        )
        for name, value in model.points.items()
    }


def _judge_limits(name: str, gate: MetricGate, model: Scores, confidence: float) -> Iterator[Gate]:
    for words, limit, holds in _limits(gate):
        if name not in model.points:
            yield _undefined(f"{name} {words}", limit, name, {"model": model})
            continue
        value = model.points[name]
        figures = f"{name} {format_value(value)} {_format(model.interval(name, confidence))}"
        reason = f"{figures}, {words} {format_value(limit)} is required"
        yield Gate(f"{name} {words}", holds(value, limit), value, limit, reason)


def _judge_baseline(name: str, least: float, scores: Mapping[str, Scores]) -> Gate:
    model, baseline = scores["model"], scores["baseline"]
    gate = f"{name} against baseline"
    if not (name in model.points and name in baseline.points):
        return _undefined(gate, least, name, scores)
    gain = model.gain(baseline, name)
    figures = _compare(name, model, "baseline", baseline)
    reason = f"{figures}, at least {format_value(least)} better is required"
    return Gate(gate, _is_at_least(gain, least), gain, least, reason)


def _judge_champion(
    name: str, margin: float, scores: Mapping[str, Scores], problem: str, confidence: float
) -> Gate:
    gate, least = f"{name} against champion", 0 - margin  # not -0
    if problem:
        return Gate(gate, False, None, least, f"the champion cannot be judged: {problem}")
    model, champion = scores["model"], scores["champion"]
    if not (name in model.points and name in champion.points):
        return _undefined(gate, least, name, {"model": model, "champion": champion})
    low, high = model.gain_interval(champion, name, confidence)
    figures = f"{_compare(name, model, 'champion', champion)} {_format((low, high))}"
    reason = f"{figures}, at most {format_value(margin)} worse is allowed"
    return Gate(gate, _is_at_least(low, least), low, least, reason)


def _judge_slices(
    gate: SliceGate, X: pd.DataFrame, model: Scores, slices: Sequence[Slice]
) -> Iterator[Gate]:
    limits = _limits(gate)
    limit = limits[0][1] if limits else None
    judged = [each for each in slices if each.rows >= gate.min_rows]
    if absent := [name for name in gate.columns if name not in X]:
        reason = f"no column {list_names(absent)}; there are {list_names(list(X))}"
        yield Gate("slices", False, None, limit, reason)
    elif gate.columns and gate.metric not in model.points:
        yield _undefined("slices", limit, str(gate.metric), {"model": model})
    elif limits and judged:
        failed = [
            each
            for each in judged
            if not all(holds(each.metric, value) for _, value, holds in limits)
        ]
        worst = (failed or judged)[0]
        figures = (
            f"{gate.metric} {format_value(worst.metric)} where {worst.column} is {worst.value}"
        )
        required = " and ".join(f"{words} {format_value(value)}" for words, value, _ in limits)
        reason = (
            f"{figures} ({worst.rows} rows), the worst of {len(judged)} slices, "
            f"{required} is required"
        )
        value = worst.metric if np.isfinite(worst.metric) else None
        yield Gate("slices", not failed, value, limit, reason)
    elif limits and gate.columns:
        reason = f"no slice has {gate.min_rows} rows, the least number for which it is judged"
        yield Gate("slices", True, None, limit, reason)


def _judge_budget(name: str, value: float, limit: float, unit: str) -> Gate:
    reason = f"{format_value(value)} {unit}, at most {format_value(limit)} is allowed"
    return Gate(name, _is_at_most(value, limit), float(value), limit, reason)


def _undefined(gate: str, limit: float | None, name: str, scores: Mapping[str, Scores]) -> Gate:
    """Return the gate that fails since a metric is not defined for one of the models."""
    owner = next(owner for owner, found in scores.items() if name not in found.points)
    whose = "" if owner == "model" else f"the {owner}'s "
    reason = f"{whose}{name} is not defined on these test rows"
    if cause := scores[owner].undefined.get(name):
        reason += f": {cause}"
    return Gate(gate, False, None, limit, reason)


def _limits(gate: MetricGate | SliceGate) -> list[Limit]:
    limits = (("at least", gate.at_least, _is_at_least), ("at most", gate.at_most, _is_at_most))
    return [(words, value, holds) for words, value, holds in limits if value is not None]


def _is_at_least(value: float, limit: float) -> bool:
    return bool(np.isfinite(value) and value - limit >= -ROUNDING)


def _is_at_most(value: float, limit: float) -> bool:
    return bool(np.isfinite(value) and limit - value >= -ROUNDING)


def _compare(name: str, model: Scores, owner: str, other: Scores) -> str:
    gain = model.gain(other, name)
    word = "better" if gain >= 0 else "worse"
    apart = (
        f"{format_value(abs(gain))} {word} than the {owner}'s {format_value(other.points[name])}"
    )
    return f"{name} {format_value(model.points[name])} is {apart}"


def _format(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"({format_value(low)} to {format_value(high)})"
