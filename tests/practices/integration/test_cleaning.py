"""What the hook `clean` may do, what it must not, and that rows stay tied to their split."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow_practices.data import DataError, versioning
from mlflow_practices.data.cleaning import Cleaned, protect_and_clean
from mlflow_practices.data.source import read_raw
from mlflow_practices.data.splits import split_table
from mlflow_practices.tracking.session import Session, open_session
from my_ml_project import data_preparation
from my_ml_project.project import PROJECT

Clean = Callable[[pd.DataFrame], pd.DataFrame]
FEATURES = "; put that into features.py, or training and serving would differ"


def cleaning(clean: Clean, *overrides: str) -> Session:
    """Return a session of a project with this hook `clean`."""
    return open_session(replace(PROJECT, clean=clean), overrides=overrides)


def cleaned(clean: Clean, *overrides: str) -> Cleaned:
    session = cleaning(clean, *overrides)
    return protect_and_clean(read_raw(session), session)


def test_rows_may_go_and_the_manifest_says_how_many(project: Path, table: pd.DataFrame) -> None:
    session = cleaning(lambda table: table[table["count"] > 2])
    manifest = data_preparation.run(session).manifest
    gone = int((table["count"] <= 2).sum())
    assert gone
    assert f"{gone} rows left out by data_preparation.clean" in manifest.notes
    kept = versioning.read_all(manifest, session.settings.path(session.settings.data.processed))
    assert len(kept) == len(table) - gone
    assert kept["count"].min() == 3
    unchanged = data_preparation.run(cleaning(lambda table: table)).manifest
    assert not [note for note in unchanged.notes if "left out by" in note]


@pytest.mark.parametrize(
    "clean",
    [
        lambda table: table.assign(label=table["label"].str.upper()),
        lambda table: table.assign(label=table["label"] == "high"),
        lambda table: table.assign(label=(table["label"] == "high").astype(int)),
    ],
    ids=["values", "booleans", "numbers"],
)
def test_the_target_may_be_mended(project: Path, clean: Clean) -> None:
    found = cleaned(clean)
    expected = clean(pd.read_csv(project / "data/raw/table.csv"))["label"]
    pd.testing.assert_series_equal(found.table["label"], expected)
    pd.testing.assert_series_equal(found.split_columns["label"], expected)  # stratified by that
    assert found.notes == []


def test_a_hook_may_change_its_own_table_and_reorder_columns(
    project: Path, table: pd.DataFrame
) -> None:
    def clean(table: pd.DataFrame) -> pd.DataFrame:
        table.drop(table.index[:40], inplace=True)
        return table[sorted(table.columns)]

    raw = read_raw(cleaning(clean))
    found = protect_and_clean(raw, cleaning(clean)).table
    assert list(found) == [name for name in table if name not in ("customer", "price")]
    pd.testing.assert_series_equal(found["count"], table["count"][40:].reset_index(drop=True))
    assert len(raw.table) == len(table)


@pytest.mark.parametrize(
    ("clean", "words"),
    [
        (lambda t: t.assign(ratio=t["size"] / t["count"]), f"adds or renames 'ratio'{FEATURES}"),
        (lambda t: t.rename(columns={"size": "length"}), f"adds or renames 'length'{FEATURES}"),
        (
            lambda t: t.drop(columns=["size", "seen"]),
            "takes away 'size', 'seen'; name it in data.drop instead",
        ),
        (
            lambda t: t.assign(count=t["count"].astype(float)),
            f"makes 'count' float64, it was int64{FEATURES}",
        ),
        (lambda t: t.fillna({"size": 0}), f"changes the values of 'size'{FEATURES}"),
        (lambda t: pd.concat([t, t["size"]], axis=1), "has 'size' twice; return each column once"),
        (lambda t: pd.concat([t, t.head(3)]), r"adds rows or makes a new index; .*\(no reset_ind"),
        (
            lambda t: pd.concat([t, t.head(3).reset_index(drop=True)]),
            "adds rows or makes a new index",
        ),
        (lambda t: t.reset_index(drop=True), "adds rows or makes a new index"),
        (lambda t: t.set_axis(t.index.astype(float)), "adds rows or makes a new index"),
        (lambda t: t.set_index(["size", "count"], drop=False), "adds rows or makes a new index"),
        (lambda t: t.head(0), "leaves out every row"),
        (lambda t: None, "returned nothing; return a pandas data frame"),
        (lambda t: t["size"], r"returned a pandas\.\S*Series; return a pandas data frame"),
        (
            lambda t: t.assign(label=pd.cut(t["count"], [-1, 4, 9])),
            "the target 'label' holds Interval values; make it text, booleans or numbers",
        ),
    ],
)
def test_anything_else_is_refused_with_the_remedy(project: Path, clean: Clean, words: str) -> None:
    with pytest.raises(DataError, match=f"^data_preparation.clean: {words}") as caught:
        cleaned(clean)
    assert "\n" not in str(caught.value)


@pytest.fixture
def patients(project: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return a raw table whose rows are grouped by a column that is personal, so it is dropped."""
    email = [f"patient{row % 40}@example.org" for row in range(len(table))]
    table = table.assign(email=email, row=range(len(table)))
    table.to_csv(project / "data/raw/table.csv", index=False)
    path = project / "configs/base.yaml"
    configuration = yaml.safe_load(path.read_text())
    configuration["data"]["split"] = {"method": "grouped", "column": "email"}
    path.write_text(yaml.safe_dump(configuration))
    return table


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """Sort and thin out rows, as a hook may."""
    table = table.sort_values("size", ascending=False, na_position="first")
    return table[table["count"] != 4].iloc[::-1]


def test_rows_that_a_hook_sorts_stay_tied_to_what_decides_the_split(
    patients: pd.DataFrame,
) -> None:
    session = cleaning(shuffled)
    found = protect_and_clean(read_raw(session), session)
    assert "email" not in found.table
    assert list(found.table["row"]) == list(shuffled(patients)["row"])
    assert list(found.split_columns["email"]) == list(patients["email"][found.table["row"]])
    parts = split_table(found, session.settings.data)
    groups = {name: set(patients["email"][part["row"]]) for name, part in parts.items()}
    assert sum(map(len, groups.values())) == patients["email"].nunique()  # none is torn apart
    assert sum(map(len, parts.values())) == len(shuffled(patients))
    assert all(len(part) for part in parts.values())


def test_a_time_split_of_sorted_rows_takes_the_latest_for_test(
    project: Path, table: pd.DataFrame
) -> None:
    split = "data.split={method: time, column: seen} data.drop=[customer, price, seen]"
    session = cleaning(lambda t: t.sort_values("size"), split)
    found = protect_and_clean(read_raw(session), session)
    assert "seen" not in found.table
    parts = split_table(found, session.settings.data)
    seen = dict(zip(table["size"].fillna(-1), table["seen"], strict=True))
    known = {name: [seen[size] for size in part["size"].dropna()] for name, part in parts.items()}
    assert max(known["train"]) <= min(known["validation"])
    assert max(known["validation"]) <= min(known["test"])


def test_personal_data_does_not_reach_the_hook(patients: pd.DataFrame) -> None:
    given: list[pd.DataFrame] = []
    cleaned(lambda table: given.append(table) or table)  # type: ignore[func-returns-value]
    assert "email" not in given[0]
    assert not np.isin(given[0].astype(str), patients["email"]).any()
