"""Send bodies that nobody should: `python hostile_bodies.py PORT COUNT FILE`, prints JSON.

A half are made by schemathesis from the server's OpenAPI document, a half by Hypothesis: of every
content type, from bytes without sense to requests with one value at fault. FILE holds right ones.
Whatever text is sent as a value has `MARK` in it. Counts the answers by status, and tells which are wrong.
"""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pandas as pd
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some
from schemathesis import GenerationMode

MARK = "zq7xk"
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
TYPES = [
    JSON,
    CSV,
    PARQUET,
    "application/json; charset=utf-16",
    "text/plain",
    "image/png",
    "",
    "\\",
]

port, count, file = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
right = json.loads(file.read_text(encoding="utf-8"))["batch"][0]["body"]
table = json.loads(right)["dataframe_split"]
names = table["columns"]
statuses, wrong = Counter[int](), list[str]()
connection = HTTPConnection("127.0.0.1", port, timeout=30)


def note(status: int, body: str, sent: object) -> None:
    """Count an answer; record one that is wrong."""
    statuses[status] += 1
    if status >= 500 or "Traceback" in body or MARK in body:
        wrong.append(f"{status} {body[:300]} to {sent!r:.300}")


def send(kind: str, body: bytes) -> None:
    """Send a body."""
    try:
        connection.request("POST", "/invocations", body, {"Content-Type": kind})
        answer = connection.getresponse()
        note(answer.status, answer.read().decode(), (kind, body))
    except (OSError, HTTPException) as error:
        connection.close()
        wrong.append(f"{type(error).__name__} to {(kind, body)!r:.300}")


def often(share: float) -> Callable[[Any], Any]:
    """Run a test with a share of all examples, and do not look for simpler ones."""
    return settings(
        max_examples=max(1, int(count * share)),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


texts, keys = some.text(max_size=20).map(MARK.__add__), some.text(max_size=20)
odd = some.sampled_from(
    ["", "NaN", "2024-02-30", "1e999", MARK + "\ud800", MARK + "\x00", MARK * 2000, 2**63, 10**400]
)
scalars = some.none() | some.booleans() | some.integers() | some.floats() | texts | odd
values = some.recursive(
    scalars,
    lambda inner: (
        some.lists(inner, max_size=4) | some.dictionaries(keys | some.sampled_from(names), inner)
    ),
    max_leaves=10,
)
columns = some.permutations(names) | some.lists(
    some.sampled_from(names) | keys | some.integers(), max_size=9
)


@some.composite
def nearly_right(draw: Any) -> dict[str, Any]:
    """Return a request in any form, most of whose values fit."""
    rows = [list(row) for row in table["data"][: draw(some.integers(0, 3))]]
    for _ in range(draw(some.integers(0, 2)) if rows else 0):
        row = draw(some.sampled_from(rows))
        row[draw(some.integers(0, len(names) - 1))] = draw(values)
    records = [dict(zip(names, row, strict=True)) for row in rows]
    for record in records[: draw(some.integers(0, 1))]:
        record.pop(draw(some.sampled_from(names)))
        record |= draw(some.dictionaries(keys, values, max_size=1))
    split = {"columns": draw(some.just(names) | columns), "data": rows}
    lists = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    form = draw(some.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]))
    content = draw(some.sampled_from([split, records, lists, rows]) | values)
    return {form: content, **draw(some.just({}) | some.dictionaries(keys, values, max_size=1))}


@some.composite
def broken(draw: Any, body: bytes) -> bytes:
    """Return a body with some bytes cut off, or replaced."""
    start, end = sorted(draw(some.tuples(*[some.integers(0, len(body))] * 2)))
    middle: bytes = draw(some.just(b"") | some.binary(max_size=4))
    return body[:start] + middle + body[end:]


def as_json(value: object) -> bytes:
    """Write JSON as Python does: with NaN, and halves of surrogate pairs escaped."""
    return json.dumps(value).encode()


def as_csv(rows: list[list[Any]]) -> bytes:
    """Write rows of any values, and any number of them."""
    lines = io.StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue().encode(errors="replace")


def as_parquet(series: list[list[Any]]) -> bytes:
    """Write columns, each of one type."""
    made: bytes = pd.DataFrame(dict(zip(names, series, strict=True))).to_parquet()
    return made


frame = pd.DataFrame(table["data"], columns=names)
valid = [right.encode(), frame.to_csv(index=False).encode(), frame.to_parquet()]
dates, bytes_ = some.datetimes(), some.binary(max_size=9)
tables = some.lists(some.lists(scalars, min_size=1, max_size=8), min_size=1, max_size=3)
columns_of_a_type = some.lists(
    some.sampled_from(
        [some.floats(), some.integers(-9, 9), some.booleans(), texts, dates, bytes_]
    ).flatmap(lambda kind: some.lists(kind | some.none(), min_size=2, max_size=2)),
    min_size=len(names),
    max_size=len(names),
)
kinds = some.sampled_from(TYPES)


@often(0.05)
@given(kinds, some.binary(max_size=200))
def without_sense(kind: str, body: bytes) -> None:
    """Send bytes."""
    send(kind, body)


@often(0.05)
@given(values)
def any_json(value: object) -> None:
    """Send JSON."""
    send(JSON, as_json(value))


@often(0.2)
@given(nearly_right())
def one_fault(request: dict[str, Any]) -> None:
    """Send a request that is nearly right."""
    send(JSON, as_json(request))


@often(0.1)
@given(some.sampled_from(list(zip([JSON, CSV, PARQUET], valid, strict=True))), some.data())
def cut(request: tuple[str, bytes], data: Any) -> None:
    """Send a request that was right before it was broken."""
    send(request[0], data.draw(broken(request[1])))


@often(0.05)
@given(tables)
def csv_tables(rows: list[list[Any]]) -> None:
    """Send CSV."""
    send(CSV, as_csv([names, *rows]))


@often(0.05)
@given(columns_of_a_type)
def parquet_tables(series: list[list[Any]]) -> None:
    """Send Parquet."""
    send(PARQUET, as_parquet(series))


def large() -> None:
    """Send what is too much of something."""
    send(JSON, b"[" * 100_000)
    send(JSON, b'{"inputs":' + b'{"a":' * 100_000)
    send(JSON, as_json({"dataframe_split": {"columns": [f"c{i}" for i in range(10_000)]}}))
    send(JSON, as_json({"dataframe_records": [{f"{MARK}{i}": i for i in range(10_000)}]}))
    send(JSON, as_json({"inputs": {name: [1] * 100_000 for name in names}}))
    send(JSON, b'{"inputs":' + b"9" * 1_000_000 + b"}")
    send(CSV, b"," * 1_000_000)
    send(CSV, b'"' + b"\n" * 1_000_000)
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    answer = connection.getresponse()
    note(answer.status, answer.read().decode(), "a gigabyte")


def from_document() -> None:
    """Send what schemathesis makes of the OpenAPI document, half of it against it."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    for mode in GenerationMode:
        strategy = schema["/invocations"]["POST"].as_strategy(generation_mode=mode)

        @often(0.25)
        @given(strategy)
        def from_schema(case: Any) -> None:
            answer = case.call()
            note(answer.status_code, answer.text, case.body)

        from_schema()


TESTS = (without_sense, any_json, one_fault, cut, csv_tables, parquet_tables, large, from_document)
for test in TESTS:
    test()
print(json.dumps({"statuses": statuses, "wrong": wrong, "mark": MARK}))
