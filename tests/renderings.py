"""The folder of the template, and functions that render it into temporary folders."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).resolve().parents[1]
RENDERED = TEMPLATE / "{{cookiecutter.project_slug}}"
PRACTICES = RENDERED / "src" / "mlflow_practices"

# Of whoever commits in a test.
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
}
Render = Callable[..., Path]
RunProject = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Baked:
    """The result of a rendering: the project or the error, and the folder that it was rendered into."""

    project: Path | None
    exception: Exception | None
    folder: Path

    def require(self) -> Path:
        """Return the project, or raise what was raised."""
        if self.exception is not None:
            raise self.exception
        assert self.project is not None
        return self.project


Bake = Callable[..., Baked]


def render_into(folder: Path, *, hooks: bool = False, **answers: Any) -> Path:
    """Render the template with these answers and the defaults into a folder; return the project."""
    folder.mkdir(parents=True, exist_ok=True)
    made = cookiecutter(
        str(TEMPLATE),
        no_input=True,
        extra_context=answers,
        output_dir=str(folder),
        accept_hooks=hooks,
    )
    return Path(made)


def load(path: Path) -> ModuleType:
    """Return a file as a module, without writing bytecode beside it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        spec.loader.exec_module(module)
    return module
