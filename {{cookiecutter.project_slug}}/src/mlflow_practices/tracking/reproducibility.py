"""What it takes to run the same thing again: seeds, the configuration, the exact requirements."""

from __future__ import annotations

import importlib.util
import os
import platform
import random
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import environment
from ..config.project import Project
from ..config.settings import Settings, load_settings
from . import recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .session import Session

AS_LOCKED = "as locked"  # a value of the tag ``packages``
MODEL_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops")


def set_seeds(seed: int) -> None:
    """Seed every random generator that is installed, and log the seed.

    torch and tensorflow are imported, which takes seconds, only if they are installed. Child
    processes hash text with the same seed.
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

    For a project, for example in a notebook, the configuration is loaded first.
    """
    settings = load_settings(config) if isinstance(config, Project) else config
    recording.log_params(settings.flat())
    return settings


def log_training_context(session: Session, tags: Mapping[str, str]) -> None:
    """Tag the run of a training with its inputs, its author, and what is installed."""
    recording.set_tags(tags)
    recording.set_author(session.identity)
    log_environment(session.settings.root)


def log_environment(root: Path) -> None:
    """Log the Python version, the lock, and in the tag ``packages`` how the installed ones differ."""
    recording.set_tags({"python_version": platform.python_version()})
    lock = root / environment.RUN_LOCK
    if not lock.is_file():
        return
    recording.log_text(lock.read_text(encoding="utf-8"), f"environment/{environment.RUN_LOCK}")
    different = environment.lock_differences(root)
    packages = f"differs: {', '.join(different)}" if different else AS_LOCKED
    recording.set_tags({"packages": packages})


def model_requirements(libraries: Iterable[str]) -> list[str]:
    """Return the installed versions of what a saved pipeline needs, as exact requirements.

    Args:
        libraries: the top-level names of the modules that define its classes.
    """
    names = set(MODEL_REQUIREMENTS)
    known = {"sklearn", *names, *sys.stdlib_module_names}
    if others := set(libraries) - known:  # looking through all packages takes a while
        distributions = packages_distributions()
        for library in others:
            names.update(distributions.get(library, ()))
    return [f"{name}=={version(name)}" for name in sorted(names)]
