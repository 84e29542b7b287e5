"""What the model must do by configs/behaviour.yaml, and what any model must whatever it learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...optimization.verification import TOLERANCE

from . import behaviour
from .behaviour import Behaviour, BehaviourError
from .service import MOST_CELLS, Service, fail, require


@pytest.fixture(scope="session")
def checks(service: Service) -> Behaviour:
    try:
        return behaviour.read(
            service.settings.root, [column.name for column in service.input_schema.columns]
        )
    except BehaviourError as error:
        fail(str(error))


@pytest.mark.parametrize("kind", Behaviour.model_fields)
def test_the_checks_of_the_project(service: Service, checks: Behaviour, kind: str) -> None:
    if not getattr(checks, kind):
        pytest.skip(f"{behaviour.PLACE}: {kind} has no checks")
    wrong = [
        f"{behaviour.PLACE}: {kind}: {check.name!r}: {problem}"
        for check in getattr(checks, kind)
        if (problem := check.problem(service.ask(check.rows)))
    ]
    require(not wrong, "\n".join(wrong))


@pytest.mark.smoke
def test_the_order_of_columns_does_not_matter(service: Service) -> None:
    expected = service.ask(service.example)
    got = service.ask([dict(reversed(row.items())) for row in service.example])
    require(got == expected, f"columns in reverse: expected {expected}, got {got}")


def test_the_company_of_a_row_does_not_matter(service: Service) -> None:
    rows = service.example
    times = max(1, min(500, MOST_CELLS // (len(rows) * len(rows[0]))))
    expected = service.ask(rows)
    largest = max(abs(answer) if behaviour.is_number(answer) else 0.0 for answer in expected)
    for what, got in {
        "each row alone": [service.ask([row])[0] for row in rows],
        "rows in reverse": service.ask(rows[::-1])[::-1],
        "rows in a large batch": service.ask(rows * times)[-len(rows) :],
    }.items():
        same = [
            behaviour.equal(one, other, TOLERANCE * largest)
            for one, other in zip(expected, got, strict=True)
        ]
        require(all(same), f"{what}: expected {expected}, got {got}")


@pytest.mark.smoke
def test_a_whole_number_may_be_written_either_way(service: Service) -> None:
    names = [column.name for column in service.input_schema.columns if column.kind == "number"]
    if not names:
        pytest.skip("no column of this model is a number")
    row = service.example[0]
    whole = {name: round(row[name] or 0) for name in names}
    expected = service.ask([{**row, **whole}])
    got = service.ask([{**row, **{name: float(value) for name, value in whole.items()}}])
    require(got == expected, f"1.0 for 1: expected {expected}, got {got}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("invarience: []", "invarience: unknown key; there are minimum_functionality, invariance"),
        ("invariance: [{name: a, row: {}, change: {}}]", "check 1: change: unknown key"),
        ("invariance: [{name: a, row: {x: 1}, changes: [{y: 1}]}]", "'a': the model has no column"),
        ("invariance: [{name: a, row: {}, changes: [{x: 1}]}]", "'a': `row` lacks x"),
        ("direction: [{name: a, row: {x: 1}, change: {x: 2}}]", "needs either `answer` or"),
        ("minimum_functionality: [{name: a, row: {x: 1}}]", "check 1: needs `answer`, `at_least`"),
        ("direction: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_the_checks_is_named_by_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    place = tmp_path / behaviour.PLACE
    place.parent.mkdir()
    place.write_text(text)
    with pytest.raises(BehaviourError) as mistake:
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
