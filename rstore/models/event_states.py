"""The states of event sequences, folded from the cache or from a snapshot on."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from rstore.core import Past, Reading
from rstore.domain.errors import StoreError, StoreIntegrityError, StorePayloadError
from rstore.domain.event_state import EventState, Fact, Unloaded, fold, loaded
from rstore.domain.log import Query, Record, Replay, ReplayQuery
from rstore.domain.operators import EVENT, EVENTS
from rstore.domain.paging import PAGE, PAGE_BYTES, pages
from rstore.domain.rules import folded_version
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, SS, Stream
from rstore.encoding.envelope import ATOMS

State: TypeAlias = dict[str, Any]

UNREADABLE: Final = (StorePayloadError, StoreIntegrityError)
"""The errors of one sequence that can't be read. Others are about the whole store."""


def facts_of(core: Reading, stream: Stream, records: Iterable[Record]) -> Iterator[Fact]:
    """Yield events as the fold takes them, :class:`Unloaded` in place of values that cannot be loaded."""
    envelope = core.envelope
    for record in records:
        version, _, _, time, _, item, op, data, *_ = record
        if op not in EVENTS:
            envelope.check_op(stream, record, EVENTS)
        if op == EVENT:  # the fold passes over it: so it is not loaded, but verified, as its operator is sealed too
            envelope.check(stream, record)
            yield Fact(version, time, item, op, None)
            continue
        try:
            value = envelope.value(stream, record)
        except StorePayloadError as exc:
            if not exc.is_genuine:  # a payload that was not written here may be about any item
                raise
            value = Unloaded(exc)
        yield Fact(version, time, item, op, value, len(data))


def current_state(core: Reading, key: str) -> EventState | None:
    """Return the newest state, from the cache as far as that goes; None if there is no such key."""
    cached = core.states.known(key)
    query = _query(key, cached)
    return _newest(core, query, cached, *core.log.replay((query,)))


def current_states(core: Reading, keys: Sequence[str]) -> Iterator[EventState | StoreError | None]:
    """Yield the newest state of each key, or its error, with as many read at a time as take some megabytes."""
    done, size = 0, len(keys)
    while done < len(keys):
        found = _page_of_states(core, keys[done : done + size], PAGE_BYTES)
        yield from found
        done, size = done + len(found), len(found)  # no more at once than there was room for


def _page_of_states(core: Reading, keys: Sequence[str], room: int) -> list[EventState | StoreError | None]:
    """Return the newest states of keys; only of the first ones if all would take more bytes than there is room for.

    In place of a state that can't be read there is its error.
    """
    cached = list(map(core.states.known, keys))
    queries = list(map(_query, keys, cached))
    states = list[EventState | StoreError | None]()
    for each in zip(queries, cached, core.log.replay(queries, room), strict=False):
        try:
            states.append(_newest(core, *each))
        except StoreError as exc:  # the caller gets the states before it first
            states.append(exc)
            if not isinstance(exc, UNREADABLE):
                break  # the next ones would wait for the same store
    return states


def _query(key: str, cached: EventState | None) -> ReplayQuery:
    """Return the query for the events after a cached state; for all events if there is none."""
    stream = Stream(ES, key)
    return ReplayQuery(stream) if cached is None else ReplayQuery(stream, Query(after=cached.version), None)


def _newest(core: Reading, query: ReplayQuery, cached: EventState | None, replay: Replay | None) -> EventState | None:
    """Return the newest state of a key from its replay; from further ones if that does not fit the cached state."""
    stream = query.stream
    if cached is None:
        found = _folded_from(core, query, replay)
    else:
        found = _folded(core, stream, cached, replay)
        if found is None:
            found = past_state(core, stream, TIME_MAX)
    # a state with values that could not be loaded is not kept: their class may be there next time
    core.states.put(stream.key, found if found is None or found is cached or found.is_whole else None)
    if found is cached:
        core.states.trust(stream.key)
    elif cached is not None:
        core.states.doubt(stream.key)
    return found


def current_of(core: Reading, key: str) -> State | None:
    """Return the current state of a key, None if it is unknown."""
    found = current_state(core, key)
    return copied(found.state) if found is not None and not found.deleted else None


def current_of_many(core: Reading, keys: Iterable[str]) -> Iterator[tuple[str, State]]:
    """Yield each key that there is with its current state, in pages of one read each."""
    return ((key, copied(state_in(found))) for key, found in newest_of_many(core, keys))


def newest_of_many(
    core: Reading, keys: Iterable[str], first: int | None = None
) -> Iterator[tuple[str, EventState | StoreError]]:
    """Yield each key that there is with its newest state, or the error of one that can't be read.

    Args:
        first: how many keys the first page has, if pages are to grow. Each page is one read.
    """
    for page in pages(keys, PAGE, first):
        for key, found in zip(page, current_states(core, page), strict=True):
            if isinstance(found, StoreError) or (found is not None and not found.deleted):
                yield key, found


def state_in(found: EventState | StoreError) -> Mapping[str, Any]:
    """Return a state that was read, which no caller may change; if there is an error in its place, raise that."""
    if isinstance(found, StoreError):
        raise found
    return found.state


def is_live(core: Reading, key: str) -> bool:
    """Tell whether there is such an event sequence. No value has to be loaded for that."""
    found = current_state(core, key)
    return found is not None and not found.deleted


def past_state(core: Reading, stream: Stream, t: int) -> EventState | None:
    """Fold all events up to ``t`` from the newest snapshot that counts; None if there is no such stream."""
    query = ReplayQuery(stream, Query(end=t))
    return _folded_from(core, query, *core.log.replay((query,)))


def _folded_from(core: Reading, query: ReplayQuery, replay: Replay | None) -> EventState | None:
    """Fold the replay of a query. If its snapshot does not count, replay again from an earlier one."""
    while replay is not None and replay.snapshot is not None:
        snapshots, found = Stream(SS, query.stream.key), replay.snapshot
        earliest = min((record.start for record in replay.records[:1]), default=found.start)
        if earliest < found.start:
            query = query._replace(horizon=earliest)  # an event came in late: snapshots of later times don't count
        else:
            try:
                state = core.envelope.state(snapshots, found)
            except StorePayloadError as exc:
                if not exc.is_genuine:
                    raise
                # the snapshot cannot be loaded, and its events are all there
                is_first = found.start == TIME_MIN
                query = query._replace(horizon=None) if is_first else query._replace(horizon=found.start - 1)
            else:
                begun = EventState(folded_version(found), found.start, state, owed=len(found.data))
                return _folded(core, query.stream, begun, replay)
        (replay,) = core.log.replay((query,))
    return _folded(core, query.stream, EventState(), replay)


def _folded(core: Reading, stream: Stream, start: EventState, replay: Replay | None) -> EventState | None:
    """Fold the records after a state. None if they change the state itself, or if there is no such stream."""
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


def past_of(core: Reading, key: str, t: int) -> State | None:
    """Return the state of a key at a valid time, None if it was unknown then."""
    found = past_state(core, Stream(ES, key), t)
    return copied(found.state) if found is not None and found.lives else None


def copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a state, which the caller may change.

    Raises:
        StorePayloadError: a value of it could not be loaded.
    """
    return {item: value if type(value) in ATOMS else copied_value(item, value) for item, value in state.items()}


def copied_value(item: str, value: Any) -> Any:
    """Return a copy of the value of an item; see :func:`copied`."""
    value = loaded(value)
    try:
        return _deep_copy(value, {})
    except Exception as exc:
        exc.add_note(f"rstore: while copying the value of item {item!r}")
        raise


def _deep_copy(value: Any, memo: dict[int, Any]) -> Any:
    """Return what ``copy.deepcopy`` does, in half the time for what JSON can hold. The memo is that of deepcopy."""
    kind = type(value)
    if kind not in (list, dict):
        return value if kind in ATOMS else copy.deepcopy(value, memo)
    found = memo.get(id(value))
    if found is None and kind is list:
        found = memo[id(value)] = []
        found += [each if type(each) in ATOMS else _deep_copy(each, memo) for each in value]
    elif found is None:
        found = memo[id(value)] = {}
        for key, each in value.items():
            found[_deep_copy(key, memo)] = each if type(each) in ATOMS else _deep_copy(each, memo)
    return found
