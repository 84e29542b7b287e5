"""Deployments with real servers: what serves, whatever breaks on the way."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_practices.data import versioning
from mlflow_practices.deployment import pipeline, server_process
from mlflow_practices.deployment.pipeline import Deployed
from mlflow_practices.deployment.pipeline_steps import (
    Deployment,
    DeploymentError,
    check_preconditions,
    verify_production,
)
from mlflow_practices.deployment.production_server import ProductionServer
from mlflow_practices.deployment.server_client import ServerClient, ServerError
from mlflow_practices.errors import PracticeError
from mlflow_practices.registry import approval, promotion, reports, versions
from mlflow_practices.registry.versions import Version
from mlflow_practices.tracking import store
from mlflow_practices.tracking.session import Session
from my_ml_project import model_deployment, model_evaluation, model_training
from my_ml_project.project import PROJECT

from projects import (
    PACKAGE,
    PREFIX,
    ROOT,
    make_project,
    make_table,
    open_project,
    run_command,
    train,
)
from servers import ServingProcess, TrainedProject, free_port, mlflow_server, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends processes by signals")
PRODUCTION = "example-production"
LONGEST = 300  # seconds of a whole deployment on a busy machine
ROW = {"size": 50.0, "count": 3, "colour": "red", "active": True}
# In place of tests/serving, which takes longer: asks what is served, and then does what the file
# named after the place says.
CHECKS = """
import json, os, pathlib, pytest, time, urllib.request

@pytest.mark.smoke
def test_it() -> None:
    with urllib.request.urlopen(os.environ["SERVING_URL"] + "/version") as answer:
        served = json.load(answer)
    place = "production" if served["name"].endswith("-production") else "staging"
    act = pathlib.Path(__file__).with_name(place + ".txt")
    exec(act.read_text() if act.exists() else "", {**globals(), "served": served})
"""
KILL_THE_SERVER = """
children = f"/proc/{os.getppid()}/task/{os.getppid()}/children"
words = {p: open(f"/proc/{p}/cmdline").read() for p in open(children).read().split()}
[server] = [p for p in words if "--parent" in words[p]]
os.kill(int(server), 9)
raise AssertionError("the server is gone")
"""


class Shop:
    """A project with a champion in production and a version that may be promoted."""

    def __init__(self, served: TrainedProject) -> None:
        self.served, self.folder = served, served.folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def variables(self, **more: object) -> dict[str, str]:
        """Return the variables of a process that works in it."""
        values = {
            "SERVING__PORT": self.port,
            "SERVING__POLL_SECONDS": 0.1,
            "DEPLOYMENT__TESTS": "checks",
            "DEPLOYMENT__SWITCH_SECONDS": 60,
            "DEPLOYMENT__WATCH__SECONDS": 1,
            **more,
        }
        return {
            "MLFLOW_TRACKING_URI": self.served.server.address,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # of the checks, which start faster so
            ROOT: str(self.folder),
            **{PREFIX + name: str(value) for name, value in values.items()},
        }

    def session(self, **more: object) -> Session:
        """Return a session under more variables."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables(**more).items():
                patch.setenv(name, value)
            return open_project()

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.served.server.address)

    def approved(self, session: Session, version: Version) -> Version:
        """Evaluate a version beside the champion of now, and approve it."""
        model_evaluation.run(session, version).require_passed()
        approval.approve_model(version.name, version.number, "good enough", session)
        return version

    def act(self, place: str, code: str) -> None:
        """Have the checks do something at a place."""
        (self.folder / f"checks/{place}.txt").write_text(code)

    def champion(self) -> str:
        """Return what the registry calls champion."""
        return str(versions.find_by_alias(self.client, PRODUCTION, versions.CHAMPION))

    def last(self, action: str = "deployment") -> Run:
        """Return the last run of an action."""
        [experiment] = self.client.search_experiments(
            filter_string="name = 'example/model-deployment'"
        )
        which = f"tags.action = '{action}'"
        found: Run = self.client.search_runs([experiment.experiment_id], which, max_results=1)[0]
        return found

    def command(self, *words: str, **more: object) -> subprocess.Popen[str]:
        """Start the command line in it."""
        return subprocess.Popen(
            [sys.executable, "-m", PACKAGE, *words],
            env={**os.environ, **self.variables(**more)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Shop]:
    """Return a project whose first version was deployed to a server that nobody had started."""
    folder = tmp_path_factory.mktemp("shop")
    make_project(folder, make_table(), empty_store)
    (folder / "configs/local.yaml").write_text(
        "data: {drop: [customer, price, seen]}\nevaluation: {gates: {latency_ms: 1000}}"
    )
    (folder / "checks").mkdir()
    (folder / "checks/test_quick.py").write_text(CHECKS)
    shutil.copy(PROJECT.root / "requirements.txt", folder)
    for words in (["init", "--quiet"], ["config", "user.email", "ann@example.com"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    with mlflow_server(tmp_path_factory.mktemp("registry"), store=empty_store) as server:
        made = Shop(TrainedProject(folder, server))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in made.variables().items():
                patch.setenv(name, value)
            session = open_project()
            done = deploy(session, made.approved(session, train(session)))
            assert str(done.champion) == f"{PRODUCTION}/1"
        try:
            yield made
        finally:
            ProductionServer(session).stop()


def trained(shop: Shop, *overrides: str) -> tuple[Session, Version]:
    """Return a session, and a version trained under overrides."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shop.variables().items():
            patch.setenv(name, value)
        settings = open_project().settings
        manifest = versioning.load_manifest(settings.path(settings.data.processed))
        other = open_project(overrides=overrides)
        return open_project(), model_training.run(other, manifest).version


@pytest.fixture(scope="module")
def candidate(shop: Shop) -> Version:
    """Return a version that may be promoted beside the first."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shop.variables().items():
            patch.setenv(name, value)
        return shop.approved(*trained(shop, "training.params.n_estimators=20"))


@pytest.fixture(scope="module")
def unapproved(shop: Shop, candidate: Version) -> Version:
    """Return a version that nobody has looked at."""
    return trained(shop, "training.params.n_estimators=2")[1]


@pytest.fixture(autouse=True)
def _normal(shop: Shop, _own_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in the shop; afterwards take the acts away."""
    for name, value in shop.variables().items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(shop.served.server.address)
    yield
    for act in (shop.folder / "checks").glob("*.txt"):
        act.unlink()
    mlflow.end_run()


@contextmanager
def load(url: str) -> Iterator[list[object]]:
    """Ask a hundred times a second; yield what went wrong."""
    wrong: list[object] = []
    ended = threading.Event()
    asked = [0]
    body = json.dumps({"dataframe_records": [ROW]})

    def ask() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        while not ended.is_set():
            try:
                connection.request(
                    "POST", "/invocations", body, {"Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200:
                    wrong.append((answer.status, content))
            except (OSError, http.client.HTTPException) as error:
                wrong.append(error)
                connection.close()
            asked[0] += 1
            time.sleep(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        ended.set()
        thread.join()
    assert asked[0] > 100


def count_openings(patch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each function that opens the store."""
    opened: list[str] = []

    def counted(name: str) -> Callable[..., MlflowClient]:
        open_it = getattr(store, name)

        def count(*words: object) -> MlflowClient:
            opened.append(name)
            return cast(MlflowClient, open_it(*words))

        return count

    for name in ("connect", "open_store"):
        patch.setattr(store, name, counted(name))
    return opened


def deploy(session: Session, version: Version) -> Deployed:
    done: Deployed = model_deployment.run(session, version)
    return done


def refused(shop: Shop, session: Session, version: Version) -> str:
    """Return why a version is not deployed; the first goes on being the champion, and serves."""
    with pytest.raises(PracticeError) as caught:
        deploy(session, version)
    assert shop.champion() == f"{PRODUCTION}/1"
    return str(caught.value)


def recorded(shop: Shop) -> list[tuple[str, str, str]]:
    """Return name, outcome and note of each step of the last deployment."""
    text = mlflow.artifacts.load_text(f"{shop.last().info.artifact_uri}/steps.json")
    return [(step["name"], step["outcome"], step["note"]) for step in json.loads(text)["steps"]]


def serves(shop: Shop, version: str) -> bool:
    return ServerClient(shop.url).serves_everywhere(f"{PRODUCTION}/{version}")


def test_the_first_deployment_is_recorded_step_by_step(shop: Shop) -> None:
    assert serves(shop, "1")
    run = shop.last()
    assert run.info.status == "FINISHED"
    assert run.data.tags["outcome"] == f"deployed as {PRODUCTION}/1"
    assert run.data.tags["author"].startswith("ann@example.com")
    names = ["preconditions", "staging tests", "canary", "promotion", "production"]
    names += ["smoke tests", "live metrics"]
    steps = recorded(shop)
    assert [step[:2] for step in steps] == [(name, "done") for name in names]
    assert steps[2][2] == "none: deployment.canary.share is 0"
    for name in names:
        assert run.data.metrics[f"seconds_{name}"] >= 0
    assert run.data.metrics["staging_tests_passed"] == 1
    assert run.data.metrics["production_tests_failed"] == 0
    for place in ("staging", "production"):
        junit = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/junit/{place}.xml")
        assert 'name="test_it"' in junit


def test_the_champion_needs_no_deployment_but_a_server(shop: Shop) -> None:
    session = shop.session()
    assert ProductionServer(session).stop()
    with pytest.raises(ServerError):
        ServerClient(shop.url).version()
    done = deploy(session, versions.resolve(shop.client, "example/1", "example"))
    assert [step.name for step in done.steps] == ["production"]
    assert serves(shop, "1")


def test_without_approval_nothing_starts(shop: Shop, unapproved: Version) -> None:
    said = refused(shop, shop.session(), unapproved)
    assert f"{unapproved} cannot be deployed:\n  no finished evaluation" in said
    assert shop.last().info.status == "FAILED"


def test_another_environment_than_the_pinned_one_is_refused(shop: Shop, candidate: Version) -> None:
    pins = shop.folder / "requirements.txt"
    before = pins.read_text()
    pins.write_text(f"{before}pytest==1.0\nnobody-has-this==1.0 ; python_version < '3'\n")
    try:
        said = refused(shop, shop.session(), candidate)
    finally:
        pins.write_text(before)
    assert said.count("run `make setup`") == 1
    assert "pinned is ==1.0" in said


def test_what_fails_on_staging_is_not_promoted(shop: Shop, candidate: Version) -> None:
    shop.act("staging", "raise AssertionError('expected high, got low')")
    with load(shop.url) as wrong:
        said = refused(shop, shop.session(), candidate)
    assert "1 of 1 tests failed:\n  test_it: AssertionError: expected high, got low" in said
    assert not wrong
    assert serves(shop, "1")
    assert shop.last().data.metrics["staging_tests_failed"] == 1


def test_staging_without_a_promotion(shop: Shop, candidate: Version) -> None:
    assert pipeline.stage(shop.session(), candidate)
    assert shop.last("staging").data.tags["outcome"] == "passed its tests"
    assert shop.champion() == f"{PRODUCTION}/1"


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the server in /proc")
def test_staging_that_crashes_in_its_tests(shop: Shop, candidate: Version) -> None:
    shop.act("staging", KILL_THE_SERVER)
    assert "the server is gone" in refused(shop, shop.session(), candidate)
    assert serves(shop, "1")


def test_staging_that_never_gets_ready_shows_its_log(shop: Shop, candidate: Version) -> None:
    said = refused(shop, shop.session(DEPLOYMENT__READY_SECONDS=1), candidate)
    assert "the server was not ready within 1 s; its log" in said
    broken = shop.session()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", "http://no-redis")
        patch.setattr(
            server_process.ServerProcess,
            "__init__",
            _with_redis(server_process.ServerProcess.__init__),
        )
        said = refused(shop, broken, candidate)
    assert "the server ended with exit code 1; its log ends:\n  error: " in said
    assert "REDIS_URL" in said


def _with_redis(start: Callable[..., None]) -> Callable[..., None]:
    """Let a staging server see REDIS_URL, which it otherwise must not."""

    def changed(self: object, session: Session, log: Path, words: Any, variables: Any) -> None:
        start(self, session, log, words, {k: v for k, v in variables.items() if v is not None})

    return changed


def test_a_port_that_another_program_has(shop: Shop, candidate: Version) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    ) as other:
        assert other.stdout is not None
        port = other.stdout.readline().split("port ")[1].split(" ")[0]
        session = shop.session(SERVING__PORT=port, DEPLOYMENT__SWITCH_SECONDS=1)
        try:
            said = refused(shop, session, candidate)
        finally:
            other.terminate()
    assert f"http://127.0.0.1:{port} did not serve {PRODUCTION}/1 within 1 s" in said
    assert shop.last().data.tags["model_version"] == str(candidate)


def test_production_that_is_away(shop: Shop, candidate: Version) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    session = shop.session(
        DEPLOYMENT__TARGET="kubernetes", DEPLOYMENT__URL=away, DEPLOYMENT__SWITCH_SECONDS=1
    )
    said = refused(shop, session, candidate)
    assert f"{away} did not serve {PRODUCTION}/1 within 1 s" in said
    assert "is the server running" in said


def test_production_that_stays_at_the_old_version(
    shop: Shop, candidate: Version, tmp_path: Path
) -> None:
    pinned = ["--model", f"models:/{PRODUCTION}/1"]
    with ServingProcess(shop.folder, tmp_path / "log", *pinned, **shop.variables()) as stuck:
        session = shop.session(
            DEPLOYMENT__TARGET="docker",
            DEPLOYMENT__URL=stuck.address,
            DEPLOYMENT__SWITCH_SECONDS=3,
        )
        with load(stuck.address) as wrong:
            said = refused(shop, session, candidate)
    assert "within 3 s; it serves example-production/1" in said
    assert f"rolled back: {stuck.address} serves {PRODUCTION}/1 again" in said
    assert not wrong


def test_what_fails_in_production_is_rolled_back_and_loses_no_request(
    shop: Shop, candidate: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_the_new_one = "assert served['version'] == 1, 'the new one is no good'"
    shop.act("production", only_the_new_one)
    opened = count_openings(monkeypatch)
    with load(shop.url) as wrong:
        done = run_command("deploy", str(candidate))
        assert opened == ["connect", "open_store"]
        assert shop.champion() == f"{PRODUCTION}/1"
        assert serves(shop, "1")
    assert not wrong
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {candidate}: 1 of 1 tests failed:")
    assert "the new one is no good" in done.stderr
    assert done.stderr.endswith(f"rolled back: {shop.url} serves {PRODUCTION}/1 again\n")
    run = shop.last()
    assert run.info.status == "FAILED"
    assert run.data.tags["outcome"].startswith("rolled back")
    outcomes = {name: outcome for name, outcome, _ in recorded(shop)}
    assert outcomes["smoke tests"] == "failed"
    assert outcomes["rollback"] == outcomes["smoke tests again"] == "done"
    back = shop.last("rollback")
    assert "the new one is no good" in back.data.tags["reason"]
    left = shop.client.get_model_version(PRODUCTION, back.data.tags["model_version"].split("/")[1])
    assert "the new one is no good" in left.tags["rolled_back"]


def confirm_the_budget(taken: Deployment) -> str:
    """Stand for a step of a project's own that has something to say."""
    return f"enough for {taken.candidate}"


def announce(taken: Deployment) -> str:
    """Stand for a step of a project's own that fails."""
    raise RuntimeError("nobody listens")


def test_a_step_of_ones_own_that_fails_before_the_promotion_leaves_production_untouched(
    shop: Shop, candidate: Version
) -> None:
    before = versions.list_versions(shop.client, PRODUCTION)
    steps = [check_preconditions, confirm_the_budget, announce]
    with pytest.raises(RuntimeError, match="nobody listens"):
        pipeline.deploy_model_pipeline(candidate, shop.session(), steps, [verify_production])
    assert recorded(shop)[1:] == [
        ("the budget", "done", f"enough for {candidate}"),
        ("announce", "failed", ""),
    ]
    assert shop.last().info.status == "FAILED"
    assert versions.list_versions(shop.client, PRODUCTION) == before
    assert shop.champion() == f"{PRODUCTION}/1"
    assert serves(shop, "1")


def test_a_step_of_ones_own_that_fails_after_the_promotion_rolls_back(
    shop: Shop, candidate: Version
) -> None:
    promoted: list[Version] = []

    def note_the_champion(taken: Deployment) -> str:
        promoted.append(taken.promoted)
        return f"it is {taken.promoted}"

    def say_nothing(taken: Deployment) -> None:
        assert taken.evidence.model_digest  # of before the promotion, which it outlives

    def refuse(taken: Deployment) -> str:
        raise promotion.PromotionError("nobody listens")  # as a refused promotion does

    after = [verify_production, note_the_champion, say_nothing, refuse]
    with pytest.raises(DeploymentError) as caught:
        pipeline.deploy_model_pipeline(candidate, shop.session(), [check_preconditions], after)
    assert str(caught.value) == (
        f"{candidate}: nobody listens\n  rolled back: {shop.url} serves {PRODUCTION}/1 again"
    )
    outcomes = {name: (outcome, note) for name, outcome, note in recorded(shop)}
    assert outcomes["the champion"] == ("done", f"it is {promoted[0]}")
    assert outcomes["nothing"] == ("done", "")
    assert outcomes["refuse"] == ("failed", "")
    assert outcomes["rollback"][0] == "done"
    left = shop.client.get_model_version(PRODUCTION, str(promoted[0].number))
    assert "nobody listens" in left.tags["rolled_back"]
    assert shop.champion() == f"{PRODUCTION}/1"
    assert serves(shop, "1")


def test_a_version_that_is_too_slow_is_noticed_in_the_watch(shop: Shop, candidate: Version) -> None:
    session = shop.session(DEPLOYMENT__WATCH__MAX_LATENCY_MS=0.001)
    said = refused(shop, session, candidate)
    assert "deployment.watch.max_latency_ms is 0.001" in said
    assert serves(shop, "1")


def test_a_version_that_refuses_what_came_before_is_noticed_in_the_watch(
    shop: Shop, candidate: Version
) -> None:
    bad = json.dumps({"dataframe_records": [{"nothing": 1}]}).encode()
    shop.act("production", "time.sleep(1) if served['version'] != 1 else None")
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():  # as clients whose requests the new version no longer takes
            connection = http.client.HTTPConnection(urlsplit(shop.url).netloc, timeout=10)
            if not serves_first():
                connection.request(
                    "POST", "/invocations", bad, {"Content-Type": "application/json"}
                )
                assert connection.getresponse().status == 400
            connection.close()
            time.sleep(0.02)

    def serves_first() -> bool:
        with suppress(ServerError):
            return ServerClient(shop.url).version() == f"{PRODUCTION}/1"
        return True

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        said = refused(shop, shop.session(DEPLOYMENT__WATCH__SECONDS=3), candidate)
    finally:
        ended.set()
        thread.join()
    assert "deployment.watch.max_error_rate is 1.00%" in said
    assert serves(shop, "1")


def test_production_that_dies_is_started_with_the_former_champion(
    shop: Shop, candidate: Version
) -> None:
    pid = shop.folder / "models/serving/production.pid"
    shop.act(
        "production",
        f"if served['version'] != 1: os.kill({pid.read_text()}, 9); raise AssertionError('gone')",
    )
    said = refused(shop, shop.session(), candidate)
    assert f"rolled back: {shop.url} serves {PRODUCTION}/1 again" in said
    assert serves(shop, "1")


def test_somebody_elses_promotion_is_not_undone(
    shop: Shop, candidate: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the new version is watched, somebody rolls back by hand."""
    session = shop.session(DEPLOYMENT__WATCH__SECONDS=LONGEST)
    by_hand: list[subprocess.Popen[str]] = []
    shop.act("production", "pathlib.Path(__file__).with_name('seen.txt').touch()")

    def roll_back() -> None:
        wait_until((shop.folder / "checks/seen.txt").exists, LONGEST)
        by_hand.append(shop.command("rollback", "--reason", "complaints"))

    thread = threading.Thread(target=roll_back)
    thread.start()
    said = refused(shop, session, candidate)
    thread.join()
    out, err = by_hand[0].communicate(timeout=LONGEST)
    assert by_hand[0].returncode == 0, err
    assert f"{PRODUCTION}/1 is the champion again" in out
    assert f"somebody made {PRODUCTION}/1 the champion meanwhile" in said
    assert "nothing was rolled back" in said
    assert serves(shop, "1")


@pytest.mark.parametrize("comes_back", [True, False])
def test_the_registry_is_lost_after_the_promotion(
    shop: Shop, candidate: Version, comes_back: bool
) -> None:
    folder = shop.folder / "checks"
    shop.act(
        "production",
        "if served['version'] != 1:\n"
        "    pathlib.Path(__file__).with_name('now.txt').touch()\n"
        "    while not pathlib.Path(__file__).with_name('killed.txt').exists(): time.sleep(0.01)\n"
        "    raise AssertionError('no good')",
    )

    def lose() -> None:
        wait_until((folder / "now.txt").exists, LONGEST)
        shop.served.server.kill()
        (folder / "killed.txt").touch()
        if comes_back:
            time.sleep(2)
            shop.served.server.start()

    thread = threading.Thread(target=lose)
    thread.start()
    limit = 60 if comes_back else 2
    deploying = shop.command("deploy", str(candidate), DEPLOYMENT__SWITCH_SECONDS=limit)
    said = deploying.communicate(timeout=LONGEST)[1]
    thread.join()
    assert said.startswith(f"error: {candidate}: 1 of 1 tests failed:\n  test_it: "), said
    assert deploying.returncode == 1
    if comes_back:
        assert f"rolled back: {shop.url} serves {PRODUCTION}/1 again" in said
    else:
        new = ServerClient(shop.url).version()
        assert new != f"{PRODUCTION}/1"
        assert "not rolled back, since the registry does not answer" in said
        assert f"{shop.url} serves {new}; when it does" in said
        assert "run `rollback`" in said
        shop.served.server.start()
        pipeline.rollback(shop.session(), "as it said")
    assert said.count("error:") == 1
    assert shop.champion() == f"{PRODUCTION}/1"
    assert serves(shop, "1")


@pytest.mark.parametrize("registry_lost", [False, True])
def test_a_promotion_that_took_effect_and_did_not_return_is_taken_back(
    shop: Shop, candidate: Version, monkeypatch: pytest.MonkeyPatch, registry_lost: bool
) -> None:
    set_alias = MlflowClient.set_registered_model_alias
    back = threading.Timer(1, shop.served.server.start)

    def interrupted(client: MlflowClient, name: str, alias: str, version: str) -> None:
        set_alias(client, name, alias, version)
        if alias == versions.CHAMPION:
            monkeypatch.setattr(MlflowClient, "set_registered_model_alias", set_alias)
            if not registry_lost:
                raise SystemExit(143)  # as SIGTERM does
            shop.served.server.kill()
            back.start()

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", interrupted)
    session = shop.session()
    if registry_lost:
        said = refused(shop, session, candidate)
        back.join()
        assert f"rolled back: {shop.url} serves {PRODUCTION}/1" in said
    else:
        with pytest.raises(SystemExit):
            deploy(session, candidate)
        assert shop.last("rollback").data.tags["reason"] == "the deployment was ended"
    assert shop.last().data.tags["outcome"].startswith("rolled back")
    assert shop.last("promotion").info.status in ("FAILED", "KILLED")  # or it would block others
    assert shop.champion() == f"{PRODUCTION}/1"
    assert serves(shop, "1")


def test_of_two_deployments_at_once_the_second_learns_who_is_first(
    shop: Shop, candidate: Version
) -> None:
    shop.act("staging", "time.sleep(3); raise AssertionError('on purpose')")
    both = [shop.command("deploy", str(candidate)) for _ in range(2)]
    said = [process.communicate(timeout=LONGEST)[1] for process in both]
    assert [process.returncode for process in both] == [1, 1], said
    assert sum("on purpose" in text for text in said) == 1, said
    [second] = [text for text in said if "on purpose" not in text]
    first = both[said.index(second) - 1]
    assert f"error: the deployment of {candidate} by " in second
    assert f" came first ({socket.gethostname()}:{first.pid}), until 20" in second
    assert second.count("\n") == 1
    assert shop.champion() == f"{PRODUCTION}/1"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_deployment_that_is_ended_leaves_no_staging_server_and_no_lock(
    shop: Shop, candidate: Version, unapproved: Version, how: signal.Signals
) -> None:
    here = shop.folder / "checks/here.txt"
    address = "os.environ['SERVING_URL']"
    shop.act(
        "staging",
        f"pathlib.Path(__file__).with_name('here.txt').write_text({address}); time.sleep(30)",
    )
    first = shop.command("deploy", str(candidate))
    wait_until(lambda: here.exists() and bool(here.read_text()), LONGEST)
    staging = here.read_text()
    assert ServerClient(staging).is_listening()
    first.send_signal(how)
    first.communicate(timeout=LONGEST)
    assert first.returncode == {2: 130, 15: 143, 9: -9}[how]
    wait_until(lambda: not ServerClient(staging).is_listening())
    assert serves(shop, "1")
    assert "cannot be deployed" in refused(shop, shop.session(), unapproved)  # the lock is free


def test_a_deployment_that_is_ended_after_the_promotion_goes_back(
    shop: Shop, candidate: Version
) -> None:
    here = shop.folder / "checks/here.txt"
    shop.act(
        "production",
        "pathlib.Path(__file__).with_name('here.txt').touch()\n"
        "time.sleep(30 if served['version'] != 1 else 0)",
    )
    with load(shop.url) as wrong:
        first = shop.command("deploy", str(candidate))
        wait_until(here.exists, LONGEST)
        assert shop.champion() != f"{PRODUCTION}/1"
        first.terminate()
        first.communicate(timeout=LONGEST)
        assert first.returncode == 143
        assert shop.champion() == f"{PRODUCTION}/1"
        assert serves(shop, "1")
    assert not wrong


def test_a_canary_that_is_too_slow_or_not_asked_is_not_promoted(
    shop: Shop, candidate: Version
) -> None:
    canary = {"DEPLOYMENT__CANARY__SHARE": 0.5, "DEPLOYMENT__CANARY__SECONDS": 2}
    said = refused(shop, shop.session(**canary), candidate)
    assert "fewer than deployment.canary.min_requests (50)" in said
    with load(shop.url) as wrong:
        said = refused(
            shop, shop.session(**canary, DEPLOYMENT__WATCH__MAX_LATENCY_MS=0.001), candidate
        )
    assert "deployment.watch.max_latency_ms" in said
    assert not wrong
    assert not [
        made
        for made in versions.list_versions(shop.client, PRODUCTION)
        if "canary_share" in made.tags
    ]


def test_a_first_deployment_that_fails_leaves_no_champion_and_no_server(shop: Shop) -> None:
    session = shop.session()
    ProductionServer(session).stop()
    shop.client.delete_registered_model_alias(PRODUCTION, versions.CHAMPION)
    shop.act("production", "raise AssertionError('no good')")
    try:
        with pytest.raises(DeploymentError, match="there was none before; its server"):
            deploy(session, versions.resolve(shop.client, "example/1", "example"))
        assert shop.champion() == "None"
        assert not ServerClient(shop.url).is_listening()
        with pytest.raises(ServerError, match="exit code 1"):
            ProductionServer(session).start()
    finally:
        shop.client.set_registered_model_alias(PRODUCTION, versions.CHAMPION, "1")
    (shop.folder / "checks/production.txt").unlink()
    assert [
        step.name for step in deploy(session, versions.resolve(shop.client, "example/1", "")).steps
    ]


def test_a_deployment_and_a_rollback_by_hand_lose_no_request(
    shop: Shop, candidate: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = {"SHARE": 0.3, "SECONDS": 2, "MIN_REQUESTS": 10, "MAX_SLOWDOWN": 20}
    session = shop.session(**{f"DEPLOYMENT__CANARY__{name}": canary[name] for name in canary})
    opened = count_openings(monkeypatch)
    with load(shop.url) as wrong:
        done = deploy(session, candidate)
        assert opened == ["connect", "open_store"]
        new = done.champion.number
        assert serves(shop, str(new))
        [tried] = [step for step in done.steps if step.name == "canary"]
        assert "champion: " in tried.note
        assert str(versions.find_by_alias(shop.client, PRODUCTION, "previous")) == f"{PRODUCTION}/1"
        assert pipeline.rollback(session, "customers complain").number == 1
        assert serves(shop, "1")
    assert not wrong
    assert shop.last("rollback").data.tags["reason"] == "customers complain"
    with pytest.raises(promotion.PromotionError, match="replaced no version"):
        pipeline.rollback(session, "once more")
    with pytest.raises(promotion.PromotionError, match="no reason is given"):
        pipeline.rollback(session, " ")
    back, forth = [
        event
        for event in reports.list_events(shop.client, session.settings)
        if event.action in ("deployment", "rollback")
    ][:2]
    assert (back.action, back.version) == ("rollback", f"{PRODUCTION}/{new}")
    assert (forth.action, forth.version) == ("deployment", str(candidate))
    assert forth.result == f"deployed as {PRODUCTION}/{new}"
    approval.reject_model("example", 1, "it was worse after all", session)
    again = deploy(shop.session(), candidate)
    with pytest.raises(promotion.PromotionError, match=r"rejected by ann@example\.com"):
        pipeline.rollback(session, "back")
    assert shop.champion() == str(again.champion)
