"""How the points of a series are read from its records, and how they are written to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rstore.core import ATTEMPTS, Core, Reading, now
from rstore.domain.errors import StorePayloadError
from rstore.domain.event_state import Unloaded, loaded
from rstore.domain.log import Batch, Entry, Query, Record
from rstore.domain.operators import EXTEND, REMOVE
from rstore.domain.series import Layer, Merge, Run, merge, overlay
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import Stream
from rstore.encoding.columns import Layout, Rows, Table, TimeAxis, joined
from rstore.encoding.envelope import UnpackTimes
from rstore.encoding.packing import unpack_times
from rstore.models.spool import Reiterable, Spool

if TYPE_CHECKING:
    from rstore.frames.frame import Frame

Point: TypeAlias = tuple[int, Any]
Load: TypeAlias = Callable[[Record], Run]

_STEP: Final = 8
_OPS: Final = (EXTEND, REMOVE)


# -- read --------------------------------------------------------------------------------------------------------------


def points_of(
    core: Reading, stream: Stream, start: int = TIME_MIN, end: int = TIME_MAX, load: Load | None = None
) -> Iterator[Point]:
    """Return the points of a series in order of time."""
    return (point for run in runs_of(core, stream, start, end, load=load) for point in zip(*run, strict=True))


def extent_of(core: Reading, stream: Stream) -> tuple[int, int] | None:
    """Return the first and the last timestamp of a series, None if it has no points. No value is loaded."""
    bare = partial(core.envelope.bare_run, stream)
    first, last = next(points_of(core, stream, load=bare), None), last_of(core, stream, bare)
    return None if first is None or last is None else (first[0], last[0])


def bare_runs(core: Reading, stream: Stream, start: int, end: int) -> Iterator[Run]:
    """Return what :func:`runs_of` does, without loading a value."""
    return runs_of(core, stream, start, end, load=partial(core.envelope.bare_run, stream))


def runs_of(
    core: Reading,
    stream: Stream,
    start: int = TIME_MIN,
    end: int = TIME_MAX,
    version: int | None = None,
    load: Load | None = None,
    merged: Merge = merge,
) -> Iterator[Run]:
    """Return what is seen from ``start`` to ``end``, of the records up to ``version``, as ``load`` reads them."""
    if start > end:
        return iter(())
    failed: list[StorePayloadError] = []
    load = partial(_loaded, core, stream, load or partial(core.envelope.run, stream), failed)
    records = core.log.read(stream, Query(start, end, alive=version is None))
    counted = (record for record in records if version is None or record.version <= version)
    return _whole(overlay((_layer(core, stream, record, load) for record in counted), start, end, merged), failed)


def _loaded(core: Reading, stream: Stream, load: Load, failed: list[StorePayloadError], record: Record) -> Run:
    """Return the points of a record; if they cannot be loaded, their times: later ones may have replaced them."""
    try:
        return load(record)
    except StorePayloadError as exc:
        if not exc.is_genuine:
            raise
        failed.append(exc)
        times, values = core.envelope.bare_run(stream, record)
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
    """Return what :func:`runs_of` does, with rows of tables in place of values that are in typed columns."""

    def load(record: Record) -> Run:
        times, values = core.envelope.run(stream, record, unpack)
        return times, Rows(values) if isinstance(values, Table) else values

    return runs_of(core, stream, start, end, version, load, merged)


def _layer(core: Reading, stream: Stream, record: Record, load: Load) -> Layer:
    version, start, end = record.version, record.start, record.end
    if core.envelope.check_op(stream, record, _OPS) == REMOVE:
        core.envelope.check(stream, record)
        return Layer(version, start, end, None)
    return Layer(version, start, end, partial(load, record))


def last_of(core: Reading, stream: Stream, load: Load | None = None) -> Point | None:
    """Look from the end in windows that grow: what starts latest is not always what is seen last."""
    high, limit = TIME_MAX, 1
    while True:
        low = None
        for record in core.log.read(stream, Query(end=high, alive=True, reverse=True, limit=limit)):
            low = record.start
        if low is None:
            return None
        point = None
        for times, values in runs_of(core, stream, low, high, load=load):
            point = times[-1], values[-1]
        if point is not None:
            return point
        high, limit = low - 1, limit * _STEP


def axis_of(core: Reading, stream: Stream) -> TimeAxis | None:
    """Return what the timestamps of a series mean, as any segment of a frame says; None if there is none."""
    layout = layout_of(core, stream)
    return None if layout is None else layout.times


def layout_of(core: Reading, stream: Stream, *, quick: bool = False) -> Layout | None:
    """Return of what kind any segment of a frame is, or (``quick``) one at an end; None if there is none."""
    return next(_layouts(core, stream, limit=1 if quick else None), None)


def _layouts(core: Reading, stream: Stream, limit: int | None = None) -> Iterator[Layout]:
    """Yield of what kind the segments of frames are: the earliest, and then from the latest on.

    Points that came without a frame say nothing, and are passed by without a look into them. Frames are mostly
    what a series begins with, or what came last.
    """
    first = core.log.read(stream, Query(ops=(EXTEND,), alive=True, limit=1))
    others = core.log.read(stream, Query(ops=(EXTEND,), alive=True, reverse=True, limit=limit))
    told = (core.envelope.layout(stream, record) for record in chain(first, others))
    return (layout for layout in told if layout is not None)


# -- write -------------------------------------------------------------------------------------------------------------


def segment(core: Core, stream: Stream, run: Run) -> Entry:
    """Return a sealed segment of points."""
    body = core.envelope.dump_run(stream.key, run)
    return core.entry(stream, EXTEND, body, start=run[0][0], end=run[0][-1])


def extend_with_frame(core: Core, stream: Stream, frame: Frame, version: int | None, once: str | None) -> None:
    """Append a frame. If it settles the unit of the series, nobody else may settle on another one meanwhile."""

    def attempt() -> None:
        with Spool() as spool:
            core.write(_batch_of_frame(core, stream, frame, spool, version), once)

    if len(frame):
        core.decide(attempt, 1 if version is not None else ATTEMPTS)
    else:
        core.check_version(stream, version)


def extend_with_frames(core: Core, frames: Mapping[Stream, Frame]) -> None:
    """Append frames of several series, all of them or none."""

    def attempt() -> None:
        with ExitStack() as stack:
            spools = [stack.enter_context(Spool()) for _ in frames]
            core.append(
                [_batch_of_frame(core, *each, spool) for each, spool in zip(frames.items(), spools, strict=True)]
            )

    core.decide(attempt)


def _batch_of_frame(core: Core, stream: Stream, frame: Frame, spool: Spool, version: int | None = None) -> Batch:
    from rstore.frames.frame import fitted, runs
    from rstore.frames.times import pack_times

    def entries(fitting: Frame) -> Iterator[Entry]:
        for run in runs(fitting):
            body = core.envelope.dump_run(stream.key, run, pack_times)
            yield core.entry(stream, EXTEND, body, start=int(run[0][0]), end=int(run[0][-1]))

    new, found = is_new(core, stream)
    known = None if new else list(islice(_layouts(core, stream), 2))
    fitting = fitted(stream.key, frame, known)
    expect = found if new and version is None else version
    sealed: Iterable[Entry] = Reiterable(partial(entries, fitting))
    if fitting.has_objects or fitting.is_short:  # the user's own _dump is not called while the log is held
        spool.extend(sealed)
        sealed = spool.entries()
    return Batch(stream, sealed, now(), expect)


def is_new(core: Reading, stream: Stream) -> tuple[bool, int]:
    """Tell whether a series has no points, and at which version it is."""
    head = core.log.head(stream)
    return head is None or not head.live, head.version if head else 0


def overwrite(core: Core, stream: Stream, low: int, high: int, rows: Iterable[Run], version: int) -> None:
    """Put points in the place of all that there are from ``low`` to ``high``, in one append."""
    extent = extent_of(core, stream)
    with Spool() as spool:
        live = False
        if extent is not None:
            live = low > extent[0] or high < extent[1]
            start, end = max(low, extent[0]), min(high, extent[1])
            if start <= end:
                spool.add(core.entry(stream, REMOVE, start=start, end=end))
        for run in joined(rows):
            live = True
            spool.add(segment(core, stream, run))
        if spool:
            core.append((Batch(stream, spool.entries(), now(), version, live),))


def _whole(runs: Iterable[Run], failed: Sequence[StorePayloadError]) -> Iterator[Run]:
    """Yield what is seen, and raise where that is something that could not be loaded."""
    for times, values in runs:
        for value in values if failed else ():
            loaded(value)
        yield times, values
