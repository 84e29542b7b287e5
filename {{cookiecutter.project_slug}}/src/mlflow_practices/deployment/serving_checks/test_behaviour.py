"""What the model must do by configs/behaviour.yaml, and what any model must whatever it learned."""

from __future__ import annotations

import pytest

from ...optimization.verification import TOLERANCE
from . import behaviour
from .behaviour import Behaviour, BehaviourError
from .server_under_test import MOST_CELLS, ServerUnderTest, fail, require


@pytest.fixture(scope="session")
def checks(service: ServerUnderTest) -> Behaviour:
    try:
        return behaviour.read(
            service.settings.root, [column.name for column in service.input_schema.columns]
        )
    except BehaviourError as error:
        fail(str(error))


@pytest.mark.parametrize("kind", Behaviour.model_fields)
def test_the_checks_of_the_project(service: ServerUnderTest, checks: Behaviour, kind: str) -> None:
    if not getattr(checks, kind):
        pytest.skip(f"{behaviour.PLACE}: {kind} has no checks")
    wrong = [
        f"{behaviour.PLACE}: {kind}: {check.name!r}: {problem}"
        for check in getattr(checks, kind)
        if (problem := check.problem(service.ask(check.rows)))
    ]
    require(not wrong, "\n".join(wrong))


@pytest.mark.smoke
def test_the_order_of_columns_does_not_matter(service: ServerUnderTest) -> None:
    expected = service.ask(service.example)
    got = service.ask([dict(reversed(row.items())) for row in service.example])
    require(got == expected, f"columns in reverse: expected {expected}, got {got}")


def test_the_company_of_a_row_does_not_matter(service: ServerUnderTest) -> None:
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
def test_a_whole_number_may_be_written_either_way(service: ServerUnderTest) -> None:
    names = [column.name for column in service.input_schema.columns if column.kind == "number"]
    if not names:
        pytest.skip("no column of this model is a number")
    row = service.example[0]
    whole = {name: round(row[name] or 0) for name in names}
    expected = service.ask([{**row, **whole}])
    got = service.ask([{**row, **{name: float(value) for name, value in whole.items()}}])
    require(got == expected, f"1.0 for 1: expected {expected}, got {got}")
