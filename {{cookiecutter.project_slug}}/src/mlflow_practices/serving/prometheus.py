"""The server's metrics for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from .. import machine
from .settings import METRICS_FOLDER

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 5, 10, 25, 50, 100, 250, 1000, 10_000, 100_000)
COUNTERS = {
    "cache_hits": "Rows answered from the cache.",
    "cache_misses": "Rows that the cache did not know.",
    "cache_errors": "Failures of the cache, which cost no request.",
    "cache_dropped": "Rows that the cache took too slowly to be kept.",
    "log_written": "Rows written to the inference log.",
    "log_dropped": "Rows that the inference log had no room for.",
    "log_errors": "Failures of the inference log, which cost no request.",
}
GAUGES = {
    "model_version": "The number of the version that answers.",
    "model_loaded": "Whether a model is loaded.",
    "model_refused": "Whether a newer version was refused.",
    "canary_version": "The number of the version that answers a share; 0: none.",
    "registry_up": "Whether the registry answered last.",
    "cache_rows": "The largest batch that is looked up in the cache; 0: none.",
    "cache_open": "Whether the cache is not asked after failures.",
}

disable_created_metrics()  # type: ignore[no-untyped-call]
errors = Counter("serving_errors", "Requests refused or failed, by kind.", ["kind"])
batch_rows = Histogram("serving_batch_rows", "Rows of a request.", buckets=ROWS)
_requests = Counter(
    "serving_requests", "POST /invocations, by status and version.", ["status", "version"]
)
_seconds = Histogram(
    "serving_request_seconds", "From the request to its answer.", ["version"], buckets=SECONDS
)
_counters = {name: Counter(f"serving_{name}", text) for name, text in COUNTERS.items()}
_gauges = {
    name: Gauge(f"serving_{name}", text, multiprocess_mode="liveall")
    for name, text in GAUGES.items()
}
_totals = dict.fromkeys(COUNTERS, 0)


def count_request(status: int, version: str, seconds: float) -> None:
    """Count a request for predictions; ``version`` is that which answered, or empty."""
    counter, histogram = _labelled(status, version)
    counter.inc()
    histogram.observe(seconds)


@lru_cache(256)  # finding them costs more than counting
def _labelled(status: int, version: str) -> tuple[Counter, Histogram]:
    return _requests.labels(status, version), _seconds.labels(version)


def update(totals: Mapping[str, int], values: Mapping[str, float]) -> None:
    """Set counters to totals that other parts count, and gauges to their values."""
    for name, total in totals.items():
        _counters[name].inc(total - _totals[name])
        _totals[name] = total
    for name, value in values.items():
        _gauges[name].set(value)


def render() -> tuple[bytes, str]:
    """Return the metrics of all workers together, and their content type."""
    registry = REGISTRY
    if folder := os.environ.get(METRICS_FOLDER):
        for file in Path(folder).glob("gauge_live*.db"):
            process = int(file.stem.rpartition("_")[2])
            if not machine.is_alive(process):
                mark_process_dead(process)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
