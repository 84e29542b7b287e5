"""The user: the account that the server authenticated, else what git and the machine say.

No name comes from an argument. The server verifies its accounts and the machine its own, but nobody
verifies the e-mail address of git. In GitHub Actions all three belong to a robot, and the person is
the one who started the workflow.
"""

from __future__ import annotations

import os
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
from . import git, github, store

ENDPOINT = "/api/2.0/mlflow/users/current"
TIMEOUT = 10  # seconds for each attempt; `__init__.py` sets how many there are


class IdentityError(PracticeError):
    """The server did not return the account; the message says what to do."""


@dataclass(frozen=True)
class Identity:
    """A person, as far as is known."""

    account: str | None = None  # authenticated by the MLflow server
    email: str | None = None  # configured in git
    user: str | None = None  # of this machine
    github: str | None = None  # the login of who started or reviewed the workflow

    @property
    def name(self) -> str:
        """The strongest name; a public key of this person is listed under it."""
        return self.github or self.account or self.email or self.user or "unknown"

    def __str__(self) -> str:
        """Return the name, with the machine account beside an address that nobody verified."""
        if self.github:
            return f"{self.github} (GitHub)"
        if self.email and self.user and not self.account:
            return f"{self.email} (machine account {self.user})"
        return self.name

    def as_dict(self) -> dict[str, str]:
        """Return what is known, for a record."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> Identity:
        """Return the identity that `as_dict` was called on."""
        return cls(**{field.name: values.get(field.name) for field in fields(cls)})

    def tags(self) -> dict[str, str]:
        """Return the author's tags of a run or version."""
        return {"author": str(self), **{f"author_{k}": v for k, v in self.as_dict().items()}}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Identity:
        """Return the identity that `tags` was called on."""
        return cls(**{field.name: tags.get(f"author_{field.name}") for field in fields(cls)})


def current(root: Path) -> Identity:
    """Return the user of the project at ``root``, with MLflow's current store.

    Raises:
        IdentityError: the server does not answer, or refuses the account.
    """
    account = _account(mlflow.get_tracking_uri())
    return Identity(account, git.user_email(root), _machine_account(), github.actor())


def same_person(a: Identity, b: Identity) -> str:
    """Return why two identities may be one person; empty if they are two different people.

    An equal GitHub login is one person; an account of the same name counts as the login. Otherwise
    the accounts of the server decide, if both have one; else the logins; else, outside of
    workflows, the e-mail addresses and machine accounts, of which one equal pair is enough. Two
    identities with nothing to compare may be one person: nobody becomes another by removing a name.
    """
    for one, other in ((a, b), (b, a)):
        if one.github and (_equal(one.github, other.github) or _equal(one.github, other.account)):
            return f"both are {one.github} on GitHub"
    if a.account and b.account:
        return f"both are the account {a.account}" if a.account == b.account else ""
    if a.github and b.github:
        return ""
    if not (a.github or b.github):
        if _equal(a.email, b.email):
            return f"both have the e-mail address of git {a.email}"
        if a.user and a.user == b.user:
            return f"both are the machine account {a.user}"
        if (a.email and b.email) or (a.user and b.user):
            return ""
    return "no name of one can be compared with a name of the other"


def _equal(one: str | None, other: str | None) -> bool:
    return bool(one and other and one.casefold() == other.casefold())


def _account(uri: str) -> str | None:
    """Return the account that the server authenticated; None if it has no accounts."""
    if not uri.startswith("http"):
        return None
    place = privacy.redact_text(uri)
    login = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    try:
        answer = http_request(login, ENDPOINT, "GET", timeout=TIMEOUT)  # type: ignore[no-untyped-call]
    except MlflowException as error:
        raise IdentityError(f"{place}: {store.error_message(error)}") from None
    match answer.status_code:
        case 200:
            with suppress(ValueError, KeyError, TypeError):  # the page of the UI is no answer
                return str(answer.json()["user"]["username"])
            return None
        case 404:
            return None
        case 401 | 403:
            raise IdentityError(
                f"{place}: the server refuses the account or its password; correct "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        case status:
            raise IdentityError(
                f"{place}: asked for your account, the server answered {status}; see its log"
            )


def _machine_account() -> str | None:
    """Return the account from the system; getpass.getuser would trust the variable LOGNAME."""
    if sys.platform == "win32":
        return os.getlogin()
    import pwd

    with suppress(KeyError):  # a container may run under a number that has no name
        return pwd.getpwuid(os.getuid()).pw_name
    return None
