"""The page of a series: a plot of all of it or of a span, as of one time or of two, and its points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from rstore.domain.errors import StorePayloadError
from rstore.domain.streams import TS
from rstore.store import Store
from rstore.text.describe import Wording, show_stamp
from rstore.view import View
from rstore.web.asked import UTC, Asked
from rstore.web.plot import PIXELS, Line, Plot, outline, plotted
from rstore.web.timing import Timing, times_of, timing_of
from rstore.web.values import line_of

_POINTS: Final = 100
_MOST_PIXELS: Final = 4_000
_WIDTH, _HEIGHT = 1_000, 300


@frozen
class Point:
    """A point: its timestamp, the same as a person reads it, and its cells, each in one line."""

    timestamp: int
    time: str
    cells: Sequence[str]


@frozen
class Series:
    """A series.

    Attributes:
        key: its key.
        plot: as it was known at the time of the page; None if there was no point then.
        other: as it was known at the other time; None if there was no point, or if there is no other time.
        columns: the names of the columns of the points.
        points: the last points of the span, the newest first.
        unreadable: why its values can't be read; empty if they can.
    """

    key: str
    plot: Plot | None
    other: Plot | None
    columns: Sequence[str]
    points: Sequence[Point]
    unreadable: str
    timing: Timing

    def outline(self, line: Line) -> str:
        """Return the points of a polygon that covers a line, for browsers without scripts."""
        return "" if self.plot is None else outline(self.plot, line, _WIDTH, _HEIGHT)

    def shown(self, timestamp: int) -> str:
        """Return a timestamp as a person reads it."""
        return show_stamp(timestamp, Wording(UTC))


def page(asked: Asked) -> Series:
    """Return the model of the page.

    Raises:
        LookupError: there never was such a series.
    """
    times = times_of(asked, TS)
    if not times:
        raise LookupError(f"there never was a series {asked.key!r} in {asked.store.namespace!r}")
    start, end, pixels = _stamp(asked, "start"), _stamp(asked, "end"), asked.number("pixels", PIXELS, _MOST_PIXELS)
    timing = timing_of(asked, times)
    try:
        span = _span(asked, start, end)
        plot = plotted(asked.view, asked.key, *span, pixels)
        other = None if asked.other is None else plotted(asked.other, asked.key, *span, pixels)
        points = [] if plot is None else _points(asked.view, asked.key, plot)
    except StorePayloadError as exc:
        return Series(asked.key, None, None, [], [], exc.reason, timing)
    columns = list(dict.fromkeys(name for _, row in points for name in row))
    lines = [
        Point(time, show_stamp(time, Wording(UTC)), [line_of(row[name]) if name in row else "" for name in columns])
        for time, row in points
    ]
    return Series(asked.key, plot, other, columns, lines, "", timing)


def _span(asked: Asked, start: int | None, end: int | None) -> tuple[int | None, int | None]:
    """Return the span that both times of the page show: by default, from the first point of both to the last."""
    if asked.other is None:
        return start, end
    points = [view.first(asked.key) for view in (asked.view, asked.other)]
    points += [view.last(asked.key) for view in (asked.view, asked.other)]
    times = [point[0] for point in points if point is not None]
    return min(times, default=None) if start is None else start, max(times, default=None) if end is None else end


def _points(view: Store | View, key: str, plot: Plot) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the last points of a plot, the newest first, each value as a row."""
    found = view.range(key, plot.start, end=plot.end, n=-_POINTS) if plot.start <= plot.end else []
    return [
        (time, {str(name): each for name, each in value.items()} if isinstance(value, Mapping) else {"value": value})
        for time, value in reversed(found)
    ]


def _stamp(asked: Asked, word: str) -> int | None:
    """Return the timestamp that a word of the query is."""
    text = asked.query.get(word, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{word} is a timestamp of the series, a whole number, not {text[:60]!r}") from None
