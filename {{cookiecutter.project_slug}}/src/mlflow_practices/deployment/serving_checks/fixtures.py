"""The server under test: the one at SERVING_URL, else a staging server for the session's model.

A project's ``tests/serving/conftest.py`` imports these, and has the fixtures ``project`` (its
`Project`) and ``trained`` (a `Session` and a `Version` of its model).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ...tracking.session import open_session
from .. import process
from . import offline
from .service import Service

URL = "SERVING_URL"


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """Return the server under test, and the session of the project that it belongs to."""
    if url := os.environ.get(URL):
        yield Service(url, open_session(request.getfixturevalue("project")))
        return
    session, version = request.getfixturevalue("trained")
    with process.staging(session, version) as server:
        yield Service(server.wait().url, session)


@pytest.fixture(scope="session")
def truth(service: Service, tmp_path_factory: pytest.TempPathFactory) -> offline.Truth:
    """Return rows and what the version that the server names predicts of them without it."""
    return offline.predict(service, tmp_path_factory.mktemp("model"))
