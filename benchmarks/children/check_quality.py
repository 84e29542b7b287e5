"""Time ten checks of a table: `python check_quality.py ROWS REPEATS`, prints JSON.

By the rendered project, without and with what it logs to MLflow, and by plain pandas; and what
the imports cost that only these commands pay.
"""

import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow_practices.data import quality
from mlflow_practices.data.suites import read_suite
from mlflow_practices.tracking import store

rows, repeats = map(int, sys.argv[1:])

SUITE = """
- expect_table_row_count_to_be_between: {min_value: 1000}
- expect_table_columns_to_match_set: {column_set: COLUMNS}
- expect_column_values_to_not_be_null: {column: number_0}
- expect_column_values_to_be_between: {column: number_0, min_value: -9, max_value: 9}
- expect_column_values_to_be_between: {column: number_1, min_value: -1, max_value: 1, mostly: 0.5}
- expect_column_mean_to_be_between: {column: number_2, min_value: -1, max_value: 1}
- expect_column_values_to_be_in_set: {column: category_0, value_set: [a, b, c, d, e, f]}
- expect_column_values_to_be_in_set: {column: category_1, value_set: [a, b, c, d, e], mostly: 0.5}
- expect_column_values_to_be_unique: {column: id}
- expect_column_values_to_be_between: {column: day, min_value: 2024-01-01, max_value: 2027-01-01}
"""
random = np.random.default_rng(0)
letters = np.array(["a", "b", "c", "d", "e", "f"])
table = pd.DataFrame(random.normal(size=(rows, 12)), columns=[f"number_{i}" for i in range(12)])
for i in range(6):
    table[f"category_{i}"] = letters[random.integers(0, 6, rows)]
table["id"] = np.arange(rows)
table["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 900, rows), "D")
columns = list(table.columns)


def by_pandas() -> bool:
    checks = [
        len(table) >= 1000,
        set(table.columns) == set(columns),
        table["number_0"].notna().all(),
        table["number_0"].dropna().between(-9, 9).all(),
        table["number_1"].dropna().between(-1, 1).mean() >= 0.5,
        -1 <= table["number_2"].mean() <= 1,
        table["category_0"].dropna().isin(list("abcdef")).all(),
        table["category_1"].dropna().isin(list("abcde")).mean() >= 0.5,
        table["id"].dropna().is_unique,
        table["day"].dropna().between("2024-01-01", "2027-01-01").all(),
    ]
    return all(checks)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    suite = Path("suite.yaml")
    suite.write_text(SUITE.replace("COLUMNS", json.dumps(columns)), encoding="utf-8")
    store.open_store("sqlite:///mlflow.db")
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    imported = seconds(lambda: importlib.import_module("great_expectations"))

    def by_suite() -> bool:
        with quality._quietly():
            return all(each.met for each in quality._check(table, read_suite(suite), ()))

    cases: dict[str, Callable[[], bool]] = {
        "plain pandas": by_pandas,
        "the suite, checked": by_suite,
        "the suite, checked and logged": lambda: (
            quality.validate_data_quality(table, suite, "raw").score == 1
        ),
    }
    with mlflow.start_run():
        if not all(case() for case in cases.values()):
            raise SystemExit("the table meets every check, and one says that it does not")
        rounds = [{name: seconds(case) for name, case in cases.items()} for _ in range(repeats)]
print(json.dumps({"import": imported, "rounds": rounds}))
