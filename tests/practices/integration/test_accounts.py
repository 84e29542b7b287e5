"""A server with accounts says who is at work, and nobody else does."""

import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow_practices import tracking
from mlflow_practices.registry import approval, decisions, promotion, reports, versions
from mlflow_practices.tracking import identity, store
from my_ml_project import pipeline

from projects import open_project
from servers import Server, mlflow_server

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="servers.py is for POSIX")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    """Return a server with two accounts."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, store=empty_store, accounts=True) as running:
        for name in ("ann", "ben"):
            running.add_account(name)
        yield running


@pytest.fixture
def plain() -> Iterator[str]:
    """Return the address of MLflow's own application without accounts, in a thread."""
    from mlflow.server import app
    from werkzeug.serving import make_server

    serving = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()
    serving.server_close()


def sign_in(patch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        patch.setenv(name, value)
    mlflow.set_tracking_uri(variables["MLFLOW_TRACKING_URI"])


@pytest.mark.parametrize("name", ["ann", "ben"])
def test_the_account_is_the_servers_word(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(monkeypatch, server.login(name))
    who = identity.current(tmp_path)
    assert who.account == str(who) == who.tags()["author_account"] == name


def test_the_credentials_file_works_too(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = server.login("ben")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow/credentials").write_text(
        "[mlflow]\n"
        f"mlflow_tracking_username = {login['MLFLOW_TRACKING_USERNAME']}\n"
        f"mlflow_tracking_password = {login['MLFLOW_TRACKING_PASSWORD']}\n"
    )
    mlflow.set_tracking_uri(server.address)
    assert identity.current(tmp_path).account == "ben"


def test_a_name_that_nobody_verified_is_no_account(
    server: Server, plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}")
    without_server = identity.current(tmp_path)
    sign_in(monkeypatch, {**server.login("ann"), "MLFLOW_TRACKING_URI": plain})
    assert identity.current(tmp_path) == without_server
    assert without_server.account is None


@pytest.mark.parametrize("password", ["not-her-password", ""])
def test_a_wrong_password_is_one_readable_line(
    server: Server, password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(monkeypatch, {**server.login("ann"), "MLFLOW_TRACKING_PASSWORD": password})
    with pytest.raises(identity.IdentityError) as caught:
        identity.current(tmp_path)
    assert "refuses the account or its password" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not password or password not in str(caught.value)


def test_a_killed_server_is_one_readable_line_and_knows_the_accounts_when_it_is_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(monkeypatch, server.login("ann"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server.kill()
    with pytest.raises(identity.IdentityError, match="no MLflow server answers there"):
        identity.current(tmp_path)
    server.start()
    assert identity.current(tmp_path).account == "ann"


def test_who_trains_cannot_promote(
    server: Server, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server with accounts, the rights on the model in production decide."""
    sign_in(monkeypatch, server.login("ann"))
    session = open_project(overrides=["approval.four_eyes=true"])
    version = pipeline.run(session).version
    with pytest.raises(decisions.ApprovalError, match="both are the account ann"):
        approval.approve_model("example", version.number, "it is mine", session)
    with server.administration() as rights:
        client = mlflow.MlflowClient(server.address)
        for phase in tracking.PHASES:
            found = client.get_experiment_by_name(f"example/{phase}")
            assert found is not None
            rights.grant_user_permission("ben", "experiment", found.experiment_id, "EDIT")
        rights.grant_user_permission("ben", "registered_model", "example", "EDIT")

    sign_in(monkeypatch, server.login("ben"))
    session = open_project(overrides=["approval.four_eyes=true"])
    record = approval.approve_model("example", version.number, "it is good", session)
    assert record.who["account"] == "ben"
    promoted = promotion.promote(session, version)  # who made the model in production may edit it
    assert reports.list_events(client, session.settings)[0].who == "ben"

    sign_in(monkeypatch, server.login("ann"))
    with pytest.raises(mlflow.MlflowException) as caught:
        client.set_registered_model_alias("example-production", versions.CHAMPION, "1")
    assert "the account may not do this" in store.error_message(caught.value)
    champion = versions.find_by_alias(client, "example-production", versions.CHAMPION)
    assert champion == promoted.champion
