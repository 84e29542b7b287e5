"""The pipeline of a project's preprocessing and the estimator that the configuration names."""

from __future__ import annotations

import importlib
import inspect

import joblib
from sklearn.base import BaseEstimator, is_classifier
from sklearn.pipeline import Pipeline

from ..config.sections import Training
from ..config.settings import Settings
from ..errors import PracticeError, did_you_mean

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

    Use it for fitting, which gives the same model. Do not use it for predicting: a forest then adds
    up its trees in any order, and the last digit of probabilities differs from run to run.
    """
    return joblib.parallel_config(backend="threading", n_jobs=-1)


def make_estimator(training: Training, problem_type: str) -> BaseEstimator:
    """Return the unfitted estimator at the dotted path ``training.estimator``.

    Raises:
        EstimatorError: there is none, or it does not take ``training.params``.
    """
    path, params = training.estimator, training.params
    module_path, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_path)
    except ImportError as error:
        raise EstimatorError(f"training.estimator: {path}: {error}") from None
    found = getattr(module, name, None)
    if not (inspect.isclass(found) and hasattr(found, "fit") and hasattr(found, "predict")):
        hint = did_you_mean(name, dir(module), f"{module_path}.")
        raise EstimatorError(
            f"training.estimator: {path} is not a class with fit and predict{hint}"
        )
    accepted = inspect.signature(found).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in accepted.values())
    for key in params:
        if key not in accepted and not takes_any:
            hint = did_you_mean(key, accepted)
            raise EstimatorError(f"training.params.{key}: {name} takes {', '.join(accepted)}{hint}")
    if "random_state" in accepted:
        params = {"random_state": training.seed, **params}
    try:
        estimator = found(**params)
    except (TypeError, ValueError) as error:
        raise EstimatorError(f"training.params: {name}: {error}") from None
    if is_classifier(estimator) != (problem_type == "classification"):
        raise EstimatorError(
            f"training.estimator: {path} does not suit problem_type: {problem_type}"
        )
    return estimator
