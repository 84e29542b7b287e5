"""One truth about versions: ranges, locks and environment files agree."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from mlflow_practices import environment

ROOT = Path(__file__).parents[2]
LOCKED = {Requirement(pin).name: Requirement(pin) for pin in environment.read_pins(ROOT / environment.RUN_LOCK)}
DEVELOP = environment.read_pins(ROOT / environment.DEV_LOCK)


def test_everything_that_runs_is_what_was_tested() -> None:
    run, develop = (
        {(pin.name, str(pin.specifier)) for pin in map(Requirement, lines)}
        for lines in (environment.read_pins(ROOT / environment.RUN_LOCK), DEVELOP)
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


def test_environment_files_hold_the_lock() -> None:
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    virtual = yaml.safe_load((ROOT / "python_env.yaml").read_text())
    pinned = environment.read_pins(ROOT / environment.RUN_LOCK)
    assert conda[-1]["pip"] == pinned
    assert virtual["dependencies"] == pinned
    assert f"python={virtual['python']}" in conda
    assert virtual["python"] == environment.python_version(ROOT)


def test_unresolvable_ranges_change_nothing(tmp_path: Path) -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "conda.yaml", "python_env.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nrequires-python = '>=3.11'\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RuntimeError, match=r"uv could not resolve pyproject.toml"):
        environment.lock(tmp_path)  # neither a version nor a group "dev"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
