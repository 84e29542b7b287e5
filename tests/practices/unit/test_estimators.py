"""Any estimator with scikit-learn's interface works by its name; mistakes are explained."""

import numpy as np
import pandas as pd
import pytest
import skops.io

from mlflow_practices.model import estimators

CLASSIFIERS = {
    "sklearn.ensemble.RandomForestClassifier": {"n_estimators": 5},
    "sklearn.ensemble.HistGradientBoostingClassifier": {"max_iter": 5},
    "sklearn.linear_model.LogisticRegression": {"C": 0.5},
    "sklearn.neighbors.KNeighborsClassifier": {},
}
REGRESSORS = {
    "sklearn.ensemble.RandomForestRegressor": {"n_estimators": 5},
    "sklearn.linear_model.Ridge": {},
    "sklearn.svm.SVR": {},
}


@pytest.mark.parametrize(
    ("path", "params", "problem_type"),
    [(path, params, "classification") for path, params in CLASSIFIERS.items()]
    + [(path, params, "regression") for path, params in REGRESSORS.items()],
)
def test_any_estimator_fits_every_kind_of_column(
    table: pd.DataFrame, path: str, params: dict[str, object], problem_type: str
) -> None:
    target = "label" if problem_type == "classification" else "price"
    table = table.drop(columns=["price" if target == "label" else "label", "customer"])
    X, y = estimators.features(table, target), table[target]
    pipeline = estimators.build(path, params, 0, X, problem_type).fit(X, y)
    score = pipeline.score(X, y)
    baseline = estimators.baseline(problem_type).fit(X, y).score(X, y)
    assert score > baseline + 0.1
    assert (
        set(estimators.measure(y, estimators.predict(pipeline, X))) >= {"accuracy"}
        if target == "label"
        else {"r2"}
    )
    trusted = estimators.trusted_types(pipeline, [])
    loaded = skops.io.loads(skops.io.dumps(pipeline), trusted=trusted)
    np.testing.assert_array_equal(loaded.predict(X), pipeline.predict(X))


def test_unseen_and_missing_values_are_predicted(table: pd.DataFrame) -> None:
    X, y = estimators.features(table.drop(columns="price"), "label"), table["label"]
    pipeline = estimators.build("sklearn.tree.DecisionTreeClassifier", {}, 0, X, "classification")
    pipeline.fit(X, y)
    strange = X.head(1).assign(colour="violet", size=np.nan, seen=pd.NaT)
    assert pipeline.predict(strange)[0] in {"high", "low"}


def test_rare_categories_share_one_column(table: pd.DataFrame) -> None:
    X = table[["size"]].assign(word=[f"word {i}" for i in range(len(table))])
    pipeline = estimators.build("sklearn.tree.DecisionTreeClassifier", {}, 0, X, "classification")
    pipeline.fit(X, table["label"])
    assert pipeline["prepare"].transform(X).shape[1] == 1 + estimators.MAX_CATEGORIES


@pytest.mark.parametrize(
    ("path", "params", "words"),
    [
        (
            "sklearn.ensemble.RandomForestClasifier",
            {},
            "did you mean sklearn.ensemble.RandomForest",
        ),
        ("sklearn.ensembl.RandomForestClassifier", {}, "No module named 'sklearn.ensembl'"),
        ("sklearn.base.clone", {}, "not a class with fit and predict"),
        (
            "sklearn.ensemble.RandomForestRegressor",
            {},
            "does not suit problem_type: classification",
        ),
        (
            "sklearn.ensemble.RandomForestClassifier",
            {"n_estimator": 3},
            "did you mean n_estimators?",
        ),
    ],
)
def test_mistakes_are_explained(path: str, params: dict[str, object], words: str) -> None:
    with pytest.raises(estimators.EstimatorError, match=words):
        estimators.build(path, params, 0, pd.DataFrame({"a": [1.0]}), "classification")


def test_a_type_that_nobody_vouched_for_is_refused(table: pd.DataFrame) -> None:
    X = estimators.features(table[["size", "label"]], "label")
    pipeline = estimators.build("sklearn.tree.DecisionTreeClassifier", {}, 0, X, "classification")
    pipeline.set_params(estimator__max_depth=3).fit(X, table["label"])
    pipeline.strange = pytest.MonkeyPatch()
    with pytest.raises(estimators.EstimatorError, match=r"training.trusted_types: .*MonkeyPatch"):
        estimators.trusted_types(pipeline, [])
    strange = "_pytest.monkeypatch.MonkeyPatch"
    assert strange in estimators.trusted_types(pipeline, [strange])


def test_metrics_of_a_class_that_is_absent_are_left_out() -> None:
    X, y = pd.DataFrame({"a": [0.0, 1, 2, 3]}), pd.Series(["x", "y", "x", "y"])
    model = estimators.baseline("classification").fit(X, y)
    assert "roc_auc" in estimators.measure(y, estimators.predict(model, X))
    assert "roc_auc" not in estimators.measure(y.replace("y", "x"), estimators.predict(model, X))
