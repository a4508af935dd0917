"""Problems of a single record: in its operator, its span, and its sealed payload."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from rstore.admin.check.problem import attempted, message_of
from rstore.domain.erasure import ERASURE, ERASURES, OPERATIONS, from_words
from rstore.domain.errors import StoreError
from rstore.domain.log import Record
from rstore.domain.operators import (
    CHECK,
    DELETE,
    DELITEM,
    EVENTS,
    EXPIRE,
    EXTEND,
    INDEX_OF,
    ONCE,
    PROTECT,
    REMOVE,
    SET_TAG,
    SET_UNTIL,
    SETITEM,
    SETTLED,
    SKIP,
    SNAPSHOT,
    UNPROTECT,
    UNTAG,
)
from rstore.domain.rules import folded_version
from rstore.domain.streams import (
    COPY,
    DELIVER,
    DUE,
    ES,
    EXPIRY,
    FED,
    INDEX,
    IX,
    KEYS,
    KV,
    ORIGIN,
    PROJECT,
    RETAIN,
    SKIPPED,
    SS,
    TAG,
    TS,
    Stream,
    kind_of,
)
from rstore.encoding.envelope import Envelope
from rstore.history.queue import lease_of
from rstore.history.searcher import begun_with
from rstore.models.indexes import described, entry_words

_VALUELESS: Final = frozenset({REMOVE, DELITEM, DELETE, ONCE, PROJECT, SKIP, CHECK, PROTECT, UNPROTECT, UNTAG, EXPIRE})


class _Kind(NamedTuple):
    """The records that a kind of streams may have: their operators, their spans, and a description of these."""

    ops: Collection[str]
    has_span: Callable[[int, int], bool]
    span: str


def _is_timeless(start: int, end: int) -> bool:
    return start == end == 0


def _is_of_a_value(start: int, end: int) -> bool:
    return start == 0 <= end


def _is_moment(start: int, end: int) -> bool:
    return start == end


def _is_forward(start: int, end: int) -> bool:
    return start <= end


_KINDS: Final[Mapping[str, _Kind]] = {
    KV: _Kind((SETITEM, SET_UNTIL, DELITEM), _is_of_a_value, "from 0 on"),
    TS: _Kind((EXTEND, REMOVE), _is_forward, "from one time to a later one"),
    ES: _Kind(EVENTS, _is_moment, "a single time"),
    SS: _Kind((SNAPSHOT,), _is_moment, "a single time"),
    ONCE: _Kind((ONCE,), _is_timeless, "0..0"),
    PROJECT: _Kind((PROJECT,), _is_timeless, "0..0"),
    FED: _Kind((PROJECT,), _is_timeless, "0..0"),
    SKIPPED: _Kind((SKIP,), _is_timeless, "0..0"),
    DELIVER: _Kind((DELIVER,), _is_timeless, "0..0"),
    DUE: _Kind((DUE, SETTLED), _is_timeless, "0..0"),
    INDEX: _Kind((INDEX_OF,), _is_timeless, "0..0"),
    IX: _Kind((SETITEM, DELITEM), _is_timeless, "0..0"),
    EXPIRY.kind: _Kind((EXPIRE,), _is_timeless, "0..0"),
    TAG: _Kind((SET_TAG, UNTAG), _is_timeless, "0..0"),
    RETAIN: _Kind((RETAIN,), _is_timeless, "0..0"),
    KEYS: _Kind((CHECK, PROTECT, UNPROTECT), _is_timeless, "0..0"),
    ERASURE: _Kind(OPERATIONS, _is_forward, "from one number to a greater one"),
}
"""Other kinds, such as those of a newer rstore, have envelopes all the same."""
LISTED: Final = tuple(kind for kind in _KINDS if kind not in (ONCE, DUE, IX, KEYS))
"""The kinds that are one kind by name. The others are many, or are looked at elsewhere."""


def flaws(envelope: Envelope, stream: Stream, record: Record) -> Iterator[str]:
    """Yield all problems of a record, so that one does not hide another."""
    if stream == ORIGIN:
        return
    if stream.kind == COPY:
        yield "a copy or load into this namespace was interrupted: call it again, or discard() the namespace"
    kind = _KINDS.get(kind_of(stream))
    is_known = kind is not None and record.op in kind.ops
    if kind is not None and not is_known:
        yield f"operator {record.op!r} does not belong to its kind"
    if kind is not None and not kind.has_span(record.start, record.end):
        yield f"its span is {record.start}..{record.end}, and should be {kind.span}"
    error = attempted(lambda: _open(envelope, stream, record, is_known=is_known))
    if error is not None:
        yield message_of(error)
    note = attempted(lambda: envelope.note(stream, record))
    if isinstance(note, StoreError):
        yield f"who and why: {message_of(note)}"


def _open(envelope: Envelope, stream: Stream, record: Record, *, is_known: bool) -> None:
    """Open the payload of a record as a reader does."""
    if not is_known or record.op in _VALUELESS:
        envelope.check(stream, record)
    elif stream.kind == ERASURE:
        from_words(envelope.words(ERASURES, record))
    elif stream.kind == INDEX:
        described(envelope, stream, record)
    elif kind_of(stream) == IX:
        entry_words(envelope, stream, record)
    elif stream.kind in (TAG, RETAIN):
        envelope.words(stream, record)
    elif stream.kind == DELIVER:
        begun_with(envelope, stream, record)
    elif kind_of(stream) == DUE:
        lease_of(envelope, stream, record)
    elif record.op == EXTEND:
        _check_times(record, envelope.run(stream, record)[0])
    elif record.op == SNAPSHOT:
        folded_version(record)
        envelope.state(stream, record)
    else:
        envelope.value(stream, record)


def _check_times(record: Record, times: Collection[int]) -> None:
    listed = list(times)
    if (listed[0], listed[-1]) != (record.start, record.end) or any(a >= b for a, b in pairwise(listed)):
        raise StoreError("its times don't increase from the start of its span to the end")
