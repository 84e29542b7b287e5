"""The command line. To add a command, add a function here; the other commands are in the practices.

Each command imports what it needs inside its function, so that ``--help`` is fast.
"""

from typing import Annotated

import typer
from mlflow_practices.cli import CommandLine
from mlflow_practices.console import print_text
from mlflow_practices.tracking.session import Session

command_line = CommandLine(__package__)


@command_line.command("run")
def run(session: Session) -> None:
    """Run the whole pipeline: prepare, train, evaluate."""
    from mlflow_practices.tracking import github

    from . import pipeline

    evaluated = pipeline.run(session)
    github.write_output("version", str(evaluated.version))
    evaluated.require_passed()


@command_line.command("prepare")
def prepare(session: Session) -> None:
    """Split the raw table into versioned tables for training, validation and test."""
    from . import data_preparation

    manifest = data_preparation.run(session).manifest
    rows = ", ".join(f"{name} {split.rows}" for name, split in manifest.splits.items())
    print_text(session, f"data version {manifest.version}: {rows} rows")


@command_line.command("train")
def train(session: Session) -> None:
    """Fit the configured estimator on the prepared data and register it."""
    from mlflow_practices.data import versioning

    from . import model_training

    manifest = versioning.load_manifest(session.settings.path(session.settings.data.processed))
    version = model_training.run(session, manifest).version
    print_text(session, f"registered {version.name} version {version.number} (challenger)")


@command_line.command("evaluate")
def evaluate(
    session: Session,
    version: Annotated[str, typer.Option(help="A number or an alias.")] = "challenger",
) -> None:
    """Compare a model version with the baseline and the champion on the test split."""
    from mlflow_practices.evaluation.report import print_report
    from mlflow_practices.registry import versions

    from . import model_evaluation

    found = versions.find(session.client, session.settings.project.name, version)
    evaluated = model_evaluation.run(session, found)
    print_report(session, evaluated.version.title, evaluated.verdict)
    evaluated.require_passed()


def main() -> None:
    """Run the command line."""
    command_line()


if __name__ == "__main__":
    main()
