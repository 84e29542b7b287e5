"""How long `<package> --help` takes beside a bare start of Python (goal: half a second more)."""

import argparse
import sys

import common

BARE = "python -c pass"


def main() -> None:
    """Measure whole processes that take turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    with common.workspace() as work:
        project = common.render(work)
        commands = {
            BARE: ["-c", "pass"],
            "import typer, rich": ["-c", "import typer, rich.console"],
            "--help": ["-m", common.PACKAGE, "--help"],
            "settings show": ["-m", common.PACKAGE, "settings", "show"],
            "import mlflow, pandas": ["-c", "import mlflow, pandas"],
            "import great_expectations": ["-c", "import great_expectations"],
        }

        def case(words: list[str]) -> float:
            return common.seconds([sys.executable, *words], project, PYTHONPATH="src")

        for words in commands.values():  # compiles what was not yet
            case(words)
        cases = {name: lambda words=words: case(words) for name, words in commands.items()}
        common.compare("Start-up", cases, BARE, options.repeats)


if __name__ == "__main__":
    main()
