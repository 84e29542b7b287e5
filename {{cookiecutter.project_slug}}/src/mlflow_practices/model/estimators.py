"""The pipeline of a project's preprocessing and the estimator that the configuration names."""

from __future__ import annotations

import difflib
import importlib
import inspect

import joblib
from sklearn.base import BaseEstimator, is_classifier
from sklearn.pipeline import Pipeline

from ..config.sections import Training
from ..config.settings import Settings
from ..errors import PracticeError

PREPARE, ESTIMATOR = "prepare", "estimator"  # the steps of every pipeline here


class EstimatorError(PracticeError):
    """The estimator that the configuration names cannot be made."""


def make_pipeline(prepare: BaseEstimator, settings: Settings) -> Pipeline:
    """Return an unfitted pipeline: the project's preprocessing, then ``training.estimator``.

    Args:
        prepare: an unfitted transformer, as the project's ``features.build`` makes it.
        settings: name the estimator, its parameters and its seed.

    Raises:
        EstimatorError: the estimator cannot be made, or does not suit ``problem_type``.
    """
    estimator = make_estimator(settings.training, settings.problem_type)
    return Pipeline([(PREPARE, prepare), (ESTIMATOR, estimator)])


def all_cores() -> joblib.parallel_config:
    """Let scikit-learn use every core where ``n_jobs`` leaves it open.

    For fitting, which gives the same model. Not for predicting: a forest then adds up its trees in
    any order, and probabilities differ in the last digit from run to run.
    """
    return joblib.parallel_config(backend="threading", n_jobs=-1)


def make_estimator(training: Training, problem_type: str) -> BaseEstimator:
    """Return the unfitted estimator at the dotted path ``training.estimator``.

    Raises:
        EstimatorError: there is none, or it does not take ``training.params``.
    """
    path, params, seed = training.estimator, training.params, training.seed
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise EstimatorError(f"training.estimator: {path}: {error}") from None
    if not (inspect.isclass(found) and hasattr(found, "fit") and hasattr(found, "predict")):
        near = difflib.get_close_matches(name, dir(importlib.import_module(module)), n=1)
        hint = f"; did you mean {module}.{near[0]}?" if near else ""
        raise EstimatorError(
            f"training.estimator: {path} is not a class with fit and predict{hint}"
        )
    allowed = list(inspect.signature(found).parameters)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(found).parameters.values())
    for key in params:
        if key not in allowed and not open_ended:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise EstimatorError(f"training.params.{key}: {name} takes {', '.join(allowed)}{hint}")
    seeded = {"random_state": seed} if "random_state" in allowed else {}
    try:
        estimator = found(**{**seeded, **params})
    except (TypeError, ValueError) as error:
        raise EstimatorError(f"training.params: {name}: {error}") from None
    if is_classifier(estimator) != (problem_type == "classification"):
        raise EstimatorError(
            f"training.estimator: {path} does not suit problem_type: {problem_type}"
        )
    return estimator
