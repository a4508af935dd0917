"""A series as a plot needs it: of all points in a pixel, only the least and the greatest value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from attrs import frozen

from rstore.core import reading_of
from rstore.domain.streams import TS, Stream
from rstore.models.segments import layout_of
from rstore.store import Store
from rstore.text.units import Unit, named, spanned
from rstore.view import View

PIXELS: Final = 800
_LINES: Final = 8
_VALUE: Final = "value"


@frozen
class Line:
    """A column of a plot.

    Attributes:
        name: the column; ``value`` of a series without columns.
        least, most: the least and the greatest value at each time; None where there is none. They are the same list
            where the plot has all points.
    """

    name: str
    least: Sequence[float | None]
    most: Sequence[float | None]


@frozen
class Plot:
    """A series, or a span of it.

    Attributes:
        unit: the unit of its timestamps; None if they are plain numbers.
        per_second: how many of these make a second; 1 for plain numbers.
        first, last: the first and the last timestamp of the series.
        start, end: the span that is shown, both inclusive.
        step: how far two times are apart; None if these are the times of the points themselves.
        times: timestamps: of the points, or where so many begin that a pixel shows together.
        lines: the columns that are numbers.
        others: the names of all other columns.
        problem: why nothing can be drawn; empty if it can.
    """

    unit: str | None
    per_second: int
    first: int
    last: int
    start: int
    end: int
    step: int | None
    times: Sequence[int]
    lines: Sequence[Line]
    others: Sequence[str]
    problem: str = ""


class _Values(NamedTuple):
    """The values of a plot by column, as they are stored."""

    step: int | None
    problem: str
    times: list[int]
    least: dict[str, list[Any]]
    most: dict[str, list[Any]]


def plotted(
    view: Store | View, key: str, start: int | None = None, end: int | None = None, pixels: int = PIXELS
) -> Plot | None:
    """Return a series as a plot of so many pixels needs it; None if it has no point.

    Args:
        start, end: only points from then to then, both inclusive, in the unit of the series.
    """
    first, last = view.first(key), view.last(key)
    if first is None or last is None:
        return None
    low, high = first[0] if start is None else start, last[0] if end is None else end
    unit = _unit_of(view, key, first[0], last[0])
    step, problem, times, least, most = _values(view, key, low, high, pixels)
    lines, others = _lines(least, most)
    name, per_second = (unit.name, unit.per_second) if unit else (None, 1)
    return Plot(name, per_second, first[0], last[0], low, high, step, times, lines, others, problem)


def drawn_of(unit: str | None, per_second: int, times: Sequence[int], columns: dict[str, list[Any]]) -> Plot:
    """Return columns as a plot that has all their values. There is one time at least, and they are in order."""
    lines, others = _lines(columns, columns)
    first, last = times[0], times[-1]
    return Plot(unit, per_second, first, last, first, last, None, times, lines, others)


def _lines(least: Mapping[str, list[Any]], most: Mapping[str, list[Any]]) -> tuple[list[Line], list[str]]:
    """Return the lines of the columns that can be drawn, and the names of all others."""
    drawn = [name for name in least if _is_drawn(most[name])][:_LINES]
    lines = [Line(name, _numbers(least[name]), _numbers(most[name])) for name in drawn]
    return lines, [name for name in least if name not in drawn]


def _values(view: Store | View, key: str, low: int, high: int, pixels: int) -> _Values:
    few = view.range(key, low, end=high, n=2 * pixels + 1) if low <= high else []
    if len(few) <= 2 * pixels:
        times, columns = _columns(few)
        return _Values(None, "", times, columns, columns)
    step = max(1, -(-(high - low + 1) // pixels))
    try:
        times, columns = _columns(view.resample(key, step, "ohlc", start=low, end=high))  # both in one pass
    except TypeError as exc:
        return _Values(step, str(exc), [], {}, {})
    return _Values(step, "", times, _parts(columns, "low"), _parts(columns, "high"))


def outline(plot: Plot, line: Line, width: int, height: int) -> str:
    """Return the points of a polygon in SVG that covers a line: along the greatest values, and back along the least.

    >>> outline(Plot('s', 1, 0, 10, 0, 10, None, [0, 10], [], [], ''), Line('v', [1.0, 2.0], [1.0, 2.0]), 100, 10)
    '0.0,10.0 100.0,0.0 100.0,0.0 0.0,10.0'
    """
    low, high = _extent(plot.lines or [line])
    across, up = max(1, plot.end - plot.start), high - low or 1.0

    def points(values: Sequence[float | None]) -> list[str]:
        return [
            f"{(time - plot.start) / across * width:.1f},{(high - value) / up * height:.1f}"
            for time, value in zip(plot.times, values, strict=True)
            if value is not None
        ]

    return " ".join(points(line.most) + points(line.least)[::-1])


def _extent(lines: Sequence[Line]) -> tuple[float, float]:
    values = [value for line in lines for side in (line.least, line.most) for value in side if value is not None]
    return min(values, default=0.0), max(values, default=1.0)


def _unit_of(view: Store | View, key: str, first: int, last: int) -> Unit | None:
    """Return the unit of a series, or the one that its timestamps look like, as the plots of the command do."""
    layout = layout_of(reading_of(view), Stream(TS, key))
    return (named(layout.times.unit) if layout else None) or spanned(first, last)


def _columns(points: Sequence[tuple[int, Any]]) -> tuple[list[int], dict[str, list[Any]]]:
    """Return times, and the values by column. Values among rows are in a column of their own."""
    times = [time for time, _ in points]
    rows = [value if isinstance(value, Mapping) else {_VALUE: value} for _, value in points]
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return times, {name: [row.get(name) for row in rows] for name in names}


def _parts(columns: Mapping[str, list[Any]], part: str) -> dict[str, list[Any]]:
    """Return one of the parts of ``ohlc`` by the names of the columns."""
    if part in columns:
        return {_VALUE: columns[part]}
    return {name.removesuffix(f" {part}"): each for name, each in columns.items() if name.endswith(f" {part}")}


def _is_drawn(values: Sequence[Any]) -> bool:
    """Tell whether a column has numbers, and nothing else but missing values."""
    found = [value for value in values if value is not None]
    return bool(found) and all(isinstance(value, int | float | Decimal | Fraction) for value in found)


def _numbers(values: Sequence[Any]) -> list[float | None]:
    return list(map(_number, values))


def _number(value: Any) -> float | None:
    """Return a number as a plot draws it; None if it can't, as one that is infinite or greater than any float."""
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
