from __future__ import annotations

import io
import json
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as some
from mlflow.models import Model
from mlflow.types import ColSpec, Schema
from mlflow_practices import privacy
from mlflow_practices.config.settings import Settings
from mlflow_practices.model import input_schema
from mlflow_practices.model.column_rules import Column
from mlflow_practices.model.estimators import make_pipeline
from mlflow_practices.model.input_schema import InputSchema, RefusalError
from mlflow_practices.model.signature import features, make_signature
from mlflow_practices.serving import protocol
from my_ml_project.features import build

GOOD: dict[str, Any] = {
    "size": 1.5,
    "count": 3,
    "colour": "red",
    "note": "anything",
    "active": True,
    "seen": "2024-02-29",
}
COLUMNS = InputSchema(
    (
        Column("size", "number", nullable=True),
        Column("count", "number", nullable=False),
        Column("colour", "text", nullable=True, categories=frozenset({"red", "blue"})),
        Column("note", "text", nullable=True),
        Column("active", "boolean", nullable=False),
        Column("seen", "date", nullable=True),
    )
)


def ask(form: str, table: object) -> input_schema.Columns:
    return protocol.parse_request(json.dumps({form: table}).encode(), protocol.JSON, COLUMNS)


def plain(columns: input_schema.Columns) -> dict[str, list[Any]]:
    return {
        name: [None if pd.isna(value) else value for value in values]
        for name, values in columns.items()
    }


def test_every_form_gives_the_same_columns() -> None:
    rows = [GOOD, {**GOOD, "size": None, "colour": None, "seen": "2024-03-01T12:30:00+02:00"}]
    names = list(reversed(GOOD))  # the order of columns is the caller's own
    table = pd.DataFrame(rows)
    parquet = io.BytesIO()
    table.assign(seen=pd.to_datetime(table["seen"], format="ISO8601", utc=True)).to_parquet(parquet)
    data = [[row[name] for name in names] for row in rows]
    found = [
        ask("dataframe_records", rows),
        ask("instances", rows),
        ask("inputs", rows),
        ask("inputs", {name: [row[name] for row in rows] for name in names}),
        ask("dataframe_split", {"columns": names, "data": data, "index": [7, 8]}),
        protocol.parse_request(
            table.to_csv(index=False).encode(), "text/csv; charset=utf-8", COLUMNS
        ),
        protocol.parse_request(parquet.getvalue(), protocol.PARQUET, COLUMNS),
    ]
    for other in found:
        assert list(other) == list(GOOD)  # the model's
        assert plain(other) == plain(found[0])
    assert found[0]["seen"][1] == np.datetime64("2024-03-01T10:30")  # UTC
    assert found[0]["size"].dtype == np.float64


def test_what_is_missing_in_some_records_is_null_as_in_mlflow() -> None:
    without = {name: value for name, value in GOOD.items() if name != "size"}
    assert plain(ask("instances", [GOOD, without]))["size"] == [1.5, None]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"size": "1.5"}, "wrong_value", "row 0: the column 'size' must be a finite number"),
        ({"size": True}, "wrong_value", "'size'"),
        ({"size": [1]}, "wrong_value", "'size'"),
        ({"size": 1e39}, "wrong_value", "'size'"),
        ({"size": 10**400}, "wrong_value", "'size'"),
        ({"size": float("inf")}, "wrong_value", "'size'"),
        ({"count": None}, "null", "row 0: the column 'count' must have a value"),
        ({"count": float("nan")}, "null", "'count'"),
        ({"colour": "green"}, "unknown_category", "'colour' must be one of 'blue', 'red'"),
        ({"colour": 1}, "unknown_category", "'colour'"),
        ({"note": 1}, "wrong_value", "'note' must be text"),
        ({"note": {"a": {}}}, "wrong_value", "'note'"),
        ({"note": "\ud800"}, "wrong_value", "'note'"),
        ({"active": 1}, "wrong_value", "'active' must be true or false"),
        ({"active": "true"}, "wrong_value", "'active'"),
        ({"active": None}, "null", "'active'"),
        ({"seen": "2024-02-30"}, "wrong_value", "'seen' must be an ISO 8601 date"),
        ({"seen": "yesterday"}, "wrong_value", "'seen'"),
        ({"seen": "0001-01-01T00:00:00+05:00"}, "wrong_value", "'seen'"),
        ({"seen": "9999-01-01"}, "wrong_value", "'seen'"),
        ({"seen": 20240101}, "wrong_value", "'seen'"),
        ({"extra": 1}, "extra_column", "'extra'"),
        ({"ann@example.com": 1}, "extra_column", "not known to the model"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_column(
    change: dict[str, Any], kind: str, said: str
) -> None:
    with pytest.raises(RefusalError) as refused:
        ask("dataframe_records", [{**GOOD, **change}])
    assert refused.value.kind == kind
    assert said in str(refused.value)
    for value in (*change.values(), "ann@example.com"):
        shown = str(value)
        assert shown not in str(refused.value) or len(shown) < 5
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "json"),
        (b"{", "json"),
        (b"\xff\xfe", "json"),
        (b"[" * 100_000, "json"),
        (b'{"instances": ' * 50_000, "json"),
        (b"null", "form"),
        (b"[]", "form"),
        (b"{}", "form"),
        (b'{"instances": [], "inputs": []}', "form"),
        (b'{"instances": []}', "empty"),
        (b'{"instances": {}}', "form"),
        (b'{"instances": [1]}', "form"),
        (b'{"inputs": {}}', "missing_column"),
        (b'{"inputs": 5}', "form"),
        (b'{"dataframe_split": {"data": [[1]]}}', "form"),
        (b'{"dataframe_split": {"columns": [[1]], "data": [[1]]}}', "wrong_columns"),
        (b'{"dataframe_split": {"columns": 1, "data": 1}}', "form"),
        (b'{"dataframe_split": {"columns": [null], "data": [[1]]}}', "wrong_columns"),
        (b'{"dataframe_split": {"columns": ["size", "size"], "data": []}}', "missing_column"),
    ],
)
def test_a_body_that_is_no_table_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(RefusalError) as refused:
        protocol.parse_request(body, protocol.JSON, COLUMNS)
    assert refused.value.kind == kind


def test_lists_and_rows_of_other_lengths_are_refused() -> None:
    with pytest.raises(RefusalError, match="same length"):
        ask("inputs", {name: [value] * (1 + (name == "size")) for name, value in GOOD.items()})
    with pytest.raises(RefusalError, match="row 1: it must be a list of 6 values"):
        ask("dataframe_split", {"columns": list(GOOD), "data": [list(GOOD.values()), [1]]})
    with pytest.raises(RefusalError, match="no rows"):
        ask("dataframe_split", {"columns": list(GOOD), "data": []})
    twice = [*GOOD, "size"]
    with pytest.raises(RefusalError, match="there twice: the column 'size'"):
        ask("dataframe_split", {"columns": twice, "data": [[*GOOD.values(), 1]]})


def test_ten_thousand_columns_are_refused_in_one_short_sentence() -> None:
    wide = {**GOOD, **{f"column_{number}": 1 for number in range(10_000)}}
    with pytest.raises(RefusalError) as refused:
        ask("instances", [wide])
    assert "and 9990 more" in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json; charset=latin-1", "text/csv; header=present"]
)
def test_another_content_type_is_refused(kind: str) -> None:
    with pytest.raises(RefusalError) as refused:
        protocol.parse_request(b"{}", kind, COLUMNS)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("body", "kind", "fault"),
    [
        (b"", protocol.CSV, "csv"),
        (b"\xff\xff\n1\n", protocol.CSV, "csv"),
        (b"a,b\n1,2,3\n", protocol.CSV, "csv"),
        (b"a,b\n1,2\n", protocol.CSV, "missing_column"),
        (b"", protocol.PARQUET, "parquet"),
        (b"PAR1 and no more", protocol.PARQUET, "parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(body: bytes, kind: str, fault: str) -> None:
    with pytest.raises(RefusalError) as refused:
        protocol.parse_request(body, kind, COLUMNS)
    assert refused.value.kind == fault


@pytest.mark.parametrize(("rows", "note"), [(3_000_000, "x"), (1000, "x" * 100_000)])
def test_a_small_file_that_stands_for_a_large_table_is_refused(rows: int, note: str) -> None:
    table = pd.DataFrame([GOOD]).assign(note=note, seen=pd.Timestamp("2024-01-01"))
    parquet = io.BytesIO()
    table.loc[table.index.repeat(rows)].to_parquet(parquet, index=False, compression="zstd")
    assert len(parquet.getvalue()) < 1_000_000
    with pytest.raises(RefusalError, match="too large a table") as refused:
        protocol.parse_request(parquet.getvalue(), protocol.PARQUET, COLUMNS)
    assert refused.value.status == 413


def test_numbers_that_are_text_in_csv_are_read_and_others_refused() -> None:
    head = "size,count,colour,note,active,seen\n"
    found = protocol.parse_request((head + ",1e3,,NA,TRUE,\n").encode(), protocol.CSV, COLUMNS)
    assert plain(found) == {
        "size": [None],
        "count": [1000.0],
        "colour": [None],
        "note": [None],
        "active": [True],
        "seen": [None],
    }
    with pytest.raises(RefusalError, match="row 1: the column 'count' must be a finite number"):
        protocol.parse_request(
            (head + "1,1,red,,true,\n1,x,red,,true,\n").encode(), protocol.CSV, COLUMNS
        )


VALUES = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.floats(),
    some.text(max_size=5),
    some.sampled_from(["red", "blue", "2024-01-01", "1", "true"]),
    some.lists(some.integers(), max_size=1),
)


@effort(max_examples=300, deadline=None)
@given(some.lists(some.fixed_dictionaries(dict.fromkeys(GOOD, VALUES)), min_size=1, max_size=4))
def test_a_request_is_judged_as_a_table_with_the_same_values_is(rows: list[dict[str, Any]]) -> None:
    table = pd.DataFrame({name: pd.Series([r[name] for r in rows], dtype=object) for name in GOOD})
    columns, reasons = COLUMNS.select_valid(table, typed=True)
    values = {name: [row[name] for row in rows] for name in GOOD}
    if any(reasons):
        with pytest.raises(RefusalError) as refused:
            COLUMNS.read(values)
        assert any(f"'{refused.value.column}'" in reason for reason in reasons)
    else:
        assert plain(COLUMNS.read(values)) == plain(columns)


def test_a_table_is_sifted_row_by_row() -> None:
    table = pd.DataFrame([GOOD, {**GOOD, "count": None}, {**GOOD, "colour": "pink"}, GOOD])
    columns, reasons = COLUMNS.select_valid(table, typed=True)
    assert [bool(reason) for reason in reasons] == [False, True, True, False]
    assert reasons[1] == "the column 'count' must have a value"
    assert input_schema.count_rows(columns) == 2


def test_days_and_decimals_of_a_parquet_file_are_dates_and_numbers() -> None:
    rows = {"size": [Decimal("1.5"), None], "seen": [date(2024, 2, 29), None], "count": 3}
    table = pd.DataFrame([GOOD, GOOD]).astype({"seen": object}).assign(**rows)
    columns, reasons = COLUMNS.select_valid(table, typed=True)
    assert not any(reasons)
    assert plain(columns)["size"] == [1.5, None]
    assert plain(columns)["seen"] == [np.datetime64("2024-02-29"), None]


def test_what_training_saw_is_what_serving_takes(table: pd.DataFrame, settings: Settings) -> None:
    X = features(table.drop(columns=["customer", "price"]), "label")
    X["code"] = [f"code {number % 60}" for number in range(len(X))]  # too many to be categories
    pipeline = make_pipeline(build(X, settings), settings).fit(X, table["label"])
    saved = Model(signature=make_signature(X, pipeline), metadata=input_schema.column_metadata(X))
    made = {column.name: column for column in input_schema.of_model(saved).columns}
    assert list(made) == list(X.columns)
    assert made["colour"].categories == frozenset({"red", "green", "blue"})
    assert made["colour"].nullable
    assert made["code"].categories is None
    assert not made["code"].nullable
    assert [made[name].kind for name in ("size", "active", "seen")] == ["number", "boolean", "date"]
    wants = input_schema.of_model(saved)
    columns, reasons = wants.select_valid(X, typed=True)
    assert not any(reasons)
    pd.testing.assert_frame_equal(wants.frame(columns), X, check_dtype=False)
    assert (pipeline.predict(wants.frame(columns)) == pipeline.predict(X)).all()
    assert input_schema.count_rows(wants.example_row()) == 1


def test_personal_columns_are_protected_as_in_preparation(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PSEUDONYM_KEY", "k" * 32)
    rows = pd.DataFrame(
        {"who": ["ann", "bob", None], "name": ["Ann", None, "Bob"], "size": [1, 2, 3]}
    )
    policies: dict[str, privacy.Policy] = {"who": "pseudonymise", "name": "mask"}
    X, _ = privacy.protect(rows, policies)
    X = X.astype({"size": float})
    pipeline = make_pipeline(build(X, settings), settings).fit(X, ["a", "b", "a"])
    metadata = input_schema.column_metadata(X, policies)
    wants = input_schema.of_model(Model(signature=make_signature(X, pipeline), metadata=metadata))
    expected = plain(wants.read(X))  # what went through preparation stays
    assert expected["who"] == [*X["who"][:2], None]
    assert plain(wants.read(rows)) == expected
    assert (
        plain(wants.read(rows.astype(object).where(rows.notna(), None).to_dict("list"))) == expected
    )
    assert plain(wants.read(rows.astype("str"), typed=False)) == expected
    with pytest.raises(RefusalError) as refused:
        wants.read({"who": ["carol"], "name": ["Carol"], "size": [1]})
    assert "arol" not in str(refused.value)
    monkeypatch.delenv("PSEUDONYM_KEY")
    with pytest.raises(privacy.PrivacyError, match="PSEUDONYM_KEY is not set"):
        wants.read(rows)


def test_personal_data_in_free_text_is_masked_as_in_preparation() -> None:
    found = ask("instances", [{**GOOD, "note": "write to ann@example.com"}])
    assert "ann" not in found["note"][0]
    table = pd.DataFrame([{**GOOD, "note": "write to ann@example.com"}])
    assert plain(COLUMNS.read(table)) == plain(found)


def test_a_model_without_named_columns_is_refused() -> None:
    with pytest.raises(input_schema.InputSchemaError, match="no signature"):
        input_schema.of_model(Model())
    from mlflow.models import ModelSignature

    binary = ModelSignature(Schema([ColSpec("binary", "image")]))
    with pytest.raises(input_schema.InputSchemaError, match="'image' is of the type binary"):
        input_schema.of_model(Model(signature=binary))


@pytest.mark.parametrize(
    ("predictions", "answer"),
    [
        (np.array(["a", "b"], dtype=object), b'{"predictions":["a","b"]}'),
        (np.array([1.5, 2.0]), b'{"predictions":[1.5,2.0]}'),
        (np.array([True, False]), b'{"predictions":[true,false]}'),
        ([1, "a"], b'{"predictions":[1,"a"]}'),
    ],
)
def test_answers_are_written_as_mlflow_writes_them(predictions: Any, answer: bytes) -> None:
    assert protocol.format_response(predictions) == answer
