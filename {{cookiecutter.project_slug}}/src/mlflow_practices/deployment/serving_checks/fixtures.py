"""The server under test: the one at SERVING_URL, else a staging server for the session's model.

A project's ``tests/serving/conftest.py`` imports these, and has the fixtures ``project`` (its
`Project`) and ``trained`` (a `Session` and a `Version` of its model).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ...tracking.session import open_session
from .. import server_process
from . import expected_predictions
from .server_under_test import ServerUnderTest

URL = "SERVING_URL"


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Iterator[ServerUnderTest]:
    """Return the server under test, and the session of the project that it belongs to."""
    if url := os.environ.get(URL):
        yield ServerUnderTest(url, open_session(request.getfixturevalue("project")))
        return
    session, version = request.getfixturevalue("trained")
    with server_process.staging(session, version) as server:
        yield ServerUnderTest(server.wait().url, session)


@pytest.fixture(scope="session")
def truth(
    service: ServerUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> expected_predictions.ExpectedPredictions:
    """Return rows and what the version that the server names predicts of them without it."""
    return expected_predictions.predict(service, tmp_path_factory.mktemp("model"))
