"""The checks that a deployment must pass: against SERVING_URL, else a server of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import servers

import {{ cookiecutter.package_name }}.settings as config

from . import behaviour, offline
from .service import Service

URL = "SERVING_URL"
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
    log = tmp_path_factory.mktemp("serve") / "log"
    variables = {"MLFLOW_TRACKING_URI": served.server.address}
    model = ["--model", "models:/example@challenger"]
    with servers.Serving(served.folder, log, *model, **variables) as server:
        yield Service(server.address, settings)


@pytest.fixture(scope="session")
def truth(
    service: Service, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> offline.Truth:
    """Return rows and what the version that the server names predicts of them without it."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get(URL):
            request.getfixturevalue("served").use(patch)
        return offline.predict(service, tmp_path_factory.mktemp("model"))
