"""Frames with several rows of one time: refused, unless it is said which row counts or of which series each one is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstore import JsonStore, Store
from rstore.domain.streams import TS
from tests.conftest import Backend, in_turn
from tests.properties.test_properties import SETTINGS

DAYS = ["2026-11-01", "2026-11-02", "2026-11-01"]
RAIN = [2.5, 0.0, 7.5]

DOUBLED: dict[str, Callable[[], Any]] = {
    "a series of pandas": lambda: pd.Series(RAIN, pd.DatetimeIndex(DAYS, tz="Europe/Vienna"), name="rain"),
    "a frame of pandas": lambda: pd.DataFrame({"rain": RAIN, "wind": [1, 2, 3]}, pd.DatetimeIndex(DAYS)),
    "a frame of ints": lambda: pd.DataFrame({"rain": RAIN}, [20261101, 20261102, 20261101]),
    "a frame of polars": lambda: pl.DataFrame({"day": DAYS, "rain": RAIN}).with_columns(pl.col("day").str.to_date()),
    "a table of Arrow": lambda: pa.table({"day": pa.array(DAYS).cast(pa.timestamp("ms")), "rain": RAIN}),
    "a pair of NumPy": lambda: (np.array(DAYS, "M8[s]"), np.array(RAIN)),
}

SAID = {
    "a series of pandas": "2026-11-01T00:00:00.*\\+01:00",
    "a frame of ints": "20261101",
}


def stations(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"station": ["007", "011", "007"], **columns}, pd.DatetimeIndex([*DAYS[:1] * 2, DAYS[1]]))


@in_turn("name", DOUBLED)
def test_a_frame_with_a_time_twice_is_refused_with_an_example(store: Store, name: str) -> None:
    said = f"'{name}' has {SAID.get(name, '2026-11-01T00:00:00')}.* twice, in rows 0 and 2 of the frame"
    with pytest.raises(ValueError, match=said) as caught:
        store.extend(name, DOUBLED[name]())
    assert "1 of its 3 rows would be lost" in str(caught.value)
    assert "key_column=..." in str(caught.value)
    assert "duplicates='last'" in str(caught.value)
    assert store.timeseries() == []


@in_turn("name", DOUBLED)
def test_of_rows_of_one_time_the_last_counts_where_that_is_said(store: Store, name: str) -> None:
    store.extend(name, DOUBLED[name](), duplicates="last")
    assert [row["rain"] if isinstance(row, dict) else row for _, row in store.range(name)] == [7.5, 0.0]


def test_a_refused_frame_leaves_the_series_as_it_was(store: Store) -> None:
    store.extend("rain", DOUBLED["a series of pandas"]()[:2])
    before = store.range("rain"), store.version("rain", TS)
    with store.transaction(), pytest.raises(ValueError, match="twice"):
        store.extend("rain", DOUBLED["a series of pandas"]())
    assert (store.range("rain"), store.version("rain", TS)) == before


def test_a_frame_replaces_what_was_stored_as_before(store: Store) -> None:
    store.extend("rain", pd.Series(RAIN[:2], [1, 2]))
    store.extend("rain", pd.Series(RAIN[1:], [2, 3]))
    assert store.range("rain") == [(1, 2.5), (2, 0.0), (3, 7.5)]


def test_of_points_given_one_by_one_the_last_counts(store: Store) -> None:
    store.extend("rain", (1, "a"), (1, "b"))
    store.extend("rain", [(2, "a"), (2, "b")], duplicates="last")
    assert store.range("rain") == [(1, "b"), (2, "b")]
    with pytest.raises(ValueError, match="of points the last of one time counts"):
        store.extend("rain", (3, "a"), duplicates="refuse")
    with pytest.raises(ValueError, match="duplicates is 'refuse' or 'last', not 'first'"):
        store.extend("rain", (3, "a"), duplicates="first")  # type: ignore[arg-type]
    assert len(store.range("rain")) == 2


@given(times=st.lists(st.integers(-9, 9), max_size=12))
@SETTINGS
def test_a_frame_is_refused_if_and_only_if_a_row_would_be_lost(times: list[int]) -> None:
    with Store("memory://", frozen=False) as store:
        frame = np.array(times, np.int64), np.arange(len(times))
        if len(set(times)) < len(times):
            with pytest.raises(ValueError, match=f"{len(times) - len(set(times))} of its {len(times)} rows") as caught:
                store.extend("key", frame)
            (time, first, second) = map(int, re.findall(r"-?\d+", str(caught.value))[:3])
            assert first < second
            assert times[first] == times[second] == time
        else:
            store.extend("key", frame)
        assert len(store.range("key")) == (0 if len(set(times)) < len(times) else len(times))


# -- a series for each value of a column ------------------------------------------------------------------------------

KEYED: dict[str, Callable[[], Any]] = {
    "pandas": lambda: stations(rain=RAIN),
    "objects": lambda: stations(rain=RAIN).astype({"station": object}),
    "categories": lambda: stations(rain=RAIN).astype({"station": "category"}),
    "polars": lambda: pl.DataFrame(
        {"day": [*DAYS[:1] * 2, DAYS[1]], "station": ["007", "011", "007"], "rain": RAIN}
    ).with_columns(pl.col("day").str.to_datetime(time_unit="us")),
    "Arrow": lambda: pa.table(
        {
            "day": pa.array([*DAYS[:1] * 2, DAYS[1]]).cast(pa.timestamp("us")),
            "station": ["007", "011", "007"],
            "rain": RAIN,
        }
    ),
    "NumPy": lambda: (
        np.array([*DAYS[:1] * 2, DAYS[1]], "M8[us]"),
        np.array(list(zip(["007", "011", "007"], RAIN, strict=True)), [("station", "U3"), ("rain", "f8")]),
    ),
}


@in_turn("name", KEYED)
def test_a_key_column_makes_a_series_of_each_of_its_values(store: Store, name: str) -> None:
    store.extend(name, KEYED[name](), key_column="station")
    assert store.timeseries(name) == [f"{name}/007", f"{name}/011"]
    assert [value for _, value in store.range(f"{name}/007")] == [2.5, 7.5]
    assert [value for _, value in store.range(f"{name}/011", "2026-11-01")] == [0.0]
    assert store.time_axis(f"{name}/011").unit in ("us", "ns")
    assert list(store.range(f"{name}/011", to="polars").columns)[1:] == ["rain"]


def test_series_of_a_key_column_keep_the_other_columns_with_their_types(store: Store) -> None:
    frame = stations(rain=pd.array([1, None, 3], "Int8"), at=pd.DatetimeIndex(DAYS, tz="UTC"))
    store.extend("weather", frame, key_column="station")
    found = store.range("weather/007", to="pandas")
    pd.testing.assert_frame_equal(found, frame.iloc[[0, 2]].drop(columns="station"), check_freq=False)


def test_ints_are_keys_too_and_each_series_is_in_order_of_time(store: Store) -> None:
    frame = pl.DataFrame({"t": [3, 1, 2, 1], "id": [7, 7, 8, 8], "x": [0.5, 1.5, 2.5, 3.5]})
    store.extend("x", frame, key_column="id")
    assert store.range("x/7") == [(1, 1.5), (3, 0.5)]
    assert store.range("x/8") == [(1, 3.5), (2, 2.5)]


def test_of_each_series_only_its_own_values_are_missing(store: Store) -> None:
    store.extend("x", pl.DataFrame({"t": [1, 1], "id": ["a", "b"], "n": [None, 5]}), key_column="id")
    assert store.range("x/b", to="numpy")[1].dtype == "int64"
    assert store.range("x/a") == [(1, None)]


def test_a_time_twice_in_one_of_the_series_is_refused_and_none_is_stored(store: Store) -> None:
    frame = pd.DataFrame({"station": ["a", "b", "b"], "rain": RAIN}, [1, 1, 1])
    with pytest.raises(ValueError, match="'rain/b' has 1 twice, in rows 1 and 2 of the frame"):
        store.extend("rain", frame, key_column="station")
    assert store.timeseries() == []
    store.extend("rain", frame, key_column="station", duplicates="last")
    assert (store.range("rain/a"), store.range("rain/b")) == ([(1, 2.5)], [(1, 7.5)])


def test_all_series_of_a_frame_are_stored_or_none(backend: Backend) -> None:
    store = backend.store(JsonStore)
    frame = pd.DataFrame({"station": ["a", "b"], "value": pd.Series([1, {1}], [1, 2], object)}, [1, 2])
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.extend("rain", frame, key_column="station")
    store.extend("rain/b", (1, "plain"))
    with pytest.raises(ValueError, match="'rain/b' are plain ints, and those of the frame datetimes"):
        store.extend("rain", frame.set_axis(pd.DatetimeIndex(DAYS[:2])), key_column="station")
    assert store.timeseries() == ["rain/b"]


def test_series_of_a_frame_are_one_append_with_who_and_why(store: Store) -> None:
    with store.context(who="ada"), store.transaction():
        store.extend("rain", stations(rain=RAIN), key_column="station")
        assert len(store.range("rain/007")) == 2
    assert [change.who for key in ("rain/007", "rain/011") for change in store.history(key)] == ["ada", "ada"]
    store.extend("none", stations(rain=RAIN)[:0], key_column="station")
    assert store.timeseries("none") == []


BAD: dict[str, tuple[Callable[[], Any], dict[str, Any], type[Exception], str]] = {
    "no such column": (lambda: stations(rain=RAIN), {"key_column": "city"}, ValueError, "no column 'city': 'station'"),
    "no values beside it": (stations, {"key_column": "station"}, ValueError, "needs a column of values besides"),
    "a series": (lambda: stations(rain=RAIN)["rain"], {"key_column": "rain"}, ValueError, "needs a column of values"),
    "floats": (lambda: stations(rain=RAIN), {"key_column": "rain"}, TypeError, "'rain' holds keys.* texts or ints"),
    "times": (
        lambda: stations(rain=RAIN).assign(station=pd.DatetimeIndex(DAYS)),
        {"key_column": "station"},
        TypeError,
        "'station' holds keys, which are texts or ints, not of type time",
    ),
    "bools": (
        lambda: stations(rain=RAIN).assign(station=[True, False, True]),
        {"key_column": "station"},
        TypeError,
        "not of type bool",
    ),
    "a key that is missing": (
        lambda: stations(rain=RAIN).assign(station=["a", None, "b"]),
        {"key_column": "station"},
        ValueError,
        "row 1 has no key in the column 'station'",
    ),
    "a key that is no key": (
        lambda: stations(rain=RAIN).assign(station=["a", "b\0", "c"]),
        {"key_column": "station"},
        ValueError,
        "NUL",
    ),
    "points": (lambda: (1, 2), {"key_column": "a"}, TypeError, "key_column names a column of a frame"),
    "a version": (
        lambda: stations(rain=RAIN),
        {"key_column": "station", "expect": 0},
        TypeError,
        "expect is the version of one key, and key_column makes several: use a transaction",
    ),
    "a token": (
        lambda: stations(rain=RAIN),
        {"key_column": "station", "once": "x"},
        TypeError,
        "once is of one key, and key_column makes several: use transact",
    ),
}


@in_turn("name", BAD)
def test_a_key_column_that_is_none_is_an_error_and_nothing_is_stored(store: Store, name: str) -> None:
    make, options, error, match = BAD[name]
    with pytest.raises(error, match=match):
        store.extend("rain", make(), **options)
    assert store.timeseries() == []
