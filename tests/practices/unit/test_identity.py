"""Who is at work: git's word and the machine's, and when two may be one person."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow_practices.tracking import identity
from mlflow_practices.tracking.identity import Identity

from http_servers import Answer, Request, http_server

ANN = Identity(account="ann", email="ann@example.com", user="ann-laptop")


def respond(request: Request) -> Answer:
    """Answer with the status and the body that the path begins with: ``/200/<html>/...``."""
    _, status, body, *_ = request.path.split("/")
    return Answer(int(status), body.encode())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with http_server(respond) as address:
        yield address


@pytest.fixture(autouse=True)
def _local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # without a configuration of git
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for command in (["init", "--quiet"], ["config", "user.email", "ann@example.com"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_without_a_server_git_and_the_machine_say_who(repository: Path) -> None:
    who = identity.current(repository)
    assert who.account is None
    assert who.email == "ann@example.com"
    assert str(who) == f"ann@example.com (machine account {who.user})"


@pytest.mark.skipif(sys.platform == "win32", reason="the system's word for it is another")
def test_no_variable_changes_who(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity.current(repository)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "EMAIL"):
        monkeypatch.setenv(name, "eve")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL", "GIT_CONFIG_VALUE_0"):
        monkeypatch.setenv(name, "eve@example.com")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.email")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "eve")
    assert identity.current(repository) == before
    assert before.user == subprocess.check_output(["id", "-un"], text=True).strip()


def test_no_git_and_no_address_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert identity.current(tmp_path).email is None
    monkeypatch.setenv("PATH", "")
    who = identity.current(tmp_path)
    assert who.email is None
    assert str(who) == who.user


def test_a_user_number_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "getuid"):
        pytest.skip("Windows has no such numbers")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    monkeypatch.setenv("USER", "eve")
    monkeypatch.setenv("PATH", "")
    assert str(identity.current(Path.cwd())) == "unknown"


@pytest.mark.parametrize("answer", ["404/no such page", "200/<html>", "200/[]", "200/{}"])
def test_a_server_without_accounts_gives_none(repository: Path, address: str, answer: str) -> None:
    mlflow.set_tracking_uri(f"{address}/{answer}")
    who = identity.current(repository)
    assert who.account is None
    assert who.email == "ann@example.com"


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        ("401/no", "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("403/no", "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("405/no", "the server answered 405"),
        ("503/no", "no MLflow server answers there"),
    ],
)
def test_any_other_answer_is_an_error(
    repository: Path, address: str, answer: str, remedy: str
) -> None:
    mlflow.set_tracking_uri(f"{address.replace('//', '//eve:hunter2@')}/{answer}")
    with pytest.raises(identity.IdentityError) as caught:
        identity.current(repository)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_down_is_an_error(repository: Path) -> None:
    mlflow.set_tracking_uri("http://127.0.0.1:1")
    with pytest.raises(identity.IdentityError, match=r"^http://127\.0\.0\.1:1: no MLflow server"):
        identity.current(repository)


@pytest.mark.parametrize(
    "who",
    [
        ANN,
        Identity(),
        Identity(user="root"),
        Identity(email="ann@example.com"),
        Identity(account="robot", user="runner", github="ann"),
    ],
)
def test_tags_and_records_remember_who(who: Identity) -> None:
    assert Identity.from_tags({"email": "eve@example.com", **who.tags()}) == who
    assert Identity.from_dict(who.as_dict()) == who
    assert who.tags()["author"] == str(who)
    assert all(who.tags().values())
    assert all(who.as_dict().values())


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Identity(account="ann"), "both are the account ann"),
        (Identity(email="Ann@Example.com"), "e-mail address of git ann@example.com"),
        (Identity(email="x@example.com", user="ann-laptop"), "machine account ann-laptop"),
        (Identity(email="x@example.com", user="root"), ""),
        (Identity(user="root"), ""),
        # Accounts alone decide where both have one: two people may share a machine.
        (Identity(account="ben", email="ann@example.com", user="ann-laptop"), ""),
        (Identity(account="ANN"), ""),
        (Identity(), "no name of one can be compared"),
    ],
)
def test_same_person(other: Identity, same: str) -> None:
    for said in (identity.same_person(ANN, other), identity.same_person(other, ANN)):
        assert same.casefold() in said.casefold()
        assert bool(said) == bool(same)


PUSHED = Identity(account="trainer", user="runner", github="Ann")


@pytest.mark.parametrize(
    ("trainer", "other", "same"),
    [
        (PUSHED, Identity(github="ann"), "both are ann on GitHub"),
        (PUSHED, Identity(github="ben"), ""),
        (PUSHED, Identity(account="deployer", user="runner", github="ben"), ""),
        (PUSHED, Identity(account="ben", user="laptop"), ""),
        # She decides by hand, under the account that is named like her login.
        (PUSHED, Identity(account="ann", user="laptop"), "both are ann on GitHub"),
        # Somebody who pretends to work on GitHub is still the account.
        (PUSHED, Identity(account="trainer", github="ben"), "both are the account trainer"),
        # Without accounts, a robot's machine tells nobody apart, and makes nobody the same.
        (Identity(user="runner", github="ann"), Identity(user="runner", github="ben"), ""),
        (
            Identity(user="runner", github="ann"),
            Identity(user="laptop"),
            "no name of one can be compared",
        ),
    ],
)
def test_on_github_who_started_or_reviewed_a_workflow_is_the_person(
    trainer: Identity, other: Identity, same: str
) -> None:
    for said in (identity.same_person(trainer, other), identity.same_person(other, trainer)):
        assert same.casefold() in said.casefold()
        assert bool(said) == bool(same)
