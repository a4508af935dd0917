"""Frames into series and back: what comes out is what pandas has, and what was given."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from rstore import (
    FrozenStoreError,
    JsonStore,
    Store,
    StoreConflictError,
    StoreFormatError,
    StoreNotAvailableError,
    StorePayloadError,
)
from rstore.core import Reading
from rstore.domain import series
from rstore.domain.log import Record, Rewrite
from rstore.domain.series import Layer, overlay
from rstore.domain.streams import TS, Stream
from rstore.encoding import columns, envelope, sealing
from rstore.encoding.bodies import Body
from rstore.encoding.columns import Column, Layout, Table, TimeAxis
from rstore.encoding.rows import Rows
from rstore.frames import merging
from rstore.models import extending
from tests.conftest import KEY, Backend, in_turn
from tests.properties.test_properties import EXAMPLES, SETTINGS

PROPERTY = settings(SETTINGS, max_examples=5 * EXAMPLES)
TIME_MIN, TIME_MAX = -(2**63), 2**63 - 1

PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3
SHOWN_TEXTS = "str" if PANDAS_3 else "object"  # the type of texts that were given without one
TEXTS = "str" if PANDAS_3 else "string"  # a type of texts in which some may be missing

HOURS = pd.date_range("2026-03-28", periods=4, freq="h", name="at")
BERLIN = pd.date_range("2026-03-28 23:00", periods=4, freq="h", tz="Europe/Berlin")

ALL_TYPES = pd.DataFrame(
    {
        "float": [1.5, np.nan, np.inf, -0.0],
        "float32": np.array([0.1, np.nan, 3e38, 1e-45], "f4"),
        "float16": np.array([0.1, 1, 2, 65504], "f2"),
        "int": np.array([TIME_MIN, -1, 0, TIME_MAX]),
        "byte": np.array([-128, -1, 0, 127], "i1"),
        "unsigned": np.array([0, 1, 2**63, 2**64 - 1], "u8"),
        "big-endian": np.array([1, 2, 3, 4], ">i4").astype("i4"),
        "bool": [True, False, False, True],
        "Int64": pd.array([TIME_MIN, None, 0, TIME_MAX], "Int64"),
        "UInt8": pd.array([0, None, 7, 255], "UInt8"),
        "Float32": pd.array([0.5, None, 1.5, 2.5], "Float32"),
        "boolean": pd.array([True, None, False, True], "boolean"),
        "text": pd.array(["é", "", None, "\N{GRINNING FACE}"], TEXTS),
        "string": pd.array(["a", None, "", "b"], "string"),
        "seconds": pd.array(["2026-01-01", None, "1677-09-22", "2262-04-11"], "datetime64[s]"),
        "nanoseconds": pd.array([1, None, TIME_MIN + 1, TIME_MAX], "datetime64[ns]"),
        "zoned": BERLIN,
        "duration": pd.array([1, None, TIME_MIN + 1, TIME_MAX], "timedelta64[ns]"),
        "duration in seconds": pd.array([1, None, 0, -1], "timedelta64[s]"),
        "Arrow's duration": pd.array([1, None, 3, 4], "duration[ms][pyarrow]"),
        "Arrow": pd.array([0.5, None, 1.5, 2.5], "double[pyarrow]"),
        "Arrow's time": pd.array([1, None, 3, 4], "timestamp[ns, tz=UTC][pyarrow]"),
        "Arrow's text": pd.array(["a", None, "", "b"], pd.ArrowDtype(pa.string())),
        "object": pd.Series([None, 2**70, "mixed", [1.5]], dtype=object),
    }
)

FRAMES: dict[str, Callable[[], Any]] = {
    "a series of floats": lambda: pd.Series([1.5, np.nan, np.inf, -np.inf], HOURS, name="price"),
    "a series without a name": lambda: pd.Series([1, 2, 3, 4], HOURS.rename(None)),
    "a series in a time zone": lambda: pd.Series([1, 2, 3, 4], BERLIN),
    "a series at a fixed offset": lambda: pd.Series(
        [1, 2], pd.to_datetime(["2026-01-01T00+05:30", "2026-01-02T00+05:30"])
    ),
    "a series in UTC": lambda: pd.Series([1, 2, 3, 4], HOURS.tz_localize("UTC")),
    "a series of one point": lambda: pd.Series([1.5], HOURS[:1]),
    "irregular times": lambda: pd.Series([1, 2, 3], pd.to_datetime([0, 1, 2**40]).as_unit("ns")),
    "times far apart": lambda: pd.Series([1, 2, 3], [TIME_MIN, 0, TIME_MAX]),
    "texts": lambda: pd.Series(["a", None, "é", ""], HOURS, dtype=TEXTS),
    "mixed values": lambda: pd.Series([None, 1, "a", (1, 2)], HOURS, dtype=object),
    "a frame of one column": lambda: pd.DataFrame({"a": [1, 2]}, index=[10, 20]),
    "a frame of all types": lambda: ALL_TYPES,
    "a frame of all types at datetimes": lambda: ALL_TYPES.set_axis(HOURS),
    "more than one segment": lambda: pd.Series(np.arange(70_000) * 0.1, np.arange(70_000) ** 2),
}


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    same = assert_series_equal if isinstance(found, pd.Series) else assert_frame_equal
    same(
        found,
        expected,
        check_freq=False,
        check_exact=True,
        check_index_type=not isinstance(expected.index, pd.RangeIndex),
    )


@in_turn("name", FRAMES)
def test_a_frame_of_pandas_comes_back_as_it_was(store: Store, name: str) -> None:
    frame = FRAMES[name]()
    store.extend(name, frame)
    assert_same(store.range(name, to="pandas"), frame)
    store.compact()
    assert_same(store.range(name, to="pandas"), frame)


def test_a_frame_of_polars_comes_back_as_it_was(store: Store) -> None:
    frame = pl.DataFrame(
        {
            "at": pl.Series([3, 1, 2], dtype=pl.Datetime("us", "Europe/Berlin")),
            "float": [1.5, None, float("inf")],
            "int": pl.Series([1, None, 3], dtype=pl.Int16),
            "bool": [True, None, False],
            "text": ["a", None, "é"],
            "time": pl.Series([1, None, 3], dtype=pl.Datetime("ns")),
            "duration": pl.Series([1, None, -3], dtype=pl.Duration("us")),
            "lists": [[1], None, [2, 3]],
        }
    )
    store.extend("key", frame)
    assert store.range("key", to="polars").equals(frame.sort("at"))
    assert store.range("key", to="polars").schema == frame.schema


def test_a_table_of_arrow_comes_back_as_it_was(store: Store) -> None:
    table = pa.table(
        {
            "at": pa.array([1, 2, 3], pa.timestamp("ns", "UTC")),
            "float": [1.5, None, float("inf")],
            "int": pa.array([1, None, 3], pa.uint32()),
            "bool": [True, None, False],
            "text": ["a", None, "é"],
            "time": pa.array([1, None, 3], pa.timestamp("s")),
            "duration": pa.array([1, None, -3], pa.duration("s")),
        }
    )
    store.extend("whole", table)
    store.extend("in chunks", pa.concat_tables([table.slice(1), table.slice(0, 1)]))
    store.extend("a batch", table.to_batches()[0])
    for key in ("whole", "in chunks", "a batch"):
        assert store.range(key, to="arrow").equals(table)


def test_a_pair_of_numpy_comes_back_as_it_was(store: Store) -> None:
    times = np.array(["2026-01-01", "2026-01-03", "2026-01-02"], "M8[s]")
    types = [("x", "f8"), ("n", "u2"), ("o", "O"), ("d", "m8[ms]")]
    rows = np.array([(1.5, 1, "a", 5), (2.5, 3, "c", -7), (2.0, 2, None, 6)], types)
    store.extend("one column", (times, np.array([1.5, 3.5, 2.5])))
    store.extend("columns", (times, rows))
    store.extend("ints", (np.array([3, 1], "u4"), [True, False]))

    found, values = store.range("one column", to="numpy")
    assert found.dtype == times.dtype
    assert found.tolist() == sorted(times.tolist())
    assert values.tolist() == [1.5, 2.5, 3.5]
    found, values = store.range("columns", to="numpy")
    assert values.dtype == rows.dtype
    assert values.tolist() == sorted(rows.tolist(), key=lambda row: row[1])
    assert [each.tolist() for each in store.range("ints", to="numpy")] == [[1, 3], [False, True]]


def test_what_is_returned_may_be_changed(store: Store) -> None:
    store.extend("key", pd.Series([1.5, 2.5], [1, 2]))
    store.range("key", to="numpy")[1][0] = 9
    frame = store.range("key", to="pandas")
    frame.iloc[0] = 9
    assert store.range("key") == [(1, 1.5), (2, 2.5)]


def test_a_range_gives_python_values_whatever_the_columns_are(store: Store) -> None:
    store.extend("one", pd.DataFrame({"a": [1, 2]}, index=[10, 20]))
    store.extend("many", ALL_TYPES[["float", "bool", "Int64", "text", "seconds", "object"]])

    assert store.range("one") == [(10, 1), (20, 2)]
    assert store.range("many", 2) == [
        (2, {"float": np.inf, "bool": False, "Int64": 0, "text": None, "seconds": -9223286400, "object": "mixed"}),
        (
            3,
            {
                "float": 0.0,
                "bool": True,
                "Int64": TIME_MAX,
                "text": "\N{GRINNING FACE}",
                "seconds": 9223286400,
                "object": [1.5],
            },
        ),
    ]
    types = {type(value) for _, row in store.range("many") for value in row.values()}
    assert types == {float, bool, int, str, list, type(None)}
    assert store.first("many") == store.range("many", n=1)[0]
    assert store.last("many") == store.range("many")[-1]


def test_the_rest_of_a_store_sees_points(store: Store) -> None:
    store.extend("key", pd.Series([1.5, 2.5, 3.5], [10, 20, 30]))

    assert store.missing("key", 0, 40, freq=10) == [0, 40]
    assert list(store.points("key", freq=15)) == [(10, 1.5), (30, 3.5)]
    assert store.history("key")[0].value == [(10, 1.5), (20, 2.5), (30, 3.5)]
    assert store.timeseries() == ["key"]


# -- beside pandas ----------------------------------------------------------------------------------------------------

COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "float64": st.floats(),
    "float32": st.floats(width=32),
    "int64": st.integers(TIME_MIN, TIME_MAX),
    "uint8": st.integers(0, 255),
    "bool": st.booleans(),
    "Int64": st.none() | st.integers(TIME_MIN, TIME_MAX),
    "boolean": st.none() | st.booleans(),
    TEXTS: st.none() | st.text(st.characters(codec="utf-8")),
    "object": st.none() | st.integers() | st.text(),
    "datetime64[ns]": st.none() | st.integers(TIME_MIN + 1, TIME_MAX),
    "timedelta64[us]": st.none() | st.integers(-(2**53), 2**53),
}
UNITS_OF_INDEX = [None, "s", "ns", ("us", "America/New_York")]


def index_of(stamps: list[int], unit: Any) -> Any:
    if unit is None:
        return pd.Index(stamps, dtype="int64")
    unit, zone = unit if isinstance(unit, tuple) else (unit, None)
    index = pd.DatetimeIndex(np.array(stamps, f"M8[{unit}]"))
    return index if zone is None else index.tz_localize("UTC").tz_convert(zone)


@st.composite
def frames(draw: st.DrawFn, dtypes: list[str], unit: Any) -> pd.DataFrame:
    stamps = draw(st.lists(st.integers(-5, 5) | st.integers(-(2**33), 2**33), max_size=9))
    index = index_of(stamps, unit)
    data = {
        f"{dtype} {i}": pd.Series(
            draw(st.lists(COLUMNS[dtype], min_size=len(stamps), max_size=len(stamps))), index, dtype
        )
        for i, dtype in enumerate(dtypes)
    }
    return pd.DataFrame(data, index)


def latest(*frames: pd.DataFrame) -> pd.DataFrame:
    """What pandas makes of frames that are laid over each other."""
    joint = pd.concat([frame for frame in frames if len(frame)])
    return joint[~joint.index.duplicated(keep="last")].sort_index()


@PROPERTY
@given(data=st.data())
def test_frames_lie_over_each_other_as_in_pandas(data: st.DataObject) -> None:
    """Unsorted, with times twice, empty, and holes: what is seen is what pandas makes of it, also once compacted."""
    dtypes = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3))
    unit = data.draw(st.sampled_from(UNITS_OF_INDEX))
    given_frames = data.draw(st.lists(frames(dtypes, unit), min_size=1, max_size=4))
    with Store("memory://", frozen=False) as store:
        for frame in given_frames:
            store.extend("key", frame, duplicates="last")
        if not any(map(len, given_frames)):
            assert store.range("key") == []
            return
        expected = latest(*given_frames)
        assert_same(store.range("key", to="pandas"), expected)
        low, high = sorted(data.draw(st.tuples(st.integers(-6, 6), st.integers(-6, 6))))
        hidden = expected[(expected.index >= index_of([low], unit)[0]) & (expected.index <= index_of([high], unit)[0])]
        store.remove("key", start=low, end=high)
        if len(hidden) < len(expected):
            for _ in range(2):
                assert_same(store.range("key", to="pandas"), expected.drop(hidden.index))
                store.compact()


spans = st.tuples(st.integers(-12, 12), st.integers(-12, 12)).map(sorted).map(tuple)


@PROPERTY
@given(written=st.lists(st.sets(st.integers(-12, 12), min_size=1).map(sorted) | spans, max_size=9), few=st.booleans())
def test_tables_are_merged_as_points_are(written: list[Any], few: bool) -> None:
    layers = []
    for version, what in enumerate(written, 1):
        if isinstance(what, tuple):
            layers.append(Layer(version, *what, None))
            continue
        layout = Layout(
            TimeAxis(), (Column("a", "i8"), Column("b" if few or version % 3 else "c", "text")), framed=True
        )
        texts = [f"{version}@{time}" for time in what]
        table = Table(layout, [np.full(len(what), version), texts], [np.arange(len(what)) % 2 == 0, None])
        layers.append(Layer(version, what[0], what[-1], partial(tuple, (np.array(what), Rows(table)))))
    layers.sort(key=lambda layer: (layer.start, layer.version))
    one_by_one, as_arrays = (
        [
            (time, row.table[row.at])
            for times, rows in overlay(layers, merged=way)
            for time, row in zip(times, rows, strict=True)
        ]
        for way in (series.merge, merging.merge)
    )
    assert as_arrays == one_by_one


def test_columns_of_one_kind_are_not_merged_point_by_point(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"a": np.arange(9.0), "b": list("abcdefghi")}, range(0, 18, 2))
    store.extend("key", frame)
    store.extend("key", frame[2:5])
    store.remove("key", start=3, end=9)
    store.extend("key", frame[4:5].assign(a=0.5))
    expected = frame.drop([4, 6, 8]).pipe(lambda left: pd.concat([left, frame[4:5].assign(a=0.5)]).sort_index())
    monkeypatch.setattr("rstore.domain.series.merge", None)
    assert_same(store.range("key", to="pandas"), expected)
    monkeypatch.undo()
    store.extend("key", (8, {"a": 1.5, "b": "z"}))
    assert store.range("key", 8, end=8, to="pandas")["b"].tolist() == ["z"]


@PROPERTY
@given(
    stamps=st.lists(st.integers(-20, 20), min_size=1, max_size=30),
    n=st.none() | st.integers(0, 9),
    freq=st.none() | st.integers(1, 9),
    start=st.none() | st.integers(-21, 21),
    end=st.none() | st.integers(-21, 21),
)
def test_a_frame_has_the_points_of_the_list(stamps: list[int], **limits: Any) -> None:
    with Store("memory://", frozen=False) as store:
        for part in (stamps[:20], stamps[20:], stamps[5:9]):
            frame = np.array(part, np.int64), np.random.default_rng(1).random(len(part))
            store.extend("key", frame, duplicates="last")
        store.extend("key", (stamps[0], -1.0))
        times, values = store.range("key", to="numpy", **limits)
        assert list(zip(times.tolist(), values.tolist(), strict=True)) == store.range("key", **limits)


# -- the unit of a series ---------------------------------------------------------------------------------------------


def seconds(*stamps: int, unit: str = "s", tz: str | None = None) -> pd.Series:
    index = pd.DatetimeIndex(np.array(stamps, "M8[s]")).as_unit(unit)
    return pd.Series(range(len(stamps)), index if tz is None else index.tz_localize("UTC").tz_convert(tz))


def test_a_series_keeps_the_unit_that_it_began_with(store: Store) -> None:
    store.extend("key", seconds(1, 2, unit="ms"))
    store.extend("key", seconds(3))
    store.extend("key", seconds(4, unit="ns"))
    store.extend("key", (5000, 7), (6000, 8))
    store.extend("key", (np.array([7000]), np.array([9])))

    assert [time for time, _ in store.range("key")] == [1000, 2000, 3000, 4000, 5000, 6000, 7000]
    index = store.range("key", to="pandas").index
    assert index.equals(pd.DatetimeIndex(np.arange(1, 8).astype("M8[s]")).as_unit("ms"))
    assert store.range("key", 5000, end=6000, to="pandas").index.dtype == "M8[ms]", "also where no frame is in sight"
    assert store.range("key", 7000, to="pandas").index.dtype == "M8[ms]"


def test_points_that_came_before_a_frame_are_plain_ints(store: Store) -> None:
    store.extend("key", (1, 0.5))
    with pytest.raises(ValueError, match="'key' are plain ints, and those of the frame datetimes"):
        store.extend("key", seconds(1))
    assert store.range("key") == [(1, 0.5)]
    store.extend("key", pd.Series([1.5], [2]))
    assert store.range("key", to="pandas").index.tolist() == [1, 2]

    store.remove("key")
    store.extend("key", seconds(1))
    assert store.range("key", to="pandas").index.dtype == "M8[s]", "a series without points is a new one"


def test_a_time_that_has_no_place_in_the_unit_of_a_series_is_an_error(store: Store) -> None:
    store.extend("key", seconds(1))
    with pytest.raises(ValueError, match="counts its times in 's', in which 1500 ms has no exact place"):
        store.extend("key", pd.Series([1, 2], pd.to_datetime([1000, 1500], unit="ms").as_unit("ms")))
    store.extend("nanoseconds", seconds(1, unit="ns"))
    with pytest.raises(ValueError, match="counts its times in 'ns', in which 10000000000 s has no exact place"):
        store.extend("nanoseconds", seconds(10**10))
    assert store.range("key") == [(1, 0)]
    assert store.range("nanoseconds") == [(10**9, 0)]


def test_a_series_keeps_its_time_zone(store: Store) -> None:
    store.extend("zoned", seconds(0, tz="Europe/Berlin"))
    store.extend("zoned", seconds(3600, tz="America/New_York"))
    store.extend("zoned", (np.array([7200], "M8[s]"), [2]))
    assert [str(time) for time in store.range("zoned", to="pandas").index] == [
        "1970-01-01 01:00:00+01:00",
        "1970-01-01 02:00:00+01:00",
        "1970-01-01 03:00:00+01:00",
    ]
    with pytest.raises(ValueError, match="have the time zone Europe/Berlin, and those of the frame none"):
        store.extend("zoned", seconds(1))
    store.extend("naive", seconds(1))
    with pytest.raises(ValueError, match="have no time zone, and those of the frame Europe/Berlin"):
        store.extend("naive", seconds(1, tz="Europe/Berlin"))


def test_a_series_of_datetimes_is_asked_for_by_datetimes(store: Store) -> None:
    store.extend("zoned", pd.Series(range(4), BERLIN))
    store.extend("naive", pd.Series(range(4), HOURS))

    assert [value for _, value in store.range("zoned", "2026-03-29T00:00", end="2026-03-29 01:30")] == [1, 2]
    assert [value for _, value in store.range("zoned", "2026-03-28T23:00Z")] == [1, 2, 3]
    assert [value for _, value in store.points("naive", HOURS[1], end=HOURS[2].to_pydatetime())] == [1, 2]
    assert store.range("naive", HOURS[2], to="pandas").tolist() == [2, 3]
    assert [value for _, value in store.resample("zoned", "2h", "sum", end="2026-03-29T01:00")] == [0, 3]
    assert store.range("no such series", "2026-01-01") == []
    store.remove("naive", start="2026-03-28T00:30", end="2026-03-28T02:30")
    assert [value for _, value in store.range("naive")] == [0, 3]

    store.extend("ints", (1, 2))
    with pytest.raises(ValueError, match="are plain ints, and 2026-01-01 00:00:00 is none"):
        store.range("ints", "2026-01-01")
    with pytest.raises(ValueError, match="the series have no time zone, and 2026-01-01T00:00:00"):
        store.range("naive", end="2026-01-01T00:00Z")
    with pytest.raises(ValueError, match="'noon' is no time"):
        store.range("naive", "noon")


def test_a_view_of_the_past_shows_the_unit_of_then(backend: Backend) -> None:
    store = backend.store(key=KEY)
    with freeze_time("2026-01-01"):
        store.extend("key", seconds(1, 2, tz="Europe/Berlin"))
    with freeze_time("2026-01-02"):
        store.remove("key")
        store.extend("key", seconds(1, unit="ns"))

    assert store.range("key", to="pandas").index.dtype == "M8[ns]"
    then = store.at("2026-01-01T12:00Z").range("key", to="pandas")
    assert_same(then, seconds(1, 2, tz="Europe/Berlin"))


def test_who_makes_a_series_settles_its_unit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else comes first: the times are counted in his unit."""
    looked: list[int] = []

    def is_new(core: Reading, stream: Stream) -> tuple[bool, int]:
        answer = is_new_now(core, stream)
        looked.append(answer[1])
        if len(looked) == 1:
            store.extend("key", seconds(1, unit="ns"))
        return answer

    is_new_now = extending.is_new
    monkeypatch.setattr(extending, "is_new", is_new)
    store.extend("key", seconds(2))
    assert len(looked) >= 2
    assert store.range("key") == [(10**9, 0), (2 * 10**9, 0)]


# -- writing ----------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "times that are texts": (lambda: pd.Series([1], ["a"]), TypeError, "datetimes or integers"),
    "times that are floats": (lambda: pd.Series([1], [1.5]), TypeError, "datetimes or integers, not float64"),
    "a missing time": (lambda: pd.Series([1, 2], pd.to_datetime(["2026", None])), ValueError, "row 1 has no time"),
    "levels": (lambda: pd.Series([1], pd.MultiIndex.from_tuples([(1, 2)])), TypeError, "datetimes or integers"),
    "columns of one name": (lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "names of their own"),
    "columns called by numbers": (lambda: pd.DataFrame([[1, 2]]), TypeError, "a column is a str, not int: rename 0"),
    "a series called by a number": (lambda: pd.Series([1], name=0), TypeError, "rename 0"),
    "no columns": (lambda: pd.DataFrame(index=[1, 2]), ValueError, "needs a column"),
    "large times": (lambda: (np.array([2**63], "u8"), [1]), OverflowError, "64 bits: 9223372036854775808"),
    "days": (lambda: (np.array(["2026-01-01"], "M8[D]"), [1]), ValueError, "convert them with astype"),
    "several dimensions": (lambda: (np.arange(2), np.zeros((2, 2))), ValueError, "of one dimension"),
    "different lengths": (lambda: (np.arange(2), np.zeros(3)), ValueError, "there are 2 times, and 3 values"),
    "no column of times": (lambda: pl.DataFrame({"a": ["x"], "b": [1]}), TypeError, r"integers first \(a, b\)"),
    "a null among times": (lambda: pl.DataFrame({"t": [1, None], "b": [1, 2]}), ValueError, "row 1 has no time"),
    "a null among times of Arrow": (lambda: pa.table({"t": [1, None], "b": [1, 2]}), ValueError, "row 1 has no time"),
}


@in_turn("name", BAD)
def test_a_frame_that_is_no_series_is_an_error_and_nothing_is_stored(store: Store, name: str) -> None:
    make, error, match = BAD[name]
    with pytest.raises(error, match=match):
        store.extend("key", make())
    assert store.timeseries() == []


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (pl.DataFrame({"id": [7], "at": pl.Series([5], dtype=pl.Datetime("us"))}), "at"),
        (pl.DataFrame({"t": [5], "id": [7]}), "t"),
        (pl.DataFrame({"day": pl.Series([0], dtype=pl.Date), "also": pl.Series([5], dtype=pl.Date)}), "day"),
        (pa.table({"id": [7], "at": pa.array([5], pa.timestamp("us"))}), "at"),
    ],
)
def test_the_times_are_the_first_column_of_datetimes_or_else_the_first(frame: Any, name: str) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", frame)
        assert store.range("key", to="pandas").index.name == name


def test_an_empty_frame_is_no_points(store: Store) -> None:
    store.extend("key", pd.Series([], pd.DatetimeIndex([]), dtype=float))
    assert store.timeseries() == []
    with pytest.raises(StoreConflictError):
        store.extend("key", pd.Series([], [], dtype=float).set_axis(pd.RangeIndex(0)), expect=7)
    assert len(store.range("key", to="pandas")) == len(store.range("key", to="polars")) == 0
    assert store.range("key", to="arrow").num_rows == len(store.range("key", to="numpy")[0]) == 0


def test_the_options_of_extend_are_those_of_points(store: Store) -> None:
    store.extend("key", seconds(1), expect=0)
    with pytest.raises(StoreConflictError):
        store.extend("key", seconds(2), expect=0)
    store.extend("key", seconds(2), expect=store.version("key", TS), once="token")
    store.extend("key", seconds(3), once="token")
    with store.context(who="ada"), store.transaction():
        store.extend("key", seconds(4))
        store.extend("other", seconds(4, unit="ns"))
        assert store.range("other", to="pandas").index.dtype == "M8[ns]"
    assert [time for time, _ in store.range("key")] == [1, 2, 4]
    assert store.history("key")[-1].who == "ada"


def test_a_frozen_store_takes_no_frame(backend: Backend) -> None:
    backend.store().extend("key", seconds(1))
    with pytest.raises(FrozenStoreError):
        backend.store(frozen=True).extend("key", seconds(2))
    assert len(backend.store(frozen=True).range("key", to="pandas")) == 1


def test_types_are_not_dumped_and_objects_are(store: Store, backend: Backend) -> None:
    """A ``_dump`` is for values: what has a type has none to be dumped. So any Store reads it."""
    json = backend.store(JsonStore, namespace="json")
    json.extend("numbers", pd.DataFrame({"a": [np.nan, np.inf], "b": pd.array(["x", None], TEXTS)}))
    json.extend("objects", pd.Series([None, [1, "a"]], dtype=object))
    with pytest.raises(TypeError, match="not JSON serializable") as caught:
        json.extend("bad", pd.Series([1, {1}], dtype=object))
    assert "'bad'" in caught.value.__notes__[0]

    assert json.range("objects", to="pandas").tolist() == [None, [1, "a"]]
    plain = backend.store(namespace="json")
    assert [row["b"] for _, row in plain.range("numbers")] == ["x", None]
    with pytest.raises(StoreFormatError, match="with its own _dump"):
        plain.range("objects")
    store.extend("pickled", pd.Series([None, 1], dtype=object))
    assert json.timeseries() == ["numbers", "objects"]


def test_nobody_slips_a_pickle_into_a_column(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        store.extend("key", pd.Series([None, 1], dtype=object))
    with JsonStore(tmp_path / "a.db") as json, pytest.raises(StoreFormatError, match="never unpickles"):
        json.range("key")


def test_rows_and_values_make_a_frame_with_a_column_for_values(store: Store) -> None:
    store.extend("key", pd.DataFrame({"a": [1, 5], "b": [2.5, 3.5]}))
    store.extend("key", (1, {"a": 3, "b": None, "c": "new"}))
    found = store.range("key", to="pandas")
    assert found.dtypes.astype(str).to_dict() == {"a": "int64", "b": "float64", "c": SHOWN_TEXTS}
    assert found["a"].tolist() == [1, 3]
    assert found["b"].isna().tolist() == [False, True]
    assert found["c"].tolist()[1] == "new"

    store.extend("key", (2, 7), (3, {}), (4, None))
    assert store.range("key")[2:] == [(2, 7), (3, {}), (4, None)]
    found = store.range("key", to="pandas")
    assert found["a"].dtype == "Int64"
    assert found["a"].dropna().tolist() == [1, 3]
    assert found["value"].tolist()[2:] == [7, {}, None]
    assert store.range("key", 2, end=2, to="polars").to_dicts() == [{"time": 2, "a": None, "b": None, "value": 7}]


def test_rows_among_plain_values_make_a_frame_too(store: Store) -> None:
    store.extend("key", (1, 0.5), (2, 1.5))
    store.extend("key", pd.DataFrame({"value": [3, 4], "b": ["x", "y"]}, [2, 3]))
    found = store.range("key", to="arrow")
    assert found.to_pydict() == {
        "time": [1, 2, 3],
        "value 2": [0.5, None, None],
        "value": [None, 3, 4],
        "b": [None, "x", "y"],
    }
    assert store.range("key") == [(1, 0.5), (2, {"value": 3, "b": "x"}), (3, {"value": 4, "b": "y"})]


def test_a_span_has_the_columns_of_the_series_whatever_is_in_it(store: Store) -> None:
    typed = ALL_TYPES.drop(columns="object")  # the type of objects is that of the values which are there
    store.extend("frame", typed.set_axis(BERLIN))
    store.extend("series", pd.Series([1.5], HOURS[:1], name="price"))
    store.extend("one column", pd.DataFrame({"a": pd.array([1], "Int8")}, HOURS[:1]))
    for key in ("frame", "series", "one column"):
        whole = store.range(key, to="pandas")
        assert_same(store.range(key, n=0, to="pandas"), whole[:0])
        assert_same(store.range(key, "1970-01-01", end="1970-01-02", to="pandas"), whole[:0])
        polars = store.range(key, to="polars")
        assert store.range(key, n=0, to="polars").schema == polars.schema
        assert store.range(key, n=0, to="arrow").schema == store.range(key, to="arrow").schema
        if key != "frame":  # NumPy has no type for ints of which some are missing
            dtypes = [array.dtype for array in store.range(key, to="numpy")]
            assert [array.dtype for array in store.range(key, n=0, to="numpy")] == dtypes
    store.extend("one column", (0, 5))
    assert store.range("one column", 0, end=0, to="pandas")["a"].tolist() == [5]
    store.extend("frame", (0, {"float": 2, "int": 1}))
    found = store.range("frame", 0, end=0, to="pandas")
    assert found["float"].tolist() == [2.0]
    assert found["text"].dtype == TEXTS
    assert list(found.columns) == list(typed.columns)
    store.remove("series")
    assert store.range("series", to="pandas").index.dtype == "int64", "a series without points is of no kind"


def test_points_without_a_type_make_a_frame_too(store: Store) -> None:
    store.extend("floats", ((t, t / 2) for t in range(5000)))
    store.extend("mixed", (1, "a"), (2, None))
    times, values = store.range("floats", to="numpy")
    assert values.dtype == np.float64
    assert times.tolist() == list(range(5000))
    assert store.range("mixed", to="pandas").tolist() == ["a", None]
    assert store.range("mixed", to="polars").to_dicts() == [{"time": 1, "value": "a"}, {"time": 2, "value": None}]


def test_columns_of_several_types_become_one_that_holds_all(store: Store) -> None:
    store.extend("numbers", pd.Series([1, 2], [1, 2]))
    store.extend("numbers", pd.Series([0.5], [3]))
    store.extend("numbers", (4, 4.5))
    store.extend("mixed", pd.Series([1, 2], [1, 2]))
    store.extend("mixed", pd.Series(["a"], [3]))
    assert store.range("numbers", to="numpy")[1].tolist() == [1.0, 2.0, 0.5, 4.5]
    assert store.range("numbers")[0] == (1, 1)
    assert store.range("mixed", to="pandas").tolist() == [1, 2, "a"]


# -- what is stored ---------------------------------------------------------------------------------------------------


def records(backend: Backend, key: str) -> list[Record]:
    return list(backend.log().read(Stream(TS, key)))


def test_compacting_keeps_types_and_never_needs_more_records(backend: Backend) -> None:
    store = backend.store()
    store.extend("key", pd.DataFrame({"a": np.arange(20_000.0), "b": np.arange(20_000)}, np.arange(0, 40_000, 2)))
    for t in (1, 3, 5):
        store.extend("key", (t, {"a": 0.5, "b": t}))
    for low in range(100, 2000, 100):
        store.extend("key", pd.DataFrame({"a": [1.5], "b": [low]}, [low]))
    before, frame = len(records(backend, "key")), store.range("key", to="pandas")
    assert before == 23

    store.compact()
    assert len(records(backend, "key")) == 2
    assert_same(store.range("key", to="pandas"), frame)
    assert frame["b"].dtype == np.int64


def test_a_compacted_series_is_left_alone(backend: Backend) -> None:
    store = backend.store()
    for part in range(3):
        store.extend("key", pd.Series(np.arange(40_000.0), np.arange(40_000) + 40_000 * part))
    assert store.compact().records > 0
    assert [record.end - record.start + 1 for record in records(backend, "key")] == [65_536, 54_464]
    assert store.compact() == (0, 0)


def test_reverting_brings_back_the_types(store: Store) -> None:
    with freeze_time("2026-01-01"):
        store.extend("key", seconds(1, 2, 3, tz="Europe/Berlin"))
    with freeze_time("2026-01-02"):
        store.extend("key", seconds(2, 9, tz="Europe/Berlin"))
    store.revert("key", "2026-01-01T12:00Z", kind=TS)
    assert_same(store.range("key", to="pandas"), seconds(1, 2, 3, tz="Europe/Berlin"))


def test_numbers_that_say_little_are_compressed_and_others_are_not(backend: Backend) -> None:
    store = backend.store()
    store.extend("zeros", (np.arange(50_000), np.zeros(50_000)))
    store.extend("noise", (np.arange(50_000), np.random.default_rng(1).random(50_000)))
    zeros, noise = (sum(len(record.data) for record in records(backend, key)) for key in ("zeros", "noise"))
    assert zeros < 5_000
    assert 400_000 < noise < 400_500


def test_a_version_that_knows_no_columns_says_so(
    backend: Backend, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = backend.store(key=key)
    store.extend("key", seconds(1))
    monkeypatch.setattr(sealing, "KNOWN", 31)
    with pytest.raises(StoreFormatError, match="newer rstore"):
        store.range("key")


def test_columns_of_a_newer_version_are_a_clear_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(columns.FORMATS, "f16", "d")
    with monkeypatch.context() as patch:
        patch.setattr(envelope, "encode", lambda table, _: columns.encode(of_kind(table, "f16"), _))
        store.extend("key", pd.Series([1.5, 2.5]))
    monkeypatch.delitem(columns.FORMATS, "f16")
    with pytest.raises(StoreFormatError, match="columns of kind 'f16': a newer rstore wrote it"):
        store.range("key")


def of_kind(table: Table, kind: str) -> Table:
    return Table(Layout(TimeAxis(), (Column(None, kind),)), table.data)


def test_a_damaged_column_is_a_store_error(tmp_path: Path) -> None:
    """Whatever byte is lost, and with a checksum that is right: it is never another frame, and never a raw error."""
    with Store(tmp_path / "a.db", frozen=False) as store:
        store.extend("key", pd.DataFrame({"a": [1.5, 2.5], "b": ["x", None], "c": pd.array([1, None], "Int8")}))
        (record,) = store._core.log.read(Stream(TS, "key"))
        flags, opened = store._core.envelope.sealer.open(Stream(TS, "key"), record)
        body = bytes(opened)
        for cut in range(len(body)):
            forged = store._core.envelope.entry(
                Stream(TS, "key"),
                "extend",
                Body(flags, body[:cut]),
                start=record.start,
                end=record.end,
            )
            store._core.log.rewrite(
                [Rewrite(Stream(TS, "key"), None, [record.version], [record._replace(data=forged.data)])]
            )
            with pytest.raises(StorePayloadError, match="ts 'key' in namespace 'default'"):
                store.range("key")


def test_a_large_frame_is_written_in_slices(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random(2_000_000)
    frame = pd.Series(values, np.arange(len(values)))
    with Store(tmp_path / "a.db", frozen=False) as store:
        store.extend("warm", frame[:10])
        tracemalloc.start()
        store.extend("key", frame)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < values.nbytes / 2
        assert store.last("key") == (len(values) - 1, values[-1])


# -- libraries --------------------------------------------------------------------------------------------------------


def test_typed_columns_are_read_without_any_library(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db", frozen=False) as store:
        store.extend("key", ALL_TYPES.set_axis(pd.to_datetime([1, 5, 7, 2**40]))[["float16", "text", "zoned", "Int64"]])
        expected = store.range("key")
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("numpy", "pandas", "polars", "pyarrow")))
from rstore import Store
from rstore.transfer import export_points
with Store({str(tmp_path / "a.db")!r}, frozen=False) as store:
    print(store.range("key"))
    print(*store.time_axis("key")[:2])
    export_points(store, "key", {str(tmp_path / "a.csv")!r})
    store.extend("key", (9, None))
    store.compact()
    print(store.range("key", end=7))
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert found == [repr(expected), "ns None", repr(expected[:3])]
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "time,float16,text,zoned,Int64"


@pytest.mark.parametrize("to", ["pandas", "polars", "arrow", "numpy"])
def test_a_library_that_is_not_installed_is_named(to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, {"arrow": "pyarrow"}.get(to, to), None)
    monkeypatch.delitem(sys.modules, f"rstore.frames.from_{to}", raising=False)
    with Store("memory://", frozen=False) as store, pytest.raises(StoreNotAvailableError) as caught:
        store.range("key", to=to)
    assert f"pip install 'rlib-store[{to}]'" in str(caught.value)


def test_an_unknown_library_is_an_error_that_lists_them() -> None:
    with (
        Store("memory://", frozen=False) as store,
        pytest.raises(ValueError, match="pandas, polars, arrow, numpy, not 'excel'"),
    ):
        store.range("key", to="excel")


def test_a_category_that_is_missing_is_none(store: Store) -> None:
    index = pd.date_range("2026-03-01", periods=3, freq="h")
    store.extend("grade", pd.DataFrame({"mark": pd.Categorical(["a", None, "b"])}, index=index))
    store.extend("stars", pd.DataFrame({"stars": pd.Categorical([5, None, 3])}, index=index))
    store.extend("month", pd.Series(pd.PeriodIndex(["2026-01", None, "2026-03"], freq="M"), index))
    assert [mark for _, mark in store.range("grade")] == ["a", None, "b"]
    assert store.range("grade", to="arrow")["mark"].to_pylist() == ["a", None, "b"]
    assert store.range("grade", to="pandas")["mark"].dtype == SHOWN_TEXTS
    assert [stars for _, stars in store.range("stars")] == [5, None, 3]
    assert store.range("month", to="pandas").tolist() == [pd.Period("2026-01"), None, pd.Period("2026-03")]


def test_a_text_that_is_missing_is_no_text(store: Store) -> None:
    store.extend("polars", pl.DataFrame({"t": [1, 2], "text": ["None", None]}))
    store.extend("pandas", pd.Series(pd.array(["None", None], TEXTS), [1, 2]))
    store.extend("points", (1, "None"), (2, None))
    for key in ("polars", "pandas", "points"):
        found = store.range(key, to="pandas")
        texts = found if isinstance(found, pd.Series) else found["text"]
        assert texts.isna().tolist() == [False, True]
        assert type(texts.tolist()[0]) is str


def test_how_long_something_took_has_a_type_and_a_unit(store: Store) -> None:
    took = pd.Series(pd.to_timedelta([1, None, 3], unit="s").as_unit("ms"), HOURS[:3], name="took")
    store.extend("took", took)
    store.extend("took", pd.Series(pd.to_timedelta([5], unit="s").as_unit("ns"), HOURS[3:], name="took"))
    assert [span for _, span in store.range("took")] == [1000, None, 3000, 5000], "as ints, as all times are"
    assert_same(store.range("took", n=3, to="pandas"), took)
    assert store.range("took", to="pandas").dtype == "timedelta64[ms]"
    assert store.range("took", to="polars").schema["took"] == pl.Duration("ms")
    assert store.range("took", to="numpy")[1].tolist()[1:] == [None, timedelta(seconds=3), timedelta(seconds=5)]
    assert [span for _, span in store.resample("took", "1D", "max")] == [5000]
    with pytest.raises(ValueError, match="no exact place"):
        store.extend("took", pd.Series(pd.to_timedelta([1], unit="ns"), HOURS[3:]))


def test_values_of_several_types_are_not_changed(store: Store) -> None:
    """Whatever polars or Arrow would make of them."""
    mixes = {
        "texts and numbers": ["1", 1, None],
        "floats and ints": [0.5, 1, 2**53 + 1],
        "bools and ints": [True, 1, 0],
        "large ints": [2**70, 1, None],
        "lists": [[1], ["a"], None],
        "times": [pd.Timestamp("2026-01-01"), pd.Timestamp(1), None],
        "bytes and texts": [b"a", "a", None],
    }
    store.extend("key", pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in mixes.items()}))
    found = store.range("key", to="polars")
    for name, values in mixes.items():
        assert [(type(value), value) for value in found[name].to_list()] == [(type(each), each) for each in values]
        store.extend(name, pd.Series(values, dtype=object))
        assert store.range(name, to="polars").columns == ["time", "value"]
    for name in mixes.keys() - {"times"}:
        with pytest.raises(ValueError, match="Arrow has no type for all values"):
            store.range(name, to="arrow")
    store.extend("again", found)
    assert store.range("again", to="numpy")[1]["texts and numbers"].tolist() == ["1", 1, None]


def test_columns_of_times_keep_the_unit_that_they_began_with(store: Store) -> None:
    """pandas, polars and NumPy prefer different ones."""
    index = pd.date_range("2026-03-01", periods=4, freq="h", tz="UTC").as_unit("us")
    due = pd.DatetimeIndex([*index[:3] + pd.Timedelta("1s"), pd.NaT]).as_unit("us")
    whole = pd.DataFrame({"due": due, "n": range(4)}, index=index)
    store.extend("frame", whole[:2])
    store.extend("frame", whole[1:].assign(due=whole["due"][1:].dt.as_unit("ns")))
    store.extend("series", whole["due"][:2])
    store.extend("series", whole["due"][2:].dt.as_unit("s"))
    found = store.range("frame", to="pandas")
    assert (found["due"].dtype, found["due"].tolist()) == (whole["due"].dtype, whole["due"].tolist())
    assert store.range("series", to="pandas").tolist() == whole["due"].tolist()
    with pytest.raises(ValueError, match="no exact place"):
        store.extend("frame", whole.assign(due=whole["due"].dt.as_unit("ns") + pd.Timedelta("1ns")))
    with pytest.raises(ValueError, match="the times in column 'due' of 'frame' have the time zone UTC"):
        store.extend("frame", whole.assign(due=whole["due"].dt.tz_localize(None)))
    assert store.range("frame", to="pandas").equals(found)


def test_resampled_times_and_durations_are_none_of_them_plain_ints(store: Store) -> None:
    due = pd.DatetimeIndex(["2026-04-01", None, "2026-04-03", "2026-04-02"], tz="Europe/Berlin").as_unit("ms")
    took = pd.to_timedelta([4, 3, 2, 1], unit="s").as_unit("us")
    frame = pd.DataFrame({"due": due, "took": took, "n": range(4)}, index=HOURS)
    store.extend("frame", frame)
    store.extend("series", frame["took"])
    for how in ("first", "last", "min", "max"):
        found = store.resample("frame", "2h", how, to="pandas")
        expected = frame.resample("2h").agg(how)
        assert found.dtypes.to_dict() == frame.dtypes.to_dict()
        assert found.to_dict() == expected.to_dict()
        assert store.resample("series", "2h", how, to="polars")["value"].dtype == pl.Duration("us")
    assert store.resample("frame", "2h", "count", to="pandas")["due"].tolist() == [1, 2]


def test_points_among_times_and_durations_are_ints_of_their_unit(store: Store) -> None:
    took = pd.Series(pd.to_timedelta([1, 2], unit="s").as_unit("ms"), HOURS[:2], name="took")
    store.extend("took", took)
    store.extend("took", (int(HOURS.asi8[2]), 3000))
    assert store.range("took", to="pandas").dtype == "timedelta64[ms]"
    assert [span for _, span in store.range("took")] == [1000, 2000, 3000]
    assert store.range("took", to="polars")["took"].to_list()[2] == timedelta(seconds=3)

    store.extend("rows", pd.DataFrame({"due": HOURS[:2].as_unit("s"), "n": [1, 2]}, [1, 2]))
    store.extend("rows", (3, {"due": 86400, "n": 3}), (4, {"n": 4}))
    found = store.range("rows", to="pandas")
    assert found["due"].dtype == "datetime64[s]"
    assert found["due"].tolist() == [*HOURS[:2], pd.Timestamp("1970-01-02"), pd.NaT]
    store.extend("rows", (5, {"due": "soon"}))
    assert store.range("rows", to="pandas")["due"].dtype == object


def test_an_index_of_arrow_is_as_good_as_another(store: Store) -> None:
    times = pd.Index(pd.array([1, 2], "timestamp[ms, tz=UTC][pyarrow]"), name="at")
    store.extend("times", pd.Series([1.5, 2.5], times))
    assert store.time_axis("times") == TimeAxis("ms", "UTC", "at")
    assert store.range("times") == [(1, 1.5), (2, 2.5)]
    store.extend("ints", pd.Series([1.5, 2.5], pd.Index(pd.array([1, 2], "int32[pyarrow]"))))
    store.extend("ints", pd.Series([3.5], pd.Index(pd.array([3], "Int64"))))
    assert store.range("ints") == [(1, 1.5), (2, 2.5), (3, 3.5)]
    for dtype in ("timestamp[ms][pyarrow]", "int64[pyarrow]", "Int64"):
        with pytest.raises(ValueError, match="row 1 has no time"):
            store.extend("missing", pd.Series([1, 2], pd.Index(pd.array([1, None], dtype))))
    for dtype in ("string", "double[pyarrow]", "Float64"):
        with pytest.raises(TypeError, match="datetimes or integers"):
            store.extend("missing", pd.Series([1, 2], pd.Index(pd.array([1, 2], "Int64").astype(dtype))))
    assert store.timeseries("missing") == []


def test_polars_is_shown_in_utc_what_has_an_offset(store: Store) -> None:
    index = pd.date_range("2026-03-01", periods=2, freq="h", tz="+05:30")
    store.extend("s", pd.Series([1, 2], index))
    found = store.range("s", to="polars")
    assert found["time"].to_list() == list(index.to_pydatetime())
    assert str(store.range("s", to="pandas").index.tz) == "UTC+05:30"
