"""Exact versions: pyproject.toml's ranges become locks, the locks become environment files.

Standard library only, so that it runs before anything is installed.
"""

import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

RUN_LOCK = "requirements.txt"
DEV_LOCK = "requirements-dev.txt"


def lock(root: Path, timeout: float = 300, *, upgrade: bool = False) -> None:
    """Resolve pyproject.toml with uv and rewrite both locks and both environment files.

    The versions in the locks are kept, and only new packages are added; with ``upgrade`` all get
    the newest versions that resolve. Nothing is replaced unless everything resolved.

    Raises:
        RuntimeError: uv is missing, takes more than ``timeout`` seconds or finds no solution.
    """
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv is not installed: run `pip install uv`")
    command = [uv, "pip", "compile", "--quiet", "--universal"]
    command += ["--python-version", python_version(root)]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "pyproject.toml"]
    command += ["--upgrade"] if upgrade else []
    new = {DEV_LOCK: f".{DEV_LOCK}.new", RUN_LOCK: f".{RUN_LOCK}.new"}
    try:
        for target, source in new.items():
            if (root / target).exists():
                shutil.copy(root / target, root / source)  # uv keeps these versions
        # The run lock is a subset of the development lock: what is tested is what runs.
        _run([*command, "--group", "dev", "--output-file", new[DEV_LOCK]], root, timeout)
        subset = ["--constraint", new[DEV_LOCK], "--output-file", new[RUN_LOCK]]
        _run([*command, *subset], root, timeout)
        for target, source in new.items():
            os.replace(root / source, root / target)
    finally:
        for source in new.values():
            (root / source).unlink(missing_ok=True)
    write_environments(root)


def write_environments(root: Path) -> None:
    """Write the pins of requirements.txt into conda.yaml and python_env.yaml.

    The files list every pin because MLflow names a cached environment after the file's content:
    with ``-r requirements.txt`` MLflow would not notice a new pin.
    """
    version, pins = python_version(root), read_pins(root / RUN_LOCK)
    conda = [f'name: "{_project(root)["name"]}"', "channels:", "  - conda-forge", "dependencies:"]
    conda += [f"  - python={version}", "  - pip", "  - pip:", *(f'      - "{pin}"' for pin in pins)]
    virtual = [f'python: "{version}"', "build_dependencies:", "  - pip", "dependencies:"]
    virtual += [f'  - "{pin}"' for pin in pins]
    _replace(root / "conda.yaml", conda)
    _replace(root / "python_env.yaml", virtual)


def read_pins(path: Path) -> list[str]:
    """Return the requirement lines of a lock file, comments and options left out."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def lock_differences(root: Path) -> list[str]:
    """Return which installed packages differ from requirements.txt, and how."""
    from importlib import metadata

    from packaging.requirements import Requirement  # installed where packages can be compared

    different = []
    for pin in map(Requirement, read_pins(root / RUN_LOCK)):
        if pin.marker is None or pin.marker.evaluate():
            try:
                installed = metadata.version(pin.name)
            except metadata.PackageNotFoundError:
                different.append(f"{pin.name} is not installed, pinned is {pin.specifier}")
                continue
            if not pin.specifier.contains(installed, prereleases=True):
                different.append(f"{pin.name} is {installed} here, pinned is {pin.specifier}")
    return different


def python_version(root: Path) -> str:
    """Return the oldest Python that pyproject.toml allows, such as ``3.11``."""
    return str(_project(root)["requires-python"]).removeprefix(">=")


def _project(root: Path) -> dict[str, Any]:
    return dict(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def _run(command: list[str], root: Path, timeout: float) -> None:
    import subprocess

    try:
        done = subprocess.run(
            command, cwd=root, timeout=timeout, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"uv did not answer within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise RuntimeError(f"uv could not resolve pyproject.toml: {done.stderr.strip()}")


def _replace(path: Path, lines: list[str]) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    os.replace(new, path)


if __name__ == "__main__":
    try:
        lock(
            Path(__file__).resolve().parents[2],
            upgrade=os.environ.get("UPGRADE", "0") not in ("", "0"),
        )
    except RuntimeError as error:
        sys.exit(f"error: {error}")
