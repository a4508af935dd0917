"""How the points of a series are read from its records and written to them: what its public face is made of."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from rstore.core import ATTEMPTS, Face, now
from rstore.domain.erasure import NOTHING_GONE, Plan, measured, sized
from rstore.domain.errors import StorePayloadError
from rstore.domain.event_state import Unloaded, loaded
from rstore.domain.log import UNPLACED, Batch, Entry, Query, Record, Rewrite, Saved
from rstore.domain.operators import EXTEND, REMOVE
from rstore.domain.series import SEGMENT, Layer, Merge, Run, merge, overlay
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import Stream
from rstore.encoding.columns import Layout, Rows, Table, Times, joined
from rstore.encoding.envelope import UnpackTimes
from rstore.encoding.packing import unpack_times
from rstore.erasures import Eraser
from rstore.models.spool import Anew, Spool, Spools

if TYPE_CHECKING:
    from rstore.frames.frame import Frame

Point: TypeAlias = tuple[int, Any]
Load: TypeAlias = Callable[[Record], Run]

_STEP: Final = 8
_OPS: Final = (EXTEND, REMOVE)


class Segments(Face):
    """Time series as records: overlaid when they are read, cut into segments when they are written."""

    # -- read ---------------------------------------------------------------------------------------------------------

    def _points(self, stream: Stream, load: Load | None = None) -> Iterator[Point]:
        return (point for run in self._runs(stream, load=load) for point in zip(*run, strict=True))

    def _extent(self, stream: Stream) -> tuple[int, int] | None:
        """Return the first and the last timestamp of a series, None if it has no points. No value is loaded."""
        bare = partial(self._payload.bare_run, stream)
        first, last = next(self._points(stream, bare), None), self._last(stream, bare)
        return None if first is None or last is None else (first[0], last[0])

    def _bare_runs(self, stream: Stream, start: int, end: int) -> Iterator[Run]:
        """Return what :meth:`_runs` does, without loading a value."""
        return self._runs(stream, start, end, load=partial(self._payload.bare_run, stream))

    def _runs(
        self,
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
        load = partial(self._loaded, stream, load or partial(self._payload.run, stream), failed)
        records = self._log.read(stream, Query(start, end, alive=version is None))
        counted = (record for record in records if version is None or record.version <= version)
        return _whole(overlay((self._layer(stream, record, load) for record in counted), start, end, merged), failed)

    def _loaded(self, stream: Stream, load: Load, failed: list[StorePayloadError], record: Record) -> Run:
        """Return the points of a record; if they cannot be loaded, their times: later ones may have replaced them."""
        try:
            return load(record)
        except StorePayloadError as exc:
            if not exc.is_genuine:
                raise
            failed.append(exc)
            times, values = self._payload.bare_run(stream, record)
            return times, [Unloaded(exc)] * len(values)

    def _rows(
        self,
        stream: Stream,
        start: int = TIME_MIN,
        end: int = TIME_MAX,
        version: int | None = None,
        unpack: UnpackTimes = unpack_times,
        merged: Merge = merge,
    ) -> Iterator[Run]:
        """Return what :meth:`_runs` does, with rows of tables in place of values that are in typed columns."""

        def load(record: Record) -> Run:
            times, values = self._payload.run(stream, record, unpack)
            return times, Rows(values) if isinstance(values, Table) else values

        return self._runs(stream, start, end, version, load, merged)

    def _layer(self, stream: Stream, record: Record, load: Load) -> Layer:
        version, start, end = record.version, record.start, record.end
        if self._payload.check_op(stream, record, _OPS) == REMOVE:
            self._payload.check(stream, record)
            return Layer(version, start, end, None)
        return Layer(version, start, end, partial(load, record))

    def _last(self, stream: Stream, load: Load | None = None) -> Point | None:
        """Look from the end in windows that grow: what starts latest is not always what is seen last."""
        high, limit = TIME_MAX, 1
        while True:
            low = None
            for record in self._log.read(stream, Query(end=high, alive=True, reverse=True, limit=limit)):
                low = record.start
            if low is None:
                return None
            point = None
            for times, values in self._runs(stream, low, high, load=load):
                point = times[-1], values[-1]
            if point is not None:
                return point
            high, limit = low - 1, limit * _STEP

    def _meaning(self, stream: Stream) -> Times | None:
        """Return what the timestamps of a series mean, as any segment of a frame says; None if there is none."""
        layout = self._kind(stream)
        return None if layout is None else layout.times

    def _kind(self, stream: Stream, *, quick: bool = False) -> Layout | None:
        """Return of what kind any segment of a frame is, or (``quick``) one at an end; None if there is none."""
        return next(self._layouts(stream, limit=1 if quick else None), None)

    def _layouts(self, stream: Stream, limit: int | None = None) -> Iterator[Layout]:
        """Yield of what kind the segments of frames are: the earliest, and then from the latest on.

        Points that came without a frame say nothing, and are passed by without a look into them. Frames are mostly
        what a series begins with, or what came last.
        """
        first = self._log.read(stream, Query(ops=(EXTEND,), alive=True, limit=1))
        others = self._log.read(stream, Query(ops=(EXTEND,), alive=True, reverse=True, limit=limit))
        told = (self._payload.layout(stream, record) for record in chain(first, others))
        return (layout for layout in told if layout is not None)

    # -- write --------------------------------------------------------------------------------------------------------

    def _segment(self, stream: Stream, run: Run) -> Entry:
        body = self._payload.dump_run(stream.key, run)
        return self._entry(stream, EXTEND, body, start=run[0][0], end=run[0][-1])

    def _extend_with_frame(self, stream: Stream, frame: Frame, version: int | None, once: str | None) -> None:
        """Append a frame. If it settles the unit of the series, nobody else may settle on another one meanwhile."""

        def attempt() -> None:
            with Spool() as spool:
                self._write(self._batch_of_frame(stream, frame, spool, version), once)

        if len(frame):
            self._decide(attempt, 1 if version is not None else ATTEMPTS)
        else:
            self._check_version(stream, version)

    def _extend_with_frames(self, frames: Mapping[Stream, Frame]) -> None:
        """Append frames of several series, all of them or none."""

        def attempt() -> None:
            with ExitStack() as stack:
                spools = [stack.enter_context(Spool()) for _ in frames]
                self._append(
                    [self._batch_of_frame(*each, spool) for each, spool in zip(frames.items(), spools, strict=True)]
                )

        self._decide(attempt)

    def _batch_of_frame(self, stream: Stream, frame: Frame, spool: Spool, version: int | None = None) -> Batch:
        from rstore.frames.frame import fitted, runs
        from rstore.frames.times import pack_times

        def entries(fitting: Frame) -> Iterator[Entry]:
            for run in runs(fitting):
                body = self._payload.dump_run(stream.key, run, pack_times)
                yield self._entry(stream, EXTEND, body, start=int(run[0][0]), end=int(run[0][-1]))

        is_new, found = self._is_new(stream)
        known = None if is_new else list(islice(self._layouts(stream), 2))
        fitting = fitted(stream.key, frame, known)
        expect = found if is_new and version is None else version
        sealed: Iterable[Entry] = Anew(partial(entries, fitting))
        if fitting.has_objects or fitting.is_short:  # the user's own _dump is not called while the log is held
            spool.extend(sealed)
            sealed = spool.entries()
        return Batch(stream, sealed, now(), expect)

    def _is_new(self, stream: Stream) -> tuple[bool, int]:
        """Tell whether a series has no points, and at which version it is."""
        head = self._log.head(stream)
        return head is None or not head.live, head.version if head else 0

    def _overwrite(self, stream: Stream, low: int, high: int, rows: Iterable[Run], version: int) -> None:
        """Put points in the place of all that there are from ``low`` to ``high``, in one append."""
        extent = self._extent(stream)
        with Spool() as spool:
            live = False
            if extent is not None:
                live = low > extent[0] or high < extent[1]
                start, end = max(low, extent[0]), min(high, extent[1])
                if start <= end:
                    spool.add(self._entry(stream, REMOVE, start=start, end=end))
            for run in joined(rows):
                live = True
                spool.add(self._segment(stream, run))
            if spool:
                self._append((Batch(stream, spool.entries(), now(), version, live),))

    # -- compact ------------------------------------------------------------------------------------------------------

    def _compact_series(self, eraser: Eraser, streams: Iterable[Stream], before: int | None) -> Saved:
        """Lay all segments over each other, or those recorded before a time, and keep what is seen as full ones."""
        with Spools() as spools:
            plans = (
                (self._plan_series(spools, stream, before), partial(self._compacted, eraser, stream, before))
                for stream in streams
            )
            return eraser.erase_all(plans, spools.clear)

    def _compacted(self, eraser: Eraser, stream: Stream, before: int | None) -> Saved:
        """Compact a series that others rewrote since that was planned."""

        def attempt() -> Saved:
            with Spools() as spools:
                return eraser.erase(self._plan_series(spools, stream, before))

        return self._decide(attempt)

    def _plan_series(self, spools: Spools, stream: Stream, before: int | None) -> Plan:
        head = self._log.head(stream)
        last = None if before is None else self._log.last((stream,), before)[0]
        if head is None or (before is not None and last is None):
            return NOTHING_GONE
        version = last.version if last else head.version
        if not head.live and (last is None or self._log.last((stream,)) == [last]):
            gone = {stream: sized(self._log.read(stream))}
            return Plan([Rewrite(stream, head.version, range(head.version + 1), live=False)], gone)
        seen = self._survey(stream, version)
        if seen.tidy:
            return NOTHING_GONE
        spool = spools.new()
        try:
            for run in joined(self._rows(stream, version=version)):
                spool.add(self._merged(stream, run))
        except StorePayloadError as exc:
            if not exc.is_genuine:
                raise
            return NOTHING_GONE  # what cannot be loaded cannot be merged, and its bytes stay as they are
        versions = seen.versions[len(seen.versions) - len(spool) :]
        put = (
            Record(version, UNPLACED, seen.recorded, *entry)
            for version, entry in zip(versions, spool.entries(), strict=True)
        )
        rewrite = Rewrite(stream, None, range(version + 1), put, floor=head.floor)
        return Plan([rewrite], {stream: seen.gone}, *measured(entry.data for entry in spool.entries()))

    def _merged(self, stream: Stream, run: Run) -> Entry:
        """Return a segment without who and why: its points were written by several, and not by who compacts them."""
        body = self._payload.dump_run(stream.key, run)
        return self._payload.entry(stream, EXTEND, body, start=run[0][0], end=run[0][-1])

    def _survey(self, stream: Stream, version: int) -> _Survey:
        """Look whether a series consists of full segments side by side, the last of which may be shorter.

        Segments of other columns, or of none, do not count among them. What is appended after ``version`` does not
        count either: it will lie above what is rewritten.
        """
        tidy, end = True, TIME_MIN - 1
        recorded, gone = TIME_MIN, list[tuple[int, int]]()
        layouts: dict[Layout | None, _Filled] = {}
        for record in self._log.read(stream):
            if record.version > version:
                continue
            op = self._payload.check_op(stream, record, _OPS)
            values: Sequence[Any] = self._payload.bare_run(stream, record)[1] if op == EXTEND else ()
            layout = values.layout if isinstance(values, Table) else None
            size, filled = SEGMENT if layout is None else layout.rows, layouts.get(layout, _Filled(0, 0, True))
            tidy = tidy and filled.full and op == EXTEND and record.start > end
            points = filled.points + len(values)
            layouts[layout] = _Filled(points, points // size + 1, len(values) == size)
            end, recorded = record.end, max(recorded, record.recorded)
            gone.append((record.version, len(record.data)))
        gone.sort()
        needed = sum(filled.segments for filled in layouts.values())
        return _Survey(tidy, recorded, array("q", (version for version, _ in gone[-needed:])), gone)


def _whole(runs: Iterable[Run], failed: Sequence[StorePayloadError]) -> Iterator[Run]:
    """Yield what is seen, and raise where that is something that could not be loaded."""
    for times, values in runs:
        for value in values if failed else ():
            loaded(value)
        yield times, values


class _Filled(NamedTuple):
    """How many points there are of one layout, how many full segments those need at most, and if the last is full."""

    points: int
    segments: int
    full: bool


class _Survey(NamedTuple):
    """``versions`` are the newest of the series' own, as many as its points need at most in full segments.

    ``gone`` has version and size of each record.

    The newest: a follower that has not come to them yet does not miss what is merged into them.
    """

    tidy: bool
    recorded: int
    versions: Sequence[int]
    gone: Sequence[tuple[int, int]]
