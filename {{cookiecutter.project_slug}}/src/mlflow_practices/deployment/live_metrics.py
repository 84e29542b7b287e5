"""The limits for a version that answers real requests: failures, refusals and latency."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import PracticeError
from .request_metrics import RequestMetrics
from .server_client import ServerClient, ServerError
from .settings import CanarySettings, WatchSettings

INTERVAL_SECONDS = 1.0  # between two checks; each sends a request of its own
MIN_REQUESTS = 20  # fewer are judged only at the end: one failure of them is not a rate
FASTEST_SECONDS = 0.001  # below it a ratio of latencies is one of the histogram's buckets
MAX_UNANSWERED = 3  # checks in a row; then the server counts as down


class LimitError(PracticeError):
    """A version exceeds a limit; the message names the figure and the limit."""


def watch(
    client: ServerClient,
    version: str,
    limits: WatchSettings,
    seconds: float,
    baseline_rate: float = 0.0,
    check: Callable[[], None] = lambda: None,
) -> RequestMetrics:
    """Watch a version for some seconds and return the metrics of that time.

    A request of our own a second makes sure that there is something to see. A limit that is
    exceeded ends the watch at once.

    Args:
        client: of the server where the version answers.
        version: as NAME/NUMBER; others may answer there, too.
        limits: what is allowed.
        seconds: how long.
        baseline_rate: the share of requests that failed or were refused before.
        check: called each time; raises where it is pointless to continue.

    Raises:
        LimitError: a limit is exceeded, or the server does not answer any more.
    """
    rows = client.example()[:1]
    start = found = client.metrics()
    unanswered = 0
    deadline = time.monotonic() + seconds
    while True:
        check()
        try:
            with suppress(ServerError):  # the metrics show why
                client.predict(rows)
            found = client.metrics().since(start)
            unanswered = 0
        except ServerError as error:
            unanswered += 1
            if unanswered == MAX_UNANSWERED:
                raise LimitError(str(error)) from None
        over = time.monotonic() >= deadline
        if over or found.requests(version) >= MIN_REQUESTS:
            require_within_limits(found, version, limits, baseline_rate)
        if over:
            return found
        time.sleep(INTERVAL_SECONDS)


def require_within_limits(
    found: RequestMetrics, version: str, limits: WatchSettings, baseline_rate: float = 0.0
) -> None:
    """Raise `LimitError` if a version fails, refuses or is slow beyond the limits."""
    figures = f"{version}: {found.describe(version)}"
    rate = found.failure_rate(version) - baseline_rate
    if rate > limits.max_error_rate:
        raise LimitError(
            f"{figures}, a rate {rate:.2%} higher than before; "
            f"deployment.watch.max_error_rate is {limits.max_error_rate:.2%}"
        )
    seconds = found.quantile(0.95, version)
    if seconds is not None and 1000 * seconds > limits.max_latency_ms:
        raise LimitError(f"{figures}; deployment.watch.max_latency_ms is {limits.max_latency_ms:g}")


def require_good_canary(
    found: RequestMetrics, version: str, champion: str, limits: CanarySettings
) -> None:
    """Raise `LimitError` unless a canary got enough requests and is about as fast as the champion."""
    requests = found.requests(version)
    if requests < limits.min_requests:
        raise LimitError(
            f"{version}: {requests} requests in {limits.seconds:g} s, fewer than "
            f"deployment.canary.min_requests ({limits.min_requests}); give it more time or share"
        )
    seconds, champion_seconds = found.quantile(0.95, version), found.quantile(0.95, champion)
    allowed = limits.max_slowdown * max(champion_seconds or 0, FASTEST_SECONDS)
    if seconds and champion_seconds and seconds > allowed:
        raise LimitError(
            f"{version}: {found.describe(version)}; the champion: {found.describe(champion)}; "
            f"deployment.canary.max_slowdown is {limits.max_slowdown:g}"
        )
