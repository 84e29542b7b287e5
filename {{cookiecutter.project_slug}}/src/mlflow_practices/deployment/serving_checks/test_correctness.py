"""The server answers as the model itself does, whose version is loaded from the registry."""

from __future__ import annotations

import pytest

from .expected_predictions import ExpectedPredictions
from .server_under_test import FORMS, ServerUnderTest, require, with_nulls

SINGLE_ROWS = 20  # each in a request of its own
SHOWN = 5  # differences


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_in_every_form(
    server: ServerUnderTest, expected: ExpectedPredictions, form: str
) -> None:
    write, content_type = FORMS[form]
    _compare(expected, server.predict_body(write(expected.rows), content_type), form)


def test_single_rows(server: ServerUnderTest, expected: ExpectedPredictions) -> None:
    rows = with_nulls(expected.rows.head(SINGLE_ROWS)).to_dict("records")
    _compare(expected, [server.predict([row])[0] for row in rows], "single rows")


def _compare(expected: ExpectedPredictions, answers: list[object], what: str) -> None:
    wrong = expected.differences(answers)
    shown = "\n".join(wrong[:SHOWN])
    require(not wrong, f"{what}: {len(wrong)} of {len(answers)} answers are wrong:\n{shown}")
