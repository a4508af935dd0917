"""Points that a series does not have yet, or has with another value: ``extend`` with ``unless_equal`` stores these."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import define

from rstore import frames
from rstore.core import Reading
from rstore.domain.series import Run
from rstore.domain.streams import Stream
from rstore.encoding.equality import are_equal, read_back
from rstore.models.segments import Point, laid_runs, load_rows
from rstore.models.typed_points import TypedPoints

if TYPE_CHECKING:
    from rstore.frames.frame import Frame

_IDLE: Final = 4096
"""The points that are read where there is nothing to compare, before the next look goes straight to the next point."""


@define
class Differing:
    """Tells which points differ from those of a series, of which it reads only what it compares.

    ``has_left_out`` tells whether some did not. Then the rest must not be stored if another writer comes in between:
    the points that are left out might be others by then, and the store would have a mixture of both writes.
    """

    core: Reading
    stream: Stream
    has_left_out: bool = False
    _low: int | None = None
    _high: int = 0

    def points(self, runs: Iterable[Run]) -> Iterator[Point]:
        """Yield the points of runs that differ, in the order of the runs."""
        return chain.from_iterable(zip(*self._kept(run), strict=True) for run in runs)

    def frame(self, frame: Frame) -> Frame:
        """Return the rows of a frame that differ."""
        from rstore.frames.differing import differing

        kept = differing(frame, self.rows_at, self._read_back)
        self.has_left_out = len(kept) < len(frame)
        return kept

    def typed(self, points: TypedPoints) -> TypedPoints:
        """Return the points that differ."""
        kept = list(chain.from_iterable(map(self._differ, points.runs())))
        self.has_left_out |= not all(kept)
        rows = list(compress(range(len(kept)), kept))
        return points if all(kept) else TypedPoints([points.times[row] for row in rows], points.table.take(rows))

    def _kept(self, run: Run) -> Run:
        """Return the points of a run that differ. All of them stay if they may replace some that this call stores."""
        times, values = run
        if self._low is not None and times[0] <= self._high and times[-1] >= self._low:
            kept = run
        else:
            differ = self._differ(run)
            kept = run if all(differ) else (list(compress(times, differ)), list(compress(values, differ)))
        if len(kept[0]) < len(times):
            self.has_left_out = True
        if len(kept[0]):
            low, high = kept[0][0], kept[0][-1]
            self._low, self._high = (low, high) if self._low is None else (min(low, self._low), max(high, self._high))
        return kept

    def _differ(self, run: Run) -> list[bool]:
        """Tell for each point of a run whether it differs."""
        times, values = run
        places = {time: place for place, time in enumerate(times)}
        differ, listed = [True] * len(times), None
        for there, others in stored_at(times, partial(laid_runs, self.core, self.stream)):
            for time, other in zip(there, others, strict=True):
                if time in places:
                    listed = list(self._read_back(values)) if listed is None else listed
                    differ[places[time]] = not are_equal(listed[places[time]], other)
        return differ

    def _read_back(self, values: Sequence[Any]) -> Sequence[Any]:
        envelope = self.core.envelope
        return read_back(values, partial(envelope.as_read, self.stream)) if envelope.has_dump else values

    def rows_at(self, times: Any) -> Iterator[Run]:
        """Yield the stored runs of rows, among which are all points at some times, which increase."""
        unpack, merged = frames.as_arrays()

        def read(start: int, end: int) -> Iterator[Run]:
            load = partial(load_rows, self.core, self.stream, unpack, (start, end))
            return laid_runs(self.core, self.stream, start, end, load=load, merged=merged)

        return stored_at(times, read)


def stored_at(times: Sequence[int], read: Callable[[int, int], Iterable[Run]]) -> Iterator[Run]:
    """Yield stored runs, among which are all points at some times, which increase.

    What lies between two of the times is read if it is short, and passed over otherwise.
    """
    first = 0
    while first < len(times):
        idle = 0
        for run in read(int(times[first]), int(times[-1])):
            yield run
            after = bisect_right(cast("Any", times), run[0][-1], first)
            idle = 0 if after > first else idle + len(run[0])
            first = after
            if idle > _IDLE:
                break
        else:
            return
