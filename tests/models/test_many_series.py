"""Many series at once."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import pandas as pd
import polars as pl
import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from rstore import FrozenStoreError, Store, StoreConflictError, StorePayloadError
from rstore.core import Reading
from rstore.domain.log import Batch, Entry, Query, Record, ReplayQuery
from rstore.domain.streams import TS, Stream
from rstore.models import together
from tests.conftest import Backend, case, in_turn
from tests.properties.test_properties import SETTINGS

FRAME = pl.DataFrame({"t": [1, 2], "a": [1.5, 2.5], "b": ["x", None]})


# -- extend_many ------------------------------------------------------------------------------------------------------


def test_points_of_several_series_are_stored_together(store: Store) -> None:
    store.extend_many({"a": [(2, "y"), (1, "x")], "b": iter([(1, 1)]), "c": (7, "alone"), "d": FRAME, "e": [], "": ()})

    assert store.range("a") == [(1, "x"), (2, "y")]
    assert store.range("b") == [(1, 1)]
    assert store.range("c") == [(7, "alone")]
    assert store.range("d", to="polars").equals(FRAME)
    assert store.timeseries() == ["a", "b", "c", "d"]
    assert len({change.recorded for change in store.log(kind="ts")}) == 1
    store.extend_many({})
    store.extend_many({"d": FRAME.clear()})
    assert store.timeseries() == ["a", "b", "c", "d"]


@in_turn(
    ("wrong", "error", "message"),
    [
        ([(1, 1), 2], TypeError, "point 1 is not a"),
        ([(2**63, 1)], OverflowError, "point 0"),
        ([("noon", 1)], TypeError, "point 0"),
        (3, TypeError, "points are"),
        (pl.DataFrame({"t": [1, 1], "v": [1, 2]}), ValueError, "twice"),
        (pl.DataFrame({"t": ["noon"], "v": [1]}), TypeError, "no column is known to hold the times"),
    ],
)
def test_one_that_is_wrong_leaves_nothing_and_is_named(
    store: Store, wrong: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        store.extend_many({"fine": [(1, 1)], "wrong": wrong})
    assert "'wrong'" in caught.value.__notes__[0]
    assert store.timeseries() == []


def test_series_are_a_dict(store: Store) -> None:
    with pytest.raises(TypeError, match="a dict"):
        store.extend_many([("a", [(1, 1)])])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="key must be a str"):
        store.extend_many({1: [(1, 1)]})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="duplicates"):
        store.extend_many({}, duplicates="first")  # type: ignore[arg-type]


def test_points_cannot_be_refused_for_their_times(store: Store) -> None:
    with pytest.raises(ValueError, match="of points the last of one time counts"):
        store.extend_many({"a": FRAME, "b": [(1, 1)]}, duplicates="refuse")
    assert store.timeseries() == []


def test_duplicates_are_those_of_frames(store: Store) -> None:
    store.extend_many({"a": pl.DataFrame({"t": [1, 1], "v": [1, 2]}), "b": [(1, 1), (1, 2)]}, duplicates="last")
    assert store.range("a") == store.range("b") == [(1, 2)]


def test_points_that_are_there_are_not_stored_again(store: Store) -> None:
    series = {"a": [(1, "x"), (2, "y")], "b": FRAME, "c": [(1, 1)]}
    store.extend_many(series)
    versions = [store.version(key, kind="ts") for key in series]

    store.extend_many(series, unless_equal=True)
    assert [store.version(key, kind="ts") for key in series] == versions
    store.extend_many({**series, "a": iter([(1, "x"), (2, "Y")])}, unless_equal=True)
    assert [store.version(key, kind="ts") == old for key, old in zip(series, versions, strict=True)] == [
        False,
        True,
        True,
    ]
    assert store.range("a") == [(1, "x"), (2, "Y")]


def test_in_a_transaction_they_are_part_of_it(store: Store) -> None:
    def give_up() -> None:
        with store.transaction():
            store.extend_many({"a": [(1, 1)], "b": FRAME})
            assert store.last("a") == (1, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()
    assert store.timeseries() == []
    with store.transaction():
        store["key"] = 1
        store.extend_many({"a": [(1, 1)], "b": FRAME})
    assert store.timeseries() == ["a", "b"]


def test_another_writer_of_one_of_them_makes_no_mixture(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.extend_many({"a": [(1, 0), (2, 0)], "b": [(1, 0)]})
    append, left = type(store._core.writer).append, [1]

    def racing(self: Any, batches: Any) -> Any:
        if left and len(batches) > 1:
            left.pop()
            store.extend("a", (1, "theirs"), (2, "theirs"))
        return append(self, batches)

    monkeypatch.setattr(type(store._core.writer), "append", racing)
    store.extend_many({"a": [(1, 0), (2, "ours")], "b": [(1, "ours")]}, unless_equal=True)
    assert store.range("a") == [(1, 0), (2, "ours")]
    left.append(1)
    with pytest.raises(StoreConflictError):
        store.extend_many({"a": iter([(1, 0), (2, "new")]), "b": [(1, "new")]}, unless_equal=True)
    assert store.range("a") == [(1, "theirs"), (2, "theirs")]
    assert store.range("b") == [(1, "ours")]


def test_a_frozen_store_and_a_view_refuse_them(backend: Backend, key: str | None) -> None:
    backend.store(key=key).extend("a", (1, 1))
    store = backend.store(key=key, frozen=True)
    for refusing in (store, store.at(2**50)):
        with pytest.raises(FrozenStoreError):
            refusing.extend_many({"a": [(2, 2)]})  # type: ignore[union-attr]


# -- range_many -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stocks(store: Store) -> Store:
    """A store with series whose keys have something in common."""
    store.extend_many(
        {"stocks/a": [(1, 1.5), (2, 2.5)], "stocks/b": [(2, 7)], "stocks": [(1, 0)], "stocks/*": [(9, 9)]}
    )
    return store


def test_series_are_read_by_their_keys(stocks: Store) -> None:
    assert stocks.range_many(["stocks/b", "stocks/a", "none", "stocks/b"]) == {
        "stocks/b": [(2, 7)],
        "stocks/a": [(1, 1.5), (2, 2.5)],
        "none": [],
    }
    assert list(stocks.range_many(iter(["stocks/b", "stocks"]))) == ["stocks/b", "stocks"]
    assert stocks.range_many(["stocks/*"]) == {"stocks/*": [(9, 9)]}
    assert stocks.range_many([]) == {}


def test_series_are_read_by_a_pattern(stocks: Store) -> None:
    assert list(stocks.range_many("stocks/*")) == ["stocks/*", "stocks/a", "stocks/b"]
    assert stocks.range_many("stocks/[ab]", 2, end=2) == {"stocks/a": [(2, 2.5)], "stocks/b": [(2, 7)]}
    assert stocks.range_many("stocks/[ab]", n=-1) == {"stocks/a": [(2, 2.5)], "stocks/b": [(2, 7)]}
    assert stocks.range_many("stocks") == {"stocks": [(1, 0)]}
    assert stocks.range_many("bonds/*") == {}


def test_a_view_and_a_transaction_show_their_own(stocks: Store) -> None:
    with stocks.transaction():
        stocks.extend("stocks/a", (3, 3.5))
        stocks.extend("stocks/c", (3, 3.5))
        assert stocks.range_many("stocks/[a-z]", 3) == {
            "stocks/a": [(3, 3.5)],
            "stocks/b": [],
            "stocks/c": [(3, 3.5)],
        }
    with freeze_time("2126-01-01"):
        stocks.remove("stocks/a")
        stocks.extend("stocks/d", (1, 1))
    assert list(stocks.range_many("stocks/[a-z]")) == ["stocks/b", "stocks/c", "stocks/d"]
    then = stocks.at("2100-01-01T00:00Z")
    assert list(then.range_many("stocks/[a-z]")) == ["stocks/a", "stocks/b", "stocks/c"]
    assert then.range_many("stocks/a", n=1) == {"stocks/a": [(1, 1.5)]}


def test_a_frame_for_each_of_them(stocks: Store) -> None:
    found = stocks.range_many("stocks/[ab]", to="polars")
    assert list(found) == ["stocks/a", "stocks/b"]
    assert all(found[key].equals(stocks.range(key, to="polars")) for key in found)


def test_a_long_frame(stocks: Store) -> None:
    frame = stocks.range_many(["stocks/b", "none", "stocks/a"], to="polars", shape="long")
    assert frame.columns == ["time", "key", "value"]
    assert frame.rows() == [(2, "stocks/b", 7.0), (1, "stocks/a", 1.5), (2, "stocks/a", 2.5)]
    assert stocks.range_many(["none"], to="polars", shape="long").columns == ["time", "key", "value"]
    assert stocks.range_many([], to="pandas", shape="long").columns.to_list() == ["key", "value"]


def test_a_wide_frame(stocks: Store) -> None:
    frame = stocks.range_many(["stocks/b", "none", "stocks/a"], to="polars", shape="wide")
    assert frame.columns == ["time", "stocks/b", "none", "stocks/a"]
    assert frame.rows() == [(1, None, None, 1.5), (2, 7, None, 2.5)]
    assert frame["stocks/b"].dtype == pl.Int64
    shown = stocks.range_many("stocks/[ab]", to="pandas", shape="wide")
    assert shown["stocks/a"].dtype == "f8"
    assert shown["stocks/b"].dtype == "Int64"
    assert stocks.range_many([], to="pandas", shape="wide").empty


def test_frames_of_rows(store: Store) -> None:
    store.extend_many({"a": FRAME, "b": pl.DataFrame({"t": [2], "a": [9.5], "c": ["z"]})})

    long = store.range_many(["a", "b"], to="polars", shape="long")
    assert long.columns == ["t", "key", "a", "b", "c"]
    assert long.rows() == [(1, "a", 1.5, "x", None), (2, "a", 2.5, None, None), (2, "b", 9.5, None, "z")]
    wide = store.range_many(["a", "b"], to="polars", shape="wide")
    assert wide.columns == ["t", "a/a", "a/b", "b/a", "b/c"]
    assert wide.rows() == [(1, 1.5, "x", None, None), (2, 2.5, None, 9.5, "z")]
    one = store.range_many(["a", "b"], columns="a", to="polars", shape="wide")
    assert one.rows() == [(1, 1.5, None), (2, 2.5, 9.5)]
    assert one.columns == ["t", "a", "b"]
    with pytest.raises(ValueError, match="'a' has a column 'c'"):
        store.range_many(["a", "b"], columns=["c"])


def test_times_of_several_units_and_zones(store: Store) -> None:
    hours = pd.date_range("2026-01-01", periods=2, freq="h", tz="Europe/Berlin", unit="s")
    store.extend_many(
        {
            "berlin": pd.Series([1.5, 2.5], hours),
            "tokyo": pd.Series([3.5], hours[1:].tz_convert("Asia/Tokyo").as_unit("ms")),
            "naive": pd.Series([0.5], hours[:1].tz_localize(None)),
            "ints": pd.Series([0.5], [1]),
        }
    )

    for to in ("pandas", "polars", "arrow", "numpy"):
        store.range_many(["berlin", "tokyo"], to=to, shape="long")
    wide = store.range_many(["berlin", "tokyo"], to="pandas", shape="wide")
    assert wide.index.to_list() == hours.to_list()
    assert (str(wide.index.tz), wide.index.unit) == ("UTC", "ms")
    assert wide["tokyo"].isna().to_list() == [True, False]
    assert str(store.range_many(["berlin"], to="pandas", shape="wide").index.tz) == "Europe/Berlin"
    for other, problem in (("naive", "time zone"), ("ints", "plain ints")):
        for shape in ("long", "wide"):
            with pytest.raises(ValueError, match=problem):
                store.range_many(["berlin", other], to="pandas", shape=shape)
    assert len(store.range_many(["berlin", "ints"], to="pandas")) == 2


def test_names_that_come_twice_are_refused(store: Store) -> None:
    store.extend_many({"a": pl.DataFrame({"t": [1], "b": [1], "key": [2]}), "a/b": [(1, 1)]})
    with pytest.raises(ValueError, match="names of their own"):
        store.range_many(["a", "a/b"], to="polars", shape="wide")
    with pytest.raises(ValueError, match="'a' have a column 'key'"):
        store.range_many(["a", "a/b"], to="polars", shape="long")


@in_turn(
    ("options", "message"),
    [
        ({"shape": "long"}, "pass to="),
        ({"shape": "tall", "to": "pandas"}, "shape is one of"),
        ({"to": "excel"}, "to is one of"),
        ({"columns": "x"}, "none of these points"),
    ],
)
def test_wrong_arguments_of_range_many(stocks: Store, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stocks.range_many(["stocks/a"], **options)


TYPES = st.sampled_from(["f8", "i8", "text", "any"])
SERIES = st.dictionaries(st.sampled_from(["a", "b", "c/d"]), st.tuples(TYPES, st.sets(st.integers(0, 5))), max_size=3)


@SETTINGS
@given(series=SERIES)
def test_frames_hold_what_the_series_hold(series: dict[str, tuple[str, set[int]]]) -> None:
    make: dict[str, Any] = {"f8": float, "i8": int, "text": str, "any": lambda time: [time]}
    with Store("memory://", frozen=False) as store:
        model = {key: {time: make[kind](time) for time in sorted(times)} for key, (kind, times) in series.items()}
        for key, points in model.items():
            store.extend(key, points.items())
        keys = [key for key, points in model.items() if points]
        long = store.range_many(model, to="pandas", shape="long")
        rows = long.reset_index().to_dict("records")
        assert [row["key"] for row in rows] == [key for key in keys for _ in model[key]]
        wide = store.range_many(model, to="pandas", shape="wide")
        assert wide.index.to_list() == sorted({time for points in model.values() for time in points})
        for key in keys:
            present = wide[key].dropna()
            assert dict(zip(present.index.tolist(), present.tolist(), strict=True)) == model[key]


# -- many at once -----------------------------------------------------------------------------------------------------


OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"start": 40, "end": 4000},
    {"n": 5},
    {"n": 100},
    {"n": 0},
    {"n": -1},
    {"n": -100},
    {"n": -3, "end": 60},
    {"freq": 50},
    {"freq": 50, "n": -2},
    {"columns": "a"},
    {"columns": ["b", "a"], "n": 3},
    {"where": ("a", ">", 1)},
    {"where": [("a", ">", 1), ("a", "<", 5)], "n": -2},
    {"start": 50, "end": 20},
)


@pytest.fixture
def various(store: Store) -> list[str]:
    """Series of all sorts, with few records and with many; all have points with rows."""
    keys = [f"s{i}" for i in range(12)]
    store.extend_many(dict.fromkeys(keys, FRAME))
    for t in range(100):
        store.extend_many({key: [(10 * t + i, t)] for i, key in enumerate(keys[:3])})
    store.extend_many({key: ((t, {"a": t % 7, "b": None}) for t in range(3000, 3400)) for key in keys[2:6]})
    store.remove(*keys[1:8:3], start=5, end=45)
    store.extend_many({key: ((t, 50 + t % 10) for t in range(3300, 3310)) for key in keys[3:5]})
    store.remove("s11")
    return [*keys, "none"]


@in_turn("options", OPTIONS)
def test_each_of_many_is_what_range_returns(store: Store, various: list[str], options: dict[str, Any]) -> None:
    several = [key for key in various if "columns" not in options or key not in {"s11", "none"}]
    assert store.range_many(several, **options) == {key: store.range(key, **options) for key in several}
    frames = store.range_many(several, to="polars", **options)
    assert all(frame.equals(store.range(key, to="polars", **options)) for key, frame in frames.items())


def test_of_the_past_and_in_a_transaction_too(store: Store) -> None:
    with freeze_time("2024-01-01"):
        store.extend_many({key: [(t, 1) for t in range(5)] for key in "abc"})
    with freeze_time("2024-01-02"):
        for t in range(80):
            store.extend("b", (t, 2))
        store.remove("c")
    then = store.at(datetime(2024, 1, 1, 12, tzinfo=UTC))
    for options in ({}, {"n": -2}, {"start": 2}):
        assert then.range_many("*", **options) == {key: then.range(key, **options) for key in "abc"}
    with store.transaction():
        store.extend("a", (9, 9), (2, "new"))
        store.remove("b", start=10)
        store.extend("d", (1, 1))
        for options in ({}, {"n": -2}, {"start": 2}):
            assert store.range_many("abcd", **options) == {}
            assert store.range_many(list("abcd"), **options) == {key: store.range(key, **options) for key in "abcd"}


def test_another_writer_of_what_was_read_in_a_transaction_is_a_conflict(
    backend: Backend, store: Store, key: str | None
) -> None:
    store.extend_many({"a": [(1, 1)], "b": [(1, 1)]})

    def add() -> None:
        with store.transaction():
            found = store.range_many(["a", "b"])
            backend.store(key=key).extend("a", (2, 2))
            store.extend("sum", (1, found["a"][0][1] + found["b"][0][1]))

    with pytest.raises(StoreConflictError):
        add()
    assert store.range("sum") == []


def test_datetimes_count_in_the_unit_of_each(store: Store) -> None:
    index = pd.date_range("2024-01-01", periods=3, freq="D")
    store.extend_many({unit: pd.Series([1, 2, 3], index.as_unit(unit)) for unit in ("s", "ms", "ns")})
    found = store.range_many(["s", "ms", "ns", "none"], "2024-01-02", n=1)
    assert [[value for _, value in points] for points in found.values()] == [[2], [2], [2], []]
    assert found["s"][0][0] * 1000 == found["ms"][0][0]


def counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the calls of a log from now on, without those that it makes itself."""
    log, calls, inside = store._core.base, dict.fromkeys(("read", "replay", "head"), 0), list[str]()

    def counting(name: str, call: Any) -> Any:
        def count(*args: Any, **options: Any) -> Any:
            calls[name] += not inside
            inside.append(name)
            try:
                return call(*args, **options)
            finally:
                inside.pop()

        return count

    for name in calls:
        monkeypatch.setattr(log, name, counting(name, getattr(log, name)))
    return calls


def test_many_are_read_in_as_few_looks_as_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{i:03}" for i in range(200)]
    for t in range(3):
        store.extend_many({key: [(t, t)] for key in keys})
    calls = counted(store, monkeypatch)
    for options, most in (({}, 1), ({"start": 1, "end": 1}, 1), ({"n": 2}, 1), ({"n": -1}, 2), ({"to": "polars"}, 3)):
        calls.update(replay=0)
        store.range_many(keys, **options)
        with case(options):
            assert calls == {"read": 0, "replay": calls["replay"], "head": 0}
            assert calls["replay"] <= 4 * most  # where sizes are not known beforehand, pages grow


def test_there_is_room_for_some_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{i:02}" for i in range(60)]
    store.extend_many({key: [(t, bytes(100 * int(key))) for t in range(3)] for key in keys})
    expected = {key: store.range(key, n=-2) for key in keys}
    monkeypatch.setattr(together, "PAGE_BYTES", 20_000)
    monkeypatch.setattr(together, "PAGE", 50)
    calls = counted(store, monkeypatch)
    assert store.range_many(keys, n=-2) == expected
    assert calls["replay"] > 6


@pytest.mark.parametrize("change", ["extend", "compact", "remove"])
def test_a_long_series_that_changes_while_it_is_read_is_read_again(
    backend: Backend, store: Store, key: str | None, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    changes = {
        "extend": lambda other: other.extend("long", (-5, "new"), (3, "over")),
        "compact": lambda other: other.compact(),
        "remove": lambda other: other.remove("long", start=0, end=50),
    }
    for t in range(150):
        store.extend("long", (t, t))
    store.extend("short", (1, 1))
    other, log = backend.store(key=key), store._core.base
    replay, left = log.replay, [1]

    def racing(*args: Any, **options: Any) -> Any:
        found = replay(*args, **options)
        if left:
            left.pop()
            changes[change](other)
        return found

    monkeypatch.setattr(log, "replay", racing)
    found = store.range_many(["long", "short"])
    assert not left
    assert found == {"long": store.range("long"), "short": [(1, 1)]}


class Look(NamedTuple):
    """A look at many streams: what was asked for, and how many of that were answered."""

    asked: list[ReplayQuery]
    answers: int


def looks_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Look]:
    """Return the looks from now on."""
    log, looks = store._core.base, list[Look]()
    replay = log.replay

    def noted(queries: Any, room: int | None = None) -> Any:
        found = replay(queries, room)
        looks.append(Look(list(queries), len(found)))
        return found

    monkeypatch.setattr(log, "replay", noted)
    return looks


def test_after_a_look_that_had_no_room_for_all_few_more_are_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{i:02}" for i in range(40)]
    store.extend_many({key: [(1, bytes(5_000))] for key in keys})
    monkeypatch.setattr(together, "PAGE_BYTES", 1)
    looks = looks_of(store, monkeypatch)
    assert list(store.range_many(keys).values()) == [[(1, bytes(5_000))]] * len(keys)
    assert len(looks[0].asked) == len(keys) > looks[0].answers
    assert all(len(after.asked) <= 2 * before.answers for before, after in pairwise(looks))


def test_a_first_look_is_at_few_records_and_the_rest_is_read_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [Stream(TS, key) for key in "ab"]
    for t in range(6):
        store.extend_many({"a": [(t, t)], "b": [(t, t)]})
    looks = looks_of(store, monkeypatch)
    for limit, least in ((None, 3), (5, 3), (3, 3), (2, 2)):
        looks.clear()
        query = Query(limit=limit)
        found = together.read_together(
            store._core, streams, lambda core, stream, query=query: list(core.log.read(stream, query)), most=3
        )
        with case(limit):
            assert list(found) == [list(store._core.log.read(stream, query)) for stream in streams]
            assert [each.query.limit for each in looks[0].asked] == [least] * 2


def test_a_read_that_asks_for_something_else_the_second_time_is_done_alone(
    backend: Backend, store: Store, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it reads directly, as heads are, has changed meanwhile."""
    streams, other = [Stream(TS, each) for each in "ab"], backend.store(key=key)
    store.extend_many({"a": [(1, 1)], "b": [(1, 1)]})
    log, late = store._core.base, [(2, 2)]
    replay = log.replay

    def newest(core: Reading, stream: Stream) -> list[Record]:
        head = core.log.head(stream)
        assert head is not None
        return list(core.log.read(stream, Query(after=head.version - 1)))

    def racing(*args: Any) -> Any:
        found = replay(*args)
        if late:
            other.extend("a", late.pop())
        return found

    monkeypatch.setattr(log, "replay", racing)
    found = list(together.read_together(store._core, streams, newest))
    assert not late
    assert [[record.start for record in records] for records in found] == [[2], [1]]


def test_a_damaged_series_fails_and_says_which(backend: Backend) -> None:
    store = backend.store()
    store.extend_many({key: [(1, key)] for key in "abc"})
    store._core.base.append([Batch(Stream(TS, "b"), [Entry(5, 5, "", "extend", b"damaged")], 1)])
    assert store.range_many("abc", end=4) == {}
    assert store.range_many(list("abc"), end=4)["b"] == [(1, "b")]
    with pytest.raises(StorePayloadError, match="'b'"):
        store.range_many(list("abc"))
