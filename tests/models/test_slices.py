"""Slices of series: the last points, and some columns; read like a slice of a dict in order of time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from rstore import JsonStore, Store, StorePayloadError
from rstore.domain.log import Record, Rewrite
from rstore.domain.streams import TS, Stream
from rstore.encoding import columns
from tests.conftest import Backend, in_turn
from tests.properties.test_properties import SETTINGS

ROWS = [(1, {"a": 1, "b": 1.5}), (2, {"a": 2, "b": 2.5}), (3, {"a": 3, "b": 3.5})]
FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, 2.5, 3.5], "c": list("xyz")}, index=[1, 2, 3])


@pytest.fixture
def series(store: Store) -> Store:
    """A store with points that came one by one, in bulk, and late."""
    for time in (1, 2, 3):
        store.extend("abc", (time, time))
    store.extend("abc", *((time, time) for time in range(4, 40)))
    store.extend("abc", (20, "late"))
    store.remove("abc", start=35)
    return store


# -- the last points --------------------------------------------------------------------------------------------------


@in_turn("n", [-1, -2, -14, -15, -16, -33, -34, -1000, 0])
def test_a_negative_n_counts_from_the_end(series: Store, n: int) -> None:
    expected = [(time, "late" if time == 20 else time) for time in range(1, 35)]
    expected = expected[n:] if n else []

    assert series.range("abc", n=n) == list(series.points("abc", n=n)) == expected
    assert series.range("abc", n=n, to="polars")["time"].to_list() == [time for time, _ in expected]


def test_the_last_points_are_those_of_the_span_and_of_those_kept_by_freq(series: Store) -> None:
    assert series.range("abc", 4, end=10, n=-2) == [(9, 9), (10, 10)]
    assert series.range("abc", 9, end=10, n=-3) == [(9, 9), (10, 10)]
    assert series.range("abc", 10, end=9, n=-3) == series.range("abc", 35, n=-3) == series.range("other", n=-3) == []
    assert series.range("abc", end=10, freq=4, n=-2) == series.range("abc", end=10, freq=4)[-2:] == [(5, 5), (9, 9)]
    assert series.range("abc", end=10, freq=4, n=-2, to="polars")["time"].to_list() == [5, 9]


def test_the_last_points_in_a_transaction_and_in_a_view(series: Store) -> None:
    with series.transaction():
        series.extend("abc", (50, "new"))
        assert series.range("abc", n=-2) == [(34, 34), (50, "new")]
        series.remove("abc", start=50)
        assert series.range("abc", n=-2) == [(33, 33), (34, 34)]
        series.extend("abc", (50, "new"))
    with freeze_time("2126-01-01"):
        series.remove("abc", start=3)
    assert series.range("abc", n=-2) == [(1, 1), (2, 2)]
    assert series.at("2100-01-01T00:00Z").range("abc", n=-2) == [(34, 34), (50, "new")]


def test_the_last_points_are_read_without_the_first_ones(store: Store, loaded: list[int]) -> None:
    for low in range(0, 100_000, 1000):
        store.extend("long", *((time, time) for time in range(low, low + 1000)))

    assert store.range("long", n=-3) == [(time, time) for time in (99_997, 99_998, 99_999)]
    assert set(loaded) == {99_000}


@in_turn("freq", [None, 1])
@in_turn("to", [None, "numpy"])
def test_the_first_points_are_read_without_the_last_ones(
    store: Store, loaded: list[int], to: str | None, freq: int | None
) -> None:
    for low in (0, 10, 20):
        store.extend("abc", *((time, time) for time in range(low, low + 10)))

    loaded.clear()
    assert len(store.range("abc", n=0, freq=freq, columns="x", to=to)) == (0 if to is None else 2)
    assert loaded == []
    for n in (1, 10):
        loaded.clear()
        found = store.range("abc", n=n, freq=freq, to=to)
        assert len(found if to is None else found[0]) == n
        assert set(loaded) == {0}


def test_a_value_before_the_last_points_may_be_damaged(backend: Backend) -> None:
    class Fragile(JsonStore):
        def _load(self, data: Any) -> Any:
            if "broken" in data:
                raise ValueError("broken")
            return super()._load(data)

    store = backend.store(Fragile)
    for time, value in ((1, "x"), (2, "broken"), (3, "y"), (4, "z")):
        store.extend("abc", (time, value))

    assert store.range("abc", n=-2) == [(3, "y"), (4, "z")]
    with pytest.raises(StorePayloadError, match="loading it failed"):
        store.range("abc", n=-3)


def test_what_is_written_meanwhile_gives_no_mixture(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each read of the log another writer replaces all values: no answer has those of two writes."""
    store.extend("abc", *((time, 0) for time in range(10)))
    read, moves = type(store._core.log).read, iter(range(1, 20))

    def moving(self: Any, *args: Any) -> Iterator[Record]:
        move = next(moves)
        store.extend("abc", *((time, move) for time in range(10)))
        return read(self, *args)

    monkeypatch.setattr(type(store._core.log), "read", moving)
    found = store.range("abc", n=-5)

    assert [time for time, _ in found] == [5, 6, 7, 8, 9]
    assert len({value for _, value in found}) == 1


# -- columns ----------------------------------------------------------------------------------------------------------


def stored(store: Store, form: str) -> Store:
    if form == "points":
        store.extend(form, *((time, {**row, "c": "?xyz"[time]}) for time, row in ROWS))
    elif form == "a frame":
        store.extend(form, FRAME)
    else:
        store.extend(form, FRAME.iloc[:2])
        store.extend(form, (3, {"a": 3, "b": 3.5, "c": "z"}))
    return store


FORMS = ("points", "a frame", "a frame and a point")


@in_turn("form", FORMS)
def test_columns_of_rows_are_chosen_in_the_order_of_the_caller(store: Store, form: str) -> None:
    stored(store, form)

    found = store.range(form, columns=["b", "a"])
    assert found == [(time, {"b": row["b"], "a": row["a"]}) for time, row in ROWS]
    assert all(list(row) == ["b", "a"] for _, row in found)
    assert store.range(form, columns=["a"]) == [(time, {"a": row["a"]}) for time, row in ROWS]
    assert store.range(form, 2, columns="a") == [(2, 2), (3, 3)]
    assert store.range(form, n=-1, columns="a") == store.range(form, 3, n=1, columns="a") == [(3, 3)]
    assert list(store.points(form, freq=2, columns="b")) == [(1, 1.5), (3, 3.5)]
    assert store.range(form, n=-2, columns=("a", "a")) == [(2, {"a": 2}), (3, {"a": 3})]


@in_turn("form", FORMS)
def test_columns_of_frames_are_chosen_in_the_order_of_the_caller(store: Store, form: str) -> None:
    stored(store, form)

    frame = store.range(form, columns=["b", "a"], to="pandas")
    assert list(frame.columns) == ["b", "a"]
    assert frame["b"].dtype == "f8"
    assert frame["b"].to_list() == [1.5, 2.5, 3.5]
    assert list(store.range(form, columns=["c"], to="pandas").columns) == ["c"]
    alone = store.range(form, columns="b", to="pandas")
    assert isinstance(alone, pd.Series)
    assert (alone.name, alone.to_list()) == ("b", [1.5, 2.5, 3.5])
    assert store.range(form, n=-1, columns="b", to="polars").columns == ["time", "b"]
    _, values = store.range(form, 2, columns="a", to="numpy")
    assert values.tolist() == [2, 3]
    assert list(store.range(form, 9, columns=["b", "a"], to="pandas").columns) == ["b", "a"]


def test_a_frame_of_one_column_has_that(store: Store) -> None:
    store.extend("one", pl.DataFrame({"t": [1, 2], "price": [1.5, 2.5]}))

    assert store.range("one") == [(1, 1.5), (2, 2.5)]
    assert store.range("one", columns=["price"]) == [(1, {"price": 1.5}), (2, {"price": 2.5})]
    assert store.range("one", columns="price") == store.range("one")
    assert store.range("one", columns=["price"], to="polars").equals(store.range("one", to="polars"))


def test_a_row_without_a_column_has_none_there(store: Store) -> None:
    store.extend("mixed", FRAME[["a"]].iloc[:1])
    store.extend("mixed", FRAME[["b", "c"]].iloc[1:2])
    store.extend("mixed", (3, {"b": 9.5}), (4, "no row"))

    rows = [{"a": 1, "b": None}, {"a": None, "b": 2.5}, {"a": None, "b": 9.5}, {"a": None, "b": None}]
    assert [row for _, row in store.range("mixed", columns=["a", "b"])] == rows
    assert [value for _, value in store.range("mixed", columns="b")] == [None, 2.5, 9.5, None]
    assert store.range("mixed", columns=["a", "b"], to="polars").drop("time").to_dicts() == rows
    assert store.range("mixed", columns="b", to="polars").drop("time").to_dicts() == [{"b": row["b"]} for row in rows]


@in_turn("form", FORMS)
def test_a_column_that_no_point_has_is_an_error(store: Store, form: str) -> None:
    stored(store, form)

    for to in (None, "pandas"):
        with pytest.raises(ValueError, match=r"none of these points of .* has a column 'x'") as caught:
            store.range(form, columns=["a", "x"], to=to)
        assert form == "points" or "'a', 'b', 'c'" in str(caught.value)
    with pytest.raises(ValueError, match="'x'"):
        list(store.points(form, columns="x"))
    assert store.range(form, 9, columns="x") == store.range("no series", columns="x") == []
    assert store.range("no series", columns="x", to="polars").height == 0


def test_values_that_are_no_rows_have_no_columns(store: Store) -> None:
    store.extend("numbers", (1, 2), (3, 4))

    with pytest.raises(ValueError, match="'value'"):
        store.range("numbers", columns="value")


@in_turn(
    ("wrong", "error"), [([], ValueError), (3, TypeError), ([3], TypeError), ({"a"}, TypeError), (b"a", TypeError)]
)
def test_columns_are_names(store: Store, wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="columns"):
        store.range("abc", columns=wrong)
    with pytest.raises(error, match="columns"):
        store.points("abc", columns=wrong)


def test_no_other_column_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.extend("wide", pd.DataFrame({name: np.random.default_rng(1).standard_normal(5000) for name in "abcdef"}))
    kinds: list[slice] = []
    values = columns._values

    def counted(kind: str, place: slice, *args: Any) -> Any:
        kinds.append(place)
        return values(kind, place, *args)

    monkeypatch.setattr(columns, "_values", counted)
    one = store.range("wide", columns="d", to="numpy")[1]
    assert len(kinds) == 1
    assert one.tolist() == store.range("wide", to="pandas")["d"].to_list()


def test_damage_in_another_column_does_not_matter_in_clear() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("wide", pd.DataFrame({name: np.random.default_rng(1).standard_normal(70_000) for name in "ab"}))
        (record, *_) = store._core.log.read(Stream(TS, "wide"))
        data = record.data[:-100] + bytes([record.data[-100] ^ 1]) + record.data[-99:]
        store._core.log.rewrite([Rewrite(Stream(TS, "wide"), None, [record.version], [record._replace(data=data)])])

        assert len(store.range("wide", columns="a")) == 70_000
        with pytest.raises(StorePayloadError, match="damaged"):
            store.range("wide", columns="b")


def test_the_first_values_of_a_long_segment_are_made_alone() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("wide", pd.DataFrame({name: np.arange(60_000.0) for name in "abcdefgh"}))
        tracemalloc.start()
        assert len(list(islice(store.points("wide", columns=["a", "b"]), 3))) == 3
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 3 << 20


# -- as a dict does it ------------------------------------------------------------------------------------------------

TIMES = st.integers(0, 12)
ROW = st.fixed_dictionaries({}, optional={"a": st.integers(0, 9), "b": st.floats(0, 1)})
POINTS = st.lists(st.tuples(TIMES, st.integers(0, 9) | ROW))
FRAMES = st.tuples(st.sets(TIMES, min_size=1), st.sampled_from([("a",), ("a", "b"), ("b", "c")]))
SPANS = st.tuples(st.integers(-1, 13), st.integers(-1, 13))
WRITES = st.one_of(POINTS, FRAMES, SPANS.map(lambda span: slice(*span)))


def written(store: Store, model: dict[int, Any], write: Any) -> None:
    """Write to a store and to a model of it, whose values are rows or values that are in none."""
    if isinstance(write, slice):
        store.remove("abc", start=write.start, end=write.stop)
        for time in [time for time in model if write.start <= time <= write.stop]:
            del model[time]
    elif isinstance(write, list):
        store.extend("abc", *write)
        model.update(write)
    else:
        times, names = sorted(write[0]), write[1]
        frame = pd.DataFrame({name: [time / 4 for time in times] for name in names}, index=times)
        store.extend("abc", frame)
        model.update((time, dict.fromkeys(names, time / 4)) for time in times)


@SETTINGS
@given(
    writes=st.lists(WRITES, max_size=8),
    queries=st.lists(st.tuples(SPANS, st.none() | st.integers(-5, 5), st.none() | st.integers(1, 4)), max_size=6),
)
def test_slices_of_a_series_are_slices_of_a_dict(
    writes: list[Any], queries: list[tuple[tuple[int, int], int | None, int | None]]
) -> None:
    with Store("memory://", frozen=False) as store:
        model: dict[int, Any] = {}
        for write in writes:
            written(store, model, write)
        for (start, end), n, freq in queries:
            expected = sliced(model, start, end, n, freq)
            times = [time for time, _ in expected]
            found = store.range("abc", start, end=end, n=n, freq=freq)
            assert found == list(store.points("abc", start, end=end, n=n, freq=freq))
            assert [time for time, _ in found] == times
            rows = [value if isinstance(value, dict) else {} for _, value in expected]
            known = {name for row in rows for name in row}
            if {"a", "b"} <= known:
                chosen = [{"b": row.get("b"), "a": row.get("a")} for row in rows]
                assert store.range("abc", start, end=end, n=n, freq=freq, columns=["b", "a"]) == list(
                    zip(times, chosen, strict=True)
                )
                frame = store.range("abc", start, end=end, n=n, freq=freq, columns=["b", "a"], to="polars")
                assert frame.drop("time").to_dicts() == chosen


def sliced(model: dict[int, Any], start: int, end: int, n: int | None, freq: int | None) -> list[tuple[int, Any]]:
    kept: list[tuple[int, Any]] = []
    for time in sorted(model):
        if start <= time <= end and (not kept or freq is None or time >= kept[-1][0] + freq):
            kept.append((time, model[time]))
    if n is None:
        return kept
    return kept[:n] if n >= 0 else kept[n:]


@in_turn("dtype", ["f8", "i8"])
def test_the_first_point_of_long_segments_is_the_first_that_is_seen(store: Store, dtype: str) -> None:
    times = np.cumsum(np.random.default_rng(1).integers(1, 5, 5000))
    store.extend(dtype, pd.Series(np.arange(5000).astype(dtype), times))
    first, second = int(times[0]), int(times[1])

    assert store.first(dtype) == (first, 0)
    store.extend(dtype, (first, 7))
    assert store.first(dtype) == (first, 7)
    store.remove(dtype, end=first)
    assert store.first(dtype) == (second, 1)
    store.extend(dtype, (int(times[-1]) + 1, 8))
    store.remove(dtype, end=int(times[-2]))
    assert store.first(dtype) == (int(times[-1]), 4999)
    store.remove(dtype, end=int(times[-1]))
    assert store.first(dtype) == (int(times[-1]) + 1, 8)
    store.remove(dtype)
    assert store.first(dtype) is None
