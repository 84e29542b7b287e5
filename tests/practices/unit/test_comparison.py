"""Two versions of a table: what changed is counted, and nothing personal is shown."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from mlflow_practices.data import DataError, comparison


@pytest.fixture
def people(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a key and a column of personal values."""
    table["id"] = [f"id-{number}" for number in range(len(table))]
    table["email"] = [f"person{number}@example.com" for number in range(len(table))]
    return table


@pytest.mark.parametrize("key", [None, "id"])
def test_a_table_equals_itself_in_any_order(people: pd.DataFrame, key: str | None) -> None:
    found = comparison.compare(people, people.sample(frac=1, random_state=0), key)
    assert found.changed_columns == []
    changed = "" if key is None else ", 0 changed"
    assert found.lines() == [f"rows: 240 -> 240 (0 added, 0 removed{changed})"]


def test_with_a_key_rows_and_cells_are_matched(people: pd.DataFrame) -> None:
    new = people.iloc[10:].copy()
    more = people.head(3).assign(id=["new-1", "new-2", "new-3"])
    new.loc[20, "count"] = 100
    new.loc[20:21, "colour"] = "pink"
    new.loc[30:34, "price"] = np.nan
    new.loc[0:40, "active"] = ~new.loc[0:40, "active"]
    new = pd.concat([new, more]).sample(frac=1, random_state=0)
    found = comparison.compare(people, new, "id")
    assert found.rows == (240, 233)
    assert (found.added_rows, found.removed_rows, found.changed_rows) == (3, 10, 31)
    changes = {change.column: change for change in found.changed_columns}
    assert changes["count"].cells == 1
    assert changes["count"].measures["max"] == (8, 100)
    assert changes["colour"].cells == 2
    assert changes["colour"].gained_names == ["pink"]
    assert changes["colour"].measures["distinct"] == (3, 4)
    assert changes["price"].cells == 5
    assert changes["price"].measures["missing"] == (0, 5)
    assert changes["active"].cells == 31
    assert changes["email"].lost == 7
    assert changes["email"].lost_names == []
    assert changes.keys().isdisjoint({"id", "label"})
    lines = "\n".join(found.lines())
    assert "rows: 240 -> 233 (3 added, 10 removed, 31 changed)" in lines
    assert "colour: changed cells 2; distinct 3 -> 4; gained 1 (pink)" in lines
    without = comparison.compare(people, people.iloc[10:]).lines()
    assert "id: distinct 240 -> 230; lost 10 (id-0, id-1, id-2, id-3, id-4, 5 more)" in without


def test_without_a_key_equal_rows_cancel_out() -> None:
    old = pd.DataFrame({"a": [1, 1, 1, 2], "b": ["x", "x", None, "y"]})
    new = pd.DataFrame({"a": [2, 1, 1, 3, 1], "b": ["y", None, "x", "x", None]})
    found = comparison.compare(old, new)
    assert (found.added_rows, found.removed_rows, found.changed_rows) == (2, 1, None)
    assert found.lines() == [
        "rows: 4 -> 5 (2 added, 1 removed)",
        "a: mean 1.25 -> 1.6; max 2 -> 3",
        "b: missing 1 -> 2",
    ]
    swapped = comparison.compare(old, old.assign(b=["x", "y", None, "x"]))
    assert (swapped.added_rows, swapped.removed_rows, swapped.changed_columns) == (2, 2, [])
    numbers = pd.DataFrame({"a": [1, 2, 1], "b": [1, 2, 2]})
    assert comparison.compare(numbers, numbers.set_axis(["b", "a"], axis=1)).added_rows == 1


def test_values_that_change_places_are_changes() -> None:
    old = pd.DataFrame({"k": [1, 2, 3], "a": ["x", "y", "y"]})
    found = comparison.compare(old, old.assign(a=["y", "x", "y"]), "k")
    assert found.lines() == ["rows: 3 -> 3 (0 added, 0 removed, 2 changed)", "a: changed cells 2"]


def test_the_schema_comes_first(people: pd.DataFrame) -> None:
    new = people.drop(columns="size").assign(height=1.5, count=people["count"].astype(str))
    found = comparison.compare(people, new, "id")
    assert found.lines() == [
        "column added: height (float64)",
        "column removed: size (float64)",
        "column retyped: count (int64 -> str)",
        "rows: 240 -> 240 (0 added, 0 removed, 0 changed)",
    ]


def test_types_meet_where_values_are_equal() -> None:
    old = pd.DataFrame({"n": [1, 2], "d": pd.to_datetime(["2024-01-01", None]).as_unit("s")})
    old["c"] = pd.Categorical(["a", "b"])
    new = pd.DataFrame({"n": [1.0, 2.0], "d": old["d"].dt.as_unit("ns"), "c": ["a", "b"]})
    found = comparison.compare(old, new)
    assert list(found.retyped_columns) == ["n", "d", "c"]
    assert (found.added_rows, found.removed_rows, found.changed_columns) == (0, 0, [])


def test_dates_and_gaps_are_measured() -> None:
    old = pd.DataFrame({"k": [1, 2, 3], "d": pd.to_datetime(["2024-01-01", "2024-02-01", None])})
    old["x"] = [np.nan, -0.0, 1.0]
    new = old.assign(d=old["d"] + pd.Timedelta(days=1), x=[np.nan, 0.0, np.nan])
    found = comparison.compare(old, new, "k")
    dates, *others = found.lines()[1:]
    assert dates.startswith("d: changed cells 2; min 2024-01-01 00:00:00 -> 2024-01-02 00:00:00")
    assert dates.endswith("; max 2024-02-01 00:00:00 -> 2024-02-02 00:00:00")
    assert others == [
        "x: changed cells 1; missing 1 -> 2; mean 0.5 -> 0; max 1 -> 0",
    ]


def test_no_personal_value_is_shown(people: pd.DataFrame) -> None:
    people["phone"] = np.arange(5550000, 5550240)
    new = people.assign(
        email=people["email"].str.upper(),
        phone=people["phone"] + 777,
        label=["write to me@example.org"] + ["x" * 100] * 239,
    )
    found = comparison.compare(people, new, "id")
    shown = json.dumps(asdict(found)) + "\n".join(found.lines())
    for secret in ("person", "PERSON", "5550", "5551", "me@example.org", "x" * 50):
        assert secret not in shown
    cells = {change.column: change.cells for change in found.changed_columns}
    assert cells == {"email": 240, "phone": 240, "label": 240}
    assert "write to [REDACTED]" in shown


def test_it_is_valid_json_with_nothing_left_out() -> None:
    old = pd.DataFrame({"a": [np.nan, np.nan], "when": pd.to_datetime(["2024-01-01"] * 2)})
    new = pd.DataFrame({"a": [1.0, 2.0], "when": pd.to_datetime([None, None])})
    found = json.loads(json.dumps(asdict(comparison.compare(old, new)), allow_nan=False))
    numbers, dates = found["changed_columns"]
    assert numbers["measures"]["max"] == [None, 2.0]
    assert dates["measures"]["min"] == ["2024-01-01 00:00:00", None]


def test_empty_tables_compare() -> None:
    old = pd.DataFrame({"a": [1.5], "b": ["x"]})
    for key in (None, "b"):
        found = comparison.compare(old, old.head(0), key)
        assert (found.added_rows, found.removed_rows) == (0, 1)
        assert comparison.compare(old.head(0), old.head(0), key).changed_columns == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ({"a": [1]}, {"id": [1]}, "the old table has no column 'id'"),
        ({"id": [1]}, {"a": [1]}, "the new table has no column 'id'"),
        ({"id": [7, 7]}, {"id": [1, 2]}, "column 'id' of the old table has repeated values"),
        ({"id": [1, 2]}, {"id": [1, None]}, "column 'id' of the new table has missing values"),
    ],
)
def test_a_key_that_identifies_no_row_is_refused(
    old: dict[str, list[object]], new: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        comparison.compare(pd.DataFrame(old), pd.DataFrame(new), "id")


def test_columns_of_one_name_are_refused() -> None:
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="new table repeats a column's name"):
        comparison.compare(twice.iloc[:, :1], twice)
