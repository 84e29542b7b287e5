"""Bad tables are refused in words; good ones are typed and split as asked."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow_practices import machine
from mlflow_practices.config.sections import Data, Split
from mlflow_practices.data import DataError, cleaning, splits, tables
from mlflow_practices.data.cleaning import Cleaned


def data(**changes: object) -> Data:
    return Data.model_validate({"raw": "table.csv", "target": "label", **changes})


def split_rows(table: pd.DataFrame, settings: Data) -> dict[str, pd.DataFrame]:
    return splits.split_table(Cleaned(table, table, []), settings)


def write(folder: Path, content: bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("table.csv", b"", "the file is empty"),
        ("table.csv", b"a,label\n", "has a header and no rows"),
        ("table.csv", b"a,b,a\n1,2,3\n", "duplicate column name: 'a'"),
        ("table.csv", b"a,,label\n1,2,3\n", "a column has no name"),
        ("table.csv", "a,label\ncaf\u00e9,1\n".encode("latin-1"), "set data.encoding"),
        ("table.csv", b"a,label\n1,2\n1,2,3\n", "cannot be read"),
        ("table.csv", b"a,label\n1,2,3\n1,2,3\n", "cannot be read"),
        ("table.csv", b"a,label\ninf,1\n2,0\n", "column 'a' holds infinity in 1 rows"),
        ("table.csv", b"ann@example.org,yes\nbob@example.org,no\n", "does the file lack a header"),
        ("table.parquet", b"not parquet", "cannot be read"),
        ("table.xlsx", b"", "unknown kind of file"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        tables.read(write(tmp_path, content, name), data())
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file; set data.raw"):
        tables.read(tmp_path / "none.csv", data())


def test_encoding_and_separator_are_settings(tmp_path: Path) -> None:
    path = write(tmp_path, "a;label\ncaf\u00e9;1\n".encode("latin-1"))
    assert tables.read(path, data(encoding="latin-1", separator=";"))["a"].tolist() == ["caf\u00e9"]


def test_csv_and_parquet_give_the_same_table(tmp_path: Path, table: pd.DataFrame) -> None:
    table.to_csv(tmp_path / "table.csv", index=False)
    table.to_parquet(tmp_path / "table.parquet")
    csv, parquet = (tables.read(tmp_path / f"table.{kind}", data()) for kind in ("csv", "parquet"))
    assert csv["seen"].dtype.kind == "M"
    pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)


def test_a_parquet_file_of_a_database_gives_numbers_and_dates(tmp_path: Path) -> None:
    zone = pd.to_datetime(["2024-01-01 01:00", None]).tz_localize("Europe/Berlin")
    given = {"paid": [Decimal("1.5"), None], "day": [None, date(9999, 12, 31)], "zoned": zone}
    pd.DataFrame(given).to_parquet(tmp_path / "table.parquet")
    table = tables.read(tmp_path / "table.parquet", data())
    assert [kind.kind for kind in table.dtypes] == ["f", "M", "M"]
    assert table.iloc[0].dropna().tolist() == [1.5, pd.Timestamp("2024-01-01")]
    assert table["day"][1].date() == date(9999, 12, 31)


def test_a_type_that_no_model_learns_from_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [[1], [2]]}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(DataError, match="column 'a' holds ndarray values; make it text"):
        tables.read(tmp_path / "table.parquet", data())


def test_text_that_only_looks_like_dates_stays_text(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b,label\n2024-13-45,2024-01-02,1\n2024-01-01,,2\n")
    table = tables.read(path, data())
    assert table["a"].tolist() == ["2024-13-45", "2024-01-01"]
    assert table["b"].isna().tolist() == [False, True]
    assert table["b"].dtype.kind == "M"


@pytest.mark.parametrize(
    ("target", "problem_type", "words"),
    [
        ([1, 1, 1], "classification", "one value in all rows"),
        ([None, None, None], "classification", "has no values"),
        (["a", "b", "c"], "regression", "regression needs numbers"),
        ([0.5, 1.0, 2.0], "classification", "set problem_type: regression"),
    ],
)
def test_an_unsuitable_target_is_refused(
    target: list[object], problem_type: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        cleaning.prepare(pd.DataFrame({"a": [1, 2, 3], "label": target}), data(), problem_type)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "labl"}, "data.target: no column 'labl' in table.csv; it has: 'a', 'label'"),
        ({"drop": ["b"]}, "data.drop: no column 'b'"),
        ({"drop": ["a"]}, "no column is left"),
        ({"split": {"method": "time", "column": "t"}}, "data.split.column: no column 't'"),
    ],
)
def test_a_missing_column_is_named(changes: dict[str, object], words: str) -> None:
    def prepare() -> None:
        table = pd.DataFrame({"a": [1, 2], "label": [0, 1]})
        cleaning.require_columns(table, data(**changes))
        cleaning.prepare(table, data(**changes), "classification")

    with pytest.raises(DataError, match=words):
        prepare()


def test_what_cannot_be_learned_from_is_left_out_and_noted() -> None:
    table = pd.DataFrame({"a": [1, 2, 3], "void": [None] * 3, "label": [0, 1, None]})
    prepared, notes = cleaning.prepare(table, data(), "classification")
    assert list(prepared) == ["a", "label"]
    assert len(prepared) == 2
    assert notes == ["1 rows without 'label' left out", "column 'void' left out: it has no values"]


@pytest.mark.parametrize("method", ["random", "stratified", "grouped", "time"])
def test_splits_share_out_every_row_once(table: pd.DataFrame, method: str) -> None:
    column = {"grouped": "customer", "time": "seen"}.get(method)
    how = {"method": method, "column": column, "validation": 0.2, "test": 0.1}
    parts = split_rows(table, data(split=how))
    assert sum(len(part) for part in parts.values()) == len(table)
    assert pd.concat(parts.values())["size"].sum() == pytest.approx(table["size"].sum())
    assert len(parts["test"]) == pytest.approx(0.1 * len(table), rel=0.4)
    match method:
        case "stratified":
            shares = [(part["label"] == "high").mean() for part in parts.values()]
            assert np.ptp(shares) < 0.05
        case "grouped":
            groups = [set(part["customer"]) for part in parts.values()]
            assert not groups[0] & groups[1]
            assert not (groups[0] | groups[1]) & groups[2]
        case "time":
            assert parts["train"]["seen"].max() <= parts["validation"]["seen"].min()
            assert parts["validation"]["seen"].max() <= parts["test"]["seen"].min()


def test_the_seed_decides_the_split(table: pd.DataFrame) -> None:
    first, again, other = (
        split_rows(table, data(split=Split(seed=seed).model_dump()))["test"] for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("rows", "split", "words"),
    [
        (3, {"method": "stratified"}, "cannot be split by 'stratified'"),
        (2, {"method": "time", "column": "a"}, "would be empty"),
        (9, {"method": "grouped", "column": "gap"}, "'gap' has missing values"),
    ],
)
def test_too_few_rows_are_refused(rows: int, split: dict[str, object], words: str) -> None:
    table = pd.DataFrame({"a": range(rows), "label": range(rows), "gap": [None] * rows})
    with pytest.raises(DataError, match=words):
        split_rows(table, data(split=split))


@pytest.mark.parametrize(
    "name", ["table.csv", "table.csv.gz", "table.parquet", "wide.csv", "16.csv"]
)
def test_a_look_at_the_memory_does_not_change_what_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: pd.DataFrame
) -> None:
    settings = data(encoding="utf-16" if name == "16.csv" else "utf-8")
    if name == "wide.csv":  # its header is longer than what is looked at
        table = pd.concat({f"{'x' * 2000}{i}": table["size"] for i in range(600)}, axis=1)
    path = tmp_path / name
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, encoding=settings.encoding)
    expected = tables.read(path, settings)
    monkeypatch.setattr(tables, "SMALL_FILE", 0)
    pd.testing.assert_frame_equal(tables.read(path, settings), expected)
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    with pytest.raises(DataError, match="leave out rows or columns"):
        tables.read(path, settings)
