"""Sums over rows give scikit-learn's metrics, and intervals that hold what they promise."""

import numpy as np
import pandas as pd
import pytest
from mlflow_practices.config.metrics import METRICS
from mlflow_practices.evaluation import built_in_metrics, scores
from mlflow_practices.evaluation.built_in_metrics import EncodedRows, encode
from mlflow_practices.evaluation.predictions import Predictions
from sklearn import metrics

LABELS = np.array(["ant", "bee", "cow", "dog", "emu"], dtype=object)


def classified(
    random: np.random.Generator, rows: int, classes: int, skill: float = 0.3, ties: bool = False
) -> tuple[pd.Series, Predictions]:
    codes = np.r_[np.arange(classes), random.integers(classes, size=rows - classes)]
    probabilities = random.dirichlet(np.ones(classes), rows)
    probabilities[np.arange(rows), codes] += skill
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    if ties:
        probabilities = np.full_like(probabilities, 0.1) + (1 - 0.1 * classes) * (
            probabilities == probabilities.max()
        )
        probabilities = np.where(random.random((rows, 1)) < 0.3, 1 / classes, probabilities)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = LABELS[:classes]
    frame = pd.DataFrame(probabilities, columns=labels)
    values = labels[probabilities.argmax(axis=1)]
    return pd.Series(labels[codes]), Predictions(values, frame, True)


def numbers(y: np.ndarray, predicted: np.ndarray) -> EncodedRows:
    return encode(pd.Series(y), Predictions(predicted, None, False))


def measure(y: pd.Series, predictions: Predictions) -> dict[str, float]:
    return dict(built_in_metrics.measure(encode(y, predictions)).points)


def measure_with_scikit_learn(y: pd.Series, predictions: Predictions) -> dict[str, float]:
    values, probabilities = predictions.values, predictions.probabilities
    if not predictions.classification:
        return {
            "rmse": metrics.root_mean_squared_error(y, values),
            "mae": metrics.mean_absolute_error(y, values),
            "r2": metrics.r2_score(y, values),
        }
    expected = {
        "accuracy": metrics.accuracy_score(y, values),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, values),
    }
    for name in ("precision", "recall", "f1"):
        score = getattr(metrics, f"{name}_score")
        expected[f"{name}_macro"] = score(y, values, average="macro", zero_division=0)
    if probabilities is not None:
        expected["log_loss"] = metrics.log_loss(y, probabilities, labels=list(probabilities))
        of_second = probabilities.iloc[:, 1] if probabilities.shape[1] == 2 else probabilities
        expected["roc_auc"] = metrics.roc_auc_score(y, of_second, multi_class="ovr")
    return expected


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("rows", [7, 400, 5000])
def test_sums_give_the_metrics_of_labels(rows: int, classes: int, ties: bool) -> None:
    y, predictions = classified(np.random.default_rng(rows), rows, classes, ties=ties)
    expected = measure_with_scikit_learn(y, predictions)
    found = measure(y, predictions)
    assert list(found) == list(expected) == list(METRICS["classification"])
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_absent_classes_count_as_in_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    y = pd.Series(random.choice(LABELS[:3], 12))
    values = random.choice(LABELS[1:], 12)
    predictions = Predictions(values, None, True)
    expected = measure_with_scikit_learn(y, predictions)
    assert measure(y, predictions) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("labels", [[0, 1], [False, True], ["no", "yes"]])
def test_labels_may_be_of_any_type(labels: list[object]) -> None:
    y = pd.Series([labels[0], labels[1], labels[1]])
    probabilities = pd.DataFrame([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], columns=labels)
    values = np.array([labels[0], labels[1], labels[0]])
    found = measure(y, Predictions(values, probabilities, True))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["roc_auc"] == 1


@pytest.mark.parametrize("rows", [2, 50, 5000])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_sums_give_the_metrics_of_numbers(rows: int, offset: float) -> None:
    random = np.random.default_rng(rows)
    y = pd.Series(random.normal(offset, 1, rows))
    predictions = Predictions(y + random.normal(0, 1, rows), None, False)
    expected = measure_with_scikit_learn(y, predictions)
    found = measure(y, predictions)
    assert list(found) == list(expected) == list(METRICS["regression"])
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("off", [0, 1])
def test_a_constant_target_has_the_r2_of_scikit_learn(off: float) -> None:
    y = np.full(3, 5.0)
    values = y + off
    assert built_in_metrics.measure(numbers(y, values)).points["r2"] == metrics.r2_score(y, values)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_defines_no_metric(bad: float) -> None:
    y, predictions = classified(np.random.default_rng(0), 20, 3)
    probabilities = predictions.probabilities
    assert probabilities is not None
    probabilities.iloc[3, 0] = bad
    found = measure(y, predictions)
    assert "accuracy" in found
    assert not {"log_loss", "roc_auc"} & set(found)
    rows = pd.Series([1.0, 2, 3])
    broken = Predictions(np.array([1, bad, 3]), None, False)
    assert measure(rows, broken) == {}


def labelled(
    y: np.ndarray, values: np.ndarray, probabilities: pd.DataFrame | None = None
) -> EncodedRows:
    return encode(pd.Series(y), Predictions(values, probabilities, True))


def two_models(metric: str, random: np.random.Generator, rows: int) -> list[EncodedRows]:
    """Return two models whose metrics differ by what `GAINS` says; their errors are related."""
    first, second, common = random.normal(size=(3, rows))
    noise = [0.8 * own + 0.6 * common for own in (first, second)]
    if metric == "rmse":
        y = random.normal(size=rows)
        return [numbers(y, y + noise[0]), numbers(y, y + 1.2 * noise[1])]
    label = random.integers(2, size=rows)
    if metric == "accuracy":  # the quantiles of the normal distribution at 0.8 and 0.7
        hits = (noise[0] < 0.8416, noise[1] < 0.5244)
        return [labelled(label, np.where(hit, label, 1 - label)) for hit in hits]
    probabilities = [1 / (1 + np.exp(0.5 - label - each)) for each in noise]
    return [
        labelled(label, (chance > 0.5).astype(int), pd.DataFrame({0: 1 - chance, 1: chance}))
        for chance in probabilities
    ]


GAINS = {"rmse": 0.2, "accuracy": 0.1, "log_loss": 0.0, "roc_auc": 0.0}


@pytest.mark.parametrize(
    ("metric", "rows", "groups"),
    [(metric, 200, 2000) for metric in GAINS] + [("rmse", 800, 150), ("roc_auc", 800, 150)],
)
def test_intervals_hold_the_truth_as_often_as_they_promise(
    metric: str, rows: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "GROUPS", groups)
    random = np.random.default_rng(2)
    held = 0
    for seed in range(300):
        ours, theirs = (
            built_in_metrics.measure(model, 200, seed) for model in two_models(metric, random, rows)
        )
        low, high = ours.gain_interval(theirs, metric, 0.95)
        held += low <= GAINS[metric] <= high
    assert 0.90 <= held / 300 <= 0.985


def test_rows_in_groups_give_the_interval_of_rows_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y, predictions = classified(np.random.default_rng(0), 20_000, 3)
    rows = encode(y, predictions)
    grouped = built_in_metrics.measure(rows, 400)
    monkeypatch.setattr(scores, "GROUPS", 20_000)
    single = built_in_metrics.measure(rows, 400)
    for name in METRICS["classification"]:
        widths = [np.diff(each.interval(name, 0.95)).item() for each in (grouped, single)]
        assert widths[0] == pytest.approx(widths[1], rel=0.25)
        assert grouped.points[name] == pytest.approx(single.points[name], abs=1e-9)


def test_the_interval_of_roc_auc_is_that_of_an_ordinary_bootstrap() -> None:
    y, predictions = classified(np.random.default_rng(3), 300, 3, skill=0.2)
    probabilities = predictions.probabilities
    assert probabilities is not None
    random = np.random.default_rng(0)
    drawn = [random.integers(300, size=300) for _ in range(200)]
    areas = [
        metrics.roc_auc_score(y.iloc[rows], probabilities.iloc[rows], multi_class="ovr")
        for rows in drawn
    ]
    found = built_in_metrics.measure(encode(y, predictions), 1000)
    low, high = np.quantile(areas, [0.025, 0.975])
    assert found.interval("roc_auc", 0.95) == pytest.approx((low, high), abs=0.01)


def test_pairing_narrows_the_interval() -> None:
    random = np.random.default_rng(0)
    y, error = random.normal(size=(2, 3000))
    ours = numbers(y, y + error)
    theirs = numbers(y, y + error + random.normal(0, 0.1, 3000))
    first, paired, unpaired = (
        built_in_metrics.measure(ours, 500, 0),
        built_in_metrics.measure(theirs, 500, 0),
        built_in_metrics.measure(theirs, 500, 1),
    )
    narrow, wide = (
        np.diff(first.gain_interval(other, "rmse", 0.95)).item() for other in (paired, unpaired)
    )
    assert narrow < wide / 3
    assert first.gain_interval(first, "rmse", 0.95) == (0, 0)


def test_a_lower_error_is_a_gain() -> None:
    y = np.arange(50.0)
    better, worse = (built_in_metrics.measure(numbers(y, y + by), 100) for by in (1, 2))
    for name in ("rmse", "mae", "r2"):
        assert better.gain_interval(worse, name, 0.95)[0] > 0


def test_every_slice_has_the_metric_of_its_rows() -> None:
    random = np.random.default_rng(0)
    y, predictions = classified(random, 500, 5)
    rows, codes = encode(y, predictions), random.integers(4, size=500)
    probabilities = predictions.probabilities
    assert probabilities is not None
    for name in list(METRICS["classification"])[:-1]:
        for code, value in enumerate(built_in_metrics.by_slice(rows, name, codes)):
            inside = codes == code
            here = Predictions(predictions.values[inside], probabilities[inside], True)
            expected = measure_with_scikit_learn(y[inside], here)
            assert value == pytest.approx(expected[name], abs=1e-9)
    with pytest.raises(KeyError, match="roc_auc"):
        built_in_metrics.by_slice(rows, "roc_auc", codes)


def test_a_thousand_classes_fit_in() -> None:
    random = np.random.default_rng(0)
    labels = np.array([f"class {number}" for number in range(1000)], dtype=object)
    y = pd.Series(random.choice(labels, 5000))
    values = np.where(random.random(5000) < 0.6, y.to_numpy(dtype=object), labels[0])
    found = built_in_metrics.measure(labelled(y.to_numpy(dtype=object), values), 100)
    low, high = found.interval("accuracy", 0.95)
    assert low < found.points["accuracy"] < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.6 * 0.4 / 5000), rel=0.35)
