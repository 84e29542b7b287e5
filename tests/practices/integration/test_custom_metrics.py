"""A metric of the project's own on its whole way: runs, verdict, gates, card, plots, promotion."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow_practices.config.metrics import Metric
from mlflow_practices.evaluation.verdict import GateError
from mlflow_practices.registry import approval, promotion
from mlflow_practices.tracking import experiments
from mlflow_practices.tracking.session import Session, open_session
from my_ml_project import model_evaluation, pipeline
from my_ml_project.project import PROJECT


def cost(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return what the errors cost: one that is too low five times as much."""
    missed, false_alarm = (
        (true == "high") & (predicted == "low"),
        (true == "low") & (predicted == "high"),
    )
    return float((5 * missed + false_alarm).mean())


def brier(true: np.ndarray, low: np.ndarray) -> float:
    return float(((low - (true == "low")) ** 2).mean())


def broken(true: np.ndarray, predicted: np.ndarray) -> float:
    raise ValueError("no costs are known")


OWN = replace(
    PROJECT,
    metrics={
        "cost": Metric(cost, "classification", higher_is_better=False),
        "brier": Metric(brier, "classification", needs_probabilities=True, higher_is_better=False),
        "broken": Metric(broken, "classification"),
    },
)
GATES = "evaluation.gates.metrics.cost={at_most: 1.5, beats_baseline_by: 0.1, champion_margin: 0.2}"
SLICES = "evaluation.gates.slices={columns: [colour], metric: cost, at_most: 5}"


def opened(overrides: Sequence[str]) -> Session:
    return open_session(OWN, None, overrides)


def test_it_goes_wherever_the_built_in_ones_go(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = opened([GATES, SLICES])
    first = pipeline.run(session)
    first.require_passed()
    approval.approve_model(first.version.name, first.version.number, "good", session)
    promotion.promote(session, first.version)
    second = pipeline.run(session)
    assert second.verdict.outcome == "passed"

    client = MlflowClient()
    version = client.get_model_version("example", str(second.version.number))
    run = client.get_run(version.tags["evaluation_run_id"])
    found = run.data.metrics
    assert found["test_cost"] < found["baseline_cost"]
    assert found["champion_cost"] == found["test_cost"]
    assert 0 < found["test_brier"] < found["baseline_brier"]
    trained = client.get_run(str(version.run_id))
    assert {"validation_cost", "validation_brier"} <= set(trained.data.metrics)
    for each in (run, trained):
        assert "broken: its function raised ValueError" in each.data.tags["undefined_metrics"]

    address = run.info.artifact_uri
    logged = json.loads(mlflow.artifacts.load_text(f"{address}/verdict.json"))
    names = {"value", "low", "high", "baseline", "champion", "higher_is_better"}
    entry = logged["metrics"]["cost"]
    assert set(entry) == names
    assert entry["low"] < entry["value"] == found["test_cost"] < entry["high"]
    assert entry["higher_is_better"] is False
    assert logged["undefined"]["broken"] == "its function raised ValueError"
    gates = {gate["name"]: gate for gate in logged["gates"]}
    assert {"cost at most", "cost against baseline", "cost against champion", "slices"} <= set(
        gates
    )
    against = gates["cost against champion"]
    assert against["value"] == 0  # the same model on the same resamples
    assert {one["column"] for one in logged["slices"]} == {"colour"}

    card = mlflow.artifacts.load_text(f"{address}/model_card.md")
    assert f"| cost | {entry['value']:.4g} | {entry['low']:.4g} to {entry['high']:.4g} |" in card
    assert "**broken is not defined:** its function raised ValueError" in card
    assert "![plots/metrics.png](plots/metrics.png)" in card
    plots = [item.path for item in client.list_artifacts(run.info.run_id, "plots")]
    assert "plots/metrics.png" in plots
    assert version.tags["metric_cost"] == f"{entry['value']:.6g}"
    assert version.tags["gate.cost_at_most"].startswith("passed: cost ")
    assert "metric_broken" not in version.tags
    assert "| cost |" in str(version.description)

    output = capsys.readouterr().out
    assert "│ cost" in output
    assert "note: broken is not defined on these rows: its function raised ValueError" in output


def test_a_gate_on_one_that_raises_fails_with_the_reason(project: Path) -> None:
    session = opened(["evaluation.gates.metrics.broken.at_least=0.5"])
    evaluated = pipeline.run(session)
    reason = "broken is not defined on these test rows: its function raised ValueError"
    with pytest.raises(GateError, match=reason):
        evaluated.require_passed()
    client = MlflowClient()
    version = client.get_model_version("example", str(evaluated.version.number))
    assert version.tags["verdict"] == "failed"
    assert version.tags["gate.broken_at_least"] == f"failed: {reason}"
    (run,) = experiments.find_runs(client, session.settings, "model-evaluation", "", max_results=5)
    assert run.info.status == "FINISHED"
    # Without the gate it is no obstacle.
    again = model_evaluation.run(opened([]), evaluated.version)
    assert again.verdict.outcome == "no-champion"
    assert "broken" in again.verdict.undefined
