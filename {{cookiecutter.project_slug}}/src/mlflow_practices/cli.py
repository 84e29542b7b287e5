"""The command line: the commands of every folder that has some, and those of the project.

A command is a function that takes the `Session` and then its own arguments; its docstring is its
help. Each imports what it needs itself, so that ``--help`` answers at once.
"""

from __future__ import annotations

import gc
import inspect
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Annotated, Any

import typer

from . import components
from .errors import PracticeError

Action = Callable[..., None]


def _common_options(
    env: Annotated[
        str | None, typer.Option(help="The settings of configs/<ENV>.yaml; local by default.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override a value: training.seed=7. Repeatable.", metavar="KEY=VALUE"
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Declare the options that every command has."""


class CommandLine:
    """The command line of one project.

    Example:
        >>> command_line = CommandLine("my_ml_project")
        >>> @command_line.command("hello")
        ... def hello(session: Session, name: str = "world") -> None:
        ...     '''Greet somebody.'''
        ...     session.console.print(f"Hello {name}, this is {session.settings.project.name}")
        >>> command_line()
    """

    def __init__(self, package: str) -> None:
        """Name the project's package, whose module ``project`` is imported when a command runs."""
        self._package = package
        self._app = typer.Typer(
            no_args_is_help=True,
            pretty_exceptions_enable=False,
            add_completion=False,
            help="Train, evaluate and deploy a model with MLflow.",
        )
        self._groups: dict[str, typer.Typer] = {}
        self._names: set[str] = set()

    def __call__(self) -> None:
        """Run the command that the process's arguments name."""
        # MLflow and its libraries make half a million objects that live as long as the process.
        # Python's search for garbage among them takes a second at the start, and one at the end.
        gc.set_threshold(100_000)
        try:
            self.app()
        finally:
            gc.freeze()

    @cached_property
    def app(self) -> typer.Typer:
        """All commands; a command of the project replaces that of the practices."""
        for module in components.modules("commands"):
            for name, help_text in getattr(module, "GROUPS", {}).items():
                self._group(name).info.help = help_text
            for name, action in module.COMMANDS.items():
                if name not in self._names:
                    self.command(name)(action)
        return self._app

    def command(self, name: str) -> Callable[[Action], Action]:
        """Add a function as the command ``name``, or as ``group name`` in a new or known group.

        Raises:
            ValueError: the name has more than two words, or belongs to another own command.
            TypeError: the function does not take the session first, or has a parameter with the
                name of an option that every command has.
        """
        *group, leaf = name.split()
        if len(group) > 1 or name in self._names:
            raise ValueError(
                f"{name!r}: already taken, or not of the form `command` or `group command`"
            )
        self._names.add(name)

        def register(action: Action) -> Action:
            def run(
                env: str | None, overrides: list[str] | None, debug: bool, **arguments: Any
            ) -> None:
                with _readable_errors(debug):
                    from .config.project import load_project
                    from .tracking.session import open_session

                    project = load_project(self._package)
                    action(open_session(project, env, overrides or []), **arguments)

            parameters = _parameters(action)
            run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
            run.__annotations__ = {each.name: each.annotation for each in parameters}
            (self._group(*group) if group else self._app).command(leaf, help=action.__doc__)(run)
            return action

        return register

    def _group(self, name: str) -> typer.Typer:
        if name not in self._groups:
            self._groups[name] = typer.Typer(no_args_is_help=True, help="Of this project.")
            self._app.add_typer(self._groups[name], name=name)
        return self._groups[name]


@contextmanager
def _readable_errors(debug: bool) -> Iterator[None]:
    """Turn an error into a readable line (or its traceback) and exit code 1."""
    # Without this, SIGTERM would end the process and leave its run RUNNING.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):  # the command chose how it ends
        raise
    except Exception as error:  # noqa: BLE001  a person reads it
        from . import privacy

        if debug:
            typer.echo(privacy.redact_text(traceback.format_exc()), err=True)
            raise typer.Exit(1) from None
        for line in privacy.redact_text(_message(error)).splitlines():
            typer.echo(line if line.startswith(" ") else f"error: {line}", err=True)
        raise typer.Exit(1) from None


def _parameters(action: Action) -> list[inspect.Parameter]:
    """Return the parameters of a command: those of its function after the session, and the common."""
    given = list(inspect.signature(action, eval_str=True).parameters.values())
    if not given:
        raise TypeError(f"{action.__name__}: a command takes the session first")
    own = given[1:]
    common = inspect.signature(_common_options, eval_str=True).parameters
    if taken := sorted(each.name for each in own if each.name in common):
        raise TypeError(f"{action.__name__}: every command has {', '.join(taken)}; rename yours")
    return [each.replace(kind=each.KEYWORD_ONLY) for each in (*own, *common.values())]


def _message(error: Exception) -> str:
    if isinstance(error, PracticeError):
        return str(error)
    if "mlflow" in sys.modules:
        import mlflow

        from .tracking import store

        if isinstance(error, mlflow.MlflowException):
            return f"{mlflow.get_tracking_uri()}: {store.error_message(error)}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
