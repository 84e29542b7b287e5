"""A row that comes again is answered from the cache; another row, or another version, never is."""

import asyncio
import math
import time
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from mlflow_practices.model.input_schema import Columns
from mlflow_practices.serving import cache, redis_store
from mlflow_practices.serving.settings import Cache
from mlflow_practices.serving.stores import LocalStore, Prediction, Store

Row = tuple[float, str | None, bool | None, int | None]

NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, math.nan, -math.nan]))
TEXTS = st.one_of(st.none(), st.text(max_size=4), st.sampled_from(["", "nan", "None", "True"]))
DATES = st.one_of(st.none(), st.integers(-(2**62), 2**62))  # nanoseconds
ROWS = st.tuples(NUMBERS, TEXTS, st.sampled_from([None, True, False]), DATES)


def table(*rows: Row) -> Columns:
    numbers, texts, booleans, dates = zip(*rows, strict=True)
    never = np.datetime64("NaT").view("int64")
    days = np.array([never if date is None else date for date in dates], "int64")
    return {
        "number": np.array(numbers, "float64"),
        "text": np.array(texts, object),
        "boolean": np.array(booleans, object),
        "date": days.view("datetime64[ns]"),
    }


def numbers(*values: float) -> Columns:
    return {"x": np.array(values, "float64")}


class Doubling:
    """A model that doubles, which remembers the rows that it was asked for."""

    def __init__(self, seconds: float = 0) -> None:
        self.asked: list[list[float]] = []
        self.seconds = seconds

    async def __call__(self, columns: Columns) -> list[Prediction]:
        self.asked.append(columns["x"].tolist())
        await asyncio.sleep(self.seconds)
        return [value * 2 for value in self.asked[-1]]


def local(**changes: object) -> LocalStore:
    return LocalStore(Cache.model_validate({"mode": "always", **changes}))


def ask(
    store: Store | None, model: cache.Predict, *values: float, version: str = "1"
) -> tuple[list[Prediction], int]:
    return asyncio.run(cache.cache_model_predictions(store, version, numbers(*values), model))


@hypothesis.settings(database=None, deadline=None)
@hypothesis.given(ROWS, ROWS, st.sets(st.integers(0, 3)))
def test_keys_differ_where_rows_differ_and_only_there(
    one: Row, another: Row, changed: set[int]
) -> None:
    other: Any = (*(another[i] if i in changed else one[i] for i in range(4)),)
    same = one[1:] == other[1:] and np.array_equal(one[0], other[0], equal_nan=True)
    keys = cache.row_keys("1", table(one, other))
    assert (keys[0] == keys[1]) == same
    assert [key for row in (one, other) for key in cache.row_keys("1", table(row))] == keys
    assert not set(keys) & set(cache.row_keys("2", table(one, other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([True], object), np.array(["True"], object)),
        (np.array([True], object), np.array([1.0])),
        (np.array([None], object), np.array([math.nan])),
        (np.array([1.0]), np.array(["1.0"], object)),
        (np.array([0.0]), np.array([0], "datetime64[ns]")),
    ],
)
def test_kinds_are_not_mixed_up(one: np.ndarray, other: np.ndarray) -> None:
    assert cache.row_keys("1", {"x": one}) != cache.row_keys("1", {"x": other})


def test_texts_do_not_flow_into_each_other() -> None:
    rows = [("ab", "c"), ("a", "bc"), ("abc", ""), ('a","b', "c"), ("", "abc"), (None, "abc")]
    one, other = (np.array(values, object) for values in zip(*rows, strict=True))
    assert len(set(cache.row_keys("1", {"a": one, "b": other}))) == len(rows)


def test_equal_numbers_have_one_key_whatever_their_bits() -> None:
    assert len(set(cache.row_keys("1", numbers(0.0, -0.0, math.nan, -math.nan)))) == 2


def test_keys_are_the_same_on_every_machine() -> None:
    rows = table((-0.0, "é", True, 1), (math.nan, None, None, None))
    assert [key.hex() for key in cache.row_keys("models:/m-1", rows)] == [
        "d4f76d737a267bd5a162319e32875788",
        "374aa84ac0c29b90ae601bbee85b10ae",
    ]


def test_only_unknown_rows_are_computed_each_once_and_answered_in_order() -> None:
    store, model = local(), Doubling()
    assert ask(store, model, 1, 2, 3) == ([2, 4, 6], 0)
    assert ask(store, model, 3, 4, 1, 5, 4, 2) == ([6, 8, 2, 10, 8, 4], 3)
    assert model.asked[1] == [4, 5]
    assert ask(store, model, 5, 5) == ([10, 10], 2)
    assert len(model.asked) == 2
    assert (store.hits, store.misses) == (5, 6)


def test_another_version_never_gets_an_old_answer() -> None:
    store, model = local(), Doubling()
    ask(store, model, 1)
    assert ask(store, model, 1, version="2") == ([2], 0)
    assert model.asked == [[1], [1]]


def test_a_batch_over_the_limit_or_without_rows_goes_past_the_cache() -> None:
    store, model = local(max_rows=2), Doubling()
    for values in ([1, 2, 3], [1, 2, 3], []):
        assert ask(store, model, *values) == ([value * 2 for value in values], 0)
    assert (store.hits, store.misses) == (0, 0)


def test_the_least_recently_used_rows_make_room() -> None:
    store, model = local(max_entries=3), Doubling()
    for value in (1, 2, 3, 1, 4):
        ask(store, model, value)
    model.asked.clear()
    assert ask(store, model, 1, 3, 4, 2) == ([2, 6, 8, 4], 3)
    assert model.asked == [[2]]


def test_answers_expire() -> None:
    store, model = local(ttl_seconds=1), Doubling()
    ask(store, model, 1)
    assert ask(store, model, 1) == ([2], 1)
    time.sleep(1.01)
    assert ask(store, model, 1) == ([2], 0)


@pytest.mark.parametrize(
    ("seconds", "rows", "status"),
    [
        (0.01, 1000, "on for up to 1000 rows: a look-up takes 0."),
        (0, 0, "off: a look-up takes 0."),
    ],
)
def test_a_cache_is_off_where_the_model_is_as_fast(seconds: float, rows: int, status: str) -> None:
    store, model = local(mode="auto"), Doubling()
    assert [ask(store, model, 1)[1] for _ in range(2)] == [0, 0]  # not measured yet
    asyncio.run(cache.measure_benefit(store, numbers(1, 2), lambda size: size * seconds))
    assert store.largest_batch == rows
    assert store.status.startswith(status)
    assert [ask(store, model, 1)[1] for _ in range(2)] == [0, min(rows, 1)]


def test_only_batches_for_which_a_look_up_is_faster_are_looked_up() -> None:
    store = local(mode="auto", max_rows=50)
    seconds = {1: 1.0, 10: 1.0, 50: 0.0}
    asyncio.run(cache.measure_benefit(store, numbers(1, 2), seconds.__getitem__))
    assert store.largest_batch == 10


def test_no_store_is_made_where_it_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(redis_store.URL_VARIABLE, raising=False)
    assert cache.open_store(Cache(mode="never")) is None
    assert isinstance(cache.open_store(Cache()), LocalStore)
    assert ask(None, Doubling(), 1) == ([2], 0)


@pytest.mark.parametrize("address", ["http://u:s3cret@host", "redis://u:s3cret@host:port/0"])
def test_a_wrong_address_is_refused_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(redis_store.URL_VARIABLE, address)
    with pytest.raises(
        redis_store.CacheError, match="REDIS_URL is not the address of a Redis"
    ) as caught:
        cache.open_store(Cache())
    assert "s3cret" not in str(caught.value)
