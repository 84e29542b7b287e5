"""The estimator of a pipeline as an ONNX model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier

from .array_preparation import OptimizationError

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_NODES = 200_000  # of all trees: converting as many takes 4 s, four times as many 30 s


def require_convertible(estimator: Any) -> None:
    """Raise `OptimizationError` where the trees have too many nodes."""
    nodes = _tree_nodes(estimator)
    if nodes > MAX_NODES:
        raise OptimizationError(
            f"converting {nodes:,} nodes of trees to ONNX takes too long (at most {MAX_NODES:,})"
        )


def convert(estimator: Any, features: int, precision: type) -> ModelProto:
    """Return the estimator as an ONNX model of a number of features in float32 or float64."""
    import skl2onnx  # a second, which serving must not spend
    from skl2onnx.common import data_types

    tensor = data_types.FloatTensorType if precision is np.float32 else data_types.DoubleTensorType
    options = {id(estimator): {"zipmap": False}} if is_classifier(estimator) else None
    inputs = [("features", tensor([None, features]))]
    model: ModelProto = skl2onnx.convert_sklearn(estimator, initial_types=inputs, options=options)
    return model


def _tree_nodes(estimator: Any) -> int:
    """Return how many nodes the trees of an ensemble have together; 0 if it has none."""
    if hasattr(estimator, "tree_"):
        return int(estimator.tree_.node_count)
    members = np.ravel(getattr(estimator, "estimators_", []))  # gradient boosting has a table
    return sum(_tree_nodes(member) for member in members)
