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

    def since(self, earlier: RequestMetrics) -> RequestMetrics:
        """Return what was counted after ``earlier``: everything if the server restarted."""
        restarted = any(self.statuses.get(key, 0) < n for key, n in earlier.statuses.items())
        if restarted:
            return self
        return RequestMetrics(
            {key: count - earlier.statuses.get(key, 0) for key, count in self.statuses.items()},
            {key: count - earlier.buckets.get(key, 0) for key, count in self.buckets.items()},
        )

    def requests(self, version: str | None = None) -> int:
        """Return how many requests were answered, refused or failed."""
        return self._count(version, "")

    def failed(self, version: str | None = None) -> int:
        """Return how many requests failed in the server (5xx) or were refused (4xx)."""
        return self._count(version, "5") + self._count(version, "4")

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
            counts[bound] = counts.get(bound, 0) + (count if version in (None, name) else 0)
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
        """Return the figures of a version in words."""
        text = f"{self.requests(version)} requests, {self.failed(version)} failed or refused"
        seconds = self.quantile(0.95, version)
        return text if seconds is None else f"{text}, 95 % within {1000 * seconds:.1f} ms"

    def _count(self, version: str | None, first_digit: str) -> int:
        found = 0.0
        for (name, status), count in self.statuses.items():
            counted = status not in CLIENT_GONE and status.startswith(first_digit)
            if counted and version in (None, name):
                found += count
        return int(found)


def parse_metrics(page: str) -> tuple[RequestMetrics, set[float]]:
    """Return the request metrics in a page of /metrics, and the version numbers of the workers.

    Raises:
        ValueError, KeyError, IndexError: it is not the page of a server of this project.
    """
    statuses: dict[tuple[str, str], float] = {}
    buckets: dict[tuple[str, float], float] = {}
    numbers: set[float] = set()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "serving_requests_total":
                statuses[labels["version"], labels["status"]] = sample.value
            elif sample.name == "serving_request_seconds_bucket":
                buckets[labels["version"], float(labels["le"])] = sample.value
            elif sample.name == "serving_model_version":
                numbers.add(sample.value)
    return RequestMetrics(statuses, buckets), numbers
