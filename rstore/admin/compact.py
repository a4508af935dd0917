"""Erasing what no read needs any more: ``prune`` and ``compact``."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from typing import Any, Final, NamedTuple

from rstore.admin.erasures import Eraser
from rstore.core import WRITER, Core, Surface, check_keys, writers_in
from rstore.domain.erasure import COMPACT, NOTHING_GONE, PRUNE, Plan, measured, sized
from rstore.domain.errors import StoreConflictError, StorePayloadError
from rstore.domain.event_state import obsolete
from rstore.domain.log import UNPLACED, Entry, Head, Reclaimed, Record, Rewrite
from rstore.domain.operators import DELITEM, EXTEND, REMOVE
from rstore.domain.paging import pages
from rstore.domain.series import SEGMENT, Run
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, SS, TS, Stream
from rstore.encoding.columns import Layout, Table
from rstore.encoding.notes import note_body
from rstore.encoding.rows import joined
from rstore.models.segments import rows_of
from rstore.models.spool import Spools
from rstore.timestamps import Moment, posix_ms

_PAGE: Final = 256


class Compaction(Surface):
    """Erases what no read needs any more."""

    def prune(self, *keys: str, remove: bool = True, before: Moment | None = None, dry_run: bool = False) -> Reclaimed:
        """Erase the events that do not contribute to the current state, and return how much that saved.

        :meth:`Store.log` shows the erasure as a change: which records went, and the context of the call. The values
        that went are not shown. Without keys, the call erases nothing.

        An item's events before its last ``setitem`` or ``delitem`` go, and with an item that is deleted all of them.
        ``current`` is then equal to what it was; ``past`` and ``events`` know only what is left. With ``remove`` a
        key whose state is empty goes entirely. One that was deleted goes in any case.

        Args:
            remove: whether the key goes if its state is empty.
            dry_run: erase nothing, and return what would be saved; a frozen store can do it too.
            before: keep all that happened or was stored after this time, as :meth:`Store.at` takes it, and what the
                states from then on build on: no view of a later time changes, nor ``past`` of later times in it.

        >>> for n in range(3):
        ...     _ = store.apply('counter', {'n': n})
        >>> store.prune('counter').records
        2
        """
        eraser = Eraser(self._core, PRUNE, dry_run)
        limit = TIME_MAX if before is None else posix_ms(before)
        return _prune(eraser, [Stream(ES, key) for key in check_keys(keys)], limit, remove=remove)

    def compact(self, before: Moment | None = None, *, dry_run: bool = False) -> Reclaimed:
        """Erase what no read of the present needs, give the space back, and return what was saved.

        :meth:`log` shows the erasure as changes: which records went, and the context of the call. The values that went
        are not shown.

        That is a number of records, and the bytes of their payloads. Of a key the last value is kept, of a series what
        can be seen, of an event sequence what :meth:`prune` keeps: one that was deleted, or whose state is empty, goes.

        Args:
            before: erase only what was stored up to this time, and keep what :meth:`at` shows from then on.
            dry_run: erase nothing, and return what would be saved; a frozen store can do it too.
        """
        eraser = Eraser(self._core, COMPACT, dry_run)
        limit = None if before is None else posix_ms(before)
        series = (head.stream for head in self._core.base.heads(TS, live=False))
        sequences = (head.stream for head in self._core.base.heads(ES, live=False))
        saved = _compact_keys(eraser, limit)
        saved = saved.plus(_compact_series(eraser, series, limit))
        saved = saved.plus(_prune(eraser, sequences, TIME_MAX if limit is None else limit))
        if not dry_run:
            self._core.base.vacuum()
        return saved


def _compact_keys(eraser: Eraser, before: int | None) -> Reclaimed:
    """Keep only the last value of each key, and nothing of deleted ones; or that of a time, and all after it."""
    return eraser.erase_all(
        (plan, partial(_forget, eraser.core, plan.rewrites)) for plan in _plans_of_keys(eraser.core, before)
    )


def _plans_of_keys(core: Core, before: int | None) -> Iterator[Plan]:
    for page in pages(core.log.heads(KV, live=False), _PAGE):
        present = {head.stream: head.version for head in page}
        then = page if before is None else _heads_at(core, page, before)
        dead = [head for head in then if not head.live and head.version == present[head.stream]]
        rewrites = [
            _all_of(head.stream, head.version)
            if head in dead
            else Rewrite(head.stream, None, range(head.version + (not head.live)), bump_version=False)
            for head in then
        ]
        gone = {
            rewrite.stream: sized(each for each in core.log.read(rewrite.stream) if each.version in rewrite.drop)
            for rewrite in rewrites
        }
        yield Plan([each for each in rewrites if gone[each.stream] or each.live is False], gone)


def _heads_at(core: Core, heads: list[Head], moment: int) -> list[Head]:
    """Return the heads of keys as they were at a time."""
    lasts = zip(heads, core.log.last([head.stream for head in heads], moment), strict=True)
    return [head._replace(version=last.version, live=last.op != DELITEM) for head, last in lasts if last is not None]


def _forget(core: Core, rewrites: Sequence[Rewrite]) -> Reclaimed:
    try:
        return core.base.rewrite(rewrites)
    except StoreConflictError:  # one of them was set in the meantime: leave that one
        half = len(rewrites) // 2
        halves = (rewrites[:half], rewrites[half:]) if half else ()
        return reduce(Reclaimed.plus, map(partial(_forget, core), halves), Reclaimed(0, 0))


def _all_of(stream: Stream, version: int) -> Rewrite:
    return Rewrite(stream, version, range(version + 1), live=False)


def _compact_series(eraser: Eraser, streams: Iterable[Stream], before: int | None) -> Reclaimed:
    """Lay all segments over each other, or those recorded before a time, and keep what is seen as full ones."""
    with Spools() as spools:
        plans = (
            (_plan_series(eraser.core, spools, stream, before), partial(_compacted, eraser, stream, before))
            for stream in streams
        )
        return eraser.erase_all(plans, spools.clear)


def _compacted(eraser: Eraser, stream: Stream, before: int | None) -> Reclaimed:
    """Compact a series that others rewrote since that was planned."""

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
        return NOTHING_GONE  # what cannot be loaded cannot be merged, and its bytes stay as they are
    versions = seen.versions[len(seen.versions) - len(spool) :]
    put = (
        Record(version, UNPLACED, seen.recorded, *entry)
        for version, entry in zip(versions, spool.entries(), strict=True)
    )
    rewrite = Rewrite(stream, None, range(version + 1), put, floor=head.floor)
    return Plan([rewrite], {stream: seen.gone}, *measured(entry.data for entry in spool.entries()))


def _merged(core: Core, stream: Stream, run: Run, writers: set[str | None]) -> Entry:
    """Return a segment without who and why: its points were written by several, and not by who compacts them.

    It keeps which projections have written to the series, since a rebuild looks for that.
    """
    body = core.envelope.dump_run(stream.key, run)
    names = sorted(name for name in writers if name is not None)
    others = [None] if None in writers else []
    note = note_body({WRITER: names[0] if len(writers) == 1 else [*names, *others]}) if names else None
    return core.envelope.entry(stream, EXTEND, body, start=run[0][0], end=run[0][-1], note=note)


def _survey(core: Core, stream: Stream, version: int, died: int) -> _Survey:
    """Look whether a series consists of full segments side by side, the last of which may be shorter.

    Segments of other columns, or of none, do not count among them. What is appended after ``version`` does not
    count either: it will lie above what is rewritten.
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
    """How many points there are of one layout, how many full segments those need at most, and if the last is full."""

    points: int
    segments: int
    full: bool


class _Survey(NamedTuple):
    """``versions`` are the newest of the series' own, as many as its points need at most in full segments.

    ``gone`` has version and size of each record. ``writers`` are the projections that have written what is seen; None
    stands for all others.

    The newest: a follower that has not come to them yet does not miss what is merged into them.
    """

    tidy: bool
    recorded: int
    versions: Sequence[int]
    gone: Sequence[tuple[int, int]]
    writers: set[str | None]


def _prune(eraser: Eraser, streams: Iterable[Stream], before: int, *, remove: bool = True) -> Reclaimed:
    plans = (partial(_plan_prune, eraser.core, stream, remove, before) for stream in streams)
    return eraser.erase_all((plan(), partial(_pruned, eraser, plan)) for plan in plans)


def _pruned(eraser: Eraser, plan: Callable[[], Plan]) -> Reclaimed:
    """Prune a sequence that others wrote to since it was planned."""
    return eraser.core.decide(lambda: eraser.erase(plan()))


def _plan_prune(core: Core, stream: Stream, remove: bool, before: int) -> Plan:
    head = core.log.head(stream)
    if head is None:
        return NOTHING_GONE
    events, lasting = [], set()
    sizes: dict[int, int] = {}
    for record in core.log.read(stream):
        core.envelope.check(stream, record)
        events.append((record.version, record.item, record.op))
        sizes[record.version] = len(record.data)
        if max(record.recorded, record.start) > before:
            lasting.add(record.version)
    dropped = obsolete(events, lasting)
    stays = len(dropped) < len(events) or (head.live and not remove)
    if stays and not dropped:
        return NOTHING_GONE
    snapshots = Stream(SS, stream.key)
    rewrites = [
        Rewrite(stream, head.version, dropped, live=None if stays else False),
        Rewrite(snapshots, None, range(TIME_MAX), live=False),
    ]
    gone = {stream: [(version, sizes[version]) for version in dropped], snapshots: sized(core.log.read(snapshots))}
    return Plan(rewrites, gone)
