"""Registered model versions and the aliases that name them."""

import re
from dataclasses import dataclass

from mlflow import MlflowClient, MlflowException
from mlflow.entities.model_registry import ModelVersion
from mlflow.models.model import ModelInfo

from ..errors import PracticeError
from ..tracking import recording

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model, version or alias


class RegistryError(PracticeError):
    """A model version cannot be found; the message says what there is."""


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
        """Return ``NAME/NUMBER``, which is also what `parse` takes."""
        return f"{self.name}/{self.number}"

    @property
    def title(self) -> str:
        """The version in words."""
        return f"{self.name} version {self.number}"

    @property
    def uri(self) -> str:
        """The address MLflow loads it from."""
        return f"models:/{self}"


def production_name(project: str) -> str:
    """Return the registered model that promotion copies to.

    It is one of its own, since a server's permissions are those of a registered model: an account
    may then train without being able to promote.
    """
    return f"{project}-production"


def register_challenger(
    client: MlflowClient, model: ModelInfo, name: str, tags: dict[str, str]
) -> Version:
    """Register a logged model as the next version of ``name`` and point ``challenger`` at it.

    The run's tag ``model_version`` names it.
    """
    create_model(client, name)
    made = client.create_model_version(
        name, model.model_uri, model.run_id, tags, model_id=model.model_id
    )
    client.set_registered_model_alias(name, CHALLENGER, made.version)
    version = as_version(made)
    recording.set_tags({"model_version": str(version)})
    return version


def create_model(client: MlflowClient, name: str) -> None:
    """Create a registered model unless it exists."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def holder(client: MlflowClient, name: str, alias: str) -> Version | None:
    """Return the version that an alias points to, or None where there is no such alias."""
    number = _aliases(client, name).get(alias)
    return as_version(client.get_model_version(name, number)) if number else None


def every(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Return all versions of a registered model as MLflow has them, newest first."""
    found: list[ModelVersion] = []
    token: str | None = None
    while token is None or token:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token or ""
    return sorted(found, key=lambda made: int(made.version), reverse=True)


def aliases(client: MlflowClient, name: str) -> dict[int, list[str]]:
    """Return the aliases of a registered model by the number of the version they point to."""
    by_number: dict[int, list[str]] = {}
    for alias, number in sorted(_aliases(client, name).items()):
        by_number.setdefault(int(number), []).append(alias)
    return by_number


def find(client: MlflowClient, name: str, which: str = CHALLENGER) -> Version:
    """Return a version by its number or alias.

    Raises:
        RegistryError: there is no such version.
    """
    try:
        by_number = re.fullmatch(r"\d+", which)
        return as_version(
            client.get_model_version(name, which)
            if by_number
            else client.get_model_version_by_alias(name, which)
        )
    except MlflowException as error:
        if error.error_code not in (*ABSENT, "PERMISSION_DENIED"):  # which is also said of no model
            raise
    known = [made.version for made in reversed(every(client, name))]
    listing = f"it has the versions {', '.join(map(str, known))}" if known else "it has none yet"
    raise RegistryError(f"the model {name} has no version {which!r}; {listing}")


def parse(client: MlflowClient, text: str, project: str) -> Version:
    """Return the version that ``NAME``, ``NAME@ALIAS`` or ``NAME/VERSION`` means.

    Without an alias or number it is the challenger; without a name, of ``project``.

    Raises:
        RegistryError: there is no such version.
    """
    name, _, which = text.replace("@", "/").partition("/")
    return find(client, name or project, which or CHALLENGER)


def as_version(found: ModelVersion) -> Version:
    """Return what this project needs to know of a version."""
    model_id = str(found.source).rpartition("/")[2]  # models:/<model id>
    tags = found.tags
    return Version(
        found.name,
        int(found.version),
        model_id,
        found.run_id or "",
        tags.get("data_version", ""),
        tags.get("pipeline_id", ""),
    )


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    # By a search: a server with accounts answers 403 to whoever asks for a model that is not there.
    found = client.search_registered_models(f"name = '{name}'")
    return dict(found[0].aliases) if found else {}
