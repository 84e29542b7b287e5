"""What the model must do by configs/behaviour.yaml, and what every model must do."""

from __future__ import annotations

import pytest

from ...config.validation_errors import SettingsError
from ...optimization.verification import TOLERANCE
from . import behaviour
from .behaviour import Behaviour
from .server_under_test import MAX_CELLS, ServerUnderTest, fail, require


@pytest.fixture(scope="session")
def checks(server: ServerUnderTest) -> Behaviour:
    columns = [column.name for column in server.input_schema.columns]
    try:
        return behaviour.read(server.settings.root, columns)
    except SettingsError as error:
        fail(str(error))


@pytest.mark.parametrize("kind", Behaviour.model_fields)
def test_the_checks_of_the_project(server: ServerUnderTest, checks: Behaviour, kind: str) -> None:
    if not getattr(checks, kind):
        pytest.skip(f"{behaviour.PATH}: {kind} has no checks")
    wrong = []
    for check in getattr(checks, kind):
        if problem := check.problem(server.predict(check.rows)):
            wrong.append(f"{behaviour.PATH}: {kind}: {check.name!r}: {problem}")
    require(not wrong, "\n".join(wrong))


@pytest.mark.smoke
def test_the_order_of_columns_does_not_matter(server: ServerUnderTest) -> None:
    right = server.predict(server.rows)
    got = server.predict([dict(reversed(row.items())) for row in server.rows])
    require(got == right, f"columns in reverse: expected {right}, got {got}")


def test_the_other_rows_of_a_request_do_not_matter(server: ServerUnderTest) -> None:
    rows = server.rows
    repeats = max(1, min(500, MAX_CELLS // (len(rows) * len(rows[0]))))
    right = server.predict(rows)
    largest = max(abs(answer) if behaviour.is_number(answer) else 0.0 for answer in right)
    for what, got in {
        "each row alone": [server.predict([row])[0] for row in rows],
        "rows in reverse": server.predict(rows[::-1])[::-1],
        "rows in a large batch": server.predict(rows * repeats)[-len(rows) :],
    }.items():
        for one, other in zip(right, got, strict=True):
            same = behaviour.equal(one, other, TOLERANCE * largest)
            require(same, f"{what}: expected {right}, got {got}")


@pytest.mark.smoke
def test_a_whole_number_may_be_written_either_way(server: ServerUnderTest) -> None:
    names = [column.name for column in server.input_schema.columns if column.kind == "number"]
    if not names:
        pytest.skip("no column of this model is a number")
    row = server.rows[0]
    whole = {name: round(row[name] or 0) for name in names}
    right = server.predict([{**row, **whole}])
    got = server.predict([{**row, **{name: float(value) for name, value in whole.items()}}])
    require(got == right, f"1.0 for 1: expected {right}, got {got}")
