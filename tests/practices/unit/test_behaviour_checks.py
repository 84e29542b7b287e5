"""The checks of behaviour that a project writes: their mistakes, and what they say of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow_practices.config.validation_errors import SettingsError
from mlflow_practices.deployment.serving_checks import behaviour
from mlflow_practices.deployment.serving_checks.behaviour import Behaviour


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("invarience: []", "invarience: unknown key; allowed: minimum_functionality, invariance"),
        ("invariance: [{name: a, row: {}, change: {}}]", "invariance.0.change: unknown key"),
        ("invariance: [{name: a, row: {x: 1}, changes: [{y: 1}]}]", "'a': the model has no column"),
        ("invariance: [{name: a, row: {}, changes: [{x: 1}]}]", "'a': `row` lacks x"),
        ("direction: [{name: a, row: {x: 1}, change: {x: 2}}]", "needs either `answer` or"),
        (
            "minimum_functionality: [{name: a, row: {x: 1}}]",
            "minimum_functionality.0: needs `answer`, `at_least`",
        ),
        ("direction: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_the_checks_is_named_by_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    place = tmp_path / behaviour.PATH
    place.parent.mkdir()
    place.write_text(text)
    with pytest.raises(SettingsError) as mistake:
        behaviour.read(tmp_path, ["x"])
    assert str(mistake.value).startswith("configs/behaviour.yaml: ")
    assert said in str(mistake.value)


@pytest.mark.parametrize(
    ("kind", "check", "answers", "said"),
    [
        ("minimum_functionality", {"answer": "a"}, ["b"], "expected 'a', got 'b'"),
        ("minimum_functionality", {"answer": True}, [1], "expected True, got 1"),
        ("minimum_functionality", {"at_least": 2}, [1.5], "expected at least 2, got 1.5"),
        ("minimum_functionality", {"at_most": 2}, ["b"], "expected at most 2, got 'b'"),
        (
            "invariance",
            {"changes": [{"x": 2}]},
            [1.0, 1.1],
            "another x changes the answer from 1.0",
        ),
        ("direction", {"change": {"x": 2}, "becomes": "b"}, ["b", "b"], "should become 'b'"),
        ("direction", {"change": {"x": 2}, "answer": "lower"}, [1, 2], "should get lower"),
    ],
)
def test_a_check_that_is_not_kept_says_what_came(
    kind: str, check: dict[str, object], answers: list[object], said: str
) -> None:
    found = Behaviour.model_validate({kind: [{"name": "a", "row": {"x": 1}, **check}]})
    assert said in getattr(found, kind)[0].problem(answers)
