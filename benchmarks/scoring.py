"""Batch scoring against a bare script that holds everything in memory, on the same Parquet files.

Seconds of whole processes that take turns, and the peak of the memory of each.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import common

CHILDREN = Path(__file__).parent / "children"
MODEL = f"models:/{common.PROJECT}@challenger"
BARE, OURS = "bare script: read_parquet, predict, to_parquet", "score"
DIFFERENT = """
import sys, pandas as pd
one, other = (pd.read_parquet(path, columns=["prediction"]).prediction for path in sys.argv[1:])
print((one != other).sum())
"""


def main() -> None:
    """Train a model in a rendered project, then let it and the script predict files of each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--estimator", default="sklearn.linear_model.LogisticRegression")
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        for rows in (5000, *options.rows):
            common.run_python(project, CHILDREN / "generate_parquet.py", rows, f"{rows}.parquet")
        common.expect_target_only(project)
        values = {"data.raw": "5000.parquet", "data.target": "target"}
        values["training.estimator"] = options.estimator
        words = [word for item in values.items() for word in ("--set", "=".join(item))]
        for stage in ("prepare", "train"):
            common.run_python(project, "-m", common.PACKAGE, stage, *words)

        score = [sys.executable, "-m", common.PACKAGE, "score"]
        ours, bare = project / "ours.parquet", project / "bare.parquet"
        for rows in options.rows:
            table = f"{rows}.parquet"
            commands = {
                BARE: [sys.executable, CHILDREN / "score_bare.py", MODEL, table, bare],
                OURS: [*score, table, ours, "--model", MODEL],
            }
            rounds = [
                {name: measure(command, project) for name, command in commands.items()}
                for _ in range(options.repeats)
            ]
            seconds = [{name: found[0] for name, found in each.items()} for each in rounds]
            common.compare_rounds(f"{rows:,} rows x 10 columns", seconds, BARE)
            peaks = {name: max(each[name][1] for each in rounds) for name in commands}
            print(*(f"peak of {name}: {peak:.0f} MB" for name, peak in peaks.items()), sep="\n")
            different = common.run_python(project, "-c", DIFFERENT, ours, bare).strip()
            print(f"predictions that differ: {different}")


def measure(command: Sequence[object], project: Path) -> tuple[float, float]:
    """Return the seconds that a process takes, and the megabytes that it held at its peak."""
    start = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=project,
        env={**os.environ, "PYTHONPATH": "src"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    taken = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"`{' '.join(map(str, command))}` ended with {process.returncode}")
    return taken, used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
