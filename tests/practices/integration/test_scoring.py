"""Batch scoring of a trained model: what it writes, what it refuses, and that it goes on when killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow_practices.data import batches, tables
from mlflow_practices.registry import versions
from mlflow_practices.tracking.session import Session
from typer.testing import Result

import projects

MODEL = "models:/example@challenger"
SMALL = 20  # rows of a chunk, so that there are many
CHILD = f"""
import {projects.PACKAGE}.__main__ as command_line
from mlflow_practices.data import batches
batches.ROWS = {SMALL}
command_line.main()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Return the folder of a project whose model has a version."""
    folder = tmp_path_factory.mktemp("trained")
    projects.make_project(folder, projects.make_table(), empty_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv(projects.ROOT, str(folder))
        patch.setattr(mlflow, "_experiment_id", None, raising=False)
        projects.train(projects.open_project())
    return folder


@pytest.fixture
def session(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv(projects.ROOT, str(trained))
    monkeypatch.setattr(batches, "ROWS", SMALL)
    return projects.open_project()


@pytest.fixture
def source(session: Session) -> Path:
    """Return the rows that it was trained on, with columns that it does not know."""
    assert session.settings.data.raw is not None
    return session.settings.path(session.settings.data.raw)


def score(*arguments: object, model: str = MODEL) -> Result:
    return projects.run_command("score", *map(str, arguments), "--model", model)


def expected(session: Session, source: Path) -> np.ndarray:
    _ = session.client
    model = mlflow.sklearn.load_model(MODEL)
    rows = tables.read(source, session.settings.data)
    predicted: np.ndarray = model.predict(rows.astype({"count": "float64"}))
    return predicted


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_csv_is_scored_as_the_model_predicts(
    session: Session, source: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"out{ending}"
    done = score(source, output)
    assert done.exit_code == 0, done.stderr
    assert f"{output}: 240 rows predicted by example/1; 240 rows in" in done.stdout
    assert list(tmp_path.iterdir()) == [output]
    text = {"dtype": str, "keep_default_na": False}
    given = pd.read_csv(source, **text)
    found = pd.read_csv(output, **text) if ending == ".csv" else pd.read_parquet(output)
    pd.testing.assert_frame_equal(found[list(given)], given)
    assert found["prediction"].tolist() == expected(session, source).tolist()
    assert set(found["model_version"]) == {"example/1"}


def test_parquet_keeps_its_types_and_rejected_rows_go_aside(
    session: Session, source: Path, tmp_path: Path
) -> None:
    rows = tables.read(source, session.settings.data).assign(prediction=1, row=2.5)
    right = expected(session, source)
    rows["count"] = rows["count"].astype("Int64")
    wrong = {3: ("colour", "pink"), 25: ("count", None), 239: ("size", np.inf)}
    for row, (column, value) in wrong.items():
        rows.loc[row, column] = value
    rows.to_parquet(tmp_path / "in.parquet")
    (tmp_path / "out.rejects.parquet").write_text("of an earlier run")
    done = score(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert done.exit_code == 0, done.stderr
    assert "237 rows predicted" in done.stdout
    assert f"{tmp_path / 'out.rejects.parquet'}: 3 rows rejected" in done.stdout
    assert "        1  the column 'count' must have a value" in done.stdout
    assert "note: the input has a column 'prediction'; the new one is called 'prediction_'" in (
        done.stdout
    )
    found = pd.read_parquet(tmp_path / "out.parquet").drop(columns="model_version")
    fits = rows.drop(index=list(wrong)).reset_index(drop=True)
    pd.testing.assert_frame_equal(found.drop(columns="prediction_"), fits)
    assert found["prediction_"].tolist() == np.delete(right, list(wrong)).tolist()
    rejects = pd.read_parquet(tmp_path / "out.rejects.parquet")
    assert rejects["row_"].tolist() == list(wrong)
    assert "'colour' must be one of 'blue', 'green', 'red'" in rejects["reason"][0]
    assert "finite" in rejects["reason"][2]
    kept = rejects[list(rows)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, rows.loc[list(wrong)].reset_index(drop=True))
    strict = score(tmp_path / "in.parquet", tmp_path / "out.parquet", "--fail-on-rejects")
    assert strict.exit_code == 1
    assert "rows were rejected" in strict.stderr


def test_a_file_of_rejects_only_leaves_an_output_without_rows(source: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(source).assign(colour="pink")
    rows.to_csv(tmp_path / "in.csv", index=False)
    done = score(tmp_path / "in.csv", tmp_path / "out.csv")
    assert done.exit_code == 0, done.stderr
    assert list(pd.read_csv(tmp_path / "out.csv")) == [*rows, "prediction", "model_version"]
    assert len(pd.read_csv(tmp_path / "out.rejects.csv")) == len(rows)


def test_what_cannot_be_scored_is_one_line_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    pd.read_csv(source).drop(columns=["size", "seen"]).to_csv(tmp_path / "in.csv", index=False)
    header = source.read_text().partition("\n")[0]
    (tmp_path / "header.csv").write_text(f"{header}\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "in.rejects.csv").write_text(source.read_text())
    before = sorted(tmp_path.iterdir())
    for given, output, words in (
        ("in.csv", "out.csv", "missing: the columns 'size', 'seen'"),
        ("header.csv", "out.csv", "header.csv: has no rows"),
        ("empty.csv", "out.csv", "empty.csv: the file is empty"),
        ("none.csv", "out.csv", "none.csv: no such file"),
        ("in.txt", "out.csv", "in.txt: unknown kind of file; .parquet, .csv and .csv.gz"),
        ("in.csv", "out.xlsx", "out.xlsx: unknown kind of file; .parquet and .csv are"),
        ("in.csv", "in.csv", "in.csv: would be overwritten; name another OUTPUT"),
        ("in.rejects.csv", "in.csv", "in.rejects.csv: would be overwritten"),
        ("in.csv", "none/out.csv", "in one that does not exist"),
    ):
        done = score(tmp_path / given, tmp_path / output)
        assert done.exit_code == 1
        *_, line = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert words in line
        assert sorted(tmp_path.iterdir()) == before


def test_a_row_with_too_many_cells_ends_it_and_what_was_done_stays(
    source: Path, tmp_path: Path
) -> None:
    lines = source.read_text().splitlines()
    lines[200] += ",1,2"
    (tmp_path / "in.csv").write_text("\n".join(lines))
    done = score(tmp_path / "in.csv", tmp_path / "out.csv")
    assert done.exit_code == 1
    assert "Expected 8 fields in line 201, saw 10" in done.stderr
    assert not (tmp_path / "out.csv").exists()


def repeat(source: Path, times: int, path: Path) -> None:
    """Write the rows several times; every 77th is to be rejected."""
    rows = pd.concat([pd.read_csv(source)] * times, ignore_index=True)
    rows.loc[::77, "colour"] = "pink"
    rows.to_csv(path, index=False)


@pytest.mark.skipif(sys.platform == "win32", reason="stops and ends processes by signals")
def test_a_run_goes_on_where_it_was_ended(session: Session, source: Path, tmp_path: Path) -> None:
    given, output, partial = (tmp_path / name for name in ("in.csv", "out.csv", ".out.csv.partial"))
    times = 20  # so that it is far from its end when it is stopped, also on a quick machine
    repeat(source, times, given)
    client, model = session.client, "models:/example@moving"
    client.set_registered_model_alias("example", "moving", "1")
    command = [sys.executable, "-c", CHILD, "score", str(given), str(output), "--model", model]
    for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)):
        before = len(list(partial.glob("part-*")))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list(partial.glob("part-*"))) < before + 5:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)
        second = score(given, output, model=model)
        assert second.exit_code == 1
        assert "out.csv: is being written by another run" in second.stderr
        process.send_signal(end)
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == code
        assert not output.exists()

    rows = SMALL * len(list(partial.glob("part-*")))
    first = versions.find(client, "example", "1")
    moved = client.create_model_version(
        "example", f"models:/{first.model_id}", first.run_id, model_id=first.model_id
    )
    client.set_registered_model_alias("example", "moving", moved.version)
    done = score(given, output, model=model)
    assert f"resuming after {rows:,} rows, with example/1" in done.stderr
    assert f"{240 * times - rows:,} rows in" in done.stdout
    assert not partial.exists()
    other = tmp_path / "other.csv"
    assert score(given, other, model="models:/example/1").exit_code == 0
    assert output.read_bytes() == other.read_bytes()
    rejects = [tmp_path / f"{name}.rejects.csv" for name in ("out", "other")]
    assert rejects[0].read_bytes() == rejects[1].read_bytes()
    assert "starting with example/2\n" in score(given, output, model=model).stderr
    assert set(pd.read_csv(output)["model_version"]) == {"example/2"}


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_and_a_changed_input(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    monkeypatch.setattr(batches, "ROWS", 4000)
    given, output = tmp_path / "in.csv", tmp_path / "out.csv"
    repeat(source, 50, given)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (given.stat().st_size, hard))
    try:
        done = score(given, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.exit_code == 1
    assert "out.csv: cannot be written: File too large; the finished part is kept" in done.stderr
    assert not output.exists()
    assert not (tmp_path / ".out.csv.partial/writing").exists()
    os.utime(given)
    done = score(given, output)
    assert (
        "starting with example/1, from the first row: since the last run the input changed"
        in done.stderr
    )
    assert "12,000 rows in" in done.stdout
    assert len(pd.read_csv(output)) + len(pd.read_csv(tmp_path / "out.rejects.csv")) == 12_000
