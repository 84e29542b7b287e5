"""Which saved models may be loaded: loading some runs whatever code their author put there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import skops.io
from mlflow.models import Model
from sklearn.pipeline import Pipeline

from ..errors import PracticeError
from ..tracking.session import Session


class TrustError(PracticeError):
    """Loading a model's files could run anybody's code."""


def load(files: Path, session: Session) -> Pipeline:
    """Return the pipeline in a model's folder, if `require_trusted` lets it pass.

    Unlike MLflow's own loading this leaves the code in the folder alone, which would come before
    all other code on Python's path; the project has its own.
    """
    trusted = require_trusted(files, session)
    return skops.io.load(saved(files), trusted=trusted)


def saved(files: Path) -> Path:
    """Return where the pipeline is in a model's folder."""
    return files / str(Model.load(str(files)).flavors["sklearn"]["pickled_model"])


def require_trusted(files: Path, session: Session) -> list[str]:
    """Return the types that a saved model wants skops to trust, if all of them may be.

    Args:
        files: the model's folder.
        session: its settings name the estimator, whose library is trusted, and
            ``training.trusted_types``; its project's own types are trusted.

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
    library = session.settings.training.estimator.partition(".")[0]
    if strange := unvouched(listed, library, session):
        raise TrustError(
            f"MLmodel: the model holds {', '.join(strange)}; "
            "list them in training.trusted_types if you trust them"
        )
    return listed


def trusted_types(pipeline: Pipeline, session: Session) -> list[str]:
    """Return the types that whoever loads the saved pipeline must trust.

    Those of scikit-learn, numpy, scipy, the project and the estimator's own library are; any
    other has to be listed in the configuration, since loading a file runs its types' code.

    Raises:
        TrustError: the pipeline holds a type that nobody vouched for.
    """
    found: list[str] = skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))
    library = type(pipeline[-1]).__module__.partition(".")[0]
    if strange := unvouched(found, library, session):
        raise TrustError(
            f"training.trusted_types: the model holds {', '.join(strange)}; "
            "list them there if you trust them"
        )
    return found


def unvouched(types: Sequence[str], library: str, session: Session) -> list[str]:
    """Return the types that are neither of ``library``, the estimator's, nor listed in
    ``training.trusted_types``, nor of those that every model here is made of.
    """
    own = {"sklearn", "numpy", "scipy", session.project.package, library}
    also = session.settings.training.trusted_types
    return [name for name in types if name.partition(".")[0] not in own and name not in also]
