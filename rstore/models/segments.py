"""How the points of a series are read from its records: segments and holes, overlaid by version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, Final, TypeAlias

from rstore.core import Reading
from rstore.domain.errors import StorePayloadError
from rstore.domain.event_state import Unloaded, loaded
from rstore.domain.log import Query, Record
from rstore.domain.operators import EXTEND, REMOVE
from rstore.domain.series import SEGMENT, Layer, Merge, Run, merge, overlay, tail
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import Stream
from rstore.encoding.columns import Layout, TimeAxis
from rstore.encoding.envelope import UnpackTimes
from rstore.encoding.packing import unpack_times
from rstore.encoding.rows import as_rows
from rstore.models.beginnings import by_beginnings, layout_in, summary_of, whole

Point: TypeAlias = tuple[int, Any]
Load: TypeAlias = Callable[[Record], Run]
Cut: TypeAlias = Callable[[Iterable[Run]], Iterator[Run]]

_STEP: Final = 8
_FEW: Final = 16
_PART: Final = 64
_FEW_AT_THE_END: Final = 256
_OPS: Final = (EXTEND, REMOVE)


def points_of(
    core: Reading, stream: Stream, start: int = TIME_MIN, end: int = TIME_MAX, load: Load | None = None
) -> Iterator[Point]:
    """Return the points of a series in order of time."""
    return chain.from_iterable(map(pairs_of, runs_of(core, stream, start, end, load=load)))


def pairs_of(run: Run) -> Iterator[Point]:
    """Yield the points of a run, of which few are made at first: a caller that wants only some does not pay for all."""
    times, values = run
    low, size = 0, _FEW
    while low < len(times):
        yield from zip(times[low : low + size], values[low : low + size], strict=True)
        low, size = low + size, min(2 * size, SEGMENT)


def extent_of(core: Reading, stream: Stream) -> tuple[int, int] | None:
    """Return the first and the last timestamp of a series, None if it has no points. No value is loaded."""
    bare = partial(core.envelope.bare_run, stream)
    first, last = next(points_of(core, stream, load=bare), None), last_of(core, stream, bare)
    return None if first is None or last is None else (first[0], last[0])


def bare_runs(core: Reading, stream: Stream, start: int, end: int) -> Iterator[Run]:
    """Return the runs of :func:`runs_of`, without loading a value."""
    return runs_of(core, stream, start, end, load=partial(core.envelope.bare_run, stream))


def runs_of(
    core: Reading,
    stream: Stream,
    start: int = TIME_MIN,
    end: int = TIME_MAX,
    version: int | None = None,
    load: Load | None = None,
    merged: Merge = merge,
    cut: Cut = iter,
    most: int | None = None,
) -> Iterator[Run]:
    """Return the visible points from ``start`` to ``end``, of the records up to ``version``.

    ``load`` reads the points of one record, of which ``most`` bytes are there at least. Of the visible points ``cut``
    yields those that the caller asked for: the values of others are not needed, and may be damaged.
    """
    failed: list[StorePayloadError] = []
    return _whole(cut(laid_runs(core, stream, start, end, version, load, merged, failed, most)), failed)


def laid_runs(
    core: Reading,
    stream: Stream,
    start: int,
    end: int,
    version: int | None = None,
    load: Load | None = None,
    merged: Merge = merge,
    failed: list[StorePayloadError] | None = None,
    most: int | None = None,
) -> Iterator[Run]:
    """Return the runs of :func:`runs_of`, in which ``Unloaded`` stands for a value that cannot be loaded."""
    if start > end:
        return iter(())
    failed = [] if failed is None else failed
    load = partial(_loaded, core, stream, load or partial(core.envelope.run, stream, span=(start, end)), failed, most)
    records = core.log.read(stream, Query(start, end, alive=version is None, most=most))
    counted = (record for record in records if version is None or record.version <= version)
    return overlay((_layer(core, stream, record, load) for record in counted), start, end, merged)


def _loaded(
    core: Reading, stream: Stream, load: Load, failed: list[StorePayloadError], most: int | None, record: Record
) -> Run:
    """Return the points of a record. Those that cannot be loaded keep their times: later points may replace them."""
    try:
        return load(record)
    except StorePayloadError as exc:
        if not exc.is_genuine:
            raise
        failed.append(exc)
        times, values = core.envelope.bare_run(stream, whole(core, stream, record, most))
        return times, [Unloaded(exc)] * len(values)


def rows_of(
    core: Reading,
    stream: Stream,
    start: int = TIME_MIN,
    end: int = TIME_MAX,
    version: int | None = None,
    unpack: UnpackTimes = unpack_times,
    merged: Merge = merge,
) -> Iterator[Run]:
    """Return the runs of :func:`runs_of`. Values in typed columns come as rows of a table."""
    load = partial(load_rows, core, stream, unpack, (start, end))
    return runs_of(core, stream, start, end, version, load, merged)


def load_rows(core: Reading, stream: Stream, unpack: UnpackTimes, span: tuple[int, int], record: Record) -> Run:
    """Return the points of a record. Values in typed columns come as rows of a table."""
    times, values = core.envelope.run(stream, record, unpack, span)
    return times, as_rows(values)


def _layer(core: Reading, stream: Stream, record: Record, load: Load) -> Layer:
    version, start, end = record.version, record.start, record.end
    if core.envelope.check_op(stream, record, _OPS) == REMOVE:
        core.envelope.check(stream, record)
        return Layer(version, start, end, None)
    return Layer(version, start, end, partial(load, record))


def first_of(core: Reading, stream: Stream) -> Point | None:
    """Return the first point. Mostly it is that of the earliest segment, the rest of which need not be read."""
    return by_beginnings(core, partial(_at_end, core, stream, "first")) or next(points_of(core, stream), None)


def last_of(core: Reading, stream: Stream, load: Load | None = None) -> Point | None:
    """Return the last point. Mostly it is that of the latest segment, the rest of which need not be read.

    ``load`` reads the points of one record.
    """
    found = by_beginnings(core, partial(_at_end, core, stream, "last")) if load is None else None
    if found is not None:
        return found
    for times, values in tail_of(core, stream, 1, runs=partial(runs_of, load=load)):
        return times[-1], values[-1]
    return None


def _at_end(core: Reading, stream: Stream, which: str, most: int | None) -> Point | None:
    """Return the first or the last point of a series, if the segment that begins first or last ends with it.

    It is None if that segment's point is hidden, and there is no point beyond it; or if a hole begins there.
    """
    is_last = which == "last"
    row = -1 if is_last else 0
    record = next(core.log.read(stream, Query(alive=True, reverse=is_last, limit=1, most=most or 0)), None)
    if record is None or record.op != EXTEND:
        return None
    at = record.end if is_last else record.start
    span = (at, TIME_MAX) if is_last else (TIME_MIN, at)
    summary = None if most is None else summary_of(core, stream, record, most)
    value = None if summary is None else summary.value(which)
    most = None if value is None else most

    def load(other: Record) -> Run:
        if value is not None and other == record:
            return (at,), (value,)
        return core.envelope.run(stream, whole(core, stream, other, most), span=span)

    points = [(run[0][row], run[1][row]) for run in runs_of(core, stream, *span, load=load, most=most)]
    return points[row] if points else None


def tail_of(
    core: Reading,
    stream: Stream,
    n: int,
    start: int = TIME_MIN,
    end: int = TIME_MAX,
    runs: Callable[..., Iterator[Run]] = runs_of,
) -> list[Run]:
    """Return the last ``n`` points from ``start`` to ``end``, as ``runs`` finds them.

    The search goes back in growing windows, since the latest segments need not hold them. Each window ends at ``end``,
    though the points of the one before it were found already: so a single read has all that is returned.
    """
    found: list[Run] = []
    for low in _lows(core, stream, n, start, end):
        found = list(runs(core, stream, low, end, cut=partial(tail, n=n)))
        if sum(len(times) for times, _ in found) == n:
            break
    return found


def _lows(core: Reading, stream: Stream, n: int, start: int, end: int) -> Iterator[int]:
    """Yield times from which on the last ``n`` points may be found: ever earlier ones, and finally ``start``."""
    limit, low = 1, end + 1
    while n and low > start:
        records, last = 0, end
        for record in core.log.read(stream, Query(start, end, alive=True, reverse=True, limit=limit, most=0)):
            records, low, last = records + 1, max(record.start, start), min(record.end, end)
        if records < limit:
            low = start
        elif limit == 1:
            yield from _lows_within(low, last, n)
        yield low
        limit *= _STEP


def _lows_within(low: int, last: int, n: int) -> Iterator[int]:
    """Yield a time in the latest segment from which on the last ``n`` points may be found, if they are few.

    Mostly, the rest of the segment need not be read.
    """
    first = last if n == 1 else last - (last - low) // _PART
    if n <= _FEW_AT_THE_END and first > low:
        yield first


def axis_of(core: Reading, stream: Stream) -> TimeAxis | None:
    """Return the time axis of a series, which any segment of a frame has; None if there is no such segment."""
    layout = layout_of(core, stream)
    return None if layout is None else layout.times


def layout_of(core: Reading, stream: Stream, *, quick: bool = False) -> Layout | None:
    """Return the layout of any segment of a frame, or (``quick``) of one at an end; None if there is none."""
    return next(iter(layouts_of(core, stream, 1, 1 if quick else None)), None)


def layouts_of(core: Reading, stream: Stream, count: int, limit: int | None = None) -> list[Layout]:
    """Return up to ``count`` layouts of the segments of frames: of the earliest, and then from the latest on.

    Points that came without a frame have no layout, and are skipped unopened. Most series begin with a frame, or end
    with one, so the search ends after ``limit`` of the latest segments.
    """

    def read(most: int | None) -> list[Layout]:
        first = core.log.read(stream, Query(ops=(EXTEND,), alive=True, limit=1, most=most))
        others = core.log.read(stream, Query(ops=(EXTEND,), alive=True, reverse=True, limit=limit, most=most))
        found = (layout_in(core, stream, record, most) for record in chain(first, others))
        return list(islice((layout for layout in found if layout is not None), count))

    return by_beginnings(core, read)


def is_new(core: Reading, stream: Stream) -> tuple[bool, int]:
    """Tell whether a series has no points, and at which version it is."""
    head = core.log.head(stream)
    return head is None or not head.live, head.version if head else 0


def _whole(runs: Iterable[Run], failed: Sequence[StorePayloadError]) -> Iterator[Run]:
    """Yield visible points, and raise at one that could not be loaded."""
    for times, values in runs:
        for value in values if failed else ():
            loaded(value)
        yield times, values
