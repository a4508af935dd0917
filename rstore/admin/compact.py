"""Erasing records that no read needs any more: ``prune`` and ``compact``."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from rstore.admin.ended import forget_ended
from rstore.admin.erasures import Eraser
from rstore.admin.plans import compact_keys, prune_sequences
from rstore.admin.retention import carry_out, retentions_of
from rstore.commits import WRITER, writers_in
from rstore.core import Core, Surface, check_keys
from rstore.domain.erasure import COMPACT, NOTHING_GONE, PRUNE, Plan, measured, sized
from rstore.domain.errors import StorePayloadError
from rstore.domain.log import UNPLACED, Entry, Reclaimed, Record, Rewrite
from rstore.domain.operators import EXTEND, REMOVE
from rstore.domain.series import SEGMENT, Run
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.encoding.columns import Layout, Table
from rstore.encoding.notes import note_body
from rstore.encoding.rows import joined
from rstore.models.segments import rows_of
from rstore.models.spool import Spools
from rstore.tags import moment_of
from rstore.timestamps import Moment

_PAGE: Final = 256


class Compaction(Surface):
    """Erases records that no read needs any more."""

    def prune(self, *keys: str, remove: bool = True, before: Moment | None = None, dry_run: bool = False) -> Reclaimed:
        """Erase the events that do not contribute to the current state, and return how much that saved.

        :meth:`Store.log` shows the erasure as a change: which records were erased, and the context of the call. It does
        not show their values. Without keys, the call erases nothing.

        An item loses its events before its last ``setitem`` or ``delitem``; a deleted item loses all of them.
        ``current`` does not change; ``past`` and ``events`` show only the events that are left. A deleted key is erased
        as a whole, and with ``remove`` also a key whose state is empty.

        Args:
            remove: whether to erase a key whose state is empty.
            dry_run: erase nothing, and return how much would be saved. A frozen store can do this, too.
            before: keep all events that happened or were stored after this time, and the events that later states
                build on. :meth:`Store.at` takes the same times. No view of a later time changes, nor does ``past`` of
                later times in it.

        >>> for n in range(3):
        ...     _ = store.apply('counter', {'n': n})
        >>> store.prune('counter').records
        2
        """
        eraser = Eraser(self._core, PRUNE, dry_run)
        limit = TIME_MAX if before is None else moment_of(self._core, before)
        return prune_sequences(eraser, [Stream(ES, key) for key in check_keys(keys)], limit, remove=remove)

    def compact(self, before: Moment | None = None, *, dry_run: bool = False) -> Reclaimed:
        """Erase records that no read of the present needs, free their space, and return how much that saved.

        The result is a number of records, and of the bytes of their payloads. :meth:`log` shows the erasure as changes:
        which records were erased, and the context of the call. It does not show their values.

        A key keeps its last value, a series its visible points, an event sequence the events that :meth:`prune` keeps.
        A key whose last value has reached its end is erased.
        An event sequence that was deleted, or whose state is empty, is erased. Before all that, the call erases what is
        older than :meth:`retain` says.

        Args:
            before: erase only records that were stored up to this time, and keep all that :meth:`at` shows from then
                on.
            dry_run: erase nothing, and return how much would be saved. A frozen store can do this, too.
        """
        # only a store with retentions has to remember what they erase
        counted: dict[Stream, set[int]] | None = {} if dry_run and any(retentions_of(self._core)) else None
        eraser = Eraser(self._core, COMPACT, dry_run, counted)
        limit = None if before is None else moment_of(self._core, before)
        series = (head.stream for head in self._core.base.heads(TS, live=False))
        sequences = (head.stream for head in self._core.base.heads(ES, live=False))
        saved = carry_out(self._core, counted)
        saved = saved.plus(compact_keys(eraser, self._core.base.heads(KV, live=False), limit))
        saved = saved.plus(_compact_series(eraser, series, limit))
        saved = saved.plus(prune_sequences(eraser, sequences, TIME_MAX if limit is None else limit))
        saved = saved.plus(forget_ended(self._core, limit, dry_run=dry_run))
        if not dry_run:
            self._core.base.vacuum()
        return saved


def _compact_series(eraser: Eraser, streams: Iterable[Stream], before: int | None) -> Reclaimed:
    """Merge the segments of series, or those recorded before a time, into full ones of the visible points."""
    with Spools() as spools:
        plans = (
            (_plan_series(eraser.core, spools, stream, before), partial(_compacted, eraser, stream, before))
            for stream in streams
        )
        return eraser.erase_all(plans, spools.clear)


def _compacted(eraser: Eraser, stream: Stream, before: int | None) -> Reclaimed:
    """Compact a series that others have rewritten since it was planned."""

    def attempt() -> Reclaimed:
        with Spools() as spools:
            return eraser.erase(_plan_series(eraser.core, spools, stream, before))

    return eraser.core.decide(attempt)


def _plan_series(core: Core, spools: Spools, stream: Stream, before: int | None) -> Plan:
    head = core.log.head(stream)
    last = None if before is None else core.log.last((stream,), before)[0]
    if head is None or (before is not None and last is None):
        return NOTHING_GONE
    version = last.version if last else head.version
    if not head.live and (last is None or core.log.last((stream,)) == [last]):
        gone = {stream: sized(core.log.read(stream))}
        return Plan([Rewrite(stream, head.version, range(head.version + 1), live=False)], gone)
    seen = _survey(core, stream, version, head.died)
    if seen.tidy:
        return NOTHING_GONE
    spool = spools.new()
    try:
        for run in joined(rows_of(core, stream, version=version)):
            spool.add(_merged(core, stream, run, seen.writers))
    except StorePayloadError as exc:
        if not exc.is_genuine:
            raise
        return NOTHING_GONE  # a value that can't be loaded can't be merged: its bytes stay as they are
    versions = seen.versions[len(seen.versions) - len(spool) :]
    put = (
        Record(version, UNPLACED, seen.recorded, *entry) for version, entry in zip(versions, spool.items(), strict=True)
    )
    rewrite = Rewrite(stream, None, range(version + 1), put, floor=head.floor)
    return Plan([rewrite], {stream: seen.gone}, *measured(entry.data for entry in spool.items()))


def _merged(core: Core, stream: Stream, run: Run, writers: set[str | None]) -> Entry:
    """Return a segment without who and why: several users wrote its points, and not the one that compacts them.

    The segment keeps which projections have written to the series, since a rebuild looks for that.
    """
    body = core.envelope.dump_run(stream.key, run)
    names = sorted(name for name in writers if name is not None)
    others = [None] if None in writers else []
    note = note_body({WRITER: names[0] if len(writers) == 1 else [*names, *others]}) if names else None
    return core.envelope.entry(stream, EXTEND, body, start=run[0][0], end=run[0][-1], note=note)


def _survey(core: Core, stream: Stream, version: int, died: int) -> _Survey:
    """Measure a series: is it made of full segments side by side, of which only the last is shorter?

    That is asked for each layout of columns by itself. Records after ``version`` do not count: they will lie above the
    rewritten ones.
    """
    tidy, end = True, TIME_MIN - 1
    recorded, gone = TIME_MIN, list[tuple[int, int]]()
    layouts: dict[Layout | None, _Filled] = {}
    writers = set[str | None]()
    for record in core.log.read(stream):
        if record.version > version:
            continue
        op = core.envelope.check_op(stream, record, (EXTEND, REMOVE))
        values: Sequence[Any] = core.envelope.bare_run(stream, record)[1] if op == EXTEND else ()
        layout = values.layout if isinstance(values, Table) else None
        size, filled = SEGMENT if layout is None else layout.rows, layouts.get(layout, _Filled(0, 0, True))
        tidy = tidy and filled.full and op == EXTEND and record.start > end
        points = filled.points + len(values)
        layouts[layout] = _Filled(points, points // size + 1, len(values) == size)
        end, recorded = record.end, max(recorded, record.recorded)
        gone.append((record.version, len(record.data)))
        writers |= _writers(core, stream, record) if record.version > died else set()
    gone.sort()
    needed = sum(filled.segments for filled in layouts.values())
    return _Survey(tidy, recorded, array("q", (version for version, _ in gone[-needed:])), gone, writers)


def _writers(core: Core, stream: Stream, record: Record) -> set[str | None]:
    """Return which projections have written a record; None stands for others, and where nobody can tell."""
    try:
        return writers_in(core.envelope.note(stream, record))
    except StorePayloadError:
        return {None}


class _Filled(NamedTuple):
    """The points of one layout, how many full segments they need at most, and whether the last one is full."""

    points: int
    segments: int
    full: bool


class _Survey(NamedTuple):
    """The measure of a series: ``gone`` has version and size of each record.

    ``versions`` are the newest versions of the series, as many as its points need at most in full segments. They are
    the newest so that a follower that has not reached them yet does not miss the points that are merged into them.
    ``writers`` are the projections that have written visible points; None stands for all other writers.
    """

    tidy: bool
    recorded: int
    versions: Sequence[int]
    gone: Sequence[tuple[int, int]]
    writers: set[str | None]
