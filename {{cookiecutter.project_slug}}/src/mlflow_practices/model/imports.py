"""What a module imports when it is imported itself, read from its source without running it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib.util import resolve_name


@dataclass(frozen=True)
class Import:
    """One import: the absolute name of the module, and the names that are taken from it."""

    module: str
    names: tuple[str, ...]
    relative: bool
    line: int


def find_imports(source: bytes, module: str, path: str) -> list[Import]:
    """Return the imports that run when a module is imported.

    Those in functions do not run, nor those under ``if TYPE_CHECKING``.
    """
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    visitor = _Visitor(package)
    visitor.visit(ast.parse(source, path))
    return visitor.found


class _Visitor(ast.NodeVisitor):
    def __init__(self, package: str) -> None:
        self.package = package
        self.found: list[Import] = []

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [Import(alias.name, (), False, node.lineno) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = resolve_name("." * node.level + (node.module or ""), self.package)
        names = tuple(alias.name for alias in node.names)
        self.found.append(Import(module, names, node.level > 0, node.lineno))

    def visit_If(self, node: ast.If) -> None:
        is_for_types = ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"
        for child in node.orelse if is_for_types else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        pass

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815
