"""Time digests of a table: `python hash_data.py ROWS REPEATS [CASE]`, prints JSON.

With a case it prints the memory that this one takes beyond the table's, and times nothing.
"""

import hashlib
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import xxhash
from mlflow_practices.data import hashing

rows, repeats, *chosen = sys.argv[1:]
FORMAT_1 = "0" * 32  # a digest that only names its format
TENTH = 10  # the guide's digest would take a minute and gigabytes


def make(rows: int) -> pd.DataFrame:
    """Return 10 columns of floats, some with gaps, 4 of integers, 4 of text, a flag and a date."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"float_{i}": random.normal(size=rows) for i in range(10)}
    for i in range(3):
        columns[f"float_{i}"][random.random(rows) < 0.05] = np.nan
    columns |= {f"int_{i}": random.integers(0, 1000, rows) for i in range(4)}
    words = ["red", "green", "blue", "a longer text"]
    columns |= {f"text_{i}": random.choice(words, rows) for i in range(4)}
    dates = random.integers(0, 10**15, rows).astype("datetime64[us]")
    return pd.DataFrame({**columns, "flag": random.random(rows) > 0.5, "date": dates})


def plain() -> None:
    """Hash what the table holds in one go: the buffers as they are, without their meaning."""
    state = xxhash.xxh3_128()
    for name in table:
        column = table[name]
        if isinstance(column.dtype, np.dtype):
            state.update(column.to_numpy().view(f"u{column.dtype.itemsize}"))
        else:
            for buffer in pa.array(column).buffers():
                if buffer is not None:
                    state.update(buffer)


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def extra_memory(work: Callable[[], object]) -> float:
    """Return by how many bytes the process grew at its worst, as Linux counts."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


warnings.simplefilter("ignore")
table = make(int(rows))
part = table.head(len(table) // TENTH)
CASES: dict[str, tuple[Callable[[], object], int]] = {  # and how much of the work is left out
    "plain XXH3 of the same bytes": (plain, 1),
    "content_hash, XXH3": (lambda: hashing.content_hash(table), 1),
    "block by block, as on a cluster": (
        lambda: hashing.combine(map(hashing.block_hash, hashing.blocks(table)), len(table)),
        1,
    ),
    "format 1, which is verified only": (lambda: hashing.matches(table, FORMAT_1), 1),
    "content_hash, SHA-256": (lambda: hashing.content_hash(table, "sha256"), 1),
    "SHA-256 of pandas' hash_pandas_object": (
        lambda: hashlib.sha256(pd.util.hash_pandas_object(table).to_numpy()).hexdigest(),
        1,
    ),
    "joblib.hash": (lambda: joblib.hash(table), 1),
    "mlflow.data.from_pandas(...).digest": (
        lambda: mlflow.data.from_pandas(table).digest,  # type: ignore[attr-defined]
        1,
    ),
    "guide: md5(data.to_string())": (
        lambda: hashlib.md5(part.to_string().encode()).hexdigest(),
        TENTH,
    ),
}
if chosen:
    work, left_out = CASES[chosen[0]]
    print(json.dumps(extra_memory(work) * left_out))
    sys.exit()

rounds: list[dict[str, float]] = []
for _ in range(int(repeats)):
    rounds.append(
        {
            name: seconds(work) * left_out
            for name, (work, left_out) in CASES.items()
            if not rounds or rounds[0][name] < 1  # the slow ones once
        }
    )
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "table.parquet"
    table.to_parquet(path)
    FILE: dict[str, Callable[[], object]] = {
        "read the Parquet file": lambda: pd.read_parquet(path),
        "read it, content_hash": lambda: hashing.content_hash(pd.read_parquet(path)),
        "file_hash, without reading the table": lambda: hashing.file_hash(path),
    }
    file = [{name: seconds(work) for name, work in FILE.items()} for _ in range(int(repeats) + 1)]
print(json.dumps({"table": rounds, "file": file[1:]}))
