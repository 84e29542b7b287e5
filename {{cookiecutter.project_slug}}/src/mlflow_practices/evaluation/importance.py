"""Permutation importance: how much of its score a model loses when one column is shuffled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score

BATCH_ROWS = 15_000  # rows of one prediction


def permutation_losses(model: Any, X: pd.DataFrame, y: pd.Series, repeats: int) -> np.ndarray:
    """Return the loss of accuracy, or of R2, for each shuffle, shape (columns, repeats).

    scikit-learn's function predicts once for each shuffle. Here shuffles are predicted together,
    since most of the time of a small prediction does not depend on its number of rows.

    Args:
        model: a fitted pipeline.
        X: features of shape (rows, columns).
        y: what is true, shape (rows,).
        repeats: shuffles of each column.
    """
    score = accuracy_score if is_classifier(model) else r2_score
    random = np.random.default_rng(0)
    shuffles = [column for column in X.columns for _ in range(repeats)]
    together = max(1, BATCH_ROWS // len(X))
    scores: list[float] = []
    for start in range(0, len(shuffles), together):
        tables = []
        for column in shuffles[start : start + together]:
            table = X.copy()
            table[column] = X[column].iloc[random.permutation(len(X))].set_axis(X.index)
            tables.append(table)
        predicted = model.predict(pd.concat(tables, ignore_index=True))
        scores += [score(y, values) for values in np.split(predicted, len(tables))]
    losses: np.ndarray = score(y, model.predict(X)) - np.reshape(scores, (X.shape[1], repeats))
    return losses
