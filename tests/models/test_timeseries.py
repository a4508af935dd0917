"""Time series: points in, in any order; points out, in order of time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from freezegun import freeze_time

from rstore import Store
from tests.conftest import Backend, in_turn

TIME_MIN, TIME_MAX = -(2**63), 2**63 - 1
ABC = [(10, "a"), (20, "b"), (30, "c")]


class Index:
    """An integer that is no int, as those of numpy are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"Index({self.value})"


class CountingStore(Store):
    """Counts what is dumped and loaded."""

    dumped = loaded = 0

    def _dump(self, value: Any) -> str:
        self.dumped += 1
        return json.dumps(value)

    def _load(self, data: Any) -> Any:
        self.loaded += 1
        return json.loads(data)


@pytest.fixture
def series(store: Store) -> Store:
    """A store with the series ``abc``."""
    store.extend("abc", *ABC)
    return store


# -- extend -----------------------------------------------------------------------------------------------------------


FORMS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "arguments": lambda: tuple(ABC),
    "lists as arguments": lambda: tuple(map(list, ABC)),
    "a list": lambda: (ABC,),
    "a tuple": lambda: (tuple(ABC),),
    "an iterator": lambda: (iter(ABC),),
    "a generator": lambda: ((point for point in ABC),),
    "items of a dict": lambda: (dict(ABC).items(),),
    "a zip": lambda: (zip((10, 20, 30), "abc", strict=True),),
    "lists in an iterator": lambda: (map(list, ABC),),
    "in reverse": lambda: tuple(reversed(ABC)),
    "with a point twice": lambda: ((20, "x"), *ABC),
    "with integers that are no int": lambda: ((Index(10), "a"), (20, "b"), (Index(30), "c")),
}


@in_turn("form", FORMS)
def test_points_are_given_as_arguments_or_as_one_iterable(store: Store, form: str) -> None:
    store.extend(form, *FORMS[form]())

    assert store.range(form) == ABC
    assert [type(time) for time, _ in store.range(form)] == [int, int, int]


def test_one_point_is_a_series_too(store: Store) -> None:
    store.extend("single", (7, (8, 9)))
    store.extend("in a list", [(7, (8, 9))])

    assert store.range("single") == store.range("in a list") == [(7, (8, 9))]


def test_no_points_are_no_series(store: Store) -> None:
    store.extend("none")
    store.extend("none", [])
    store.extend("none", iter(()))

    assert store.range("none") == []
    assert store.timeseries() == []


def test_extend_adds_and_replaces(series: Store) -> None:
    series.extend("abc", (15, "new"), (20, "B"), (40, "d"))

    assert series.range("abc") == [(10, "a"), (15, "new"), (20, "B"), (30, "c"), (40, "d")]


def test_points_that_come_one_by_one_are_one_series(store: Store) -> None:
    for time in (5, 3, 4, 1, 2, 3):
        store.extend("abc", (time, time * 10))

    assert store.range("abc") == [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)]
    assert store.first("abc") == (1, 10)
    assert store.last("abc") == (5, 50)


def test_the_last_of_equal_timestamps_wins(store: Store) -> None:
    store.extend("abc", (1, "x"), (2, "y"), (1, "z"))

    assert store.range("abc") == [(1, "z"), (2, "y")]


def test_the_last_of_equal_timestamps_wins_however_far_apart_they_are(store: Store) -> None:
    def points() -> Iterator[tuple[int, Any]]:
        yield 70_000, "early"
        yield from ((time, time) for time in range(150_000))
        yield 0, "late"
        yield 149_999, "late"

    store.extend("abc", points())

    found = store.range("abc")
    assert [time for time, _ in found] == list(range(150_000))
    assert found[0] == (0, "late")
    assert found[70_000] == (70_000, 70_000)
    assert found[-1] == store.last("abc") == (149_999, "late")
    assert store.first("abc") == (0, "late")


def test_points_may_come_in_any_order(store: Store) -> None:
    points = [(time, f"value {time}") for time in range(-5000, 5000)]
    shuffled = random.Random(1).sample(points, len(points))

    store.extend("at once", shuffled)
    for i in range(0, len(points), 2500):
        store.extend("in parts", shuffled[i : i + 2500])

    assert store.range("at once") == store.range("in parts") == points
    assert store.range("in parts", -10, end=10) == points[4990:5011]


def test_irregular_times_come_back_exactly(store: Store) -> None:
    rng = random.Random(2)
    times = sorted({rng.getrandbits(rng.randrange(1, 63)) - 2**61 for _ in range(6000)})

    store.extend("irregular", ((time, i) for i, time in enumerate(times)))

    assert store.range("irregular") == list(zip(times, range(len(times)), strict=True))


def test_values_of_all_kinds_come_back_as_they_were(store: Store) -> None:
    values = [None, True, 1, 1.5, "text", b"bytes", (1, 2), [3], {"k": None}, {4}, float("-inf")]

    store.extend("at once", enumerate(values))
    for point in enumerate(values):
        store.extend("one by one", point)

    assert store.range("at once") == store.range("one by one") == list(enumerate(values))


def test_a_none_is_a_point_like_any_other(store: Store) -> None:
    store.extend("nothing", (1, None))

    assert store.range("nothing") == [(1, None)]
    assert store.first("nothing") == store.last("nothing") == (1, None)
    assert store.iscomplete("nothing", 1, freq=1)


def test_values_handed_out_are_nobody_elses(store: Store) -> None:
    mine = [1]
    store.extend("abc", (1, mine), (2, [2]))
    mine.append(9)
    for _, value in [*store.range("abc"), *store.points("abc"), store.first("abc"), store.last("abc")]:
        value.append(9)

    assert store.range("abc") == [(1, [1]), (2, [2])]


def test_extend_reads_an_iterable_no_further_than_it_stores_it(backend: Backend, key: str | None) -> None:
    store = backend.store(CountingStore, key=key)
    ahead = 0

    def points() -> Iterator[tuple[int, int]]:
        nonlocal ahead
        for time in range(150_000):
            ahead = max(ahead, time - store.dumped)
            yield time, 0

    store.extend("long", points())

    assert ahead < 100_000
    assert store.dumped == 150_000
    assert store.last("long") == (149_999, 0)
    assert sum(1 for _ in store.points("long")) == 150_000


BAD_POINTS: list[tuple[Any, type[Exception]]] = [
    ((1.0, "float"), TypeError),
    ((True, "bool"), TypeError),
    ((None, "none"), TypeError),
    (("1", "str"), TypeError),
    ((b"1", "bytes"), TypeError),
    ((2**63, "too late"), OverflowError),
    ((-(2**63) - 1, "too early"), OverflowError),
    ((Index(2**64), "too late"), OverflowError),
    ((1,), TypeError),
    ((1, 2, 3), TypeError),
    ((), TypeError),
    (5, TypeError),
    (None, TypeError),
]


@in_turn(("point", "error"), BAD_POINTS)
def test_a_bad_point_names_its_index_and_nothing_is_stored(series: Store, point: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"\bpoint 2\b"):
        series.extend("abc", (40, "d"), (50, "e"), point, (60, "f"))
    with pytest.raises(error, match=r"\bpoint 0\b"):
        series.extend("new", [point, (1, "fine")])

    assert series.range("abc") == ABC
    assert series.timeseries() == ["abc"]


@pytest.mark.parametrize("index", [0, 4095, 4096, 99_999, 140_000])
def test_a_bad_point_is_found_however_late_it_comes(series: Store, index: int) -> None:
    points: list[Any] = [(time, "x") for time in range(150_000)]
    points[index] = (0.5, "bad")

    with pytest.raises(TypeError, match=rf"\bpoint {index}\b"):
        series.extend("abc", points)

    assert series.range("abc") == ABC


@in_turn("points", [5, None, "ab", b"ab", 1.5, True])
def test_what_is_neither_point_nor_iterable_is_a_type_error(store: Store, points: Any) -> None:
    with pytest.raises(TypeError):
        store.extend("abc", points)

    assert store.timeseries() == []


def test_an_iterable_that_fails_stores_nothing(series: Store) -> None:
    def points() -> Iterator[tuple[int, str]]:
        yield from ((time, "x") for time in range(100_000))
        raise ZeroDivisionError("the sensor broke")

    with pytest.raises(ZeroDivisionError, match="the sensor broke"):
        series.extend("abc", points())

    assert series.range("abc") == ABC


def test_an_iterable_may_use_the_store_it_goes_to(store: Store) -> None:
    store.extend("source", ((time, time) for time in range(10_000)))

    def doubled() -> Iterator[tuple[int, int]]:
        for time, value in store.points("source"):
            if time == 5000:
                store["progress"] = time
                store.extend("source", (-1, -1))
            yield time, value * 2

    store.extend("doubled", doubled())

    assert store.range("doubled", 9999) == [(9999, 19998)]
    assert store["progress"] == 5000
    assert store.first("source") == (-1, -1)


def test_a_series_can_be_extended_by_itself(store: Store) -> None:
    store.extend("self", ((time, time) for time in range(5000)))
    store.extend("self", ((time + 5000, value) for time, value in store.points("self")))

    assert store.range("self") == [(time, time % 5000) for time in range(10_000)]


# -- range and points -------------------------------------------------------------------------------------------------


@in_turn(
    ("arguments", "expected"),
    [
        ({}, "abc"),
        ({"start": 20}, "bc"),
        ({"start": 21}, "c"),
        ({"end": 20}, "ab"),
        ({"end": 19}, "a"),
        ({"start": 20, "end": 20}, "b"),
        ({"start": 11, "end": 19}, ""),
        ({"start": 30, "end": 10}, ""),
        ({"start": 31}, ""),
        ({"end": 9}, ""),
        ({"start": Index(20), "end": Index(25)}, "b"),
        ({"start": TIME_MIN, "end": TIME_MAX}, "abc"),
        ({"n": 0}, ""),
        ({"n": 1}, "a"),
        ({"n": 9}, "abc"),
        ({"start": 15, "n": 1}, "b"),
        ({"freq": 1}, "abc"),
        ({"freq": 10}, "abc"),
        ({"freq": 11}, "ac"),
        ({"freq": 21}, "a"),
        ({"freq": TIME_MAX}, "a"),
        ({"freq": 11, "n": 1}, "a"),
        ({"freq": 11, "n": 2}, "ac"),
        ({"freq": 11, "start": 20}, "b"),
    ],
)
def test_range_returns_what_was_asked_for(series: Store, arguments: dict[str, Any], expected: str) -> None:
    found = series.range("abc", **arguments)

    assert found == [point for point in ABC if point[1] in expected]
    assert isinstance(found, list)
    assert all(type(point) is tuple for point in found)
    assert list(series.points("abc", **arguments)) == found


def test_start_comes_by_position_and_the_rest_by_name(series: Store) -> None:
    assert series.range("abc", 20) == ABC[1:]
    assert list(series.points("abc", 20)) == ABC[1:]
    with pytest.raises(TypeError):
        series.range("abc", 20, 30)  # type: ignore[misc]


def test_freq_counts_from_the_last_point_kept(store: Store) -> None:
    store.extend("beats", ((time, None) for time in (0, 4, 9, 10, 11, 19, 21, 29, 31)))

    assert [time for time, _ in store.range("beats", freq=10)] == [0, 10, 21, 31]
    assert [time for time, _ in store.range("beats", 4, freq=10)] == [4, 19, 29]


def test_freq_reaches_over_segments_and_writes(store: Store) -> None:
    for low in range(0, 9000, 1000):
        store.extend("long", ((time, time) for time in range(low, low + 1000)))

    assert [time for time, _ in store.range("long", freq=1700)] == [0, 1700, 3400, 5100, 6800, 8500]


def test_a_subclass_may_fix_the_frequency(backend: Backend, key: str | None) -> None:
    class Decades(Store):
        _freq = 10

    store = backend.store(Decades, key=key)
    store.extend("years", ((year, None) for year in (1980, 1985, 1990, 2010)))

    assert [year for year, _ in store.range("years")] == [1980, 1990, 2010]
    assert [year for year, _ in store.points("years")] == [1980, 1990, 2010]
    assert [year for year, _ in store.range("years", freq=5)] == [1980, 1985, 1990, 2010]
    assert store.missing("years", 1980, 2010) == [2000]
    assert store.missing("years", 1980, 1990, freq=5) == []
    assert not store.iscomplete("years", 1980, 2010)
    assert store.iscomplete("years", 1980, 1990)


@pytest.mark.parametrize("freq", [0, -1])
def test_a_frequency_is_at_least_one(series: Store, freq: int) -> None:
    for call in (series.range, series.points):
        with pytest.raises(ValueError, match="freq"):
            list(call("abc", freq=freq))
    with pytest.raises(ValueError, match="freq"):
        series.missing("abc", 10, 30, freq=freq)


def test_reading_stops_where_it_may(backend: Backend, key: str | None) -> None:
    store = backend.store(CountingStore, key=key)
    store.extend("long", ((time, time) for time in range(60_000)))
    least = 60_000 // 4

    for read in (
        lambda: store.range("long", n=3),
        lambda: store.range("long", 30_000, n=3),
        lambda: store.range("long", 30_000, end=30_010),
        lambda: list(islice(store.points("long"), 3)),
        lambda: next(store.points("long", 30_000)),
        lambda: store.first("long"),
        lambda: store.last("long"),
        lambda: store.iscomplete("long", -5, 59_000, freq=1),
    ):
        store.loaded = 0
        read()
        assert store.loaded <= least


def test_points_are_those_of_the_moment_when_the_first_is_asked_for(series: Store) -> None:
    points = series.points("abc")
    assert isinstance(points, Iterator)
    series.extend("abc", (5, "before"))
    first = next(points)
    series.extend("abc", (20, "changed"), (40, "new"))
    series.remove("abc", start=30, end=30)

    assert [first, *points] == [(5, "before"), *ABC]
    assert series.range("abc") == [(5, "before"), (10, "a"), (20, "changed"), (40, "new")]


def test_an_unknown_key_has_no_points(series: Store) -> None:
    series["value"] = 1
    series.apply("sequence", {"item": 1})

    for key in ("unknown", "value", "sequence"):
        assert series.range(key) == []
        assert series.range(key, 1, n=2, end=3, freq=4) == []
        assert list(series.points(key)) == []
        assert series.first(key) is None
        assert series.last(key) is None
        assert series.missing(key, 1, 3, freq=1) == [1, 2, 3]
        assert not series.iscomplete(key, 1, 3, freq=1)
        series.remove(key)
    assert series.timeseries() == ["abc"]


def test_series_are_listed_in_code_point_order(store: Store) -> None:
    keys = ["b", "a", "é", "\U0001f600", "\uffff", "", "aa", "B"]
    for name in keys:
        store.extend(name, (1, name))

    assert store.timeseries() == sorted(keys)
    assert isinstance(store.timeseries(), list)


def test_a_key_may_name_a_value_a_series_and_a_sequence(store: Store) -> None:
    store["same"] = "value"
    store.extend("same", (1, "point"))
    store.apply("same", {"item": "event"})

    store.remove("same")
    assert store["same"] == "value"
    assert store.current("same") == {"item": "event"}
    store.extend("same", (1, "point"))
    store.delete("same")
    assert store.range("same") == [(1, "point")]
    assert store.timeseries() == store.eventsources() == ["same"]


# -- first and last ---------------------------------------------------------------------------------------------------


def test_first_and_last_are_what_can_be_seen(series: Store) -> None:
    series.extend("abc", (10, "A"), (30, "C"))
    assert (series.first("abc"), series.last("abc")) == ((10, "A"), (30, "C"))

    series.remove("abc", end=10)
    series.remove("abc", start=30)
    assert (series.first("abc"), series.last("abc")) == ((20, "b"), (20, "b"))

    series.extend("abc", (5, "five"), (35, "late"))
    assert (series.first("abc"), series.last("abc")) == ((5, "five"), (35, "late"))

    series.remove("abc")
    assert (series.first("abc"), series.last("abc")) == (None, None)


def test_last_looks_behind_many_removed_points(store: Store) -> None:
    store.extend("long", ((time, time) for time in range(20_000)))
    for time in range(20_000, 20_200):
        store.extend("long", (time, time))

    store.remove("long", start=3)
    assert store.last("long") == (2, 2)
    store.extend("long", (1, "older, but written later"))
    assert store.last("long") == (2, 2)
    assert store.first("long") == (0, 0)


def test_last_is_not_the_segment_that_starts_last(store: Store) -> None:
    store.extend("long", ((time, "long") for time in range(0, 1000, 10)))
    store.extend("long", (500, "short"), (501, "short"))
    store.extend("long", (985, "short"))

    assert store.last("long") == (990, "long")
    store.remove("long", start=986)
    assert store.last("long") == (985, "short")
    store.remove("long", start=501)
    assert store.last("long") == (500, "short")


# -- remove -----------------------------------------------------------------------------------------------------------


@in_turn(
    ("arguments", "left"),
    [
        ({}, ""),
        ({"start": 20}, "a"),
        ({"end": 20}, "c"),
        ({"start": 20, "end": 20}, "ac"),
        ({"start": 11, "end": 19}, "abc"),
        ({"start": 30, "end": 10}, "abc"),
        ({"start": 31}, "abc"),
        ({"end": 9}, "abc"),
        ({"start": TIME_MIN, "end": TIME_MAX}, ""),
        ({"start": 10, "end": 30}, ""),
        ({"start": Index(15), "end": Index(35)}, "a"),
    ],
)
def test_remove_takes_the_points_from_start_to_end(store: Store, arguments: dict[str, Any], left: str) -> None:
    key = f"removed: {arguments}"
    store.extend(key, *ABC)

    store.remove(key, **arguments)

    assert store.range(key) == [point for point in ABC if point[1] in left]
    assert (key in store.timeseries()) == bool(left)


def test_remove_takes_several_keys_and_passes_over_unknown_ones(series: Store) -> None:
    series.extend("other", (1, "x"), (2, "y"))
    series.extend("third", (1, "x"))

    series.remove()
    series.remove("unknown", "abc", "other", "abc", start=2)

    assert series.range("abc") == []
    assert series.range("other") == [(1, "x")]
    assert series.timeseries() == ["other", "third"]


def test_what_comes_after_a_removal_stays(series: Store) -> None:
    series.remove("abc", start=15)
    series.extend("abc", (17, "new"), (1000, "far beyond"))
    assert series.range("abc") == [(10, "a"), (17, "new"), (1000, "far beyond")]

    series.remove("abc")
    assert series.range("abc") == []
    series.extend("abc", (20, "again"))
    assert series.range("abc") == [(20, "again")]
    assert series.first("abc") == series.last("abc") == (20, "again")
    assert series.timeseries() == ["abc"]


def test_a_hole_in_the_middle_of_segments_is_a_hole(store: Store) -> None:
    store.extend("long", ((time, time) for time in range(20_000)))
    store.remove("long", start=5, end=14_999)
    store.extend("long", (100, "island"))

    assert store.range("long", end=15_000) == [*((i, i) for i in range(5)), (100, "island"), (15_000, 15_000)]
    assert len(store.range("long")) == 5006
    assert store.range("long", 6, end=14_000) == [(100, "island")]
    assert store.range("long", 6, n=2) == [(100, "island"), (15_000, 15_000)]


def test_layers_of_writes_and_holes_show_what_came_last(store: Store) -> None:
    rng, expected = random.Random(3), dict[int, int]()
    for step in range(150):
        low = rng.randrange(200)
        high = low + rng.randrange(1 << rng.randrange(8))
        if rng.random() < 0.4:
            store.remove("layers", start=low, end=high)
            expected = {time: value for time, value in expected.items() if not low <= time <= high}
        else:
            points = {rng.randint(low, high): step for _ in range(rng.randrange(1, 30))}
            store.extend("layers", points.items())
            expected |= points
        low, n = rng.randrange(-10, 250), rng.randrange(1, 9)
        shown = sorted(expected.items())
        assert store.range("layers") == shown
        assert store.range("layers", low, n=n) == [point for point in shown if point[0] >= low][:n]
        assert store.first("layers") == (shown[0] if shown else None)
        assert store.last("layers") == (shown[-1] if shown else None)
        assert store.timeseries() == (["layers"] if shown else [])


def test_layers_do_not_depend_on_the_clock(store: Store) -> None:
    with freeze_time("2024-01-02") as clock:
        store.extend("abc", *ABC)
        clock.move_to("1999-01-01")
        store.extend("abc", (20, "B"))
        store.remove("abc", start=30)
        store.extend("abc", (30, "C"))

        assert store.range("abc") == [(10, "a"), (20, "B"), (30, "C")]


# -- missing ----------------------------------------------------------------------------------------------------------


def test_missing_tells_which_points_of_the_grid_there_are_not(series: Store) -> None:
    assert series.missing("abc", 0, 40, freq=10) == [0, 40]
    assert series.missing("abc", 10, 30, freq=5) == [15, 25]
    assert series.missing("abc", 10, 34, freq=5) == [15, 25]
    assert series.missing("abc", 10, 30, 10) == []
    assert series.missing("abc", 5, 30, 10) == [5, 15, 25]
    assert series.missing("abc", -10, 9, 10) == [-10, 0]
    assert series.missing("abc", 30, 10, 10) == []
    series.remove("abc", start=20, end=20)
    assert series.missing("abc", 10, 30, 10) == [20]


def test_iscomplete_tells_whether_none_is_missing(series: Store) -> None:
    assert series.iscomplete("abc", 10, 30, freq=10)
    assert series.iscomplete("abc", 10, 30, 20)
    assert series.iscomplete("abc", 10, 39, 10)
    assert not series.iscomplete("abc", 10, 40, 10)
    assert not series.iscomplete("abc", 11, 30, 10)
    series.remove("abc", start=15, end=25)
    assert not series.iscomplete("abc", 10, 30, 10)


def test_a_single_timestamp_is_a_grid_too(series: Store) -> None:
    assert series.missing("abc", 20, freq=10) == []
    assert series.missing("abc", 21, freq=10) == [21]
    assert series.iscomplete("abc", 20, freq=1)


def test_without_any_frequency_nothing_can_be_said_to_be_missing(series: Store) -> None:
    with pytest.raises(ValueError, match="freq"):
        series.missing("abc", 10, 30)
    with pytest.raises(ValueError, match="_freq"):
        series.iscomplete("abc", 10, 30)
    with pytest.raises(ValueError, match="freq"):
        series.missing("unknown", 10)


# -- timestamps -------------------------------------------------------------------------------------------------------

EXTREMES = [(time, str(time)) for time in (TIME_MIN, TIME_MIN + 1, -1, 0, 1, TIME_MAX - 1, TIME_MAX)]


def test_timestamps_reach_over_64_bits(store: Store) -> None:
    store.extend("at once", EXTREMES)
    for point in EXTREMES:
        store.extend("one by one", point)

    for key in ("at once", "one by one"):
        assert store.range(key) == EXTREMES
        assert (store.first(key), store.last(key)) == (EXTREMES[0], EXTREMES[-1])
        assert store.range(key, TIME_MAX) == [EXTREMES[-1]]
        assert store.range(key, end=TIME_MIN) == [EXTREMES[0]]
        assert store.range(key, TIME_MIN, end=TIME_MIN) == [EXTREMES[0]]
        assert store.range(key, -1, end=1) == EXTREMES[2:5]
        assert store.range(key, freq=TIME_MAX) == [EXTREMES[0], EXTREMES[2], EXTREMES[5]]
        assert store.missing(key, TIME_MIN, TIME_MIN + 2, 1) == [TIME_MIN + 2]
        assert store.missing(key, TIME_MAX - 2, TIME_MAX, 1) == [TIME_MAX - 2]
        store.remove(key, start=TIME_MAX)
        store.remove(key, end=TIME_MIN)
        assert store.range(key) == EXTREMES[1:-1]
        store.remove(key)
        assert store.range(key) == []
        assert store.last(key) is None


def test_nanoseconds_are_exact(store: Store) -> None:
    now = 1_700_000_000_123_456_789
    points = [(now + i, i) for i in (-1, 0, 1)]

    store.extend("ns", points)

    assert store.range("ns") == points
    assert store.range("ns", now, end=now) == [(now, 0)]


TIMED_CALLS: dict[str, Callable[[Store, Any], Any]] = {
    "range start": lambda store, time: store.range("abc", time),
    "range end": lambda store, time: store.range("abc", end=time),
    "points start": lambda store, time: list(store.points("abc", time)),
    "points end": lambda store, time: list(store.points("abc", end=time)),
    "remove start": lambda store, time: store.remove("abc", start=time),
    "remove end": lambda store, time: store.remove("abc", end=time),
    "missing start": lambda store, time: store.missing("abc", time, 30, 10),
    "missing end": lambda store, time: store.missing("abc", 10, time, 10),
    "iscomplete start": lambda store, time: store.iscomplete("abc", time, 30, 10),
    "iscomplete end": lambda store, time: store.iscomplete("abc", 10, time, 10),
    "freq": lambda store, time: store.range("abc", freq=time),
}


@in_turn("call", TIMED_CALLS)
def test_a_timestamp_is_an_int_of_64_bits_everywhere(series: Store, call: str) -> None:
    for time in (1.0, True, b"1", 1j, int):
        with pytest.raises(TypeError):
            TIMED_CALLS[call](series, time)
    with pytest.raises(TypeError if call in ("extend", "freq") else ValueError, match=r"int|'1' is no time"):
        TIMED_CALLS[call](series, "1")
    for time in (2**63, -(2**63) - 1, 2**100, Index(2**63)):
        with pytest.raises(OverflowError, match="64 bits"):
            TIMED_CALLS[call](series, time)

    assert series.range("abc") == ABC


# -- several stores on the same data ----------------------------------------------------------------------------------


def test_stores_on_the_same_data_see_each_others_points(backend: Backend, key: str | None) -> None:
    one, other = backend.store(key=key), backend.store(key=key)

    one.extend("abc", *ABC)
    assert other.range("abc") == ABC
    other.remove("abc", start=20)
    other.extend("abc", (25, "other"))
    assert one.range("abc") == [(10, "a"), (25, "other")]
    assert one.last("abc") == (25, "other")
    one.remove("abc")
    assert other.timeseries() == []
    assert other.last("abc") is None
