"""The content hash sees every change of a table, and nothing but changes of it."""

import datetime as dt
import hashlib
import multiprocessing
import struct
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow_practices.data import DataError, hashing

ROWS = 240


@pytest.fixture
def table() -> pd.DataFrame:
    """Return rows with every usual kind of column, and gaps in some."""
    random = np.random.default_rng(0)
    days = pd.to_timedelta(random.integers(0, 900, ROWS), "D")
    frame = pd.DataFrame(
        {
            "size": random.normal(50, 10, ROWS),
            "count": random.integers(0, 9, ROWS),
            "colour": random.choice(["red", "green", "blue"], ROWS),
            "active": random.random(ROWS) > 0.5,
            "seen": pd.Timestamp("2024-01-01") + days,
            "price": random.normal(150, 30, ROWS),
            "label": random.choice(["high", "low"], ROWS),
        }
    )
    frame["size"] = frame["size"].mask(random.random(ROWS) < 0.05)
    frame["colour"] = frame["colour"].mask(random.random(ROWS) < 0.05)
    return frame


@pytest.fixture(params=[1, 7, hashing.BLOCK])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many rows a block has during the test; tables are small beside the real one."""
    monkeypatch.setattr(hashing, "BLOCK", request.param)
    return int(request.param)


def by_blocks(table: pd.DataFrame, algorithm: hashing.Algorithm = "xxh3_128") -> str:
    """Return what a cluster finds, where each block comes as a table of its own."""
    digests = [hashing.block_hash(rows.copy(), algorithm) for rows in hashing.blocks(table)]
    return hashing.combine(digests, len(table), algorithm)


def hashed(values: object, dtype: object = None) -> str:
    return hashing.content_hash(pd.DataFrame({"column": pd.Series(values, dtype=dtype)}))


@pytest.mark.usefixtures("block")
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


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("algorithm", ["xxh3_128", "sha256"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_hash_sees(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    algorithm: hashing.Algorithm,
    table: pd.DataFrame,
) -> None:
    former = hashing.content_hash(table, algorithm)
    changed = hashing.content_hash(change(table), algorithm)
    assert changed != former
    assert by_blocks(change(table), algorithm) == changed
    assert hashing.matches(table, former)
    assert not hashing.matches(table, changed)


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
    + [(["a", gap, ""], object) for gap in (np.nan, pd.NA, pd.NaT, Decimal("nan"))]
    + [(["a", None, ""], pd.ArrowDtype(pa.large_string()))]
    + [(["a", None, ""], pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string())))],
    "nothing": [
        ([None, None], "str"),
        ([np.nan, pd.NA], object),
        ([pd.NaT, None], object),
        ([None, None], "period[M]"),
        ([None, None], pd.ArrowDtype(pa.null())),
    ],
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
    "lists": [
        ([[1, 2], None], object),
        ([np.array([1, 2]), np.nan], object),
        ([[1, 2], None], pd.ArrowDtype(pa.list_(pa.int8()))),
    ],
    "months": [
        (["2024-01", None], "period[M]"),
        ([pd.Period("2024-01", "M"), None], object),
    ],
    "complex numbers": [([1j, np.nan], "complex128"), ([1j, None], object)],
}


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("columns", EQUAL.values(), ids=EQUAL.keys())
def test_how_pandas_holds_the_values_does_not_count(columns: list[tuple[object, object]]) -> None:
    assert len({hashed(values, dtype) for values, dtype in columns}) == 1


@pytest.mark.usefixtures("block")
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
    with pytest.raises(DataError, match=r"column 'column': .* make them text") as caught:
        hashed([1, value] if not isinstance(value, str) else [value], object)
    assert "secret" not in str(caught.value)


def test_a_table_is_not_copied() -> None:
    random = np.random.default_rng(0)
    rows = 8 * hashing.BLOCK
    table = pd.DataFrame(random.normal(size=(10, rows)).T)  # 84 MB
    table["missing"] = table[0].mask(table[0] > 0)
    table["text"] = random.choice(["red", "green"], rows)
    table["objects"] = table["text"].astype(object)
    table["category"] = table["text"].astype("category")
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


def packed(parts: list[bytes]) -> bytes:
    """Return each part after its number of bytes."""
    return b"".join(struct.pack("<q", len(part)) + part for part in parts)


def test_the_format_is_the_documented_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "BLOCK", 2)
    table = pd.DataFrame(
        {
            "number": [1.5, None, 2.5],
            "text": ["a", None, "bc"],
            "count": pd.Series([7, None, 8], dtype="Int16"),
            "day": pd.Series([2003, None, 0], dtype="datetime64[ns]"),
            "kind": pd.Categorical(["b", "a", "b"]),
            "scale": pd.Categorical(["b", "a", None], ["b", "a"], ordered=True),
            "any": [1, b"x", None],
        }
    )
    scale = [b"text:scale", b"ordered", struct.pack("<2q", 6, 6), b"text:btext:a"]
    parts = [struct.pack("<2q", 2, 7)]
    parts += [b"text:number", b"float64", struct.pack("<dQ", 1.5, 0x7FF8 << 48), b""]
    parts += [b"text:text", b"text", struct.pack("<2q", 1, -1), b"a"]
    parts += [b"text:count", b"int16", struct.pack("<2h", 7, 0), b"\0\1"]
    parts += [b"text:day", b"datetime", struct.pack("<2q", 2, -(2**63)), struct.pack("<2q", 3, 0)]
    parts += [b"text:kind", b"category", struct.pack("<2q", 6, 6), b"text:atext:b"]
    parts += [struct.pack("<2q", 1, 0), b"", *scale, struct.pack("<2q", 0, 1), b""]
    parts += [b"text:any", b"object", struct.pack("<2q", 5, 7), b"int:1bytes:x"]
    first = hashlib.sha256(packed(parts)).hexdigest()
    parts = [struct.pack("<2q", 1, 7)]
    parts += [b"text:number", b"float64", struct.pack("<d", 2.5), b""]
    parts += [b"text:text", b"text", struct.pack("<q", 2), b"bc"]
    parts += [b"text:count", b"int16", struct.pack("<h", 8), b""]
    parts += [b"text:day", b"datetime", struct.pack("<q", 0), b""]
    parts += [b"text:kind", b"category", struct.pack("<q", 6), b"text:b", struct.pack("<q", 0), b""]
    parts += [*scale, struct.pack("<q", -1), b""]
    parts += [b"text:any", b"text", struct.pack("<q", -1), b""]
    last = hashlib.sha256(packed(parts)).hexdigest()
    assert [hashing.block_hash(rows, "sha256") for rows in hashing.blocks(table)] == [first, last]
    whole = packed([struct.pack("<q", 3), first.encode(), last.encode()])
    assert hashing.content_hash(table, "sha256") == f"2-{hashlib.sha256(whole).hexdigest()}"
    assert hashing.matches(table.head(2), first)  # format 1: the first two rows, whole columns


def test_blocks_are_hashed_alike_in_one_process_and_in_several() -> None:
    rows = 2 * hashing.BLOCK + 5
    count = np.arange(rows)
    table = pd.DataFrame(
        {
            "number": np.where(count % 5, count / 8, np.nan),
            "text": pd.Series(["red", None, ""]).take(count % 3).array,
            "group": pd.Categorical.from_codes(count // hashing.BLOCK, ["c", "b", "a", "unused"]),
            "any": pd.Series("text", index=count, dtype=object).where(count != rows - 1, 1),
        }
    )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        digests = list(pool.map(hashing.block_hash, hashing.blocks(table)))
    assert len(set(digests)) == 3
    assert hashing.combine(digests, rows) == hashing.content_hash(table)


@pytest.mark.parametrize("algorithm", ["xxh3_128", "sha256"])
def test_rows_on_both_sides_of_a_block_s_end(
    algorithm: hashing.Algorithm, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "BLOCK", 4)
    table["group"] = table["colour"].astype("category")
    found = set()
    for rows, blocks in {0: 1, 1: 1, 3: 1, 4: 1, 5: 2, 7: 2, 8: 2, 9: 3}.items():
        part = table.head(rows)
        assert len(list(hashing.blocks(part))) == blocks
        digest = hashing.content_hash(part, algorithm)
        assert by_blocks(part, algorithm) == digest
        assert hashing.matches(part, digest)
        found.add(digest)
    assert len(found) == 8


CELLS = st.sampled_from([None, "a", "b", "", 1, 1.5, True, b"a", Decimal("1.5"), (1,)])


@given(st.lists(CELLS, max_size=9), st.integers(1, 4))
def test_however_objects_are_mixed_a_block_decides_alone(cells: list[object], block: int) -> None:
    whole = pd.DataFrame({"any": pd.Series(cells, dtype=object)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "BLOCK", block)
        digests = []
        for rows in hashing.blocks(whole):
            kept = rows["any"].dropna()
            if all(isinstance(value, str) for value in kept):  # as another machine may hold it
                rows = rows.astype("str")
            digests.append(hashing.block_hash(rows))
        assert hashing.combine(digests, len(whole)) == hashing.content_hash(whole)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=9), st.integers(1, 4))
def test_a_block_needs_its_own_categories_only(cells: list[str | None], block: int) -> None:
    column = pd.Series(cells, dtype=pd.CategoricalDtype(["c", "unused", "a", "b"]))
    whole = pd.DataFrame({"group": column})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "BLOCK", block)
        expected = hashing.content_hash(whole)
        digests = [
            hashing.block_hash(rows.assign(group=rows["group"].cat.remove_unused_categories()))
            for rows in hashing.blocks(whole)
        ]
        assert hashing.combine(digests, len(whole)) == expected
        text = whole["group"].astype(object)
        assert hashed(text) == hashed(pd.Series(cells, dtype="str")) != expected


def test_the_order_of_categories_that_share_no_block_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hashing, "BLOCK", 1)
    scales = (["a", "b"], ["b", "a"], ["a", "unused", "b"])
    found = {hashed(["a", "b"], pd.CategoricalDtype(scale, ordered=True)) for scale in scales}
    assert len(found) == 3


def test_a_table_without_rows_has_names_and_types() -> None:
    kinds: list[object] = ["float64", "int64", "str", "datetime64[us]", "category"]
    kinds += [pd.CategoricalDtype(["a", "b"], ordered=True), "datetime64[us, UTC]"]
    found = {hashed([], kind) for kind in kinds}
    assert len(found) == len(kinds)
    assert hashed([], object) == hashed([], "str")
    assert hashing.content_hash(pd.DataFrame({"another": []}, dtype=float)) not in found


def test_blocks_that_do_not_make_the_table_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "BLOCK", 2)
    table = pd.DataFrame({"a": [1, 2, 3]})
    first, last = map(hashing.block_hash, hashing.blocks(table))
    assert hashing.combine([last, first], 3) != hashing.combine([first, last], 3)
    for digests in ([first], [first, last, last]):
        with pytest.raises(DataError, match=f"3 rows are 2 blocks, not {len(digests)}"):
            hashing.combine(digests, 3)
    with pytest.raises(DataError, match=r"block 1: '2-.*' is not a digest by xxh3_128"):
        hashing.combine([hashing.content_hash(table), last], 3)
    with pytest.raises(DataError, match=r"block 2: .* is not a digest by sha256"):
        hashing.combine([hashing.block_hash(table.head(2), "sha256"), last], 3, "sha256")
    with pytest.raises(DataError, match="a block of 3 rows: at most 2"):
        hashing.block_hash(table)


def former_tables() -> dict[str, pd.DataFrame]:
    """Return tables whose digests of format 1 were kept, from before there was another."""
    count = np.arange(2**18 + 5)
    scale = ["low", "high", "top", "unused"]
    cells = ["1", 1, 1.5, True, None, b"1", Decimal("1.50"), [1, "a"], {"a": None}]
    return {
        "long": pd.DataFrame(
            {
                "number": np.where(count % 5, count / 8, np.nan),
                "text": pd.Series(["red", None, ""]).take(count % 3).array,
                "count": pd.Series(count, dtype="Int32").mask(count % 7 == 0),
                "when": pd.to_datetime(count, unit="s", utc=True),
                "group": pd.Categorical.from_codes(count // 2**17, ["c", "b", "a", "unused"]),
                "scale": pd.Categorical.from_codes(count // 2**17, scale, ordered=True),
            }
        ),
        "objects": pd.DataFrame(
            {
                "any": cells,
                "month": pd.period_range("2024-01", periods=9, freq="M"),
                "no month": pd.Series([None] * 9, dtype="period[M]"),
                "nothing": [None] * 9,
                "text": pd.Series([*"abcdefgh", np.nan], dtype=object),
            }
        ),
        "no rows": pd.DataFrame({"number": pd.Series(dtype=float), "any": pd.Series(dtype=object)}),
        "nothing": pd.DataFrame(),
    }


# Manifests hold such digests: a change of either format refuses all data prepared before it.
KEPT = {
    "long": (
        "2-36207a47c1b0505eb9fd758e77bb862f",
        "2eff81a77c64cac5b41939cf202ad835",
        "d8d3c10286dfcced9ee63efafbdd5dfd7738d02f9bb142b708304ddb3aca0c7c",
    ),
    "objects": (
        "2-5e478803da66e9b83703ff05adc701b3",
        "515973f518f0bfe9a0f6301a5e78cb1b",
        "d3723155e0e7c3831e383f506ca8b8211a27caee5fce39eaacfb85f3fe5bb2f2",
    ),
    "no rows": (
        "2-6821c6d8017414878619074cf4b11d35",
        "78ddce1c5a5ec8fb1e011f3368a00590",
        "c85784f8998b992c583a1d3d194f484f43cd45718dc5657f3367f716115783c4",
    ),
    "nothing": (
        "2-ceb42918b4aeb8f38375133c1ff1040f",
        "7c924d91a117d1e6203322a8290dd047",
        "7a06e4e6da128e3f3b86519181c45d4fea1677eea62c1fadebb281892e650331",
    ),
}


def test_digests_of_every_format_stay_verifiable() -> None:
    tables = former_tables()
    assert {name: hashing.content_hash(each) for name, each in tables.items()} == {
        name: digests[0] for name, digests in KEPT.items()
    }
    for name, digests in KEPT.items():
        for digest in digests:
            for other, each in tables.items():
                assert hashing.matches(each, digest) == (name == other), (name, other, digest)
    changed = tables["long"].copy()
    changed.loc[2**17, "number"] += 1
    assert not any(hashing.matches(changed, digest) for digest in KEPT["long"])
    assert len(KEPT["long"][0]) <= 36  # what MLflow takes as a data set's digest


@pytest.mark.parametrize("digest", [f"3-{'a' * 32}", f"1-{'a' * 32}", "new-a-b"])
def test_a_format_that_is_unknown_is_refused(digest: str, table: pd.DataFrame) -> None:
    version = digest.rpartition("-")[0]
    with pytest.raises(DataError, match=f"of format {version} are unknown here"):
        hashing.matches(table, digest)


@pytest.mark.parametrize("digest", ["", "2-", "1a2b3c4d", f"2-{'a' * 33}"])
def test_what_is_no_digest_is_refused(digest: str, table: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="is no content hash"):
        hashing.matches(table, digest)
