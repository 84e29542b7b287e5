"""Which saved models may be loaded: loading some of them runs any code that their author chose."""

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
    """Loading a model's files could run code that nobody approved."""


def load(files: Path, session: Session, approved: Callable[[], bool] = lambda: False) -> Pipeline:
    """Return the pipeline in a model's folder.

    MLflow's own loading puts the code in the folder on Python's path, before all other code; this
    function never does. Classes of the project come from its own module if that is the one that
    travelled with the model. Code of another commit runs, isolated, only if the model's files are
    approved; see `isolated_code.load`.

    Args:
        files: the model's folder.
        session: its settings and project say which types are trusted, see `untrusted`.
        approved: says whether a valid approval covers the model's files, code included; called only
            if the code differs.

    Raises:
        UnsafeModelError: a type is not trusted, or the code differs and is not approved.
        CodeError: approved code fails.
    """
    types = _require_trusted_types(files, session)
    changed = code.changed_files(files, types, session.project)
    if not changed:
        return skops.io.load(pipeline_file(files), trusted=types)
    if not approved():
        raise UnsafeModelError(
            f"{_other_code(changed)}, and no valid approval covers its files; approve the version, "
            f"or check out {_commit(files, session)}"
        )
    return isolated_code.load(files, pipeline_file(files), types, session.project.package)


def require_safe(files: Path, session: Session) -> list[str]:
    """Return the types that skops has to trust to load a model, if all of them may be trusted.

    Raises `UnsafeModelError` if one may not, the code differs, or the format can run any code.
    """
    types = _require_trusted_types(files, session)
    if changed := code.changed_files(files, types, session.project):
        raise UnsafeModelError(f"{_other_code(changed)}; check out {_commit(files, session)}")
    return types


def pipeline_file(files: Path) -> Path:
    """Return the pipeline's file; `UnsafeModelError` if it is outside, where no digest covers it."""
    file = files / str(Model.load(str(files)).flavors["sklearn"]["pickled_model"])
    if not file.resolve().is_relative_to(files.resolve()):
        raise UnsafeModelError("MLmodel: names a pipeline outside of the model's folder")
    return file


def trusted_types(pipeline: Pipeline, session: Session) -> list[str]:
    """Return the types that skops has to trust to load the saved pipeline.

    Those of scikit-learn, numpy, scipy, the project and the estimator's own library may be trusted;
    any other must be listed in the configuration, since loading a file runs the code of its types.
    Raises `UnsafeModelError` if one is not.
    """
    types: list[str] = skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))
    library = type(pipeline[-1]).__module__.partition(".")[0]
    if unknown := untrusted(types, library, session):
        raise UnsafeModelError(
            f"training.trusted_types: the model holds {', '.join(unknown)}; "
            "list them there if you trust them"
        )
    return types


def untrusted(types: Sequence[str], library: str, session: Session) -> list[str]:
    """Return the types that are neither listed in ``training.trusted_types``, nor the project's,
    nor classes of ``library`` (the estimator's) or of the libraries that every model here uses.
    """
    libraries = {"sklearn", "numpy", "scipy", library}
    found = []
    for name in types:
        top = name.partition(".")[0]
        is_listed = name in session.settings.training.trusted_types
        is_own = top == session.project.package
        if not (is_listed or is_own or (top in libraries and _is_type(name))):
            found.append(name)
    return found


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
    types: list[str] = flavor.get("skops_trusted_types") or []
    library = session.settings.training.estimator.partition(".")[0]
    if unknown := untrusted(types, library, session):
        raise UnsafeModelError(
            f"MLmodel: the model holds {', '.join(unknown)}; "
            "list them in training.trusted_types if you trust them"
        )
    return types


def _is_type(name: str) -> bool:
    """Return whether a name is that of a class, or of a ufunc of numpy.

    Loading may call any function that a model lists, and some functions of libraries run code.
    """
    module, _, leaf = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), leaf, None)
    except ImportError:
        return False
    return inspect.isclass(found) or isinstance(found, np.ufunc)


def _other_code(changed: Sequence[str]) -> str:
    return f"{', '.join(changed)}: the model has other code than this project has now"


def _commit(files: Path, session: Session) -> str:
    """Return a phrase with the commit at which a model was trained, if its run can be found."""
    try:
        run = experiments.find_run(session.client, Model.load(str(files)).run_id or "")
    except store.STORE_ERRORS:
        run = None
    tags = run.data.tags if run else {}
    if "git_commit" not in tags:
        return "the commit at which it was trained"
    dirty = ", with the changes that were not committed" if tags.get("git_dirty") == "true" else ""
    return f"the commit {tags['git_commit']}, at which it was trained{dirty}"
