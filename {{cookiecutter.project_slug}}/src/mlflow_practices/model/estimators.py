"""The scikit-learn pipeline that the configuration names, and how it is measured."""

import difflib
import importlib
import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
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
LOWER_IS_BETTER = frozenset({"rmse", "mae", "log_loss"})
SIGNATURE_ROWS = 1000
WARM_UP, TIMED = 3, 30  # predictions of one row


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
    rows = _typical(X)
    inferred = infer_signature(rows, model.predict(rows))
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(column.type, column.name, required=True) for column in inferred.inputs
    ]
    return ModelSignature(Schema(columns), inferred.outputs)


def misfit(signature: ModelSignature | None, X: pd.DataFrame) -> str:
    """Return in words what a model wants of a table and does not find; empty if it fits."""
    if signature is None:
        return "it has no signature"
    found = {column.name: column.type for column in infer_signature(_typical(X)).inputs}
    wrong = [
        f"{column.name} ({column.type.name}) is {there.name if there else 'missing'}"
        for column in signature.inputs
        if (there := found.get(column.name)) != column.type
    ]
    return f"it wants other columns: {', '.join(wrong)}" if wrong else ""


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


def latency(model: Any, X: pd.DataFrame, seed: int = 0) -> float:
    """Return the median of the milliseconds that predicting one row takes, on rows at random."""
    chosen = np.random.default_rng(seed).integers(len(X), size=WARM_UP + TIMED)
    times = []
    for row in chosen:
        one = X.iloc[[row]]
        start = time.perf_counter()
        model.predict(one)
        times.append(time.perf_counter() - start)
    return 1000 * median(times[WARM_UP:])


@dataclass(frozen=True)
class Encoded:
    """What was true and what a model says of it, in numbers, shape (rows,) each.

    Of a classifier these are codes of labels, below ``classes``, its own classes first in the order
    of ``chances``; those, shape (rows, own classes), are None unless the rows define metrics of
    probabilities: finite ones, and rows of every class of its own and of no other.
    """

    true: np.ndarray
    predicted: np.ndarray
    classes: int = 0
    chances: np.ndarray | None = None


def encode(y: pd.Series, predictions: Predictions) -> Encoded:
    """Return labels as codes, which are compared and counted far more quickly than text."""
    if not predictions.classification:
        return Encoded(np.asarray(y, dtype=float), np.asarray(predictions.values, dtype=float))
    factorized = [pd.factorize(labels) for labels in (y, predictions.values)]
    chances = predictions.chances
    own = [] if chances is None else list(chances)
    labels = dict.fromkeys([*own, *(label for _, unique in factorized for label in unique)])
    code = {label: number for number, label in enumerate(labels)}
    true, predicted = (
        np.array([code[label] for label in unique])[codes] for codes, unique in factorized
    )
    found = np.flatnonzero(np.bincount(true))
    if chances is None or len(own) < 2 or not np.array_equal(found, range(len(own))):
        return Encoded(true, predicted, len(code))
    values = chances.to_numpy()
    return Encoded(true, predicted, len(code), values if np.isfinite(values).all() else None)


def measure(y: pd.Series, predictions: Predictions) -> dict[str, float]:
    """Return the metrics; one that these rows do not define is left out."""
    rows = encode(y, predictions)
    if not predictions.classification:
        if not np.isfinite(rows.predicted).all():
            return {}
        values = {
            "rmse": metrics.root_mean_squared_error(rows.true, rows.predicted),
            "mae": metrics.mean_absolute_error(rows.true, rows.predicted),
        }
        if len(y) > 1:
            values["r2"] = metrics.r2_score(rows.true, rows.predicted)
        return {name: float(value) for name, value in values.items()}
    # Rows with the same two labels are counted once; scikit-learn takes the counts as weights.
    pairs, counts = np.unique(rows.true * rows.classes + rows.predicted, return_counts=True)
    cells = np.divmod(pairs, rows.classes)
    weights: dict[str, Any] = {"sample_weight": counts}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        *cells, average="macro", zero_division=0, **weights
    )
    values = {
        "accuracy": metrics.accuracy_score(*cells, **weights),
        "balanced_accuracy": metrics.balanced_accuracy_score(*cells, **weights),
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
    }
    if rows.chances is not None:
        own = rows.chances.shape[1]
        values["log_loss"] = metrics.log_loss(rows.true, rows.chances, labels=range(own))
        values["roc_auc"] = metrics.roc_auc_score(
            rows.true, rows.chances[:, 1] if own == 2 else rows.chances, multi_class="ovr"
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
    library = type(pipeline[-1]).__module__.partition(".")[0]
    if strange := unvouched(found, library, also):
        raise EstimatorError(
            f"training.trusted_types: the model holds {', '.join(strange)}; "
            "list them there if you trust them"
        )
    return found


def unvouched(types: Sequence[str], library: str, also: Sequence[str]) -> list[str]:
    """Return the types that are neither of ``library``, the estimator's, nor in ``also``, nor of
    those that every model here is made of.
    """
    own = {"sklearn", "numpy", "scipy", __package__, library}
    return [name for name in types if name.partition(".")[0] not in own and name not in also]


def _typical(X: pd.DataFrame) -> pd.DataFrame:
    present = {X[name].notna().argmax() for name in X.columns}
    return X.iloc[sorted(present | set(range(min(SIGNATURE_ROWS, len(X)))))]


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
