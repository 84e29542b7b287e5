"""The code that travels with a model: the project's modules that define classes of its pipeline.

In a model's folder it is ``code/<package>/``, where MLflow's own loading looks for it. Ours never
puts that on Python's path: see `safe_loading.load`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from ..config.project import Project
from ..errors import PracticeError
from .imports import Imported, imports_of

FOLDER = "code"  # MLflow's name of it in a model's folder
NOT_OUTSIDE = ("mlflow", __name__.partition(".")[0])  # the practices: who loads a model has neither


class CodeError(PracticeError):
    """A module cannot travel with the model, or not be loaded; the message says what to change."""


@dataclass(frozen=True)
class Code:
    """Modules that travel.

    Attributes:
        files: the source of each module by its path below the package, such as ``features.py``.
        libraries: the top-level names of what else they import.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    libraries: frozenset[str] = frozenset()

    @contextmanager
    def staged(self, package: str) -> Iterator[list[str] | None]:
        """Yield it as MLflow's ``code_paths``; None where there is nothing."""
        if not self.files:
            yield None
            return
        with TemporaryDirectory() as folder:
            root = Path(folder, package)
            for path, source in {"__init__.py": b"", **self.files}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(source)
            yield [str(root)]


def modules(types: Sequence[str], package: str) -> list[str]:
    """Return the modules of a package that define some types, such as ``features.DateParts``."""
    found = {name.rpartition(".")[0] for name in types}
    return sorted(name for name in found if name.partition(".")[0] == package)


def collect(modules: Sequence[str], project: Project) -> Code:
    """Return the code of some modules of the project, and of those that they import.

    Imports inside functions are not followed: they are not executed when a module is imported.

    Raises:
        CodeError: a module needs MLflow, the practices, or something that cannot travel.
    """
    files: dict[str, bytes] = {}
    libraries: set[str] = set()
    waiting = [path for name in modules for path in _paths(name, project)]
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files[path] = _own_source(path, project)
        for found in imports_of(files[path], module_name(path, project.package), path):
            where = f"{project.folder / path}: line {found.line}: imports {found.module}"
            top = found.module.partition(".")[0]
            if top in NOT_OUTSIDE:
                raise CodeError(
                    f"{where}, but this module travels with the model, and is loaded without "
                    "MLflow and the practices; import it inside the function that needs it, for a "
                    "type under `if TYPE_CHECKING`, or move the classes of the pipeline to a "
                    "module of their own"
                )
            if top != project.package:
                libraries.add(top)
            elif not found.relative:
                raise CodeError(
                    f"{where}; this module travels with the model, so write `from . import ...`, "
                    "or two versions of it could not live in one process"
                )
            else:
                waiting += _imported_paths(found, project, where)
    return Code(files, frozenset(libraries))


def differences(files: Path, modules: Sequence[str], project: Project) -> list[str]:
    """Return which files of a model's code are not the project's own, by their path in ``code/``.

    Args:
        files: the model's folder.
        modules: the project's modules that define its classes.
        project: whose package they are of.
    """
    travelled = read(files, project.package)
    missing = {path for name in modules for path in _paths(name, project)} - travelled.keys()
    different = [path for path, source in travelled.items() if not _is_own(path, source, project)]
    return [f"{FOLDER}/{project.package}/{path}" for path in sorted({*missing, *different})]


def read(files: Path, package: str) -> dict[str, bytes]:
    """Return the source files of a model's code; the package's own ``__init__`` is none of it."""
    root = files / FOLDER / package
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    return {name: path.read_bytes() for name, path in found.items() if name != "__init__.py"}


def module_name(path: str, package: str) -> str:
    """Return the name of the module in a file, by its path below the package."""
    name = path.removesuffix(".py").removesuffix("__init__").rstrip("/")
    return ".".join([package, *name.split("/")])


def _is_own(path: str, source: bytes, project: Project) -> bool:
    """Whether a file is the project's, and whether that is what this process has imported."""
    own = project.folder / path
    if not own.is_file() or own.read_bytes() != source:
        return False
    imported = module_name(path, project.package) in sys.modules
    return not imported or project.sources.get(path) == sha256(source).hexdigest()


def _own_source(path: str, project: Project) -> bytes:
    """Return the source of a module of the project, as this process has imported it."""
    place = project.folder / path
    if path == "__init__.py":
        raise CodeError(
            f"{place}: defines a class of the pipeline; move it to a module of its own: this file "
            "is empty where the model is loaded"
        )
    if not place.is_file():
        raise CodeError(f"{place}: no such file, but the pipeline has a class of this module")
    source = place.read_bytes()
    if not _is_own(path, source, project):
        raise CodeError(
            f"{place}: was edited since this command began, so what travels "
            "with the model would not be what made it; run the command again"
        )
    return source


def _paths(module: str, project: Project) -> list[str]:
    """Return the files that importing a module of the project executes. The package's own
    ``__init__`` is left out, unless it is the module.
    """
    parts = module.split(".")[1:]
    if not parts:
        return ["__init__.py"]
    inits = ["/".join([*parts[:depth], "__init__.py"]) for depth in range(1, len(parts) + 1)]
    found = [path for path in inits if (project.folder / path).is_file()]
    place = "/".join(parts)
    if inits[-1] in found:
        return found
    file = f"{place}.py"
    # A folder is a package without an __init__, too.
    alone = (project.folder / place).is_dir() and not (project.folder / file).is_file()
    return found if alone else [*found, file]


def _imported_paths(found: Imported, project: Project, where: str) -> list[str]:
    """Return the files of a relative import: of the module, and of what is a module in it."""
    inside = [f"{found.module}.{name}" for name in found.names]
    modules = [name for name in inside if _is_module(name, project)]
    if found.module != project.package:
        modules.append(found.module)
    elif len(modules) < len(inside):
        raise CodeError(
            f"{where}, of which not every name is a module, but this module travels with the "
            "model, and the package's `__init__` is empty there; import from another module"
        )
    return [path for name in modules for path in _paths(name, project)]


def _is_module(name: str, project: Project) -> bool:
    place = project.folder.joinpath(*name.split(".")[1:])
    return place.with_suffix(".py").is_file() or place.is_dir()
