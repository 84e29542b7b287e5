"""Registered model versions and the aliases that name them."""

import re
from dataclasses import dataclass

from mlflow import MlflowClient, MlflowException
from mlflow.entities.model_registry import ModelVersion
from mlflow.models.model import ModelInfo

CHALLENGER = "challenger"


class RegistryError(Exception):
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

    @property
    def uri(self) -> str:
        """The address MLflow loads it from."""
        return f"models:/{self.name}/{self.number}"


def register_challenger(model: ModelInfo, name: str, tags: dict[str, str]) -> Version:
    """Register a logged model as the next version of ``name`` and point ``challenger`` at it."""
    client = MlflowClient()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name, model.model_uri, model.run_id, tags, model_id=model.model_id
    )
    client.set_registered_model_alias(name, CHALLENGER, made.version)
    return _version(made)


def find(name: str, which: str = CHALLENGER) -> Version:
    """Return a version by its number or alias.

    Raises:
        RegistryError: there is no such version.
    """
    client = MlflowClient()
    try:
        by_number = re.fullmatch(r"\d+", which)
        return _version(
            client.get_model_version(name, which)
            if by_number
            else client.get_model_version_by_alias(name, which)
        )
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    known = sorted(int(made.version) for made in client.search_model_versions(f"name = '{name}'"))
    listing = f"it has the versions {', '.join(map(str, known))}" if known else "train one first"
    raise RegistryError(f"the model {name} has no version {which!r}; {listing}")


def parse(text: str, project: str) -> Version:
    """Return the version that ``NAME``, ``NAME@ALIAS`` or ``NAME/VERSION`` means.

    Without an alias or number it is the challenger; without a name, of ``project``.

    Raises:
        RegistryError: there is no such version.
    """
    name, _, which = text.replace("@", "/").partition("/")
    return find(name or project, which or CHALLENGER)


def _version(found: ModelVersion) -> Version:
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
