"""One truth about versions: ranges, locks and environment files agree."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from mlflow_practices import environment
from my_ml_project.project import PROJECT
from packaging.requirements import Requirement

ROOT = PROJECT.root
PINNED = environment.read_pins(ROOT / environment.RUN_LOCK)
LOCKED = {Requirement(pin).name: Requirement(pin) for pin in PINNED}
DEVELOP = environment.read_pins(ROOT / environment.DEV_LOCK)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the project's own files that say what it needs."""
    names = ("requirements.txt", "requirements-dev.txt", "conda.yaml", "python_env.yaml")
    for name in (*names, "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def test_everything_that_runs_is_what_was_tested() -> None:
    run, develop = (
        {(pin.name, str(pin.specifier)) for pin in map(Requirement, lines)}
        for lines in (PINNED, DEVELOP)
    )
    assert run <= develop


def test_every_pin_is_exact() -> None:
    for pin in DEVELOP:
        assert [part.operator for part in Requirement(pin).specifier] == ["=="], pin


def test_every_dependency_is_locked_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"]:
        wanted = Requirement(text)
        locked = LOCKED[wanted.name.lower().replace("_", "-")]
        assert wanted.specifier.contains(next(iter(locked.specifier)).version), text
        assert wanted.specifier.contains(version(wanted.name)), f"{text} is not what is installed"


def test_environment_files_hold_the_lock(folder: Path) -> None:
    environment.write_environments(folder)
    conda = yaml.safe_load((folder / "conda.yaml").read_text())["dependencies"]
    virtual = yaml.safe_load((folder / "python_env.yaml").read_text())
    assert conda[-1]["pip"] == PINNED
    assert virtual["dependencies"] == PINNED
    assert f"python={virtual['python']}" in conda
    assert virtual["python"] == environment.python_version(ROOT)


def test_unresolvable_ranges_change_nothing(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\nrequires-python = '>=3.11'\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(RuntimeError, match=r"uv could not resolve pyproject.toml"):
        environment.lock(folder)  # neither a version nor a group "dev"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
