"""A metric of the project's own is treated as the built-in ones are, whatever its function does."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow_practices.config.metrics import Metric
from mlflow_practices.config.sections import Gates
from mlflow_practices.config.settings import load_settings
from mlflow_practices.config.validation_errors import SettingsError
from mlflow_practices.evaluation import built_in_metrics, custom_metrics, gates, scores
from mlflow_practices.evaluation.predictions import Predictions, make_baseline, predict
from mlflow_practices.evaluation.scores import Scores
from mlflow_practices.evaluation.verdict import Verdict
from mlflow_practices.tracking.session import open_session
from my_ml_project.project import PROJECT
from sklearn.metrics import accuracy_score, log_loss

ROWS = 400
LABELS = np.array(["ant", "bee", "cow"], dtype=object)
X = pd.DataFrame({"colour": np.tile(["red", "green"], ROWS // 2)})


def share_wrong(true: np.ndarray, predicted: np.ndarray) -> float:
    return float((true != predicted).mean())


SHARE_WRONG = {"share_wrong": Metric(share_wrong, "classification", higher_is_better=False)}
ACCURACY = {"share_right": Metric(accuracy_score, "classification")}


def classified(rows: int = ROWS, classes: int = 2) -> pd.Series:
    return pd.Series(np.random.default_rng(rows).choice(LABELS[:classes], rows))


def right(y: pd.Series, wrong: int, first: int = 0) -> Predictions:
    """Return predictions of which ``wrong`` are not right, from row ``first`` on."""
    classes = sorted(y.unique())
    codes = y.map(classes.index).to_numpy(copy=True)
    codes[first : first + wrong] = (codes[first : first + wrong] + 1) % len(classes)
    probabilities = np.full((len(y), len(classes)), 0.2 / (len(classes) - 1))
    probabilities[np.arange(len(y)), codes] = 0.8
    values = np.array(classes, dtype=object)[codes]
    return Predictions(values, pd.DataFrame(probabilities, columns=classes), True)


def judge(
    y: pd.Series,
    metrics: dict[str, Metric],
    demands: dict[str, Any],
    candidate: Predictions,
    champion: Predictions | None = None,
) -> Verdict:
    kind = "classification" if candidate.classification else "regression"
    dummy = predict(make_baseline(kind).fit(X, y), X)
    limits = Gates.model_validate(demands)
    given: dict[str, Any] = {"latency_ms": 5.0, "size_mb": 2.0, "metrics": metrics}
    return gates.judge(limits, X, y, candidate, dummy, champion, **given)


def built_in(y: pd.Series, predictions: Predictions, resamples: int, seed: int = 0) -> Scores:
    return built_in_metrics.measure(built_in_metrics.encode(y, predictions), resamples, seed)


def own(function: Callable[..., Any], **options: Any) -> dict[str, Metric]:
    return {"own": Metric(function, "classification", **options)}


def test_it_stands_beside_the_built_in_ones() -> None:
    y = classified()
    verdict = judge(y, {**SHARE_WRONG, **ACCURACY}, {}, right(y, 40), right(y, 60))
    assert list(verdict.metrics)[-3:] == ["roc_auc", "share_wrong", "share_right"]
    found, same = verdict.metrics["share_wrong"], verdict.metrics["accuracy"]
    assert found.value == pytest.approx(0.1)
    assert found.low < 0.1 < found.high
    assert found.champion == pytest.approx(0.15)
    assert found.baseline == pytest.approx(1 - (same.baseline or 0))
    assert (found.higher_is_better, same.higher_is_better) == (False, True)
    assert verdict.figures()["test_share_wrong"] == pytest.approx(0.1)
    assert {"baseline_share_wrong", "champion_share_wrong"} <= set(verdict.figures())
    assert verdict.undefined == {}
    values = asdict(verdict)
    assert json.loads(json.dumps(values, allow_nan=False)) == values


@pytest.mark.parametrize("rows", [ROWS, 4000])  # each a group, and more in a group
def test_resamples_are_those_of_the_built_in_ones(rows: int) -> None:
    y = classified(rows)
    models = [right(y, rows // 10), right(y, rows // 10, first=rows // 20)]
    ours, theirs = (custom_metrics.measure(y, model, ACCURACY, 1000, 7) for model in models)
    one, two = (built_in(y, model, 200, 7) for model in models)
    np.testing.assert_allclose(ours.replicates["share_right"], one.replicates["accuracy"])
    low, high = ours.gain_interval(theirs, "share_right", 0.95)
    assert (low, high) == pytest.approx(one.gain_interval(two, "accuracy", 0.95))
    assert low < 0 < high
    assert ours.gain(theirs, "share_right") == pytest.approx(one.gain(two, "accuracy"))
    assert ours.gain_interval(ours, "share_right", 0.95) == (0, 0)


def test_its_cost_is_bounded() -> None:
    y = classified(60_000)
    sizes = []

    def accuracy(true: np.ndarray, predicted: np.ndarray) -> float:
        sizes.append(len(true))
        return float((true == predicted).mean())

    model = right(y, 12_000)
    found = custom_metrics.measure(y, model, own(accuracy), 100_000)
    assert sizes[0] == 60_000
    assert len(sizes) == 1 + custom_metrics.RESAMPLES
    assert max(sizes[1:]) <= 1.01 * custom_metrics.ROWS
    # The interval is that of all rows nevertheless.
    whole = built_in(y, model, 1000)
    widths = [
        np.diff(each.interval(name, 0.95)).item()
        for each, name in ((found, "own"), (whole, "accuracy"))
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.25)


def test_intervals_of_fewer_rows_hold_the_truth_as_often_as_they_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(custom_metrics, "ROWS", 200)
    monkeypatch.setattr(scores, "GROUPS", 400)

    def rmse(true: np.ndarray, predicted: np.ndarray) -> float:
        return float(np.sqrt(((predicted - true) ** 2).mean()))

    metric = {"own": Metric(rmse, "regression", higher_is_better=False)}
    random = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        y, first, second, common = random.normal(size=(4, 800))
        ours, theirs = (
            custom_metrics.measure(
                pd.Series(y), Predictions(y + error, None, False), metric, 200, seed
            )
            for error in (0.8 * first + 0.6 * common, 1.2 * (0.8 * second + 0.6 * common))
        )
        low, high = ours.gain_interval(theirs, "own", 0.95)
        held += low <= 0.2 <= high
    assert 0.90 <= held / 200 <= 0.985


@pytest.mark.parametrize(
    ("limits", "passed", "words"),
    [
        ({"at_most": 0.1}, True, "share_wrong 0.1 (0."),
        ({"at_most": 0.09}, False, "at most 0.09 is required"),
        ({"at_least": 0.1}, True, "at least 0.1 is required"),
        ({"at_least": 0.11}, False, "at least 0.11 is required"),
        ({"beats_baseline_by": 0.3}, True, "better than the baseline's"),
        ({"beats_baseline_by": 0.5}, False, "at least 0.5 better is required"),
        ({"champion_margin": 0.0}, True, "0.1 better than the champion's 0.2"),
    ],
)
def test_gates_where_lower_is_better(limits: dict[str, float], passed: bool, words: str) -> None:
    y = classified()
    verdict = judge(
        y, SHARE_WRONG, {"metrics": {"share_wrong": limits}}, right(y, 40), right(y, 80)
    )
    (found,) = verdict.gates
    assert found.passed is passed
    assert words in found.reason
    assert verdict.outcome == ("passed" if passed else "failed")


@pytest.mark.parametrize(
    ("name", "metrics"), [("share_wrong", SHARE_WRONG), ("share_right", ACCURACY)]
)
def test_a_worse_one_fails_beside_baseline_and_champion(
    name: str, metrics: dict[str, Metric]
) -> None:
    y = classified()
    demands = {"metrics": {name: {"beats_baseline_by": 0.0, "champion_margin": 0.05}}}
    assert judge(y, metrics, demands, right(y, 40), right(y, 40)).outcome == "passed"
    verdict = judge(y, metrics, demands, right(y, 300), right(y, 40))
    assert [each.name for each in verdict.failed] == [
        f"{name} against baseline",
        f"{name} against champion",
    ]
    assert "worse than the baseline's" in verdict.failed[0].reason
    assert "0.65 worse than the champion's" in verdict.failed[1].reason


def test_slices_may_be_of_one() -> None:
    y = classified()
    candidate = right(y, 0)
    candidate.values[::8] = "wrong"  # a quarter where the colour is red
    slices = {"columns": ["colour"], "metric": "share_wrong", "at_most": 0.2}
    verdict = judge(y, SHARE_WRONG, {"slices": slices}, candidate)
    (found,) = verdict.failed
    assert "share_wrong 0.25 where colour is red (200 rows), the worst of 2" in found.reason
    assert [(each.value, each.metric) for each in verdict.slices] == [("red", 0.25), ("green", 0)]

    def not_of_half(true: np.ndarray, predicted: np.ndarray) -> float:
        return 1.0 if len(true) == ROWS else np.nan

    undefined = judge(y, own(not_of_half), {"slices": {**slices, "metric": "own"}}, candidate)
    (found,) = undefined.failed
    assert "own nan where colour is" in found.reason
    assert undefined.slices == []


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_come_as_scikit_learn_takes_them(classes: int) -> None:
    y = classified(classes=classes)
    candidate = right(y, 40)
    probabilities = candidate.probabilities
    assert probabilities is not None
    seen = []

    def loss(true: np.ndarray, probabilities: np.ndarray) -> float:
        seen.append(probabilities)
        return float(log_loss(true, probabilities))

    verdict = judge(y, own(loss, needs_probabilities=True, higher_is_better=False), {}, candidate)
    expected = probabilities["bee"].to_numpy() if classes == 2 else probabilities.to_numpy()
    np.testing.assert_array_equal(seen[0], expected)
    assert verdict.metrics["own"].value == pytest.approx(verdict.metrics["log_loss"].value)
    assert verdict.metrics["own"].baseline == pytest.approx(verdict.metrics["log_loss"].baseline)


@pytest.mark.parametrize("labels", [["no", "yes"], [3, 8], [False, True], [0.5, 1.5]])
@pytest.mark.parametrize("kind", [None, "category"])
def test_labels_are_those_of_the_table(labels: list[object], kind: str | None) -> None:
    y = pd.Series(labels * 10)
    y = y.astype(kind) if kind else y
    seen = []

    def function(true: np.ndarray, predicted: np.ndarray) -> float:
        seen.append((true.tolist(), predicted.tolist()))
        true.sort()  # its own business
        return 0.5

    candidate = Predictions(y.to_numpy()[::-1], None, True)
    found = custom_metrics.measure(y, candidate, own(function))
    assert (found.points, found.undefined) == ({"own": 0.5}, {})
    assert seen == [(labels * 10, (labels * 10)[::-1])]
    assert y.tolist() == labels * 10


def test_of_another_problem_type_it_is_left_out() -> None:
    y = pd.Series(np.arange(float(ROWS)))
    verdict = judge(y, ACCURACY, {}, Predictions(y.to_numpy(), None, False))
    assert list(verdict.metrics) == ["rmse", "mae", "r2"]
    assert verdict.undefined == {}


def raises(*_: object) -> float:
    raise ValueError(f"no such class\nas ann@example.com's {'x' * 1000}")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (raises, "its function raised ValueError"),
        (lambda *_: np.nan, "its function returned no finite number"),
        (lambda *_: -np.inf, "its function returned no finite number"),
        (lambda *_: "0.5", "its function returned no number but str"),
        (lambda *_: None, "its function returned no number but NoneType"),
        (lambda *_: True, "its function returned no number but bool"),
        (lambda *_: np.ones(3), "its function returned no number but ndarray"),
        (lambda *_: 10**400, "its function returned no finite number"),
        (lambda true: 0.5, "its function raised TypeError"),
    ],
)
def test_what_is_no_number_fails_its_gates_and_says_why(
    function: Callable[..., Any], reason: str
) -> None:
    y = classified()
    slices = {"columns": ["colour"], "metric": "own", "at_least": 0.5}
    limits = {"at_least": 0.5, "beats_baseline_by": 0.1, "champion_margin": 0.1}
    demands = {"metrics": {"own": limits}, "slices": slices}
    verdict = judge(y, own(function), demands, right(y, 40), right(y, 40))
    assert len(verdict.failed) == len(verdict.gates) == 4
    for gate in verdict.failed:
        assert gate.reason.startswith(f"own is not defined on these test rows: {reason}")
        assert "ann@example.com" not in gate.reason  # nor any other word of an exception
        assert "class" not in gate.reason
    assert list(verdict.undefined) == ["own", "own of the baseline", "own of the champion"]
    assert verdict.undefined["own"].startswith(reason)
    assert "own" not in verdict.metrics
    assert "accuracy" in verdict.metrics
    json.dumps(asdict(verdict), allow_nan=False)


def test_what_only_another_model_does_not_define_is_said() -> None:
    y = classified()

    def of_two_labels(true: np.ndarray, predicted: np.ndarray) -> float:
        if len(set(predicted)) < 2:
            raise ZeroDivisionError("one label")
        return 1.0

    demands = {"metrics": {"own": {"beats_baseline_by": 0.0}}}
    verdict = judge(y, own(of_two_labels), demands, right(y, 40))
    (found,) = verdict.failed
    expected = "the baseline's own is not defined on these test rows: its function raised ZeroDivisionError"
    assert found.reason == expected
    assert verdict.metrics["own"].baseline is None
    assert verdict.undefined == {"own of the baseline": "its function raised ZeroDivisionError"}


def test_without_probabilities_it_is_not_defined() -> None:
    y = classified()
    labels_only = Predictions(right(y, 40).values, None, True)
    verdict = judge(y, own(log_loss, needs_probabilities=True), {}, labels_only)
    assert verdict.undefined == {"own": "the model gives no probabilities"}


@pytest.mark.parametrize(("undefined", "of"), [(99, "most"), (100, "half")])
def test_most_resamples_must_define_it(undefined: int, of: str) -> None:
    y = classified()
    calls = iter(range(1000))

    def function(true: np.ndarray, predicted: np.ndarray) -> float:
        if 0 < next(calls) <= undefined:  # the first call is of all rows
            raise ValueError("too few")
        return 0.5

    found = custom_metrics.measure(y, right(y, 40), own(function), 1000)
    if of == "most":
        assert found.interval("own", 0.95) == (0.5, 0.5)
        assert found.undefined == {}
    else:
        assert found.points == {}
        reason = "only 100 of 200 resamples define it: its function raised ValueError"
        assert found.undefined == {"own": reason}


@pytest.mark.parametrize(
    ("name", "metric", "words"),
    [
        ("accuracy", ACCURACY["share_right"], "accuracy: a built-in metric has this name; rename"),
        ("rmse", ACCURACY["share_right"], "rmse: a built-in metric has this name; rename"),
        ("cost in €", ACCURACY["share_right"], "cost in €: a metric's name has lower-case"),
        ("a.b", ACCURACY["share_right"], "a.b: a metric's name has lower-case letters, digits"),
        ("MCC", ACCURACY["share_right"], "MCC: a metric's name has lower-case letters, digits"),
        ("x" * 101, ACCURACY["share_right"], "a metric's name has lower-case letters"),
        ("", ACCURACY["share_right"], ": a metric's name has lower-case letters"),
        ("password_f1", ACCURACY["share_right"], "password_f1: the name says personal data"),
        ("own", accuracy_score, 'own: is no Metric; write Metric(function, "classification")'),
        ("own", Metric("accuracy", "classification"), "own: its function cannot be called"),  # type: ignore[arg-type]
        ("own", Metric(accuracy_score, "clustering"), "use classification or regression"),  # type: ignore[arg-type]
        ("own", Metric(log_loss, "regression", True), "regression has no probabilities"),
    ],
)
def test_what_cannot_be_one_is_refused(project: Path, name: str, metric: Any, words: str) -> None:
    session = open_session(replace(PROJECT, metrics={name: metric}))
    with pytest.raises(SettingsError) as caught:
        session.stage("data-preparation")
    assert str(caught.value).startswith("metrics.py: ")
    assert words in str(caught.value)


def test_gates_and_slices_know_its_name(project: Path) -> None:
    mine = replace(PROJECT, metrics={**SHARE_WRONG, "rough": Metric(share_wrong, "regression")})
    demand = "evaluation.gates.metrics={share_wrong: {at_most: 0.5}}"
    slices = "evaluation.gates.slices={columns: [colour], metric: share_wrong}"
    loaded = load_settings(mine, overrides=[demand, slices])
    assert loaded.evaluation.gates.metrics["share_wrong"].at_most == 0.5
    other = "evaluation.gates.metrics={rough: {at_most: 0.5}}"
    with pytest.raises(
        SettingsError, match=r"rough is no metric of classification; .*, share_wrong$"
    ):
        load_settings(mine, overrides=[other])
