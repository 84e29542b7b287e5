"""The server answers as the model itself does, whose version is loaded from the registry."""

from __future__ import annotations

import pytest

from .expected_predictions import ExpectedPredictions
from .server_under_test import FORMS, ServerUnderTest, records, require

ALONE = 20  # rows, each in a request of its own
SHOWN = 5  # differences


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_in_every_form(
    service: ServerUnderTest, truth: ExpectedPredictions, form: str
) -> None:
    write, kind = FORMS[form]
    _compare(truth, service.predictions(write(truth.rows), kind), form)


def test_rows_alone(service: ServerUnderTest, truth: ExpectedPredictions) -> None:
    rows = records(truth.rows.head(ALONE))
    _compare(truth, [answer for row in rows for answer in service.ask([row])], "a row a request")


def _compare(truth: ExpectedPredictions, answers: list[object], what: str) -> None:
    wrong = truth.differences(answers)
    listed = "\n".join(wrong[:SHOWN])
    require(not wrong, f"{what}: {len(wrong)} of {len(answers)} answers are wrong:\n{listed}")
