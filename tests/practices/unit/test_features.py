"""The features that a new project begins with: every kind of column, and the parts of dates."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from mlflow_practices.config.settings import Settings
from mlflow_practices.evaluation.metrics import ScoredRows
from mlflow_practices.evaluation.predictions import make_baseline, predict
from mlflow_practices.model.estimators import make_pipeline
from mlflow_practices.model.safe_loading import trusted_types
from mlflow_practices.model.signature import features
from my_ml_project.features import MAX_CATEGORIES, DateParts, build

import projects

CLASSIFIERS = {
    "sklearn.ensemble.RandomForestClassifier": "{n_estimators: 5}",
    "sklearn.ensemble.HistGradientBoostingClassifier": "{max_iter: 5}",
    "sklearn.linear_model.LogisticRegression": "{C: 0.5}",
    "sklearn.neighbors.KNeighborsClassifier": "{}",
}
REGRESSORS = {
    "sklearn.ensemble.RandomForestRegressor": "{n_estimators: 5}",
    "sklearn.linear_model.Ridge": "{}",
    "sklearn.svm.SVR": "{}",
}
FAR = ["0001-03-01", "1969-12-31T23:59:59.5", "2024-02-29T12:00", "9999-12-31", None]


@pytest.mark.parametrize(
    ("path", "params", "problem_type"),
    [(path, params, "classification") for path, params in CLASSIFIERS.items()]
    + [(path, params, "regression") for path, params in REGRESSORS.items()],
)
@pytest.mark.usefixtures("project")
def test_any_estimator_fits_every_kind_of_column(
    table: pd.DataFrame, path: str, params: str, problem_type: str
) -> None:
    target = "label" if problem_type == "classification" else "price"
    session = projects.open_project(
        overrides=[
            f"training.estimator={path} training.params={params}",
            f"problem_type={problem_type} data.target={target} data.drop=[]",
        ]
    )
    table = table.drop(columns=["price" if target == "label" else "label", "customer"])
    X, y = features(table, target), table[target]
    pipeline = make_pipeline(build(X, session.settings), session.settings).fit(X, y)
    score = pipeline.score(X, y)
    assert score > make_baseline(problem_type).fit(X, y).score(X, y) + 0.1
    expected = "accuracy" if target == "label" else "r2"
    assert ScoredRows(y, predict(pipeline, X)).measure().points[expected] == pytest.approx(score)
    loaded = skops.io.loads(skops.io.dumps(pipeline), trusted=trusted_types(pipeline, session))
    np.testing.assert_array_equal(loaded.predict(X), pipeline.predict(X))


def test_unseen_and_missing_values_are_predicted(table: pd.DataFrame, settings: Settings) -> None:
    X, y = features(table.drop(columns="price"), "label"), table["label"]
    pipeline = make_pipeline(build(X, settings), settings).fit(X, y)
    strange = X.head(1).assign(colour="violet", size=np.nan, seen=pd.NaT)
    assert pipeline.predict(strange)[0] in {"high", "low"}


def test_rare_categories_share_one_column(table: pd.DataFrame, settings: Settings) -> None:
    X = table[["size"]].assign(word=[f"word {i}" for i in range(len(table))])
    assert build(X, settings).fit_transform(X).shape[1] == 1 + MAX_CATEGORIES


def test_a_column_without_any_value_is_not_used(table: pd.DataFrame, settings: Settings) -> None:
    X = table[["size"]].assign(void=np.nan, blank=None)
    assert list(build(X, settings).fit(X).get_feature_names_out()) == ["size"]


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_dates_are_taken_apart_as_the_calendar_has_them(unit: str) -> None:
    texts = FAR if unit != "ns" else FAR[1:3] + FAR[4:]
    dates = pd.Series(pd.to_datetime(texts, format="ISO8601")).astype(f"datetime64[{unit}]")
    X = pd.DataFrame({"seen": dates, "again": dates})
    parts = DateParts().fit(X)
    found = parts.transform(X)
    names = list(parts.get_feature_names_out())
    assert names[:4] == ["seen_year", "seen_month", "seen_weekday", "seen_days"]
    assert found.shape == (len(texts), len(names))
    days = (dates - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
    expected = np.column_stack([dates.dt.year, dates.dt.month, dates.dt.dayofweek, days])
    np.testing.assert_array_equal(found[:, :4], expected)
    np.testing.assert_array_equal(found[:, 4:], expected)


def test_arrays_give_the_same_features_as_frames(table: pd.DataFrame) -> None:
    X = table[["seen"]].assign(other=table["seen"] + pd.Timedelta(hours=7, nanoseconds=1001))
    X.loc[3, "seen"] = pd.NaT
    arrays = [X[name].to_numpy("datetime64[ns]") for name in X]
    parts = DateParts().fit(X)
    np.testing.assert_array_equal(parts.transform_arrays(arrays), parts.transform(X))
