"""The commands and workflows that the template, and what it renders, are developed with."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from renderings import PRACTICES, TEMPLATE

PINNED = re.compile(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v\d+(\.\d+)*")


# A rendered project counts from the day on which it has workflows.
WITH_WORKFLOWS = ["template"] + ["rendered"] * any(TEMPLATE.glob("{{*}}/.github/workflows"))


@pytest.fixture(params=WITH_WORKFLOWS)
def repository(request: pytest.FixtureRequest, render: Callable[..., Path]) -> Path:
    """Return the root of the template, or of a project that it rendered."""
    return TEMPLATE if request.param == "template" else render()


def workflows(repository: Path) -> list[Path]:
    found = sorted((repository / ".github" / "workflows").glob("*.yml"))
    assert found, f"no workflows in {repository}"
    return found


def lint(tool: str, *arguments: str | Path, folder: Path) -> None:
    """Run a linter of the environment that runs the tests; fail with what it found."""
    path = shutil.which(tool, path=str(Path(sys.executable).parent))
    assert path is not None, f"{tool} is not installed: run the tests with `make test`"
    done = subprocess.run(
        [path, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def values(node: Any, key: str) -> Iterator[Any]:
    """Yield each value that stands under ``key``, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from values(value, key)


def test_actionlint_finds_nothing(repository: Path) -> None:
    lint("actionlint", *workflows(repository), folder=repository)


def test_zizmor_finds_nothing(repository: Path) -> None:
    lint("zizmor", "--offline", "--strict-collection", ".github", folder=repository)


def test_the_files_for_github_are_valid_to_their_schemas(repository: Path) -> None:
    schema, github = ["check-jsonschema", "--builtin-schema"], repository / ".github"
    lint(*schema, "vendor.github-workflows", *workflows(repository), folder=repository)
    lint(*schema, "vendor.dependabot", github / "dependabot.yml", folder=repository)


def test_every_action_is_pinned_by_commit(repository: Path) -> None:
    for workflow in workflows(repository):
        lines = workflow.read_text(encoding="utf-8").splitlines()
        used = [line.split("uses:")[1].strip() for line in lines if "uses:" in line]
        # Read both ways, so that no way of writing YAML escapes.
        assert len(used) == len(list(values(yaml.safe_load("\n".join(lines)), "uses")))
        assert [action for action in used if not PINNED.fullmatch(action)] == []


def test_workflows_only_make_what_the_makefile_has(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    parsed = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in workflows(repository)]
    commands = "\n".join(command for command in values(parsed, "run") if isinstance(command, str))
    made = set(re.findall(r"\bmake ([a-z-]+)", commands))
    assert made, "no workflow uses the commands that people use"
    assert made <= targets


def test_ci_covers_every_python_that_can_be_chosen(template: Path) -> None:
    ci = yaml.safe_load((template / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    matrix = ci["jobs"]["check"]["strategy"]["matrix"]
    choices = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    assert matrix["python"] == choices["python_version"]
    for system in ("macos", "windows"):
        here = [entry["python"] for entry in matrix["include"] if entry["os"] == system]
        assert here == [choices["python_version"][0], choices["python_version"][-1]]


def test_the_version_is_the_same_everywhere(template: Path) -> None:
    choices = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    project = tomllib.loads((template / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (template / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    practices = (PRACTICES / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{newest[1]}"' in practices
    assert choices["_template_version"] == project["version"] == newest[1]


def test_the_lock_holds_every_tool(template: Path) -> None:
    groups = tomllib.loads((template / "pyproject.toml").read_text(encoding="utf-8"))
    lines = (template / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    pins = {pin.name: pin.specifier for pin in map(Requirement, lines)}
    dev = groups["dependency-groups"]["dev"]
    included = [text for each in dev if isinstance(each, dict) for text in each.values()]
    texts = [text for name in included for text in groups["dependency-groups"][name]]
    for text in [*texts, *(each for each in dev if isinstance(each, str))]:
        wanted = Requirement(text)
        [pin] = pins[wanted.name.lower()]
        assert wanted.specifier.contains(pin.version), f"{text}: run `make lock`"


def test_make_demo_removes_nothing_but_a_demo(template: Path, tmp_path: Path) -> None:
    work = tmp_path / "my-ml-project" / "results.csv"
    work.parent.mkdir()
    work.write_text("a year of work", encoding="utf-8")
    command = ["make", "demo", f"DEMO={tmp_path.as_posix()}"]
    done = subprocess.run(command, cwd=template, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{tmp_path.as_posix()} contains other files than a demo" in done.stdout
    assert work.read_text(encoding="utf-8") == "a year of work"


def test_pre_commit_lets_a_new_project_pass_and_stops_what_it_should(
    render: Callable[..., Path], project_python: Path
) -> None:
    project = render()
    (project / ".venv").symlink_to(project_python.parents[1], target_is_directory=True)
    for stamp in ("uv", "installed"):  # in the order in which make looks at their age
        (project / ".venv" / stamp).touch()

    def pre_commit() -> subprocess.CompletedProcess[str]:
        subprocess.run(["git", "add", "--all", "--force", "."], cwd=project, check=True)
        tool = project / ".venv" / project_python.parent.name / "pre-commit"
        command = [str(tool), "run", "--all-files"]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    done = pre_commit()
    assert done.returncode == 0, done.stdout + done.stderr
    (project / "models" / "a model.bin").write_bytes(bytes(6_000_000))
    (project / "tests" / "untidy.py").write_text("x=1\n", encoding="utf-8")
    done = pre_commit()
    assert done.returncode == 1
    assert "\nmodels/a model.bin\n" in done.stdout
    assert "untidy.py" in done.stdout
    assert (project / "tests" / "untidy.py").read_text(encoding="utf-8") == "x=1\n"
