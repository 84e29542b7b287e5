"""The server under test: the one at SERVING_URL, else a staging server for the session's model.

A project's ``tests/serving/conftest.py`` imports these, and has the fixtures ``project`` (its
`Project`) and ``trained`` (a `Session` and a `Version` of its model).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ...tracking.session import open_session
from ..server_process import staging_server
from . import expected_predictions
from .expected_predictions import ExpectedPredictions
from .server_under_test import ServerUnderTest


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[ServerUnderTest]:
    """Return the server under test."""
    if url := os.environ.get("SERVING_URL"):
        yield ServerUnderTest(url, open_session(request.getfixturevalue("project")))
        return
    session, version = request.getfixturevalue("trained")
    with staging_server(session, version) as client:
        yield ServerUnderTest(client.url, session)


@pytest.fixture(scope="session")
def expected(
    server: ServerUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> ExpectedPredictions:
    """Return rows and what the served version predicts for them without the server."""
    return expected_predictions.compute(server, tmp_path_factory.mktemp("model"))
