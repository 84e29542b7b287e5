"""Where the template is, and how tests render it; whatever they render stands in temporary folders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def python() -> Path:
    """Return this interpreter, whose environment is that of the development lock and the tools."""
    return Path(sys.executable)
