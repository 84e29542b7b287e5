"""The session of a command: its project, its settings, and the store, opened when first used."""

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
    from .identity import Identity
    from .stages import Stage

_opened: set[str] = set()  # the package whose sessions this process has opened


class SessionError(PracticeError):
    """Two projects share one interpreter."""


@dataclass(frozen=True)
class Session:
    """What every stage and every command gets.

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
        """The client of the MLflow store, opened once; StoreError if it cannot be used."""
        from . import store

        return store.connect(self.settings)

    @cached_property
    def identity(self) -> Identity:
        """The user; IdentityError if the server does not answer or refuses them."""
        from . import identity

        _ = self.client  # the server that knows the account
        return identity.current(self.settings.root)

    def stage(
        self, phase: str, *, pipeline_id: str | None = None, upstream_run_id: str | None = None
    ) -> AbstractContextManager[Stage]:
        """Open the run of a stage in the experiment of its phase.

        The effective configuration and the tags that connect the runs of a pipeline are logged
        first. If the body raises, the run is FAILED, with the reason in the tag ``failure_reason``.
        A stage within a stage is a nested run.

        Raises:
            StoreError: the store cannot be used, or the experiment was deleted.
            LoggingError: metrics or parameters did not arrive (``tracking.asynchronous``).
            ProjectError: a hook that project.py names does not exist.
            SettingsError: one of the project's own metrics is wrong.
        """
        from . import stages

        self.project.check_hooks()
        return stages.open_stage(self, phase, pipeline_id, upstream_run_id)

    def component(self, name: str) -> ModuleType | None:
        """Return what a component offers to stages; None if the project does not have it."""
        return components.find(name)


def open_session(
    project: Project, environment: str | None = None, overrides: Sequence[str] = ()
) -> Session:
    """Return a session with the settings of an environment; see `load_settings`.

    Raises:
        SessionError: this interpreter already works for another project.
        SettingsError: the configuration is wrong.
    """
    from rich.console import Console

    from ..config.settings import load_settings

    if others := _opened - {project.package}:
        raise SessionError(
            f"this interpreter already works for {others.pop()}; start another one for "
            f"{project.package}, since each process has one list of what is redacted"
        )
    _opened.add(project.package)
    return Session(project, load_settings(project, environment, overrides), Console())
