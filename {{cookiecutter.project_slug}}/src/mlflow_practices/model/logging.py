"""Logs a fitted pipeline as a model: without pickle, with its signature, input schema and code."""

from __future__ import annotations

import pandas as pd
from mlflow.models.model import ModelInfo
from sklearn.pipeline import Pipeline

from ..tracking import recording, reproducibility
from ..tracking.session import Session
from . import code, input_schema, safe_loading, signature

EXAMPLE_ROWS = 5


def log_model(
    pipeline: Pipeline, X: pd.DataFrame, unseen: pd.DataFrame, session: Session
) -> ModelInfo:
    """Log a fitted pipeline to the run, in the format of skops, with the project's code it needs.

    Args:
        pipeline: of the project's preprocessing and an estimator.
        X: the features that it was fitted on, shape (rows, columns).
        unseen: features of other rows, for the input schema.
        session: names the types that may be loaded, and the policies for personal data.

    Raises:
        CodeError: a module of the project that defines a class of the pipeline cannot travel.
        UnsafeModelError: the pipeline holds a type that may not be trusted.
    """
    privacy, project = session.settings.privacy, session.project
    types = safe_loading.trusted_types(pipeline, session)
    own = code.collect(types, project)
    modules = {type(pipeline[-1]).__module__, *types, *own.libraries}
    libraries = {name.partition(".")[0] for name in modules} - {project.package}
    with own.staged(project.package) as paths:
        return recording.log_sklearn_model(
            pipeline,
            X.head(min(EXAMPLE_ROWS, privacy.sample_rows)),
            signature=signature.make_signature(X, pipeline),
            pip_requirements=reproducibility.model_requirements(libraries),
            code_paths=paths,
            skops_trusted_types=types,
            metadata=input_schema.column_metadata(pd.concat([X, unseen]), privacy.policies),
        )
