"""What a call asks of a series: a span of time, a number of points, a least distance, and some columns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypedDict

from rstore import frames
from rstore.core import Reading
from rstore.domain.log import Record
from rstore.domain.series import Merge, Run, merge, thin
from rstore.domain.spans import check_time
from rstore.domain.streams import Stream
from rstore.encoding.chosen_columns import ChosenColumns
from rstore.encoding.columns import Layout, Table
from rstore.encoding.conditions import Conditions, Where
from rstore.encoding.envelope import UnpackTimes
from rstore.encoding.packing import unpack_times
from rstore.encoding.rows import Rows, as_rows, stretches
from rstore.html import Points
from rstore.models.lazy_segments import LazyValues, lazy, merge_opened
from rstore.models.segments import Cut, Point, layout_of, pairs_of, runs_of, tail_of
from rstore.models.stamps import span_of, step_of
from rstore.timestamps import Length, Stamp

if TYPE_CHECKING:
    from rstore.frames.frame import Frame

LoadPart: TypeAlias = Callable[[tuple[int, int], Record], Run]
"""Loads the points of a record that are in a span."""
ReadRuns: TypeAlias = Callable[..., Iterator[Run]]
"""Reads a series as :func:`rstore.models.segments.runs_of` does."""


class SliceOptions(TypedDict, total=False):
    """The options of ``range``, for the signatures of its overloads: they differ in ``to`` alone."""

    n: int | None
    end: Stamp | None
    freq: Length | None
    columns: str | Sequence[str] | None
    where: Conditions | None


class Slice(NamedTuple):
    """A part of a series, in its unit.

    ``n`` is the most points, of the beginning or (negative) of the end. ``step`` is the least distance between points.
    """

    low: int
    high: int
    n: int | None
    step: int | None
    columns: ChosenColumns | None
    where: Where | None

    @property
    def names(self) -> Sequence[str] | None:
        """The typed columns that are read; None for all."""
        if self.columns is None:
            return None
        return self.columns.names if self.where is None else (*self.columns.names, *self.where.names)


def slice_of(
    core: Reading,
    stream: Stream,
    start: Stamp | None,
    end: Stamp | None,
    n: int | None,
    freq: Length | None,
    columns: str | Sequence[str] | None,
    where: Conditions | None,
) -> Slice:
    """Return what the arguments of a call ask for."""
    low, high = span_of(core, stream, start, end)
    step = step_of(core, stream, freq)
    n = n if n is None else check_time("n", n)
    if columns is None and where is None:
        return Slice(low, high, n, step, None, None)
    found = set[str | None]()  # by both: a segment that can't meet the conditions has columns too
    chosen = None if columns is None else ChosenColumns.of(columns, found)
    return Slice(low, high, n, step, chosen, None if where is None else Where.of(where, found))


def points_in(core: Reading, stream: Stream, wanted: Slice) -> Iterator[Point]:
    """Yield the points of a slice, lazily. Those of the end are in memory together."""
    n, step = wanted.n, wanted.step
    points: Iterable[Point] = chain.from_iterable(map(pairs_of, _runs_in(core, stream, wanted)))
    if step is not None:
        points = thin(points, step)
    if n is not None:
        points = _last(points, -n) if n < 0 else islice(points, n)
    is_checked = wanted.columns is not None or wanted.where is not None
    return _checked(core, stream, points, wanted) if is_checked else iter(points)


def listed(core: Reading, stream: Stream, wanted: Slice) -> Points:
    """Return the points of a slice as a list."""
    if wanted.step is not None or (wanted.n is not None and wanted.n >= 0):
        return Points(points_in(core, stream, wanted))
    found = Points()
    for times, values in _runs_in(core, stream, wanted):
        found.extend(zip(times, values, strict=True))
    _check(core, stream, wanted)
    return found


def framed_by_layout(core: Reading, stream: Stream, wanted: Slice) -> Frame:
    """Return the points of a slice as a frame. The layout of the series is looked up before the points, needed or not.

    That look reads few bytes. So the points are decoded once, though reads that go on together begin anew after each.
    """
    layout = layout_of(core, stream)
    return framed(core, stream, wanted, lambda: layout)


def framed(core: Reading, stream: Stream, wanted: Slice, layout: Callable[[], Layout | None] | None = None) -> Frame:
    """Return the points of a slice as a frame. ``layout`` finds the layout of the series, if that is needed."""
    unpack, merged = frames.as_arrays()
    columns, where = wanted.columns, wanted.where
    narrow = _unchanged if columns is None else columns.rows
    if where is None:
        load = partial(_load, core, stream, unpack, wanted, lambda values: as_rows(narrow(values)))
        rows = _cut(core, stream, wanted, partial(_read_all, load, merged))
    else:
        load = partial(_load, core, stream, unpack, wanted, as_rows)
        met = _cut(core, stream, wanted, partial(_read_where, load, merged, where, frames.as_filtered(where)))
        rows = ((times, values if isinstance(values, Rows) else narrow(values)) for times, values in met)
    frame = frames.gathered(rows, wanted.step, wanted.n, layout or partial(layout_of, core, stream), columns)
    _check(core, stream, wanted)
    return frame


def _runs_in(core: Reading, stream: Stream, wanted: Slice) -> Iterator[Run]:
    """Yield the runs of a slice, whose values are those of a caller."""
    columns, where = wanted.columns, wanted.where
    select = _unchanged if columns is None else columns.select
    if where is None:
        load = partial(_load, core, stream, unpack_times, wanted, select)
        return _cut(core, stream, wanted, partial(_read_all, load, merge))
    load = partial(_load, core, stream, unpack_times, wanted, as_rows)
    runs = _cut(core, stream, wanted, partial(_read_where, load, merge, where, partial(_filtered, where)))
    return ((times, select(values)) for times, values in runs)


def _load(
    core: Reading,
    stream: Stream,
    unpack: UnpackTimes,
    wanted: Slice,
    shape: Callable[[Sequence[Any]], Sequence[Any]],
    span: tuple[int, int],
    record: Record,
) -> Run:
    """Return the points of a record. Conditions need rows: merged values have lost the name of their only column."""
    times, values = core.envelope.run(stream, record, unpack, span, wanted.names)
    if wanted.columns is not None:
        wanted.columns.note(values)
    return times, shape(values)


def _unchanged(values: Sequence[Any]) -> Sequence[Any]:
    return values


def _read_all(
    load: LoadPart, merged: Merge, core: Reading, stream: Stream, start: int, end: int, cut: Cut = iter
) -> Iterator[Run]:
    return runs_of(core, stream, start, end, load=partial(load, (start, end)), merged=merged, cut=cut)


def _read_where(
    load: LoadPart,
    merged: Merge,
    where: Where,
    filtered: Callable[[Run], Iterator[Run]],
    core: Reading,
    stream: Stream,
    start: int,
    end: int,
    cut: Cut = iter,
) -> Iterator[Run]:
    """Yield the points that meet conditions. Segments that can't have such are not read where they lie alone."""

    def lazily(record: Record) -> Run:
        is_whole = start <= record.start and record.end <= end  # otherwise only a part of its rows would come
        summary = core.envelope.summary(stream, record) if is_whole else None
        if summary is None or where.may_hold(summary):
            return load((start, end), record)
        return lazy(record, summary, partial(load, (start, end), record))

    def kept(runs: Iterable[Run]) -> Iterator[Run]:
        read = (run for run in runs if not isinstance(run[1], LazyValues))
        return cut(run for run in chain.from_iterable(map(filtered, read)) if len(run[0]))

    return runs_of(core, stream, start, end, load=lazily, merged=partial(merge_opened, merged), cut=kept)


def _filtered(where: Where, run: Run) -> Iterator[Run]:
    """Yield the points of a run of rows that meet conditions."""
    for times, values in stretches(run):
        met = where.met(values)
        rows = list(compress(range(len(met)), met))
        chosen = values.take(rows) if isinstance(values, Table) else list(compress(values, met))
        yield list(compress(times, met)), chosen


def _cut(core: Reading, stream: Stream, wanted: Slice, runs: ReadRuns) -> Iterator[Run]:
    """Yield runs of a slice: only those of its end, if no distance between points has to be known."""
    if wanted.n is None or wanted.n >= 0 or wanted.step is not None:
        yield from runs(core, stream, wanted.low, wanted.high)
    else:
        yield from tail_of(core, stream, -wanted.n, wanted.low, wanted.high, runs)


def _last(points: Iterable[Point], n: int) -> Iterator[Point]:
    yield from deque(points, maxlen=n)


def _checked(core: Reading, stream: Stream, points: Iterable[Point], wanted: Slice) -> Iterator[Point]:
    yield from points
    _check(core, stream, wanted)


def _check(core: Reading, stream: Stream, wanted: Slice) -> None:
    """Raise if points were read, and none has one of the columns that the caller names."""
    for each in (wanted.columns, wanted.where):
        if each is not None:
            each.check(stream.key, partial(layout_of, core, stream))
