"""Layers win in order; mistakes are named with their place and a remedy."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow_practices.config.settings import Settings, load_settings
from mlflow_practices.config.validation_errors import SettingsError
from my_ml_project.project import PROJECT

import projects


def load(environment: str | None = None, overrides: Sequence[str] = ()) -> Settings:
    return load_settings(PROJECT, environment, overrides)


def test_layers_win_in_order(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "configs/production.yaml").write_text("training: {seed: 2, params: {max_depth: 3}}")
    assert load().training.seed == 42
    assert load("production").training.seed == 2
    monkeypatch.setenv(f"{projects.PREFIX}TRAINING__SEED", "3")
    assert load("production").training.seed == 3
    chosen = load("production", ["training.seed=4"])
    assert chosen.training.seed == 4
    assert chosen.training.params == {"n_estimators": 10, "max_depth": 3}  # merged deeply
    assert chosen.origin("training.seed") == "--set"
    assert chosen.origin("training.params.max_depth") == "configs/production.yaml"
    assert chosen.origin("data.encoding") == "default"


def test_the_environment_can_be_a_variable(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "configs/production.yaml").write_text("training: {seed: 2}")
    monkeypatch.setenv(f"{projects.PREFIX}ENV", "production")
    assert load().environment == "production"
    assert load().training.seed == 2


def test_values_keep_their_types(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{projects.PREFIX}TRAINING__PARAMS__MAX_DEPTH", "7")
    chosen = load(overrides=["training.params.bootstrap=false data.drop=[price, size]"])
    assert chosen.training.params["max_depth"] == 7
    assert chosen.training.params["bootstrap"] is False
    assert chosen.data.drop == ["price", "size"]


def test_another_estimator_starts_without_parameters(project: Path) -> None:
    other = "training.estimator=sklearn.linear_model.LogisticRegression"
    assert load(overrides=[other]).training.params == {}
    assert load(overrides=[other, "training.params.C=2"]).training.params == {"C": 2}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.sed=7", ["--set: training.sed: unknown key", "did you mean training.seed?"]),
        ("trainng.seed=7", ["trainng: unknown key", "did you mean training?"]),
        ("training.seed=x", ["training.seed", "integer", "'x'"]),
        ("training.seed=-1", ["training.seed", "greater than or equal to 0"]),
        ("data.split.test=1.5", ["--set: data.split.test", "less than 1"]),
        ("data.split.validation=0.9", ["--set: data.split", "no rows to train on"]),
        (
            "data.split.method=strat",
            ["random, stratified, grouped, time", "did you mean stratified?"],
        ),
        ("data.split.method=time", ["needs `column`"]),
        ("data=3", ["--set: data: must be a mapping with the keys raw"]),
        ("data.drop=[label]", ["the target 'label' cannot be dropped"]),
        ("data.raw=https://example.com/t.csv", ["is an address; let data_preparation.read fetch"]),
        ("training.seed=2024-13-45", ["--set: training.seed: not valid YAML"]),
        ("privacy.drop=[label]", ["--set: privacy: the target 'label' cannot be dropped"]),
        (
            "evaluation.gates.metrics={acuracy: {at_least: 1}}",
            ["--set: evaluation.gates.metrics.acuracy: ", "there are accuracy, balanced_accuracy"],
        ),
        (
            "evaluation.gates.metrics={accuracy: {atleast: 1}}",
            [
                "accuracy.atleast: unknown key; allowed: at_least",
                "did you mean evaluation.gates.metrics.accuracy.at_least?",
            ],
        ),
        (
            "evaluation.gates.slices={columns: [colour], metric: roc_auc}",
            [
                "slices.metric: roc_auc is no metric of a slice of classification; there are accuracy"
            ],
        ),
        ("evaluation.gates.slices.columns=[colour]", ["`columns` need a `metric`"]),
        ("project.name=a-production", ["-production"]),
        ("training", ["write it as dotted.key=value"]),
        ("data.drop=[a", ["data.drop: not valid YAML"]),
    ],
)
def test_mistakes_are_explained(project: Path, override: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=[override])
    assert len(str(caught.value).splitlines()) == 1
    for word in words:
        assert word in str(caught.value)


def test_every_mistake_is_named_at_once(project: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=["training.sed=7", "data.taget=x"])
    assert "training.sed" in str(caught.value)
    assert "data.taget" in str(caught.value)


def test_a_mistyped_variable_is_not_passed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{projects.PREFIX}TRAINNG__SEED", "7")
    with pytest.raises(
        SettingsError, match=f"{projects.PREFIX}TRAINNG__SEED: trainng: unknown key"
    ):
        load()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "must be a mapping"),
        ("{}", "project: missing"),
        ("a: 2024-13-45", "not valid YAML"),
    ],
)
def test_a_broken_file_is_named(project: Path, content: str, word: str) -> None:
    (project / "configs/base.yaml").write_text(content)
    with pytest.raises(SettingsError, match=rf"configs/base.yaml: .*{word}|{word}"):
        load()


def test_an_unknown_environment_lists_those_there_are(project: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"staging.yaml: no such file .*environments here: local"
    ):
        load("staging")


def test_a_password_in_the_address_is_refused_and_not_repeated(project: Path) -> None:
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        load(overrides=["tracking.uri=https://me:hunter2@example.com"])
    assert "hunter2" not in str(caught.value)


def test_secrets_are_masked(project: Path) -> None:
    shown = load(overrides=["training.params.api_key=hunter2"]).flat()
    assert shown["training.params.api_key"] == "[REDACTED]"


@pytest.mark.parametrize("environment", ["local", "production", "ci"])
def test_this_projects_own_files_are_valid(environment: str) -> None:
    assert load(environment).environment == environment
