"""Imports in the rendered package point down, never up and never from stage to stage."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendering import TEMPLATE

PACKAGE = TEMPLATE / "{{cookiecutter.project_slug}}/src/{{cookiecutter.package_name}}"
STAGES = {"data_preparation", "model_training", "model_evaluation", "model_deployment"}
# From the top floor to the ground; a folder stands for all modules in it.
FLOORS = (
    {"__main__"},
    {"pipeline"},
    STAGES,
    {"serving"},
    {"registry"},
    {"data"},
    {"tracking"},
    {"gates", "plots"},
    {"bootstrap"},
    {"compute", "estimators", "pins", "settings"},
    {"layers"},
    {"privacy"},
    {"__init__"},
)


def imported(path: Path) -> Iterator[str]:
    """Yield the module or folder of each import from within the package."""
    inside = path.parent != PACKAGE
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level == 1 and inside:
                continue  # a sibling in the same folder
            assert node.level == 1 + inside, f"{path.name}: reaches out of the package"
            yield from [node.module.split(".")[0]] if node.module else [n.name for n in node.names]


def floor(name: str) -> int:
    return next(index for index, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_imports_point_down(path: Path) -> None:
    own = path.stem if path.parent == PACKAGE else path.parent.name
    for other in imported(path):
        assert floor(other) > floor(own), f"{own} may not import {other}"


def test_no_jinja_stands_in_the_package() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "cookiecutter" not in path.read_text(encoding="utf-8"), path.name
