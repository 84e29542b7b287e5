"""A row is answered as quickly as evaluation.gates.latency_ms demands, on one connection."""

from __future__ import annotations

import random
import time
from statistics import median

import pytest

from .server_under_test import ServerUnderTest, as_json, require

REQUESTS, SECONDS = 300, 2  # whichever is first
TAIL = 5  # by which the slowest in a hundred may be slower than the median


@pytest.mark.smoke
def test_a_row_is_answered_in_time(service: ServerUnderTest) -> None:
    budget = service.settings.evaluation.gates.latency_ms
    if budget is None:
        pytest.skip("evaluation.gates.latency_ms is not set")
    numbers = [column.name for column in service.input_schema.columns if column.kind == "number"]
    row = service.example[0]
    taken: list[float] = []
    deadline = time.perf_counter() + SECONDS
    while len(taken) < REQUESTS and time.perf_counter() < deadline:
        # Other numbers each time, so that it is not the cache that answers.
        other = {name: (row[name] or 0) + random.random() for name in numbers}
        body = as_json({"dataframe_records": [{**row, **other}]})
        start = time.perf_counter()
        service.predictions(body)
        taken.append(1000 * (time.perf_counter() - start))
    middle, slow = median(taken), sorted(taken)[int(0.99 * len(taken))]
    found = f"of {len(taken)} requests of one row: median {middle:.2f} ms, p99 {slow:.2f} ms"
    require(
        middle <= budget and slow <= TAIL * budget,
        f"{found}; evaluation.gates.latency_ms allows {budget:g} and {TAIL} times that",
    )
