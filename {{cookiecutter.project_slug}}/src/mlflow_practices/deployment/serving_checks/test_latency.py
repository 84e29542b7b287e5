"""A row is answered as quickly as evaluation.gates.latency_ms demands, on one connection."""

from __future__ import annotations

import random
import time
from statistics import median

import pytest

from ..server_client import as_json
from .server_under_test import ServerUnderTest, require

MAX_REQUESTS, MAX_SECONDS = 300, 2  # whichever is first
TAIL_FACTOR = 5  # by which the slowest request in a hundred may be slower than the limit


@pytest.mark.smoke
def test_a_row_is_answered_in_time(server: ServerUnderTest) -> None:
    limit = server.settings.evaluation.gates.latency_ms
    if limit is None:
        pytest.skip("evaluation.gates.latency_ms is not set")
    numbers = [column.name for column in server.input_schema.columns if column.kind == "number"]
    row = server.rows[0]
    times: list[float] = []
    deadline = time.perf_counter() + MAX_SECONDS
    while len(times) < MAX_REQUESTS and time.perf_counter() < deadline:
        # Other numbers each time, so that the cache does not answer.
        changed = {name: (row[name] or 0) + random.random() for name in numbers}
        body = as_json({"dataframe_records": [{**row, **changed}]})
        answer = server.request("/invocations", body)
        times.append(1000 * answer.elapsed.total_seconds())  # without the client's own work
    middle, slow = median(times), sorted(times)[int(0.99 * len(times))]
    require(
        middle <= limit and slow <= TAIL_FACTOR * limit,
        f"of {len(times)} requests of one row: median {middle:.2f} ms, p99 {slow:.2f} ms; "
        f"evaluation.gates.latency_ms allows {limit:g} and {TAIL_FACTOR} times that",
    )
