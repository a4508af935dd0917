"""What a call asks of a series: a span of time, a number of points, a least distance, and some columns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rstore import frames
from rstore.core import Reading
from rstore.domain.series import Run, thin
from rstore.domain.spans import check_time
from rstore.domain.streams import Stream
from rstore.encoding.chosen_columns import Choice
from rstore.html import Points
from rstore.models.segments import Point, chosen_runs, layout_of, pairs_of, rows_of, runs_of, tail_of
from rstore.models.stamps import span_of, step_of
from rstore.timestamps import Length, Stamp

if TYPE_CHECKING:
    from rstore.frames.frame import Frame


class Slice(NamedTuple):
    """A part of a series, in its unit.

    ``n`` is the most points, of the beginning or (negative) of the end. ``step`` is the least distance between points.
    """

    low: int
    high: int
    n: int | None
    step: int | None
    choice: Choice | None


def slice_of(
    core: Reading,
    stream: Stream,
    start: Stamp | None,
    end: Stamp | None,
    n: int | None,
    freq: Length | None,
    columns: str | Sequence[str] | None,
) -> Slice:
    """Return what the arguments of a call ask for."""
    low, high = span_of(core, stream, start, end)
    step = step_of(core, stream, freq)
    return Slice(
        low, high, n if n is None else check_time("n", n), step, None if columns is None else Choice.of(columns)
    )


def points_in(core: Reading, stream: Stream, wanted: Slice) -> Iterator[Point]:
    """Yield the points of a slice, lazily. Those of the end are in memory together."""
    n, step, choice = wanted.n, wanted.step, wanted.choice
    points: Iterable[Point] = chain.from_iterable(map(pairs_of, _runs_in(core, stream, wanted)))
    if step is not None:
        points = thin(points, step)
    if n is not None:
        points = _last(points, -n) if n < 0 else islice(points, n)
    return iter(points) if choice is None else _checked(core, stream, points, choice)


def listed(core: Reading, stream: Stream, wanted: Slice) -> Points:
    """Return the points of a slice as a list."""
    if wanted.step is not None or (wanted.n is not None and wanted.n >= 0):
        return Points(points_in(core, stream, wanted))
    found = Points()
    for times, values in _runs_in(core, stream, wanted):
        found.extend(zip(times, values, strict=True))
    if wanted.choice is not None:
        _check(core, stream, wanted.choice)
    return found


def framed(core: Reading, stream: Stream, wanted: Slice) -> Frame:
    """Return the points of a slice as a frame."""
    unpack, merged = frames.as_arrays()
    rows = _cut(core, stream, wanted, partial(rows_of, unpack=unpack, merged=merged, choice=wanted.choice))
    frame = frames.gathered(rows, wanted.step, wanted.n, partial(layout_of, core, stream), wanted.choice)
    if wanted.choice is not None:
        _check(core, stream, wanted.choice)
    return frame


def _runs_in(core: Reading, stream: Stream, wanted: Slice) -> Iterator[Run]:
    return _cut(core, stream, wanted, runs_of if wanted.choice is None else partial(chosen_runs, choice=wanted.choice))


def _cut(core: Reading, stream: Stream, wanted: Slice, runs: Any) -> Iterator[Run]:
    """Yield runs of a slice: only those of its end, if no distance between points has to be known."""
    if wanted.n is None or wanted.n >= 0 or wanted.step is not None:
        yield from runs(core, stream, wanted.low, wanted.high)
    else:
        yield from tail_of(core, stream, -wanted.n, wanted.low, wanted.high, runs)


def _last(points: Iterable[Point], n: int) -> Iterator[Point]:
    yield from deque(points, maxlen=n)


def _checked(core: Reading, stream: Stream, points: Iterable[Point], choice: Choice) -> Iterator[Point]:
    yield from points
    _check(core, stream, choice)


def _check(core: Reading, stream: Stream, choice: Choice) -> None:
    choice.check(stream.key, partial(layout_of, core, stream))
