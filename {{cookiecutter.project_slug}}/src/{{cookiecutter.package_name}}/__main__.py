"""The command line: one command an operation.

Each command imports what it needs by itself, so that ``--help`` answers at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from .settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help=__doc__.splitlines()[0],
)
settings_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
app.add_typer(settings_app, name="settings")
console = Console()

Env = Annotated[
    str | None, typer.Option("--env", help="The layer configs/<ENV>.yaml; local by default.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Override a value: training.seed=7. Repeatable.", metavar="KEY=VALUE"
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def command(
    group: typer.Typer = app, name: str | None = None
) -> Callable[..., Callable[..., None]]:
    """Make a command of a function that takes the settings."""

    def register(action: Callable[[Settings], None]) -> Callable[..., None]:
        def run(env: Env = None, set_: Set = None, debug: Debug = False) -> None:
            from .settings import load_settings

            _readable(debug, lambda: action(load_settings(env, set_ or [])))

        group.command(name or action.__name__, help=action.__doc__)(run)
        return run

    return register


@command()
def run(settings: Settings) -> None:
    """Run the whole pipeline: prepare, train, evaluate."""
    from . import pipeline

    pipeline.run(settings, console)


@command()
def prepare(settings: Settings) -> None:
    """Turn the raw file into split, versioned tables."""
    from . import data_preparation

    manifest = data_preparation.run(settings).manifest
    rows = ", ".join(f"{name} {split.rows}" for name, split in manifest.splits.items())
    console.print(f"data version {manifest.version}: {rows} rows")


@command()
def train(settings: Settings) -> None:
    """Fit the configured estimator on the prepared data and register it."""
    from . import model_training
    from .data import versioning

    manifest = versioning.load_manifest(settings.path(settings.data.processed))
    version = model_training.run(settings, manifest).version
    console.print(f"registered {version.name} version {version.number} (challenger)")


@app.command()
def evaluate(
    version: Annotated[str, typer.Option(help="A number or an alias.")] = "challenger",
    env: Env = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Measure a model version on the test split."""
    from . import model_evaluation, pipeline
    from .registry import versions
    from .settings import load_settings
    from .tracking import store

    def action() -> None:
        settings = load_settings(env, set_ or [])
        store.connect(settings)
        found = versions.find(settings.project.name, version)
        pipeline.report(model_evaluation.run(settings, found), console)

    _readable(debug, action)


@command(name="experiments")
def create_experiments(settings: Settings) -> None:
    """Create the project's MLflow experiments where they do not exist."""
    from .tracking import experiments, store

    uri = store.resolve_uri(settings.tracking.uri, settings.root)
    project = settings.project
    states = experiments.create_hierarchy(project.name, uri, project.template_version)
    for name, state in states.items():
        console.print(f"{state:<8} {name}", markup=False)


@command()
def ui(settings: Settings) -> None:
    """Open the MLflow UI of a local store (variable MLFLOW_PORT, default 5000)."""
    from .tracking import store

    store.serve_ui(settings)


@command(settings_app)
def show(settings: Settings) -> None:
    """Print the effective values and the layer each came from, secrets masked."""
    from rich.table import Column, Table

    table = Table(
        *(Column(heading, overflow="fold") for heading in ("key", "value", "from")), box=None
    )
    for key, value in settings.flat().items():
        table.add_row(key, repr(value), settings.origin(key))
    console.print(table, markup=False)


def _readable(debug: bool, action: Callable[[], None]) -> None:
    """Run ``action``; an error becomes one readable line and exit code 1."""
    # Without this, SIGTERM would end the process with its run left RUNNING.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        action()
    except Exception as error:
        if debug:
            raise
        from . import privacy

        known = type(error).__module__.startswith(f"{__package__}.")
        text = str(error) if known else f"{type(error).__name__}: {' '.join(str(error).split())}"
        for line in privacy.redact_text(text).splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
