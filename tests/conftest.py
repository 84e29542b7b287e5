"""Fixtures of all tests of the template, which render it into temporary folders."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config

from renderings import IDENTITY, TEMPLATE, Render, RunProject, load, render_into

# What is fetched once and configured per machine must still be found under another HOME.
KEPT = {
    "NETRC": ".netrc",
    "PIP_CACHE_DIR": ".cache/pip",
    "PIP_CONFIG_FILE": ".config/pip/pip.conf",
    "PYENV_ROOT": ".pyenv",
    "UV_CACHE_DIR": ".cache/uv",
    "UV_CONFIG_FILE": ".config/uv/uv.toml",
    "UV_PYTHON_INSTALL_DIR": ".local/share/uv/python",
}

# The developer's own, which no test shall see; and the practices, imported later, set defaults.
for _name in list(os.environ):
    if _name.startswith(("MLFLOW_", "GIT_")) and not _name.startswith("GIT_SSL_"):
        del os.environ[_name]


# What the practices set when they are imported, and MLflow when it is pointed at a store.
SET_BY_IMPORTS = ("MLFLOW_", "GX_ANALYTICS_ENABLED", "ORT_DISABLE_TELEMETRY")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remove what tests of the practices left in the process before a test of a rendered project."""
    if "practices" not in item.path.parts:
        for name in list(os.environ):
            if name.startswith(SET_BY_IMPORTS):
                del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's home and the settings of git, Cookiecutter and MLflow out of the tests."""
    folder = tmp_path_factory.mktemp("home")
    settings = {name: str(folder / name) for name in ("replay_dir", "cookiecutters_dir")}
    (folder / "cookiecutter.yaml").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "gitconfig").touch()
    with pytest.MonkeyPatch.context() as patch:
        for name, place in KEPT.items():
            if name not in os.environ and (Path.home() / place).exists():
                patch.setenv(name, str(Path.home() / place))
        patch.delenv("XDG_CONFIG_HOME", raising=False)
        patch.setenv("HOME", str(folder))
        patch.setenv("USERPROFILE", str(folder))
        patch.setenv("COOKIECUTTER_CONFIG", str(folder / "cookiecutter.yaml"))
        patch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        # Every rendering has the same libraries, whose types are read once.
        patch.setenv("MYPY_CACHE_DIR", str(folder / "mypy"))
        yield folder


@pytest.fixture(scope="session")
def template() -> Path:
    """Return the root of the template."""
    return TEMPLATE


@pytest.fixture(scope="session")
def pre_hook() -> ModuleType:
    """Return hooks/pre_gen_project.py as a module, with its answers unrendered."""
    return load(TEMPLATE / "hooks" / "pre_gen_project.py")


@pytest.fixture(scope="session")
def post_hook() -> ModuleType:
    """Return hooks/post_gen_project.py as a module, with its answers unrendered."""
    return load(TEMPLATE / "hooks" / "post_gen_project.py")


@pytest.fixture
def answers() -> dict[str, Any]:
    """Return the default answers with the derived ones, as a hook gets them."""
    context = generate_context(str(TEMPLATE / "cookiecutter.json"))
    return dict(prompt_for_config(context, no_input=True))


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Return a function that renders the given answers, without the hooks unless asked."""

    def render(*, hooks: bool = False, into: Path = tmp_path / "rendered", **given: Any) -> Path:
        return render_into(into, hooks=hooks, **given)

    return render


@pytest.fixture(scope="session")
def uv() -> Path:
    """Return uv, from beside this interpreter or from PATH."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which("uv", path=os.pathsep.join(places))
    assert found is not None, "these tests need uv: pip install uv"
    return Path(found)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an interpreter that only has the standard library, and no uv beside it."""
    return _environment(tmp_path_factory.mktemp("bare_python"))


@pytest.fixture(scope="session")
def project_python() -> Path:
    """Return the interpreter of a rendered project: its development lock is installed here."""
    return Path(sys.executable)


@pytest.fixture(scope="session")
def run_project(project_python: Path) -> RunProject:
    """Return a function that runs a Python module in a rendered project and returns its result."""

    def run(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(project / "src"), **variables}
        environment["PATH"] = f"{project_python.parent}{os.pathsep}{environment['PATH']}"
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return subprocess.run(
            [str(project_python), "-m", *arguments],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=1500,
        )

    return run


@pytest.fixture(scope="session", params=["classification", "regression"])
def problem_type(request: pytest.FixtureRequest) -> str:
    """Return each kind of problem in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def pipeline_project(
    problem_type: str, tmp_path_factory: pytest.TempPathFactory, run_project: RunProject
) -> Path:
    """Return a project, rendered with its hooks, whose pipeline has run once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp(problem_type)
        answers = {"problem_type": problem_type, "create_experiments": False}
        project = render_into(folder, hooks=True, **answers)
    done = run_project(project, "my_ml_project", "run")
    assert done.returncode == 0, done.stderr
    (project / "console.txt").write_text(done.stdout, encoding="utf-8")
    return project


def _environment(folder: Path) -> Path:
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
