"""Data quality: a suite of ten expectations beside the same ten checks in plain pandas.

All check one table in one process, taking turns. The import of Great Expectations is measured by
itself: it is paid once by a command that checks data, and by no other.
"""

import argparse
import json
from pathlib import Path

import common

CHILD = Path(__file__).parent / "children" / "check_quality.py"
BASE = "plain pandas"


def main() -> None:
    """Let one process of the rendered project measure everything, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table, with 20 columns")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        found = json.loads(common.run_python(project, CHILD, options.rows, options.repeats))
    title = f"Ten expectations on {options.rows:,} rows x 20 columns"
    common.compare_rounds(title, found["rounds"], BASE)
    print(f"\nOnce a process, to import Great Expectations: {found['import']:.2f} s")


if __name__ == "__main__":
    main()
