"""What the README shows is what a live rendering gives."""

import json
import re
import textwrap
from pathlib import Path

import pytest

from renderings import PRACTICES, TEMPLATE, Render

README = (TEMPLATE / "README.md").read_text(encoding="utf-8")


def tree(project: Path) -> str:
    """Return a line for each folder with its files; an empty marker file is no file."""
    lines = []
    folders = sorted({path.parent for path in project.rglob("*") if path.is_file()})
    for folder in folders:
        if folder.parent.name == "mlflow_practices" or "serving_checks" in folder.name:
            continue  # a room, which the line of the practices names
        names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name != ".gitkeep")
        name = f"{folder.relative_to(project).as_posix()}/".removeprefix("./")
        if folder.name == "mlflow_practices":
            rooms = sorted(f"{p.name}/" for p in folder.iterdir() if p.is_dir())
            names = [*rooms, *names]
        text = f"{name:<28}{'  '.join(n for n in names if n != '__init__.py')}".rstrip()
        lines += textwrap.wrap(
            text, 98, subsequent_indent=" " * 28, break_long_words=False, break_on_hyphens=False
        )
    return "\n".join(lines)


def test_the_tree_is_that_of_a_rendering(render: Render) -> None:
    expected = tree(render())
    assert expected in README, f"put this into README.md:\n{expected}"


@pytest.mark.parametrize("problem_type", ["classification"], indirect=True)
def test_the_output_is_that_of_a_pipeline(pipeline_project: Path, problem_type: str) -> None:
    """Seconds and run ids differ; the figures do not."""
    console = (pipeline_project / "console.txt").read_text(encoding="utf-8")
    shown = README.split("```\ndata preparation")[1].split("```")[0].splitlines()
    table = [line for line in shown if line[:1] in "┏┡└│┃"]
    assert len(table) > 8
    heading = "my-ml-project version 1, on the test split (52 rows):"
    for line in (*table, heading, "verdict: no-champion, 4 of 4 gates passed"):
        assert line in console.splitlines(), f"put this into README.md:\n{console}"


def test_every_question_is_explained() -> None:
    questions = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
    for name, default in questions.items():
        if name.startswith("_"):
            continue
        row = next((r for r in README.splitlines() if r.startswith("|") and f"`{name}`" in r), None)
        assert row is not None, name
        for choice in default if isinstance(default, list) else []:
            assert choice in row, f"{name}: {choice}"


def test_every_command_and_file_exists() -> None:
    for document in (README, (TEMPLATE / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        makefile = (TEMPLATE / "Makefile").read_text(encoding="utf-8")
        rendered = TEMPLATE / "{{cookiecutter.project_slug}}"
        makefile += (rendered / "Makefile").read_text(encoding="utf-8")
        for target in re.findall(r"`?make ([a-z]+)", document):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        for link in re.findall(r"\]\(([\w./-]+)\)", document):
            assert (TEMPLATE / link).is_file(), link
        package = rendered / "src/{{cookiecutter.package_name}}"
        for module in re.findall(r"`([\w/]+\.py)`", document):
            places = (package / module, PRACTICES / module, TEMPLATE / module)
            assert any(place.is_file() for place in places), module
