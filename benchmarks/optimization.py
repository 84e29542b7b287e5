"""The optimised copy of a model beside the original: milliseconds of a prediction.

The same rows in one process, taking turns: the pipeline on a data frame that is there already, its
estimator on arrays, and ONNX. Preparing the columns is part of each.
"""

import argparse
import json
from pathlib import Path

import common

CHILD = Path(__file__).parent / "children" / "measure_optimization.py"
COPIES = ("original", "arrays", "ONNX")


def main() -> None:
    """Let one process of the rendered project measure everything, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        found = json.loads(common.run_python(project, CHILD, options.repeats))
    rows = [
        [case["estimator"], rows, *cells(times)]
        for case in found
        for rows, times in case["milliseconds"].items()
    ]
    headings = ["", "rows", *COPIES, "original / best"]
    common.print_table(f"milliseconds, {options.repeats} rounds", headings, rows)
    for case in found:
        print(f"{case['estimator']}: {case['seconds']:.1f} s to optimise; {case['reason']}")


def cells(times: dict[str, float]) -> list[str]:
    """Return the times, and how many times as fast as the original the best copy is."""
    shown = [f"{times[name]:.3f}" if name in times else "none" for name in COPIES]
    return [*shown, f"{times[COPIES[0]] / min(times.values()):.1f}"]


if __name__ == "__main__":
    main()
