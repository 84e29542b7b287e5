"""A raw table from elsewhere than a file: kept as a file, verified like one, refused in words."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow_practices.config.settings import Settings
from mlflow_practices.data import DataError
from mlflow_practices.data.hashing import file_hash
from mlflow_practices.data.source import RawTable, read_raw, read_table
from mlflow_practices.tracking.session import Session, open_session
from my_ml_project import data_preparation
from my_ml_project.project import PROJECT

from projects import run_command as run

NO_FILE = "data.raw=null"


def reading(returned: Any, *overrides: str) -> Session:
    """Return a session of a project whose hook `read` returns this."""
    read: Callable[[Settings], Any] = returned if callable(returned) else lambda settings: returned
    return open_session(replace(PROJECT, read=read), overrides=overrides)


def kept(project: Path) -> list[Path]:
    return sorted((project / "data/raw").glob("source-*"))


def test_a_table_is_kept_once_in_a_file_named_after_its_content(
    project: Path, table: pd.DataFrame
) -> None:
    (project / "data/raw/table.csv").unlink()
    first = read_raw(reading(table, NO_FILE))
    assert kept(project) == [first.path]
    assert list(first.path.parent.iterdir()) == [first.path]  # nothing half written
    pd.testing.assert_frame_equal(pd.read_parquet(first.path), first.table)
    assert first.source.path == first.path.relative_to(project).as_posix()
    assert first.source.sha256 == file_hash(first.path)
    assert (first.source.rows, first.source.bytes) == (240, first.path.stat().st_size)

    written = first.path.stat().st_mtime_ns
    again = read_raw(reading(table.set_axis(range(7, 247)), NO_FILE))  # its index is no content
    assert again.source == first.source
    assert first.path.stat().st_mtime_ns == written
    other = read_raw(reading(table.assign(count=1), NO_FILE))
    assert other.path != first.path
    assert kept(project) == sorted([first.path, other.path])


def test_the_manifest_names_it_and_verify_sees_a_change(project: Path, table: pd.DataFrame) -> None:
    manifest = data_preparation.run(reading(table, NO_FILE)).manifest
    [file] = kept(project)
    assert manifest.source.path == f"data/raw/{file.name}"
    assert manifest.source.sha256 == file_hash(file)
    assert run("data", "verify").stdout.count("ok ") == 4
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"\0")
    changed = run("data", "verify")
    assert changed.exit_code == 1
    assert f"changed  {file}: SHA-256 {manifest.source.sha256}" in changed.stdout
    # Whoever prepares that table again gets its file again, with its bytes.
    assert data_preparation.run(reading(table, NO_FILE)).manifest.source == manifest.source
    assert file.read_bytes() == whole


def test_a_file_that_the_hook_only_reads_stands_for_itself(project: Path) -> None:
    found = read_raw(reading(read_table))
    assert found.source.path == "data/raw/table.csv"
    assert found.source.sha256 == file_hash(project / "data/raw/table.csv")
    assert not kept(project)


@pytest.mark.parametrize("in_place", [False, True])
def test_what_the_hook_makes_of_a_file_is_another_table(project: Path, in_place: bool) -> None:
    def read(settings: Settings) -> pd.DataFrame:
        table = read_table(settings)
        if in_place:
            table["count"] += 1
            return table
        return table[table["count"] > 2]

    found = read_raw(reading(read))
    assert kept(project) == [found.path]
    assert found.source.path == f"data/raw/{found.path.name}"


def test_what_databases_return_becomes_numbers_and_dates(
    project: Path, table: pd.DataFrame
) -> None:
    days = [dt.date(2024, 1, 1 + row % 28) if row else None for row in range(len(table))]
    moment = dt.datetime(2024, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    given = table.assign(
        paid=[Decimal("1.50") if row else None for row in range(len(table))],
        day=days,
        zoned=pd.Series([moment] * len(table)),
        text=["2024-02-29"] * len(table),
        arrow=pd.array(range(len(table)), dtype="int64[pyarrow]"),
    )
    found = read_raw(reading(given)).table
    assert found["paid"].isna().tolist()[:2] == [True, False]
    assert found["paid"][1] == 1.5
    assert found["day"].isna().tolist()[:2] == [True, False]
    assert found["day"][1] == pd.Timestamp("2024-01-02")
    assert set(found["zoned"]) == {pd.Timestamp("2023-12-31 23:00")}
    assert set(found["text"]) == {pd.Timestamp("2024-02-29")}
    kinds = found[["paid", "day", "zoned", "text", "arrow"]].dtypes
    assert [kind.kind for kind in kinds] == ["f", "M", "M", "M", "i"]


def odd(values: Any) -> pd.DataFrame:
    return pd.DataFrame({"label": ["a", "b"], "odd": values})


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "returned nothing; return a pandas data frame"),
        ([{"label": "a"}], "returned a list; return a pandas data frame"),
        (odd([[1], [2]]), "column 'odd' holds list values; make it text, numbers or dates"),
        (odd([1, "a"]), "column 'odd' holds int and str values"),
        (odd(pd.to_timedelta([1, 2])), r"column 'odd' holds timedelta64\[.s\] values"),
        (odd(pd.interval_range(0, 2)), "column 'odd' holds Interval values"),
        (odd(pd.Categorical(pd.interval_range(0, 2))), "column 'odd' holds Interval values"),
        (odd([1.0, float("inf")]), "column 'odd' holds infinity in 1 rows"),
        (odd([2**70, 1]), r"column 'odd' cannot be kept as Parquet \(\w+\); make it text"),
        (odd([1, 2]).head(0), "returned a table without rows"),
        (odd([1, 2]).set_index("odd"), r"the index 'odd' would be lost; .* with reset_index\(\)"),
        (odd([1, 2]).rename(columns={"odd": 3}), "a column has no name, or one that is not text"),
        (odd([1, 2]).rename(columns={"odd": "label"}), "duplicate column name: 'label'"),
    ],
)
def test_what_cannot_be_kept_is_refused(project: Path, returned: Any, words: str) -> None:
    with pytest.raises(DataError, match=f"^data_preparation.read: {words}") as caught:
        read_raw(reading(returned))
    assert "\n" not in str(caught.value)
    assert list((project / "data/raw").iterdir()) == [project / "data/raw/table.csv"]


def test_a_refusal_fails_the_run_with_its_reason(project: Path) -> None:
    session = reading(None)
    with pytest.raises(DataError):
        data_preparation.run(session)
    experiment = session.client.get_experiment_by_name("example/data-preparation")
    assert experiment is not None
    [run] = session.client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "return a pandas data frame" in run.data.tags["failure_reason"]


def test_without_a_file_read_table_says_where_one_is_named(project: Path) -> None:
    done = run("prepare", "--set", NO_FILE)
    assert done.exit_code == 1
    assert done.stderr == (
        "error: data.raw: names no file; set it in configs/base.yaml, or let "
        "data_preparation.read return a table from elsewhere\n"
    )


def test_a_missing_target_of_a_table_from_elsewhere_is_named(
    project: Path, table: pd.DataFrame
) -> None:
    session = reading(table.drop(columns="label"), NO_FILE)
    with pytest.raises(DataError, match="no column 'label' in the table that `read` returns"):
        data_preparation.run(session)


def test_attributes_of_a_frame_are_no_data(project: Path, table: pd.DataFrame) -> None:
    table.attrs = {"connection": object()}
    found: RawTable = read_raw(reading(table))
    assert found.table.attrs == {}
    assert "connection" in table.attrs  # the hook's own is left as it was
