"""One command at work: its project, its settings, and the store, opened when first used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

from .. import components
from ..errors import PracticeError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from rich.console import Console

    from ..config.project import Project
    from ..config.settings import Settings
    from .experiments import Stage
    from .identity import Identity

_opened: set[str] = set()  # packages whose sessions this process has seen: one at the most


class SessionError(PracticeError):
    """Two projects share one interpreter."""


@dataclass(frozen=True)
class Session:
    """What every stage and every command is given; it opens nothing by itself.

    Example:
        >>> session = open_session(load_project("my_ml_project"), "production")
        >>> with session.stage("model-training") as stage:
        ...     print(stage.address)
    """

    project: Project
    settings: Settings
    console: Console

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow store, opened once.

        Raises:
            StoreError: it cannot be used, or does not answer.
        """
        from . import store

        return store.connect(self.settings)

    @cached_property
    def identity(self) -> Identity:
        """Who is at work, as far as the server, git and the machine can say.

        Raises:
            IdentityError: the server does not answer, or refuses the account.
        """
        from . import identity

        _ = self.client  # a server of accounts is asked where the store is
        return identity.current(self.settings.root)

    def stage(
        self, phase: str, *, pipeline_id: str | None = None, upstream_run_id: str | None = None
    ) -> AbstractContextManager[Stage]:
        """Open the run of a stage in the experiment of its phase; see `experiments.stage_run`."""
        from . import experiments

        self.project.check_hooks()  # before the stage does any work
        return experiments.stage_run(
            self.client,
            self.settings,
            phase,
            pipeline_id=pipeline_id,
            upstream_run_id=upstream_run_id,
        )

    def component(self, name: str) -> ModuleType | None:
        """Return what a component offers to stages; None where the project does without it."""
        return components.find(name)


def open_session(
    project: Project,
    environment: str | None = None,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> Session:
    """Return a session with the settings of an environment; arguments as of `load_settings`.

    Raises:
        SessionError: this interpreter already works for another project.
        SettingsError: the configuration is wrong.
    """
    from rich.console import Console

    from ..config.settings import load_settings

    if others := _opened - {project.package}:
        raise SessionError(
            f"this interpreter works for {others.pop()} already; start another for "
            f"{project.package}: what is redacted is decided once a process"
        )
    _opened.add(project.package)
    return Session(project, load_settings(project, environment, overrides), console or Console())
