"""Registered model versions, the aliases that point to them, and how people name them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow import MlflowClient, MlflowException
from mlflow.entities.model_registry import ModelVersion
from mlflow.models.model import ModelInfo

from .. import privacy
from ..errors import PracticeError
from ..tracking import recording

if TYPE_CHECKING:
    from ..tracking.identity import Identity
    from ..tracking.session import Session
    from ..tracking.stages import Stage

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
NOT_FOUND_CODES = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class RegistryError(PracticeError):
    """A model version cannot be found; the message lists the versions that exist."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model, and the run that made it."""

    name: str
    number: int
    model_id: str
    run_id: str
    data_version: str
    pipeline_id: str

    def __str__(self) -> str:
        """Return ``NAME/NUMBER``, which `resolve` understands."""
        return f"{self.name}/{self.number}"

    @property
    def title(self) -> str:
        """The version as a title."""
        return f"{self.name} version {self.number}"

    @property
    def uri(self) -> str:
        """The address from which MLflow loads it."""
        return f"models:/{self}"


@dataclass(frozen=True)
class ModelReference:
    """A registered model, and the alias or number of the version to use."""

    name: str
    alias_or_number: str

    def __str__(self) -> str:
        """Return ``NAME@ALIAS`` or ``NAME/NUMBER``."""
        return f"{self.name}{'/' if self.pinned else '@'}{self.alias_or_number}"

    @property
    def pinned(self) -> bool:
        """Whether it always means the same version."""
        return self.alias_or_number.isdigit()

    def folder(self, copies: Path) -> Path:
        """Return the folder of its local copies, within the folder of all copies."""
        return copies / str(self).replace("/", "-")


def production_name(project: str) -> str:
    """Return the registered model that promotion copies to.

    A server grants permissions on a registered model. With a second one for production, an account
    may train without being able to promote.
    """
    return f"{project}-production"


def register_challenger(
    client: MlflowClient, model: ModelInfo, name: str, tags: dict[str, str]
) -> Version:
    """Register a logged model as the next version of ``name`` and point ``challenger`` at it.

    The run's tag ``model_version`` names it.
    """
    create_model(client, name)
    created = client.create_model_version(
        name, model.model_uri, model.run_id, tags, model_id=model.model_id
    )
    client.set_registered_model_alias(name, CHALLENGER, created.version)
    version = as_version(created)
    recording.set_tags({"model_version": str(version)})
    return version


@contextmanager
def open_stage(
    session: Session,
    version: Version,
    *,
    upstream_run_id: str = "",
    author: Identity | None = None,
) -> Iterator[Stage]:
    """Open the run of a decision on a version, or of its way to production.

    It follows the version's training unless another run is given; the author is the user by default.
    """
    with session.stage(
        "model-deployment",
        pipeline_id=version.pipeline_id or None,
        upstream_run_id=upstream_run_id or version.run_id,
    ) as stage:
        recording.set_author(author or session.identity)
        recording.set_tags({"model_version": str(version)})
        yield stage


def create_model(client: MlflowClient, name: str) -> None:
    """Create a registered model unless it exists."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def get_tags(client: MlflowClient, version: Version) -> dict[str, str]:
    """Return the tags of a version as they are now."""
    return dict(client.get_model_version(version.name, str(version.number)).tags)


def find_by_alias(client: MlflowClient, name: str, alias: str) -> Version | None:
    """Return the version that an alias points to, or None if there is no such alias."""
    number = _aliases(client, name).get(alias)
    return as_version(client.get_model_version(name, number)) if number else None


def list_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Return all versions of a registered model as MLflow returns them, newest first."""
    found: list[ModelVersion] = []
    token: str | None = None
    while token is None or token:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token or ""
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def aliases_by_number(client: MlflowClient, name: str) -> dict[int, list[str]]:
    """Return the aliases of a registered model, grouped by version number."""
    by_number: dict[int, list[str]] = {}
    for alias, number in sorted(_aliases(client, name).items()):
        by_number.setdefault(int(number), []).append(alias)
    return by_number


def find(client: MlflowClient, name: str, alias_or_number: str = CHALLENGER) -> Version:
    """Return a version by its number or alias.

    Raises:
        RegistryError: there is no such version.
    """
    try:
        if re.fullmatch(r"\d+", alias_or_number):
            return as_version(client.get_model_version(name, alias_or_number))
        return as_version(client.get_model_version_by_alias(name, alias_or_number))
    except MlflowException as error:
        # A server with accounts answers PERMISSION_DENIED for a model that does not exist, too.
        if error.error_code not in (*NOT_FOUND_CODES, "PERMISSION_DENIED"):
            raise
    known = [found.version for found in reversed(list_versions(client, name))]
    listing = f"it has the versions {', '.join(map(str, known))}" if known else "it has none yet"
    raise RegistryError(f"the model {name} has no version {alias_or_number!r}; {listing}")


def resolve(client: MlflowClient, text: str, project: str) -> Version:
    """Return the version that ``NAME``, ``NAME@ALIAS`` or ``NAME/VERSION`` means.

    Without an alias or number it is the challenger; without a name, the model is ``project``.
    """
    name, _, alias_or_number = text.replace("@", "/").partition("/")
    return find(client, name or project, alias_or_number or CHALLENGER)


def parse_reference(text: str, project: str) -> ModelReference:
    """Return what ``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER`` means.

    An empty text means the champion in production.
    """
    name = text.removeprefix("models:/") or production_name(project)
    name, _, alias_or_number = name.replace("@", "/").partition("/")
    if not re.fullmatch(r"[^/@:]+", name) or not re.fullmatch(r"[\w-]*", alias_or_number):
        raise RegistryError(
            f"{privacy.redact_text(text)}: a model is named as models:/NAME@ALIAS or "
            "models:/NAME/VERSION"
        )
    return ModelReference(name, alias_or_number or CHAMPION)


def as_version(found: ModelVersion) -> Version:
    """Return a version of MLflow as a `Version`."""
    return Version(
        name=found.name,
        number=int(found.version),
        model_id=str(found.source).rpartition("/")[2],  # the source is models:/<model id>
        run_id=found.run_id or "",
        data_version=found.tags.get("data_version", ""),
        pipeline_id=found.tags.get("pipeline_id", ""),
    )


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    # By a search: a server with accounts answers 403 when a model does not exist.
    found = client.search_registered_models(f"name = '{name}'")
    return dict(found[0].aliases) if found else {}
