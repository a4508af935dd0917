"""Event sequences: dicts of which each change is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, overload

from rstore.core import ReadSurface, Surface, check_expect, check_key, check_keys, check_one
from rstore.domain.event_state import EventState, loaded
from rstore.domain.log import Query
from rstore.domain.names import check_name
from rstore.domain.operators import OF_NO_ITEM, OPERATORS, names_of
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, Stream
from rstore.models.applying import apply_if, changes_of, delete_sequence
from rstore.models.event_states import State, copied, current_of_many, current_state, facts_of, past_state
from rstore.tags import moment_of
from rstore.timestamps import Moment, posix_ms


class Event(NamedTuple):
    """One change of one item.

    ``timestamp`` is in POSIX milliseconds, ``op`` a function of the module operator, ``value`` None if that is unary.
    An operator on texts, such as ``decimal.add``, is a function of that name.
    """

    timestamp: int
    item: str
    op: Any
    value: Any


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

    def current_many(self, keys: Iterable[str]) -> dict[str, State]:
        """Return ``{key: state}`` of those keys that there are, as :meth:`current` returns each.

        They are read in pages, each in one round trip. Writers may come in between two pages.

        >>> _ = store.apply('ada', {'balance': 10}), store.apply('bob', {'balance': 20})
        >>> store.current_many(['bob', 'unknown', 'ada'])
        {'bob': {'balance': 20}, 'ada': {'balance': 10}}
        """
        if isinstance(keys, str):
            raise TypeError("current_many takes several keys: write [key], or use current")
        return dict(current_of_many(self._core, check_keys(keys)))

    @overload
    def past(self, key: str, t: Moment, withtimestamp: Literal[False] = False) -> State | None: ...
    @overload
    def past(self, key: str, t: Moment, withtimestamp: Literal[True]) -> tuple[int | None, State] | None: ...
    def past(self, key: str, t: Moment, withtimestamp: bool = False) -> Any:
        """Return the state as it was at time ``t``, or None if the key was unknown then.

        It is folded from the events that are there: pruned ones are not.

        >>> store.apply('account', {'balance': 10}, t=1000)
        {'balance': 10}
        >>> store.apply('account', {'balance': 99}, t=2000)
        {'balance': 99}
        >>> store.past('account', 1999)
        {'balance': 10}
        """
        found = past_state(self._core, Stream(ES, check_key(key)), moment_of(self._core, t, "t"))
        return _shown(found, withtimestamp) if found is not None and found.lives else None

    def events(
        self, key: str, start: Moment | None = None, end: Moment | None = None, ops: Any = None, item: str | None = None
    ) -> list[Event] | None:
        """Return the events of a key in order of time, or None if the key is unknown.

        Domain events, which change no item, are not among them: see :meth:`Repository.events`.

        Args:
            start, end: only events from then to then, both inclusive, as :meth:`at` takes times.
            ops: only events with this operator, or one of these; ``operator.add`` finds ``decimal.add`` too.
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
        facts = (fact for fact in facts_of(self._core, stream, records) if fact.op not in OF_NO_ITEM)
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
            once: an idempotency key: a second call with it, for this key, stores nothing, and returns the state
                that the first call led to.

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
        return apply_if(self._core, key, changes_of(state), None, expect, t, once)

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
            StoreIntegrityError: an item has an event at ``t`` already, or a later event builds on what is deleted. Keys
                before that one stay deleted: each is a write of its own.
            OverflowError: the latest event is at the end of 64 bits, and there is no later time for the deletion.

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


def _shown(found: EventState, withtimestamp: bool) -> Any:
    state = copied(found.state)
    return (found.time, state) if withtimestamp else state
