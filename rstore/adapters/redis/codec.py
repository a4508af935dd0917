"""Heads, records and spans as the bytes that rstore keeps in Redis.

Numbers are big-endian, and times are shifted to be unsigned, so that the order of the bytes is theirs. Lua's numbers
have 53 bits: versions and positions stay below that, and times are opaque bytes to a script.

A record's position is a number that increases within its partition. Where there are several, writers keep it ahead of
all that they have seen anywhere: it is a Lamport clock.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error
from typing import Final, NamedTuple

from rstore.adapters.redis.errors import damaged
from rstore.domain.errors import StoreError
from rstore.domain.log import Entry, Head, Record
from rstore.domain.spans import TIME_MIN, level_of
from rstore.domain.streams import Stream

VALUE_BYTES: Final = 511 << 20
"""The most that a value may have: Redis takes strings of 512 MB, and a record has a header."""

MAX_NUMBER: Final = 2**53 - 1
"""The greatest version or position."""

EPOCH_SIZE: Final = 1 << 20
"""How many positions a fencing epoch has. It begins at a multiple of this.

A version is above the start of the epoch that its position is in. So a new epoch of a partition moves on the versions
of all its streams, without a look at them. One begins when a server has come back that may have lost records: see
``lua/fence.lua``. One begins also after a million positions, where it does no harm: versions then have a gap.
"""

_HEAD: Final = Struct(">QQQQQQBQQ")  # the fields of StoredHead
_RECORD: Final = Struct(">QQQBQQHHI")  # version, position, recorded, and the body
# level, start, end; length of item, op, meta + 1 (0: None). These three follow, then the data
_BODY: Final = Struct(">BQQHHI")
_SPAN: Final = Struct(">BQQQQ")  # level, start, version, end, recorded
_EDGE: Final = Struct(">BQ")  # level, start

HEAD_END: Final = _HEAD.size - 1
_END_AT: Final = _HEAD.size + 33
KEY_END: Final = _END_AT + 7
"""The last byte of a key's head and of the span of its newest record, which stands behind it."""
SINCE: Final = b"since"
"""The field, among retired records, that has the first generation that they were retired by."""

_ABOVE: Final = b"\xff" * _SPAN.size
_GENERATION_BYTES: Final = 8


def stored_number(text: bytes | None) -> int:
    """Return a number that is stored in decimal."""
    if text is None or not text.isdigit() or len(text) > len(str(MAX_NUMBER)) or int(text) > MAX_NUMBER:
        raise damaged()
    return int(text)


def packed_number(number: int) -> bytes:
    return number.to_bytes(8, "big")


def packed_time(time: int) -> bytes:
    return (time - TIME_MIN).to_bytes(8, "big")


TIMELESS: Final = packed_time(TIME_MIN)


# -- heads ------------------------------------------------------------------------------------------------------------


class StoredHead(NamedTuple):
    """A stream's head.

    ``died`` is the version of the append that last ended its life. A ``generation`` lasts from one rewrite to the
    next: meanwhile, records are only added. Its number is the position at which it began.

    ``newest`` is the version of the newest record (0: there is none), and ``recorded`` is its time. ``record`` is that
    record itself if the stream keeps it here; ``filed`` counts all others. ``levels`` is a bit mask.
    """

    version: int
    floor: int
    died: int
    generation: int
    newest: int
    filed: int
    live: int
    recorded: int
    levels: int
    record: Record | None = None

    def is_before_gap(self, version: int) -> bool:
        """Tell whether a version is of an earlier fencing epoch: its record may have been lost since it was seen."""
        return self.floor < version < self.version - self.version % EPOCH_SIZE

    def as_head(self, stream: Stream, end: int = 0) -> Head:
        return Head(stream, self.version, self.floor, bool(self.live), self.died, end)


def unpack_head(packed: bytes | None) -> StoredHead | None:
    """Return a head, and the record behind it; None if there is no such stream."""
    return stored_head(packed) if packed else None


def unpack_end(packed: bytes | None) -> int:
    """Return the end of a key's newest record, of which the head and the span are given; 0 if that is not there."""
    if not packed or len(packed) <= _HEAD.size:
        return 0
    return int.from_bytes(packed[_END_AT : KEY_END + 1], "big") + TIME_MIN


def stored_head(packed: bytes) -> StoredHead:
    """Return a head, and the record behind it."""
    try:
        head = StoredHead(*_HEAD.unpack_from(packed))
    except error as exc:
        raise damaged() from exc
    if max(head.newest, head.filed) > head.version or max(head.version, head.generation) > MAX_NUMBER:
        raise damaged()
    record = unpack_record(packed, _HEAD.size) if len(packed) > _HEAD.size else None
    return head._replace(recorded=head.recorded + TIME_MIN, record=record)


# -- records ----------------------------------------------------------------------------------------------------------


def pack_body(stream: Stream, entry: Entry | Record) -> bytes:
    """Return a record as far as its writer knows it; the scripts put version, position and time before it.

    The values of a key have level 0, whatever their span, and begin at 0: so the index has them in order of versions.
    """
    start, end, item, op, data, meta = entry[-6:]
    items, ops, words = _words(item, op)
    fixed = _BODY.pack(
        level_of(stream, start, end) or 0,
        start - TIME_MIN,
        end - TIME_MIN,
        items,
        ops,
        0 if meta is None else len(meta) + 1,
    )
    body = b"".join((fixed, words, meta or b"", data))
    if len(body) > VALUE_BYTES:
        raise StoreError("a value is larger than Redis can take (512 MB); nothing was stored")
    return body


@lru_cache(maxsize=64)  # those of many entries are the same
def _words(item: str, op: str) -> tuple[int, int, bytes]:
    """Return item and op as bytes, and the length of each."""
    packed = item.encode(), op.encode()
    return len(packed[0]), len(packed[1]), b"".join(packed)


def unpack_record(packed: bytes, at: int = 0) -> Record:
    try:
        version, position, recorded, _, start, end, item, op, meta = _RECORD.unpack_from(packed, at)
        op_at = at + _RECORD.size + item
        meta_at = op_at + op
        data_at = meta_at + max(meta - 1, 0)
        return Record(
            version,
            position,
            recorded + TIME_MIN,
            start + TIME_MIN,
            end + TIME_MIN,
            packed[at + _RECORD.size : op_at].decode(),
            packed[op_at:meta_at].decode(),
            packed[data_at:],
            packed[meta_at:data_at] if meta else None,
        )
    except (error, UnicodeDecodeError) as exc:
        raise damaged() from exc


# -- spans ------------------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """An entry of a stream's index: where a record is in time, so that a reader fetches only those that it needs."""

    start: int
    version: int
    end: int
    recorded: int
    packed: bytes


def unpack_span(packed: bytes) -> Span:
    try:
        _, start, version, end, recorded = _SPAN.unpack(packed)
    except error as exc:
        raise damaged() from exc
    return Span(start + TIME_MIN, version, end + TIME_MIN, recorded + TIME_MIN, packed)


def span_of(record: Record) -> Span:
    """Return the span of a record that is not in the index."""
    return Span(record.start, record.version, record.end, record.recorded, b"")


def span_range(of_level: int, low: int, high: int) -> tuple[bytes, bytes]:
    """Return the edges, below and above, of all spans of a level that start from ``low`` to ``high``."""
    return _EDGE.pack(of_level, low - TIME_MIN), _EDGE.pack(of_level, high - TIME_MIN) + _ABOVE


class Retired(NamedTuple):
    """A record that a rewrite took away when ``generation`` began: its span, and the field that it is kept under."""

    generation: int
    span: Span
    field: bytes


def unpack_retired(field: bytes) -> Retired:
    generation = int.from_bytes(field[:_GENERATION_BYTES], "big")
    return Retired(generation, unpack_span(field[_GENERATION_BYTES:]), field)
