"""Pipelines of the rendered project, made without its configuration's estimator."""

from typing import Any

import pandas as pd
from mlflow_practices.config.project import load_project
from mlflow_practices.config.sections import Training
from mlflow_practices.model.estimators import ESTIMATOR, PREPARE, make_estimator
from mlflow_practices.tracking.session import open_session
from sklearn.pipeline import Pipeline

session = open_session(load_project("my_ml_project"))


def build(path: str, params: dict[str, Any], X: pd.DataFrame, problem_type: str) -> Pipeline:
    """Return the project's preprocessing for ``X``, and the estimator at a dotted path."""
    estimator = make_estimator(Training(estimator=path, params=params, seed=0), problem_type)
    prepare = session.project.build(X, session.settings)
    return Pipeline([(PREPARE, prepare), (ESTIMATOR, estimator)])
