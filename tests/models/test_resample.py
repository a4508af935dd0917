"""Resampling: the bins, edges and values of pandas, and what is different about them."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rstore import Store
from rstore.domain.resampling import FILLS, HOWS
from tests.properties.test_properties import EXAMPLES, SETTINGS

PROPERTY = settings(SETTINGS, max_examples=12 * EXAMPLES)
FREQS = ["1min", "5min", "7min", "90min", "1h", "7h", "24h", "1D", "2D", "3D", "25h"]
ZONES = [None, "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "+05:30"]
YEAR = range(int(pd.Timestamp("2026-01-01").timestamp()), int(pd.Timestamp("2027-01-01").timestamp()))

values = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, 0.0, -0.0, math.inf]))


def resampled(series: Any, freq: Any, how: str, fill: str | None) -> Any:
    """What pandas makes of it."""
    found = getattr(series.resample(freq), how)()
    if fill is not None:
        found = found.ffill() if fill == "previous" else found.interpolate("linear")
    return found


def assert_like_pandas(found: list[tuple[int, Any]], expected: Any) -> None:
    stamps = expected.index.as_unit("s").asi8.tolist() if isinstance(expected.index, pd.DatetimeIndex) else None
    if stamps is not None:
        assert [time for time, _ in found] == stamps
    if isinstance(expected, pd.DataFrame):
        for name in expected.columns:
            assert_equal([value[name] for _, value in found], expected[name].tolist())
    else:
        assert_equal([value for _, value in found], expected.tolist())


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    """Missing values are None here, and NaN there."""
    as_nan = [math.nan if value is None else value for value in found]
    assert as_nan == pytest.approx(expected, rel=1e-9, abs=1e-6, nan_ok=True)


@st.composite
def series(draw: st.DrawFn) -> pd.Series:
    """Points of some hours, days or weeks, which may contain a change of the clocks."""
    low = draw(st.sampled_from(YEAR) | st.sampled_from([int(pd.Timestamp("2026-03-28T22:00").timestamp())]))
    width = draw(st.sampled_from([3600, 86_400, 14 * 86_400]))
    anywhere = st.integers(low, low + width)
    at_an_edge = anywhere.map(lambda stamp: stamp - stamp % 300)
    stamps = draw(st.lists(anywhere | at_an_edge, min_size=1, max_size=20, unique=True))
    index = pd.DatetimeIndex(np.array(sorted(stamps), "M8[s]"))
    zone = draw(st.sampled_from(ZONES))
    index = index if zone is None else index.tz_localize("UTC").tz_convert(zone)
    return pd.Series(draw(st.lists(values, min_size=len(stamps), max_size=len(stamps))), index)


@PROPERTY
@given(
    series=series(),
    freq=st.sampled_from(FREQS),
    how=st.sampled_from(sorted(HOWS)),
    fill=st.sampled_from([None, *FILLS]),
    cut=st.integers(0, 20),
)
@pytest.mark.slow
def test_bins_are_those_of_pandas(series: Any, freq: str, how: str, fill: str | None, cut: int) -> None:
    assume(fill != "linear" or not np.isinf(series).any())  # of which pandas makes NaN, and goes on
    with Store("memory://", frozen=False) as store:
        store.extend("key", series.iloc[:cut])
        store.extend("key", series.iloc[cut:])
        found = store.resample("key", freq, how, fill)
        assert_like_pandas(found, resampled(series, freq, how, fill))


@PROPERTY
@given(
    stamps=st.lists(st.integers(-50, 50), min_size=1, max_size=20, unique=True).map(sorted),
    freq=st.integers(1, 30),
    how=st.sampled_from(sorted(set(HOWS) - {"ohlc"})),
    data=st.data(),
)
def test_bins_of_plain_ints_begin_at_multiples_of_freq(stamps: list[int], freq: int, how: str, data: Any) -> None:
    points = [(time, data.draw(st.integers(-100, 100))) for time in stamps]
    naive = {
        edge: [value for time, value in points if edge <= time < edge + freq]
        for edge in range(stamps[0] // freq * freq, stamps[-1] + 1, freq)
    }
    of_many: dict[str, Any] = {
        "first": lambda many: many[0],
        "last": lambda many: many[-1],
        "min": min,
        "max": max,
        "sum": sum,
        "count": len,
        "mean": lambda many: sum(many) / len(many),
    }
    empty = 0 if how in ("sum", "count") else None
    with Store("memory://", frozen=False) as store:
        store.extend("key", points)
        assert store.resample("key", freq, how) == [
            (edge, of_many[how](many) if many else empty) for edge, many in naive.items()
        ]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_frequency_counts_in_the_unit_of_the_series(unit: str) -> None:
    index = pd.DatetimeIndex(np.array([5, 65, 3600], "M8[s]")).as_unit(unit)
    with Store("memory://", frozen=False) as store:
        store.extend("key", pd.Series([1, 2, 3], index))
        per_second = 10 ** {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]
        assert store.resample("key", "1min", "sum")[:2] == [(0, 1), (60 * per_second, 2)]
        assert store.resample("key", "30min", "sum") == store.resample("key", 1800 * per_second, "sum")
        frame = store.resample("key", "30min", "sum", to="pandas")
        pd.testing.assert_series_equal(frame, pd.Series([1, 2, 3], index).resample("30min").sum(), check_freq=False)


def test_days_are_those_of_the_zone_when_the_clocks_change() -> None:
    index = pd.date_range("2026-03-28", "2026-03-31", freq="h", tz="Europe/Berlin", unit="s")
    with Store("memory://", frozen=False) as store:
        store.extend("key", pd.Series(1, index))
        assert [value for _, value in store.resample("key", "1D", "count")] == [24, 23, 24, 1]
        assert [value for _, value in store.resample("key", "24h", "count")] == [24, 24, 24]


def test_rows_are_resampled_by_column(store: Store) -> None:
    index = pd.DatetimeIndex(np.array([5, 65, 66, 300], "M8[s]"))
    frame = pd.DataFrame({"bid": [1.5, np.nan, 2.5, 3.0], "size": [1, 2, 3, 4]}, index)
    store.extend("key", frame)

    assert_like_pandas(store.resample("key", "1min", "mean"), frame.resample("1min").mean())
    assert store.resample("key", "1min", "last")[0] == (0, {"bid": 1.5, "size": 1})
    ohlc = store.resample("key", "5min", "ohlc")
    assert ohlc[0][1]["size high"] == 3
    found = store.resample("key", "1min", "max", "previous", to="polars")
    assert found.columns == ["time", "bid", "size"]
    assert found["size"].to_list() == [1, 3, 3, 3, 3, 4]


def test_texts_have_a_first_and_a_last(store: Store) -> None:
    store.extend("key", (1, "b"), (2, None), (3, "a"), (25, "c"))
    assert store.resample("key", 10, "last", "previous") == [(0, "a"), (10, "a"), (20, "c")]
    found = store.resample("key", 10, "min", to="pandas")
    assert found[found.notna()].to_dict() == {0: "a", 20: "c"}
    assert found.isna().tolist() == [False, True, False]
    with pytest.raises(TypeError):
        store.resample("key", 10, "mean")


def test_what_is_hidden_does_not_count(store: Store) -> None:
    store.extend("key", ((t, 1) for t in range(100)))
    store.extend("key", ((t, 10) for t in range(50, 60)))
    store.remove("key", start=20, end=29)
    assert [value for _, value in store.resample("key", 10, "sum")] == [10, 10, 0, 10, 10, 100, 10, 10, 10, 10]
    assert store.resample("key", 10, "sum", start=55, end=64) == [(50, 50), (60, 5)]


def test_nothing_is_resampled_to_nothing(store: Store) -> None:
    assert store.resample("key", 10) == []
    assert len(store.resample("key", 10, to="pandas")) == 0


@pytest.mark.parametrize(
    ("freq", "match"),
    [
        ("1min", "plain ints: freq is one too"),
        ("1W", "a number of one of ns, us, ms, s, min, h, D"),
        ("0min", "such as '5min' or '90 days', not '0min'"),
        ("1.5h", "such as '5min'"),
        ("ME", "such as '5min'"),
        (0, "freq is at least 1"),
    ],
)
def test_a_frequency_that_there_is_not_is_an_error(freq: Any, match: str) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", (1, 1))
        with pytest.raises(ValueError, match=match):
            store.resample("key", freq)


def test_what_else_can_be_wrong_is_an_error_that_tells() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", pd.Series([1], pd.DatetimeIndex(["2026-01-01"]).as_unit("s")))
        with pytest.raises(ValueError, match="in 's', which '500ms' is no multiple of"):
            store.resample("key", "500ms")
        with pytest.raises(
            ValueError, match="how is one of first, last, min, max, mean, sum, count, ohlc, not 'median'"
        ):
            store.resample("key", "1h", "median")
        with pytest.raises(ValueError, match="fill is one of previous, linear, not 'next'"):
            store.resample("key", "1h", fill="next")
        store.extend("mixed", (1, 2), (3, {"a": 1}))
        with pytest.raises(TypeError, match="beside rows"):
            store.resample("mixed", 10)


def test_a_frequency_in_a_wrong_unit_is_refused_before_it_fills_the_memory(store: Store) -> None:
    store.extend("s", (0, 1), (10**15, 2))
    with pytest.raises(ValueError, match="more than 10,000,000 bins"):
        store.resample("s", 10)
    assert len(store.resample("s", 10**12)) == 1001


def test_what_can_not_be_added_up_is_named(store: Store) -> None:
    store.extend("rows", (0, {"n": 1, "name": "a"}))
    with pytest.raises(TypeError, match=r"values of column 'name' are no numbers .*: resample them by first"):
        store.resample("rows", 10, "mean")
    assert store.resample("rows", 10, "last") == [(0, {"n": 1, "name": "a"})]


@pytest.mark.parametrize(
    ("zone", "skipped"),
    [("Pacific/Apia", "2011-12-30"), ("Pacific/Fakaofo", "2011-12-30"), ("Pacific/Kwajalein", "1993-08-21")],
)
@pytest.mark.parametrize("days", [1, 2, 7])
def test_a_day_that_a_zone_has_passed_over_has_no_bin(zone: str, skipped: str, days: int) -> None:
    """They went to the other side of the date line."""
    index = pd.date_range(pd.Timestamp(skipped) - pd.Timedelta("5D"), periods=20 * 24, freq="h", tz="UTC", unit="s")
    with Store("memory://", frozen=False) as store:
        store.extend("key", pd.Series(1, index.tz_convert(zone)))
        found = store.resample("key", f"{days}D", "sum")
        labels = [pd.Timestamp(edge, unit="s", tz=zone) for edge, _ in found]
        assert sum(value for _, value in found) == len(index)
        assert all(label == label.normalize() for label in labels)
        assert labels == sorted(set(labels))
        if days == 1:
            assert skipped not in {str(label.date()) for label in labels}
            assert {value for _, value in found[1:-1]} == {24}


@pytest.mark.parametrize(
    ("zone", "day"),
    [("America/Sao_Paulo", "2018-11-04"), ("Asia/Beirut", "2022-03-27"), ("America/Havana", "2022-11-06")],
)
def test_a_day_without_its_first_hour_or_with_two_of_them_is_one_bin(zone: str, day: str) -> None:
    index = pd.date_range(pd.Timestamp(day) - pd.Timedelta("2D"), periods=96, freq="h", tz="UTC", unit="s")
    series = pd.Series(1, index.tz_convert(zone))
    with Store("memory://", frozen=False) as store:
        store.extend("key", series)
        found = store.resample("key", "1D", "sum")
        days = series.groupby(series.index.date).sum()
        assert [value for _, value in found] == days.tolist()
        assert [pd.Timestamp(edge, unit="s", tz=zone).date() for edge, _ in found] == days.index.tolist()


SKIPPED = {
    "Pacific/Apia": "2011-12-30",
    "Pacific/Fakaofo": "2011-12-30",
    "Pacific/Kwajalein": "1993-08-21",
    "Pacific/Enderbury": "1994-12-31",
}


def zoned(start: str, hours: int, zone: str) -> pd.Series:
    """A point for each hour that passes."""
    first = pd.Timestamp(start, tz=zone).tz_convert("UTC")
    index = pd.date_range(first, periods=hours, freq="h", unit="s").tz_convert(zone)
    return pd.Series(range(hours), index)


@pytest.mark.parametrize("zone", SKIPPED)
@pytest.mark.parametrize("freq", ["1D", "2D", "3D", "7h"])
def test_a_day_that_a_zone_skipped_has_no_bin(zone: str, freq: str) -> None:
    before = pd.Timestamp(SKIPPED[zone]) - pd.Timedelta(days=2)
    given = zoned(str(before), 96, zone)
    with Store("memory://", frozen=False) as store:
        store.extend("key", given)
        found = store.resample("key", freq, "count")
        assert sum(value for _, value in found) == 96
        assert [time for time, _ in found] == sorted({time for time, _ in found})
        days = [pd.Timestamp(time, unit="s", tz=zone).date().isoformat() for time, _ in found]
        assert SKIPPED[zone] not in days
        if freq == "1D":
            assert [value for _, value in found] == [24, 24, 24, 24]


@pytest.mark.parametrize(
    ("zone", "start", "counts"),
    [
        ("America/Sao_Paulo", "2018-11-03", [24, 23, 24, 1]),  # from 00:00 to 01:00
        ("America/Sao_Paulo", "2019-02-15", [24, 25, 23]),  # from 00:00 back to 23:00
        ("Asia/Beirut", "2022-03-26", [24, 23, 24, 1]),
        ("Asia/Beirut", "2022-10-29", [25, 24, 23]),
        ("America/Havana", "2026-03-07", [24, 23, 24, 1]),
        ("America/Havana", "2025-11-01", [24, 25, 23]),  # from 01:00 back to 00:00
    ],
)
def test_a_day_begins_when_the_clocks_pass_over_its_midnight(zone: str, start: str, counts: list[int]) -> None:
    given = zoned(start, 72, zone)
    with Store("memory://", frozen=False) as store:
        store.extend("key", given)
        found = store.resample("key", "1D", "count")
        assert [value for _, value in found] == counts
        assert_like_pandas(found, given.resample("1D").count())


@PROPERTY
@given(
    zone=st.sampled_from([*SKIPPED, "America/Sao_Paulo", "Asia/Beirut", "America/Havana", "Africa/Cairo"]),
    begin=st.integers(0, 60 * 365 * 24),
    hours=st.lists(st.integers(0, 24 * 14), min_size=1, max_size=30, unique=True).map(sorted),
)
def test_a_point_is_in_the_bin_of_its_date(zone: str, begin: int, hours: list[int]) -> None:
    given = [3600 * (begin + hour) for hour in hours]
    index = pd.DatetimeIndex(np.array(given, "M8[s]")).tz_localize("UTC").tz_convert(zone)
    with Store("memory://", frozen=False) as store:
        store.extend("key", pd.Series(1, index))
        found = {time: number for time, number in store.resample("key", "1D", "count") if number}
    dates = Counter(moment.date() for moment in index)
    assert {pd.Timestamp(time, unit="s", tz=zone).date(): number for time, number in found.items()} == dates


def test_a_day_begins_when_the_clocks_leap_over_its_midnight() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", zoned("1919-03-29", 72, "America/Toronto"))  # from 23:30 to 00:30: two days have 23.5 hours
        assert [value for _, value in store.resample("key", "1D", "count")] == [24, 24, 23, 1]


def test_a_day_whose_midnight_comes_twice_begins_with_the_first() -> None:
    midnight = pd.Timestamp("2001-10-28T04:00", tz="UTC")  # at 00:01 the clocks went back to 23:01 of the day before
    index = pd.DatetimeIndex([midnight + pd.Timedelta(minutes=30), midnight + pd.Timedelta(minutes=90)])
    with Store("memory://", frozen=False) as store:
        store.extend("key", pd.Series([1, 2], index.as_unit("s").tz_convert("America/Toronto")))
        assert store.resample("key", "1D", "sum") == [(int(midnight.timestamp()), 3)]


def test_the_calendar_ends_with_the_year_9999() -> None:
    with Store("memory://", frozen=False) as store:
        index = pd.DatetimeIndex(np.array(["9999-12-30T12", "9999-12-31T12"], "M8[s]")).tz_localize("UTC")
        store.extend("key", pd.Series([1, 2], index.tz_convert("Europe/Berlin")))
        assert [value for _, value in store.resample("key", "1D", "sum")] == [1, 2]
        late = pd.DatetimeIndex(np.array([10**12], "M8[s]")).tz_localize("UTC").tz_convert("Europe/Berlin")
        store.extend("late", pd.Series([1], late))
        with pytest.raises(ValueError, match="in no year from 1 to 9999"):
            store.resample("late", "1D")


@pytest.mark.parametrize("freq", [10, "1h", datetime.timedelta(hours=1)])
def test_a_series_that_is_unknown_has_no_bins_as_it_has_no_points(freq: Any) -> None:
    with Store("memory://", frozen=False) as store:
        assert store.resample("nope", freq) == store.range("nope") == []
        assert len(store.resample("nope", freq, to="pandas")) == 0
