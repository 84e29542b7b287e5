"""A model with the code that travelled with it, beside the project's own of another commit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, find_spec, spec_from_loader
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from textwrap import shorten
from typing import Any
from zipfile import ZipFile

import skops.io

from .code import FOLDER, CodeError, module_name, read

SCHEMA = "schema.json"  # in a file of skops, which is a zip


def load(files: Path, saved: Path, trusted: Sequence[str], package: str) -> Any:
    """Return the object in a skops file, its classes from the model's own code.

    That code is executed, as modules of a package whose name is the digest of it. No name that
    others import changes, so versions of several commits live in one process.

    Args:
        files: the model's folder.
        saved: the skops file in it.
        trusted: the types in it that skops must trust.
        package: the project's, whose modules are in the code.

    Raises:
        CodeError: whatever that code raises.
    """
    own = _isolated_package(read(files, package))

    def renamed(module: str) -> str:
        same = module == package or module.startswith(f"{package}.")
        return own + module.removeprefix(package) if same else module

    try:
        with ZipFile(saved) as given, TemporaryFile() as file:
            with ZipFile(file, "w") as made:
                for name in given.namelist():
                    content = given.read(name)
                    if name == SCHEMA:
                        content = json.dumps(_with_modules(json.loads(content), renamed)).encode()
                    made.writestr(name, content)
            file.seek(0)
            return skops.io.load(file, trusted=[renamed(name) for name in trusted])
    except Exception as error:  # of code that is not this project's
        reason = shorten(f"{type(error).__name__}: {error}", 300)
        raise CodeError(
            f"{FOLDER}/{package}: the model cannot be loaded with its own code: {reason}"
        ) from error


def _with_modules(node: Any, renamed: Callable[[str], str]) -> Any:
    """Return a schema of skops with other names of modules."""
    if isinstance(node, list):
        return [_with_modules(each, renamed) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: renamed(value)
        if key == "__module__" and isinstance(value, str)
        else _with_modules(value, renamed)
        for key, value in node.items()
    }


class _Sources(MetaPathFinder, InspectLoader):
    """Imports the modules of one isolated package from memory.

    Nothing is read from the model's folder later, which may be gone, nor is bytecode put there.
    """

    def __init__(self, sources: Mapping[str, bytes], packages: Collection[str]) -> None:
        """Take the sources and say which are packages, by the modules' full names."""
        self._sources, self._packages = sources, packages

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return how to load a module of the package; None for any other."""
        return spec_from_loader(fullname, self) if fullname in self._sources else None

    def is_package(self, fullname: str) -> bool:
        """Whether a module is a package."""
        return fullname in self._packages

    def get_source(self, fullname: str) -> str:
        """Return the text of a module."""
        return decode_source(self._sources[fullname])


def _isolated_package(travelled: Mapping[str, bytes]) -> str:
    """Make a package of some files importable, and return its name."""
    digest = sha256()
    for path in sorted(travelled):
        digest.update(f"{path} {sha256(travelled[path]).hexdigest()}\n".encode())
    name = f"_model_code_{digest.hexdigest()}"
    if find_spec(name) is None:
        # Every folder is a package, with an __init__ or without.
        folders = {
            parent.as_posix() for path in travelled for parent in PurePosixPath(path).parents
        }
        packages = {
            name,
            *(module_name(f"{folder}/__init__.py", name) for folder in folders - {"."}),
        }
        sources = {module_name(path, name): source for path, source in travelled.items()}
        sys.meta_path.append(_Sources(dict.fromkeys(packages, b"") | sources, packages))
    return name
