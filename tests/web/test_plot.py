"""A series as a plot needs it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstore import Store
from rstore.web.plot import Line, outline, plotted

numbers = st.none() | st.integers(-100, 100) | st.floats(-100, 100)


@given(
    st.dictionaries(st.integers(-500, 500), numbers, min_size=1, max_size=80),
    st.integers(-600, 600),
    st.integers(-600, 600),
    st.integers(1, 12),
)
def test_no_extreme_is_lost(points: dict[int, Any], start: int, end: int, pixels: int) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("series", points.items())
        plot = plotted(store, "series", start, end, pixels)
    assert plot is not None
    inside = {time: value for time, value in points.items() if start <= time <= end}
    for line in plot.lines:
        for time, least, most in zip(plot.times, line.least, line.most, strict=True):
            width = 1 if plot.step is None else plot.step
            there = [value for at, value in inside.items() if time <= at < time + width and value is not None]
            assert (least, most) == ((float(min(there)), float(max(there))) if there else (None, None))
    found = [value for value in inside.values() if value is not None]
    assert len(plot.lines) == bool(found)
    assert len(plot.times) <= max(2 * pixels, pixels + 1)
    if plot.step is None:
        assert list(plot.times) == sorted(inside)


def test_a_column_of_a_frame_is_a_line_if_it_has_numbers(store: Store) -> None:
    index = pd.date_range("2026-01-01", periods=5000, freq="s", tz="UTC")
    frame = pd.DataFrame({"up": np.arange(5000.0), "down": -np.arange(5000), "text": ["x"] * 5000}, index=index)
    store.extend("frame", frame)
    plot = plotted(store, "frame", pixels=100)
    assert plot is not None
    assert [line.name for line in plot.lines] == ["up", "down"]
    assert plot.others == ["text"]
    assert (plot.lines[0].least[0], plot.lines[0].most[-1]) == (0.0, 4999.0)
    assert (plot.unit, len(plot.times)) == (store.time_axis("frame").unit, 100)


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([1, 2.5, True, Decimal("3.5")], [1.0, 2.5, 1.0, 3.5]),
        ([float("nan"), float("inf"), -float("inf"), 1], [None, None, None, 1.0]),
        ([None, None], None),
        (["a", 1], None),
        ([{"a": 1}, 2], [None, 2.0]),
        ([1], [1.0]),
        ([5, 5, 5], [5.0, 5.0, 5.0]),
        ([2 << 2000, 1], [None, 1.0]),
        ([(1, 2)], None),
    ],
    ids=["numbers", "not finite", "nothing", "texts", "rows", "one", "equal", "huge", "tuple"],
)
def test_only_numbers_are_drawn(values: list[Any], drawn: list[Any] | None) -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("series", *enumerate(values))
        plot = plotted(store, "series")
    assert plot is not None
    assert next((list(line.most) for line in plot.lines if line.name == "value"), None) == drawn


def test_values_that_cannot_be_compared_are_told() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("series", *((time, time if time % 2 else "text") for time in range(100)))
        plot = plotted(store, "series", pixels=10)
    assert plot is not None
    assert (plot.lines, "no numbers" in plot.problem) == ([], True)


def test_a_series_without_points_has_no_plot(store: Store) -> None:
    store.extend("series", (1, 1))
    assert plotted(store.at("2020-01-01T00:00Z"), "series") is None
    assert plotted(store, "nothing") is None
    empty = plotted(store, "series", 5, 4)
    assert empty is not None
    assert (list(empty.times), empty.lines) == ([], [])


def test_an_outline_goes_there_and_back() -> None:
    with Store("memory://", frozen=False) as store:
        store.extend("series", (0, 0), (5, None), (10, 10))
        plot = plotted(store, "series")
    assert plot is not None
    line = plot.lines[0]
    assert isinstance(line, Line)
    assert outline(plot, line, 100, 50) == "0.0,50.0 100.0,0.0 100.0,0.0 0.0,50.0"
