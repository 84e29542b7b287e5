"""What a client may rely on: all forms get the same answer, and a wrong request a clear refusal."""

from __future__ import annotations

import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from ...model.column_rules import Column
from ...serving.protocol import CSV, JSON, PARQUET
from ...serving.settings import ServingSettings
from ..server_client import as_json
from .behaviour import Row
from .server_under_test import FORMS, ServerUnderTest, as_table, require

SECRET = "zq3f9"  # a value that must not come back
WRONG_VALUES = {"number": SECRET, "text": 918273645, "boolean": SECRET, "date": SECRET}
ANY_STATUS = range(600)
MAX_COLUMNS = 20  # that are tried, of a wide model

NOT_TABLES = {
    "empty": (b"", JSON),
    "JSON cut short": (b'{"dataframe_records": [{"' + SECRET.encode(), JSON),
    "JSON nested too deeply": (b"[" * 100_000, JSON),
    "none of the forms": (as_json({SECRET: []}), JSON),
    "a list without rows": (b'{"dataframe_records": []}', JSON),
    "a table without rows": (b'{"dataframe_split": {"columns": [], "data": []}}', JSON),
    "a table of 10,000 columns": (as_json({"inputs": {f"c{i}": [1] for i in range(10_000)}}), JSON),
    "empty CSV": (b"", CSV),
    "not Parquet": (SECRET.encode(), PARQUET),
    "of an unknown type": (b"<rows/>", "application/xml"),
}


@pytest.mark.smoke
def test_it_is_ready_and_names_the_version_that_it_serves(server: ServerUnderTest) -> None:
    health, version = server.health(), server.version()
    server.request("/ping")
    require("refused" not in health, f"/health: a version was refused: {health.get('refused')}")
    ready = health["ready"] and health["version"] == version
    require(ready, f"/health: {health}, but /version is {version}")
    answer = server.request("/invocations", as_json({"dataframe_records": server.rows[:1]}))
    named = answer.headers.get("x-model-version")
    require(named == version, f"an answer names the version {named}, /version {version}")


@pytest.mark.smoke
def test_it_documents_itself(server: ServerUnderTest) -> None:
    title = server.request("/openapi.json").json()["info"]["title"]
    page = server.request("/docs")
    require(page.headers["content-type"].startswith("text/html"), "/docs: expected HTML")
    require(title in page.text, f"/docs: does not name {title}, as /openapi.json does")
    rows, answers = server.rows, server.predict(server.rows)
    require(len(answers) == len(rows), f"{len(rows)} example rows, got {len(answers)} answers")


@pytest.mark.smoke
def test_it_has_metrics_for_prometheus(server: ServerUnderTest) -> None:
    server.predict(server.rows)
    page = server.request("/metrics")
    require(page.headers["content-type"].startswith("text/plain"), "/metrics: expected text")
    for name in ("requests_total", "request_seconds_bucket", "model_loaded"):
        require(f"serving_{name}" in page.text, f"/metrics: serving_{name} is missing")


@pytest.mark.smoke
def test_the_id_of_a_request_comes_back(server: ServerUnderTest) -> None:
    for body in (as_json({"dataframe_records": server.rows[:1]}), b"{"):
        answer = server.request(
            "/invocations", body, allowed=(200, 400), request_id="check-of-the-id"
        )
        found = answer.headers.get("x-request-id")
        require(found == "check-of-the-id", f"x-request-id: expected the id sent, got {found}")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gets_the_same_answer(server: ServerUnderTest, form: str) -> None:
    write, content_type = FORMS[form]
    body = write(as_table(server.rows, server.input_schema))
    right, got = server.predict(server.rows), server.predict_body(body, content_type)
    require(got == right, f"{form}: expected {right}, as for JSON records, got {got}")


@pytest.mark.smoke
def test_the_client_of_mlflow_works(server: ServerUnderTest) -> None:
    client = ScoringServerClient("", 0)  # type: ignore[no-untyped-call]
    client.url_prefix = server.url  # which may be https, and have a path
    client.ping()  # type: ignore[no-untyped-call]
    got = client.invoke(as_table(server.rows, server.input_schema))["predictions"]
    right = server.predict(server.rows)
    require(got == right, f"MLflow's client: expected {right}, got {got}")


def test_a_wrong_row_is_refused_by_its_column(server: ServerUnderTest) -> None:
    row = server.rows[0]
    for column in server.input_schema.columns[:MAX_COLUMNS]:
        for problem, wrong in _wrong_rows(row, column).items():
            _require_refused_row(server, f"{problem} {column.name!r}", wrong, column.name)


def test_an_extra_column_is_refused_by_its_name(server: ServerUnderTest) -> None:
    row = {**server.rows[0], "no_such_column": SECRET}
    _require_refused_row(server, "with an extra column", row, "no_such_column")


@pytest.mark.parametrize("problem", NOT_TABLES)
def test_a_body_that_is_not_a_table_is_refused(server: ServerUnderTest, problem: str) -> None:
    _require_refused(server, f"a body that is {problem}", *NOT_TABLES[problem])


def test_a_body_over_the_limit_is_refused(server: ServerUnderTest) -> None:
    limit = server.settings.section(ServingSettings).max_body_mb
    body = as_json({"dataframe_records": server.rows[:1]})
    large = body.ljust(int(limit * 1e6) + 1)
    status = server.request("/invocations", large, allowed=ANY_STATUS).status_code
    what = f"a body over serving.max_body_mb ({limit:g})"
    require(status == 413, f"{what}: expected the status 413, got {status}")
    server.predict(server.rows[:1])


def _wrong_rows(row: Row, column: Column) -> dict[str, Row]:
    """Return rows that are wrong in a column, by what is wrong with them."""
    name = column.name
    found = {
        "without": {other: value for other, value in row.items() if other != name},
        "with a wrong type of": {**row, name: WRONG_VALUES[column.kind]},
    }
    if not column.nullable:
        found["with null for"] = {**row, name: None}
    if column.categories is not None:
        found["with an unknown category of"] = {**row, name: SECRET}
    return found


def _require_refused_row(server: ServerUnderTest, problem: str, row: Row, column: str) -> None:
    body = as_json({"dataframe_records": [row]})
    message = _require_refused(server, f"a row {problem}", body, JSON)
    shown = repr(column[:50])[1:-1]
    require(shown in message, f"a row {problem}: the refusal does not name the column: {message}")


def _require_refused(server: ServerUnderTest, what: str, body: bytes, content_type: str) -> str:
    """Return the sentence that a request is refused with; no value may be in it."""
    answer = server.request("/invocations", body, content_type, ANY_STATUS)
    status = answer.status_code
    require(400 <= status < 500, f"{what}: expected a status of 4xx, got {status}")
    message = str(server.lookup(answer, "message"))
    one_sentence = message != "" and "\n" not in message
    require(one_sentence, f"{what}: expected one sentence, got {message!r}")
    for secret in (SECRET, str(WRONG_VALUES["text"])):
        require(secret not in answer.text, f"{what}: the refusal repeats the value that was sent")
    return message
