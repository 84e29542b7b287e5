"""Which saved models may be loaded: loading some runs whatever code their author put there."""

from __future__ import annotations

from pathlib import Path

import skops.io
from mlflow.models import Model
from sklearn.pipeline import Pipeline

from .. import estimators
from ..settings import Settings


class TrustError(Exception):
    """Loading a model's files could run anybody's code."""


def load(files: Path, settings: Settings) -> Pipeline:
    """Return the pipeline in a model's folder, if `require_trusted` lets it pass.

    Unlike MLflow's own loading this leaves the code in the folder alone, which would come before
    all other code on Python's path; the project has its own.
    """
    trusted = require_trusted(files, settings)
    return skops.io.load(saved(files), trusted=trusted)


def saved(files: Path) -> Path:
    """Return where the pipeline is in a model's folder."""
    return files / str(Model.load(str(files)).flavors["sklearn"]["pickled_model"])


def require_trusted(files: Path, settings: Settings) -> list[str]:
    """Return the types that a saved model wants skops to trust, if all of them may be.

    Args:
        files: the model's folder.
        settings: name the estimator, whose library is trusted, and ``training.trusted_types``.

    Raises:
        TrustError: a type is another one, or the format can run any code.
    """
    flavors = Model.load(str(files)).flavors
    loader = flavors.get("python_function", {}).get("loader_module")
    flavor = flavors.get("sklearn", {})
    saved_as = flavor.get("serialization_format", "another format")
    if saved_as != "skops" or loader != "mlflow.sklearn":
        raise TrustError(
            f"MLmodel: the model is saved as {saved_as} for {loader}, and loading it can run any "
            "code; log it with mlflow.sklearn, serialization_format='skops'"
        )
    listed: list[str] = flavor.get("skops_trusted_types") or []
    training = settings.training
    library = training.estimator.partition(".")[0]
    if strange := estimators.unvouched(listed, library, training.trusted_types):
        raise TrustError(
            f"MLmodel: the model holds {', '.join(strange)}; "
            "list them in training.trusted_types if you trust them"
        )
    return listed
