"""Resampling by NumPy: the same bins as those that are made value by value."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore import Store, frames
from rstore.domain.resampling import HOWS
from rstore.encoding import checksums, envelope, summaries
from tests.properties.test_properties import EXAMPLES, SETTINGS

DAY = datetime.datetime(2026, 1, 1)  # noqa: DTZ001  # polars and its zones are not what this is about
BEGIN = int(DAY.replace(tzinfo=datetime.UTC).timestamp()) * 1000
KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG="
YEARS = datetime.timedelta(days=36_500)
INTS = {pl.Int8: 8, pl.Int16: 16, pl.Int32: 32, pl.Int64: 64}
UNSIGNED = {pl.UInt8: 8, pl.UInt16: 16, pl.UInt32: 32, pl.UInt64: 64}

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    pl.Float64: st.sampled_from([math.nan, 0.0, -0.0, math.inf, -math.inf, 0.25, -0.5, 2.5]),
    pl.Float32: st.sampled_from([math.nan, 0.5, -1.25, math.inf]),
    pl.Boolean: st.booleans(),
    pl.Date: st.dates(),
    pl.Datetime("us"): st.timedeltas(-YEARS, YEARS).map(lambda since: DAY + since),
    pl.Duration("ms"): st.integers(-9, 9).map(lambda hours: datetime.timedelta(hours=hours)),
    pl.String: st.text("ab", max_size=2),
    **{kind: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for kind, bits in INTS.items()},
    **{kind: st.integers(0, 2**bits - 1) for kind, bits in UNSIGNED.items()},
}
"""Values of each kind of column: ints overflow in sums of their own width, and sums of these floats are exact."""


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    minutes = sorted(draw(st.sets(st.integers(0, 40), min_size=3, max_size=12)))
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3))
    columns = {
        f"{i} {kind}": pl.Series(
            draw(st.lists(VALUES[kind] | st.none(), min_size=len(minutes), max_size=len(minutes))), dtype=kind
        )
        for i, kind in enumerate(kinds)
    }
    times = pl.Series([DAY + datetime.timedelta(minutes=minute) for minute in minutes], dtype=pl.Datetime("ms"))
    return pl.DataFrame({"time": times, **columns})


def bins(store: Store, how: str, freq: int, monkeypatch: pytest.MonkeyPatch, *, by_numpy: bool) -> Any:
    with monkeypatch.context() as patch:
        if not by_numpy:
            patch.setattr(frames, "as_reduced", lambda: None)
        try:
            return [(time, exact(value)) for time, value in store.resample("key", freq, how)]
        except TypeError as exc:
            return str(exc)


def exact(value: Any) -> Any:
    """Two results are the same if these are: with their types, where NaN equals itself, and 0.0 equals -0.0."""
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    return type(value), "nan" if value != value else value


@settings(SETTINGS, max_examples=8 * EXAMPLES)
@given(
    parts=st.lists(tables(), min_size=1, max_size=3),
    hole=st.none() | st.tuples(st.integers(0, 40), st.integers(0, 40)),
    loose=st.lists(st.tuples(st.integers(0, 40), st.integers(-5, 5)), max_size=2),
    minutes=st.sampled_from([3, 7, 60]),
)
def test_columns_and_values_have_the_same_bins(
    parts: list[pl.DataFrame], hole: Any, loose: list[tuple[int, int]], minutes: int
) -> None:
    with Store("memory://", frozen=False) as store, pytest.MonkeyPatch.context() as monkeypatch:
        for part in parts:
            store.extend("key", part)
        if hole is not None:
            store.remove("key", start=BEGIN + hole[0] * 60_000, end=BEGIN + hole[1] * 60_000)
        store.extend("key", [(BEGIN + minute * 60_000, value) for minute, value in loose])
        for how in HOWS:
            found = bins(store, how, minutes * 60_000, monkeypatch, by_numpy=True)
            assert found == bins(store, how, minutes * 60_000, monkeypatch, by_numpy=False)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give segments of two rows a summary, with marks and chunks so small that there are many."""
    monkeypatch.setattr(envelope, "SUMMED_FROM", 2)
    monkeypatch.setattr(summaries, "_MARK", 3)
    monkeypatch.setattr(checksums, "CHUNK", 16)


@pytest.mark.usefixtures("tiny")
@settings(SETTINGS, max_examples=8 * EXAMPLES)
@given(
    parts=st.lists(tables(), min_size=1, max_size=3),
    hole=st.none() | st.tuples(st.integers(0, 40), st.integers(0, 40)),
    minutes=st.sampled_from([3, 20, 35, 60]),
    span=st.tuples(st.integers(-1, 41), st.integers(-1, 41)),
    key=st.sampled_from([None, KEY]),
)
def test_summaries_and_parts_change_nothing(
    parts: list[pl.DataFrame], hole: Any, minutes: int, span: tuple[int, int], key: str | None
) -> None:
    """Whether summaries and parts of segments are read, or everything."""
    low, high = (BEGIN + minute * 60_000 for minute in span)
    with (
        Store("memory://", key=key, frozen=False) as store,
        Store("memory://", frozen=False) as naive,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        for each in (store, naive):
            if each is naive:
                monkeypatch.setattr(envelope, "SUMMED_FROM", 1_000_000)
            for part in parts:
                each.extend("key", part)
            if hole is not None:
                each.remove("key", start=BEGIN + hole[0] * 60_000, end=BEGIN + hole[1] * 60_000)
        everything = [exact(point) for point in naive.range("key")]
        assert [exact(point) for point in store.range("key")] == everything
        assert [exact(point) for point in store.range("key", low, end=high)] == [
            point for point in everything if low <= point[0][1] <= high
        ]
        assert exact(store.first("key")) == exact(naive.first("key"))
        assert exact(store.last("key")) == exact(naive.last("key"))
        assert store.time_axis("key") == naive.time_axis("key")
        for how in HOWS:
            freq = minutes * 60_000
            found = bins(store, how, freq, monkeypatch, by_numpy=True)
            assert found == bins(naive, how, freq, monkeypatch, by_numpy=False)
            assert found == bins(store, how, freq, monkeypatch, by_numpy=False)


@pytest.mark.parametrize("span", [(100_000, None), (None, 200_000), (100_000, 200_000), (59, 60), (1, None)])
def test_a_span_that_cuts_a_long_segment_counts_no_others(span: tuple[int | None, int | None]) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("key", pd.Series(np.arange(5000.0), (np.arange(5000) * 60).astype("M8[s]")))
        start, end = span
        expected = sum(value for _, value in store.range("key", start, end=end))

        assert [value for _, value in store.resample("key", "1000D", "sum", start=start, end=end)] == [expected]
