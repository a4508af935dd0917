"""Retention: how long keys, points and events are kept, and how a compaction erases the older ones."""

from __future__ import annotations

import datetime
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from typing import Any, Final, NamedTuple

from rstore.admin.erasures import Eraser
from rstore.admin.plans import all_of, compact_keys, plan_prune
from rstore.bins import length_in_ns
from rstore.core import Core, Surface, now
from rstore.domain.erasure import COMPACT, NOTHING_GONE, Plan, measured, sized
from rstore.domain.errors import StoreIntegrityError, StorePayloadError
from rstore.domain.event_state import EventState, fold
from rstore.domain.log import ALL_VERSIONS, UNPLACED, Batch, Entry, Head, Query, Reclaimed, Record, Rewrite
from rstore.domain.names import check_name
from rstore.domain.operators import EXTEND, SETITEM
from rstore.domain.patterns import pattern_of
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, KV, RETAIN, SS, TS, Stream
from rstore.encoding.columns import UNITS, TimeAxis
from rstore.encoding.notes import note_body
from rstore.history.changes import KINDS, check_kind
from rstore.models.event_states import facts_of
from rstore.models.segments import axis_of, bare_runs
from rstore.models.spool import Spools
from rstore.timestamps import is_timedelta, length_in_series
from rstore.transactions import context

_MILLISECOND: Final = datetime.timedelta(milliseconds=1)
_NS_PER_MS: Final = UNITS["ns"] // UNITS["ms"]
_WHY: Final = "why"


class Retention(NamedTuple):
    """How long something is kept.

    Attributes:
        pattern: which keys, series and event sequences: as in :meth:`Store.find`.
        age: how long.
        kind: only ``kv``, ``ts`` or ``es``; None: all of them.
        unit: the unit of series whose times are plain ints; None: there are no such series.
        recorded: when it was set, in POSIX milliseconds.
        who, why: who set it, and why, as :meth:`Store.context` attached them; None without them.
    """

    pattern: str
    age: datetime.timedelta
    kind: str | None
    unit: str | None
    recorded: int
    who: str | None
    why: str | None

    @property
    def length(self) -> str:
        """The age as a text."""
        days, rest = divmod(self.age, datetime.timedelta(days=1))
        return str(self.age) if rest else f"{days} day{'s' * (days > 1)}"

    @property
    def name(self) -> str:
        """The reason that erasures give."""
        return f"retention {self.pattern!r} {self.length}"


class Retaining(Surface):
    """Says how long keys, points and events are kept."""

    def retain(
        self,
        pattern: str,
        age: datetime.timedelta | str | None,
        *,
        kind: str | None = None,
        unit: str | None = None,
    ) -> None:
        """Say how long keys, series and event sequences that match a pattern are kept. :meth:`compact` carries it out.

        It then erases values of keys that were stored longer ago than that, points of series of an earlier time, and
        events that happened and were stored earlier. The state of a sequence stays, also without any later event: in
        place of the earlier events, an item has one ``setitem``. :meth:`log` shows the erasure, with the pattern as the
        reason. It keeps nothing from :meth:`compact`, which may erase more. Each pattern has one age; where several
        match, the shortest counts.

        Args:
            pattern: as in :meth:`find`: ``*``, ``?`` and ``[...]`` are as in fnmatch, the rest is literal.
            age: a timedelta, or a text such as ``90 days`` or ``12h``. None ends the retention, and erases nothing.
            kind: only ``kv``, ``ts`` or ``es``.
            unit: ``s``, ``ms``, ``us`` or ``ns``: the unit of matching series whose times are plain ints.

        Raises:
            ValueError: a matching series has plain ints as times, and there is no unit; or an argument is none.

        >>> store['log/1'] = 'started'
        >>> store.retain('log/*', '90 days')
        >>> [(each.pattern, each.age.days) for each in store.retentions()]
        [('log/*', 90)]
        """
        core = self._core
        core.check_writable()
        words: dict[str, Any] = {
            "milliseconds": None if age is None else _age_of(age),
            "kind": None if kind is None else check_kind(kind),
            "unit": _check_unit(unit),
        }
        stream = Stream(RETAIN, check_name("pattern", pattern, empty=False))
        if age is not None:
            _check_units(core, stream.key, kind, unit)
        elif core.log.head(stream) is None:
            return
        entry = core.new_commit().entry(stream, RETAIN, note_body(words), start=0, end=0)
        core.append([Batch(stream, (entry,), now(), live=age is not None)])

    def retentions(self) -> list[Retention]:
        """Return the retentions in force, by pattern.

        >>> store.retain('log/*', '12h')
        >>> store.retain('log/*', None)
        >>> store.retentions()
        []
        """
        return retentions_of(self._core)


def retentions_of(core: Core) -> list[Retention]:
    """Return the retentions in force, by pattern."""
    streams = [head.stream for head in core.log.heads(RETAIN)]
    pairs = zip(streams, core.log.last(streams), strict=True) if streams else ()
    return [retention_in(core, stream, record) for stream, record in pairs if record is not None]


def retention_in(core: Core, stream: Stream, record: Record) -> Retention:
    """Return the retention that a record holds.

    Raises:
        StorePayloadError: it can't be opened, or a newer rstore wrote it.
    """
    core.envelope.check_op(stream, record, (RETAIN,))
    words, note = core.envelope.words(stream, record), core.envelope.note(stream, record)
    try:
        age, kind, unit = words.pop("milliseconds"), words.pop("kind"), words.pop("unit")
        if words or type(age) is not int or age < 1 or (kind is not None and kind not in KINDS):
            raise ValueError("its words are no retention")
        length = age * _MILLISECOND
        return Retention(stream.key, length, kind, _check_unit(unit), record.recorded, note.get("who"), note.get(_WHY))
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise core.envelope.error(stream, "it is no retention: it was damaged, or a newer rstore wrote it") from exc


def _age_of(age: object) -> int:
    """Return an age in milliseconds, rounded down."""
    if isinstance(age, str):
        found = length_in_ns(age, "age") // _NS_PER_MS
    elif is_timedelta(age):
        found = length_in_series(age, TimeAxis("ns")) // _NS_PER_MS
    else:
        raise TypeError(f"age is a timedelta, or a text such as '90 days', not {type(age).__name__}")
    if found < 1:
        raise ValueError(f"age is a millisecond at least, not {age!r}")
    return found


def _check_unit(unit: object) -> str | None:
    if unit is not None and unit not in tuple(UNITS):
        raise ValueError(f"unit is one of {', '.join(UNITS)}, not {unit!r}")
    return None if unit is None else str(unit)


# -- carrying it out --------------------------------------------------------------------------------------------------


def carry_out(core: Core, counted: dict[Stream, set[int]] | None) -> Reclaimed:
    """Carry out all retentions, each as an erasure of its own.

    Args:
        counted: erase nothing, and add the versions of the records that would go.
    """
    retentions, at = retentions_of(core), now()
    for each in retentions:
        _check_units(core, each.pattern, each.kind, each.unit)  # before anything is erased
    return reduce(Reclaimed.plus, (_carried_out(core, each, at, counted) for each in retentions), Reclaimed(0, 0))


def _carried_out(core: Core, retention: Retention, at: int, counted: dict[Stream, set[int]] | None) -> Reclaimed:
    cutoff = at - retention.age // _MILLISECOND
    note = core.note.get()
    why = None if note is None else note.words.get(_WHY)
    saved = Reclaimed(0, 0)
    with context(core, {_WHY: retention.name if why is None else f"{retention.name}: {why}"}):
        eraser = Eraser(core, COMPACT, counted is not None, counted)
        if retention.kind in (None, KV):
            saved = compact_keys(eraser, _heads(core, KV, retention.pattern), cutoff - 1, expire=True)
        if retention.kind in (None, TS):
            saved = saved.plus(_cut_series(eraser, retention, cutoff))
        if retention.kind in (None, ES):
            streams = (head.stream for head in _heads(core, ES, retention.pattern))
            plans = (partial(_plan_sequence, core, stream, cutoff) for stream in streams)
            saved = saved.plus(_erase_each(eraser, plans))
    return saved


def _heads(core: Core, kind: str, text: str) -> Iterator[Head]:
    pattern = pattern_of(text)
    heads = core.base.heads(kind, pattern.prefix, live=False)
    return (head for head in heads if pattern.matches(head.stream.key))


def _erase_each(
    eraser: Eraser, plans: Iterable[Callable[[], Plan]], done: Callable[[], None] = lambda: None
) -> Reclaimed:
    """Erase by plans. One that others have come in between is made anew."""

    def again(plan: Callable[[], Plan]) -> Reclaimed:
        return eraser.core.decide(lambda: eraser.erase(plan()))

    return eraser.erase_all(((plan(), partial(again, plan)) for plan in plans), done)


# -- series -----------------------------------------------------------------------------------------------------------


def _check_units(core: Core, pattern: str, kind: str | None, unit: str | None) -> None:
    """Raise if it is not known in which unit a matching series counts its times."""
    if unit is not None or kind not in (None, TS):
        return
    for head in _heads(core, TS, pattern):
        if head.live and _unit_of(core, head.stream) is None:
            raise ValueError(
                f"the times of the series {head.stream.key!r} are plain ints: pass unit='ms', or whichever they "
                f"have, when you set the retention of {pattern!r}; nothing was erased"
            )


def _unit_of(core: Core, stream: Stream) -> str | None:
    axis = axis_of(core, stream)
    return None if axis is None else axis.unit


def _cut_series(eraser: Eraser, retention: Retention, cutoff: int) -> Reclaimed:
    core = eraser.core
    with Spools() as spools:
        streams = (head.stream for head in _heads(core, TS, retention.pattern))
        plans = (partial(_plan_cut, core, spools, stream, retention.unit, cutoff) for stream in streams)
        return _erase_each(eraser, plans, spools.clear)


def _plan_cut(core: Core, spools: Spools, stream: Stream, unit: str | None, cutoff: int) -> Plan:
    """Drop the records whose points are all older, and cut the others: no other record has to be read."""
    head = core.log.head(stream)
    if head is None:
        return NOTHING_GONE
    if not head.live:
        (last,) = core.log.last((stream,))
        return _whole(core, head) if last is not None and last.recorded < cutoff else NOTHING_GONE
    unit = _unit_of(core, stream) or unit
    if unit is None:  # its first points came after the check
        return NOTHING_GONE
    start = -(-cutoff * UNITS[unit] // UNITS["ms"])
    if next(bare_runs(core, stream, start, TIME_MAX), None) is None:
        return _whole(core, head)
    spool, versions, gone = spools.new(), list[tuple[int, int]](), list[tuple[int, int]]()
    for record in core.log.read(stream, Query(end=start - 1)):
        if record.end >= start:
            entry = _cut(core, stream, record, start)
            if entry is None:
                continue
            spool.add(entry)
            versions.append((record.version, record.recorded))
        gone.append((record.version, len(record.data)))
    if not gone:
        return NOTHING_GONE
    gone.sort()
    put = (Record(version, UNPLACED, at, *entry) for (version, at), entry in zip(versions, spool.items(), strict=True))
    rewrite = Rewrite(stream, None, [version for version, _ in gone], put, floor=head.floor)
    return Plan([rewrite], {stream: gone}, *measured(entry.data for entry in spool.items()))


def _whole(core: Core, head: Head) -> Plan:
    return Plan([all_of(head.stream, head.version)], {head.stream: sized(core.log.read(head.stream))})


def _cut(core: Core, stream: Stream, record: Record, start: int) -> Entry | None:
    """Return a segment without its points before a time, with its note; None if it has to stay as it is.

    A hole may stay. So do values that can't be loaded, until all of their segment is old.
    """
    if record.op != EXTEND:
        return None
    try:
        times, values = core.envelope.run(stream, record)
    except StorePayloadError as exc:
        if not exc.is_genuine:
            raise
        return None
    first = bisect_left(times, start)
    words = core.envelope.note(stream, record)
    body = core.envelope.dump_run(stream.key, (times[first:], values[first:]))
    note = note_body(words) if words else None
    return core.envelope.entry(stream, EXTEND, body, start=times[first], end=record.end, note=note)


# -- event sequences --------------------------------------------------------------------------------------------------


class _Last(NamedTuple):
    """The last event of an item."""

    version: int
    recorded: int
    time: int
    op: str


def _plan_sequence(core: Core, stream: Stream, cutoff: int) -> Plan:
    """Put one ``setitem`` of each item in place of the events before a time.

    Those are the first events by time that happened and were stored before it. An event that came in late for an
    earlier time ends them: what comes after it by time can't be folded without it.
    """
    head = core.log.head(stream)
    if head is None:
        return NOTHING_GONE
    sizes, lasts, younger = dict[int, int](), dict[str, _Last](), list[int]()

    def older() -> Iterator[Record]:
        for record in core.log.read(stream):
            if max(record.recorded, record.start) >= cutoff:
                younger.append(record.version)
                return
            sizes[record.version] = len(record.data)
            lasts[record.item] = _Last(record.version, record.recorded, record.start, record.op)
            yield record

    try:
        folded = fold(EventState(), facts_of(core, stream, older()))
    except StoreIntegrityError:  # nor does any other read fold it
        folded = None
    if folded is None or not folded.is_whole:
        return plan_prune(core, stream, True, cutoff - 1)
    kept = {item: (value, lasts[item]) for item, value in folded.state.items()}
    put = [
        Record(last.version, UNPLACED, last.recorded, *_setting(core, stream, item, value, last.time))
        for item, (value, last) in kept.items()
        if last.op != SETITEM
    ]
    dropped = sizes.keys() - {last.version for _, last in kept.values() if last.op == SETITEM}
    if not dropped:
        return NOTHING_GONE
    snapshots = Stream(SS, stream.key)
    rewrites = [
        Rewrite(stream, head.version, dropped, put, live=None if kept or younger else False),
        Rewrite(snapshots, None, ALL_VERSIONS, live=False),
    ]
    gone = {
        stream: [(version, sizes[version]) for version in sorted(dropped)],
        snapshots: sized(core.log.read(snapshots)),
    }
    return Plan(rewrites, gone, *measured(each.data for each in put))


def _setting(core: Core, stream: Stream, item: str, value: Any, time: int) -> Entry:
    """Return an event without who and why: several users wrote the events that it replaces."""
    return core.envelope.entry(stream, SETITEM, core.envelope.dump(stream.key, value), item=item, start=time, end=time)
