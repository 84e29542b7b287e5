"""Evaluation with every gate on, beside scikit-learn's metrics alone as a script calls them.

The same predictions for the same rows, in one process, taking turns. Every gate: limits of each
metric, the baseline, the champion by 1,000 paired resamples, slices of three columns, latency.
"""

import argparse
import json
from pathlib import Path

import common

CHILD = Path(__file__).parent / "children" / "measure_gates.py"
BASE = "bare metrics"


def main() -> None:
    """Let one process of the rendered project measure everything, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="that are predicted")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        found = json.loads(common.run_python(project, CHILD, options.rows, options.repeats))
    for problem, rounds in found.items():
        common.compare_rounds(f"{problem} of {options.rows:,} rows", rounds, BASE)


if __name__ == "__main__":
    main()
