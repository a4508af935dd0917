"""Changes, each with its author and its reason: the history of a key, and that of the namespace."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from rstore.commits import ARGUMENTS, COMMIT, DID
from rstore.core import Reading
from rstore.domain.erasure import ERASURES, OPERATIONS, Erasure, from_words
from rstore.domain.errors import StorePayloadError
from rstore.domain.log import Record
from rstore.domain.names import check_name, exact
from rstore.domain.operators import DELETE, DELITEM, EVENTS, EXTEND, REMOVE, SET_UNTIL, SETITEM
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.encoding.unreadable import Unreadable

_OPS: Final[Mapping[str, Collection[str]]] = {KV: (SETITEM, SET_UNTIL, DELITEM), TS: (EXTEND, REMOVE), ES: EVENTS}
"""The kinds of streams that users see, and the operators of each."""
KINDS: Final = tuple(_OPS)
_WITHOUT_VALUE: Final = frozenset({REMOVE, DELITEM, DELETE})


class Change(NamedTuple):
    """A change as the log keeps it, or an erasure: the trace of a ``prune``, ``compact`` or ``rekey``.

    Attributes:
        recorded: when it was stored, in POSIX milliseconds: its transaction time.
        timestamp: when it holds, its valid time; the first timestamp of a segment; None for a value of a key.
        item: the item of an event; empty otherwise.
        op: the operator's name: ``setitem``, ``delitem``, ``add``, ..., or ``extend`` and ``remove`` of a series;
            ``delete`` of an event sequence, after a ``delitem`` of each item; ``event`` of a domain event, whose item
            is its name and whose value has its stored fields; ``prune``, ``compact`` or ``rekey`` of an erasure.
        value: the value, None if the operator takes none; the points of an ``extend``; first and last timestamp of a
            ``remove``; the :class:`rstore.Erasure` of a ``prune``, ``compact`` or ``rekey``; an :class:`Unreadable` in
            place of a value that cannot be read.
        who, why, more: the words that :meth:`Store.context` attached to it; None, or empty, without them.
        version: that of its stream; erasures have a stream of their own.
        kind, key: its stream, of kind ``kv``, ``ts`` or ``es``. An erasure of several has an empty kind or key.
        did: the name of the decision that it belongs to, as :meth:`Repository.do` or :meth:`Store.context` gave it.
        arguments: those of the decision, by name. They stand beside the first change of each key; None elsewhere.
        commit: the id that all changes of one append have, 16 hexadecimal digits; None where there are no words.
        until: from when on the value of a key does not hold any more, in POSIX milliseconds; None if it has no end.
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
    did: str | None
    arguments: dict[str, Any] | None
    commit: str | None
    until: int | None = None


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

    def part_of(self, erasure: Erasure) -> Erasure | None:
        """Return the part of an erasure that is about selected streams; None if there is none."""
        if self.kind is None and self.prefix is None:
            return erasure
        return erasure.narrowed(self.kind, self.prefix or "", is_key=self.is_key)


def stream_filter(kind: str | None, prefix: str | None) -> StreamFilter:
    """Return the filter for the streams that a caller asks for.

    Raises:
        ValueError: there is no such kind.
    """
    return StreamFilter(
        None if kind is None else check_kind(kind), None if prefix is None else check_name("prefix", prefix)
    )


def selected_change(core: Reading, streams: StreamFilter, stream: Stream, record: Record) -> Change | None:
    """Return the change of a record of a selected stream, or the selected part of an erasure; None if there is none."""
    if streams.has(stream):
        return change_of(core, stream, record)
    return _selected_erasure(core, streams, record) if stream == ERASURES else None


def _selected_erasure(core: Reading, streams: StreamFilter, record: Record) -> Change | None:
    """Return the selected part of an erasure. One that cannot be read is shown: it may be about selected streams."""
    note, error = note_of(core, ERASURES, record)
    value, subject = None, ("", "")
    if error is None:
        try:
            core.envelope.check_op(ERASURES, record, OPERATIONS)
            value = streams.part_of(erasure_in(core, record))
            if value is None:
                return None
            subject = value.subject
        except StorePayloadError as exc:
            error = exc
    shown = value if error is None else Unreadable(error.reason, type(error).__name__)
    return _change(Stream(*subject), record, shown, note)._replace(timestamp=None, item="")


def change_of(core: Reading, stream: Stream, record: Record, *, load: bool = True) -> Change:
    """Return the change that a record holds. Without ``load`` its value is verified, and None in its place."""
    note: dict[str, Any] = {}
    try:
        note = core.envelope.note(stream, record)
        value = _value_of(core, stream, record, load=load)
    except StorePayloadError as exc:
        value = Unreadable(exc.reason, type(exc).__name__)
    return _change(stream, record, value, note)


def read_change(
    core: Reading, stream: Stream, record: Record, note: dict[str, Any], error: StorePayloadError | None
) -> tuple[Change, StorePayloadError | None]:
    """Return a change with the words of a note, and the error if its value or its note cannot be read."""
    value = None
    if error is None:
        try:
            value = _value_of(core, stream, record, load=True)
        except StorePayloadError as exc:
            error = exc
    if error is not None:
        value = Unreadable(error.reason, type(error).__name__)
    return _change(stream, record, value, note), error


def _change(stream: Stream, record: Record, value: Any, note: dict[str, Any]) -> Change:
    version, _, recorded, start, end, item, op, *_ = record
    kind, key = stream
    is_key = kind == KV
    word = note.pop  # what is left are the other words
    return Change(
        recorded,
        None if is_key else start,
        item,
        SETITEM if op == SET_UNTIL else op,
        value,
        word("who", None),
        word("why", None),
        version,
        kind,
        key,
        note,
        word(DID, None),
        word(ARGUMENTS, None),
        word(COMMIT, None),
        end + 1 if is_key and end else None,
    )


def note_of(core: Reading, stream: Stream, record: Record) -> tuple[dict[str, Any], StorePayloadError | None]:
    """Return the words of a record's note, and the error if they cannot be read."""
    try:
        return core.envelope.note(stream, record), None
    except StorePayloadError as exc:
        return {}, exc


def _value_of(core: Reading, stream: Stream, record: Record, *, load: bool) -> Any:
    op = core.envelope.check_op(stream, record, _OPS[stream.kind])
    if op == EXTEND and load:
        return list(zip(*core.envelope.run(stream, record), strict=True))
    if op in _WITHOUT_VALUE or not load:
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
