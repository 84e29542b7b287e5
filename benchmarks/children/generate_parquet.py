"""Write rows to predict: `python generate_parquet.py ROWS FILE`; 6 numbers, 2 texts, a date, a target."""

import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SIZE = 500_000  # rows of a row group
rows, path = int(sys.argv[1]), sys.argv[2]
random = np.random.default_rng(0)
writer = None
for start in range(0, rows, SIZE):
    size = min(SIZE, rows - start)
    table = pd.DataFrame({f"number_{i}": random.normal(size=size) for i in range(6)})
    table["colour"] = np.array(["red", "green", "blue", None])[random.integers(4, size=size)]
    table["shop"] = np.array([f"shop {i}" for i in range(30)])[random.integers(30, size=size)]
    table["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 900, size), "D")
    score = table["number_0"] + table["number_1"] * (table["colour"] == "red")
    table["target"] = np.where(score > 0, "yes", "no")
    part = pa.Table.from_pandas(table, preserve_index=False)
    writer = writer or pq.ParquetWriter(path, part.schema)
    writer.write_table(part)
if writer:
    writer.close()
