"""The time machine: a Store as it was known at a time, what became of a key, and how to get back."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple

from rstore.core import ATTEMPTS, check_key
from rstore.domain.as_of import AsOf
from rstore.domain.erasure import ERASURES, OPERATIONS, Erasure, place
from rstore.domain.errors import FrozenStoreError, StoreError, StoreIntegrityError, StorePayloadError
from rstore.domain.event_state import Projection
from rstore.domain.log import Query, Record, Replay
from rstore.domain.names import check_name, exact
from rstore.domain.operators import DELETE, DELITEM, EVENTS, EXTEND, REMOVE, SETITEM
from rstore.domain.scalars import is_missing
from rstore.domain.spans import check_time
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.encoding.unreadable import Unreadable
from rstore.erasures import erasure_in
from rstore.html import History
from rstore.models.event_sequences import EventSequences, State, copied
from rstore.models.keyvalues import KeyValues
from rstore.models.timeseries import TimeSeries
from rstore.state_cache import Projections
from rstore.timestamps import Moment, posix_ms

_OPS: Final[Mapping[str, Collection[str]]] = {KV: (SETITEM, DELITEM), TS: (EXTEND, REMOVE), ES: EVENTS}
"""The kinds of streams that users see, and what can be done to each."""


class Change(NamedTuple):
    """A change as the log keeps it, or an erasure: what a ``prune``, ``compact`` or ``rekey`` took away or changed.

    Attributes:
        recorded: when it was stored, in POSIX milliseconds: its transaction time.
        timestamp: when it holds, its valid time; the first timestamp of a segment; None for a value of a key.
        item: the item of an event; empty otherwise.
        op: the operator's name: ``setitem``, ``delitem``, ``add``, ..., or ``extend`` and ``remove`` of a series;
            ``delete`` of an event sequence, after a ``delitem`` of each item; ``prune``, ``compact`` or ``rekey`` of
            an erasure.
        value: the value, None if the operator takes none; the points of an ``extend``; first and last timestamp of a
            ``remove``; the :class:`rstore.Erasure` of a ``prune``, ``compact`` or ``rekey``; an :class:`Unreadable` in
            place of what cannot be read.
        who, why, more: what :meth:`Store.context` attached to it; None, or empty, if nothing.
        version: that of its stream; erasures have a stream of their own.
        kind, key: which stream it is of: ``kv``, ``ts`` or ``es``. An erasure of several has an empty kind or key.
    """

    recorded: int
    timestamp: int | None
    item: str
    op: str
    value: Any
    who: str | None
    why: str | None
    version: int
    kind: str
    key: str
    more: dict[str, Any]


class Diff(NamedTuple):
    """What is different between two states: by item, by key, or by timestamp.

    ``added`` and ``removed`` hold values, ``changed`` holds pairs ``(old, new)``.
    """

    added: dict[Any, Any]
    removed: dict[Any, Any]
    changed: dict[Any, tuple[Any, Any]]


class Audit(KeyValues, TimeSeries, EventSequences):
    """Views of the past, the history of keys and of the namespace, differences, and the way back."""

    namespace: str

    # -- the past -----------------------------------------------------------------------------------------------------

    def at(self, moment: Moment) -> View:
        """Return a frozen view of the namespace as it was known at a time.

        All reads of keys, series and event sequences work in it; nothing is copied. ``at(T).past(key, t)`` is what was
        believed at ``T`` about ``t``. What was pruned, compacted or overwritten without history is missing in it. A
        time that is not over yet may still get more.

        Args:
            moment: POSIX milliseconds; a datetime of Python or pandas, or an ISO 8601 string, with an offset from UTC;
                or a ``datetime64`` of NumPy, which is in UTC.

        Raises:
            ValueError: a time without an offset, or no time at all.

        >>> store['price'] = 10
        >>> then = store.history('price')[-1].recorded
        >>> store.at(then)['price'], store.at(then - 1).get('price')
        (10, None)
        """
        return View(self, posix_ms(moment))

    def version(self, key: str, kind: str = ES) -> int:
        """Return the version of a key's event sequence, or its ``kv`` or ``ts``: what ``expect`` compares with.

        It is 0 if there never was one, and that of the deletion if it was deleted. Inside a transaction, what was
        written there has a version that holds only there.

        >>> store.version('unknown')
        0
        """
        head = self._log.head(Stream(_check_kind(kind), check_key(key)))
        return head.version if head else 0

    def update_with(
        self, key: str, fn: Callable[[Any], Any], default: Any = None, *, kind: str = KV, retries: int = ATTEMPTS
    ) -> Any:
        """Store what ``fn`` makes of a key's value, and return it; again if somebody else came in between.

        Args:
            fn: gets the value, or the default if there is none. It may be called several times.
            default: what ``fn`` gets if there is no such key.
            kind: ``kv``; or ``es``: ``fn`` gets the state of an event sequence, ``{}`` if there is none, and returns
                changes for :meth:`apply`, which returns the new state.
            retries: how often it is tried again at most.

        Raises:
            StoreConflictError: somebody came in between each time.

        >>> store['stock'] = 3
        >>> store.update_with('stock', lambda n: n - 1)
        2
        """
        key, attempts = check_key(key), {KV: self._updated_value, ES: self._updated_state}
        if kind not in tuple(attempts):
            raise ValueError(f"kind is one of {', '.join(attempts)}, not {kind!r}")
        return self._decide(partial(attempts[kind], key, fn, default), check_time("retries", retries) + 1)

    def _updated_value(self, key: str, fn: Callable[[Any], Any], default: Any) -> Any:
        version = self.version(key, KV)
        value = fn(self.get(key, default))
        self.set(key, value, expect=version)
        return value

    def _updated_state(self, key: str, fn: Callable[[Any], Any], default: Any) -> Any:
        version = self.version(key)
        state = self.current(key)
        if state is None:
            state = {} if default is None else default
        return self.apply(key, fn(state), expect=version)

    def history(self, key: str, kind: str | None = None) -> list[Change]:
        """Return all changes of a key in the order in which they were stored; of one kind, or of all that it has.

        >>> store['price'] = 10
        >>> with store.context(who='ada', why='typing error'):
        ...     store['price'] = 11
        >>> [(change.op, change.value, change.who, change.why) for change in store.history('price')]
        [('setitem', 10, None, None), ('setitem', 11, 'ada', 'typing error')]
        """
        kinds = list(_OPS) if kind is None else [_check_kind(kind)]
        name = check_key(key)
        streams = [Stream(each, name) for each in kinds]
        found = [(record, stream) for stream in streams for record in self._log.read(stream)]
        if len({stream for _, stream in found}) > 1:
            found.sort(key=lambda each: (each[0].recorded, each[0].version))
        else:
            found.sort(key=lambda each: each[0].version)
        changes = [self._change(stream, record) for record, stream in found]
        erasures = list(self._erasures_of(name, kind))
        # at the end of what was recorded in the same millisecond: what they took away was there before
        return History(sorted([*changes, *erasures], key=attrgetter("recorded")) if erasures else changes)

    def _erasures_of(self, key: str, kind: str | None) -> Iterator[Change]:
        at, one = place(key), Wanted(kind, key, is_key=True)
        for record in sorted(self._log.read(ERASURES, Query(at, at)), key=attrgetter("version")):
            change = self._shown(one, ERASURES, record)
            if change is not None:
                yield change

    def log(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        kind: str | None = None,
        prefix: str | None = None,
        who: str | None = None,
    ) -> Iterator[Change]:
        """Yield the changes of the whole namespace in the order of the log, lazily.

        Args:
            since, until: only what was stored from then to then, both inclusive.
            kind: only ``kv``, ``ts`` or ``es``.
            prefix: only keys that begin with it.
            who: only what this person changed, as given to :meth:`Store.context`; and changes of which nobody can
                tell, since who and why cannot be read.

        A change whose value cannot be read, since its class is gone, or somebody wrote it without the key, is shown
        with a :class:`Unreadable` as its value.
        """
        low = None if since is None else posix_ms(since, "since", up=True)
        high = None if until is None else posix_ms(until, "until")
        return self._logged(low, high, wanted(kind, prefix), exact(who) if isinstance(who, str) else who)

    def _logged(self, low: int | None, high: int | None, streams: Wanted, who: str | None) -> Iterator[Change]:
        for _, stream, record in self._log.follow():
            if not streams.may_have(stream) or (low is not None and record.recorded < low):
                continue
            if high is not None and record.recorded > high:
                continue
            words, error = self._words(stream, record)
            if who is None or error is not None or words.get("who") == who:
                change = self._shown(streams, stream, record)
                if change is not None:
                    yield change

    def _shown(self, streams: Wanted, stream: Stream, record: Record) -> Change | None:
        """Return a change, or of an erasure what it says of the streams that are wanted; None if that is nothing."""
        return self._erased(streams, record) if stream == ERASURES else self._change(stream, record)

    def _erased(self, streams: Wanted, record: Record) -> Change | None:
        """Return an erasure; one that cannot be read may be of the streams that are wanted."""
        more, error = self._words(ERASURES, record)
        who, why = more.pop("who", None), more.pop("why", None)
        if error is None:
            try:
                op = self._payload.check_op(ERASURES, record, OPERATIONS)
                erasure = streams.of(erasure_in(self._payload, record))
                if erasure is None:
                    return None
                return Change(record.recorded, None, "", op, erasure, who, why, record.version, *erasure.subject, more)
            except StorePayloadError as exc:
                error = exc
        unreadable = Unreadable(error.reason, type(error).__name__)
        return Change(record.recorded, None, "", record.op, unreadable, who, why, record.version, "", "", more)

    def _change(self, stream: Stream, record: Record) -> Change:
        return self._read_change(stream, record)[0]

    def _read_change(self, stream: Stream, record: Record) -> tuple[Change, StorePayloadError | None]:
        """Return a change, and why its value, or who and why, cannot be read: None if they can."""
        more, error = self._words(stream, record)
        who, why = more.pop("who", None), more.pop("why", None)
        timestamp, value = None if stream.kind == KV else record.start, None
        if error is None:
            try:
                value = self._value_of(stream, record)
            except StorePayloadError as exc:
                error = exc
        if error is not None:
            value = Unreadable(error.reason, type(error).__name__)
        change = Change(
            record.recorded, timestamp, record.item, record.op, value, who, why, record.version, *stream, more
        )
        return change, error

    def _words(self, stream: Stream, record: Record) -> tuple[dict[str, Any], StorePayloadError | None]:
        """Return what is noted beside a record's value, and why that cannot be read: None if it can."""
        try:
            return self._payload.note(stream, record), None
        except StorePayloadError as exc:
            return {}, exc

    def _value_of(self, stream: Stream, record: Record) -> Any:
        op = self._payload.check_op(stream, record, _OPS[stream.kind])
        if op == EXTEND:
            return list(zip(*self._payload.run(stream, record), strict=True))
        if op in (REMOVE, DELITEM, DELETE):
            self._payload.check(stream, record)
            return (record.start, record.end) if op == REMOVE else None
        return self._payload.value(stream, record)

    # -- differences --------------------------------------------------------------------------------------------------

    def diff(self, key: str, t1: Moment, t2: Moment, kind: str = ES) -> Diff:
        """Return what is different between two states of a key.

        Of an event sequence these are its states as of two valid times, by item. Of a value (``kind='kv'``) or a series
        (``kind='ts'``) they are what was known at two transaction times, by key or by timestamp.

        >>> _ = store.apply('account', {'owner': 'Ada', 'balance': 10}, t=1)
        >>> _ = store.apply('account', {'balance': 15, 'limit': 5}, t=2)
        >>> store.diff('account', 1, 2)
        Diff(added={'limit': 5}, removed={}, changed={'balance': (10, 15)})
        """
        first, second = posix_ms(t1), posix_ms(t2)
        states = {KV: self._values_at, TS: self._points_at, ES: self._states_at}[_check_kind(kind)]
        return difference(*states(check_key(key), first, second))

    def _states_at(self, key: str, *times: int) -> list[dict[Any, Any]]:
        return [self.past(key, time) or {} for time in times]

    def _values_at(self, key: str, *times: int) -> list[dict[Any, Any]]:
        return [self.at(time).get_many([key]) for time in times]

    def _points_at(self, key: str, *times: int) -> list[dict[Any, Any]]:
        """Return the points at two times, of where something was recorded in between."""
        span = self._changed(key, min(times), max(times))
        return [dict(self.at(time).points(key, span[0], end=span[1])) if span else {} for time in times]

    def revert(self, key: str, t: Moment, kind: str = ES) -> Any:
        """Bring a key back to what it was at ``t``, by new changes: nothing is erased, and this is in its history too.

        ``t`` is a valid time for an event sequence, whose state is returned, and a transaction time for a value
        (``kind='kv'``) or a series (``kind='ts'``).

        Raises:
            KeyError: there is no such key.

        >>> _ = store.apply('account', {'balance': 10}, t=1)
        >>> _ = store.apply('account', {'balance': 99, 'typo': True}, t=2)
        >>> store.revert('account', 1)
        {'balance': 10}
        """
        key, kind, time = check_key(key), _check_kind(kind), posix_ms(t)
        if self.version(key, kind) == 0:
            others = [each for each in _OPS if self.version(key, each)]
            raise KeyError(f"{key} (there is a {others[0]} of this name: pass kind={others[0]!r})" if others else key)
        revert = {KV: self._revert_value, TS: self._revert_series, ES: self._revert_state}[kind]
        return self._decide(partial(revert, key, time))

    def _revert_state(self, key: str, time: int) -> State:
        version, found, then = self.version(key), self._present(key), self.past(key, time)
        if then is None:
            self.delete_events(key, expect=version)
            return {}
        present = {} if found is None else found.state
        back = difference(present, then)
        changes: State = dict.fromkeys(back.removed, (operator.delitem, None))
        for item in (*back.added, *back.changed):
            changes[item] = operator.setitem, then[item]
        return self.apply(key, changes, expect=version) if changes else copied(present)

    def _revert_value(self, key: str, time: int) -> None:
        version, then = self.version(key, KV), self.at(time).get_many([key])
        if then:
            self.set(key, then[key], expect=version)
        else:
            self.delete(key, expect=version)

    def _revert_series(self, key: str, time: int) -> None:
        version, span = self.version(key, TS), self._changed(key, time)
        if span is not None:
            stream = Stream(TS, key)
            self._overwrite(stream, *span, self.at(time)._rows(stream, *span), version)  # noqa: SLF001  # a kind of self

    def _changed(self, key: str, since: int, until: int | None = None) -> tuple[int, int] | None:
        """Return the first and the last timestamp of a series that anything was said of between two times."""
        records = self._log.read(Stream(TS, key), Query(until=until))
        spans = [(record.start, record.end) for record in records if record.recorded > since]
        return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None


class View(Audit):
    """A store as it was known at a time: everything can be read, and nothing written.

    ``moment`` is that time, in POSIX milliseconds.

    >>> store.at('2026-05-01T09:00Z').moment
    1777626000000
    """

    def __init__(self, store: Audit, moment: int) -> None:
        self.namespace, self.moment = store.namespace, moment
        self._base = AsOf(store._base, moment)  # type: ignore[assignment]  # noqa: SLF001  # a view only reads
        self._payload, self._freq = store._payload, store._freq  # noqa: SLF001
        self._cached, self._frozen, self._history = Projections(), True, True
        self._note, self._work = ContextVar("rstore.note", default=None), ContextVar("rstore.work", default=None)

    def _check_writable(self) -> None:
        raise FrozenStoreError(repr(self), "the past can't be written to; write to the store itself")

    def _fold(self, stream: Stream, start: Projection, replay: Replay | None) -> Projection | None:
        try:
            return super()._fold(stream, start, replay)
        except StoreIntegrityError as exc:
            raise StoreError(f"es {stream.key!r}: what its state at that time builds on was pruned ({exc})") from exc

    def __repr__(self) -> str:
        return f"<View {self._base.name} namespace={self.namespace!r} at {self.moment}>"

    def timeseries(self, prefix: str = "") -> list[str]:
        """Return the keys of all series, or of those that begin with a prefix, in code-point order."""
        return [key for key in super().timeseries(prefix) if self._extent(Stream(TS, key)) is not None]


class Wanted(NamedTuple):
    """Which streams count: those of a kind, if there is one, with a prefix, if there is one.

    With ``is_key`` the prefix is a whole key.
    """

    kind: str | None = None
    prefix: str | None = None
    is_key: bool = False

    def has(self, stream: Stream) -> bool:
        """Tell whether a stream is one of these. Those that users do not see never are."""
        kind, key = stream
        is_of_kind = kind in _OPS if self.kind is None else kind == self.kind
        return is_of_kind and (self.prefix is None or key.startswith(self.prefix))

    def may_have(self, stream: Stream) -> bool:
        """Tell whether a stream is one of these, or has erasures, which may be of these."""
        return stream == ERASURES or self.has(stream)

    def of(self, erasure: Erasure) -> Erasure | None:
        """Return what an erasure says of these streams; None if that is nothing."""
        if self.kind is None and self.prefix is None:
            return erasure
        return erasure.narrowed(self.kind, self.prefix or "", is_key=self.is_key)


def wanted(kind: str | None, prefix: str | None) -> Wanted:
    """Return which streams a user wants.

    Raises:
        ValueError: there is no such kind.
    """
    return Wanted(None if kind is None else _check_kind(kind), None if prefix is None else check_name("prefix", prefix))


def difference(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Diff:
    """Return what is different between two states.

    >>> difference({'a': 1, 'b': 2}, {'b': 3, 'c': 4})
    Diff(added={'c': 4}, removed={'a': 1}, changed={'b': (2, 3)})
    """
    return Diff(
        added={item: value for item, value in new.items() if item not in old},
        removed={item: value for item, value in old.items() if item not in new},
        changed={
            item: (value, new[item]) for item, value in old.items() if item in new and not _same(value, new[item])
        },
    )


def _same(old: Any, new: Any) -> bool:
    """Tell whether two values are the same: of one type, and equal, or both of them missing as NaN is."""
    if type(old) is not type(new):
        return False
    try:
        return old is new or (is_missing(old) and is_missing(new)) or bool(old == new)
    except Exception:  # whatever comparing a user's values raises: arrays do
        return _pickled(old) == _pickled(new) is not None


def _pickled(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:  # then nobody can tell
        return None


def _check_kind(kind: str) -> str:
    if kind not in tuple(_OPS):  # a tuple compares, and needs no hash
        raise ValueError(f"kind is one of {', '.join(_OPS)}, not {kind!r}")
    return exact(kind)
