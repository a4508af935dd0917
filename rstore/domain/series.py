"""Time series as segments: cutting points into runs, laying runs over each other, thinning, gaps.

A *run* is a pair ``(times, values)`` of sequences of equal length, the times strictly increasing.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.domain.log import TIME_MAX, TIME_MIN, check_time

SEGMENT: Final = 4096
"""The most points that one segment holds."""
_BUFFER: Final = 16 * SEGMENT
"""How many points are sorted together before they are cut: unsorted input makes overlaps only beyond that."""

Run: TypeAlias = tuple[Sequence[int], Sequence[Any]]


class Layer(NamedTuple):
    """One record of a series, laid over those of lower version. Without ``load`` it is a hole.

    ``load`` is called at most once, and not at all if the layer turns out to be hidden.
    """

    version: int
    start: int
    end: int
    load: Callable[[], Run] | None


def split(points: Iterable[tuple[int, Any]]) -> Iterator[Run]:
    """Cut points into runs of at most :data:`SEGMENT`; of equal times the last wins, across runs as well.

    Lazy: holds a bounded number of points. Runs overlap where the points come unsorted over long distances.

    Raises:
        TypeError, OverflowError: a point is no pair, or its time no int of 64 bits; its index is named.

    >>> list(split([(2, 'b'), (1, 'x'), (1, 'a')]))
    [([1, 2], ['a', 'b'])]
    """
    source = iter(points)
    index = 0
    while (run := _buffer(source, index))[0]:
        times, values = _sorted(run, index)
        index += len(run[0])
        for low in range(0, len(times), SEGMENT):
            yield times[low : low + SEGMENT], values[low : low + SEGMENT]


def _buffer(source: Iterator[Any], index: int) -> tuple[list[Any], list[Any]]:
    """Take points from the source into columns; the pairs themselves are not kept, which halves the time."""
    times: list[Any] = []
    values: list[Any] = []
    point: Any = (None, None)
    try:
        for point in islice(source, _BUFFER):
            time, value = point
            times.append(time)
            values.append(value)
    except (TypeError, ValueError):  # of the unpacking, or of the source itself: then the last point was a good one
        _check_pair(point, index + len(times))
        raise
    return times, values


def _check_pair(point: Any, index: int) -> None:
    try:
        _, _ = point
    except (TypeError, ValueError):
        raise TypeError(f"point {index} is not a (timestamp, value) pair: {type(point).__name__}") from None


def _sorted(run: tuple[list[Any], list[Any]], index: int) -> Run:
    """Check the times of points, which begin at ``index``, and put them in order; of equal ones the last wins."""
    times, values = run
    if set(map(type, times)) != {int} or min(times) < TIME_MIN or max(times) > TIME_MAX:
        times = [check_time(f"the timestamp of point {i}", time) for i, time in enumerate(times, index)]
    if any(map(operator.ge, times, islice(times, 1, None))):
        newest = dict(zip(times, values, strict=True))
        times = sorted(newest)
        values = [newest[time] for time in times]
    return times, values


class _Cursor:
    """An active layer of the sweep; its points are loaded when the first of them is needed."""

    def __init__(self, layer: Layer) -> None:
        self.version, self.start, self.end, self._load = layer
        self.hole = self._load is None
        self._run: Run | None = None

    def cut(self, low: int, high: int) -> Run:
        """Return the points in ``[low, high)``."""
        if self._run is None:
            self._run = self._load() if self._load is not None else ((), ())
        times, values = self._run
        if low <= self.start and high > self.end:
            return self._run
        i, j = bisect_left(times, low), bisect_left(times, high)
        return times[i:j], values[i:j]

    def hides(self, other: _Cursor) -> bool:
        """Tell whether nothing of the other is to be seen from where this one starts."""
        return self.hole and self.version > other.version and self.end >= other.end


def overlay(layers: Iterable[Layer], start: int = TIME_MIN, end: int = TIME_MAX) -> Iterator[Run]:
    """Yield the visible points in ``start..end`` as runs in order of time: of each time the highest version counts.

    ``layers`` come in order of ``(start, version)`` and are read as lazily as the points are. A sweep: what lies
    before the next layer's start can't be changed any more by layers to come. Layers that don't overlap pass through
    as they are.

    >>> layers = [Layer(1, 1, 9, lambda: ([1, 5, 9], 'abc')), Layer(3, 5, 5, lambda: ([5], 'B')), Layer(2, 8, 9, None)]
    >>> [point for times, values in overlay(layers) for point in zip(times, values)]
    [(1, 'a'), (5, 'B')]
    """
    active: list[_Cursor] = []
    low = start
    for layer in layers:
        if layer.start > low:
            yield from _settle(active, low, layer.start)
            low = layer.start
        newcomer = _Cursor(layer)
        active = [cursor for cursor in active if cursor.end >= low and not newcomer.hides(cursor)]
        if not any(cursor.hides(newcomer) for cursor in active):
            active.append(newcomer)
    yield from _settle(active, low, end + 1)


def _settle(active: list[_Cursor], low: int, high: int) -> Iterator[Run]:
    """Yield what the active layers show in ``[low, high)``."""
    layers = sorted((cursor for cursor in active if cursor.end >= low), key=operator.attrgetter("version"))
    while layers and layers[0].hole:
        del layers[0]
    if len(layers) == 1:
        run = layers[0].cut(low, high)
        if run[0]:
            yield run
    elif layers:
        yield from _merge(layers, low, high)


def _merge(layers: list[_Cursor], low: int, high: int) -> Iterator[Run]:
    points: dict[int, Any] = {}
    for layer in layers:
        if layer.hole:
            points = {time: value for time, value in points.items() if not layer.start <= time <= layer.end}
        else:
            points.update(zip(*layer.cut(low, high), strict=True))
    if points:
        times = sorted(points)
        yield times, [points[time] for time in times]


def join(runs: Iterable[Run]) -> Iterator[Run]:
    """Yield the points of runs, which come in order of time, as full segments; the last one may be shorter.

    >>> [len(times) for times, _ in join([([1], 'a'), ([2, 3], 'bc')])]
    [3]
    """
    points = chain.from_iterable(zip(*run, strict=True) for run in runs)
    while block := list(islice(points, SEGMENT)):
        yield [time for time, _ in block], [value for _, value in block]


def thin(points: Iterable[tuple[int, Any]], freq: int) -> Iterator[tuple[int, Any]]:
    """Yield the first point and then each one at least ``freq`` after the last kept.

    >>> list(thin([(1, 'a'), (2, 'b'), (4, 'c')], 3))
    [(1, 'a'), (4, 'c')]
    """
    due = TIME_MIN
    for time, value in points:
        if time >= due:
            yield time, value
            due = time + freq


def gaps(times: Iterable[int], start: int, end: int, freq: int) -> Iterator[int]:
    """Yield the times of the grid ``start, start + freq, ... <= end`` that are not among ``times`` (increasing).

    >>> list(gaps([0, 10, 15, 30], 0, 30, 10))
    [20]
    """
    present = iter(times)
    time = next(present, None)
    for due in range(start, end + 1, freq):
        while time is not None and time < due:
            time = next(present, None)
        if time != due:
            yield due
