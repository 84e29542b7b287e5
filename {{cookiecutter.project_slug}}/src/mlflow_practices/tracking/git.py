"""What git knows about the project: the commit, and the user's e-mail address."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def code_version(root: Path) -> dict[str, str]:
    """Return the commit as tags, and whether files differ from it; nothing outside of git."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = bool(_git(root, "status", "--porcelain"))
    return {"git_commit": commit, "git_dirty": str(changed).lower()}


def has_commit(root: Path, commit: str) -> bool:
    """Return whether the repository at ``root`` contains a commit."""
    return _git(root, "cat-file", "-e", commit + "^{commit}") is not None


def user_email(root: Path) -> str | None:
    """Return the address that is configured; variables such as GIT_CONFIG_COUNT cannot change it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return _git(root, "config", "user.email", environment=clean) or None


def _git(root: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()
    return None
