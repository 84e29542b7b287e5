"""The scikit-learn pipeline that the configuration names, and how it is measured."""

import difflib
import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import joblib
import numpy as np
import pandas as pd
import skops.io
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from sklearn import metrics
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

MAX_CATEGORIES = 50  # of a column; rarer ones share a category beyond that


class EstimatorError(Exception):
    """The estimator that the configuration names cannot be made."""


class DateParts(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn each date into year, month, day of the week and days since 1970; missing stays so."""

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn nothing but the columns' names."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return an array of shape (rows, 4 x columns)."""
        parts: list[pd.Series] = []
        for name in X.columns:
            dates = pd.to_datetime(X[name])
            days = (dates - pd.Timestamp(0)) / pd.Timedelta(days=1)
            parts += [dates.dt.year, dates.dt.month, dates.dt.dayofweek, days]
        return np.column_stack(parts).astype(float)

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Return the names of the columns that `transform` makes."""
        parts = ("year", "month", "weekday", "days")
        return np.asarray(
            [f"{name}_{part}" for name in self.feature_names_in_ for part in parts], dtype=object
        )


def features(table: pd.DataFrame, target: str) -> pd.DataFrame:
    """Return the columns to learn from, integers as floats since those can be missing."""
    columns = table.drop(columns=target)
    return columns.astype(dict.fromkeys(columns.select_dtypes("integer"), "float64"))


def signature(X: pd.DataFrame, model: Pipeline) -> ModelSignature:
    """Return the model's signature: every column has to be there, a value in it may be missing.

    It is read off the first rows and, for each column, the first row that has a value.
    """
    present = {X[name].notna().argmax() for name in X.columns}
    rows = X.iloc[sorted(present | set(range(min(1000, len(X)))))]
    inferred = infer_signature(rows, model.predict(rows))
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(column.type, column.name, required=True) for column in inferred.inputs
    ]
    return ModelSignature(Schema(columns), inferred.outputs)


def build(
    path: str, params: dict[str, Any], seed: int, X: pd.DataFrame, problem_type: str
) -> Pipeline:
    """Return an unfitted pipeline: columns by their type, then the estimator at dotted ``path``.

    Numbers are imputed with the median and scaled, text and booleans one-hot encoded (missing is
    a category of its own), dates taken apart. A column without any value in ``X`` is not used.

    Raises:
        EstimatorError: the path, a parameter or the kind of estimator is wrong.
    """
    known = X.loc[:, X.notna().any()]
    dates = list(known.select_dtypes("datetime"))
    numbers = list(known.select_dtypes("number"))
    rest = [name for name in known if name not in {*dates, *numbers}]
    wide = [name for name in rest if X[name].nunique() > MAX_CATEGORIES]
    encode = {"sparse_output": False, "handle_unknown": "ignore"}
    group = {**encode, "handle_unknown": "infrequent_if_exist", "max_categories": MAX_CATEGORIES}
    by_type = [
        ("numbers", _numeric(), numbers),
        ("categories", OneHotEncoder(**encode), [name for name in rest if name not in wide]),
        ("wide_categories", OneHotEncoder(**group), wide),
        ("dates", make_pipeline(DateParts(), *(step for _, step in _numeric().steps)), dates),
    ]
    prepare = ColumnTransformer(
        [step for step in by_type if step[2]], verbose_feature_names_out=False
    )
    return Pipeline(
        [("prepare", prepare), ("estimator", _estimator(path, params, seed, problem_type))]
    )


def baseline(problem_type: str) -> DummyClassifier | DummyRegressor:
    """Return what any model must beat: the most frequent class, or the mean."""
    return (
        DummyClassifier(strategy="prior") if problem_type == "classification" else DummyRegressor()
    )


@dataclass(frozen=True)
class Predictions:
    """What a model says of some rows: shape (rows,), and for a classifier that gives
    probabilities a frame of shape (rows, classes) whose columns are the classes.
    """

    values: np.ndarray
    chances: pd.DataFrame | None
    classification: bool


def all_cores() -> joblib.parallel_config:
    """Let scikit-learn use every core where ``n_jobs`` leaves it open.

    For fitting, which gives the same model. Not for predicting: a forest then adds up its trees in
    any order, and probabilities differ in the last digit from run to run.
    """
    return joblib.parallel_config(backend="threading", n_jobs=-1)


def predict(model: Any, X: pd.DataFrame) -> Predictions:
    """Return the predictions, made once for all who need them."""
    chances = None
    if hasattr(model, "predict_proba"):
        chances = pd.DataFrame(model.predict_proba(X), columns=model.classes_, index=X.index)
    return Predictions(model.predict(X), chances, is_classifier(model))


def measure(y: pd.Series, predictions: Predictions) -> dict[str, float]:
    """Return the metrics; one that these rows do not define is left out."""
    predicted, chances = predictions.values, predictions.chances
    if not predictions.classification:
        return {
            "rmse": float(metrics.root_mean_squared_error(y, predicted)),
            "mae": float(metrics.mean_absolute_error(y, predicted)),
            "r2": float(metrics.r2_score(y, predicted)),
        }
    values = {
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
        "precision_macro": metrics.precision_score(y, predicted, average="macro", zero_division=0),
        "recall_macro": metrics.recall_score(y, predicted, average="macro", zero_division=0),
        "f1_macro": metrics.f1_score(y, predicted, average="macro", zero_division=0),
    }
    if chances is not None and set(y) == set(chances):
        values["log_loss"] = metrics.log_loss(y, chances, labels=chances.columns)
        if chances.shape[1] == 2:
            values["roc_auc"] = metrics.roc_auc_score(y == chances.columns[1], chances.iloc[:, 1])
        else:
            values["roc_auc"] = metrics.roc_auc_score(
                y, chances, multi_class="ovr", labels=chances.columns
            )
    return {name: float(value) for name, value in values.items()}


def trusted_types(pipeline: Pipeline, also: Sequence[str]) -> list[str]:
    """Return the types that whoever loads the saved pipeline must trust.

    Those of scikit-learn, numpy, scipy, this package and the estimator's own library are; any
    other has to be listed in the configuration, since loading a file runs its types' code.

    Raises:
        EstimatorError: the pipeline holds a type that nobody vouched for.
    """
    found: list[str] = skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))
    own = {
        "sklearn",
        "numpy",
        "scipy",
        __package__,
        type(pipeline[-1]).__module__.partition(".")[0],
    }
    strange = [name for name in found if name.partition(".")[0] not in own and name not in also]
    if strange:
        raise EstimatorError(
            f"training.trusted_types: the model holds {', '.join(strange)}; "
            "list them there if you trust them"
        )
    return found


def _numeric() -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


def _estimator(path: str, params: dict[str, Any], seed: int, problem_type: str) -> BaseEstimator:
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
