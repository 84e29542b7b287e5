"""Any estimator with scikit-learn's interface works by its name; mistakes are explained."""

from typing import Any

import pytest
from mlflow_practices.config.sections import Training
from mlflow_practices.model.estimators import EstimatorError, make_estimator

FOREST = "sklearn.ensemble.RandomForestClassifier"


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
        (FOREST, {"n_estimator": 3}, "did you mean n_estimators?"),
    ],
)
def test_mistakes_are_explained(path: str, params: dict[str, Any], words: str) -> None:
    with pytest.raises(EstimatorError, match=words):
        make_estimator(Training(estimator=path, params=params), "classification")


def test_the_seed_is_passed_on_unless_the_parameters_have_their_own() -> None:
    assert make_estimator(Training(estimator=FOREST, seed=7), "classification").random_state == 7
    own = Training(estimator=FOREST, seed=7, params={"random_state": 3})
    assert make_estimator(own, "classification").random_state == 3
    neighbours = Training(estimator="sklearn.neighbors.KNeighborsClassifier", seed=7)
    assert "random_state" not in make_estimator(neighbours, "classification").get_params()
