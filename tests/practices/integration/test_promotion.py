"""Promotions against a server: at the same time, and with the server killed in the middle."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient
from mlflow_practices.registry import approval, promotion, reports, versions
from mlflow_practices.registry.versions import Version
from mlflow_practices.tracking.session import Session
from my_ml_project import model_evaluation

from http_servers import Answer, Request, http_server, send
from projects import PACKAGE, open_project
from servers import Server, TrainedProject

RACES = int(os.environ.get("TEST_RACES", "10"))
PRODUCTION = "example-production"
COPY = "/api/2.0/mlflow/model-versions/create"
ALIAS = "/api/2.0/mlflow/registered-models/alias"


@pytest.fixture
def session(served: TrainedProject, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Return a session of a project on a server."""
    served.use(monkeypatch)
    return open_project()


@pytest.fixture
def client(served: TrainedProject) -> MlflowClient:
    return MlflowClient(served.server.address)


def approved(session: Session, client: MlflowClient) -> Version:
    """Return a new version, evaluated and approved."""
    first = client.get_model_version("example", "1")
    tags = {key: first.tags[key] for key in ("data_version", "pipeline_id")}
    made = client.create_model_version(
        "example",
        str(first.source),
        first.run_id,
        tags,
        model_id=versions.as_version(first).model_id,
    )
    version = versions.as_version(made)
    model_evaluation.run(session, version)
    approval.approve_model("example", version.number, "for the race", session)
    return version


def test_of_two_promotions_one_wins(session: Session, client: MlflowClient) -> None:
    runners = [approved(session, client) for _ in range(2)]
    winners = set()
    for _ in range(RACES):
        ready = threading.Barrier(2)

        def promote(version: Version, ready: threading.Barrier = ready) -> str:
            ready.wait()
            try:
                return str(promotion.promote(session, version).champion)
            except promotion.PromotionError as error:
                return f"refused: {' '.join(str(error).split())}"

        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(promote, runners))
        [winner] = [n for n, said in enumerate(results) if not said.startswith("refused")]
        assert "came first" in results[1 - winner] or "beside no champion" in results[1 - winner]
        champion = versions.find_by_alias(client, PRODUCTION, versions.CHAMPION)
        assert str(champion) == results[winner]
        assert champion is not None
        assert promotion.find_source(client, champion) == runners[winner]
        assert len(versions.list_versions(client, PRODUCTION)) == 1  # the other's copy is gone
        winners.add(winner)
        client.delete_registered_model(PRODUCTION)
    assert "under way" not in [
        event.result for event in reports.list_events(client, session.settings)
    ]


@contextmanager
def killing(server: Server, path: str, after: bool) -> Iterator[str]:
    """Yield the address of a proxy that kills the server before or after a POST to ``path``."""

    def respond(request: Request) -> Answer | None:
        about_champion = path != ALIAS or b'"champion"' in request.body
        fatal = request.method == "POST" and request.path == path and about_champion
        if fatal and not after:
            server.kill()
        try:
            answer = send(server.address, request)
        except OSError:
            return None
        if fatal:
            server.kill()
            return None
        return answer

    with http_server(respond) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "after", "moved"),
    [(COPY, True, False), (ALIAS, False, False), (ALIAS, True, True)],
    ids=["after the copy", "before the alias", "after the alias"],
)
def test_a_server_killed_in_the_middle_leaves_an_approved_champion(
    session: Session,
    client: MlflowClient,
    served: TrainedProject,
    path: str,
    after: bool,
    moved: bool,
) -> None:
    if versions.find_by_alias(client, PRODUCTION, versions.CHAMPION) is None:
        promotion.promote(session, approved(session, client))
    old = versions.find_by_alias(client, PRODUCTION, versions.CHAMPION)
    assert old is not None
    new = approved(session, client)
    with killing(served.server, path, after) as address:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                PACKAGE,
                "promote",
                str(new),
            ],
            env={
                **os.environ,
                "MLFLOW_TRACKING_URI": address,
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "no MLflow server answers there" in done.stderr

    served.server.start()
    champion = versions.find_by_alias(client, PRODUCTION, versions.CHAMPION)
    assert champion is not None
    assert promotion.find_source(client, champion) == (
        new if moved else promotion.find_source(client, old)
    )
    [event] = [
        event
        for event in reports.list_events(client, session.settings)
        if event.version == str(new) and event.action == "promotion"
    ]
    assert event.result == (
        f"champion as {champion}, interrupted after that" if moved else "under way"
    )

    promoted = promotion.promote(session, new)
    assert promoted.champion == versions.find_by_alias(client, PRODUCTION, versions.CHAMPION)
    assert promotion.find_source(client, promoted.champion) == new
    assert versions.find_by_alias(client, PRODUCTION, versions.PREVIOUS) == old
    assert bool(promoted.address) != moved  # there was nothing left to do
    results = [
        e.result for e in reports.list_events(client, session.settings) if e.version == str(new)
    ]
    if not moved:
        assert results[0] == f"champion as {promoted.champion}"
        assert results[1].startswith("not promoted (killed)")
