"""What the hooks add to a rendering, and what it costs to create the six experiments.

The goal: with the hooks at most 1.5 times plain rendering, as long as no experiments are created.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import common
from cookiecutter.main import cookiecutter

PLAIN = "no hooks"
# What is rendered with: the hooks on or off, and the answers that make them work more or less.
CASES: dict[str, tuple[bool, dict[str, str]]] = {
    PLAIN: (False, {}),
    "hooks, no git": (True, {"create_experiments": "no", "init_git": "no"}),
    "hooks, git with a first commit": (True, {"create_experiments": "no", "init_git": "yes"}),
}


def command_line(work: Path, name: str) -> Callable[[], float]:
    """Return a function that renders through the command line, as a user does."""
    hooks, answers = CASES[name]
    command = [sys.executable, "-m", "cookiecutter", common.ROOT, "--no-input"]
    command += ["--accept-hooks", "yes" if hooks else "no", "--output-dir", work / "rendered"]
    command += [f"{key}={value}" for key, value in answers.items()]

    def case() -> float:
        shutil.rmtree(work / "rendered", ignore_errors=True)
        return common.seconds(command, work)

    return case


def in_process(work: Path, name: str) -> Callable[[], float]:
    """Return a function that renders in this process, its start and imports left out."""
    hooks, answers = CASES[name]

    def case() -> float:
        shutil.rmtree(work / "rendered", ignore_errors=True)
        with silence():
            start = time.perf_counter()
            cookiecutter(
                str(common.ROOT),
                no_input=True,
                accept_hooks=hooks,
                extra_context=answers,
                output_dir=str(work / "rendered"),
            )
            return time.perf_counter() - start

    return case


@contextmanager
def silence() -> Iterator[None]:
    """Send what this process and its children print to nowhere."""
    sys.stdout.flush()
    console = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(console, 1)
            os.close(console)


def renderings(work: Path, repeats: int) -> None:
    """Print the seconds of each rendering beside the one without hooks."""
    ways = {
        "Rendering on the command line, no experiments (goal: 1.50)": command_line,
        "The same in one process, its start and imports left out": in_process,
    }
    for title, way in ways.items():
        cases = {name: way(work, name) for name in CASES}
        for case in cases.values():
            case()  # the first one fills the caches
        common.compare(title, cases, PLAIN, repeats)


def experiments(work: Path, repeats: int) -> None:
    """Print the seconds of the six experiments in a new store, by our code and by MLflow's."""
    project = common.render(work)
    database = work / "new.db"
    variables = {"PYTHONPATH": "src", "MLFLOW_TRACKING_URI": f"sqlite:///{database.as_posix()}"}
    ours = [sys.executable, "-m", common.PACKAGE, "experiments"]
    names = [line.split()[-1] for line in common.run(ours, project, **variables).splitlines()]
    one = [sys.executable, "-m", "mlflow", "experiments", "create", "--experiment-name"]

    def new_store(commands: list[list[object]]) -> Callable[[], float]:
        def case() -> float:
            database.unlink(missing_ok=True)
            return sum(common.seconds(command, project, **variables) for command in commands)

        return case

    peer = f"`mlflow experiments create`, {len(names)} times"
    cases = {
        "the project's own code, one process": new_store([[*ours]]),
        peer: new_store([[*one, name] for name in names]),
    }
    common.compare(f"{len(names)} experiments in a new SQLite store", cases, peer, repeats)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="of each rendering")
    parser.add_argument("--store-repeats", type=int, default=3, help="of each new store")
    options = parser.parse_args()
    with common.workspace() as work:
        renderings(work, options.repeats)
        experiments(work, options.store_repeats)


if __name__ == "__main__":
    main()
