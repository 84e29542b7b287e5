"""The checks that a deployment must pass: against SERVING_URL, else a server of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
import servers

import {{ cookiecutter.package_name }}.settings as config
from {{ cookiecutter.package_name }} import layers

from . import behaviour, offline
from .service import Service

URL = "SERVING_URL"
START_SECONDS = 60
BEHAVIOUR = """
minimum_functionality:
  - name: a large one in red
    row: &large {size: 90, count: 8, colour: red, active: true}
    answer: high
invariance:
  - name: the colour says nothing
    row: *large
    changes: [{colour: blue}, {colour: null}, {active: false}]
direction:
  - name: growing makes it high
    row: {<<: *large, size: 20}
    change: {size: 90}
    becomes: high
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "smoke: quick, and harmless to a server in use")


@pytest.fixture(scope="session")
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Return the server under test, and the settings of the project that it belongs to."""
    if url := os.environ.get(URL):
        yield Service(url, config.load_settings())
        return
    served: servers.Served = request.getfixturevalue("served")
    (served.folder / behaviour.PLACE).write_text(BEHAVIOUR)
    with pytest.MonkeyPatch.context() as patch:
        served.use(patch)
        settings = config.load_settings(overrides=["evaluation.gates.latency_ms=100"])
    with running(served, tmp_path_factory.mktemp("serve") / "log") as address:
        yield Service(address, settings)


@pytest.fixture(scope="session")
def truth(
    service: Service, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> offline.Truth:
    """Return rows and what the version that the server names predicts of them without it."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get(URL):
            request.getfixturevalue("served").use(patch)
        return offline.predict(service, tmp_path_factory.mktemp("model"))


@contextmanager
def running(served: servers.Served, said: Path) -> Iterator[str]:
    """Serve a project's challenger on a free port; yield the address, and end it in every case."""
    command = [sys.executable, "-m", str(layers.__package__), "serve"]
    command += ["--model", "models:/example@challenger", "--port", "0"]
    with pytest.MonkeyPatch.context() as patch, said.open("wb") as log:
        served.use(patch)
        patch.delenv(
            "PYTHONDONTWRITEBYTECODE", raising=False
        )  # without .pyc it starts half as fast
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield _ready(process, said)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ready(process: subprocess.Popen[bytes], said: Path) -> str:
    """Return the address that a server prints, once its model is loaded."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"on (http://\S+)", said.read_text()):
            with suppress(OSError), urlopen(f"{found[1]}/health", timeout=5):
                return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not come up:\n{said.read_text()[-2000:]}")
