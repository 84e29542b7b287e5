"""Who is at work: what the server authenticated, else what git and the machine say.

Nothing here takes a name from an argument. An account was verified by the server. The e-mail
address of git was verified by nobody, and the machine's account only by the machine. In GitHub
Actions all three are a robot's, and the person is who started the workflow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import mlflow
from mlflow import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from .. import privacy
from ..errors import PracticeError
from . import github

ENDPOINT = "/api/2.0/mlflow/users/current"
TIMEOUT = 10  # seconds an attempt; `__init__.py` says how many there are


class IdentityError(PracticeError):
    """The server did not say which account is at work; the message says what to do."""


@dataclass(frozen=True)
class Identity:
    """A person, as far as is known."""

    account: str | None = None  # that the MLflow server authenticated
    email: str | None = None  # of git
    user: str | None = None  # of this machine
    github: str | None = None  # the login, in a workflow or of its reviewer

    @property
    def name(self) -> str:
        """The strongest name, under which a key of this person is listed."""
        return self.github or self.account or self.email or self.user or "unknown"

    def __str__(self) -> str:
        """Return the name; of one that is only git's or GitHub's, what else is known beside it."""
        if self.github:
            return f"{self.github} (GitHub)"
        beside = self.email and self.user and not self.account
        return f"{self.name} (machine account {self.user})" if beside else self.name

    def as_dict(self) -> dict[str, str]:
        """Return what is known, for a record."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> Identity:
        """Return what `as_dict` gave; what is missing is unknown."""
        return cls(**{field.name: values.get(field.name) for field in fields(cls)})

    def tags(self) -> dict[str, str]:
        """Return the tags of a run or version that tell who made it."""
        return {"author": str(self), **{f"author_{k}": v for k, v in self.as_dict().items()}}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Identity:
        """Return whom `tags` tell of."""
        return cls(**{field.name: tags.get(f"author_{field.name}") for field in fields(cls)})


def current(root: Path) -> Identity:
    """Return who is at work in the project at ``root``, with MLflow's current store.

    Raises:
        IdentityError: the server does not answer, or refuses the account.
    """
    return Identity(_account(mlflow.get_tracking_uri()), _email(root), _user(), github.actor())


def same_person(a: Identity, b: Identity) -> str:
    """Return in words why two may be one person; empty if they are known to be different.

    One login of GitHub, be it the other's account, is one person. Otherwise two accounts of the
    server alone decide, and without them two logins. Then one equal mark is enough, and so is
    having no mark that can be compared: who removes a name must not become somebody else by it.
    In a workflow, git's and the machine's are no marks of a person.
    """
    for one, other in ((a, b), (b, a)):
        if one.github and one.github.casefold() in (
            (name or "").casefold() for name in (other.github, other.account)
        ):
            return f"both are {one.github} on GitHub"
    if a.account and b.account:
        return f"both are the account {a.account}" if a.account == b.account else ""
    if a.github and b.github:
        return ""
    if not (a.github or b.github):
        if a.email and b.email and a.email.casefold() == b.email.casefold():
            return f"both have the e-mail address of git {a.email}"
        if a.user and a.user == b.user:
            return f"both are the machine account {a.user}"
        if (a.email and b.email) or (a.user and b.user):
            return ""
    return "nothing is known of both that could tell them apart"


def _account(uri: str) -> str | None:
    """Ask the server whom it authenticated; None where it knows no accounts."""
    if not uri.startswith("http"):
        return None
    place = privacy.redact_text(uri)
    login = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    try:
        answer = http_request(login, ENDPOINT, "GET", timeout=TIMEOUT)  # type: ignore[no-untyped-call]
    except MlflowException:
        raise IdentityError(
            f"{place}: no MLflow server answers there; start it, or correct MLFLOW_TRACKING_URI"
        ) from None
    if answer.status_code in (401, 403):
        raise IdentityError(
            f"{place}: the server refuses the account or its password; correct "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if answer.status_code == 404:
        return None
    if answer.status_code != 200:
        raise IdentityError(
            f"{place}: asked who you are, the server answered {answer.status_code}; see its log"
        )
    with suppress(ValueError, KeyError, TypeError):  # the page of the UI, which is no answer
        return str(answer.json()["user"]["username"])
    return None


def _email(root: Path) -> str | None:
    """Return git's address for the repository, whatever variables such as GIT_CONFIG_COUNT say."""
    command = ["git", "-C", str(root), "config", "user.email"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, env=clean, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip() or None
    return None


def _user() -> str | None:
    """Return the account from the system; getpass.getuser would believe the variable LOGNAME."""
    if sys.platform == "win32":
        return os.getlogin()
    import pwd

    with suppress(KeyError):  # a container may run under a number that has no name
        return pwd.getpwuid(os.getuid()).pw_name
    return None
