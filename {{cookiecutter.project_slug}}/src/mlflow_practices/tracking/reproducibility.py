"""What it takes to run the same thing again: seeds, the commit, the exact requirements."""

from __future__ import annotations

import importlib.util
import os
import platform
import random
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from packaging.requirements import Requirement

from .. import environment
from . import recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..config.project import Project
    from ..config.settings import Settings
    from .session import Session

MODEL_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")


def set_seeds(seed: int) -> None:
    """Seed every random generator that is installed, and log the seed.

    ``random`` and numpy always; torch and tensorflow only where they are, since importing them
    costs seconds. A child process hashes text with the same seed too.
    """
    os.environ["PYTHONHASHSEED"] = str(seed)
    random.seed(seed)
    np.random.seed(seed)
    if importlib.util.find_spec("torch"):
        import torch

        torch.manual_seed(seed)  # on every device
    if importlib.util.find_spec("tensorflow"):
        import tensorflow

        tensorflow.random.set_seed(seed)
    recording.log_params({"random_seed": seed})


def load_and_log_config(config: Settings | Project) -> Settings:
    """Log the configuration to the active run: flattened, redacted, as one batch.

    Of a project the effective configuration is loaded first, as a notebook would.
    """
    from ..config.project import Project
    from ..config.settings import load_settings

    settings = load_settings(config) if isinstance(config, Project) else config
    recording.log_params(settings.flat())
    return settings


def log_training_context(session: Session, tags: Mapping[str, str]) -> None:
    """Tag the run of a training with what it is made of, who trains, and what is installed."""
    recording.set_tags(tags)
    recording.set_author(session.identity)
    log_environment(session.settings.root)


def code_version(root: Path) -> dict[str, str]:
    """Return the commit as tags, and whether files differ from it; nothing outside of git."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    return {
        "git_commit": commit,
        "git_dirty": str(bool(_git(root, "status", "--porcelain"))).lower(),
    }


def knows_commit(root: Path, commit: str) -> bool:
    """Return whether the repository at ``root`` holds a commit."""
    return _git(root, "cat-file", "-e", commit + "^{commit}") is not None


def log_environment(root: Path) -> None:
    """Log the lock file, and in the tag ``packages`` whether what is installed agrees with it.

    Without a lock file only the Python version is logged, as the tag ``python_version``.
    """
    recording.set_tags({"python_version": platform.python_version()})
    lock = root / environment.RUN_LOCK
    if not lock.is_file():
        return
    recording.log_text(lock.read_text(encoding="utf-8"), f"environment/{environment.RUN_LOCK}")
    different = []
    for line in environment.read_pins(lock):
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate():
            try:
                found = version(pin.name)
            except PackageNotFoundError:
                found = "not installed"
            if found not in pin.specifier:
                different.append(f"{pin.name} {found} ({pin.specifier})")
    state = f"differs: {', '.join(different)}" if different else "as locked"
    recording.set_tags({"packages": state})


def model_requirements(libraries: Iterable[str]) -> list[str]:
    """Return the installed versions of what a saved pipeline needs, as exact requirements.

    Args:
        libraries: the top-level names of the modules that its classes are of.
    """
    names = set(MODEL_REQUIREMENTS)
    known = {"sklearn", *names, *sys.stdlib_module_names}
    if others := set(libraries) - known:  # looking through all packages takes a while
        found = packages_distributions()
        names.update(name for library in others for name in found.get(library, ()))
    return [f"{name}=={version(name)}" for name in sorted(names)]


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    return None
