"""GitHub Actions: who started the workflow, and who let a job into its environment."""

from __future__ import annotations

import json
import os
import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..errors import PracticeError

TIMEOUT, ATTEMPTS = 10, 3  # seconds an attempt, and how many there are


class GitHubError(PracticeError):
    """GitHub did not say who reviewed the job; the message says what to do."""


def actor() -> str | None:
    """Return the login of who started this workflow; None outside GitHub Actions."""
    inside = os.environ.get("GITHUB_ACTIONS") == "true"
    return (os.environ.get("GITHUB_ACTOR") or None) if inside else None


def reviewers(environment: str) -> list[str]:
    """Return the logins of who let this workflow run into an environment; none unless protected.

    Raises:
        GitHubError: this is no job of a workflow, or GitHub does not answer as it should.
    """
    run, repository, token = (
        os.environ.get(name) for name in ("GITHUB_RUN_ID", "GITHUB_REPOSITORY", "GITHUB_TOKEN")
    )
    if not (run and repository and token):
        raise GitHubError(
            "who reviewed a job is known in a job of GitHub Actions only, whose step sets "
            "GITHUB_TOKEN; elsewhere, approve without --reviewed-in"
        )
    try:
        return [
            str(review["user"]["login"])
            for review in _get(f"repos/{repository}/actions/runs/{run}/approvals", token)
            if review["state"] == "approved"
            and environment in (each["name"] for each in review["environments"])
        ]
    except (KeyError, TypeError) as error:
        raise GitHubError(
            f"GitHub's answer holds no reviews ({type(error).__name__}); is GITHUB_API_URL right?"
        ) from None


def write_output(name: str, value: str) -> None:
    """Hand a value to the later steps of a workflow; nothing outside GitHub Actions."""
    if path := os.environ.get("GITHUB_OUTPUT"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{name}={value}\n")


def _get(path: str, token: str) -> Any:
    base = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    request = Request(f"{base}/{path}", headers={"Accept": "application/vnd.github+json"})
    # Unredirected: another host must not see it.
    request.add_unredirected_header("Authorization", f"Bearer {token}")
    reason = ""
    for attempt in range(ATTEMPTS):
        time.sleep(attempt)
        try:
            with urlopen(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code in (401, 403, 404):
                raise GitHubError(
                    f"GitHub answered {error.code}: the job's token may not read who reviewed it; "
                    "give the job `permissions: {actions: read}`"
                ) from None
            reason = f"it answered {error.code}"
        except (OSError, HTTPException, ValueError) as error:
            reason = type(error).__name__
    raise GitHubError(f"GitHub did not say who reviewed the job ({reason}); run the job again")
