"""Times as users write them: every call that takes one takes every form, and each form means the same everywhere."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from attrs import frozen
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from rstore import Repository, Store, View, transfer
from rstore.admin import check as inspection
from rstore.encoding.columns import TimeAxis
from rstore.timestamps import in_series, posix_ms
from tests.conftest import case, in_turn

BERLIN = ZoneInfo("Europe/Berlin")
HOURS = pd.date_range("2026-10-24T23:30Z", periods=5, freq="h", unit="ms").tz_convert(BERLIN)
"""From 01:30 on, in the night in which 02:30 comes twice in Berlin: the third of these is the second 02:30."""
THEN, LATER = 1_792_891_800_000, 1_792_899_000_000
"""The third and the last of them, in POSIX milliseconds."""

FORMS: dict[str, Any] = {
    "an int": THEN,
    "an int of NumPy": np.int64(THEN),
    "a datetime": datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    "the second of two in a zone": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    "a text": "2026-10-25T01:30Z",
    "a text with an offset": "2026-10-25 02:30:00.000+01:00",
    "a text of NumPy": np.str_("2026-10-25T01:30Z"),
    "pandas": pd.Timestamp("2026-10-25T01:30Z"),
    "pandas in a zone": HOURS[2],
    "NumPy, minutes": np.datetime64("2026-10-25T01:30"),
    "NumPy, nanoseconds": np.datetime64("2026-10-25T01:30", "ns"),
    "NumPy, of another count": np.datetime64("2026-10-25T01:30", "15m"),
}
NONSENSE: dict[str, tuple[Any, type[Exception] | tuple[type[Exception], ...]]] = {
    "a word": ("noon", ValueError),
    "a number in a text": (str(THEN), ValueError),
    "a day": (date(2026, 10, 25), TypeError),
    "a float": (float(THEN), TypeError),
    "a bool": (True, TypeError),
    "bytes": (b"2026-10-25T01:30Z", TypeError),
    "no time of pandas": (pd.NaT, ValueError),
    "no time of NumPy": (np.datetime64("NaT", "ns"), ValueError),
    "a duration": (timedelta(hours=1), TypeError),
    "a duration of NumPy": (np.timedelta64(1, "h"), TypeError),
    "an array": (np.array(["2026-10-25T01:30"], "datetime64[ms]"), (TypeError, ValueError)),
    "too many digits": ("2026-10-25T01:30:00.0000000001Z", ValueError),
    "beyond 64 bits": (2**63, OverflowError),
}
NAIVE: dict[str, Any] = {
    "a datetime": datetime(2026, 10, 25, 3, 30),  # noqa: DTZ001
    "a text": "2026-10-25T03:30",
    "pandas": pd.Timestamp("2026-10-25T03:30"),
}
DURATIONS: dict[str, Any] = {
    "an int": 7_200_000,
    "a timedelta": timedelta(hours=2),
    "pandas": pd.Timedelta("2h"),
    "NumPy": np.timedelta64(2, "h"),
    "NumPy, nanoseconds": np.timedelta64(7_200_000_000_000, "ns"),
}

Call = Callable[[Any, Any], Any]

OF_SERIES: dict[str, Call] = {
    "extend(points)": lambda s, t: (s.extend("s", (t, 99)), s.range("s")),
    "iscomplete(start)": lambda s, t: s.iscomplete("s", t, LATER + 3_600_000, 7_200_000),
    "iscomplete(end)": lambda s, t: s.iscomplete("s", THEN - 3_600_000, t, 5_400_000),
    "missing(start)": lambda s, t: s.missing("s", t, LATER, 1_800_000),
    "missing(end)": lambda s, t: s.missing("s", THEN - 3_600_000, t, 1_800_000),
    "points(start)": lambda s, t: list(s.points("s", t)),
    "points(end)": lambda s, t: list(s.points("s", end=t)),
    "range(start)": lambda s, t: s.range("s", t),
    "range(end)": lambda s, t: s.range("s", end=t),
    "range_many(start)": lambda s, t: s.range_many(["s"], t),
    "range_many(end)": lambda s, t: s.range_many(["s"], end=t),
    "remove(start)": lambda s, t: (s.remove("s", start=t), s.range("s")),
    "remove(end)": lambda s, t: (s.remove("s", end=t), s.range("s")),
    "resample(start)": lambda s, t: s.resample("s", 7_200_000, start=t),
    "resample(end)": lambda s, t: s.resample("s", 7_200_000, end=t),
}
OF_ALL: dict[str, Call] = {
    "apply(t)": lambda s, t: (s.apply("e", {"m": 1}, t=t), s.events("e")),
    "at(moment)": lambda s, t: (s.at(t).moment, s.at(t).current("e")),
    "compact(before)": lambda s, t: (s.compact(t), s.history("e"), s.history("k"), s.history("s")),
    "delete_events(t)": lambda s, t: (s.delete_events("d", t=t), s.events("d")),
    "diff(t1)": lambda s, t: [s.diff(key, t, LATER, key_kind) for key, key_kind in KINDS],
    "diff(t2)": lambda s, t: [s.diff(key, 0, t, key_kind) for key, key_kind in KINDS],
    "events(start)": lambda s, t: s.events("e", t),
    "events(end)": lambda s, t: s.events("e", end=t),
    "log(since)": lambda s, t: [change._replace(commit=None) for change in s.log(t)],
    "log(until)": lambda s, t: [change._replace(commit=None) for change in s.log(until=t)],
    "past(t)": lambda s, t: s.past("e", t),
    "tag(at)": lambda s, t: (s.tag("a", t), s.tags()[0][:2], s.at("a").moment),
    "prune(before)": lambda s, t: (s.prune("e", before=t), s.events("e")),
    "revert(t)": lambda s, t: ([s.revert(key, t, kind) for key, kind in KINDS], s.current("e"), s["k"], s.range("s")),
    "set(until)": lambda s, t: (s.set("k", 1, until=t), s.history("k", "kv")[-1].until),
    "set_many(until)": lambda s, t: (s.set_many({"k": 1}, until=t), s.history("k", "kv")[-1].until),
    "setdefault(until)": lambda s, t: (s.setdefault("n", 1, until=t), s.history("n", "kv")[-1].until),
    "Repository.at(moment)": lambda s, t: Repository(s, Counter).at(t).get("c"),
    "Repository.diff(t1)": lambda s, t: Repository(s, Counter).diff("c", t, LATER),
    "Repository.diff(t2)": lambda s, t: Repository(s, Counter).diff("c", 0, t),
    "Repository.past(t)": lambda s, t: Repository(s, Counter).past("c", t),
    "Repository.when(t)": lambda s, t: (Repository(s, Counter).when(t=t).create("d", n=1), s.events("Counter/d")),
    "Repository.revert(t)": lambda s, t: Repository(s, Counter).revert("c", t),
}
OF_DURATIONS: dict[str, Call] = {
    "iscomplete(freq)": lambda s, f: s.iscomplete("s", THEN - 7_200_000, LATER, f),
    "missing(freq)": lambda s, f: s.missing("s", THEN - 9_000_000, LATER, f),
    "points(freq)": lambda s, f: list(s.points("s", freq=f)),
    "range(freq)": lambda s, f: (s.range("s", freq=f), s.range("s", freq=f, to="numpy")[0].tolist()),
    "range_many(freq)": lambda s, f: s.range_many(["s"], freq=f),
    "resample(freq)": lambda s, f: s.resample("s", f, "sum"),
}
WRITING = re.compile(r"when|tag|set|apply|delete|extend|remove|revert|prune|compact")
KINDS = (("k", "kv"), ("s", "ts"), ("e", "es"))
TOLD = re.compile(r"\b(Moment|Stamp|Length)\b")
NAMES = {"t", "t1", "t2", "start", "end", "since", "until", "before", "moment", "when", "points", "freq"}


@frozen
class Counter:
    n: int


@pytest.fixture
def story() -> Iterator[Callable[[], Store]]:
    """Make stores in which something of each kind was stored in each of five hours."""
    opened: list[Store] = []

    def tell() -> Store:
        store = Store("memory://", frozen=False).open()
        opened.append(store)
        for n, hour in enumerate(HOURS):
            with freeze_time(hour.tz_convert("UTC").to_pydatetime().replace(tzinfo=None)):
                store["k"] = n
                store.extend("s", pd.Series([n], HOURS[n : n + 1]))
                store.apply("e", {"n": n})
                counters = Repository(store, Counter)
                if n == 0:
                    counters.create("c", n=0)
                    store.apply("d", {"n": n}, t=0)
                else:
                    counters.do("c", lambda _, n=n: {"n": n})
        return store

    with freeze_time("2026-10-25T12:00Z"):
        yield tell
    for store in opened:
        store.close()


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield all that users call, with its name; methods of views are those of stores."""
    for owner in (Store, View, Repository):
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_"):
                yield f"Repository.{name}" if owner is Repository else name, function
    for module in (transfer, inspection):
        for name in module.__all__ if hasattr(module, "__all__") else dir(module):
            function = getattr(module, name)
            if inspect.isfunction(function):
                yield name, function


def test_the_table_of_calls_has_each_that_takes_a_time() -> None:
    taking, untold = set(), []
    for name, function in public():
        for parameter in inspect.signature(function).parameters.values():
            told = TOLD.search(str(parameter.annotation)) is not None
            if told or parameter.name in NAMES:
                taking.add(f"{name}({parameter.name})")
                if not told and parameter.name != "points":
                    untold.append(f"{name}({parameter.name}: {parameter.annotation})")
    assert taking == {*OF_SERIES, *OF_ALL, *OF_DURATIONS}
    assert untold == [], "their types say that they take times"


@pytest.mark.parametrize("call", [*OF_ALL, *OF_SERIES])
def test_a_time_means_the_same_in_every_form(story: Callable[[], Store], call: str) -> None:
    ask = {**OF_ALL, **OF_SERIES}[call]
    expected = ask(story(), THEN)
    assert ask(story(), THEN + 3_600_000) != expected, "it depends on the time"
    for name, form in FORMS.items():
        with case(name):
            assert ask(story(), form) == expected
            if not WRITING.match(call.removeprefix("Repository.")):
                assert ask(story().at("2026-10-25T12:00Z"), form) == expected


@pytest.mark.parametrize("call", [*OF_ALL, *OF_SERIES])
def test_what_is_no_time_is_refused_by_every_call_and_changes_nothing(story: Callable[[], Store], call: str) -> None:
    store = story()
    before = transfer.digest(store)
    for name, (form, error) in NONSENSE.items():
        with case(name), pytest.raises(error):
            {**OF_ALL, **OF_SERIES}[call](store, form)
    assert transfer.digest(store) == before


@pytest.mark.parametrize("call", OF_ALL)
def test_a_time_without_an_offset_is_refused_where_no_zone_is_known(story: Callable[[], Store], call: str) -> None:
    for name, form in NAIVE.items():
        with (
            case(name),
            pytest.raises(ValueError, match=r"2026-10-25T03:30.* has no offset from UTC: say which"),
        ):
            OF_ALL[call](story(), form)


@pytest.mark.parametrize("call", OF_SERIES)
def test_a_time_without_an_offset_is_in_the_zone_of_a_series(story: Callable[[], Store], call: str) -> None:
    expected = OF_SERIES[call](story(), THEN + 3_600_000)
    for name, form in NAIVE.items():
        with case(name):
            assert OF_SERIES[call](story(), form) == expected


@pytest.mark.parametrize("call", OF_DURATIONS)
def test_a_duration_means_the_same_in_every_form(story: Callable[[], Store], call: str) -> None:
    ask, store = OF_DURATIONS[call], story()
    expected = ask(store, DURATIONS["an int"])
    for name, form in DURATIONS.items():
        with case(name):
            assert ask(store, form) == expected
            assert ask(store.at("2026-10-25T12:00Z"), form) == expected


@pytest.mark.parametrize("call", OF_DURATIONS)
@in_turn(
    ("freq", "error"),
    [
        (0, ValueError),
        (timedelta(0), ValueError),
        (timedelta(hours=-1), ValueError),
        (timedelta(microseconds=1), ValueError),
        (np.timedelta64("NaT", "ns"), ValueError),
        (np.timedelta64(1, "M"), ValueError),
        (1.5, TypeError),
        (datetime(2026, 1, 1, tzinfo=UTC), TypeError),
    ],
)
def test_what_is_no_duration_is_refused(
    story: Callable[[], Store], call: str, freq: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        OF_DURATIONS[call](story(), freq)


def test_a_frequency_of_a_class_may_be_a_timedelta() -> None:
    class Hourly(Store):
        _freq = timedelta(hours=2)

    with Hourly("memory://", frozen=False) as store:
        store.extend("s", pd.Series(range(5), HOURS))
        assert [value for _, value in store.range("s")] == [0, 2, 4]
        assert store.missing("s", HOURS[0], HOURS[4]) == []
        assert store.iscomplete("s", HOURS[0], "2026-10-25T03:30")


# -- series without a unit, and those that are not there ---------------------------------------------------------------


@in_turn("call", OF_SERIES)
def test_a_series_of_plain_ints_says_that_it_has_no_unit(call: str) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("s", (THEN, 1))
        for form in ("2026-10-25T01:30Z", datetime(2026, 10, 25, tzinfo=UTC), np.datetime64("2026-10-25"), HOURS[0]):
            with pytest.raises((ValueError, TypeError), match=r"plain ints|must be an int"):
                OF_SERIES[call](store, form)
        assert store.range("s") == [(THEN, 1)]


@in_turn("call", OF_DURATIONS)
def test_a_series_of_plain_ints_has_steps_of_plain_ints(call: str) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("s", (THEN, 1))
        with pytest.raises(ValueError, match="plain ints"):
            OF_DURATIONS[call](store, timedelta(hours=1))


def test_of_a_series_that_is_not_there_nothing_is_found_at_any_time() -> None:
    with Store("memory://", frozen=False) as store:
        assert store.range("s", HOURS[0], end="2026-10-25T03:30") == []
        store.remove("s", start=HOURS[0])
        with pytest.raises((ValueError, TypeError), match=r"plain ints|must be an int"):
            store.extend("s", (1, "a"), (HOURS[0], "b"))
        assert store.timeseries() == []


# -- exactness ---------------------------------------------------------------------------------------------------------


def test_nanoseconds_are_exact(store: Store) -> None:
    index = pd.DatetimeIndex(["2026-10-25T01:30:00.123456788Z", "2026-10-25T01:30:00.123456789Z"]).as_unit("ns")
    store.extend("s", pd.Series([1, 2], index))
    forms = [index[1], "2026-10-25T01:30:00.123456789+00:00", np.datetime64("2026-10-25T01:30:00.123456789")]
    for form in forms:
        assert [value for _, value in store.range("s", form)] == [2]
        assert [value for _, value in store.range("s", end=form)] == [1, 2]
    store.extend("s", *((form, "corrected") for form in forms))
    assert [value for _, value in store.range("s")] == [1, "corrected"]
    times, _ = store.range("s", to="numpy")
    assert store.range("s", times[1]) == store.range("s")[1:]


def test_a_span_is_what_lies_within_it_and_a_point_is_nowhere_but_at_its_time(store: Store) -> None:
    store.extend("s", pd.Series(range(3), pd.date_range("2026-10-25", periods=3, freq="s", unit="s")))
    assert [value for _, value in store.range("s", "2026-10-25T00:00:00.5", end="2026-10-25T00:00:01.5")] == [1]
    with pytest.raises(ValueError, match=r"2026-10-25T00:00:00\.5 lies between two"):
        store.extend("s", ("2026-10-25T00:00:05", 5), ("2026-10-25T00:00:00.5", 0.5))
    assert len(store.range("s")) == 3


def test_a_millisecond_holds_what_happens_within_it(store: Store) -> None:
    moment = datetime(2026, 10, 25, 1, 30, microsecond=999, tzinfo=UTC)
    store.apply("e", {"n": 1}, t=moment)
    assert [event.timestamp for event in store.events("e") or ()] == [THEN]
    assert store.events("e", moment) == []
    assert store.past("e", moment) == {"n": 1}


@given(
    st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.timezones()).filter(  # noqa: DTZ001
        lambda moment: moment.utcoffset() is not None
    )
)
def test_all_forms_of_any_time_are_one(moment: datetime) -> None:
    utc = moment.astimezone(UTC)
    forms = (moment, utc, utc.isoformat(), pd.Timestamp(utc), np.datetime64(utc.replace(tzinfo=None), "us"))
    assert len({posix_ms(form) for form in forms}) == 1
    nanoseconds = {in_series(form, TimeAxis("ns", "UTC"), up=False) for form in forms}
    assert nanoseconds == {pd.Timestamp(utc).as_unit("ns").value}


# -- clocks that are put forward and back ------------------------------------------------------------------------------


def test_fold_decides_in_an_hour_that_comes_twice(store: Store) -> None:
    store.extend("s", pd.Series(range(5), HOURS))
    naive = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001
    for zone in (BERLIN, None):
        first, second = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        assert [value for _, value in store.range("s", first, end=second)] == [1, 2]
    store.extend("s", (naive.replace(fold=1), "second"))
    assert store.range("s", "2026-10-25T02:30", n=2) == [(THEN - 3_600_000, 1), (THEN, "second")]


def test_a_time_that_was_passed_over_in_the_zone_of_a_series_is_refused(store: Store) -> None:
    store.extend("s", pd.Series(range(5), HOURS))
    for form in ("2026-03-29T02:30", pd.Timestamp("2026-03-29T02:30"), datetime(2026, 3, 29, 2, 30)):  # noqa: DTZ001
        with pytest.raises(ValueError, match="2026-03-29T02:30:00 was skipped in Europe/Berlin"):
            store.range("s", form)
    assert len(store.range("s", "2026-03-29T03:00")) == 5
