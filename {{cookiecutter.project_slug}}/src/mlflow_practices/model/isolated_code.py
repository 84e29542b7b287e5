"""A model with the code that travelled with it, beside the project's own code of another commit."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
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

from .code import FOLDER, CodeError, module_name, read_code

SCHEMA = "schema.json"  # in a file of skops, which is a zip


def load(files: Path, pipeline: Path, trusted: Sequence[str], package: str) -> Any:
    """Return the object in a skops file, its classes from the model's own code.

    That code runs as modules of a package whose name is its digest. No name that others import
    changes, so versions of several commits can be loaded in one process. Raises `CodeError` if the
    code fails.
    """
    isolated = _isolated_package(read_code(files, package))

    def rename(module: str) -> str:
        is_own = module == package or module.startswith(f"{package}.")
        return isolated + module.removeprefix(package) if is_own else module

    def rename_module(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(module := node.get("__module__"), str):
            node["__module__"] = rename(module)
        return node

    try:
        with ZipFile(pipeline) as original, TemporaryFile() as file:
            with ZipFile(file, "w") as renamed:
                for name in original.namelist():
                    content = original.read(name)
                    if name == SCHEMA:
                        schema = json.loads(content, object_hook=rename_module)
                        content = json.dumps(schema).encode()
                    renamed.writestr(name, content)
            file.seek(0)
            return skops.io.load(file, trusted=[rename(name) for name in trusted])
    except Exception as error:  # of code that is not this project's
        reason = shorten(f"{type(error).__name__}: {error}", 300)
        raise CodeError(
            f"{FOLDER}/{package}: the model cannot be loaded with its own code: {reason}"
        ) from error


def _isolated_package(code: Mapping[str, bytes]) -> str:
    """Make a package of some files importable, and return its name."""
    digest = sha256()
    for path in sorted(code):
        digest.update(f"{path} {sha256(code[path]).hexdigest()}\n".encode())
    name = f"_model_code_{digest.hexdigest()}"
    if find_spec(name) is None:
        packages = {name}  # every folder is one, with an __init__ or without
        for path in code:
            for parent in PurePosixPath(path).parents[:-1]:
                packages.add(module_name(f"{parent}/__init__.py", name))
        sources = {module_name(path, name): source for path, source in code.items()}
        sys.meta_path.append(_MemoryImporter(dict.fromkeys(packages, b"") | sources, packages))
    return name


class _MemoryImporter(MetaPathFinder, InspectLoader):
    """Imports the modules of one isolated package from memory.

    So nothing is read later from the model's folder, which may be gone, and no bytecode is written.
    """

    def __init__(self, sources: Mapping[str, bytes], packages: Collection[str]) -> None:
        self._sources, self._packages = sources, packages

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in self._sources else None

    def is_package(self, fullname: str) -> bool:
        return fullname in self._packages

    def get_source(self, fullname: str) -> str:
        return decode_source(self._sources[fullname])
