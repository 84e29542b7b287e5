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

TIMEOUT = 10  # seconds for each attempt
ATTEMPTS = 3


class GitHubError(PracticeError):
    """GitHub did not return the reviewers of the job; the message says what to do."""


def actor() -> str | None:
    """Return the login of who started this workflow; None outside GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return None
    return os.environ.get("GITHUB_ACTOR") or None


def reviewers(environment: str) -> list[str]:
    """Return the logins that approved this workflow for an environment; none if it is unprotected.

    Raises:
        GitHubError: this is no job of a workflow, or GitHub does not answer as documented.
    """
    names = ("GITHUB_RUN_ID", "GITHUB_REPOSITORY", "GITHUB_TOKEN")
    run, repository, token = (os.environ.get(name) for name in names)
    if not (run and repository and token):
        raise GitHubError(
            "the reviewers are only known in a job of GitHub Actions whose step sets "
            "GITHUB_TOKEN; elsewhere, approve without --reviewed-in"
        )
    reviews = _get(f"repos/{repository}/actions/runs/{run}/approvals", token)
    try:
        return [
            str(review["user"]["login"])
            for review in reviews
            if review["state"] == "approved"
            and environment in (each["name"] for each in review["environments"])
        ]
    except (KeyError, TypeError) as error:
        raise GitHubError(
            f"GitHub's answer has no reviews ({type(error).__name__}); is GITHUB_API_URL right?"
        ) from None


def write_output(name: str, value: str) -> None:
    """Pass a value to the later steps of a workflow; nothing outside GitHub Actions."""
    if path := os.environ.get("GITHUB_OUTPUT"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{name}={value}\n")


def _get(path: str, token: str) -> Any:
    base = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    request = Request(f"{base}/{path}", headers={"Accept": "application/vnd.github+json"})
    # A redirect must not send the token to another address; `requests` would, on the same host.
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
                    f"GitHub answered {error.code}: the job's token may not read the reviews; "
                    "give the job `permissions: {actions: read}`"
                ) from None
            reason = f"it answered {error.code}"
        except (OSError, HTTPException, ValueError) as error:
            reason = type(error).__name__
    raise GitHubError(f"GitHub did not return the reviews ({reason}); run the job again")
