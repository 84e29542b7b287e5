"""A share of production's requests for a new version, split by the serving application itself."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow_practices.config.settings import Settings
from mlflow_practices.deployment import canary
from mlflow_practices.deployment.request_metrics import RequestMetrics
from mlflow_practices.deployment.server_client import ServerClient
from mlflow_practices.registry import model_files, promotion, reports, versions
from mlflow_practices.registry.versions import Version

import projects
from projects import PACKAGE, PREFIX, ROOT, open_project
from servers import START, ServingProcess, TrainedProject, wait_until

PRODUCTION = "canaries-production"
ROW = {"size": 50.0, "count": 3.0, "colour": "red", "active": True}
ROWS = [{**ROW, "size": float(size)} for size in range(20, 81, 5)]
QUICK = {
    f"{PREFIX}SERVING__POLL_SECONDS": "0.1",
    f"{PREFIX}SERVING__DRAIN_SECONDS": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
# Of the champion and of versions that may be its canary.
KINDS = {
    "champion": [],
    "opposite": ["data.raw=data/raw/swapped.csv"],
    "lacking": ["data.drop=[customer, price, seen, colour]"],
}
PARENT = (
    "import os, subprocess, sys; subprocess.call([*sys.argv[1:], '--parent', str(os.getpid())])"
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends processes by signals")


@pytest.fixture(scope="module")
def folder(
    served: TrainedProject, tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> Path:
    """Return a project of another name on the same server, so that its production is its own."""
    folder = tmp_path_factory.mktemp("canary")
    table = projects.make_table()
    projects.make_project(folder, table, empty_store)
    local = "{project: {name: canaries}, data: {drop: [customer, price, seen]}}"
    (folder / "configs/local.yaml").write_text(local)
    table["label"] = table["label"].map({"high": "low", "low": "high"})
    table.to_csv(folder / "data/raw/swapped.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path, served: TrainedProject) -> Iterator[Settings]:
    """Return that project's settings, and make it the one of this process."""
    with pytest.MonkeyPatch.context() as patch:
        served.use(patch)
        patch.setenv(ROOT, str(folder))
        yield open_project().settings


@pytest.fixture(scope="module")
def client(served: TrainedProject) -> MlflowClient:
    return MlflowClient(served.server.address)


@pytest.fixture(scope="module")
def made(settings: Settings, client: MlflowClient) -> dict[str, Version]:
    """Return a trained version of each kind; the first was promoted."""
    found = {}
    for kind, overrides in KINDS.items():
        found[kind] = projects.train(open_project(overrides=overrides))
    copy = promotion.copy_version(
        client, found["champion"], PRODUCTION, digest(found["champion"]), {}
    )
    client.set_registered_model_alias(PRODUCTION, versions.CHAMPION, str(copy.number))
    return found


@pytest.fixture(scope="module")
def variables(served: TrainedProject) -> dict[str, str]:
    """Return the environment of a server that is quick to follow the registry."""
    return {**QUICK, "MLFLOW_TRACKING_URI": served.server.address}


@pytest.fixture(scope="module")
def server(
    folder: Path, made: dict[str, Version], variables: dict[str, str]
) -> Iterator[ServingProcess]:
    """Serve the champion, by one process."""
    with ServingProcess(folder, folder / "serving.log", **variables) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_canary(client: MlflowClient, settings: Settings, made: object) -> Iterator[None]:
    yield
    canary.end(client, settings)


@lru_cache
def digest(version: Version) -> str:
    return model_files.digest(Path(mlflow.artifacts.download_artifacts(version.uri)))


def start(
    client: MlflowClient,
    settings: Settings,
    version: Version,
    share: float = 0.5,
    seconds: float = 600,
    files: str = "",
) -> Version:
    files = files or digest(version)
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return canary.start(client, settings, version, files, share, until)


def running(version: Version) -> Any:
    """Return what says of a server's health that the canary is up."""
    return lambda health: health.get("canary", {}).get("version") == str(version)


def post(address: str, rows: list[dict[str, Any]], times: int) -> Iterator[tuple[int, str, Any]]:
    """Yield status, version and predictions of many requests, a connection for every ten."""
    body = json.dumps({"dataframe_records": rows})
    for n in range(0, times, 10):
        with closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)) as kept:
            for _ in range(min(10, times - n)):
                kept.request("POST", "/invocations", body, {"Content-Type": "application/json"})
                answer = kept.getresponse()
                content = json.loads(answer.read())
                named = answer.headers.get("X-Model-Version", "")
                yield answer.status, named, content.get("predictions")


def offline(version: Version) -> list[str]:
    found: list[str] = mlflow.pyfunc.load_model(version.uri).predict(pd.DataFrame(ROWS)).tolist()
    return found


def split(
    address: str, champion: str, candidate: Version, made: dict[str, Version]
) -> RequestMetrics:
    """Send 400 requests, check whom each was answered by, and return the figures of them."""
    endpoint, right = ServerClient(address), {champion: offline(made["champion"])}
    right[str(candidate)] = offline(made["opposite"])
    assert right[champion] != right[str(candidate)]
    before = endpoint.metrics()
    answers = list(post(address, ROWS, 400))
    assert all(status == 200 and got == right[version] for status, version, got in answers)
    counted = Counter(version for _, version, _ in answers)
    assert 60 <= counted[str(candidate)] <= 180  # 120 +- 6.5 standard deviations
    figures = endpoint.metrics().since(before)
    assert {version: figures.requests(version) for version in right} == counted
    assert (figures.requests(), figures.failed()) == (400, 0)
    return figures


def test_a_canary_answers_its_share_and_is_counted_apart(
    server: ServingProcess, client: MlflowClient, settings: Settings, made: dict[str, Version]
) -> None:
    endpoint, champion = ServerClient(server.address), f"{PRODUCTION}/1"
    candidate = start(client, settings, made["opposite"], 0.1)
    assert start(client, settings, made["opposite"], 0.3) == candidate  # there already
    health = server.wait(
        lambda found: running(candidate)(found) and found["canary"]["share"] == 0.3
    )
    assert health["version"] == champion
    assert endpoint.version() == champion
    assert endpoint.serves_everywhere(champion)
    figures = split(server.address, champion, candidate, made)
    for version in (champion, str(candidate)):
        taken = figures.quantile(0.95, version)
        assert taken is not None
        assert 0 < taken < 1
    assert f"serving_canary_version {float(candidate.number)}" in server.get("/metrics")

    rows = reports.version_rows(client, "canaries")
    [shown] = [row for row in rows if row[0] == str(candidate)]
    assert shown[1] == "canary"
    assert shown[4] == f"copy of {made['opposite']}"
    assert promotion.find_champion_copy(client, settings, made["champion"]) is not None
    for _ in range(2):
        canary.end(client, settings)
    assert [
        f"{PRODUCTION}/{one.version}" for one in versions.list_versions(client, PRODUCTION)
    ] == [champion]
    server.wait(lambda found: "canary" not in found)
    assert {version for _, version, _ in post(server.address, ROWS, 40)} == {champion}


def test_each_of_several_workers_splits_and_stops_in_time_without_a_registry(
    folder: Path,
    served: TrainedProject,
    client: MlflowClient,
    settings: Settings,
    made: dict[str, Version],
    variables: dict[str, str],
) -> None:
    champion = f"{PRODUCTION}/1"
    candidate = start(client, settings, made["opposite"], 0.3)
    with ServingProcess(folder, folder / "several.log", "--workers", "2", **variables) as several:
        endpoint = ServerClient(several.address)
        up = f"canary {candidate}:"
        wait_until(
            lambda: several.log.read_text().count(up) == 2 and endpoint.serves_everywhere(champion),
            START,
        )
        split(several.address, champion, candidate, made)
        start(client, settings, made["opposite"], 0.3, seconds=4)
        soon = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
        health = several.wait(lambda found: found["canary"]["until"] < soon)
        until = datetime.fromisoformat(health["canary"]["until"])
        time.sleep(0.5)  # some looks, so that each worker knows the end
        with served.server.frozen():
            seen = {version for _, version, _ in post(several.address, ROWS, 100)}
            assert datetime.now(UTC) > until or seen == {champion, str(candidate)}
            time.sleep(max(0, (until - datetime.now(UTC)).total_seconds()))
            answers = list(post(several.address, ROWS, 40))
            assert {(status, version) for status, version, _ in answers} == {(200, champion)}


def test_what_a_canary_refuses_is_answered_by_the_champion(
    server: ServingProcess, client: MlflowClient, settings: Settings, made: dict[str, Version]
) -> None:
    endpoint, champion = ServerClient(server.address), f"{PRODUCTION}/1"
    candidate = start(client, settings, made["lacking"])
    server.wait(running(candidate))
    before, right = endpoint.metrics(), offline(made["champion"])
    for status, version, got in post(server.address, ROWS, 100):
        assert (status, version, got) == (200, champion, right)
    figures = endpoint.metrics().since(before)
    assert figures.requests(champion) == 100
    assert 10 <= figures.failed(str(candidate)) == figures.requests(str(candidate)) <= 90
    assert (figures.failure_rate(str(candidate)), figures.failure_rate(champion)) == (1, 0)
    # A request that is wrong for both is the client's fault, not the canary's.
    assert {status for status, *_ in post(server.address, [{"size": "?"}], 40)} == {400}
    after = endpoint.metrics().since(before)
    assert after.failed(champion) == 40
    assert after.failed(str(candidate)) == figures.failed(str(candidate))
    told = '"canary":{"version":"' + str(candidate)  # in the line of a request
    wait_until(lambda: told in server.out.read_text(), START)


def test_a_canary_that_cannot_be_taken_up_is_said_and_costs_no_request(
    server: ServingProcess, client: MlflowClient, settings: Settings, made: dict[str, Version]
) -> None:
    champion = f"{PRODUCTION}/1"
    with pytest.raises(canary.CanaryError, match=r"above 0 and at most 0\.5, not 0\.6"):
        start(client, settings, made["opposite"], 0.6)
    other = start(client, settings, made["opposite"], files="0" * 64)
    health = server.wait(running(other))
    assert health["ready"]
    assert "its files are not those that were promoted" in health["canary"]["reason"]
    answers = list(post(server.address, ROWS, 40))
    assert {(status, version) for status, version, _ in answers} == {(200, champion)}

    client.set_registered_model_alias(PRODUCTION, "canary", "1")  # by hand, without a share
    server.wait(lambda found: "cannot be read" in str(found.get("canary")))
    canary.end(client, settings)
    server.wait(lambda found: "canary" not in found)
    assert str(versions.find_by_alias(client, PRODUCTION, versions.CHAMPION)) == champion


@pytest.mark.parametrize(("workers", "loaded"), [("1", True), ("2", False)])
def test_a_pinned_server_has_no_canary_and_ends_with_its_parent(
    folder: Path,
    client: MlflowClient,
    settings: Settings,
    made: dict[str, Version],
    variables: dict[str, str],
    workers: str,
    loaded: bool,
) -> None:
    start(client, settings, made["opposite"])
    command = [sys.executable, "-m", PACKAGE, "serve", "--port", "0"]
    command += ["--model", f"models:/{PRODUCTION}/1", "--workers", workers]
    starter = subprocess.Popen(
        [sys.executable, "-c", PARENT, *command],
        env={**os.environ, **variables, ROOT: str(folder)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    lines = starter.stderr
    assert lines is not None
    said = lines.readline()
    if loaded:
        address = said.split()[2]
        wait_until(lambda: "serving" in lines.readline(), START)
        time.sleep(0.5)
        health = ServerClient(address).health()
        assert health["ready"]
        assert "canary" not in health
    starter.kill()
    # Its end of the pipe is closed when no process of the server is left.
    rest = starter.communicate(timeout=START)[1]
    assert "Traceback" not in rest
