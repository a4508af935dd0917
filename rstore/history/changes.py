"""What was changed, by whom and why: the history of a key, and that of the namespace."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from rstore.core import Reading, ReadSurface, check_key
from rstore.domain.erasure import ERASURES, OPERATIONS, Erasure, from_words, place
from rstore.domain.errors import StorePayloadError
from rstore.domain.log import Query, Record
from rstore.domain.names import check_name, exact
from rstore.domain.operators import DELETE, DELITEM, EVENTS, EXTEND, REMOVE, SETITEM
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.encoding.unreadable import Unreadable
from rstore.history.diff import Diff, difference, states_at
from rstore.html import Listed, counted, moment, table
from rstore.timestamps import Moment, posix_ms

_OPS: Final[Mapping[str, Collection[str]]] = {KV: (SETITEM, DELITEM), TS: (EXTEND, REMOVE), ES: EVENTS}
"""The kinds of streams that users see, and the operators of each."""
KINDS: Final = tuple(_OPS)


class Change(NamedTuple):
    """A change as the log keeps it, or an erasure: the trace of a ``prune``, ``compact`` or ``rekey``.

    Attributes:
        recorded: when it was stored, in POSIX milliseconds: its transaction time.
        timestamp: when it holds, its valid time; the first timestamp of a segment; None for a value of a key.
        item: the item of an event; empty otherwise.
        op: the operator's name: ``setitem``, ``delitem``, ``add``, ..., or ``extend`` and ``remove`` of a series;
            ``delete`` of an event sequence, after a ``delitem`` of each item; ``prune``, ``compact`` or ``rekey`` of
            an erasure.
        value: the value, None if the operator takes none; the points of an ``extend``; first and last timestamp of a
            ``remove``; the :class:`rstore.Erasure` of a ``prune``, ``compact`` or ``rekey``; an :class:`Unreadable` in
            place of a value that cannot be read.
        who, why, more: the words that :meth:`Store.context` attached to it; None, or empty, without them.
        version: that of its stream; erasures have a stream of their own.
        kind, key: its stream, of kind ``kv``, ``ts`` or ``es``. An erasure of several has an empty kind or key.
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


class History(Listed[Change]):
    """The changes of a key, as :meth:`Store.history` returns them: a list, and in notebooks a table."""

    def _repr_html_(self) -> str:
        header = ("recorded", "kind", "timestamp", "item", "op", "value", "who", "why")
        return table(counted(len(self), "change"), header, self, _cells)


def _cells(change: Change) -> Sequence[Any]:
    recorded = moment(change.recorded)
    return recorded, change.kind, change.timestamp, change.item, change.op, change.value, change.who, change.why


class HistoryReader(ReadSurface):
    """Reads what was changed, by whom and why."""

    def version(self, key: str, kind: str = ES) -> int:
        """Return the version of a key's event sequence, or its ``kv`` or ``ts``: what ``expect`` compares with.

        It is 0 if the key never had one, and that of the deletion if it was deleted. A write inside a transaction gets
        a version that holds only there.

        >>> store.version('unknown')
        0
        """
        return version_of(self._core, check_key(key), check_kind(kind))

    def history(self, key: str, kind: str | None = None) -> list[Change]:
        """Return all changes of a key in the order in which they were stored; of one kind, or of all that it has.

        >>> store['price'] = 10
        >>> with store.context(who='ada', why='typing error'):
        ...     store['price'] = 11
        >>> [(change.op, change.value, change.who, change.why) for change in store.history('price')]
        [('setitem', 10, None, None), ('setitem', 11, 'ada', 'typing error')]
        """
        kinds = list(_OPS) if kind is None else [check_kind(kind)]
        name = check_key(key)
        streams = [Stream(each, name) for each in kinds]
        found = [(record, stream) for stream in streams for record in self._core.log.read(stream)]
        if len({stream for _, stream in found}) > 1:
            found.sort(key=lambda each: (each[0].recorded, each[0].version))
        else:
            found.sort(key=lambda each: each[0].version)
        changes = [change_of(self._core, stream, record) for record, stream in found]
        erasures = list(_erasures_of(self._core, name, kind))
        # an erasure comes last in its millisecond: the records that it took away were there before
        return History(sorted([*changes, *erasures], key=attrgetter("recorded")) if erasures else changes)

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
            since, until: only changes that were stored from then to then, both inclusive.
            kind: only ``kv``, ``ts`` or ``es``.
            prefix: only keys that begin with it.
            who: only changes of this person, as given to :meth:`Store.context`; and changes whose author cannot be
                read.

        A value that cannot be read is an :class:`Unreadable`: its class is gone, say, or the key was not used.
        """
        low = None if since is None else posix_ms(since, "since", up=True)
        high = None if until is None else posix_ms(until, "until")
        return _logged(self._core, low, high, wanted(kind, prefix), exact(who) if isinstance(who, str) else who)

    def diff(self, key: str, t1: Moment, t2: Moment, kind: str = ES) -> Diff:
        """Return the differences between two states of a key.

        The states of an event sequence are those of two valid times, by item. Those of a value (``kind='kv'``) or a
        series (``kind='ts'``) are those known at two transaction times, by key or by timestamp.

        >>> _ = store.apply('account', {'owner': 'Ada', 'balance': 10}, t=1)
        >>> _ = store.apply('account', {'balance': 15, 'limit': 5}, t=2)
        >>> store.diff('account', 1, 2)
        Diff(added={'limit': 5}, removed={}, changed={'balance': (10, 15)})
        """
        first, second = posix_ms(t1), posix_ms(t2)
        return difference(*states_at(self._core, check_kind(kind), check_key(key), first, second))


class StreamFilter(NamedTuple):
    """Selects streams by kind and prefix; None selects all. With ``is_key`` the prefix is a whole key."""

    kind: str | None = None
    prefix: str | None = None
    is_key: bool = False

    def has(self, stream: Stream) -> bool:
        """Tell whether a stream is selected. Private streams never are."""
        kind, key = stream
        is_of_kind = kind in _OPS if self.kind is None else kind == self.kind
        return is_of_kind and (self.prefix is None or key.startswith(self.prefix))

    def may_have(self, stream: Stream) -> bool:
        """Tell whether a stream is selected, or holds erasures, which may be of selected streams."""
        return stream == ERASURES or self.has(stream)

    def of(self, erasure: Erasure) -> Erasure | None:
        """Return the part of an erasure that is about selected streams; None if there is none."""
        if self.kind is None and self.prefix is None:
            return erasure
        return erasure.narrowed(self.kind, self.prefix or "", is_key=self.is_key)


def wanted(kind: str | None, prefix: str | None) -> StreamFilter:
    """Return the filter for the streams that a caller asks for.

    Raises:
        ValueError: there is no such kind.
    """
    return StreamFilter(
        None if kind is None else check_kind(kind), None if prefix is None else check_name("prefix", prefix)
    )


def _erasures_of(core: Reading, key: str, kind: str | None) -> Iterator[Change]:
    at, one = place(key), StreamFilter(kind, key, is_key=True)
    for record in sorted(core.log.read(ERASURES, Query(at, at)), key=attrgetter("version")):
        change = shown_of(core, one, ERASURES, record)
        if change is not None:
            yield change


def _logged(
    core: Reading, low: int | None, high: int | None, streams: StreamFilter, who: str | None
) -> Iterator[Change]:
    for _, stream, record in core.log.follow():
        if not streams.may_have(stream) or (low is not None and record.recorded < low):
            continue
        if high is not None and record.recorded > high:
            continue
        words, error = note_of(core, stream, record)
        if who is None or error is not None or words.get("who") == who:
            change = shown_of(core, streams, stream, record)
            if change is not None:
                yield change


def shown_of(core: Reading, streams: StreamFilter, stream: Stream, record: Record) -> Change | None:
    """Return the change of a record, or the selected part of an erasure; None if that is empty."""
    return _erased(core, streams, record) if stream == ERASURES else change_of(core, stream, record)


def _erased(core: Reading, streams: StreamFilter, record: Record) -> Change | None:
    """Return the selected part of an erasure. One that cannot be read is shown: it may be about selected streams."""
    more, error = note_of(core, ERASURES, record)
    who, why = more.pop("who", None), more.pop("why", None)
    if error is None:
        try:
            op = core.envelope.check_op(ERASURES, record, OPERATIONS)
            erasure = streams.of(erasure_in(core, record))
            if erasure is None:
                return None
            return Change(record.recorded, None, "", op, erasure, who, why, record.version, *erasure.subject, more)
        except StorePayloadError as exc:
            error = exc
    unreadable = Unreadable(error.reason, type(error).__name__)
    return Change(record.recorded, None, "", record.op, unreadable, who, why, record.version, "", "", more)


def change_of(core: Reading, stream: Stream, record: Record) -> Change:
    """Return the change that a record holds."""
    return read_change(core, stream, record)[0]


def read_change(core: Reading, stream: Stream, record: Record) -> tuple[Change, StorePayloadError | None]:
    """Return a change, and the error if its value or its note cannot be read."""
    more, error = note_of(core, stream, record)
    who, why = more.pop("who", None), more.pop("why", None)
    timestamp, value = None if stream.kind == KV else record.start, None
    if error is None:
        try:
            value = _value_of(core, stream, record)
        except StorePayloadError as exc:
            error = exc
    if error is not None:
        value = Unreadable(error.reason, type(error).__name__)
    change = Change(record.recorded, timestamp, record.item, record.op, value, who, why, record.version, *stream, more)
    return change, error


def note_of(core: Reading, stream: Stream, record: Record) -> tuple[dict[str, Any], StorePayloadError | None]:
    """Return the words of a record's note, and the error if they cannot be read."""
    try:
        return core.envelope.note(stream, record), None
    except StorePayloadError as exc:
        return {}, exc


def _value_of(core: Reading, stream: Stream, record: Record) -> Any:
    op = core.envelope.check_op(stream, record, _OPS[stream.kind])
    if op == EXTEND:
        return list(zip(*core.envelope.run(stream, record), strict=True))
    if op in (REMOVE, DELITEM, DELETE):
        core.envelope.check(stream, record)
        return (record.start, record.end) if op == REMOVE else None
    return core.envelope.value(stream, record)


def erasure_in(core: Reading, record: Record) -> Erasure:
    """Return the erasure that a record holds.

    Raises:
        StorePayloadError: it can't be opened.
        StoreError: it holds no erasure.
    """
    return from_words(core.envelope.words(ERASURES, record))


def version_of(core: Reading, key: str, kind: str) -> int:
    """Return the version of a stream, 0 if there is none."""
    head = core.log.head(Stream(kind, key))
    return head.version if head else 0


def check_kind(kind: str) -> str:
    """Return the name of a kind, or raise ValueError if there is no such kind."""
    if kind not in tuple(_OPS):  # a tuple compares, and needs no hash
        raise ValueError(f"kind is one of {', '.join(_OPS)}, not {kind!r}")
    return exact(kind)
