"""Each gate passes and fails where it should, and says so with its figures."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow_practices.config.metrics import METRICS
from mlflow_practices.config.sections import Gates
from mlflow_practices.evaluation import gates
from mlflow_practices.evaluation.predictions import (
    Predictions,
    make_baseline,
    measure_latency,
    predict,
)
from mlflow_practices.evaluation.verdict import Gate, Slice, Verdict

ROWS = 200
ANY = {"beats_baseline_by": 0.0, "champion_margin": 0.02}


@pytest.fixture(name="X")
def features() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": random.normal(50, 10, ROWS),
            "colour": np.tile(["red", "green", "blue", None], ROWS // 4),
            "seen": pd.date_range("2024-01-01", periods=ROWS),
        }
    )


@pytest.fixture
def y() -> pd.Series:
    return pd.Series(np.tile(["high", "low"], ROWS // 2))


def right(y: pd.Series, wrong: int, first: int = 0) -> Predictions:
    """Return predictions of which ``wrong`` are not right, from row ``first`` on."""
    values = y.to_numpy(dtype=object, copy=True)
    some = slice(first, first + wrong)
    values[some] = np.where(values[some] == "high", "low", "high")
    sure = np.where(values == "high", 0.9, 0.1)
    return Predictions(values, pd.DataFrame({"high": sure, "low": 1 - sure}), True)


def judge(
    X: pd.DataFrame,
    y: pd.Series,
    demands: dict[str, Any],
    candidate: Predictions,
    champion: Predictions | str | None = None,
    **facts: Any,
) -> Verdict:
    dummy = make_baseline("regression" if y.dtype == float else "classification").fit(X, y)
    limits = Gates.model_validate({"resamples": 300, **demands})
    given = {"latency_ms": 5.0, "size_mb": 2.0, **facts}
    return gates.judge(limits, X, y, candidate, predict(dummy, X), champion, **given)


def gate(verdict: Verdict, name: str) -> Gate:
    (found,) = [gate for gate in verdict.gates if gate.name == name]
    return found


def test_without_gates_everything_passes(X: pd.DataFrame, y: pd.Series) -> None:
    verdict = judge(X, y, {}, right(y, 20))
    assert verdict.outcome == "no-champion"
    assert verdict.gates == []
    assert list(verdict.metrics) == list(METRICS["classification"])
    accuracy = verdict.metrics["accuracy"]
    assert accuracy.value == 0.9
    assert accuracy.low < 0.9 < accuracy.high
    assert accuracy.baseline == 0.5
    assert accuracy.champion is None
    assert judge(X, y, {}, right(y, 20), right(y, 30)).outcome == "passed"


@pytest.mark.parametrize(
    ("limits", "passed", "words"),
    [
        ({"at_least": 0.9}, True, "accuracy 0.9 (0."),
        ({"at_least": 0.91}, False, "at least 0.91 is required"),
        ({"at_most": 0.9}, True, "at most 0.9 is required"),
        ({"at_most": 0.89}, False, "at most 0.89 is required"),
        ({"beats_baseline_by": 0.4}, True, "0.4 better than the baseline's 0.5"),
        ({"beats_baseline_by": 0.41}, False, "at least 0.41 better is required"),
    ],
)
def test_limits_of_a_metric(
    X: pd.DataFrame, y: pd.Series, limits: dict[str, float], passed: bool, words: str
) -> None:
    verdict = judge(X, y, {"metrics": {"accuracy": limits}}, right(y, 20))
    (found,) = verdict.gates
    assert found.passed is passed
    assert found.limit == next(iter(limits.values()))
    assert words in found.reason
    assert verdict.outcome == ("no-champion" if passed else "failed")
    assert verdict.failed == ([] if passed else [found])


def test_of_an_error_less_is_better(X: pd.DataFrame) -> None:
    random = np.random.default_rng(0)
    y = pd.Series(random.normal(0, 2, ROWS))
    good, bad = (Predictions(y + random.normal(0, noise, ROWS), None, False) for noise in (0.5, 1))
    demands = {"metrics": {"rmse": {"beats_baseline_by": 1, "champion_margin": 0}}}
    better = judge(X, y, demands, good, bad)
    assert better.outcome == "passed"
    assert "better than the champion's" in gate(better, "rmse against champion").reason
    worse = judge(X, y, demands, bad, good)
    assert [each.name for each in worse.failed] == [
        "rmse against baseline",
        "rmse against champion",
    ]
    assert "worse than the champion's" in worse.failed[1].reason


def test_the_champion_may_be_better_by_the_margin(X: pd.DataFrame, y: pd.Series) -> None:
    demands = {"metrics": {"accuracy": ANY}}
    name = "accuracy against champion"
    same = gate(judge(X, y, demands, right(y, 20), right(y, 20)), name)
    assert (same.passed, same.value, same.limit) == (True, 0, -0.02)
    # The same number of errors on other rows: no worse, but that is not certain.
    other = gate(judge(X, y, demands, right(y, 20), right(y, 20, first=100)), name)
    assert not other.passed
    assert other.value is not None
    assert other.value < -0.02
    assert "is 0 better than the champion's 0.9 (-0.0" in other.reason
    assert "at most 0.02 worse is allowed" in other.reason


def test_a_champion_that_cannot_be_judged_fails_its_gates(X: pd.DataFrame, y: pd.Series) -> None:
    demands = {"metrics": {"accuracy": ANY, "log_loss": {"champion_margin": 0.1}}}
    verdict = judge(X, y, demands, right(y, 20), "it wants the column age")
    assert verdict.outcome == "failed"
    assert [each.name for each in verdict.failed] == [
        "accuracy against champion",
        "log_loss against champion",
    ]
    assert all("it wants the column age" in each.reason for each in verdict.failed)
    alone = judge(X, y, demands, right(y, 20))
    assert alone.outcome == "no-champion"
    assert [each.name for each in alone.gates] == ["accuracy against baseline"]


def test_a_champion_with_other_classes_is_compared_by_what_both_define(
    X: pd.DataFrame, y: pd.Series
) -> None:
    champion = right(y, 30)
    assert champion.probabilities is not None
    wider = Predictions(champion.values, champion.probabilities.assign(medium=0.0), True)
    demands = {"metrics": {name: {"champion_margin": 0.1} for name in ("accuracy", "log_loss")}}
    verdict = judge(X, y, demands, right(y, 20), wider)
    assert gate(verdict, "accuracy against champion").passed
    (failed,) = verdict.failed
    assert failed.reason == "the champion's log_loss is not defined on these test rows"


def test_what_is_not_defined_does_not_pass(X: pd.DataFrame, y: pd.Series) -> None:
    labels_only = Predictions(right(y, 5).values, None, True)
    limits = {"at_least": 0.5, "beats_baseline_by": 0.0, "champion_margin": 1.0}
    slices = {"columns": ["colour"], "metric": "log_loss", "at_most": 9.0}
    demands = {"metrics": {"roc_auc": limits}, "slices": slices}
    verdict = judge(X, y, demands, labels_only, right(y, 20))
    assert len(verdict.failed) == 4
    assert {each.value for each in verdict.failed} == {None}
    assert verdict.failed[0].reason == "roc_auc is not defined on these test rows"
    numbers = pd.Series(np.arange(float(ROWS)))
    broken = Predictions(np.r_[np.nan, numbers[1:]], None, False)
    demands = {"metrics": {"rmse": {"at_most": 1e9}, "r2": {"at_least": -9}}}
    assert len(judge(X, numbers, demands, broken).failed) == 2


def test_the_worst_slice_is_named(X: pd.DataFrame, y: pd.Series) -> None:
    values = right(y, 0).values
    red = X["colour"].eq("red").to_numpy()
    values[np.flatnonzero(red)[:10]] = "low"  # y is "high" where the colour is red
    candidate = Predictions(values, None, True)
    slices = {"columns": ["size", "colour", "seen"], "metric": "accuracy", "at_least": 0.85}
    verdict = judge(X, y, {"slices": slices}, candidate)
    (found,) = verdict.gates
    assert (found.name, found.passed, found.value, found.limit) == ("slices", False, 0.8, 0.85)
    expected = "accuracy 0.8 where colour is red (50 rows), the worst of 12 slices"
    assert found.reason == f"{expected}, at least 0.85 is required"
    assert verdict.slices[0] == Slice("colour", "red", 50, 0.8)
    colours = {each.value for each in verdict.slices if each.column == "colour"}
    assert colours == {"red", "green", "blue", "missing"}
    dates = {each.value for each in verdict.slices if each.column == "seen"}
    assert "2024-01-01 to 2024-02-19 18:00:00" in dates
    few = judge(X, y, {"slices": {**slices, "min_rows": 51}}, candidate)
    assert few.failed == []
    assert "no slice has 51 rows" in few.gates[0].reason
    assert len(few.slices) == 12
    reported = judge(X, y, {"slices": {**slices, "at_least": None}}, candidate)
    assert (reported.gates, len(reported.slices)) == ([], 12)


def test_slices_of_an_error(X: pd.DataFrame) -> None:
    y = pd.Series(np.zeros(ROWS))
    off = X["colour"].map({"red": 3.0, "green": 1.0}).fillna(2.0)
    candidate = Predictions(off.to_numpy(), None, False)
    slices = {"columns": ["colour"], "metric": "mae", "at_most": 2.5}
    (found,) = judge(X, y, {"slices": slices}, candidate).failed
    assert "mae 3 where colour is red" in found.reason


def test_a_column_of_slices_that_is_not_there_fails(X: pd.DataFrame, y: pd.Series) -> None:
    slices = {"columns": ["color"], "metric": "accuracy", "at_least": 0.1}
    (found,) = judge(X, y, {"slices": slices}, right(y, 0)).failed
    assert found.reason == "no column 'color'; there are 'size', 'colour', 'seen'"


def test_rare_values_share_a_slice_and_few_numbers_are_values(y: pd.Series) -> None:
    X = pd.DataFrame(
        {
            "word": [f"word {min(row, 60)}" for row in range(ROWS)],
            "floors": np.tile([1.0, 2.0, 3.0, np.nan], ROWS // 4),
            "mail": "ann@example.com",
            "zeros": np.r_[np.zeros(180), np.arange(20.0)],
            "flag": y == "high",
        }
    )
    slices = {"columns": list(X), "metric": "accuracy", "at_least": 0}
    found = judge(X, y, {"slices": slices}, right(y, 20)).slices
    rows = {(each.column, each.value): each.rows for each in found}
    assert rows["word", "word 60"] == 140
    assert rows["word", "other"] == 11  # 61 words, 50 by themselves
    assert rows["floors", "2"] == rows["floors", "missing"] == 50
    assert rows["zeros", "0 to 19"] == 200  # all quartiles are 0
    assert rows["flag", "True"] == 100
    assert not any("ann@" in each.value for each in found)


def test_budgets_and_the_card(X: pd.DataFrame, y: pd.Series) -> None:
    demands = {"latency_ms": 10, "size_mb": 3, "complete_card": True}
    assert judge(X, y, demands, right(y, 0)).failed == []
    facts = {"latency_ms": 12.5, "size_mb": np.inf, "card_gaps": ["intended use", "limits"]}
    verdict = judge(X, y, demands, right(y, 0), None, **facts)
    reasons = {each.name: each.reason for each in verdict.failed}
    assert reasons["latency"] == "12.5 ms for one row, at most 10 is allowed"
    assert reasons["size"] == "inf MB, at most 3 is allowed"
    assert reasons["card"] == "the model card does not state intended use, limits"


def test_a_verdict_survives_json(X: pd.DataFrame, y: pd.Series) -> None:
    demands = {
        "metrics": {"accuracy": {"at_least": 0.5, **ANY}},
        "slices": {"columns": ["size", "colour"], "metric": "log_loss", "at_most": 0.5},
        "latency_ms": 10,
    }
    verdict = judge(X, y, demands, right(y, 20), right(y, 10))
    values = asdict(verdict)
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_latency_is_in_milliseconds(X: pd.DataFrame, y: pd.Series) -> None:
    model = make_baseline("classification").fit(X, y)
    assert 0 < measure_latency(model, X) < 100
