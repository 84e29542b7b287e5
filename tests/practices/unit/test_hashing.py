"""The content hash sees every change of a table, and nothing but changes of it."""

import datetime as dt
import hashlib
import struct
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from {{ cookiecutter.package_name }}.data import hashing


def hashed(values: object, dtype: object = None) -> str:
    return hashing.content_hash(pd.DataFrame({"column": pd.Series(values, dtype=dtype)}))


def test_the_hash_survives_copies_and_files(table: pd.DataFrame, tmp_path: Path) -> None:
    table["group"] = table["colour"].astype("category")
    table["day"] = table["seen"].dt.date
    table["label"] = table["label"].astype(object)
    table.to_parquet(tmp_path / "table.parquet")
    table.to_csv(tmp_path / "table.csv", index=False)
    typed = pd.read_csv(tmp_path / "table.csv", parse_dates=["seen"], dtype={"group": "category"})
    typed["day"] = pd.to_datetime(typed["day"]).dt.date
    same = {
        "copy": table.copy(),
        "index": table.set_index(table.index[::-1]),
        "concat": pd.concat([table.head(100), table.iloc[100:]]),
        "slice": pd.concat([table, table]).iloc[120:360].iloc[np.r_[120:240, :120]],
        "Parquet": pd.read_parquet(tmp_path / "table.parquet"),
        "CSV": typed,
    }
    expected = hashing.content_hash(table)
    assert {name: hashing.content_hash(each) for name, each in same.items()} == dict.fromkeys(
        same, expected
    )


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a number": lambda t: t.assign(price=t["price"].where(t.index != 239, t["price"] + 1e-12)),
    "a text": lambda t: t.assign(colour=t["colour"].where(t.index != 239, "pink")),
    "a gap": lambda t: t.assign(colour=t["colour"].mask(t.index == 239)),
    "a gap among numbers": lambda t: t.assign(price=t["price"].mask(t.index == 239)),
    "a date": lambda t: t.assign(seen=t["seen"].where(t.index != 239, pd.Timestamp(0))),
    "a nanosecond": lambda t: t.assign(seen=t["seen"] + pd.Timedelta(1, "ns")),
    "a flag": lambda t: t.assign(active=t["active"] ^ (t.index == 239)),
    "a type": lambda t: t.assign(count=t["count"].astype("float64")),
    "a smaller type": lambda t: t.assign(count=t["count"].astype("int32")),
    "a time zone": lambda t: t.assign(seen=t["seen"].dt.tz_localize("UTC")),
    "categories": lambda t: t.assign(colour=t["colour"].astype("category")),
    "a name": lambda t: t.rename(columns={"size": "Size"}),
    "the order of columns": lambda t: t[t.columns[::-1]],
    "the order of rows": lambda t: t.iloc[::-1],
    "one row less": lambda t: t.head(239),
    "one column less": lambda t: t.drop(columns="label"),
    "text for numbers": lambda t: t.assign(count=t["count"].astype(str)),
    "'nan' for missing": lambda t: t.assign(colour=t["colour"].fillna("nan")),
    "'' for missing": lambda t: t.assign(colour=t["colour"].fillna("")),
    "where one text ends": lambda t: t.assign(
        colour=t["colour"].replace({"red": "re", "green": "dgreen"})
    ),
}


@pytest.mark.parametrize("algorithm", ["xxh3_128", "sha256"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_hash_sees(
    change: Callable[[pd.DataFrame], pd.DataFrame], algorithm: str, table: pd.DataFrame
) -> None:
    former = hashing.content_hash(table, algorithm)  # type: ignore[arg-type]
    changed = hashing.content_hash(change(table), algorithm)  # type: ignore[arg-type]
    assert changed != former
    assert len(changed) == {"xxh3_128": 32, "sha256": 64}[algorithm]


def test_any_cell_of_any_block_counts() -> None:
    rows = 2 * hashing.BLOCK + 5
    for values in (np.arange(rows, dtype=float), np.arange(rows), np.arange(rows).astype(str)):
        found = set()
        for row in (None, 0, hashing.BLOCK - 1, hashing.BLOCK, rows - 1):
            column = pd.Series(values)
            if row is not None:
                column[row] = column[row + 1 if row == 0 else 0]
            found.add(hashed(column))
        assert len(found) == 5


EQUAL: dict[str, list[tuple[object, object]]] = {
    "text": [
        (["a", None, ""], kind)
        for kind in ("str", "string", "string[python]", object, "string[pyarrow]")
    ]
    + [(["a", np.nan, ""], object), (["a", None, ""], pd.ArrowDtype(pa.large_string()))],
    "numbers": [([1, 2], "int64"), ([1, 2], "Int64"), ([1, 2], "int64[pyarrow]"), ([1, 2], ">i8")],
    "gaps": [([7, None], "Int64"), ([7, pd.NA], "int64[pyarrow]")],
    "fractions": [([1, None], "Float64"), ([1, np.nan], "float64"), ([1, None], "double[pyarrow]")],
    "flags": [([True, None], "boolean"), ([True, None], "bool[pyarrow]")],
    "dates": [
        ([pd.Timestamp("2024-02-29 12:00"), None], f"datetime64[{unit}]")
        for unit in ("s", "ms", "us", "ns")
    ]
    + [([pd.Timestamp("2024-02-29 12:00"), None], "timestamp[ns][pyarrow]")],
    "spans": [([pd.Timedelta(1, "s"), None], f"timedelta64[{unit}]") for unit in ("s", "us", "ns")],
    "categories": [
        (["b", "a", None], pd.CategoricalDtype(["a", "b"])),
        (["b", "a", None], pd.CategoricalDtype(["c", "b", "a"])),
    ],
    "decimals": [([Decimal("1.50"), None], object), ([Decimal("1.5"), None], object)],
    "lists": [([[1, 2]], object), ([np.array([1, 2])], object)],
}


@pytest.mark.parametrize("columns", EQUAL.values(), ids=EQUAL.keys())
def test_how_pandas_holds_the_values_does_not_count(columns: list[tuple[object, object]]) -> None:
    assert len({hashed(values, dtype) for values, dtype in columns}) == 1


def test_what_is_not_equal_hashes_differently() -> None:
    columns: list[tuple[object, object]] = [
        ([1, 0], "int64"),
        ([1, None], "Int64"),
        ([1.0, 0.0], "float64"),
        ([1.0, -np.inf], "float64"),
        ([1.0, None], "float64"),
        ([True, False], "bool"),
        ([True, None], "boolean"),
        (["1", "0"], "str"),
        (["1", None], "str"),
        (["a", "b"], pd.CategoricalDtype(["a", "b"], ordered=True)),
        (["a", "b"], pd.CategoricalDtype(["b", "a"], ordered=True)),
        (["a", "b"], pd.CategoricalDtype(["a", "b"])),
        (["a", None], pd.CategoricalDtype(["a", "b"])),
        ([1, 0], object),
        ([1, "0"], object),
        ([1.0, 0], object),
        ([1.0 + 1e-15, 0], object),
        ([True, 0], object),
        ([b"1", b"0"], object),
        ([Decimal(1), 0], object),
        ([[1, 2], [3]], object),
        ([[1], [2, 3]], object),
        ([{"a": 1}, None], object),
        ([dt.date(1970, 1, 1), None], object),
        ([dt.datetime(1970, 1, 1), 0], object),
        ([dt.time(1), None], object),
        (pd.period_range("2024", periods=2, freq="M"), None),
        ([648, 649], "int64"),  # what those months are inside
        (pd.interval_range(0, 2), None),
        ([0, None], "datetime64[ns]"),
        ([0, None], "timedelta64[ns]"),
        ([dt.date(1970, 1, 1), None], pd.ArrowDtype(pa.date32())),
    ]
    columns += [([0, None], f"datetime64[ns, {zone}]") for zone in ("UTC", "Europe/Berlin")]
    assert len({hashed(values, dtype) for values, dtype in columns}) == len(columns)


def test_all_bit_patterns_of_nan_are_one_missing_value() -> None:
    found = set()
    for bits in (0x7FF8 << 48, 0xFFF8 << 48, (0x7FF0 << 48) + 1, 0x7FFFFFFFFFFFFFFF):
        values = np.array([1.0, -2.0, 0.0])
        values.view(np.uint64)[2] = bits
        found.add(hashed(values))
    assert found == {hashed([1.0, -2.0, None])}


def test_what_arrow_keeps_outside_of_the_values_does_not_count() -> None:
    ends = np.array([0, 1, 4, 5], dtype=np.int64)
    buffers = [pa.py_buffer(b) for b in (bytes([0b101]), ends.tobytes(), b"aXYZb")]
    below = pa.Array.from_buffers(pa.large_string(), 3, buffers)  # "XYZ" below the missing value
    chunks = pa.chunked_array([below.slice(1, 2), below.slice(0, 1)])
    kind = pd.ArrowDtype(pa.large_string())
    assert hashed(below, kind) == hashed(["a", None, "b"])
    assert hashed(pd.Series(list("abcdefg")).iloc[2:5]) == hashed(["c", "d", "e"])
    assert hashed(chunks, kind) == hashed([None, "b", "a"])


def test_columns_of_one_name_and_names_that_are_no_text_count() -> None:
    values = [[1, 2.5]]
    found = [
        hashing.content_hash(pd.DataFrame(values, columns=names))
        for names in (["a", "a"], ["a", "b"], [1, "a"], ["1", "a"], [("a", "b"), ("a", "c")])
    ]
    assert len(set(found)) == len(found)
    assert hashing.content_hash(pd.DataFrame()) != hashing.content_hash(pd.DataFrame(index=[0]))


@pytest.mark.parametrize("value", [object(), {1, 2}, "secret \ud800"])
def test_what_has_no_exact_form_is_refused_without_being_shown(value: object) -> None:
    with pytest.raises(hashing.HashError, match=r"column 'column': .* make them text") as caught:
        hashed([1, value] if not isinstance(value, str) else [value], object)
    assert "secret" not in str(caught.value)


def test_a_table_is_not_copied() -> None:
    random = np.random.default_rng(0)
    rows = 8 * hashing.BLOCK
    table = pd.DataFrame(random.normal(size=(10, rows)).T)  # 84 MB
    table["missing"] = table[0].mask(table[0] > 0)
    table["text"] = random.choice(["red", "green"], rows)
    table["objects"] = table["text"].astype(object)
    hashing.content_hash(table.tail())
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        hashing.content_hash(table)
        peak = tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)
    assert 1e5 < peak < 8e6, peak


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\n" * 100_000)
    assert hashing.file_hash(path) == hashlib.sha256(b"a,b\n" * 100_000).hexdigest()


def test_the_format_is_the_documented_one() -> None:
    table = pd.DataFrame(
        {
            "number": [1.5, None],
            "text": ["a", None],
            "count": pd.Series([7, None], dtype="Int16"),
            "day": pd.to_datetime(["1970-01-01 00:00:00.000002003", None]).as_unit("ns"),
            "kind": pd.Categorical(["b", "a"]),
            "any": [1, b"x"],
        }
    )
    parts = [struct.pack("<2q", 2, 6)]
    parts += [b"text:number", b"float64", struct.pack("<dQ", 1.5, 0x7FF8 << 48), b""]
    parts += [b"text:text", b"text", struct.pack("<2q", 1, -1), b"a"]
    parts += [b"text:count", b"int16", struct.pack("<2h", 7, 0), b"\0\1"]
    parts += [b"text:day", b"datetime", struct.pack("<2q", 2, -(2**63)), struct.pack("<2q", 3, 0)]
    parts += [b"text:kind", b"category", struct.pack("<2q", 6, 6), b"text:atext:b"]
    parts += [struct.pack("<2q", 1, 0), b""]
    parts += [b"text:any", b"object", struct.pack("<2q", 5, 7), b"int:1bytes:x"]
    expected = hashlib.sha256(b"".join(struct.pack("<q", len(part)) + part for part in parts))
    # Manifests hold such digests: a change of the format refuses all data prepared before it.
    assert hashing.content_hash(table, "sha256") == expected.hexdigest()
