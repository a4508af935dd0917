"""``range(..., where=...)``: the points whose rows meet conditions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import polars as pl
import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from rstore import JsonStore, Store, StorePayloadError
from rstore.domain.scalars import is_missing
from rstore.domain.streams import TS, Stream
from rstore.encoding import envelope
from tests.conftest import Backend, in_turn
from tests.properties.test_properties import SETTINGS

FRAME = pl.DataFrame(
    {"t": [1, 2, 3, 4], "a": [1.5, None, float("nan"), -2.0], "b": ["x", "y", None, "x"], "c": [1, 2**62, 3, 4]}
)
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, others: value in others,
    "not in": lambda value, others: value not in others,
}


@pytest.fixture
def series(store: Store) -> Store:
    """A store with the same rows as a frame and as points, and with numbers."""
    store.extend("frame", FRAME)
    store.extend("points", *((row.pop("t"), row) for row in FRAME.to_dicts()))
    store.extend("numbers", (1, 1), (2, 2.5), (3, None), (4, 4))
    return store


@in_turn("key", ["frame", "points"])
@in_turn(
    ("where", "times"),
    [
        (("a", ">", 0), [1]),
        (("a", "!=", 7), [1, 4]),
        (("a", "==", -2), [4]),
        ([("a", "<=", 1.5), ("b", "==", "x")], [1, 4]),
        ([("a", "<=", 1.5), ("a", ">", 0)], [1]),
        (("b", "in", ["x", "z"]), [1, 4]),
        (("b", "not in", {"x"}), [2]),
        (("b", ">=", "y"), [2]),
        (("c", ">", 2**62 - 1), [2]),
        (("c", "==", 3.0), [3]),
        ([["c", "<", 0]], []),
        ([], [1, 2, 3, 4]),
    ],
)
def test_points_that_meet_conditions(series: Store, key: str, where: Any, times: list[int]) -> None:
    assert [time for time, _ in series.range(key, where=where)] == times
    assert [time for time, _ in series.points(key, where=where)] == times
    frame = series.range(key, where=where, to="polars")
    assert frame.to_series(0).to_list() == times
    if key == "frame":
        assert frame.equals(FRAME.filter(pl.col("t").is_in(times)))


def test_values_that_are_no_rows_are_the_column_value(series: Store) -> None:
    assert series.range("numbers", where=("value", ">", 1)) == [(2, 2.5), (4, 4)]
    series.extend("series", pd.Series([1.5, 2.5], [1, 2], name="price"))
    assert series.range("series", where=("value", ">", 2)) == [(2, 2.5)]
    assert series.range("series", where=("price", ">", 2), to="pandas").to_list() == [2.5]


@in_turn("key", ["frame", "points"])
def test_n_freq_and_columns_are_of_what_is_left(series: Store, key: str) -> None:
    assert series.range(key, n=1, where=("c", ">", 1), columns="b") == [(2, "y")]
    assert series.range(key, n=-1, where=("c", "<", 4), columns=["b"]) == [(3, {"b": None})]
    assert series.range(key, 2, freq=2, where=("c", "!=", 3), columns="c") == [(2, 2**62), (4, 4)]
    frame = series.range(key, n=-2, where=("c", "<", 4), columns=["b"], to="polars")
    assert frame["b"].to_list() == ["x", None]
    assert frame.width == 2


def test_many_series_have_the_same_conditions(series: Store) -> None:
    found = series.range_many(["frame", "points"], where=("a", ">", 0), columns="c")
    assert found == {"frame": [(1, 1)], "points": [(1, 1)]}


def test_columns_may_be_others_than_those_of_the_conditions(series: Store) -> None:
    series.extend("mixed", (1, {"a": 1}), (2, 5), (3, {"a": 7, "value": 9}), (4, {"b": 1}))

    for where, times in ((("value", ">", 3), [2, 3]), (("b", "==", 1), [4])):
        assert [time for time, _ in series.range("mixed", where=where)] == times
        assert series.range("mixed", where=where, columns="a") == [(time, {3: 7}.get(time)) for time in times]
        frame = series.range("mixed", where=where, columns=["a"], to="polars")
        assert frame["time"].to_list() == times
        assert frame.columns == ["time", "a"]


@in_turn("points", [pd.Series([1.5, 2.5], [2, 3], name="price"), pd.DataFrame({"price": [1.5, 2.5]}, [2, 3])])
def test_the_only_column_keeps_its_name_where_frames_overlap(store: Store, points: Any) -> None:
    store.extend("one", points.set_axis([1, 2]))
    store.extend("one", points)

    assert store.range("one", where=("price", ">", 1)) == [(1, 1.5), (2, 1.5), (3, 2.5)]
    assert store.range("one", n=-1, where=("price", "<", 2)) == [(2, 1.5)]
    assert store.range("one", where=("price", ">", 2), columns=["price"]) == [(3, {"price": 2.5})]
    assert store.range("one", where=("price", ">", 2), to="pandas").squeeze() == 2.5


@in_turn("columns", [None, "a"])
@in_turn("key", ["frame", "points"])
@in_turn("to", [None, "pandas"])
def test_a_condition_on_a_column_that_no_point_has_is_an_error(
    series: Store, key: str, to: str | None, columns: str | None
) -> None:
    with pytest.raises(ValueError, match="has a column 'x'"):
        series.range(key, where=("x", ">", 1), columns=columns, to=to)


@in_turn("to", [None, "pandas"])
def test_a_column_that_no_point_has_is_an_error(series: Store, to: str | None) -> None:
    with pytest.raises(ValueError, match=r"has a column 'x': 'a', 'b', 'c'"):
        series.range("frame", where=("x", ">", 1), to=to)
    with pytest.raises(ValueError, match="has a column 'x'"):
        series.range("numbers", where=[("value", ">", 9), ("x", ">", 1)], to=to)
    assert series.range("none", where=("x", ">", 1)) == []


@in_turn("key", ["frame", "points"])
def test_values_that_cannot_be_compared_are_a_type_error(series: Store, key: str) -> None:
    for to in (None, "polars"):
        with pytest.raises(TypeError, match="not supported") as caught:
            series.range(key, where=("b", "<", 3), to=to)
        assert "'b'" in caught.value.__notes__[0]
    assert series.range(key, where=("b", "==", 3)) == []


@in_turn(
    ("where", "error", "message"),
    [
        (3, TypeError, "where is"),
        ("a > 3", TypeError, "where is"),
        ([("a", ">")], TypeError, "a condition is"),
        ([(1, ">", 3)], TypeError, "a condition is"),
        (("a", "=>", 3), ValueError, "a comparison is one of"),
        (("a", "in", "xy"), TypeError, "a list of values"),
        (("a", "in", 3), TypeError, "a list of values"),
    ],
)
def test_wrong_conditions(store: Store, where: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        store.range("a", where=where)


def test_segments_whose_values_cannot_meet_them_are_not_read(store: Store, loaded: list[int]) -> None:
    rows = 200_000
    store.extend("long", pd.DataFrame({"a": np.arange(rows), "b": np.arange(rows) / 2}, np.arange(rows)))
    segments = rows // 32768 + 1
    assert sum(1 for _ in store._core.log.read(Stream(TS, "long"))) == segments
    for to in (None, "numpy"):
        loaded.clear()
        found = store.range("long", where=[("a", ">=", 100_000), ("b", "<", 50_001)], columns="a", to=to)
        values = found[1].tolist() if to else [value for _, value in found]
        assert values == [100_000, 100_001]
        assert len(loaded) == 1
        loaded.clear()
        store.range("long", where=("a", "<", 0), to=to)
        assert loaded == []


def test_a_part_of_a_segment_may_not_meet_them(store: Store) -> None:
    store.extend("long", pd.Series(np.arange(5000.0), np.arange(5000)))
    store.extend("long", (150, 7.5), (4000, -1.0))

    for to in (None, "numpy"):
        assert len(store.range("long", 100, end=200, where=("value", "<", 0), to=to)) == (2 if to else 0)
        found = store.range("long", 3000, where=("value", "<", 0), to=to)
        assert (found[0].tolist() if to else [time for time, _ in found]) == [4000]
        found = store.range("long", 100, end=200, where=("value", "<", 101), to=to)
        assert (found[0].tolist() if to else [time for time, _ in found]) == [100, 150]


@in_turn(
    ("dtype", "stored", "comparison", "value", "meets"),
    [
        ("f4", 0.1, "==", 0.1, False),
        ("f4", 0.1, "==", float(np.float32(0.1)), True),
        ("f4", 0.1, ">", 0.1, True),
        ("f8", 2.0**53, "==", 2**53 + 1, False),
        ("f8", 2.0**53, "<", 2**53 + 1, True),
        ("f8", 1.0, "<", 10**400, True),
        ("i8", 2**53 + 1, "==", 2.0**53, False),
        ("i8", -1, "<", 2**70, True),
        ("u8", 2**63, ">", -1, True),
        ("u8", 2**63, "!=", 2**63, False),
        ("i2", 5, "<", 10**6, True),
        ("?", True, "==", 1, True),
    ],
)
def test_arrays_are_compared_as_values_are(
    store: Store, dtype: str, stored: Any, comparison: str, value: Any, meets: bool
) -> None:
    key = f"{dtype} {comparison} {value}"[:100]
    store.extend(key, pd.DataFrame({"v": np.array([stored], dtype), "w": [1]}, [1]))

    assert len(store.range(key, where=("v", comparison, value))) == meets
    assert len(store.range(key, where=("v", comparison, value), to="pandas")) == meets


def test_a_segment_that_is_passed_over_has_its_columns(store: Store) -> None:
    store.extend("long", pd.DataFrame({"a": np.arange(5000), "b": np.arange(5000)}, np.arange(5000)))
    store.extend("long", (9000, {"a": 1}))

    assert store.range("long", where=("a", "<", 0), columns="b") == []
    assert len(store.range("long", where=("a", "<", 0), columns="b", to="pandas")) == 0
    assert store.range("long", where=[("a", "==", 1), ("b", "<", 0)]) == []


def test_what_a_segment_hides_stays_hidden(store: Store) -> None:
    store.extend("long", (5, 100.0), (4000, 100.0))
    store.extend("long", pd.Series(np.zeros(3000), np.arange(3000)))

    assert store.range("long", where=("value", ">", 1)) == [(4000, 100.0)]
    assert store.range("long", where=("value", ">", 1), to="pandas").index.to_list() == [4000]
    store.extend("long", (7, 50.0))
    store.remove("long", start=3500)
    assert store.range("long", where=("value", ">", 1)) == [(7, 50.0)]


def test_a_value_that_cannot_be_loaded_is_an_error(backend: Backend) -> None:
    class Fragile(JsonStore):
        def _load(self, data: Any) -> Any:
            if "broken" in data:
                raise ValueError("broken")
            return super()._load(data)

    store = backend.store(Fragile)
    store.extend("abc", (1, 1), (2, 5))
    store.extend("abc", (3, "broken"))
    for to in (None, "pandas"):
        with pytest.raises(StorePayloadError):
            store.range("abc", where=("value", ">", 2), to=to)
    assert store.range("abc", end=2, where=("value", ">", 2)) == [(2, 5)]


def test_a_transaction_and_a_view_filter_what_they_show(series: Store) -> None:
    with series.transaction():
        series.extend("numbers", (5, 9), (2, 0))
        assert series.range("numbers", where=("value", ">", 2)) == [(4, 4), (5, 9)]
    with freeze_time("2126-01-01"):
        series.remove("numbers")
        series.extend("frame", (1, {"a": -1.0}))
    then = series.at("2100-01-01T00:00Z")
    assert then.range("numbers", where=("value", ">", 2)) == [(4, 4), (5, 9)]
    assert then.range("frame", where=("a", ">", 1), columns="a") == [(1, 1.5)]
    assert series.range("frame", where=("a", ">", 1), columns="a") == []


# -- as Python does it ------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**53, 2**53 + 1, 2**62, -(2**62), 0.1, 0.5, -0.0, 1e300, float("inf")]),
    st.floats(width=32, allow_nan=False),
)
CONDITIONS = st.tuples(st.sampled_from(list(COMPARED)), st.lists(NUMBERS, min_size=1, max_size=2))
TYPES = {"f8": float, "f4": np.float32, "i8": int, "i2": np.int16, "u8": np.uint64, "b1": bool}
DTYPES = {"f8": "f8", "f4": "f4", "i8": "i8", "i2": "i2", "u8": "u8", "b1": "?"}


def fitting(kind: str, values: list[Any]) -> np.ndarray[Any, Any]:
    with np.errstate(all="ignore"):
        if kind in ("f8", "f4"):
            return np.array(values, "f8").astype(DTYPES[kind])
        whole = [int(value) if abs(value) < 2**63 else 0 for value in values]
        return np.array([value % 2**15 if kind == "i2" else abs(value) for value in whole]).astype(DTYPES[kind])


@SETTINGS
@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from(list(TYPES)), st.integers(0, 8), st.lists(st.none() | NUMBERS, min_size=1, max_size=6)
        ),
        min_size=1,
        max_size=4,
    ),
    conditions=st.lists(CONDITIONS, max_size=2),
    n=st.none() | st.integers(-3, 3),
    summed=st.booleans(),
)
def test_rows_are_filtered_as_python_does(
    parts: list[tuple[str, int, list[Any]]], conditions: list[tuple[str, list[Any]]], n: int | None, summed: bool
) -> None:
    where = [("v", name, values if "in" in name else values[0]) for name, values in conditions]
    with mock.patch.object(envelope, "SUMMED_FROM", 1 if summed else 1000), Store("memory://", frozen=False) as store:
        for kind, start, values in parts:
            absent = [value is None for value in values]
            array = fitting(kind, [0 if value is None else value for value in values])
            column = pl.Series(array)
            column = pl.select(pl.when(~pl.Series(absent)).then(column)).to_series()
            times = list(range(start, start + len(values)))
            store.extend("abc", pl.DataFrame({"t": times, "v": column, "w": times}))
        expected = [
            (time, row)
            for time, row in store.range("abc")
            if not where
            or (not is_missing(row["v"]) and all(COMPARED[name](row["v"], value) for _, name, value in where))
        ]
        expected = expected if n is None else expected[n:] if n < 0 else expected[:n]
        assert store.range("abc", where=where, n=n) == expected
        frame = store.range("abc", where=where, n=n, to="polars")
        assert frame["t"].to_list() == [time for time, _ in expected]
        assert store.range("abc", where=where, n=n, columns="w") == [(time, row["w"]) for time, row in expected]
