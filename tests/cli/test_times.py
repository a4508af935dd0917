"""A time may be written in any of these forms, wherever one is taken, and means the same."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import numpy as np
import pandas as pd
import pytest

from rstore import Repository, Store, View

MOMENT = 1_793_520_000_500  # 2026-11-01 08:00:00.5 UTC
UTC = datetime.UTC
FORMS: dict[str, Callable[[int], Any]] = {
    "int": lambda ms: ms,
    "NumPy int": np.int64,
    "datetime": lambda ms: datetime.datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000),
    "datetime elsewhere": lambda ms: FORMS["datetime"](ms).astimezone(ZoneInfo("Asia/Kolkata")),
    "text": lambda ms: FORMS["datetime"](ms).isoformat(),
    "text elsewhere": lambda ms: FORMS["datetime elsewhere"](ms).isoformat(),
    "pandas": lambda ms: pd.Timestamp(ms, unit="ms", tz="America/New_York"),
    "NumPy": lambda ms: np.datetime64(ms, "ms"),
    "NumPy ns": lambda ms: np.datetime64(ms * 10**6, "ns"),
}
NAIVE = [datetime.datetime(2026, 11, 1), "2026-11-01T09:00", pd.Timestamp("2026-11-01")]  # noqa: DTZ001
NO_TIMES = [pd.NaT, np.datetime64("NaT", "ns")]


def ask(store: Any, when: Callable[[int], Any]) -> dict[str, Callable[[], Any]]:
    """Return calls of all that takes a moment, by name and parameter: what holds at it, before and after."""
    key, at, before = "account", when(MOMENT), when(MOMENT - 1)
    return {
        "past t": lambda: (store.past(key, at), store.past(key, before)),
        "events start": lambda: (len(store.events(key, at)), len(store.events(key, when(MOMENT + 1)))),
        "events end": lambda: (len(store.events(key, end=at)), len(store.events(key, end=before))),
        "diff t1": lambda: store.diff(key, before, at),
        "diff t2": lambda: store.diff(key, at, before),
        "log since": lambda: len(list(store.log(since=at))),
        "log until": lambda: len(list(store.log(until=before))),
        "at moment": lambda: store.at(at).moment,
    }


def change(store: Store, when: Callable[[int], Any]) -> dict[str, Callable[[], Any]]:
    """Return calls that take a moment and change something, in an order in which they can be made."""
    return {
        "apply t": lambda: store.apply("account", {"n": 3}, when(MOMENT + 10)),
        "when t": lambda: (Repository(store, Counter).when(t=when(MOMENT)).create("c", n=1), store.events("Counter/c")),
        "delete_events t": lambda: (
            store.delete_events("account", t=when(MOMENT + 20)),
            store.past("account", MOMENT + 20),
        ),
        "set until": lambda: (store.set("k", 1, until=when(MOMENT)), store.history("k")[-1].until),
        "set_many until": lambda: (store.set_many({"k": 1}, until=when(MOMENT)), store.history("k")[-1].until),
        "setdefault until": lambda: (store.setdefault("n", 1, until=when(MOMENT)), store.history("n")[-1].until),
        "prune before": lambda: store.prune("account", before=when(MOMENT)).records,
        "compact before": lambda: store.compact(before=when(MOMENT)).records,
        "revert t": lambda: store.revert("account", when(MOMENT)),
    }


@pytest.fixture
def told() -> Any:
    with Store("memory://", frozen=False) as store:
        store.apply("account", {"n": 1}, MOMENT - 10)
        store.apply("account", {"n": 2}, MOMENT)
        yield store


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_a_moment_mean_the_same(told: Store, form: str) -> None:
    expected = {name: call() for name, call in ask(told, FORMS["int"]).items()}
    assert {name: call() for name, call in ask(told, FORMS[form]).items()} == expected
    assert expected["past t"] == ({"n": 2}, {"n": 1})


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_change_the_same(form: str) -> None:
    found = []
    for each in ("int", form):
        with Store("memory://", frozen=False) as store:
            store.apply("account", {"n": 1}, MOMENT - 10)
            store.apply("account", {"n": 2}, MOMENT)
            found.append({name: call() for name, call in change(store, FORMS[each]).items()})
    assert found[0] == found[1]


@pytest.mark.parametrize("moment", [*NAIVE, *NO_TIMES], ids=repr)
def test_what_is_no_moment_is_refused_by_all(told: Store, moment: Any) -> None:
    before = len(list(told.log()))
    for name, call in {**ask(told, lambda _: moment), **change(told, lambda _: moment)}.items():
        with pytest.raises(ValueError, match=r"no offset from UTC|NaT"):
            pytest.fail(f"{name} took it: {call()!r}")
    assert len(list(told.log())) == before


@attrs.frozen
class Counter:
    n: int


SERIES = {
    "range": lambda store, low, high: store.range("s", low, end=high),
    "points": lambda store, low, high: list(store.points("s", low, end=high)),
    "range_many": lambda store, low, high: store.range_many(["s"], low, end=high),
    "missing": lambda store, low, high: store.missing("s", low, high, 1),
    "iscomplete": lambda store, low, high: store.iscomplete("s", low, high, 1),
    "resample": lambda store, low, high: store.resample("s", 1, start=low, end=high),
    "remove": lambda store, low, high: (store.remove("s", start=low, end=high), store.range("s")),
    "extend": lambda store, low, high: (store.extend("s", (low, 7), (high, 8)), store.range("s")),
}
STAMPS: dict[str, Callable[[int], Any]] = {
    **FORMS,
    "naive text": lambda ms: (
        FORMS["datetime"](ms).astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None).isoformat()
    ),
}


@pytest.mark.parametrize("form", STAMPS)
@pytest.mark.parametrize("call", SERIES)
def test_all_forms_of_a_timestamp_mean_the_same(call: str, form: str) -> None:
    index = pd.date_range(pd.Timestamp(MOMENT, unit="ms", tz="Europe/Berlin"), periods=5, freq="ms", unit="ms")
    found = []
    for each in ("int", form):
        with Store("memory://", frozen=False) as store:
            store.extend("s", pd.Series(range(5), index))
            found.append(SERIES[call](store, STAMPS[each](MOMENT + 1), STAMPS[each](MOMENT + 3)))
    assert found[0] == found[1]


def test_nanoseconds_are_exact() -> None:
    index = pd.date_range("2026-11-01", periods=5, freq="ns", tz="UTC", unit="ns")
    with Store("memory://", frozen=False) as store:
        store.extend("s", pd.Series(range(5), index))
        for low, high in ((index[1], index[3]), (index[1].to_datetime64(), index[3].to_datetime64())):
            assert [value for _, value in store.range("s", low, end=high)] == [1, 2, 3]
        store.extend("s", (index[4] + pd.Timedelta("1ns"), 5))
        assert store.last("s") == (index[4].value + 1, 5)


def test_a_point_between_two_timestamps_of_the_series_is_refused() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("s", pd.Series([1.0], pd.DatetimeIndex(["2026-11-01"], tz="UTC").as_unit("s")))
        with pytest.raises(
            ValueError, match=r"point 1: .* lies between two timestamps of the series, which counts in 's'"
        ):
            store.extend("s", (0, 0.0), (datetime.datetime(2026, 11, 1, 0, 0, 0, 5, UTC), 1.0))
        assert len(store.range("s")) == 1


def test_a_series_of_plain_ints_says_how_to_ask_it() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("s", (1, "a"))
        for call in SERIES.values():
            with pytest.raises(ValueError, match=r"are plain ints, and .* is none: use ints"):
                call(store, FORMS["datetime"](MOMENT), FORMS["datetime"](MOMENT))
        with pytest.raises(ValueError, match="freq is one too"):
            store.range("s", freq=datetime.timedelta(seconds=1))


LENGTHS = [
    20,
    datetime.timedelta(seconds=20),
    pd.Timedelta("20s"),
    np.timedelta64(20, "s"),
    np.timedelta64(20_000, "ms"),
]


@pytest.mark.parametrize("length", LENGTHS, ids=lambda length: type(length).__module__)
def test_a_frequency_may_be_a_length_of_time(length: Any) -> None:
    index = pd.date_range("2026-11-01", periods=7, freq="10s", tz="UTC", unit="s")
    first = int(index[0].timestamp())
    with Store("memory://", frozen=False) as store:
        store.extend("s", pd.Series(range(7), index))
        assert [value for _, value in store.range("s", freq=length)] == [0, 2, 4, 6]
        assert len(store.range("s", freq=length, to="pandas")) == 4
        assert store.missing("s", first + 50, first + 90, length) == [first + 70, first + 90]
        assert store.resample("s", length, "count") == [(first + 20 * n, 2 if n < 3 else 1) for n in range(4)]


def test_all_series_of_a_class_may_have_a_length_of_time_as_frequency() -> None:
    class Measured(Store):
        _freq = datetime.timedelta(seconds=20)

    index = pd.date_range("2026-11-01", periods=7, freq="10s", tz="UTC", unit="s")
    with Measured("memory://", frozen=False) as store:
        store.extend("s", pd.Series(range(7), index))
        assert len(store.range("s")) == 4
        assert store.resample("s", "20s", "count") == store.resample("s", 20, "count")


@pytest.mark.parametrize(
    "length", [datetime.timedelta(milliseconds=1), datetime.timedelta(0), np.timedelta64("NaT", "ns")]
)
def test_a_frequency_that_the_unit_can_not_hold_is_refused(length: Any) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("s", pd.Series([1.0], pd.DatetimeIndex(["2026-11-01"], tz="UTC").as_unit("s")))
        for call in (lambda: store.range("s", freq=length), lambda: store.resample("s", length)):
            with pytest.raises(ValueError, match=r"no multiple of|at least 1|NaT"):
                call()


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_comes_twice_is_told_by_its_fold(fold: int) -> None:
    twice = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    with Store("memory://", frozen=False) as store:
        assert store.at(twice).moment == 1_792_888_200_000 + fold * 3_600_000


NAMES = {"t", "t1", "t2", "moment", "before", "since", "until", "start", "end"}


def test_no_parameter_that_is_a_time_is_forgotten_here() -> None:
    """A new method that takes one has to be among the calls above."""
    asked = {tuple(name.split()) for name in (*ask(None, lambda ms: ms), *change(None, lambda ms: ms))}  # type: ignore[arg-type]
    in_series = set(SERIES)
    for kind in (Store, View, Repository):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if name.startswith("_"):
                continue
            for parameter in NAMES & set(inspect.signature(method).parameters):
                assert (name, parameter) in asked or name in in_series, (kind, name, parameter)
