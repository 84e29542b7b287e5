"""The server answers as the model itself does, whose version is loaded from the registry."""

from __future__ import annotations

import pytest

from .offline import Truth
from .service import FORMS, Service, records, require

ALONE = 20  # rows, each in a request of its own
SHOWN = 5  # differences


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_in_every_form(service: Service, truth: Truth, form: str) -> None:
    write, kind = FORMS[form]
    _compare(truth, service.predictions(write(truth.rows), kind), form)


def test_rows_alone(service: Service, truth: Truth) -> None:
    rows = records(truth.rows.head(ALONE))
    _compare(truth, [answer for row in rows for answer in service.ask([row])], "a row a request")


def _compare(truth: Truth, answers: list[object], what: str) -> None:
    wrong = truth.differences(answers)
    listed = "\n".join(wrong[:SHOWN])
    require(not wrong, f"{what}: {len(wrong)} of {len(answers)} answers are wrong:\n{listed}")
