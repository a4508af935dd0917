"""``extend(..., unless_equal=True)``: points that a series has already are not stored again."""

from __future__ import annotations

import datetime
import tracemalloc
from contextlib import nullcontext
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstore import FrozenStoreError, JsonStore, Store, StoreConflictError, StoreNotAvailableError
from rstore.domain.streams import TS, Stream
from rstore.models.differing import Differing
from tests.conftest import Backend, in_turn
from tests.properties.test_properties import SETTINGS

NAN = float("nan")
ABC = [(10, "a"), (20, "b"), (30, "c")]
DAYS = pd.date_range("2026-01-01", periods=3, freq="D")
FRAME = pd.DataFrame(
    {
        "price": [1.5, NAN, -0.0],
        "size": pd.array([1, None, 3], "Int64"),
        "name": ["x", None, "z"],
        "seen": DAYS,
        "other": [1, "two", (3,)],
    },
    index=DAYS,
)


def records(store: Store, key: str = "abc") -> int:
    return sum(1 for _ in store._core.log.read(Stream(TS, key)))


def stored(store: Store, *points: Any, **options: Any) -> list[tuple[int, Any]]:
    """Extend the series ``abc``, and return the points that were stored."""
    before = store.version("abc", kind="ts")
    store.extend("abc", *points, unless_equal=True, **options)
    core, stream = store._core, Stream(TS, "abc")
    found = [record for record in core.log.read(stream) if record.version > before]
    return [
        point
        for record in found
        for point in zip(*map(list, core.envelope.run(stream, record)), strict=True)  # type: ignore[arg-type]
    ]


@pytest.fixture
def series(store: Store) -> Store:
    """A store with the series ``abc``."""
    store.extend("abc", *ABC)
    return store


def test_points_that_are_there_are_not_stored_again(series: Store) -> None:
    version = series.version("abc", kind="ts")

    for points in (ABC, iter(ABC), ABC[::-1], ABC[1:2], ABC * 2, []):
        series.extend("abc", points, unless_equal=True)
    assert series.version("abc", kind="ts") == version
    assert series.range("abc") == ABC
    assert stored(series, (10, "a"), (20, "B"), (25, "new"), (30, "c")) == [(20, "B"), (25, "new")]
    assert series.range("abc") == [(10, "a"), (20, "B"), (25, "new"), (30, "c")]


def test_a_new_series_gets_all_points(store: Store) -> None:
    store.extend("abc", ABC, unless_equal=True)
    store.remove("abc")
    store.extend("abc", ABC, unless_equal=True)
    store.extend("def", FRAME, unless_equal=True)

    assert store.range("abc") == ABC
    assert store.range("def", to="pandas").equals(FRAME)


def test_what_was_removed_or_replaced_is_not_there_any_more(series: Store) -> None:
    series.remove("abc", start=20, end=20)
    series.extend("abc", (30, "C"))

    assert stored(series, *ABC) == [(20, "b"), (30, "c")]
    assert series.range("abc") == ABC


@in_turn(
    ("there", "given"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (None, NAN),
        ("1", 1),
        ((1,), [1]),
        ({"a": 1}, {"a": 1.0}),
        ({1: 1}, {True: 1}),
        ({1, 2}, {True, 2}),
        ({1}, {1, 2}),
        (frozenset({0.0}), frozenset({-0.0})),
        (Decimal(1), Decimal("1.0")),
        (datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)),
        (np.float64(1), 1.0),
    ],
)
def test_equal_means_of_the_same_type_and_value(store: Store, there: Any, given: Any) -> None:
    store.extend("abc", (1, there))
    assert len(stored(store, (1, given))) == 1
    assert type(store.last("abc")[1]) is type(given)  # type: ignore[index]


@in_turn(
    "value",
    [
        *(NAN, None, -0.0, 2**70, b"", [NAN, {"a": (NAN,)}], {"b": 1, "a": 2}, Decimal("1.10"), DAYS[0]),
        *({1, 9, 17}, {"a", "b", ("c", 1.5)}, frozenset("xyz"), np.arange(3), np.arange(6)[::2]),
    ],
)
def test_equal_values_of_any_type_are_left_out(store: Store, value: Any) -> None:
    from copy import deepcopy

    store.extend("abc", (1, value))
    assert stored(store, (1, deepcopy(value))) == []
    assert stored(store, (1, value)) == []  # a view of an array is one still, of which a copy is none


def test_values_that_cannot_be_compared_are_stored(store: Store) -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    store.extend("abc", (1, [[]]))
    assert len(stored(store, (1, deep))) == 1
    store.extend("abc", (1, deep), unless_equal=True)
    assert store.range("abc") == [(1, deep)]


class Remote:
    """A value that is pickled by what it reads elsewhere, which fails as often as there are errors."""

    errors: ClassVar[list[Exception]] = []

    def __reduce__(self) -> tuple[type[Remote], tuple[()]]:
        if self.errors:
            raise self.errors.pop()
        return Remote, ()


@in_turn(("error", "is_raised"), [(StoreNotAvailableError("gone"), True), (MemoryError(), True), (ValueError(), False)])
def test_an_error_that_is_not_of_the_values_ends_a_comparison(store: Store, error: Exception, is_raised: bool) -> None:
    store.extend("abc", (1, Remote()))
    before = records(store)
    Remote.errors.append(error)
    with pytest.raises(type(error)) if is_raised else nullcontext():
        store.extend("abc", (1, Remote()), unless_equal=True)
    assert Remote.errors == []
    assert records(store) == before + (not is_raised)


def test_a_store_with_its_own_dump_compares_what_it_would_read(backend: Backend) -> None:
    store = backend.store(JsonStore)
    store.extend("abc", (1, (1, 2)), (2, {"a": NAN}), (3, 1))

    assert stored(store, (1, (1, 2)), (2, {"a": NAN}), (3, 1.0)) == [(3, 1.0)]
    store.extend("frame", FRAME)
    version = store.version("frame", kind="ts")
    store.extend("frame", FRAME, unless_equal=True)
    assert store.version("frame", kind="ts") == version


def test_a_value_that_cannot_be_loaded_differs(backend: Backend) -> None:
    class Fragile(JsonStore):
        def _load(self, data: Any) -> Any:
            if "broken" in data:
                raise ValueError("broken")
            return super()._load(data)

    store = backend.store(Fragile)
    store.extend("abc", (1, "x"), (2, "broken"))

    assert len(list(store._core.log.read(Stream(TS, "abc")))) == 1
    store.extend("abc", (1, "x"), (2, "mended"), unless_equal=True)
    assert store.range("abc") == [(1, "x"), (2, "mended")]


# -- frames -----------------------------------------------------------------------------------------------------------


def test_rows_that_are_there_are_not_stored_again(store: Store) -> None:
    store.extend("abc", FRAME)
    version = store.version("abc", kind="ts")

    store.extend("abc", FRAME, unless_equal=True)
    store.extend("abc", FRAME[::-1], unless_equal=True)
    store.extend("abc", FRAME[FRAME.columns[::-1]], unless_equal=True)
    store.extend("abc", store.range("abc"), unless_equal=True)
    assert store.version("abc", kind="ts") == version

    changed = FRAME.copy()
    changed.loc[DAYS[1], "size"] = 0
    later = pd.concat([changed, FRAME.iloc[:1].set_axis(DAYS[-1:] + pd.Timedelta(days=1))])
    assert [row["size"] for _, row in stored(store, later)] == [0, 1]
    assert store.range("abc", to="pandas")["size"].to_list() == [1, 0, 3, 1]


@in_turn("column", list(FRAME.columns))
def test_a_column_that_differs_is_noticed(store: Store, column: str) -> None:
    store.extend("abc", FRAME)
    changed = FRAME.copy()
    changed[column] = FRAME[column].shift(1)  # each value but the missing ones differs from the one after it

    assert [time for time, _ in stored(store, changed)] == [time for time, _ in store.range("abc")]
    store.remove("abc")


def test_points_and_frames_are_compared_as_they_read(store: Store) -> None:
    store.extend("abc", (1, 1.5), (2, NAN), (3, 4))
    assert stored(store, pl.DataFrame({"t": [1, 2, 3], "v": [1.5, NAN, 4.0]})) == [(3, 4.0)]
    store.extend("rows", (1, {"a": 1, "b": 2}))
    version = store.version("rows", kind="ts")
    store.extend("rows", pl.DataFrame({"t": [1], "b": [2], "a": [1]}), unless_equal=True)
    assert store.version("rows", kind="ts") == version
    store.extend("rows", pl.DataFrame({"t": [1], "a": [1]}), unless_equal=True)
    assert store.range("rows") == [(1, 1)]


def test_many_series_of_a_frame_are_compared_each(store: Store) -> None:
    frame = pl.DataFrame({"t": [1, 1, 2], "who": ["a", "b", "a"], "v": [1.5, 2.5, 3.5]})
    store.extend("abc", frame, key_column="who")
    versions = [store.version(f"abc/{who}", kind="ts") for who in "ab"]

    store.extend("abc", frame, key_column="who", unless_equal=True)
    assert [store.version(f"abc/{who}", kind="ts") for who in "ab"] == versions
    store.extend("abc", frame.with_columns(v=pl.Series([1.5, 9.5, 3.5])), key_column="who", unless_equal=True)
    assert store.version("abc/a", kind="ts") == versions[0]
    assert store.range("abc/b") == [(1, 9.5)]


# -- with the other options -------------------------------------------------------------------------------------------


def test_expect_is_checked_though_nothing_is_stored(series: Store) -> None:
    version = series.version("abc", kind="ts")
    series.extend("abc", *ABC, unless_equal=True, expect=version)
    for points in (ABC, [(10, "A"), (20, "b")]):
        with pytest.raises(StoreConflictError):
            series.extend("abc", points, unless_equal=True, expect=0)
    series.extend("abc", (10, "A"), (20, "b"), unless_equal=True, expect=version)
    assert series.range("abc", n=2) == [(10, "A"), (20, "b")]


def test_once_is_used_though_nothing_is_stored(series: Store) -> None:
    series.extend("abc", *ABC, unless_equal=True, once="today")
    series.extend("abc", (10, "changed"))
    series.extend("abc", *ABC, unless_equal=True, once="today")
    assert series.first("abc") == (10, "changed")


@in_turn("unless_equal", [False, True])
@in_turn("points", [ABC, pd.Series([1.5], [1])])
def test_a_repeated_call_expects_what_was_there_before_the_first(store: Store, points: Any, unless_equal: bool) -> None:
    store.extend("abc", points, expect=0, once="today", unless_equal=unless_equal)
    version = store.version("abc", kind="ts")
    store.extend("abc", points[:1], expect=0, once="today", unless_equal=unless_equal)

    assert store.version("abc", kind="ts") == version
    with pytest.raises(StoreConflictError):
        store.extend("abc", points, expect=0, once="tomorrow", unless_equal=unless_equal)


def test_in_a_transaction_points_are_compared_with_those_written_in_it(series: Store) -> None:
    with series.transaction():
        series.extend("abc", (40, "d"))
        series.extend("abc", *ABC, (40, "d"), (50, "e"), unless_equal=True)
    assert series.range("abc") == [*ABC, (40, "d"), (50, "e")]
    assert records(series) == 3


def test_a_frozen_store_and_a_view_refuse(backend: Backend, key: str | None) -> None:
    backend.store(key=key).extend("abc", *ABC)
    store = backend.store(key=key, frozen=True)
    for refusing in (store, store.at(2**50)):
        with pytest.raises(FrozenStoreError):
            refusing.extend("abc", *ABC, unless_equal=True)  # type: ignore[union-attr]


# -- other writers, odd orders, much --------------------------------------------------------------------------------


def racing(monkeypatch: pytest.MonkeyPatch, store: Store, *points: Any) -> None:
    """Let another writer extend the series once, after points were compared."""
    differ, left = Differing._differ, [points]

    def and_race(self: Differing, run: Any) -> list[bool]:
        found = differ(self, run)
        if left:
            store.extend("abc", *left.pop())
        return found

    monkeypatch.setattr(Differing, "_differ", and_race)


def test_another_writer_makes_no_mixture(series: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 and 20 each writer gives both, and one of them is the later one."""
    racing(monkeypatch, series, (10, "theirs"), (20, "theirs"))
    series.extend("abc", [(10, "a"), (20, "ours")], unless_equal=True)

    assert series.range("abc", n=2) == [(10, "a"), (20, "ours")]


def test_points_of_an_iterator_are_refused_then(series: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    racing(monkeypatch, series, (10, "theirs"), (20, "theirs"))
    with pytest.raises(StoreConflictError):
        series.extend("abc", iter([(10, "a"), (20, "ours")]), unless_equal=True)

    assert series.range("abc", n=2) == [(10, "theirs"), (20, "theirs")]
    racing(monkeypatch, series, (10, "again"))
    series.extend("abc", iter([(10, "new"), (20, "new")]), unless_equal=True)  # all differ: nothing can be mixed
    assert series.range("abc", n=2) == [(10, "new"), (20, "new")]


def test_the_last_of_equal_times_counts_however_far_apart_they_are(store: Store) -> None:
    store.extend("abc", (5, "last"))
    far = [(5, "first"), *((time, 0) for time in range(100, 70_100)), (5, "last")]

    store.extend("abc", far, unless_equal=True)
    assert store.first("abc") == (5, "last")


def test_what_lies_between_far_points_is_passed_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for low in range(0, 200_000, 20_000):
        store.extend("abc", *((time, time) for time in range(low, low + 20_000)))
    loaded: list[int] = []
    run = type(store._core.envelope).run

    def counted(self: Any, stream: Any, record: Any, *args: Any, **options: Any) -> Any:
        loaded.append(record.start)
        return run(self, stream, record, *args, **options)

    monkeypatch.setattr(type(store._core.envelope), "run", counted)
    store.extend("abc", (1, 1), (199_999, "new"), unless_equal=True)
    assert len(loaded) < 8
    assert store.last("abc") == (199_999, "new")


def test_much_is_compared_in_constant_memory() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("abc", ((time, str(time)) for time in range(300_000)))
        version = store.version("abc", kind="ts")
        tracemalloc.start()
        store.extend("abc", ((time, str(time)) for time in range(300_000)), unless_equal=True)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert store.version("abc", kind="ts") == version
        assert most < 40 << 20


# -- as a dict does it ------------------------------------------------------------------------------------------------

VALUES = st.sampled_from([0, 0.0, -0.0, NAN, None, "a", {"a": 1.0}, {"a": NAN, "b": 1.0}])
POINTS = st.lists(st.tuples(st.integers(0, 9), VALUES), min_size=1, max_size=6)
FRAMES = st.dictionaries(st.integers(0, 9), st.sampled_from([0.0, -0.0, NAN, 1.0]), min_size=1).flatmap(
    lambda rows: st.sampled_from(
        [
            pl.DataFrame({"t": list(rows), "v": list(rows.values())}),
            pl.DataFrame({"t": list(rows), "a": list(rows.values()), "b": [1.0] * len(rows)}),
        ]
    )
)


@SETTINGS
@given(writes=st.lists(st.tuples(POINTS | FRAMES, st.booleans()), max_size=8))
def test_a_series_reads_the_same_with_and_without(writes: list[tuple[Any, bool]]) -> None:
    with Store("memory://", frozen=False) as store, Store("memory://", frozen=False) as plain:
        for points, again in writes:
            for _ in range(1 + again):
                before, version = repr(store.range("abc")), store.version("abc", kind="ts")
                store.extend("abc", points, unless_equal=True)
                plain.extend("abc", points)
                assert repr(store.range("abc")) == repr(plain.range("abc"))
                assert (store.version("abc", kind="ts") == version) == (repr(store.range("abc")) == before)
