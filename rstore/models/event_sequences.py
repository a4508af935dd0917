"""Event sequences: dicts of which each change is recorded."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias, overload

from rstore.core import (
    ATTEMPTS,
    Core,
    Past,
    Reading,
    ReadSurface,
    Surface,
    check_expect,
    check_key,
    check_keys,
    check_one,
    now,
)
from rstore.domain.errors import StoreConflictError, StoreError, StoreIntegrityError, StorePayloadError
from rstore.domain.event_state import EventState, Fact, Unloaded, fold, loaded
from rstore.domain.log import Batch, Query, Record, Replay, ReplayQuery
from rstore.domain.names import check_name
from rstore.domain.operators import DELETE, DELITEM, EVENTS, ONCE, OPERATORS, SNAPSHOT, names_of, parse
from rstore.domain.rules import folded_version
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, SS, Stream
from rstore.encoding.envelope import ATOMS, NOTHING, Body
from rstore.timestamps import Moment, posix_ms

_SNAPSHOT_EVERY: Final = 256


State: TypeAlias = dict[str, Any]


class Event(NamedTuple):
    """One change of one item.

    ``timestamp`` is in POSIX milliseconds, ``op`` a function of the module operator, ``value`` None if that is unary.
    """

    timestamp: int
    item: str
    op: Any
    value: Any


class _Step(NamedTuple):
    """One change that is to be applied, with its value dumped."""

    item: str
    op: str
    body: Body
    value: Any


_DELETION: Final = _Step("", DELETE, NOTHING, None)


class _Changes(NamedTuple):
    """What one call applies: at a time, or now; to a version, or to any.

    ``check`` is given the state that will be there, and may raise. ``marker`` tells that a token was used.
    """

    stream: Stream
    steps: list[_Step]
    when: int | None
    expect: int | None
    check: Callable[[State], object] | None
    marker: Batch | None = None


class EventSequenceReader(ReadSurface):
    """Reads event sequences: for each key a dict whose changes are events, so that its past can be asked for."""

    @overload
    def current(self, key: str, withtimestamp: Literal[False] = False) -> State | None: ...
    @overload
    def current(self, key: str, withtimestamp: Literal[True]) -> tuple[int | None, State] | None: ...
    def current(self, key: str, withtimestamp: bool = False) -> Any:
        """Return the current state ``{item: value}``, or None if the key is unknown.

        With ``withtimestamp`` return ``(timestamp of the latest event, state)``.

        >>> store.apply('account', {'owner': 'Ada', 'balance': 10}, t=1000)
        {'owner': 'Ada', 'balance': 10}
        >>> store.apply('account', {'balance': (operator.add, 5)}, t=2000)
        {'owner': 'Ada', 'balance': 15}
        >>> store.current('account', withtimestamp=True)
        (2000, {'owner': 'Ada', 'balance': 15})
        """
        found = current_state(self._core, check_key(key))
        return _shown(found, withtimestamp) if found is not None and not found.deleted else None

    @overload
    def past(self, key: str, t: Moment, withtimestamp: Literal[False] = False) -> State | None: ...
    @overload
    def past(self, key: str, t: Moment, withtimestamp: Literal[True]) -> tuple[int | None, State] | None: ...
    def past(self, key: str, t: Moment, withtimestamp: bool = False) -> Any:
        """Return the state as it was at time ``t``, or None if the key was unknown then.

        It is folded from the events that there are: of what was pruned it knows nothing.

        >>> store.apply('account', {'balance': 10}, t=1000)
        {'balance': 10}
        >>> store.apply('account', {'balance': 99}, t=2000)
        {'balance': 99}
        >>> store.past('account', 1999)
        {'balance': 10}
        """
        found = past_state(self._core, Stream(ES, check_key(key)), posix_ms(t, "t"))
        return _shown(found, withtimestamp) if found is not None and found.lives else None

    def events(
        self, key: str, start: Moment | None = None, end: Moment | None = None, ops: Any = None, item: str | None = None
    ) -> list[Event] | None:
        """Return the events of a key in order of time, or None if the key is unknown.

        Args:
            start, end: only events from then to then, both inclusive, as :meth:`at` takes times.
            ops: only events with this operator, or one of these.
            item: only events of this item.

        >>> _ = store.apply('account', {'balance': 10}, t=1000)
        >>> store.events('account')
        [Event(timestamp=1000, item='balance', op=<built-in function setitem>, value=10)]
        """
        stream = Stream(ES, check_key(key))
        low = TIME_MIN if start is None else posix_ms(start, "start", up=True)
        high = TIME_MAX if end is None else posix_ms(end, "end")
        names = None if ops is None else names_of(ops)
        if item is not None:
            item = check_name("item", item)
        if self._core.log.head(stream) is None:
            return None
        records = self._core.log.read(stream, Query(low, high, item, names))
        facts = (fact for fact in facts_of(self._core, stream, records) if fact.op != DELETE)
        return [Event(fact.time, fact.item, OPERATORS[fact.op].function, loaded(fact.value)) for fact in facts]

    def eventsources(self, prefix: str = "") -> list[str]:
        """Return the keys of all event sequences, or of those that begin with a prefix, in code-point order."""
        return [head.stream.key for head in self._core.log.heads(ES, check_name("prefix", prefix))]

    eventsequences = eventsources
    """The name of :meth:`eventsources` in rlib-store 0.1."""


class EventSequenceWriter(Surface):
    """Writes event sequences: each change of an item is an event."""

    def apply(
        self,
        key: str,
        state: Mapping[str, Any],
        t: Moment | None = None,
        *,
        expect: int | None = None,
        once: str | None = None,
    ) -> State | Any:
        """Record changes of a dict's items as events, all or nothing, and return the current state.

        No changes of an unknown key store nothing, and None is returned, as by :meth:`current`.

        Events may come in late, with a time before the latest; all that follow are then folded again.

        Args:
            state: ``{item: value}`` to set items, or ``{item: (op, value)}`` to apply a function of the module
                operator: ``operator.delitem`` and all pure unary and binary ones. The value is None for unary ones.
            t: when it happened, as :meth:`at` takes times; by default now, and in any case after the latest event.
            expect: the version that the sequence must still have, as :meth:`version` returned it; 0 if it must be new.
            once: a token; what is applied again with it, to this key, has been done already, and the state that the
                first time came to is returned.

        Raises:
            StoreConflictError: the sequence is at another version than expected.
            TypeError: an operator that can't be applied; the message lists those that can.
            StoreIntegrityError: an item has an event at ``t`` already, or an operator fails somewhere in the resulting
                history; item, operator and time are named.

        >>> store.apply('counter', {'n': 1})
        {'n': 1}
        >>> store.apply('counter', {'n': (operator.add, 2)})
        {'n': 3}
        """
        return apply_if(self._core, key, state, None, expect, t, once)

    def delete_events(self, *keys: str, t: Moment | None = None, expect: int | None = None) -> None:
        """Delete event sequences: each is as unknown then, and its past stays; unknown ones are passed over.

        All items that a sequence has are deleted, in one write for each key. A later :meth:`apply` begins it anew.
        Events that come in late, with a time before the deletion, change its past only.

        Args:
            t: when they were deleted, as :meth:`at` takes times; by default now, and in any case after the latest
                event. What happened later than an earlier ``t`` stays.
            expect: the version that the sequence must still have; there is one key then.

        Raises:
            StoreConflictError: the sequence is at another version than expected.
            StoreIntegrityError: an item has an event at ``t`` already, or a later event builds on what is deleted.

        >>> store.apply('account', {'balance': 10}, t=1000)
        {'balance': 10}
        >>> store.delete_events('account', t=2000)
        >>> store.current('account'), store.eventsources(), store.past('account', 1999)
        (None, [], {'balance': 10})
        """
        self._core.check_writable()
        streams = [Stream(ES, key) for key in check_keys(keys)]
        version = check_one(check_expect(expect), streams)
        when = None if t is None else posix_ms(t, "t")
        for stream in streams:
            delete_sequence(self._core, stream.key, version, when)


# -- read -------------------------------------------------------------------------------------------------------------


def facts_of(core: Reading, stream: Stream, records: Iterable[Record]) -> Iterator[Fact]:
    """Yield events as the fold takes them, :class:`Unloaded` in place of values that cannot be loaded."""
    for record in records:
        op = core.envelope.check_op(stream, record, EVENTS)
        yield Fact(record.version, record.start, record.item, op, _operand(core, stream, record))


def _operand(core: Reading, stream: Stream, record: Record) -> Any:
    try:
        return core.envelope.value(stream, record)
    except StorePayloadError as exc:
        if not exc.is_genuine:  # of what was not written there nobody knows which item it is about
            raise
        return Unloaded(exc)


def current_state(core: Reading, key: str) -> EventState | None:
    """Return the newest state, from the cache as far as that goes; None if there is no such key."""
    stream = Stream(ES, key)
    cached = core.states.known(key)
    found = None
    if cached is not None:
        found = _folded(core, stream, cached, core.log.replay(stream, ReplayQuery(after=cached.version)))
    if found is None:
        found = past_state(core, stream, TIME_MAX)
    # what could not be loaded is tried again next time: its class may be there by then
    core.states.put(key, found if found is None or found.is_whole else None)
    return found


def current_of(core: Reading, key: str) -> State | None:
    """Return the current state of a key, None if it is unknown."""
    found = current_state(core, key)
    return copied(found.state) if found is not None and not found.deleted else None


def past_state(core: Reading, stream: Stream, t: int) -> EventState | None:
    """Fold all events up to ``t`` from the newest snapshot that counts; None if there is no such stream."""
    horizon = t
    while True:
        replay = core.log.replay(stream, ReplayQuery(t, horizon))
        if replay is None or replay.snapshot is None:
            return _folded(core, stream, EventState(), replay)
        snapshots, found = Stream(SS, stream.key), replay.snapshot
        earliest = min((record.start for record in replay.records[:1]), default=found.start)
        if earliest < found.start:
            horizon = earliest  # an event came in late: what was folded beyond it no longer counts
            continue
        try:
            state = core.envelope.state(snapshots, found)
        except StorePayloadError as exc:
            if not exc.is_genuine:
                raise
            if found.start == TIME_MIN:
                return _folded(core, stream, EventState(), core.log.replay(stream, ReplayQuery(t, after=0)))
            horizon = found.start - 1  # it cannot be loaded: the events are all there
            continue
        return _folded(core, stream, EventState(folded_version(found), found.start, state), replay)


def _folded(core: Reading, stream: Stream, start: EventState, replay: Replay | None) -> EventState | None:
    """Fold what followed; None if it changes what was folded before, or if there is no such stream."""
    if replay is None or 0 < start.version < replay.head.floor or start.version > replay.head.version:
        return None
    if start.time is not None and any(record.start < start.time for record in replay.records[:1]):
        return None
    if start.version == replay.head.version:
        return start
    facts = facts_of(core, stream, replay.records)
    try:
        return fold(start, facts)._replace(version=replay.head.version)
    except StoreIntegrityError as exc:
        if not isinstance(core, Past):
            raise
        raise StoreError(f"es {stream.key!r}: what its state at that time builds on was pruned ({exc})") from exc


# -- write ------------------------------------------------------------------------------------------------------------


def apply_if(
    core: Core,
    key: str,
    state: Mapping[str, Any],
    check: Callable[[State], object] | None = None,
    expect: int | None = None,
    t: Moment | None = None,
    once: str | None = None,
) -> State | Any:
    """Apply changes if ``check``, which is given the state that will be there, does not raise."""
    stream = Stream(ES, check_key(key))
    core.check_writable()
    when = None if t is None else posix_ms(t, "t")
    if not isinstance(state, Mapping):
        raise TypeError(f"the changes must be a mapping of items, not {type(state).__name__}")
    steps = [_step(core, stream, item, change) for item, change in state.items()]
    version = check_expect(expect)
    if not steps:
        core.check_version(stream, version)
        return current_of(core, key)
    changes = _Changes(stream, steps, when, version, check)
    attempt = partial(_apply, core, changes)
    if once is not None:
        attempt = partial(_apply_once, core, changes._replace(marker=core.marker(stream, once)))
    return core.decide(attempt, ATTEMPTS if version is None else 1)


def delete_sequence(core: Core, key: str, expect: int | None, when: int | None = None) -> None:
    """Delete an event sequence with all items that it has."""
    deletion = _Changes(Stream(ES, key), [_DELETION], when, expect, None)
    core.decide(partial(_apply, core, deletion), ATTEMPTS if expect is None else 1)


def _ending(current: EventState, then: EventState) -> list[_Step]:
    """Return what deletes a sequence as of a time: each item that it had then, and itself. Nothing if it did not live.

    That it is told apart from its items tells a deleted sequence from one without items.
    """
    if current.version == 0 or current.deleted or not (then is current or then.lives):
        return []
    return [*(_Step(item, DELITEM, NOTHING, None) for item in then.state), _DELETION]


def _step(core: Core, stream: Stream, item: str, change: Any) -> _Step:
    item = check_name("item", item)
    op, value = parse(item, change)
    if not OPERATORS[op].binary:
        return _Step(item, op, NOTHING, None)
    body = core.envelope.dump(stream.key, value)
    return _Step(item, op, body, core.envelope.echo(stream, body, value))


def _apply_once(core: Core, changes: _Changes) -> State | None:
    """Apply, unless the marker is there: whatever went wrong, having done it before may be the reason."""
    try:
        return _apply(core, changes)
    except StoreIntegrityError:
        marker = changes.marker
        found = None if marker is None else core.log.last((marker.stream,))[0]
        if marker is None or found is None:
            raise
        core.envelope.check(marker.stream, found)
    return _state_after(core, changes.stream, found)


def _state_after(core: Core, stream: Stream, marker: Record) -> State | None:
    """Return the state that what a marker stands for has led to; the present one, if that was pruned since."""
    after, count = map(int, marker.item.split("."))
    head = core.log.head(stream)
    following = sorted(core.log.read(stream, Query(after=after)), key=attrgetter("version"))[:count]
    is_whole = len(following) == count and all(record.recorded == marker.recorded for record in following)
    if head is None or not is_whole or 0 < after < head.floor or following[0].version <= head.floor:
        return current_of(core, stream.key) or {}
    records = (record for record in core.log.read(stream) if record.version <= following[-1].version)
    folded = fold(EventState(), facts_of(core, stream, records))
    return None if folded.deleted else copied(folded.state)


def _apply(core: Core, changes: _Changes) -> State | None:
    """Fold, validate and append once. The cache is trusted: ``expect`` shows whether that was right."""
    stream, expect = changes.stream, changes.expect
    current = core.states.get(stream.key) or current_state(core, stream.key) or EventState()
    if expect is not None and current.version != expect:
        current = current_state(core, stream.key) or EventState()
        if current.version != expect and not (expect == 0 and current.deleted):  # it is as good as new then
            raise StoreConflictError(*stream, expect, current.version)
    try:
        return _record(core, changes, current)
    except StoreIntegrityError:
        head = core.log.head(stream)
        version = head.version if head else 0
        if version == current.version:
            raise
        # another writer may well be the reason: look again, but after the pause, not before it
        core.states.doubt(stream.key)
        raise StoreConflictError(*stream, current.version, version) from None


def _record(core: Core, changes: _Changes, current: EventState) -> State | None:
    stream, steps, when, _, check, marker = changes
    time = _next_time(current) if when is None else when
    late = current.time is not None and time < current.time
    base = past_state(core, stream, time) or EventState() if late else current
    steps = _ending(current, base) if steps[0] is _DELETION else steps
    if not steps:
        return None
    if current.time is not None and time <= current.time:
        _check_unchanged(core, stream, time, {step.item for step in steps if step.op != DELETE})
    facts = (Fact(current.version + i, time, each.item, each.op, each.value) for i, each in enumerate(steps, 1))
    folded = fold(base, facts)
    if late:
        folded = fold(folded, facts_of(core, stream, core.log.read(stream, Query(time + 1))))
    state = copied(folded.state)  # before anything is stored: it is the user's values that are copied
    if check is not None:
        check(state)
    entries = [core.entry(stream, step.op, step.body, item=step.item, start=time, end=time) for step in steps]
    batches = [Batch(stream, entries, now(), current.version, live=not folded.deleted)]
    if marker is not None:
        batches.append(_told(core, stream, marker, current.version, len(steps)))
    snapshot = None if late else _snapshot(core, stream, current)
    versions = core.append([*batches, *([snapshot] if snapshot else ())])
    tail = len(steps) if snapshot else folded.tail
    core.states.put(stream.key, folded._replace(version=versions[0], tail=tail))
    return None if folded.deleted else state


def _told(core: Core, stream: Stream, marker: Batch, version: int, count: int) -> Batch:
    """Return a marker that tells which records it stands for: so many after a version, counting earlier ones."""
    active = core.active.get()
    after, earlier = (version, 0) if active is None else active.log.origin(stream)
    item = f"{after}.{earlier + count}"
    entry = core.envelope.entry(marker.stream, ONCE, item=item, start=0, end=0)
    return marker._replace(entries=(entry,))


def _check_unchanged(core: Core, stream: Stream, time: int, items: Collection[str]) -> None:
    """Raise if an item has an event at a time already. Those of other items may come one after the other.

    The fold goes by time and version, and an operator sees its own item only: the order of items at one time makes
    no difference. A second event of the same item is mostly an import that runs twice, and is refused.
    """
    there = (r.item for r in core.log.read(stream, Query(time, time)) if r.op != DELETE)
    taken = next((item for item in there if item in items), None)
    if taken is not None:
        raise StoreIntegrityError(
            f"item {taken!r} of {stream.key!r} has an event at time {time} already: give this one another time"
        )


def _snapshot(core: Core, stream: Stream, current: EventState) -> Batch | None:
    """Return a snapshot if so many events came since the last one that it pays, also for a large state."""
    if current.time is None or current.tail < max(_SNAPSHOT_EVERY, len(current.state)):
        return None
    if current.deleted or not current.is_whole:
        return None
    body = core.envelope.dump_state(stream.key, current.state)
    if body is None:
        return None
    snapshots, time = Stream(SS, stream.key), current.time
    entry = core.envelope.entry(snapshots, SNAPSHOT, body, item=str(current.version), start=time, end=time)
    return Batch(snapshots, (entry,), now())


def past_of(core: Reading, key: str, t: int) -> State | None:
    """Return the state of a key at a valid time, None if it was unknown then."""
    found = past_state(core, Stream(ES, key), t)
    return copied(found.state) if found is not None and found.lives else None


def _shown(found: EventState, withtimestamp: bool) -> Any:
    state = copied(found.state)
    return (found.time, state) if withtimestamp else state


def copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state that its receiver may change.

    Raises:
        StorePayloadError: a value of it could not be loaded.
    """
    return {item: value if type(value) in ATOMS else _copied(item, loaded(value)) for item, value in state.items()}


def _copied(item: str, value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception as exc:
        exc.add_note(f"rstore: while copying the value of item {item!r}")
        raise


def _next_time(found: EventState) -> int:
    """Return now, but later than the latest event, also when the clock stands still or goes back."""
    if found.time is None:
        return now()
    if found.time == TIME_MAX:
        raise OverflowError("there is no time after the latest event: it is at the end of 64 bits")
    return max(now(), found.time + 1)
