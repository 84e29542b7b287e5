"""The inference log: what is in it, what must not be, and what befalls it."""

import logging
import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow_practices.config.sections import InferenceLog as LogSettings
from mlflow_practices.scoring import inference_files
from mlflow_practices.scoring.inference_log import InferenceLog

from servers import wait_until

PERSON = "ann@example.org"
LATE = {"flush_seconds": 1000}  # only `close` writes, or a row too many


def settings(**changed: float) -> LogSettings:
    return LogSettings.model_validate(changed)


def rows(count: int = 3) -> dict[str, np.ndarray]:
    """Return every kind of column, with a gap each if there are three rows."""
    columns = {
        "size": np.array([1.5, np.nan, 3]),
        "colour": np.array(["red", None, "blue"], dtype=object),
        "active": np.array([True, None, False], dtype=object),
        "seen": np.array(["2024-01-01", "NaT", "2024-01-03"], dtype="datetime64[ns]"),
    }
    return {name: values[:count] for name, values in columns.items()}


def kept(folder: Path, *requests: tuple[dict[str, np.ndarray], list[object], str]) -> pd.DataFrame:
    """Return what a log holds of requests: columns, predictions and version each."""
    log = InferenceLog(settings(**LATE), folder)
    for number, (columns, predictions, version) in enumerate(requests):
        log.append(columns, predictions, version, f"request {number}", 0.25)
    log.close()
    assert (log.written, log.errors) == (sum(len(predictions) for _, predictions, _ in requests), 0)
    return inference_files.read(folder)


def test_a_row_for_each_predicted_row(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    found = kept(tmp_path, (rows(), ["high", "low", "low"], "3"), (rows(1), ["high"], "3"))
    assert list(found["request_id"]) == ["request 0"] * 3 + ["request 1"]
    assert list(found["row"]) == [0, 1, 2, 0]
    assert found["time"].between(before, datetime.now(UTC)).all()
    assert (found[["model_version", "latency_ms"]] == ["3", 250]).all(axis=None)
    assert list(found["prediction"]) == ["high", "low", "low", "high"]
    expected = pd.concat([pd.DataFrame(rows()), pd.DataFrame(rows(1))], ignore_index=True)
    pd.testing.assert_frame_equal(found[list(expected)], expected)
    [file] = tmp_path.rglob("*.parquet")
    assert file.parent.name == f"date={found['time'].iloc[0].date()}"


def test_nothing_personal_is_kept(tmp_path: Path) -> None:
    columns = {
        "comment": np.array([f"ask {PERSON}"], dtype=object),
        "phone_number": np.array(["in the book"], dtype=object),
    }
    log = InferenceLog(settings(**LATE), tmp_path)
    log.append(columns, [PERSON], "1", f"of {PERSON}", 0.1)
    log.close()
    [row] = inference_files.read(tmp_path).to_dict("records")
    assert row["comment"] == "ask [REDACTED]"
    assert row["phone_number"] == row["prediction"] == "[REDACTED]"
    assert row["request_id"] == "of [REDACTED]"


def test_every_process_samples_the_same_requests(tmp_path: Path) -> None:
    found = []
    for name, share in (("a", 0.3), ("b", 0.3), ("c", 0.6), ("none", 0)):
        log = InferenceLog(settings(sample=share, **LATE), tmp_path / name)
        for number in range(1000):
            log.append(rows(1), [1], "1", str(number), 0.1)
        log.close()
        found.append(set(inference_files.read(tmp_path / name)["request_id"]))
    assert found[0] == found[1] < found[2]
    assert 250 < len(found[0]) < 350
    assert not found[3]


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    log = InferenceLog(settings(max_waiting_rows=10, **LATE), tmp_path)
    for number in range(5):
        log.append(rows(), [1, 2, 3], "1", str(number), 0.1)
    log.append(rows(1), [1], "1", "a body of a megabyte", 0.1, size=1_000_000)
    log.append(rows(1), [1], "1", "fits", 0.1)
    log.close()
    assert (log.written, log.dropped, log.errors) == (10, 7, 0)
    assert list(inference_files.read(tmp_path)["request_id"])[-1] == "fits"


def test_many_rows_are_written_before_their_time(tmp_path: Path) -> None:
    log = InferenceLog(settings(flush_rows=5, **LATE), tmp_path)
    for number in range(12):
        log.append(rows(1), [1], "1", str(number), 0.1)
    wait_until(lambda: log.written >= 10)
    log.close()
    assert log.written == len(inference_files.read(tmp_path)) == 12
    assert all(pq.read_metadata(file).num_rows <= 5 for file in tmp_path.rglob("*.parquet"))


def test_versions_may_differ_in_their_columns(tmp_path: Path) -> None:
    found = kept(
        tmp_path,
        ({"a": np.array([1.5]), "gone": np.array([2.0])}, [1], "1"),
        ({"a": np.array(["x"], dtype=object), "new": np.array([3.0])}, [0.5], "2"),
        ({"a": np.array([None], dtype=object), "new": np.array([4.0])}, [2], "3"),
    )
    assert list(found["a"].iloc[:2]) == ["1.5", "x"]
    assert found["a"].isna().tolist() == [False, False, True]
    assert list(found["gone"].isna()) == [False, True, True]
    assert list(found["prediction"]) == [1, 0.5, 2]
    assert found["prediction"].dtype == float


def test_inputs_that_are_called_like_the_log_s_own(tmp_path: Path) -> None:
    names = ["time", "input_time", "row", "date"]
    columns = {name: np.array([float(number)]) for number, name in enumerate(names)}
    found = kept(tmp_path, (columns, [1], "1"))
    stored = inference_files.input_names(names)
    assert stored == {
        "time": "input_input_time",
        "input_time": "input_time",
        "row": "input_row",
        "date": "input_date",
    }
    assert [found[stored[name]].item() for name in names] == [0, 1, 2, 3]
    assert found["row"].item() == 0


def test_the_oldest_day_goes_first(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    kept(tmp_path, (rows(), [1, 2, 3], "1"))
    [file] = tmp_path.rglob("*.parquet")
    for days in (1, 2, 3):
        old = tmp_path / f"date={today - timedelta(days=days)}"
        old.mkdir()
        (old / file.name).write_bytes(file.read_bytes())
    size = file.stat().st_size
    log = InferenceLog(settings(max_mb=4 * size / 1e6, **LATE), tmp_path)
    log.append(rows(), [1, 2, 3], "1", "now", 0.1)
    log.close()
    assert log.errors == 0
    left = sorted(day.name for day in tmp_path.iterdir())
    assert left == [f"date={today - timedelta(days=1)}", f"date={today}"]
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.parquet")) <= 4 * size
    assert len(inference_files.read(tmp_path, since=today)) == 6
    assert len(inference_files.read(tmp_path)) == 9


def test_a_folder_that_cannot_be_written_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "log"
    folder.write_text("no folder")
    log = InferenceLog(settings(flush_seconds=0.02), folder)
    with caplog.at_level(logging.WARNING):
        log.append(rows(), [1, 2, 3], "1", "early", 0.1)
        wait_until(lambda: log.errors >= 3)
    [warning] = caplog.messages
    assert warning.startswith(f"{folder}: ")
    folder.unlink()
    wait_until(lambda: log.written == 3)
    log.append(rows(), [1, 2, 3], "1", "late", 0.1)
    log.close()
    assert list(inference_files.read(folder)["request_id"]) == ["early"] * 3 + ["late"] * 3
    assert log.dropped == 0


def test_rows_that_fit_no_file_are_counted_without_their_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = InferenceLog(settings(**LATE), tmp_path)
    log.append({"a": np.array([1.5, PERSON], dtype=object)}, [1, 2], "1", "bad", 0.1)
    log.append(rows(), [1, 2, 3], "2", "good", 0.1)
    with caplog.at_level(logging.WARNING):
        log.close()
    assert (log.written, log.dropped, log.errors) == (3, 2, 1)
    assert set(inference_files.read(tmp_path)["request_id"]) == {"good"}
    assert len(caplog.messages) == 1
    assert PERSON not in caplog.text


def test_a_damaged_file_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept(tmp_path, (rows(), [1, 2, 3], "1"))
    [file] = tmp_path.rglob("*.parquet")
    file.with_stem("0-damaged").write_bytes(file.read_bytes()[:-20])
    assert len(inference_files.read(tmp_path)) == 3
    assert "0-damaged.parquet: is damaged" in caplog.text


def test_an_empty_log_has_its_columns(tmp_path: Path) -> None:
    assert list(inference_files.read(tmp_path / "none", date(2026, 1, 1))) == list(
        inference_files.LOG_COLUMNS
    )


WRITER = """
import sys
from pathlib import Path
import numpy as np
from mlflow_practices.config.sections import InferenceLog as LogSettings
from mlflow_practices.scoring.inference_log import InferenceLog
settings = LogSettings(flush_rows=50, flush_seconds=0.01)
log = InferenceLog(settings, Path(sys.argv[1]))
while True:
    log.append(dict(a=np.ones(50)), np.ones(50), "1", "x", 0.1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_whole_files(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) as process:
        wait_until(lambda: len(list(tmp_path.rglob("*.parquet"))) > 20)
        process.send_signal(signal.SIGKILL)
    files = list(tmp_path.rglob("*.parquet"))
    assert len(inference_files.read(tmp_path)) == 50 * len(files)

    name = files[0].stem  # <time>-<process>-<machine>
    stamp, pid, host = name.split("-", 2)
    names = [f".{stamp}-{number}-{host}" for number in (pid, os.getppid())]
    names += [f".{stamp}-{pid}-elsewhere", f".0-{pid}-elsewhere"]
    _, living, elsewhere, old = unfinished = [files[0].parent / name for name in names]
    for file in unfinished:
        file.touch()
    os.utime(old, (0, 0))
    InferenceLog(settings(), tmp_path).close()
    assert {file for file in unfinished if file.exists()} == {living, elsewhere}
