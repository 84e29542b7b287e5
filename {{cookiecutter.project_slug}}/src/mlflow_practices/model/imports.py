"""What a module imports when it is imported, read from its source without executing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Imported:
    """One import: ``module`` is absolute, ``names`` those that are taken from it, if it says so."""

    module: str
    names: tuple[str, ...]
    relative: bool
    line: int


def imports_of(source: bytes, module: str, path: str) -> Iterator[Imported]:
    """Yield the imports that are executed when a module is imported.

    Those in functions are not, nor those under ``if TYPE_CHECKING``.

    Args:
        source: of the module.
        module: its name, from which relative imports are resolved.
        path: of its file; a package's ends in ``__init__.py``.
    """
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    for node in _executed(ast.parse(source, path).body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Imported(alias.name, (), False, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = [*(base if node.level else ()), *([node.module] if node.module else ())]
            yield Imported(".".join(parts), names, bool(node.level), node.lineno)


def _executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a block and of the blocks in it, but not those of functions."""
    for node in body:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(node, ast.If) and _is_type_checking(node.test):
                continue
            for part in value if isinstance(value, list) else ():
                if isinstance(part, ast.stmt):
                    yield from _executed([part])
                elif isinstance(part, ast.ExceptHandler | ast.match_case):
                    yield from _executed(part.body)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
