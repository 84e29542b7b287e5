"""The checks of a server as a project runs them: against a right server, and against wrong ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow_practices.deployment import pipeline, serving_checks
from mlflow_practices.deployment.server_process import staging_server
from mlflow_practices.deployment.serving_checks import behaviour
from mlflow_practices.registry import versions
from mlflow_practices.tracking.session import Session
from my_ml_project.project import PROJECT

from http_servers import Answer, Request, http_server, send
from projects import ROOT, open_project
from servers import TrainedProject

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends processes by signals")
MODULES = ("test_behaviour", "test_http_api", "test_correctness", "test_latency")
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
LOCAL = "{data: {drop: [customer, price, seen]}, evaluation: {gates: {latency_ms: 100}}}"


@pytest.fixture(scope="module")
def session(served: TrainedProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Return a session of a trained project that has the tests of a rendered one."""
    folder = tmp_path_factory.mktemp("checked") / "project"
    shutil.copytree(served.folder, folder)
    shutil.copytree(PROJECT.root / "tests", folder / "tests")
    shutil.copy(PROJECT.root / "pyproject.toml", folder)
    (folder / behaviour.PATH).write_text(BEHAVIOUR)
    (folder / "configs/local.yaml").write_text(LOCAL)
    with pytest.MonkeyPatch.context() as patch:
        served.use(patch)
        patch.setenv(ROOT, str(folder))
        yield open_project()


@pytest.fixture(autouse=True)
def _here(session: Session, served: TrainedProject, monkeypatch: pytest.MonkeyPatch) -> None:
    served.use(monkeypatch)
    monkeypatch.setenv(ROOT, str(session.settings.root))


@pytest.fixture(scope="module")
def address(session: Session) -> Iterator[str]:
    """Return where the trained version is served."""
    version = versions.find(session.client, "example")
    with staging_server(session, version) as client:
        yield client.url


def outcomes(junit: str) -> dict[str, str]:
    """Return what came of each test, by its name: empty where it passed, else why not."""
    return {
        str(case.get("name")): " ".join(f"{bad.tag}: {bad.get('message')}" for bad in case)
        for case in ET.fromstring(junit).iter("testcase")
    }


def check(session: Session, url: str, folder: Path) -> dict[str, str]:
    """Return the outcomes of all checks of the server at ``url``."""
    report, tests = folder / "junit.xml", session.settings.root / "tests/serving"
    subprocess.run(
        [sys.executable, "-m", "pytest", str(tests), "--junit-xml", str(report)],
        cwd=session.settings.root,
        env={**os.environ, "SERVING_URL": url},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return outcomes(report.read_text())


@contextmanager
def changing(address: str, change: Callable[[bytes, Answer], Answer]) -> Iterator[str]:
    """Yield the address of a proxy that answers what ``change`` makes of the server's answer.

    ``change`` takes the body of the request and the answer.
    """

    def respond(request: Request) -> Answer:
        return change(request.body, send(address, request))

    with http_server(respond) as changed:
        yield changed


def test_a_right_server_passes_every_check(session: Session) -> None:
    shown = pipeline.stage(session, versions.find(session.client, "example"))
    run = session.client.get_run(shown.rpartition("/")[2])
    found = outcomes(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/junit/staging.xml"))
    folder = Path(str(serving_checks.__file__)).parent
    written = {
        name
        for module in MODULES
        for name in re.findall(r"def (test_\w+)", (folder / f"{module}.py").read_text())
    }
    assert {path.stem for path in folder.glob("test_*.py")} == set(MODULES)
    assert {name.partition("[")[0] for name in found} == written
    assert {name: said for name, said in found.items() if said} == {}
    assert run.data.metrics["staging_tests_passed"] == len(found) > 30


def test_a_server_that_answers_something_else_fails(
    session: Session, address: str, tmp_path: Path
) -> None:
    """Its answers are exchanged, and nothing else is wrong with it."""

    def exchange(_: bytes, answer: Answer) -> Answer:
        if b'"predictions"' not in answer.content or answer.status != 200:
            return answer
        swap = {b'"high"': b'"low"', b'"low"': b'"high"'}
        swapped = re.sub(rb'"high"|"low"', lambda word: swap[word[0]], answer.content)
        return answer._replace(content=swapped)

    with changing(address, exchange) as url:
        found = check(session, url, tmp_path)
    failed = {name for name, said in found.items() if said.startswith("failure")}
    checks = ("minimum_functionality", "direction")
    assert failed == {
        *(name for name in found if name.startswith(("test_a_batch_in", "test_single_rows"))),
        *(f"test_the_checks_of_the_project[{kind}]" for kind in checks),
    }
    said = found["test_the_checks_of_the_project[minimum_functionality]"]
    assert "'a large one in red': expected 'high', got 'low'" in said
    assert "row 0 of the test split" in found["test_single_rows"]


def test_a_server_that_breaks_its_contract_fails(
    session: Session, address: str, tmp_path: Path
) -> None:
    """It dawdles, keeps ids for itself, and repeats what was wrong with a request."""

    def spoil(body: bytes, answer: Answer) -> Answer:
        headers = {k: v for k, v in answer.headers.items() if k != "x-request-id"}
        content = answer.content
        if len(body) < 1000 and answer.status == 200:
            time.sleep(0.11)
        if answer.status == 400:
            said: dict[str, Any] = json.loads(content)
            content = json.dumps({**said, "message": f"{said['message']} {body!r}"}).encode()
        return Answer(answer.status, content, headers)

    with changing(address, spoil) as url:
        found = check(session, url, tmp_path)
    assert "latency_ms allows 100" in found["test_a_row_is_answered_in_time"]
    assert "expected the id sent" in found["test_the_id_of_a_request_comes_back"]
    for name in (
        "test_a_wrong_row_is_refused_by_its_column",
        "test_an_extra_column_is_refused_by_its_name",
        "test_a_body_that_is_not_a_table_is_refused[not Parquet]",
    ):
        assert "the refusal repeats the value that was sent" in found[name]
    assert not any(said for name, said in found.items() if name.startswith("test_a_batch_in"))


def test_another_program_fails_every_check(session: Session, address: str, tmp_path: Path) -> None:
    with changing(address, lambda *_: Answer(404, b"not here")) as url:
        found = check(session, url, tmp_path)
    assert len(found) > 30
    assert all(said.startswith(("failure: ", "error: ")) for said in found.values()), found
    assert "/openapi.json: status 404, not here" in found["test_it_documents_itself"]
