"""What of a version's figures is too much."""

from __future__ import annotations

import pytest
from mlflow_practices.deployment import live_metrics
from mlflow_practices.deployment.request_metrics import RequestMetrics
from mlflow_practices.deployment.settings import CanarySettings, WatchSettings

OLD, NEW = "m/1", "m/2"
LIMITS = WatchSettings(max_error_rate=0.01, max_latency_ms=500)


def figures(
    good: int, failed: int = 0, refused: int = 0, seconds: float = 0.01, old_seconds: float = 0.01
) -> RequestMetrics:
    """Return figures of two versions whose requests all took so many seconds."""
    counts = {(NEW, "200"): good, (NEW, "500"): failed, (NEW, "400"): refused, (OLD, "200"): 1000}
    asked = {NEW: (good + failed + refused, seconds), OLD: (1000, old_seconds)}
    buckets = {
        (version, bound): count if bound >= took else 0
        for version, (count, took) in asked.items()
        for bound in (0.001, 0.01, 0.1, 1.0, float("inf"))
    }
    return RequestMetrics(counts, buckets)


@pytest.mark.parametrize(
    ("found", "baseline"),
    [
        (figures(1000), 0.0),
        (figures(1000, failed=5), 0.0),
        (figures(800, refused=200), 0.2),
        (figures(1000, seconds=0.1), 0.0),
        (figures(0), 0.0),
    ],
)
def test_within_the_limits(found: RequestMetrics, baseline: float) -> None:
    live_metrics.require_within_limits(found, NEW, LIMITS, baseline)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (figures(900, failed=100), r"100 failed or refused.*a rate 10\.00% higher than before"),
        (figures(900, refused=100), r"max_error_rate is 1\.00%"),
        (figures(1000, seconds=0.9), r"95 % within 955\.0 ms.*max_latency_ms is 500"),
    ],
)
def test_beyond_a_limit(found: RequestMetrics, said: str) -> None:
    with pytest.raises(live_metrics.LimitError, match=said):
        live_metrics.require_within_limits(found, NEW, LIMITS, 0.0)


def test_a_canary_beside_the_champion() -> None:
    wanted = CanarySettings(share=0.1, min_requests=50, max_slowdown=2)
    live_metrics.require_good_canary(figures(50), NEW, OLD, wanted)
    with pytest.raises(live_metrics.LimitError, match=r"49 requests in 60 s, fewer than"):
        live_metrics.require_good_canary(figures(49), NEW, OLD, wanted)
    with pytest.raises(live_metrics.LimitError, match=r"max_slowdown is 2"):
        live_metrics.require_good_canary(figures(50, seconds=0.1), NEW, OLD, wanted)
    live_metrics.require_good_canary(figures(50, seconds=0.1, old_seconds=0.1), NEW, OLD, wanted)
    # Both so fast that a ratio says nothing.
    live_metrics.require_good_canary(
        figures(50, seconds=0.001, old_seconds=0.0001), NEW, OLD, wanted
    )
