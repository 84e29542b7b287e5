"""What a project brings: its hooks, its metrics, and its own sections of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import TransformerMixin

    from .metrics import Metric
    from .sections import Section
    from .settings import Settings


@dataclass(frozen=True)
class Project:
    """A project, as its module ``project`` describes it.

    The hooks are functions at the top level of a module, so that they can be pickled.

    Attributes:
        package: the import name, such as ``my_ml_project``.
        root: the folder that holds ``configs/``.
        read: returns the raw table.
        clean: returns the table with fewer rows or a mended target, its columns as they were.
        build: returns an unfitted scikit-learn transformer for the features ``X``.
        metrics: metrics of the project's own, by name; see `Metric`.
        settings: sections of the project's own; each has a ``section_name``.
        sources: the SHA-256 of each of the package's files when this process imported them, by
            its path below the package; a file that is edited later is not what is in memory.
    """

    package: str
    root: Path
    read: Callable[[Settings], pd.DataFrame]
    clean: Callable[[pd.DataFrame], pd.DataFrame]
    build: Callable[[pd.DataFrame, Settings], TransformerMixin]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    settings: tuple[type[Section], ...] = ()
    sources: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Note what the package's files are now."""
        root = self.folder
        files = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
        digests = {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
        object.__setattr__(self, "sources", digests)

    @property
    def folder(self) -> Path:
        """The package's folder."""
        spec = find_spec(self.package)
        assert spec is not None  # since one of its modules made this
        assert spec.origin is not None
        return Path(spec.origin).parent

    def module(self, name: str) -> ModuleType:
        """Return one of the project's modules, such as the stage ``model_training``."""
        return import_module(f"{self.package}.{name}")


def load_project(package: str) -> Project:
    """Return the project that ``<package>.project`` describes."""
    found: Project = import_module(f"{package}.project").PROJECT
    return found
