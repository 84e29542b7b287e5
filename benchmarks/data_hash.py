"""A digest of a table's content: beside plain XXH3 of the same bytes, and what others do.

The goals: at most twice the plain XXH3, and no copy of the table. Format 1 is how tables were
hashed before blocks. The guide's digest is taken of a tenth of the rows, its time and memory times
ten. All take turns in one process; the memory is what a process of its own needs beyond the
table's.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

import common

CHILD = Path(__file__).parent / "children" / "hash_data.py"


def main() -> None:
    """Let processes of the rendered project measure, and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table, with 20 columns")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        command = [CHILD, options.rows, options.repeats]
        found = json.loads(common.run_python(project, *command))
        memory = dict.fromkeys(found["table"][0], "")
        if sys.platform == "linux":
            for name in memory:
                grown = json.loads(common.run_python(project, *command, name))
                memory[name] = f"{grown / 1e6:,.0f}"
    title = f"A digest of {options.rows:,} rows x 20 columns (goal: 2.00), {options.repeats} rounds"
    rows = [[*row, memory[row[0]]] for row in measured(found["table"])]
    common.print_table(title, ["", "ms", "ratio", "more memory, MB"], rows)
    title = "To verify the same table as a Parquet file"
    common.print_table(title, ["", "ms", "ratio"], measured(found["file"]))


def measured(rounds: list[dict[str, float]]) -> list[list[str]]:
    """Return each case, its milliseconds and how many times the first one's, as medians."""
    base, table = next(iter(rounds[0])), []
    for name in rounds[0]:
        pairs = [(each[name], each[base]) for each in rounds if name in each]
        ratio = median(seconds / least for seconds, least in pairs)
        milliseconds = 1000 * median(seconds for seconds, _ in pairs)
        table.append([name, f"{milliseconds:,.1f}", f"{ratio:,.2f}"])
    return table


if __name__ == "__main__":
    main()
