"""How many requests a server answered, and how fast, by model version, read from its /metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

CLIENT_GONE = ("0", "499")  # the statuses of requests whose client went away


@dataclass(frozen=True)
class RequestMetrics:
    """Counts of POST /invocations since the server's start, of all its workers together.

    The keys are a version (NAME/NUMBER; "" where none could answer) and an HTTP status, or an upper
    bound in seconds; ``buckets`` are cumulative, as in Prometheus. The methods take all versions
    together where none is given.
    """

    statuses: Mapping[tuple[str, str], float]
    buckets: Mapping[tuple[str, float], float]
    worker_versions: frozenset[float] = frozenset()  # the number of the version in each worker

    def since(self, earlier: RequestMetrics) -> RequestMetrics:
        """Return what was counted after ``earlier``: everything if the server restarted."""
        statuses, buckets = dict(self.statuses), dict(self.buckets)
        for status, count in earlier.statuses.items():
            statuses[status] = statuses.get(status, 0) - count
            if statuses[status] < 0:  # the server restarted
                return self
        for bucket, count in earlier.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) - count
        return RequestMetrics(statuses, buckets, self.worker_versions)

    def requests(self, version: str | None = None, lowest_status: int = 100) -> int:
        """Return how many requests got this status or a higher one."""
        found = 0.0
        for (name, status), count in self.statuses.items():
            is_counted = status not in CLIENT_GONE and int(status) >= lowest_status
            if is_counted and version in (None, name):
                found += count
        return int(found)

    def failed(self, version: str | None = None) -> int:
        """Return how many requests failed in the server (5xx) or were refused (4xx)."""
        return self.requests(version, lowest_status=400)

    def failure_rate(self, version: str | None = None) -> float:
        """Return the share of requests that failed or were refused; 0 without requests."""
        return self.failed(version) / max(1, self.requests(version))

    def quantile(self, share: float, version: str | None = None) -> float | None:
        """Return a quantile of the seconds to an answer, or None without requests.

        Linear within a bucket, as Prometheus' ``histogram_quantile``. The last bucket is open: its
        lower bound is returned.
        """
        counts: dict[float, float] = {}
        for (name, bound), count in self.buckets.items():
            if version in (None, name):
                counts[bound] = counts.get(bound, 0) + count
        bounds = sorted(counts)
        cumulative = [counts[bound] for bound in bounds]
        if not cumulative or not cumulative[-1]:
            return None
        rank = share * cumulative[-1]
        bucket = int(np.searchsorted(cumulative, rank))
        lower, below = (bounds[bucket - 1], cumulative[bucket - 1]) if bucket else (0.0, 0.0)
        if bucket == len(bounds) - 1:
            return lower
        return float(np.interp(rank, [below, cumulative[bucket]], [lower, bounds[bucket]]))

    def describe(self, version: str) -> str:
        """Return the figures of a version as text."""
        text = f"{self.requests(version)} requests, {self.failed(version)} failed or refused"
        seconds = self.quantile(0.95, version)
        return text if seconds is None else f"{text}, 95 % within {1000 * seconds:.1f} ms"


def parse_metrics(page: str) -> RequestMetrics:
    """Return the metrics in a page of /metrics; raises as the parser does, or `KeyError`."""
    statuses: dict[tuple[str, str], float] = {}
    buckets: dict[tuple[str, float], float] = {}
    worker_versions: set[float] = set()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "serving_requests_total":
                statuses[labels["version"], labels["status"]] = sample.value
            elif sample.name == "serving_request_seconds_bucket":
                buckets[labels["version"], float(labels["le"])] = sample.value
            elif sample.name == "serving_model_version":
                worker_versions.add(sample.value)
    return RequestMetrics(statuses, buckets, frozenset(worker_versions))
