"""The code that travels with a model: the project's modules that define classes of its pipeline.

In a model's folder it is ``code/<package>/``, where MLflow's own loading looks for it. The
practices never put that folder on Python's path: see `safe_loading.load`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from ..config.project import Project
from ..errors import PracticeError
from .imports import Import, find_imports

FOLDER = "code"  # MLflow's name of it in a model's folder
NOT_OUTSIDE = ("mlflow", __name__.partition(".")[0])  # the practices: a loader has neither


class CodeError(PracticeError):
    """A module cannot travel with the model or cannot be loaded; the message has the remedy."""


@dataclass(frozen=True)
class Code:
    """Sources by their path below the package, such as ``features.py``, and what else they import."""

    files: dict[str, bytes] = field(default_factory=dict)
    libraries: set[str] = field(default_factory=set)

    @contextmanager
    def staged(self, package: str) -> Iterator[list[str] | None]:
        """Yield the code as MLflow's ``code_paths``; None where there is no code."""
        if not self.files:
            yield None
            return
        with TemporaryDirectory() as folder:
            root = Path(folder, package)
            for path, source in {"__init__.py": b"", **self.files}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(source)
            yield [str(root)]


def collect(types: Iterable[str], project: Project) -> Code:
    """Return the project's modules that define some types, and the modules that those import.

    Raises `CodeError` if a module needs MLflow, the practices, or something that cannot travel.
    """
    found = Code()
    modules = _own_modules(types, project)
    waiting = [path for module in modules for path in _files_of_module(module, project)]
    while waiting:
        path = waiting.pop()
        if path in found.files:
            continue
        found.files[path] = _current_source(path, project)
        module = module_name(path, project.package)
        for each in find_imports(found.files[path], module, path):
            where = f"{project.folder / path}: line {each.line}: imports {each.module}"
            top = each.module.partition(".")[0]
            if top in NOT_OUTSIDE:
                raise CodeError(
                    f"{where}, but this module travels with the model, and a program that loads "
                    "the model has neither MLflow nor the practices. Import it inside the function "
                    "that needs it, or for a type under `if TYPE_CHECKING`; or move the classes of "
                    "the pipeline to a module of their own"
                )
            if top != project.package:
                found.libraries.add(top)
            elif each.relative:
                waiting += _files_of_import(each, project, where)
            else:
                raise CodeError(
                    f"{where}; this module travels with the model, so write `from . import ...`, "
                    "or two versions of it could not be loaded in one process"
                )
    return found


def changed_files(files: Path, types: Iterable[str], project: Project) -> list[str]:
    """Return which files of a model's code differ from the project's; none without own types."""
    modules = _own_modules(types, project)
    if not modules:
        return []
    needed = {path for module in modules for path in _files_of_module(module, project)}
    code = read_code(files, project.package)
    different = [path for path, source in code.items() if not _is_current(path, source, project)]
    missing = needed - code.keys()
    return [f"{FOLDER}/{project.package}/{path}" for path in sorted({*missing, *different})]


def read_code(files: Path, package: str) -> dict[str, bytes]:
    """Return the source files of a model's code, without the package's own empty ``__init__``."""
    root = files / FOLDER / package
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    return {name: path.read_bytes() for name, path in found.items() if name != "__init__.py"}


def module_name(path: str, package: str) -> str:
    """Return the name of the module in a file, by its path below the package."""
    name = path.removesuffix(".py").removesuffix("__init__").rstrip("/")
    return ".".join([package, *name.split("/")])


def _is_current(path: str, source: bytes, project: Project) -> bool:
    """Whether a source is that of the project's file, and what this process has imported of it."""
    own = project.folder / path
    if not own.is_file() or own.read_bytes() != source:
        return False
    is_imported = module_name(path, project.package) in sys.modules
    return not is_imported or project.sources.get(path) == sha256(source).hexdigest()


def _current_source(path: str, project: Project) -> bytes:
    file = project.folder / path
    if path == "__init__.py":
        raise CodeError(
            f"{file}: defines a class of the pipeline; move it to a module of its own, since this "
            "file is empty where the model is loaded"
        )
    if not file.is_file():
        raise CodeError(f"{file}: no such file, but the pipeline has a class of this module")
    source = file.read_bytes()
    if not _is_current(path, source, project):
        raise CodeError(
            f"{file}: was edited since this command began, so the model would travel with code "
            "that did not make it; run the command again"
        )
    return source


def _own_modules(types: Iterable[str], project: Project) -> list[str]:
    modules = {name.rpartition(".")[0] for name in types}
    return sorted(name for name in modules if name.partition(".")[0] == project.package)


def _files_of_module(module: str, project: Project) -> list[str]:
    """Return the files that run when a module of the project is imported.

    The package's own ``__init__`` is left out, unless it is the module.
    """
    parts = module.split(".")[1:]
    if not parts:
        return ["__init__.py"]
    inits = ["/".join([*parts[:depth], "__init__.py"]) for depth in range(1, len(parts) + 1)]
    found = [path for path in inits if (project.folder / path).is_file()]
    if inits[-1] in found:
        return found
    place = "/".join(parts)
    file = f"{place}.py"
    # A folder is a package without an __init__, too.
    is_folder = (project.folder / place).is_dir() and not (project.folder / file).is_file()
    return found if is_folder else [*found, file]


def _files_of_import(found: Import, project: Project, where: str) -> list[str]:
    """Return the files of a relative import: of the module, and of the modules in it."""
    modules = []
    for name in found.names:
        place = project.folder.joinpath(*found.module.split(".")[1:], name)
        if place.with_suffix(".py").is_file() or place.is_dir():
            modules.append(f"{found.module}.{name}")
        elif found.module == project.package:
            raise CodeError(
                f"{where}, but {name} is not a module; this module travels with the model, and the "
                "package's `__init__` is empty there, so import from another module"
            )
    if found.module != project.package:
        modules.append(found.module)
    return [path for module in modules for path in _files_of_module(module, project)]
