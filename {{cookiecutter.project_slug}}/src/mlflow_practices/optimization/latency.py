"""How quickly a candidate answers batches of different sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from pydantic import BaseModel

SIZES = (1, 10, 100, 1000, 10_000)  # rows of the batches that are timed
REPEATS, SECONDS = 20, 0.03  # at most, for each size


class Measurements(BaseModel, frozen=True):
    """What was measured of a candidate; ``latency_ms`` by the rows of a batch."""

    size_mb: float
    load_seconds: float
    latency_ms: dict[int, float]


def measure(predict: Callable[[Any], object], batches: Mapping[int, Any]) -> dict[int, float]:
    """Return the median milliseconds of predicting each batch; ``batches`` are by their rows."""
    predict(batches[1])  # the first call is slower
    found = {}
    for rows, batch in batches.items():
        seconds: list[float] = []
        while not seconds or (len(seconds) < REPEATS and sum(seconds) < SECONDS):
            start = time.perf_counter()
            predict(batch)
            seconds.append(time.perf_counter() - start)
        found[rows] = 1000 * median(seconds)
    return found


def largest_faster_batch(first: Mapping[int, float], second: Mapping[int, float]) -> int | None:
    """Return up to how many rows the first takes less time; None if always, 0 if never.

    Args:
        first: milliseconds by the rows of a batch.
        second: the same; between two sizes the ratio is taken for a power of the rows.
    """
    advantage = {rows: np.log(second[rows] / first[rows]) for rows in SIZES}
    if advantage[1] <= 0:
        return 0
    for rows, more in pairwise(SIZES):
        if advantage[more] < 0:
            share = advantage[rows] / (advantage[rows] - advantage[more])
            return int(rows * (more / rows) ** share)
    return None
