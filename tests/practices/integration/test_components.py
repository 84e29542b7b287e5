"""A project without some components: what is left works, and what is missing is said."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from my_ml_project.project import PROJECT

import projects

Run = Callable[..., subprocess.CompletedProcess[str]]
STAGES = {"deployment": "model_deployment"}


@pytest.fixture
def without(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return a function that takes components away, and returns one that runs commands then."""

    def remove(*components: str) -> Run:
        source = tmp_path_factory.mktemp("src")
        shutil.copytree(PROJECT.root / "src", source, dirs_exist_ok=True)
        for component in components:
            shutil.rmtree(source / "mlflow_practices" / component)
            if component in STAGES:
                (source / projects.PACKAGE / f"{STAGES[component]}.py").unlink()

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", projects.PACKAGE, *words],
                env={**os.environ, "PYTHONPATH": str(source)},
                cwd=project,
                capture_output=True,
                text=True,
                check=False,
            )

        return run

    return remove


@pytest.mark.parametrize("component", ["serving", "deployment"])
def test_its_section_is_refused_with_the_reason(
    project: Path, without: Callable[..., Run], component: str
) -> None:
    removed = ["serving", "deployment"] if component == "serving" else [component]
    run = without(*removed)
    path = project / "configs/base.yaml"
    before = path.read_text()
    path.write_text(f"{before}{component}: {{}}\n")
    done = run("settings", "show")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: configs/base.yaml: {component}: the component {component} is not part of this "
        "project; take the section out\n"
    )
    path.write_text(before)
    shown = run("settings", "show")
    assert shown.returncode == 0, shown.stderr
    assert f"{component}." not in shown.stdout
    assert ("serving.port" in shown.stdout) == (component == "deployment")


def test_the_pipeline_runs_without_any_of_them(project: Path, without: Callable[..., Run]) -> None:
    run = without("optimization", "serving", "deployment")
    helped = run("--help")
    assert helped.returncode == 0, helped.stderr
    listed = set(re.findall(r"^│ (\w+) ", helped.stdout, flags=re.MULTILINE))
    assert {"run", "prepare", "train", "evaluate", "promote", "score", "data"} <= listed
    assert not {"serve", "deploy", "rollback", "stage", "optimize"} & listed
    for command, words in (
        ("prepare", "data version"),
        ("train", "registered example version 1"),
        ("evaluate", "example version 1, on the test split"),
    ):
        done = run(command)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
    unknown = run("serve")
    assert unknown.returncode == 2
    assert "No such command 'serve'" in unknown.stderr
    assert yaml.safe_load((project / "data/processed/manifest.json").read_text())["splits"]
    for arguments in (["approve", "example/1", "--reason", "fine"], ["promote"]):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
    done = run("score", "data/raw/table.csv", "scored.csv")
    assert done.returncode == 0, done.stderr
    assert (project / "scored.csv").read_text().count("\n") == 241
