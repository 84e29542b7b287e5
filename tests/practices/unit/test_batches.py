"""Files are read a chunk at a time as training reads them, and what is wrong is said with its place."""

import gzip
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow_practices.config.sections import Data
from mlflow_practices.data import DataError, batches

DATA = Data(raw=Path("table.csv"), target="label")
BODY = b"".join(b"%d,x\n" % number for number in range(10_000))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ROWS", 4)


def read(path: Path, **values: str) -> pd.DataFrame:
    found = list(batches.read(path, DATA.model_copy(update=values)))
    assert [share for _, share in found] == sorted(share for _, share in found)
    assert found[-1][1] == 1
    assert {len(table) for table, _ in found[:-1]} <= {4}
    return pa.concat_tables(table for table, _ in found).to_pandas()


def test_csv_is_passed_on_as_text(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('a;b\n007;"x;\n\ny"\n;NA\n\n1.50\n' + "2;é\n" * 5, encoding="latin-1")
    found = read(path, encoding="latin-1", separator=";")
    assert found["a"].tolist() == ["007", "", "1.50", *["2"] * 5]
    assert found["b"].tolist() == ["x;\n\ny", "NA", "", *["é"] * 5]
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    again = read(tmp_path / "table.csv.gz", encoding="latin-1", separator=";")
    pd.testing.assert_frame_equal(again, found)


def test_missing_is_what_training_takes_for_missing() -> None:
    others = {"none", "NAN", "Null", "-", "?", "nil", "0", "#n/a", "inf"}
    texts = sorted(batches.MISSING_TEXTS | others)
    column = pd.read_csv(io.StringIO("\n".join(["a,b", *(f"{text},1" for text in texts)])))["a"]
    assert {
        text for text, gap in zip(texts, column.isna(), strict=True) if gap
    } == batches.MISSING_TEXTS


def test_parquet_is_passed_on_with_its_types(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"n": range(11), "d": pd.date_range("2024", periods=11), "t": list("abc") * 3 + [None] * 2}
    )
    table.to_parquet(tmp_path / "table.parquet", row_group_size=3)
    pd.testing.assert_frame_equal(read(tmp_path / "table.parquet"), table)


def broken_row_group() -> bytes:
    made = io.BytesIO()
    table = pa.table({"a": np.random.default_rng(0).integers(0, 2**60, 10_000)})
    pq.write_table(table, made, row_group_size=1000, compression="zstd", use_dictionary=False)
    content = bytearray(made.getvalue())
    middle = len(content) // 2
    content[middle : middle + 9000] = bytes(9000)
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", lambda: b"a,b\n1,2,3\n1,2,3\n", "after row 0: rows have more cells"),
        ("a.csv", lambda: b"a,b\n" + BODY + b"1,2,3\n", "Expected 2 fields in line 10002, saw 3"),
        ("a.csv", lambda: b"a,b\n" + BODY + b'1,"x\n', "EOF inside string"),
        ("a.csv", lambda: b"a,b\n" + BODY + b"\xff,1\n", "after row 10,000: it is not UTF-8"),
        ("a.csv", lambda: b"a,a\n1,2\n", "Duplicate names"),
        ("a.csv.gz", lambda: gzip.compress(BODY)[:-2000], "Compressed file ended before"),
        ("a.csv.gz", lambda: b"a,b\n" + BODY, "Not a gzipped file"),
        ("a.parquet", lambda: BODY, "after row 0: Parquet magic bytes not found"),
        ("a.parquet", broken_row_group, "cannot be read after row"),
    ],
)
def test_what_is_corrupt_is_said_with_its_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: Callable[[], bytes],
    words: str,
) -> None:
    monkeypatch.setattr(batches, "ROWS", 1000)
    (tmp_path / name).write_bytes(content())
    with pytest.raises(DataError) as caught:
        list(batches.read(tmp_path / name, DATA))
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be read after row ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_is_replaced_when_all_of_it_is_written(tmp_path: Path, ending: str) -> None:
    path, table = tmp_path / f"out{ending}", pa.table({"a": [1, None], "b": ["x", 'y "z",\n']})

    def tables(fail: bool) -> Iterator[pa.Table]:
        yield table
        if fail:
            raise RuntimeError
        yield table

    path.write_text("before")
    with pytest.raises(RuntimeError):
        batches.write(path, tmp_path, tables(fail=True), ",")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    batches.write(path, tmp_path, tables(fail=False), ",")
    found = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(found, pd.concat([table.to_pandas()] * 2, ignore_index=True))
