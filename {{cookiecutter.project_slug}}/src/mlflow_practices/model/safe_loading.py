"""Which saved models may be loaded: loading some runs whatever code their author put there."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import skops.io
from mlflow.models import Model
from sklearn.pipeline import Pipeline

from ..errors import PracticeError
from ..tracking import experiments, store
from ..tracking.session import Session
from . import code, isolated_code


class UnsafeModelError(PracticeError):
    """Loading a model's files could run anybody's code."""


def load(files: Path, session: Session, approved: Callable[[], bool] = lambda: False) -> Pipeline:
    """Return the pipeline in a model's folder.

    Unlike MLflow's own loading this never puts the code in the folder on Python's path, where it
    would come before all other code. Classes of the project come from its own module where that is
    the one that travelled with the model. Code of another commit is executed, isolated, only if the
    model's files are approved; see `isolated_code.load`.

    Args:
        files: the model's folder.
        session: see `require_safe`.
        approved: says whether a valid approval covers the model's files, code included; asked only
            where the code is another.

    Raises:
        UnsafeModelError: a type is not trusted, or the code is another and not approved.
        CodeError: approved code fails.
    """
    listed = _require_trusted_types(files, session)
    different = _different_code(files, listed, session)
    if not different:
        return skops.io.load(pipeline_file(files), trusted=listed)
    if not approved():
        raise _refused_code(files, different, session)
    return isolated_code.load(files, pipeline_file(files), listed, session.project.package)


def pipeline_file(files: Path) -> Path:
    """Return where the pipeline is in a model's folder.

    Raises:
        UnsafeModelError: it is outside, where no digest covers it.
    """
    place = files / str(Model.load(str(files)).flavors["sklearn"]["pickled_model"])
    if not place.resolve().is_relative_to(files.resolve()):
        raise UnsafeModelError("MLmodel: names a pipeline outside of the model's folder")
    return place


def require_safe(files: Path, session: Session) -> list[str]:
    """Return the types that a saved model wants skops to trust, if all of them may be.

    Args:
        files: the model's folder.
        session: its settings name the estimator, whose library is trusted, and
            ``training.trusted_types``; its project's own types are trusted, where the code that
            travelled with the model is the project's.

    Raises:
        UnsafeModelError: a type or the code is another one, or the format can run any code.
    """
    listed = _require_trusted_types(files, session)
    if different := _different_code(files, listed, session):
        raise UnsafeModelError(
            f"{', '.join(different)}: the model has other code than this project has now; check "
            f"out {_commit(files, session)}"
        )
    return listed


def _require_trusted_types(files: Path, session: Session) -> list[str]:
    flavors = Model.load(str(files)).flavors
    loader = flavors.get("python_function", {}).get("loader_module")
    flavor = flavors.get("sklearn", {})
    saved_as = flavor.get("serialization_format", "another format")
    if saved_as != "skops" or loader != "mlflow.sklearn":
        raise UnsafeModelError(
            f"MLmodel: the model is saved as {saved_as} for {loader}, and loading it can run any "
            "code; log it with mlflow.sklearn, serialization_format='skops'"
        )
    listed: list[str] = flavor.get("skops_trusted_types") or []
    library = session.settings.training.estimator.partition(".")[0]
    if strange := untrusted(listed, library, session):
        raise UnsafeModelError(
            f"MLmodel: the model holds {', '.join(strange)}; "
            "list them in training.trusted_types if you trust them"
        )
    return listed


def trusted_types(pipeline: Pipeline, session: Session) -> list[str]:
    """Return the types that must be trusted to load the saved pipeline.

    Those of scikit-learn, numpy, scipy, the project and the estimator's own library are; any
    other has to be listed in the configuration, since loading a file runs its types' code.

    Raises:
        UnsafeModelError: the pipeline holds a type that nobody vouched for.
    """
    found: list[str] = skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))
    library = type(pipeline[-1]).__module__.partition(".")[0]
    if strange := untrusted(found, library, session):
        raise UnsafeModelError(
            f"training.trusted_types: the model holds {', '.join(strange)}; "
            "list them there if you trust them"
        )
    return found


def untrusted(types: Sequence[str], library: str, session: Session) -> list[str]:
    """Return the types that are neither of ``library``, the estimator's, nor listed in
    ``training.trusted_types``, nor of those that every model here is made of.
    """
    libraries, package = {"sklearn", "numpy", "scipy", library}, session.project.package
    also = session.settings.training.trusted_types
    return [
        name
        for name in types
        if name not in also
        and (top := name.partition(".")[0]) != package
        and not (top in libraries and _is_type(name))
    ]


def _is_type(name: str) -> bool:
    """Return whether a name is that of a class, or of a ufunc of numpy.

    A saved model may have any function that it lists called with any arguments, and libraries hold
    functions that run code.
    """
    module, _, leaf = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), leaf, None)
    except ImportError:
        return False
    return inspect.isclass(found) or isinstance(found, np.ufunc)


def _different_code(files: Path, listed: Sequence[str], session: Session) -> list[str]:
    own = code.modules(listed, session.project.package)
    return code.differences(files, own, session.project) if own else []


def _refused_code(files: Path, different: Sequence[str], session: Session) -> UnsafeModelError:
    return UnsafeModelError(
        f"{', '.join(different)}: the model has other code than this project has now, and no valid "
        f"approval covers its files; approve the version, or check out {_commit(files, session)}"
    )


def _commit(files: Path, session: Session) -> str:
    """Return the commit at which a model was trained, as text, as far as its run has it."""
    try:
        run = experiments.find_run(session.client, Model.load(str(files)).run_id or "")
    except store.STORE_ERRORS:
        run = None
    tags = run.data.tags if run else {}
    if "git_commit" not in tags:
        return "the commit at which it was trained"
    dirty = ", with the changes that were not committed" if tags.get("git_dirty") == "true" else ""
    return f"the commit {tags['git_commit']}, at which it was trained{dirty}"
