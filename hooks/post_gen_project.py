"""Pin the versions, create the experiments, start the git repository, say what comes next.

Cookiecutter deletes the project when this fails, so it never does: a step that cannot be done is
one line that says why, and the command that does it later.
"""

import base64
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, getproxies, urlopen

# Data, not code: JSON holds no three quotes in a row, and a raw string keeps its backslashes.
ANSWERS = r"""
{{ cookiecutter | tojson }}
"""

# Every wait has a limit, in seconds. uv may have to fetch MLflow first.
LOCK, IN_PYTHON, THROUGH_UV, THROUGH_REST, GIT, CONNECT = 120, 60, 120, 15, 60, 3
# Where an outer repository (a git hook that renders this template) would misdirect git.
GIT_PLACES = (
    "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES"
    " GIT_COMMON_DIR GIT_NAMESPACE GIT_PREFIX GIT_IMPLICIT_WORK_TREE GIT_GRAFT_FILE GIT_SHALLOW_FILE"
)
COMMIT = 'git add -A && git commit -m "First commit"'
# Runs where MLflow is; its last line is the answer, whatever MLflow prints before.
CHILD = """
import json, sys
from importlib import import_module
from pathlib import Path
package, project, configured, template_version = sys.argv[1:]
module = import_module(package + ".tracking.experiments")
try:
    uri = module.resolve_uri(configured, Path.cwd())
    answer = {"states": module.create_hierarchy(project, uri, template_version)}
except Exception as error:
    answer = {"refused": f"{type(error).__name__}: {error}"}
print("\\n" + json.dumps(answer))
"""


class Left(Exception):
    """A step was left undone; says why, and what to do when that is not the step's own command."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


class Unusable(Left):
    """This way to MLflow does not work here; another may."""


def pin(root: Path, answers: Mapping[str, Any]) -> str:
    """Write the exact versions into the environment files, after a fresh resolution if asked."""
    pins = load(root / "src" / answers["package_name"] / "pins.py")
    if answers["pins"] == "latest":
        try:
            pins.lock(root, timeout=LOCK)
        except (RuntimeError, OSError) as error:
            pins.write_environments(root)
            raise Left(f"{error}; the tested versions are kept") from None
        return "the newest versions that resolve today"
    pins.write_environments(root)
    return "the tested versions"


def create_experiments(root: Path, answers: Mapping[str, Any]) -> str:
    """Create the experiments through the first way to MLflow that works here."""
    if not yes(answers["create_experiments"]):
        return ""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or answers["tracking_uri"]
    server = uri.startswith(("http://", "https://"))
    check_listening(uri)
    reasons = []
    for python, seconds in pythons(root, answers, uri):
        try:
            return described(ask(python, seconds, root, answers))
        except Unusable as error:
            reasons.append(str(error))
    if server:
        return described(within(THROUGH_REST, root, answers, uri))
    raise Left("; ".join(reasons) or "this Python has no such MLflow, and uv is not installed")


def start_repository(root: Path, answers: Mapping[str, Any]) -> str:
    """Start a repository on the branch main and commit all, where nothing stands in the way."""
    if not yes(answers["init_git"]):
        return ""
    if shutil.which("git") is None:
        raise Left("git is not installed", f"git init -b main && {COMMIT}")
    kept = {k: v for k, v in os.environ.items() if k not in GIT_PLACES.split()}
    english = kept | {"LC_ALL": "C"}

    def git(*arguments: str, environment: Mapping[str, str] = kept) -> tuple[int, str, str]:
        return run(["git", *arguments], GIT, root, environment)

    code, top, complaint = git("rev-parse", "--show-toplevel", environment=english)
    if code == 0:
        return f"nothing done, since this folder is already in the repository {top.strip()}"
    if "not a git repository" not in complaint:
        raise Left(last_line(complaint), f"git init -b main && {COMMIT}")
    # Not `init -b main`: git before 2.28 has no -b.
    steps = [("init", "--quiet"), ("symbolic-ref", "HEAD", "refs/heads/main")]
    ...
