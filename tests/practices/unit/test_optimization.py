"""An optimised copy answers as the original does, or says why there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from mlflow_practices.config.sections import Training
from mlflow_practices.evaluation.predictions import Predictions, predict
from mlflow_practices.model import estimators, safe_loading
from mlflow_practices.model.signature import features
from mlflow_practices.optimization import (
    latency,
    onnx_export,
    optimization,
    optimized_model,
    verification,
)
from mlflow_practices.optimization.array_preparation import (
    OptimizationError,
    Preparation,
    to_arrays,
)
from mlflow_practices.optimization.optimized_model import Optimized, Report
from mlflow_practices.tracking.session import Session
from my_ml_project.project import PROJECT
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

CLASSIFIERS: dict[str, dict[str, object]] = {
    "ensemble.RandomForestClassifier": {"n_estimators": 20},
    "ensemble.ExtraTreesClassifier": {"n_estimators": 20},
    "ensemble.GradientBoostingClassifier": {"n_estimators": 20},
    "linear_model.LogisticRegression": {},
    "tree.DecisionTreeClassifier": {},
    "neighbors.KNeighborsClassifier": {},
    "svm.SVC": {},
    "neural_network.MLPClassifier": {"max_iter": 20},
}
REGRESSORS: dict[str, dict[str, object]] = {
    "ensemble.RandomForestRegressor": {"n_estimators": 20},
    "linear_model.Ridge": {},
}


@pytest.fixture(autouse=True)
def _time_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "SECONDS", 0.005)
    monkeypatch.setattr(latency, "SIZES", (1, 10, 100))


@pytest.fixture
def X(table: pd.DataFrame) -> pd.DataFrame:
    """Return features of every kind, with gaps in each but one."""
    random = np.random.default_rng(1)
    rows = len(table)
    found = table.drop(columns=["label", "price", "customer"]).assign(
        member=pd.Series(random.random(rows) > 0.5, dtype=object),
        town=[f"town {number}" for number in random.integers(0, 90, rows) ** 2 // 90],
        street=[f"street {number}" for number in random.integers(0, 60, rows)],
    )
    for name in ("member", "town", "seen"):
        found[name] = found[name].mask(random.random(rows) < 0.1)
    return features(found.assign(y=0), "y")


@pytest.fixture
def choose(
    tmp_path: Path, X: pd.DataFrame, session: Session
) -> Callable[[Pipeline], tuple[Report, Optimized]]:
    """Return a function that has a pipeline optimised, and loads the copy as a server does."""

    def choose(pipeline: Pipeline) -> tuple[Report, Optimized]:
        skops.io.dump(pipeline, tmp_path / "model.skops")
        trusted = safe_loading.trusted_types(pipeline, session)
        report, onnx = optimization.choose_fastest(tmp_path / "model.skops", trusted, X)
        folder = tmp_path / optimized_model.FOLDER
        folder.mkdir()
        (folder / optimized_model.REPORT).write_text(report.model_dump_json())
        if onnx is not None:
            (folder / optimized_model.MODEL).write_bytes(onnx)
        loaded = skops.io.load(tmp_path / "model.skops", trusted=trusted)
        copy = optimized_model.load(tmp_path, loaded)
        assert copy is not None
        return report, copy

    return choose


def fit(
    path: str, params: dict[str, object], X: pd.DataFrame, y: pd.Series, problem_type: str = ""
) -> Pipeline:
    """Return the pipeline that training would make with this estimator."""
    problem_type = problem_type or ("regression" if y.dtype.kind == "f" else "classification")
    training = Training(estimator=f"sklearn.{path}", params=params, seed=0)
    settings = SimpleNamespace(training=training, problem_type=problem_type)
    prepare = PROJECT.build(X, settings)
    return estimators.make_pipeline(prepare, settings).fit(X, y)  # type: ignore[arg-type]


def strange(X: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return rows with gaps and unknown categories anywhere."""
    random = np.random.default_rng(seed)
    rows = X.sample(len(X), replace=True, random_state=seed).reset_index(drop=True)
    rows["active"] = rows["active"].astype(object)
    for name in ("colour", "town", "street"):
        rows[name] = rows[name].mask(random.random(len(rows)) < 0.2, "nobody saw this")
    return pd.DataFrame({name: rows[name].mask(random.random(len(rows)) < 0.3) for name in rows})


@pytest.mark.parametrize("seed", range(5))
def test_features_are_those_of_the_pipeline_to_the_last_bit(
    X: pd.DataFrame,
    table: pd.DataFrame,
    seed: int,
) -> None:
    pipeline = fit("tree.DecisionTreeClassifier", {}, X, table["label"])
    prepare = Preparation.from_pipeline(pipeline)
    for rows in (X, strange(X, seed), X.tail(1)):
        np.testing.assert_array_equal(prepare(to_arrays(rows)), pipeline["prepare"].transform(rows))


def test_numbers_that_are_categories_are_encoded_to_the_last_bit(
    X: pd.DataFrame, table: pd.DataFrame
) -> None:
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    pipeline = Pipeline(
        [
            ("prepare", ColumnTransformer([("codes", encoder, ["count", "size", "colour"])])),
            ("estimator", DecisionTreeClassifier()),
        ]
    ).fit(X, table["label"])
    prepare = Preparation.from_pipeline(pipeline)
    for rows in (X, strange(X, 1)):
        np.testing.assert_array_equal(prepare(to_arrays(rows)), pipeline["prepare"].transform(rows))


class Doubled(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of the project's that cannot do with gaps."""

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn nothing."""
        self.fitted_ = True
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return twice the numbers."""
        return self.transform_arrays([X[name].to_numpy() for name in X])

    def transform_arrays(self, columns: list[np.ndarray]) -> np.ndarray:
        """Return the same of arrays."""
        made = np.column_stack(columns) * 2
        if np.isnan(made).any():
            raise KeyError("a gap")
        return made


class Flat(Doubled):
    """One whose arrays have another shape than they should."""

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return a column."""
        return self.transform_arrays([X[name].to_numpy() for name in X])[:, None]

    def transform_arrays(self, columns: list[np.ndarray]) -> np.ndarray:
        """Return what has no columns."""
        return columns[0] * 2


@pytest.mark.parametrize(
    ("own", "reason"),
    [(Doubled(), "one row takes"), (Flat(), "the original stays: on arrays it raises IndexError")],
)
def test_a_transformer_that_fails_ends_no_training(
    own: Doubled, reason: str, X: pd.DataFrame, table: pd.DataFrame, tmp_path: Path
) -> None:
    steps = [
        ("prepare", ColumnTransformer([("own", own, ["count"])])),
        ("estimator", DecisionTreeClassifier()),
    ]
    pipeline = Pipeline(steps).fit(X, table["label"])
    skops.io.dump(pipeline, tmp_path / "model.skops")
    trusted = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    report, _ = optimization.choose_fastest(tmp_path / "model.skops", trusted, X)
    assert reason in report.reason
    assert (report.winner == "original") == isinstance(own, Flat)


def test_a_date_that_no_request_can_hold_does_not_keep_the_original(
    X: pd.DataFrame,
    table: pd.DataFrame,
    choose: Callable[[Pipeline], tuple[Report, Optimized]],
) -> None:
    X["seen"] = X["seen"].astype("datetime64[us]")
    X.loc[3, "seen"] = pd.Timestamp("9999-12-31")
    X.loc[4, "seen"] = pd.Timestamp("0001-01-01")
    report, copy = choose(fit("tree.DecisionTreeClassifier", {}, X, table["label"]))
    assert report.winner != "original"
    rows = X.drop(index=[3, 4])
    assert len(copy.predict(to_arrays(rows))) == len(rows)


@pytest.mark.parametrize(("path", "params"), (CLASSIFIERS | REGRESSORS).items())
def test_the_copy_answers_as_the_original(
    path: str,
    params: dict[str, object],
    X: pd.DataFrame,
    table: pd.DataFrame,
    choose: Callable[[Pipeline], tuple[Report, Optimized]],
) -> None:
    pipeline = fit(path, params, X, table["label" if path in CLASSIFIERS else "price"])
    report, copy = choose(pipeline)
    if report.winner == "arrays":
        assert "ONNX is no faster" in report.reason
    else:
        assert report.winner == "onnx"
        assert report.differences is not None
        assert report.differences.rows >= len(X) + 2 * verification.VARIED_ROWS
    for rows in (strange(X, 7), X.head(1)):
        expected, found = pipeline.predict(rows), copy.predict(to_arrays(rows))
        if path in REGRESSORS:
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(table["price"]))
        else:
            differ = expected != found
            if hasattr(pipeline, "predict_proba"):  # whose classes are two
                differ &= (
                    np.abs(np.diff(pipeline.predict_proba(rows)).ravel()) > verification.TIE_MARGIN
                )
            assert not differ.any()


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("ensemble.RandomForestClassifier", ["low", "high", "mid"]),
        ("ensemble.RandomForestClassifier", [3, 1, 2]),
        ("ensemble.RandomForestClassifier", [1.0, 2.0]),
        ("ensemble.RandomForestClassifier", [True, False]),
        ("linear_model.LogisticRegression", [True, False]),
    ],
)
def test_labels_keep_their_type(
    path: str,
    labels: list[object],
    X: pd.DataFrame,
    choose: Callable[[Pipeline], tuple[Report, Optimized]],
) -> None:
    y = pd.Series([labels[row % len(labels)] for row in range(len(X))])
    pipeline = fit(path, CLASSIFIERS[path], X, y, "classification")
    report, copy = choose(pipeline)
    assert report.winner == "onnx"
    found = copy.predict(to_arrays(X.head(20))).tolist()
    assert found == pipeline.predict(X.head(20)).tolist()
    assert {type(label) for label in found} == {type(labels[0])}


def test_double_precision_is_used_where_single_is_not_enough(
    X: pd.DataFrame,
    table: pd.DataFrame,
    choose: Callable[[Pipeline], tuple[Report, Optimized]],
) -> None:
    pipeline = fit("linear_model.Ridge", {}, X, table["price"] + 1e9)
    report, copy = choose(pipeline)
    assert report.winner == "onnx", report.reason
    rows = strange(X, 5)
    np.testing.assert_allclose(copy.predict(to_arrays(rows)), pipeline.predict(rows), rtol=1e-13)


def test_what_cannot_be_converted_answers_from_arrays(
    X: pd.DataFrame,
    table: pd.DataFrame,
    choose: Callable[[Pipeline], tuple[Report, Optimized]],
) -> None:
    pipeline = fit("ensemble.HistGradientBoostingClassifier", {"max_iter": 5}, X, table["label"])
    report, copy = choose(pipeline)
    assert (report.winner, copy.format) == ("arrays", "arrays")
    assert "HistGradientBoostingClassifier cannot be converted to ONNX" in report.reason
    rows = strange(X, 3)
    np.testing.assert_array_equal(copy.predict(to_arrays(rows)), pipeline.predict(rows))


@pytest.mark.parametrize("name", ["RandomForestRegressor", "GradientBoostingRegressor"])
def test_a_large_forest_is_not_converted(
    name: str,
    X: pd.DataFrame,
    table: pd.DataFrame,
    choose: Callable[[Pipeline], tuple[Report, Optimized]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = fit(f"ensemble.{name}", {"n_estimators": 5}, X, table["price"])
    nodes = sum(tree.tree_.node_count for tree in np.ravel(pipeline[-1].estimators_))
    monkeypatch.setattr(onnx_export, "MAX_NODES", nodes - 1)
    report, copy = choose(pipeline)
    assert (report.winner, copy.format) == ("arrays", "arrays")
    assert f"converting {nodes:,} nodes of trees to ONNX takes too long" in report.reason


def test_a_pipeline_with_another_step_stays(
    tmp_path: Path, table: pd.DataFrame, session: Session
) -> None:
    X, y = table[["count"]].astype(float), table["label"]
    pipeline = Pipeline([("prepare", MinMaxScaler()), ("estimator", RandomForestClassifier(5))])
    skops.io.dump(pipeline.fit(X, y), tmp_path / "model.skops")
    trusted = safe_loading.trusted_types(pipeline, session)
    report, onnx = optimization.choose_fastest(tmp_path / "model.skops", trusted, X)
    assert (report.winner, onnx) == ("original", None)
    assert report.reason.startswith("the original stays: the pipeline is not a ColumnTransformer")


def test_a_wrong_copy_is_found_out(X: pd.DataFrame, table: pd.DataFrame) -> None:
    right, wrong = (
        fit("ensemble.RandomForestClassifier", {"n_estimators": 5, "max_depth": depth}, X, y)
        for depth, y in ((3, table["label"]), (2, table["label"]))
    )
    expected = predict(right, X)
    same = predict(right, X)
    other = predict(wrong, X)
    assert same.probabilities is not None
    assert other.probabilities is not None
    assert verification.compare(expected, same.values, same.probabilities.to_numpy()).agree
    found = verification.compare(expected, same.values, other.probabilities.to_numpy())
    assert not found.agree  # the labels are right, the probabilities are not
    assert not verification.compare(expected, other.values, same.probabilities.to_numpy()).agree
    assert not verification.compare(
        expected, same.values, same.probabilities.to_numpy()[:, :1]
    ).agree


def test_a_tie_may_be_broken_either_way() -> None:
    chances = pd.DataFrame({"a": [0.5, 0.9], "b": [0.5, 0.1]})
    expected = Predictions(np.array(["a", "a"]), chances, True)
    tie = verification.compare(expected, np.array(["b", "a"]), chances.to_numpy())
    assert (tie.labels, tie.ties, tie.agree) == (1, 1, True)
    assert not verification.compare(expected, np.array(["b", "b"]), chances.to_numpy()).agree


def test_a_copy_that_is_wrong_where_a_tree_splits_is_found_out(
    X: pd.DataFrame,
    table: pd.DataFrame,
) -> None:
    pipeline = fit("ensemble.RandomForestRegressor", {"n_estimators": 3}, X, table["price"])
    prepare = Preparation.from_pipeline(pipeline)
    rows = verification.probe_rows(X, pipeline, prepare)
    expected = predict(pipeline, rows)
    made = prepare(to_arrays(rows))
    assert verification.compare(expected, pipeline[-1].predict(made)).agree
    # As if they had been scaled in float32: the last bit differs.
    nudged = made * (1 + 1e-7)
    assert not verification.compare(expected, pipeline[-1].predict(nudged)).agree


def test_the_batch_up_to_which_onnx_is_faster_lies_between_those_timed() -> None:
    slow = {1: 10, 10: 10, 100: 100}
    assert latency.largest_faster_batch({1: 1, 10: 1, 100: 1}, slow) is None
    assert latency.largest_faster_batch({1: 11, 10: 1, 100: 1}, slow) == 0
    assert latency.largest_faster_batch({1: 1, 10: 5, 100: 200}, slow) == 31


def test_numbers_too_large_for_float32_are_not_answered(
    X: pd.DataFrame,
    table: pd.DataFrame,
    choose: Callable[[Pipeline], tuple[Report, Optimized]],
) -> None:
    path = "ensemble.RandomForestClassifier"
    _, copy = choose(fit(path, CLASSIFIERS[path], X, table["label"]))
    with pytest.raises(FloatingPointError):
        copy.predict(to_arrays(X.head(1).assign(size=1e300)))


def test_a_damaged_copy_is_refused(
    tmp_path: Path,
    X: pd.DataFrame,
    table: pd.DataFrame,
    choose: Callable[[Pipeline], tuple[Report, Optimized]],
) -> None:
    path = "ensemble.RandomForestClassifier"
    pipeline = fit(path, CLASSIFIERS[path], X, table["label"])
    choose(pipeline)
    (tmp_path / optimized_model.FOLDER / optimized_model.MODEL).write_bytes(b"not a model")
    with pytest.raises(OptimizationError, match=r"optimized/: .*; train the model again"):
        optimized_model.load(tmp_path, pipeline)


@pytest.mark.parametrize(
    ("flavor", "words"),
    [
        ({"serialization_format": "cloudpickle"}, "is saved as cloudpickle"),
        ({}, "is saved as another format"),
        (
            {"serialization_format": "skops", "skops_trusted_types": ["posix.system"]},
            "the model holds posix.system; list them in training.trusted_types",
        ),
    ],
)
def test_files_that_could_run_code_are_refused(
    session: Session, tmp_path: Path, flavor: dict[str, object], words: str
) -> None:
    python = {"loader_module": "mlflow.sklearn", "env": "python_env.yaml"}
    flavors = {"python_function": python, "sklearn": {"pickled_model": "m", **flavor}}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))
    with pytest.raises(safe_loading.UnsafeModelError, match=words):
        safe_loading.load(tmp_path, session)
