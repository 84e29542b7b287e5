"""Redaction: of free text, of records, of a table, and its share of a pipeline's time.

Each is compared with a plain single pass: one pattern replaced in the same text, or the guide's
snippet (which looks at the keys of the top level only). The goal: no reason to turn it off.
"""

import argparse
import json
from pathlib import Path
from statistics import median

import common

CHILDREN = Path(__file__).parent / "children"


def main() -> None:
    """Let processes of the rendered project measure, and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=100_000, help="of about 100 characters")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table, with 20 columns")
    parser.add_argument("--pipeline-rows", type=int, default=100_000, help="with 20 columns")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        sizes = [options.texts, options.rows, options.repeats]
        found = json.loads(common.run_python(project, CHILDREN / "redact_data.py", *sizes))
        print_rounds(f"{options.texts:,} texts", options.texts, found["texts"])
        print_rounds(f"{options.texts:,} records with a text", options.texts, found["records"])
        print_rounds(f"A table of {options.rows:,} rows x 20", options.rows, found["table"])
        shares = [pipeline(project, options.pipeline_rows) for _ in range(options.repeats)]
    seconds = median(spent for spent, _ in shares)
    share = median(spent / whole for spent, whole in shares)
    print(
        f"\nOf a pipeline on {options.pipeline_rows:,} rows x 20 columns: "
        f"{seconds:.2f} s, {share:.1%} of its time (the import included)"
    )


def print_rounds(title: str, rows: int, rounds: list[dict[str, float]]) -> None:
    """Print each case's speed, and how many times the first one's seconds it takes."""
    base, *_ = rounds[0]
    table = []
    for name in rounds[0]:
        seconds = median(each[name] for each in rounds)
        ratio = median(each[name] / each[base] for each in rounds)
        table.append([name, f"{seconds:.2f}", f"{rows / seconds:,.0f}", f"{ratio:.2f}"])
    title = f"{title}, {len(rounds)} rounds"
    common.print_table(title, ["", "seconds", "rows a second", "ratio"], table)


def pipeline(project: Path, rows: int) -> tuple[float, float]:
    """Return the seconds of redaction in one run of the pipeline, and those of the whole."""
    table, report = project / "table.csv", project / "share.json"
    if not table.exists():
        common.run_python(project, CHILDREN / "generate.py", rows, table)
        common.expect_target_only(project)
    values = ["--set", f"data.raw={table.name}", "--set", "data.target=target"]
    common.run_python(project, CHILDREN / "redaction_share.py", report, "run", *values)
    spent, whole = json.loads(report.read_text(encoding="utf-8"))
    return spent, whole


if __name__ == "__main__":
    main()
