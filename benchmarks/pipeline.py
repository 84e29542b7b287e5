"""The whole pipeline of the rendered project against a bare script that fits the same model.

The goal: at most 1.3 times the bare script's wall time once MLflow's store exists. A second table
says where the pipeline's seconds go.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import common

CHILDREN = Path(__file__).parent / "children"
BARE = "bare script: read, fit, joblib"


def main() -> None:
    """Measure both as whole processes that take turns, then look into the pipeline once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="of the table, with 20 columns")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)

        def bare(table: str, jobs: int = 0) -> float:
            files = [project / table, work / "model.joblib"]
            return common.seconds([sys.executable, CHILDREN / "bare.py", *files, str(jobs)], work)

        def pipeline(table: str, *program: object) -> float:
            values = ["--set", f"data.raw={table}", "--set", "data.target=target"]
            command = [sys.executable, *(program or ["-m", common.PACKAGE]), "run", *values]
            return common.seconds(command, project, PYTHONPATH="src")

        for name, rows in {"small.csv": 1000, "table.csv": options.rows}.items():
            common.run_python(project, CHILDREN / "generate.py", rows, name)
        common.expect_target_only(project)
        # Makes the store, and fills the caches of files and bytecode.
        pipeline("small.csv")
        bare("small.csv")
        cases = {
            BARE: lambda: bare("table.csv"),
            "pipeline": lambda: pipeline("table.csv"),
            # The pipeline lets scikit-learn use every core; this says what that is worth.
            "bare script, told to use every core": lambda: bare("table.csv", -1),
        }
        title = f"The pipeline on {options.rows:,} rows x 20 columns (goal: 1.30)"
        common.compare(title, cases, BARE, options.repeats)

        report, began = work / "parts.json", time.time()
        pipeline("table.csv", CHILDREN / "profile_pipeline.py", report)
        print_parts(json.loads(report.read_text(encoding="utf-8")), began, time.time())


def print_parts(found: dict[str, Any], began: float, ended: float) -> None:
    """Print the seconds of each part of one run, and each one's share."""
    parts = {
        "start of Python": found["started"] - began,
        **found["parts"],
        "exit": ended - found["ended"],
    }
    rows = [
        [name, f"{seconds:.2f}", f"{seconds / (ended - began):.1%}"]
        for name, seconds in parts.items()
    ]
    rows.append(["in all", f"{ended - began:.2f}", ""])
    common.print_table("Where the pipeline's seconds go, one run", ["", "seconds", "share"], rows)


if __name__ == "__main__":
    main()
