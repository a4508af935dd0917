"""Time series as segments: points are cut into runs, and runs laid over each other, thinned and searched for gaps.

A *run* is a pair ``(times, values)`` of sequences of equal length, the times strictly increasing.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import islice
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.domain.spans import TIME_MAX, TIME_MIN, check_time

SEGMENT: Final = 4096
"""The most points that one segment holds."""
_BUFFER: Final = 16 * SEGMENT
"""The number of points that are sorted together before they are cut: only longer disorder makes runs overlap."""

Run: TypeAlias = tuple[Sequence[int], Sequence[Any]]


class Layer(NamedTuple):
    """One record of a series, laid over records of lower versions. Without ``load`` it is a hole.

    ``load`` is called at most once, and not at all if the layer turns out to be hidden.
    """

    version: int
    start: int
    end: int
    load: Callable[[], Run] | None


def split(points: Iterable[tuple[Any, Any]], read: Callable[[Any], Any] = lambda time: time) -> Iterator[Run]:
    """Cut points into runs of at most :data:`SEGMENT` points. Of equal times the last wins, across runs as well.

    This is lazy, and holds a bounded number of points. Runs overlap where points come unsorted over long distances.

    Args:
        read: makes an int of a time that is no int, if it can.

    Raises:
        TypeError, OverflowError: a point is no pair, or its time no int of 64 bits; the message has its index.

    >>> list(split([(2, 'b'), (1, 'x'), (1, 'a')]))
    [([1, 2], ['a', 'b'])]
    """
    source = iter(points)
    index = 0
    while (run := _buffer(source, index))[0]:
        times, values = _sorted(run, index, read)
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
    except (TypeError, ValueError):  # unpacking failed, or the source itself: then the last point was good
        _check_pair(point, index + len(times))
        raise
    return times, values


def _check_pair(point: Any, index: int) -> None:
    try:
        _, _ = point
    except (TypeError, ValueError):
        raise TypeError(f"point {index} is not a (timestamp, value) pair: {type(point).__name__}") from None


def _sorted(run: tuple[list[Any], list[Any]], index: int, read: Callable[[Any], Any]) -> Run:
    """Check the times of points, which begin at ``index``, and put them in order; of equal ones the last wins."""
    times, values = run
    if set(map(type, times)) != {int} or min(times) < TIME_MIN or max(times) > TIME_MAX:
        times = [_checked(time, f"the timestamp of point {i}", read) for i, time in enumerate(times, index)]
    if any(map(operator.ge, times, islice(times, 1, None))):
        newest = dict(zip(times, values, strict=True))
        times = sorted(newest)
        values = [newest[time] for time in times]
    return times, values


def _checked(time: Any, what: str, read: Callable[[Any], Any]) -> int:
    try:
        return check_time(what, read(time))
    except ValueError as exc:
        raise ValueError(f"{what}: {exc}") from None


class _Segment:
    """A layer with points, read from its start to its end. The first :meth:`cut` loads it."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.due: int | None = layer.start
        self._run: Run | None = None
        self._next = 0

    def cut(self, low: int, high: int) -> Run:
        """Return the points in ``[low, high)``, and set ``due`` to the time of the next one."""
        if self._run is None:
            self._run = self.layer.load() if self.layer.load is not None else ((), ())
            self._next = bisect_left(self._run[0], low) if low > self.layer.start else 0
        times, values = self._run
        first = self._next
        self._next = bisect_left(times, high, first) if high <= self.layer.end else len(times)
        self.due = times[self._next] if self._next < len(times) else None
        if first == 0 and self.due is None:
            return self._run
        return times[first : self._next], values[first : self._next]


def merge(runs: Sequence[tuple[int, Run]], holes: Sequence[Layer]) -> Iterator[Run]:
    """Yield the visible points of runs, each with its version, and holes, laid over each other: one run, or none."""
    layers: list[tuple[int, Run | Layer]] = [*runs, *((hole.version, hole) for hole in holes)]
    points: dict[int, Any] = {}
    for _, layer in sorted(layers, key=itemgetter(0)):
        if isinstance(layer, Layer):
            points = {time: value for time, value in points.items() if not layer.start <= time <= layer.end}
        else:
            points.update(zip(*layer, strict=True))
    if points:
        times = sorted(points)
        yield times, [points[time] for time in times]


Merge: TypeAlias = Callable[[Sequence[tuple[int, Run]], Sequence[Layer]], Iterable[Run]]
"""Merges like :func:`merge`, for its own sequences of times and values."""


def overlay(
    layers: Iterable[Layer], start: int = TIME_MIN, end: int = TIME_MAX, merged: Merge = merge
) -> Iterator[Run]:
    """Yield the visible points in ``start..end`` as runs in order of time: of each time the highest version counts.

    ``layers`` come in order of ``(start, version)`` and are read as lazily as the points are. This is a sweep: no later
    layer can change a point before the next layer's start. Segments wait in a heap for their next point, so that each
    is touched only where it has points. The points of a segment that lies alone pass through as they are: before the
    start of the next one, and from its end on.

    >>> layers = [Layer(1, 1, 9, lambda: ([1, 5, 9], 'abc')), Layer(3, 5, 5, lambda: ([5], 'B')), Layer(2, 8, 9, None)]
    >>> [point for times, values in overlay(layers) for point in zip(times, values)]
    [(1, 'a'), (5, 'B')]
    """
    segments: list[tuple[int, int, _Segment]] = []
    ends: list[int] = []
    holes: list[Layer] = []
    low = start

    def advance(high: int) -> Iterator[Run]:
        nonlocal low, holes
        while ends and ends[0] < high:
            edge = min(heappop(ends) + 1, high)
            if len(segments) > 1 and edge > low:
                yield from _visible(segments, holes, low, edge, merged)
                low = edge
        if high > low:
            yield from _visible(segments, holes, low, high, merged)
            low = high
        holes = [hole for hole in holes if hole.end >= low]

    for layer in layers:
        yield from advance(layer.start)
        if any(_hides(hole, layer) for hole in holes):
            continue
        if layer.load is None:
            holes = [hole for hole in holes if not _hides(layer, hole)]
            holes.append(layer)
        else:
            heappush(segments, (layer.start, layer.version, _Segment(layer)))
            heappush(ends, layer.end)
    yield from advance(end + 1)


def _hides(hole: Layer, other: Layer) -> bool:
    """Tell whether a hole hides the whole rest of another layer."""
    return hole.version > other.version and hole.end >= other.end


def _visible(
    segments: list[tuple[int, int, _Segment]], holes: list[Layer], low: int, high: int, merged: Merge
) -> Iterator[Run]:
    """Yield the visible points in ``[low, high)``."""
    runs: list[tuple[int, Run]] = []
    while segments and segments[0][0] < high:
        _, version, segment = heappop(segments)
        if any(_hides(hole, segment.layer) for hole in holes):
            continue
        run = segment.cut(low, high)
        if len(run[0]):  # times may be an array, which has no truth value
            runs.append((version, run))
        if segment.due is not None:
            heappush(segments, (segment.due, version, segment))
    if not runs:
        return
    lowest = min(version for version, _ in runs)
    above = [hole for hole in holes if hole.version > lowest]
    if len(runs) == 1 and not above:
        yield runs[0][1]
    else:
        yield from merged(runs, above)


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


def tail(runs: Iterable[Run], n: int) -> Iterator[Run]:
    """Yield the last ``n`` points of runs, and hold no more than these and a run.

    >>> list(tail([([1, 2], 'ab'), ([3, 4], 'cd'), ([5], 'e')], 2))
    [([4], 'd'), ([5], 'e')]
    """
    kept: deque[Run] = deque()
    points = 0
    for run in runs:
        kept.append(run)
        points += len(run[0])
        while points - len(kept[0][0]) >= n:
            points -= len(kept.popleft()[0])
    if points > n:
        times, values = kept.popleft()
        yield times[points - n :], values[points - n :]
    yield from kept


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
