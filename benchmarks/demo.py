"""How long `make demo` takes from nothing, by part: a fresh clone, nothing installed in it.

The last run has uv's cache warm for certain; the first one finds it as it is.
"""

import argparse
import re
import shutil
from pathlib import Path

import common

# What the Makefile prints of each part.
PART = re.compile(r"^ *(\d+) s  (.+)$", re.MULTILINE)


def demo(clone: Path) -> dict[str, int]:
    """Clone what is committed, run the demo there, and return the seconds that it reports."""
    shutil.rmtree(clone, ignore_errors=True)
    common.run(["git", "clone", "--quiet", common.ROOT, clone], clone.parent)
    output = common.run(["make", "demo"], clone)
    parts = {name: int(seconds) for seconds, name in PART.findall(output)}
    if not parts:
        raise SystemExit(f"`make demo` no longer prints the seconds of its parts:\n{output}")
    return parts


def main() -> None:
    """Run the demo and print a column a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    with common.workspace() as work:
        runs = [demo(work / "clone") for _ in range(options.repeats)]
        commit = common.run(["git", "log", "-1", "--format=%h"], work / "clone").strip()
    headings = ["part", *(f"run {i + 1} (s)" for i in range(len(runs)))]
    rows = [[part, *(str(run[part]) for run in runs)] for part in runs[0]]
    common.print_table(f"`make demo` in a fresh clone of {commit}", headings, rows)


if __name__ == "__main__":
    main()
