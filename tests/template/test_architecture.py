"""The wall between the project and the practices, and the order of the rooms behind it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from renderings import PRACTICES, RENDERED, load

PROJECT = RENDERED / "src/{{cookiecutter.package_name}}"
# From the top to the ground; a folder stands for all modules in it. Of the components, each may
# import those that stand below it, and all of the core.
ROOMS = (
    ("cli",),
    ("deployment",),
    ("serving", "optimization"),
    ("scoring",),
    ("registry",),
    ("evaluation",),
    ("data",),
    ("model",),
    ("console",),
    ("tracking",),
    ("config",),
    ("components", "environment", "machine", "privacy"),
    ("errors",),
    ("__init__",),
)
# What the alias of a server has to know of a canary, and a faster copy of `serving.optimize`.
SIDEWAYS = {
    ("serving", "deployment.canary"),
    ("optimization", "serving.settings"),
}
STAGES = ("data_preparation", "model_training", "model_evaluation", "model_deployment")
# Of the guide's practices, those that are called where a reader looks for them.
IN_STAGES = {
    "log_data_version",
    "validate_data_quality",
    "track_data_lineage",
    "log_metrics_efficiently",
    "set_seeds",
    "optimize_model_for_serving",
    "deploy_model_pipeline",
}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each import from within the practices, and whether it is for type checkers alone."""
    here = list(path.relative_to(PRACTICES).parts[:-1])
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1] + (node.module or "").split(".")
            base = [part for part in base if part]
            for name in node.names:
                yield ".".join([*base, name.name]), id(node) in typing


def room(module: str) -> str:
    return module.split(".")[0]


def level(name: str) -> int:
    return next(index for index, names in enumerate(ROOMS) if name in names)


@pytest.mark.parametrize(
    "path", sources(PRACTICES), ids=lambda path: path.relative_to(PRACTICES).as_posix()
)
def test_imports_point_down(path: Path) -> None:
    own = room(".".join(path.relative_to(PRACTICES).with_suffix("").parts))
    for module, typed in imports(path):
        other = room(module)
        if other in (own, "__version__") or typed:
            continue
        if path.name == "commands.py" and other == "console":
            continue  # a part of the command line, whichever room it looks after
        sideways = any(own == mine and module.startswith(theirs) for mine, theirs in SIDEWAYS)
        assert level(other) > level(own) or sideways, f"{own} may not import {module}"


def test_the_practices_never_name_the_project() -> None:
    for path in sources(PRACTICES):
        text = path.read_text(encoding="utf-8")
        assert "cookiecutter" not in text, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert not any(name.name.startswith("my_ml_project") for name in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert not (node.module or "").startswith("my_ml_project"), path.name


def test_the_core_reaches_a_component_by_its_name_alone() -> None:
    components = load(PRACTICES / "components.py").COMPONENTS
    for path in sources(PRACTICES):
        own = room(".".join(path.relative_to(PRACTICES).with_suffix("").parts))
        if own not in components:
            reached = {room(module) for module, _ in imports(path)} & set(components)
            assert not reached, f"{path.name} imports {reached}"


def test_the_project_is_small() -> None:
    lines = {path.name: len(path.read_text("utf-8").splitlines()) for path in sources(PROJECT)}
    assert sum(lines.values()) <= 1000
    assert max(lines.values()) <= 150, lines
    tests = sum(len(p.read_text("utf-8").splitlines()) for p in sources(RENDERED / "tests"))
    assert tests <= 500


def test_the_project_holds_no_jinja() -> None:
    for path in sources(PROJECT):
        assert "{{" not in path.read_text(encoding="utf-8").replace("{{}}", ""), path.name


def test_features_import_neither_mlflow_nor_the_practices() -> None:
    tree = ast.parse((PROJECT / "features.py").read_text(encoding="utf-8"))
    found = [
        name
        for node in tree.body  # not within `if TYPE_CHECKING`
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
        )
    ]
    assert not [name for name in found if name and name.startswith("mlflow")]


def test_every_practice_of_the_guide_is_where_the_table_says() -> None:
    components = load(PRACTICES / "components.py")
    for name, (module, scope) in components.GUIDE.items():
        assert scope in ("training", "serving", "full")
        if room(module) in components.COMPONENTS and not (PRACTICES / room(module)).is_dir():
            continue
        path = PRACTICES / f"{module.replace('.', '/')}.py"
        assert name in _functions(path), f"{module} has no {name}"


def test_a_reader_of_the_guide_finds_its_names_in_the_stages() -> None:
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for stage in STAGES
        for node in ast.walk(ast.parse((PROJECT / f"{stage}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert called >= IN_STAGES


def test_every_error_has_the_one_base() -> None:
    for path in sources(PRACTICES):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or path.name == "errors.py":
                continue
            if node.name.endswith("Error") and not node.name.startswith("_"):
                assert "Exception" not in map(ast.unparse, node.bases), f"{path}: {node.name}"


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
