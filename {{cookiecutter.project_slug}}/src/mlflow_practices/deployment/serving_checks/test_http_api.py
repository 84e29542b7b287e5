"""What a client may rely on: every form is answered alike, and a wrong request is refused in words."""

from __future__ import annotations

import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from ...serving.protocol import CSV, JSON, PARQUET
from ...serving.settings import ServingSettings
from .server_under_test import FORMS, Rows, ServerUnderTest, as_json, as_table, fail, require

SECRET = "zq3f9"  # a value that must not come back
WRONG = {"number": SECRET, "text": 918273645, "boolean": SECRET, "date": SECRET}
MOST_COLUMNS = 20  # that are tried, of a wide model

NO_TABLES = {
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
def test_it_is_ready_and_says_what_it_serves(service: ServerUnderTest) -> None:
    health, version = service.get("/health").json(), service.get("/version").json()
    served = f"{version['name']}/{version['version']}"
    require(service.get("/ping").status == 200, "/ping: expected the status 200")
    require(
        "refused" not in health, f"/health: a newer version was refused: {health.get('refused')}"
    )
    require(health["ready"] and health["version"] == served, f"/health: {health}, not {served}")
    reply = service.request("/invocations", as_json({"dataframe_records": service.example[:1]}))
    named = reply.headers.get("x-model-version")
    require(named == served, f"an answer names the version {named}, /version {served}")


@pytest.mark.smoke
def test_it_documents_itself(service: ServerUnderTest) -> None:
    named = service.get("/openapi.json").json()["info"]["title"]
    page = service.get("/docs")
    require(page.headers["content-type"].startswith("text/html"), "/docs: expected HTML")
    require(named in page.text, f"/docs: does not name {named}, as /openapi.json does")
    answers = service.ask(service.example)
    require(
        len(answers) == len(service.example),
        f"the documented example has {len(service.example)} rows, got {len(answers)} answers",
    )


@pytest.mark.smoke
def test_it_tells_prometheus_its_figures(service: ServerUnderTest) -> None:
    service.ask(service.example)
    page = service.get("/metrics")
    require(page.headers["content-type"].startswith("text/plain"), "/metrics: expected text")
    for name in (
        "serving_requests_total",
        "serving_request_seconds_bucket",
        "serving_model_loaded",
    ):
        require(name in page.text, f"/metrics: {name} is missing")


@pytest.mark.smoke
def test_the_id_of_a_request_comes_back(service: ServerUnderTest) -> None:
    for body in (as_json({"dataframe_records": service.example[:1]}), b"{"):
        reply = service.request("/invocations", body, request_id="check-of-the-id")
        found = reply.headers.get("x-request-id")
        require(
            found == "check-of-the-id", f"x-request-id: expected the one that was sent, {found}"
        )


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_answered_alike(service: ServerUnderTest, form: str) -> None:
    write, kind = FORMS[form]
    body = write(as_table(service.example, service.input_schema))
    expected, got = service.ask(service.example), service.predictions(body, kind)
    require(got == expected, f"{form}: expected {expected}, as for JSON records, got {got}")


@pytest.mark.smoke
def test_the_client_of_mlflow_works(service: ServerUnderTest) -> None:
    client = ScoringServerClient("", 0)  # type: ignore[no-untyped-call]
    client.url_prefix = service.url  # which may be https, and have a path
    client.ping()  # type: ignore[no-untyped-call]
    got = client.invoke(as_table(service.example, service.input_schema))["predictions"]
    expected = service.ask(service.example)
    require(got == expected, f"MLflow's client: expected {expected}, got {got}")


def test_a_missing_column_is_named(service: ServerUnderTest) -> None:
    for column in service.input_schema.columns[:MOST_COLUMNS]:
        row = {**service.example[0]}
        del row[column.name]
        _require_refused(service, f"without {column.name!r}", [row], column.name)


def test_an_extra_column_is_named(service: ServerUnderTest) -> None:
    row = {**service.example[0], "no_such_column": SECRET}
    _require_refused(service, "with an extra column", [row], "no_such_column")


def test_a_wrong_type_is_refused_by_its_column(service: ServerUnderTest) -> None:
    for column in service.input_schema.columns[:MOST_COLUMNS]:
        row = {**service.example[0], column.name: WRONG[column.kind]}
        _require_refused(service, f"with a wrong type of {column.name!r}", [row], column.name)


def test_a_missing_value_is_refused_where_none_may_be(service: ServerUnderTest) -> None:
    columns = [column for column in service.input_schema.columns if not column.nullable]
    if not columns:
        pytest.skip("every column of this model may be missing")
    for column in columns[:MOST_COLUMNS]:
        row = {**service.example[0], column.name: None}
        _require_refused(service, f"with null for {column.name!r}", [row], column.name)


def test_an_unknown_category_is_refused_by_its_column(service: ServerUnderTest) -> None:
    columns = [column for column in service.input_schema.columns if column.categories is not None]
    if not columns:
        pytest.skip("no column of this model has a list of categories")
    for column in columns[:MOST_COLUMNS]:
        rows = [service.example[0], {**service.example[0], column.name: SECRET}]
        _require_refused(service, f"with another category of {column.name!r}", rows, column.name)


@pytest.mark.parametrize("what", NO_TABLES)
def test_a_body_that_is_no_table_is_refused(service: ServerUnderTest, what: str) -> None:
    _require_refusal(service, f"a body that is {what}", *NO_TABLES[what])


def test_a_body_over_the_limit_is_refused(service: ServerUnderTest) -> None:
    limit = service.settings.section(ServingSettings).max_body_mb
    body = as_json({"dataframe_records": service.example[:1]})
    reply = service.request("/invocations", body.ljust(int(limit * 1e6) + 1))
    require(
        reply.status == 413,
        f"a body over serving.max_body_mb ({limit:g}): expected the status 413, got {reply.status}",
    )
    service.ask(service.example[:1])


def _require_refused(service: ServerUnderTest, what: str, rows: Rows, column: str) -> None:
    message = _require_refusal(service, f"a row {what}", as_json({"dataframe_records": rows}), JSON)
    shown = repr(column[:50])[1:-1]
    require(shown in message, f"a row {what}: the refusal does not name the column: {message}")


def _require_refusal(service: ServerUnderTest, what: str, body: bytes, kind: str) -> str:
    """Return the sentence that a request is refused with; no value may be in it."""
    reply = service.request("/invocations", body, kind)
    if not 400 <= reply.status < 500:
        fail(f"{what}: expected a refusal, a status of 4xx, got {reply.status}")
    message = str(reply.json().get("message", ""))
    require(
        bool(message) and "\n" not in message, f"{what}: expected one sentence, got {message!r}"
    )
    for secret in (SECRET, str(WRONG["text"])):
        require(secret not in reply.text, f"{what}: the refusal repeats the value that was sent")
    return message
