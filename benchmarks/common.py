"""A rendered project, fair timing and a table: what every benchmark needs.

The pictures of the documentation are taken of such a project as well. Its programs run in the
template's own environment, which holds all that a rendered project pins.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "my-ml-project"  # what the default answers of cookiecutter.json name
PACKAGE = "my_ml_project"
DONT_COMPILE = "PYTHONDONTWRITEBYTECODE"
FOREIGN = ("MLFLOW_", "GIT_", "COOKIECUTTER_", "MAKE", "MFLAGS", "PYTHONPATH", DONT_COMPILE)
IDENTITY = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]


@contextmanager
def workspace() -> Iterator[Path]:
    """Yield a temporary folder that is gone afterwards; meanwhile the environment is the same
    on every machine that measures.

    Nothing of the user's own MLflow, git or Cookiecutter settings, nor of the make that runs
    this; an identity for git; and modules stay compiled, or every start takes twice as long.
    """
    former = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="cookiecutter-mlflow-") as folder:
        work = Path(folder).resolve()
        places = {"replay_dir": f"{work}/replay", "cookiecutters_dir": f"{work}/cookiecutters"}
        (work / "cookiecutter.yaml").write_text(json.dumps(places), encoding="utf-8")
        fixed = {
            **dict.fromkeys(IDENTITY, "benchmark"),
            # Cookiecutter leaves the hooks that it rendered there.
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(work)),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "COOKIECUTTER_CONFIG": str(work / "cookiecutter.yaml"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        try:
            kept = {key: value for key, value in former.items() if not key.startswith(FOREIGN)}
            os.environ.clear()
            os.environ.update(kept | fixed)
            tempfile.tempdir = None  # look at the variables again
            yield work
        finally:
            os.environ.clear()
            os.environ.update(former)
            tempfile.tempdir = None


def run(command: Sequence[object], cwd: Path, **variables: str) -> str:
    """Run a command and return its output; one that fails ends all with its last words."""
    words = [str(part) for part in command]
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise SystemExit(f"`{' '.join(words)}` in {cwd} ended with {done.returncode}:\n{tail}")
    return done.stdout


def seconds(command: Sequence[object], cwd: Path, **variables: str) -> float:
    """Return how long a whole process takes, as a user waits for it."""
    start = time.perf_counter()
    run(command, cwd, **variables)
    return time.perf_counter() - start


def render(work: Path) -> Path:
    """Render the template with its default answers and no hooks; return the project's folder."""
    command = [sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "--accept-hooks", "no"]
    run([*command, "--output-dir", work], work)
    return work / PROJECT


def expect_target_only(project: Path) -> None:
    """Put suites and gates that any table with a target meets in place of the sample data's."""
    (project / "configs/local.yaml").write_text("evaluation: {gates: {slices: {columns: []}}}\n")
    for suite in (project / "configs/expectations").iterdir():
        suite.write_text("- expect_column_values_to_not_be_null: {column: target}\n")


def run_python(project: Path, *arguments: object) -> str:
    """Run a program that can import the project's modules, and return its output."""
    return run([sys.executable, *arguments], project, PYTHONPATH="src")


def compare(title: str, cases: Mapping[str, Callable[[], float]], base: str, repeats: int) -> None:
    """Print the seconds of each case, and how many times the base's they are.

    The cases take turns and each is compared with its neighbour in time, so that whatever else
    the machine does slows both alike. Medians of all rounds.
    """
    compare_rounds(
        title, [{name: case() for name, case in cases.items()} for _ in range(repeats)], base
    )


def compare_rounds(title: str, rounds: Sequence[Mapping[str, float]], base: str) -> None:
    """Print the same of seconds that another process has measured, a mapping for each round."""
    rows = [
        [
            name,
            f"{median(seconds[name] for seconds in rounds):.2f}",
            f"{median(seconds[name] / seconds[base] for seconds in rounds):.2f}",
        ]
        for name in rounds[0]
    ]
    print_table(f"{title}, {len(rounds)} rounds", ["", "seconds", "ratio"], rows)


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table: the first column to the left, the others to the right."""
    first, *others = (max(map(len, column)) for column in zip(headings, *rows, strict=True))
    lines = [
        [
            row[0].ljust(first),
            *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True)),
        ]
        for row in (headings, *rows)
    ]
    lines.insert(1, ["-" * first, *("-" * (width - 1) + ":" for width in others)])
    print(f"\n{title}\n")
    print("\n".join(f"| {' | '.join(line)} |" for line in lines), flush=True)
