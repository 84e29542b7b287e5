"""Permutation importance, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from mlflow_practices.evaluation import importance
from sklearn.compose import make_column_transformer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

REPEATS = 40


@pytest.mark.parametrize("classification", [True, False])
@pytest.mark.parametrize("batch_rows", [1, 1000, 15_000])
def test_it_agrees_with_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, classification: bool, batch_rows: int
) -> None:
    monkeypatch.setattr(importance, "BATCH_ROWS", batch_rows)
    random = np.random.default_rng(7)
    X = pd.DataFrame(
        {
            "strong": random.normal(size=300),
            "weak": random.normal(size=300),
            "noise": random.normal(size=300),
            "kind": pd.Categorical(random.choice(["a", "b", "c"], 300)),
        },
        index=range(1000, 1300),
    )
    signal = 2 * X["strong"] + 0.5 * X["weak"] + (X["kind"] == "a") + random.normal(size=300)
    y = pd.Series(np.where(signal > 0, "yes", "no") if classification else signal, index=X.index)
    estimator = LogisticRegression() if classification else LinearRegression()
    encoder = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    model = make_pipeline(encoder, estimator).fit(X, y)

    losses = importance.permutation_losses(model, X, y, REPEATS)

    assert losses.shape == (4, REPEATS)
    expected = permutation_importance(model, X, y, n_repeats=REPEATS, random_state=1)
    error = np.hypot(losses.std(axis=1), expected.importances_std) / np.sqrt(REPEATS)
    assert (np.abs(losses.mean(axis=1) - expected.importances_mean) < 5 * error + 1e-9).all()
    assert losses.mean(axis=1).argmax() == 0
