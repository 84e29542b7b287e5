"""Watching a version at work: does it fail, refuse or dawdle more than it may."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from ..errors import PracticeError
from .server_client import RequestMetrics, ServerClient, ServerError
from .settings import CanarySettings, WatchSettings

LOOK_SECONDS = 1.0  # between two looks; at each a request of our own is sent
FEW = 20  # requests, of which one failure is not yet a rate
ROUNDING_SECONDS = 0.001  # below it a ratio is one of the histogram's buckets
GONE = 3  # looks without an answer, after which the server counts as down


class LimitError(PracticeError):
    """What was watched goes beyond a limit; the message names figure and limit."""


def watch(
    place: ServerClient,
    version: str,
    limits: WatchSettings,
    seconds: float,
    usual: float = 0.0,
    still: Callable[[], object] = lambda: None,
) -> RequestMetrics:
    """Watch a version for a while and return the figures of that time.

    A request of our own a second makes sure that there is something to see. Failing early is
    noticed early.

    Args:
        place: where the version answers.
        version: as NAME/NUMBER, among others that may answer there.
        limits: what is allowed.
        seconds: how long.
        usual: the share of requests that would be refused or fail anyhow.
        still: called at each look; raises where watching has become pointless.

    Raises:
        LimitError: a limit is passed, or the server is gone.
    """
    rows = place.example()[:1]
    start = found = place.figures()
    silent = 0
    deadline = time.monotonic() + seconds
    while True:
        still()
        try:
            with suppress(ServerError):  # its figures tell why
                place.ask(rows, f"check-{uuid.uuid4().hex}")
            found = place.figures().since(start)
            silent = 0
        except ServerError as error:
            silent += 1
            if silent == GONE:
                raise LimitError(str(error)) from None
        over = time.monotonic() >= deadline
        if over or found.requests(version) >= FEW:
            judge(found, version, limits, usual)
        if over:
            return found
        time.sleep(LOOK_SECONDS)


def compare(found: RequestMetrics, version: str, champion: str, wanted: CanarySettings) -> None:
    """Raise `LimitError` unless a canary was asked often enough and kept up with the champion."""
    asked = found.requests(version)
    if asked < wanted.min_requests:
        raise LimitError(
            f"{version}: {asked} requests in {wanted.seconds:g} s, fewer than "
            f"deployment.canary.min_requests ({wanted.min_requests}); give it more time or share"
        )
    own, other = (found.quantile(0.95, name) for name in (version, champion))
    if own and other and own > wanted.max_slowdown * max(other, ROUNDING_SECONDS):
        raise LimitError(
            f"{version}: {describe(found, version)}; the champion: {describe(found, champion)}; "
            f"deployment.canary.max_slowdown is {wanted.max_slowdown:g}"
        )


def describe(found: RequestMetrics, version: str) -> str:
    """Return the figures of a version in words."""
    late = found.quantile(0.95, version)
    slow = f", 95 % within {1000 * late:.1f} ms" if late is not None else ""
    wrong = found.failed(version) + found.refused(version)
    return f"{found.requests(version)} requests, {wrong} failed or refused{slow}"


def judge(found: RequestMetrics, version: str, limits: WatchSettings, usual: float) -> None:
    """Raise `LimitError` if a version fails, refuses or dawdles beyond the limits."""
    rate = found.error_rate(version) + found.refusal_rate(version) - usual
    if rate > limits.max_error_rate:
        raise LimitError(
            f"{version}: {describe(found, version)}, a rate {rate:.2%} above the usual; "
            f"deployment.watch.max_error_rate is {limits.max_error_rate:.2%}"
        )
    late = found.quantile(0.95, version)
    if late is not None and 1000 * late > limits.max_latency_ms:
        raise LimitError(
            f"{version}: {describe(found, version)}; "
            f"deployment.watch.max_latency_ms is {limits.max_latency_ms:g}"
        )
