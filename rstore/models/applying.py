"""How changes are applied to an event sequence: folded, checked, and appended if no other writer came in between."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.core import ATTEMPTS, Core, check_expect, check_key, now
from rstore.domain.errors import StoreConflictError, StoreIntegrityError
from rstore.domain.event_state import EventState, Fact, fold
from rstore.domain.log import Batch, Query, Record
from rstore.domain.names import check_name
from rstore.domain.operators import DELETE, DELITEM, EVENT, OF_NO_ITEM, ONCE, OPERATORS, SNAPSHOT, parse
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, SS, Stream
from rstore.domain.transaction import PROVISIONAL
from rstore.encoding.bodies import NOTHING, Body
from rstore.models.event_states import State, copied, current_of, current_state, facts_of, past_state
from rstore.timestamps import Moment, posix_ms

_SNAPSHOT_EVERY: Final = 256

Beside: TypeAlias = Callable[[EventState, EventState], Sequence[Batch]]
"""Returns batches of other streams, given the states of a sequence before and after its changes."""


class Happened(NamedTuple):
    """A domain event as it is stored: its fields, in the place of a change of an item."""

    fields: Mapping[str, Any]


class _Step(NamedTuple):
    """One change that is to be applied, with its value dumped."""

    item: str
    op: str
    body: Body
    value: Any


_DELETION: Final = _Step("", DELETE, NOTHING, None)


class _Changes(NamedTuple):
    """The changes of one call: of a time, or of now; to the version expected, or to any.

    ``check`` gets the state that they lead to, which it leaves as it is, and may raise. ``marker`` records that an
    idempotency key was used. ``current`` is the state that the caller has decided on. ``beside`` returns what is stored
    in the same append, after ``check``.
    """

    stream: Stream
    steps: list[_Step]
    when: int | None
    expect: int | None
    check: Callable[[Mapping[str, Any]], object] | None
    marker: Batch | None = None
    current: EventState | None = None
    beside: Beside | None = None


def changes_of(state: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Return the changes that a caller asks for, by item."""
    if not isinstance(state, Mapping):
        raise TypeError(f"the changes must be a mapping of items, not {type(state).__name__}")
    return state.items()


def apply_if(
    core: Core,
    key: str,
    changes: Iterable[tuple[str, Any]],
    check: Callable[[Mapping[str, Any]], object] | None = None,
    expect: int | None = None,
    t: Moment | None = None,
    once: str | None = None,
    current: EventState | None = None,
    beside: Beside | None = None,
) -> State | Any:
    """Apply changes, unless ``check`` raises. It gets the state that the changes, or the first call, lead to.

    Without ``check``, a copy of that state is returned. The state that ``check`` gets is no copy.

    Args:
        changes: pairs of an item and its change, as :meth:`Store.apply` takes it; or of the name of a domain event and
            its fields, as :class:`Happened` holds them. An item may come several times.
        current: the state that the caller has decided on; None lets this call find it.
        beside: what is stored with them, if they are stored now.
    """
    stream = Stream(ES, check_key(key))
    core.check_writable()
    when = None if t is None else posix_ms(t, "t")
    steps = [_step(core, stream, item, change) for item, change in changes]
    version = check_expect(expect)
    if not steps:
        core.check_version(stream, version)
        return current_of(core, key)
    asked = _Changes(stream, steps, when, version, check, current=current, beside=beside)
    attempt = partial(_apply, core, asked)
    if once is not None:
        attempt = partial(_apply_once, core, asked._replace(marker=core.marker(stream, once)))
    return core.decide(attempt, ATTEMPTS if version is None else 1)


def delete_sequence(
    core: Core, key: str, expect: int | None, when: int | None = None, beside: Beside | None = None
) -> None:
    """Delete an event sequence with all items that it has."""
    deletion = _Changes(Stream(ES, key), [_DELETION], when, expect, None, beside=beside)
    core.decide(partial(_apply, core, deletion), ATTEMPTS if expect is None else 1)


def _ending(current: EventState, then: EventState) -> list[_Step]:
    """Return the steps that delete a sequence as of a time: one for each item, one for itself; none if it did not live.

    The deletion has a record of its own: it tells a deleted sequence from one without items.
    """
    if current.version == 0 or current.deleted or not (then is current or then.lives):
        return []
    return [*(_Step(item, DELITEM, NOTHING, None) for item in then.state), _DELETION]


def _step(core: Core, stream: Stream, item: str, change: Any) -> _Step:
    item = check_name("item", item)
    if type(change) is Happened:
        return _Step(item, EVENT, core.envelope.dump(stream.key, change.fields), None)
    op, value = parse(item, change)
    if not OPERATORS[op].binary:
        return _Step(item, op, NOTHING, None)
    body = core.envelope.dump(stream.key, value)
    return _Step(item, op, body, core.envelope.echo(stream, body, value))


def first_state(core: Core, key: str, once: str) -> State | None:
    """Return the state that the call with an idempotency key has led to, empty if deleted; None without such a call."""
    stream = Stream(ES, key)
    found = _marked(core, core.marker(stream, once))
    return None if found is None else _state_after(core, stream, found) or {}


def mark_used(core: Core, key: str, once: str, version: int) -> None:
    """Mark an idempotency key as used by a call that found a sequence at a version, and changed nothing."""
    stream = Stream(ES, key)
    core.append([_marking(core, stream, core.marker(stream, once), version, 0)])


def _marked(core: Core, marker: Batch) -> Record | None:
    found = core.log.last((marker.stream,))[0]
    if found is not None:
        core.envelope.check(marker.stream, found)
    return found


def _apply_once(core: Core, changes: _Changes) -> State | None:
    """Apply changes once. If they do not fold, or conflict, they may have been applied before: the marker tells."""
    try:
        return _apply(core, changes)
    except StoreIntegrityError:  # also a conflict, which is one
        found = None if changes.marker is None else _marked(core, changes.marker)
        if found is None:
            raise
    state = _state_after(core, changes.stream, found)
    if changes.check is not None:
        changes.check(state or {})
    return state


def _state_after(core: Core, stream: Stream, marker: Record) -> State | None:
    """Return the state that a marked call has led to; the present state, if its records were pruned since."""
    after, count = map(int, marker.item.split("."))
    head = core.log.head(stream)
    following = sorted(core.log.read(stream, Query(after=after)), key=attrgetter("version"))[:count]
    # records inside a transaction are all there, and have the time of their own call
    is_whole = len(following) == count and all(
        record.recorded == marker.recorded or record.version >= PROVISIONAL for record in following
    )
    if head is None or not is_whole or 0 < after < head.floor or (following and following[0].version <= head.floor):
        return current_of(core, stream.key) or {}
    last = following[-1].version if following else after
    records = (record for record in core.log.read(stream) if record.version <= last)
    folded = fold(EventState(), facts_of(core, stream, records))
    return None if folded.deleted else copied(folded.state)


def _apply(core: Core, changes: _Changes) -> State | None:
    """Fold, validate and append once. The cache is trusted: ``expect`` fails if it is out of date."""
    stream, expect = changes.stream, changes.expect
    current = changes.current or core.states.get(stream.key) or current_state(core, stream.key) or EventState()
    if expect is not None and current.version != expect:
        current = current_state(core, stream.key) or EventState()
        if current.version != expect and not (expect == 0 and current.deleted):  # a deleted sequence counts as new
            raise StoreConflictError(*stream, expect, current.version)
    try:
        return _record(core, changes, current)
    except StoreIntegrityError:  # the changes do not fold; or they conflict, since the cached state was out of date
        head = core.log.head(stream)
        version = head.version if head else 0
        if version == current.version:
            raise
        # another writer may be the reason: the next attempt reads anew, after the pause and not before it
        core.states.doubt(stream.key)
        raise StoreConflictError(*stream, current.version, version) from None


def _record(core: Core, changes: _Changes, current: EventState) -> State | Any:
    stream, steps, when, _, check, marker, _, beside = changes
    time = _next_time(current) if when is None else when
    late = current.time is not None and time < current.time
    base = past_state(core, stream, time) or EventState() if late else current
    steps = _ending(current, base) if steps[0] is _DELETION else steps
    if not steps:
        return None
    if current.time is not None and time <= current.time:
        _check_unchanged(core, stream, time, {step.item for step in steps if step.op not in OF_NO_ITEM})
    numbered = enumerate(steps, current.version + 1)
    facts = (Fact(i, time, each.item, each.op, each.value, len(each.body.data)) for i, each in numbered)
    folded = fold(base, facts)
    if late:
        folded = fold(folded, facts_of(core, stream, core.log.read(stream, Query(time + 1))))
    # before anything is stored: to check, or to copy the user's values, may fail
    state = copied(folded.state) if check is None else check(folded.state)
    commit = core.new_commit()
    entries = [commit.entry(stream, step.op, step.body, item=step.item, start=time, end=time) for step in steps]
    batches = [Batch(stream, entries, now(), current.version, live=not folded.deleted)]
    if marker is not None:
        batches.append(_marking(core, stream, marker, current.version, len(steps)))
    if beside is not None:
        batches += beside(current, folded)
    snapshot = None if late else _snapshot(core, stream, current)
    versions = core.append([*batches, *([snapshot] if snapshot else ())])
    if snapshot is not None:  # it lacks the events of this call
        size = sum(len(entry.data) for entry in snapshot.entries)
        folded = folded._replace(tail=len(steps), owed=size + folded.owed - current.owed)
    core.states.put(stream.key, folded._replace(version=versions[0]))
    return None if folded.deleted else state


def _marking(core: Core, stream: Stream, marker: Batch, version: int, count: int) -> Batch:
    """Return a marker that names the records of a call: a version, and how many records follow it."""
    active = core.active.get()
    after, earlier = (version, 0) if active is None else active.log.origin(stream)
    item = f"{after}.{earlier + count}"
    entry = core.envelope.entry(marker.stream, ONCE, item=item, start=0, end=0)
    return marker._replace(entries=(entry,))


def _check_unchanged(core: Core, stream: Stream, time: int, items: Collection[str]) -> None:
    """Raise if an item has an event at a time already. Other items may have events at that time.

    The fold goes by time and version, and an operator sees its own item only: the order of items at one time makes
    no difference. A second event of the same item mostly comes from an import that runs twice, and is refused. Several
    events of an item in one call are in the order of the call.
    """
    there = (r.item for r in core.log.read(stream, Query(time, time)) if r.op not in OF_NO_ITEM)
    taken = next((item for item in there if item in items), None)
    if taken is not None:
        raise StoreIntegrityError(
            f"item {taken!r} of {stream.key!r} has an event at time {time} already: give this one another time"
        )


def _snapshot(core: Core, stream: Stream, current: EventState) -> Batch | None:
    """Return a snapshot if enough events came since the last one: 256, and as many bytes as that has.

    So snapshots take no more bytes than events, however large a state grows. Rejected: to count the items of the state
    instead. Those may be long lists, to which each event adds a line.
    """
    if current.time is None or current.tail < _SNAPSHOT_EVERY or current.owed > 0:
        return None
    if current.deleted or not current.is_whole:
        return None
    body = core.envelope.dump_state(stream.key, current.state)
    if body is None:
        return None
    snapshots, time = Stream(SS, stream.key), current.time
    entry = core.envelope.entry(snapshots, SNAPSHOT, body, item=str(current.version), start=time, end=time)
    return Batch(snapshots, (entry,), now())


def _next_time(found: EventState) -> int:
    """Return the present time, or the one after the latest event if the clock stands still or goes back."""
    if found.time is None:
        return now()
    if found.time == TIME_MAX:
        raise OverflowError("there is no time after the latest event: it is at the end of 64 bits")
    return max(now(), found.time + 1)
