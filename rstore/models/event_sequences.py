"""The event-sequence face of a Store: dicts of which each change is recorded."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias, overload

from rstore.core import ATTEMPTS, Face, check_expect, check_key, check_keys, check_one, now
from rstore.domain.erasure import NOTHING_GONE, PRUNE, Plan, sized
from rstore.domain.errors import StoreConflictError, StoreIntegrityError, StorePayloadError
from rstore.domain.event_state import Fact, Projection, Unloaded, fold, loaded, obsolete
from rstore.domain.log import Batch, Query, Record, Replay, ReplayQuery, Rewrite, Saved
from rstore.domain.names import check_name
from rstore.domain.operators import DELETE, DELITEM, EVENTS, ONCE, OPERATORS, SNAPSHOT, names_of, parse
from rstore.domain.rules import folded_version
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, SS, Stream
from rstore.encoding.envelope import ATOMS, NOTHING, Body
from rstore.erasures import Eraser
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


class EventSequences(Face):
    """Event sequences: for each key a dict whose changes are events, so that its past can be asked for."""

    # -- read ---------------------------------------------------------------------------------------------------------

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
        projection = self._present(check_key(key))
        return None if projection is None or projection.deleted else _shown(projection, withtimestamp)

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
        projection = self._past(Stream(ES, check_key(key)), posix_ms(t, "t"))
        return _shown(projection, withtimestamp) if projection is not None and projection.lives else None

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
        if self._log.head(stream) is None:
            return None
        records = self._log.read(stream, Query(low, high, item, names))
        facts = (fact for fact in self._facts(stream, records) if fact.op != DELETE)
        return [Event(fact.time, fact.item, OPERATORS[fact.op].function, loaded(fact.value)) for fact in facts]

    def eventsources(self, prefix: str = "") -> list[str]:
        """Return the keys of all event sequences, or of those that begin with a prefix, in code-point order."""
        return [head.stream.key for head in self._log.heads(ES, check_name("prefix", prefix))]

    eventsequences = eventsources
    """The name of :meth:`eventsources` in rlib-store 0.1."""

    def _facts(self, stream: Stream, records: Iterable[Record]) -> Iterator[Fact]:
        """Yield events as the fold takes them, :class:`Unloaded` in place of values that cannot be loaded."""
        for record in records:
            op = self._payload.check_op(stream, record, EVENTS)
            yield Fact(record.version, record.start, record.item, op, self._operand(stream, record))

    def _operand(self, stream: Stream, record: Record) -> Any:
        try:
            return self._payload.value(stream, record)
        except StorePayloadError as exc:
            if not exc.is_genuine:  # of what was not written there nobody knows which item it is about
                raise
            return Unloaded(exc)

    def _present(self, key: str) -> Projection | None:
        """Return the newest projection, from the cache as far as that goes; None if there is no such key."""
        stream = Stream(ES, key)
        cached = self._projections.known(key)
        projection = None
        if cached is not None:
            projection = self._fold(stream, cached, self._log.replay(stream, ReplayQuery(after=cached.version)))
        if projection is None:
            projection = self._past(stream, TIME_MAX)
        # what could not be loaded is tried again next time: its class may be there by then
        self._projections.put(key, projection if projection is None or projection.is_whole else None)
        return projection

    def _past(self, stream: Stream, t: int) -> Projection | None:
        """Fold all events up to ``t`` from the newest snapshot that counts; None if there is no such stream."""
        horizon = t
        while True:
            replay = self._log.replay(stream, ReplayQuery(t, horizon))
            if replay is None or replay.snapshot is None:
                return self._fold(stream, Projection(), replay)
            snapshots, found = Stream(SS, stream.key), replay.snapshot
            earliest = min((record.start for record in replay.records[:1]), default=found.start)
            if earliest < found.start:
                horizon = earliest  # an event came in late: what was folded beyond it no longer counts
                continue
            try:
                state = self._payload.state(snapshots, found)
            except StorePayloadError as exc:
                if not exc.is_genuine:
                    raise
                if found.start == TIME_MIN:
                    return self._fold(stream, Projection(), self._log.replay(stream, ReplayQuery(t, after=0)))
                horizon = found.start - 1  # it cannot be loaded: the events are all there
                continue
            return self._fold(stream, Projection(folded_version(found), found.start, state), replay)

    def _fold(self, stream: Stream, start: Projection, replay: Replay | None) -> Projection | None:
        """Fold what followed; None if it changes what was folded before, or if there is no such stream."""
        if replay is None or 0 < start.version < replay.head.floor or start.version > replay.head.version:
            return None
        if start.time is not None and any(record.start < start.time for record in replay.records[:1]):
            return None
        if start.version == replay.head.version:
            return start
        projection = fold(start, self._facts(stream, replay.records))
        return projection._replace(version=replay.head.version)

    # -- write --------------------------------------------------------------------------------------------------------

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
        return self._apply_if(key, state, None, expect, t, once)

    def _apply_if(
        self,
        key: str,
        state: Mapping[str, Any],
        check: Callable[[State], object] | None,
        expect: int | None = None,
        t: Moment | None = None,
        once: str | None = None,
    ) -> State | Any:
        """Apply changes if ``check``, which is given the state that will be there, does not raise."""
        stream = Stream(ES, check_key(key))
        self._check_writable()
        when = None if t is None else posix_ms(t, "t")
        if not isinstance(state, Mapping):
            raise TypeError(f"the changes must be a mapping of items, not {type(state).__name__}")
        steps = [self._step(stream, item, change) for item, change in state.items()]
        version = check_expect(expect)
        if not steps:
            self._check_version(stream, version)
            return self.current(key)
        attempt = partial(self._apply, stream, steps, when, version, check)
        if once is not None:
            attempt = partial(self._apply_once, attempt, self._marker(stream, once))
        return self._decide(attempt, ATTEMPTS if version is None else 1)

    def _step(self, stream: Stream, item: str, change: Any) -> _Step:
        item = check_name("item", item)
        op, value = parse(item, change)
        if not OPERATORS[op].binary:
            return _Step(item, op, NOTHING, None)
        body = self._payload.dump(stream.key, value)
        return _Step(item, op, body, self._payload.echo(stream, body, value))

    def _apply_once(self, attempt: Callable[..., State | None], marker: Batch) -> State | None:
        """Apply, unless the marker is there: whatever went wrong, having done it before may be the reason."""
        try:
            return attempt(marker)
        except StoreIntegrityError:
            found = self._log.last((marker.stream,))[0]
            if found is None:
                raise
            self._payload.check(marker.stream, found)
        return self._state_after(Stream(ES, marker.stream.key), found)

    def _state_after(self, stream: Stream, marker: Record) -> State | None:
        """Return the state that what a marker stands for has led to; the present one, if that was pruned since."""
        after, count = map(int, marker.item.split("."))
        head = self._log.head(stream)
        following = sorted(self._log.read(stream, Query(after=after)), key=attrgetter("version"))[:count]
        is_whole = len(following) == count and all(record.recorded == marker.recorded for record in following)
        if head is None or not is_whole or 0 < after < head.floor or following[0].version <= head.floor:
            return self.current(stream.key) or {}
        records = (record for record in self._log.read(stream) if record.version <= following[-1].version)
        projection = fold(Projection(), self._facts(stream, records))
        return None if projection.deleted else copied(projection.state)

    def _apply(
        self,
        stream: Stream,
        steps: list[_Step],
        when: int | None,
        expect: int | None,
        check: Callable[[State], object] | None,
        marker: Batch | None = None,
    ) -> State | None:
        """Fold, validate and append once. The cache is trusted: ``expect`` shows whether that was right."""
        present = self._projections.get(stream.key) or self._present(stream.key) or Projection()
        if expect is not None and present.version != expect:
            present = self._present(stream.key) or Projection()
            if present.version != expect and not (expect == 0 and present.deleted):  # it is as good as new then
                raise StoreConflictError(*stream, expect, present.version)
        try:
            return self._record(stream, steps, when, present, check, marker)
        except StoreIntegrityError:
            head = self._log.head(stream)
            version = head.version if head else 0
            if version == present.version:
                raise
            # somebody else wrote, which may well be the reason: look again, but after the pause, not before it
            self._projections.doubt(stream.key)
            raise StoreConflictError(*stream, present.version, version) from None

    def _record(
        self,
        stream: Stream,
        steps: list[_Step],
        when: int | None,
        present: Projection,
        check: Callable[[State], object] | None,
        marker: Batch | None,
    ) -> State | None:
        time = _next_time(present) if when is None else when
        late = present.time is not None and time < present.time
        base = self._past(stream, time) or Projection() if late else present
        steps = _ending(present, base) if steps[0] is _DELETION else steps
        if not steps:
            return None
        if present.time is not None and time <= present.time:
            self._check_unchanged(stream, time, {step.item for step in steps if step.op != DELETE})
        facts = [Fact(present.version + i, time, step.item, step.op, step.value) for i, step in enumerate(steps, 1)]
        projection = fold(base, facts)
        if late:
            projection = fold(projection, self._facts(stream, self._log.read(stream, Query(time + 1))))
        state = copied(projection.state)  # before anything is stored: it is the user's values that are copied
        if check is not None:
            check(state)
        entries = [self._entry(stream, step.op, step.body, item=step.item, start=time, end=time) for step in steps]
        batches = [Batch(stream, entries, now(), present.version, live=not projection.deleted)]
        if marker is not None:
            batches.append(self._told(stream, marker, present.version, len(steps)))
        snapshot = None if late else self._snapshot(stream, present)
        versions = self._append([*batches, *([snapshot] if snapshot else ())])
        tail = len(steps) if snapshot else projection.tail
        self._projections.put(stream.key, projection._replace(version=versions[0], tail=tail))
        return None if projection.deleted else state

    def _told(self, stream: Stream, marker: Batch, version: int, count: int) -> Batch:
        """Return a marker that tells which records it stands for: so many after a version, counting earlier ones."""
        work = self._work.get()
        after, earlier = (version, 0) if work is None else work.log.origin(stream)
        item = f"{after}.{earlier + count}"
        entry = self._payload.entry(marker.stream, ONCE, item=item, start=0, end=0)
        return marker._replace(entries=(entry,))

    def _check_unchanged(self, stream: Stream, time: int, items: Collection[str]) -> None:
        """Raise if an item has an event at a time already. Those of other items may come one after the other.

        The fold goes by time and version, and an operator sees its own item only: the order of items at one time makes
        no difference. A second event of the same item is mostly an import that runs twice, and is refused.
        """
        there = (r.item for r in self._log.read(stream, Query(time, time)) if r.op != DELETE)
        taken = next((item for item in there if item in items), None)
        if taken is not None:
            raise StoreIntegrityError(
                f"item {taken!r} of {stream.key!r} has an event at time {time} already: give this one another time"
            )

    def _snapshot(self, stream: Stream, projection: Projection) -> Batch | None:
        """Return a snapshot if so many events came since the last one that it pays, also for a large state."""
        if projection.time is None or projection.tail < max(_SNAPSHOT_EVERY, len(projection.state)):
            return None
        if projection.deleted or not projection.is_whole:
            return None
        body = self._payload.dump_state(stream.key, projection.state)
        if body is None:
            return None
        snapshots, time = Stream(SS, stream.key), projection.time
        entry = self._payload.entry(snapshots, SNAPSHOT, body, item=str(projection.version), start=time, end=time)
        return Batch(snapshots, (entry,), now())

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
        self._check_writable()
        streams = [Stream(ES, key) for key in check_keys(keys)]
        version = check_one(check_expect(expect), streams)
        when = None if t is None else posix_ms(t, "t")
        for stream in streams:
            delete = partial(self._apply, stream, [_DELETION], when, version, None)
            self._decide(delete, ATTEMPTS if version is None else 1)

    # -- prune --------------------------------------------------------------------------------------------------------

    def prune(self, *keys: str, remove: bool = True, before: Moment | None = None, dry_run: bool = False) -> Saved:
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
        eraser = self._eraser(PRUNE, dry_run=dry_run)
        limit = TIME_MAX if before is None else posix_ms(before)
        return self._prune(eraser, [Stream(ES, key) for key in check_keys(keys)], limit, remove=remove)

    def _prune(self, eraser: Eraser, streams: Iterable[Stream], before: int, *, remove: bool = True) -> Saved:
        plans = (partial(self._plan_prune, stream, remove, before) for stream in streams)
        return eraser.erase_all((plan(), partial(self._pruned, eraser, plan)) for plan in plans)

    def _pruned(self, eraser: Eraser, plan: Callable[[], Plan]) -> Saved:
        """Prune a sequence that others wrote to since it was planned."""
        return self._decide(lambda: eraser.erase(plan()))

    def _plan_prune(self, stream: Stream, remove: bool, before: int) -> Plan:
        head = self._log.head(stream)
        if head is None:
            return NOTHING_GONE
        events, lasting = [], set()
        sizes: dict[int, int] = {}
        for record in self._log.read(stream):
            self._payload.check(stream, record)
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
        gone = {stream: [(version, sizes[version]) for version in dropped], snapshots: sized(self._log.read(snapshots))}
        return Plan(rewrites, gone)


def _shown(projection: Projection, withtimestamp: bool) -> Any:
    state = copied(projection.state)
    return (projection.time, state) if withtimestamp else state


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


def _ending(present: Projection, then: Projection) -> list[_Step]:
    """Return what deletes a sequence as of a time: each item that it had then, and itself. Nothing if it did not live.

    That it is told apart from its items tells a deleted sequence from one without items.
    """
    if present.version == 0 or present.deleted or not (then is present or then.lives):
        return []
    return [*(_Step(item, DELITEM, NOTHING, None) for item in then.state), _DELETION]


def _next_time(projection: Projection) -> int:
    """Return now, but later than the latest event, also when the clock stands still or goes back."""
    if projection.time is None:
        return now()
    if projection.time == TIME_MAX:
        raise OverflowError("there is no time after the latest event: it is at the end of 64 bits")
    return max(now(), projection.time + 1)
