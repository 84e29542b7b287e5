"""What a project brings: its hooks, its metrics, and its own sections of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import PracticeError, did_you_mean
from .metrics import Metric, check_custom_metrics

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import TransformerMixin

    from .sections import Section
    from .settings import Settings

T = TypeVar("T")


class ProjectError(PracticeError):
    """A hook that project.py names does not exist."""


class _Hook(Generic[T]):
    """A field of `Project`: a value, or its name, which is imported when it is first used."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, project: Project | None, owner: type | None = None) -> T:
        if project is None:
            raise AttributeError(self._name)  # tells dataclasses that there is no default
        value = vars(project)[self._name]
        if isinstance(value, str):
            value = vars(project)[self._name] = project.find(self._name, value)
        found: T = value
        return found

    def __set__(self, project: Project, value: T | str) -> None:
        vars(project)[self._name] = value


@dataclass(frozen=True)
class Project:
    """A project, as its module ``project`` describes it.

    The hooks are named, such as ``features.build``, so that commands which need none of them start
    without importing the modules. They are functions at the top level of a module of the package.

    Attributes:
        package: the import name, such as ``my_ml_project``.
        root: the folder that holds ``configs/``.
        read: returns the raw table.
        clean: returns the table with fewer rows or a corrected target, its columns unchanged.
        build: returns an unfitted scikit-learn transformer for the features ``X``.
        metrics: metrics of the project's own, by name; see `Metric`.
        settings: the classes of the project's own sections, or their names; each class has a
            ``section_name``.
        sources: the SHA-256 of each of the package's files when the process started, by its path
            below the package. A file that is edited later is not what this process imported.
    """

    package: str
    root: Path
    read: _Hook[Callable[[Settings], pd.DataFrame]] = _Hook()
    clean: _Hook[Callable[[pd.DataFrame], pd.DataFrame]] = _Hook()
    build: _Hook[Callable[[pd.DataFrame, Settings], TransformerMixin]] = _Hook()
    metrics: _Hook[Mapping[str, Metric]] = _Hook()
    settings: tuple[type[Section] | str, ...] = ()
    sources: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash the package's files."""
        digests = {}
        for path in self.folder.rglob("*.py"):
            name = path.relative_to(self.folder).as_posix()
            digests[name] = sha256(path.read_bytes()).hexdigest()
        object.__setattr__(self, "sources", digests)

    @property
    def folder(self) -> Path:
        """The package's folder."""
        spec = find_spec(self.package)
        assert spec is not None  # one of its modules made this object
        assert spec.origin is not None
        return Path(spec.origin).parent

    def module(self, name: str) -> ModuleType:
        """Return one of the project's modules, such as the stage ``model_training``."""
        return import_module(f"{self.package}.{name}")

    def find(self, field: str, name: str) -> Any:
        """Return what a field of project.py names, such as ``features.build``.

        Raises:
            ProjectError: there is no such module, or nothing of this name in it.
        """
        place = f"project.py: {field}: {name}"
        module, _, attribute = name.rpartition(".")
        modules = {path.stem for path in self.folder.iterdir()}
        if module.partition(".")[0] not in modules:
            hint = did_you_mean(module, modules)
            raise ProjectError(
                f"{place}: the package has no module {module or name}; write it as "
                f"module.name, such as features.build{hint}"
            )
        found = self.module(module)
        if not hasattr(found, attribute):
            hint = did_you_mean(attribute, dir(found), f"{module}.")
            raise ProjectError(f"{place}: {module}.py defines no {attribute}{hint}")
        return getattr(found, attribute)

    def check_hooks(self) -> None:
        """Import every hook, and check the project's own metrics.

        Raises:
            ProjectError: a hook does not exist or is no function.
            SettingsError: a metric is wrong.
        """
        for name in ("read", "clean", "build"):
            if not callable(getattr(self, name)):
                raise ProjectError(f"project.py: {name}: is no function")
        check_custom_metrics(self.metrics)


def load_project(package: str) -> Project:
    """Return the project that ``<package>.project`` describes."""
    found: Project = import_module(f"{package}.project").PROJECT
    return found
