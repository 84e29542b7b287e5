"""Who let a job of GitHub Actions into its environment; GitHub's API is a local server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow_practices.registry import approval, decisions, signing
from mlflow_practices.tracking import github, identity
from mlflow_practices.tracking.session import Session

import projects
from http_servers import Answer, Request, http_server

TOKEN = "ghs_notforeyes"


def review(login: str, state: str = "approved", environment: str = "production") -> dict[str, Any]:
    """Return an entry of the review history, as GitHub documents it."""
    return {
        "state": state,
        "comment": "Ship it!",
        "environments": [{"id": 161088068, "name": environment, "html_url": "https://..."}],
        "user": {"login": login, "id": 1, "type": "User", "site_admin": False},
    }


class GitHub:
    """What the server answers, the last answer again and again; and what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, str]] = []
        self.asked: list[tuple[str, str | None]] = []

    def will_answer(self, body: object, status: int = 200, location: str = "") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, content, location))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """Return GitHub's API, as a step of a job in run 42 sees it."""
    world = GitHub()

    def respond(request: Request) -> Answer:
        world.asked.append((request.path, request.headers.get("Authorization")))
        status, content, location = world.answers[0]
        if len(world.answers) > 1:
            del world.answers[0]
        return Answer(status, content, {"location": location} if location else {})

    with http_server(respond) as address:
        variables = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTOR": "ann",
            "GITHUB_API_URL": address,
            "GITHUB_REPOSITORY": "acme/churn",
            "GITHUB_RUN_ID": "42",
            "GITHUB_TOKEN": TOKEN,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield world


def test_reviewers_are_who_approved_that_environment(api: GitHub) -> None:
    api.will_answer(
        [
            review("eve", state="rejected"),
            review("dan", environment="development"),
            review("ben"),
            review("cleo"),
        ]
    )
    assert github.reviewers("production") == ["ben", "cleo"]
    assert api.asked == [("/repos/acme/churn/actions/runs/42/approvals", f"Bearer {TOKEN}")]
    assert github.reviewers("staging") == []


def test_a_passing_fault_of_github_is_passed_over(api: GitHub) -> None:
    api.will_answer({"message": "Bad Gateway"}, status=502)
    api.will_answer(b"<html>")
    api.will_answer([review("ben")])
    assert github.reviewers("production") == ["ben"]
    assert len(api.asked) == 3


@pytest.mark.parametrize(
    ("status", "body", "remedy"),
    [
        (401, {"message": "Bad credentials"}, "permissions: {actions: read}"),
        (403, {"message": "Resource not accessible"}, "permissions: {actions: read}"),
        (404, {"message": "Not Found"}, "permissions: {actions: read}"),
        (500, {}, "it answered 500); run the job again"),
        (200, b"no JSON", "run the job again"),
        (200, {"message": "?"}, "is GITHUB_API_URL right?"),
        (200, [{"state": "approved"}], "is GITHUB_API_URL right?"),
    ],
)
def test_anything_else_is_one_line_without_the_token(
    api: GitHub, status: int, body: object, remedy: str
) -> None:
    api.will_answer(body, status=status)
    with pytest.raises(github.GitHubError) as caught:
        github.reviewers("production")
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert len(api.asked) <= github.ATTEMPTS


def test_another_place_that_github_points_to_does_not_get_the_token(api: GitHub) -> None:
    api.will_answer({}, status=302, location="/elsewhere")
    api.will_answer([review("ben")])
    assert github.reviewers("production") == ["ben"]
    assert api.asked[1] == ("/elsewhere", None)


@pytest.mark.parametrize("missing", ["GITHUB_TOKEN", "GITHUB_RUN_ID", "GITHUB_REPOSITORY"])
def test_outside_a_job_nobody_is_asked(
    api: GitHub, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv(missing, "")
    with pytest.raises(github.GitHubError, match="whose step sets GITHUB_TOKEN"):
        github.reviewers("production")
    assert api.asked == []


def test_a_network_that_is_down_is_one_line(api: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    with pytest.raises(github.GitHubError, match=r"\(URLError\); run the job again"):
        github.reviewers("production")


def test_the_person_at_work_is_known_in_a_workflow_only(
    api: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_tracking_uri("sqlite:///mlflow.db")  # where no account says more
    assert str(identity.current(tmp_path)) == "ann (GitHub)"
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert identity.current(tmp_path).github is None


def test_an_output_is_for_the_steps_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.write_output("version", "example/1")  # no error where there are none
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    github.write_output("version", "example/1")
    github.write_output("other", "x")
    assert (tmp_path / "output").read_text() == "version=example/1\nother=x\n"


@pytest.fixture
def version(session: Session) -> int:
    """Return a version that nobody has evaluated."""
    client = session.client
    client.create_registered_model("example")
    return int(client.create_model_version("example", "s3://models/1").version)


def test_four_eyes_want_a_review(api: GitHub, version: int) -> None:
    api.will_answer([])
    session = projects.open_project(overrides=["approval.four_eyes=true"])
    with pytest.raises(decisions.ApprovalError) as caught:
        approval.approve_model("example", version, "why", session, reviewed_in="production")
    assert "the environment production of GitHub requires no review; protect it" in str(
        caught.value
    )
    assert "make protect" in str(caught.value)


def test_where_approvals_are_signed_a_review_is_not_enough(
    api: GitHub, version: int, session: Session, tmp_path: Path
) -> None:
    public = signing.keygen(tmp_path / "ben.pem")
    (session.settings.root / decisions.APPROVERS).write_text(yaml.safe_dump({"ben": public}))
    with pytest.raises(decisions.ApprovalError) as caught:
        approval.approve_model("example", version, "why", session, reviewed_in="production")
    assert f"let one of them run `approve example/{version}`" in str(caught.value)
    assert "nobody has approved it" in str(caught.value)
    assert api.asked == []
