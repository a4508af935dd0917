"""What rstore keeps in Redis: the names of its keys, and the bytes in them.

A namespace is split into partitions. All keys of one share a hash tag, so that a script may change them together, also
on a cluster. Those of partition 0 of the namespace ``default`` begin with ``rstore:{default:0}:``, and end with

=========== ====== ====================================================================================================
meta        hash   ``n``: the last position given out; ``floor``: where the versions of new streams start; under which
                   ``incarnation`` of a server. If there is no ``n``, there is no partition: it was discarded
                   (``ending``), or is being made (``claim``).
live, all   zset   the streams, by name: all scores are 0, so their order is that of bytes, which is that of code points
feed        stream an entry for each record; its id is the record's position
h:<name>    string a stream's head, and behind it the newest record if the stream is a key's: so ``get`` is one GET
r:<name>    hash   records by version. Rejected: native streams, in which a rewrite could replace nothing
i:<name>    zset   the spans of those records. All scores are 0: they are doubles, and lose nanoseconds
g:, o:      hash   graveyards, young and old: what rewrites took away, for those who began to read before. They expire
gs, os      set    the streams that have graveyards, young and old, so that a discard finds them. They live longer
s:<random>  list   the uploaded parts of a large write
promised    hash   the streams that are promised to a transaction, see ``cluster/two_phase.py``
p:<txid>    list   what a transaction will write here: number of keys, keys, arguments of the script
notes       hash   what became of the transactions that have their home here
=========== ====== ====================================================================================================

A stream's name is ``kind:key``. Numbers are big-endian, and times are shifted to be unsigned, so that the order of the
bytes is theirs. Lua's numbers have 53 bits: versions and positions stay below that, times are opaque bytes to it.

A record's position is a number that increases within its partition. Where there are several, writers keep it ahead of
all that they have seen anywhere, as Lamport's clocks do.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error
from typing import Final, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32

from attrs import field, frozen
from redis.crc import key_slot

from rstore.domain.errors import StoreError
from rstore.domain.log import Entry, Head, Record
from rstore.domain.spans import TIME_MIN, TOP_LEVEL, level
from rstore.domain.streams import Stream

SCHEMA: Final = 1

EPOCH: Final = b"rstore:epoch"
"""The key of a counter that belongs to no namespace: versions and positions of a new one begin above it."""

EPOCH_SLOT: Final[int] = key_slot(EPOCH)

VALUE_BYTES: Final = 511 << 20
"""What a value may have at most: Redis takes strings of 512 MB, and a record has a header."""

MOST: Final = 2**53 - 1
"""No version or position is greater."""

UNIT: Final = 1 << 20
"""Versions are above the multiple of this that is at or below the partition's position when they are given out.

So who lifts the positions of a partition over some multiples lifts the versions of all its streams, without a look at
them. It happens when a server has come back, and may have lost records (``lua/fence.lua``); also when
a million positions were given out, where it does no harm: versions have a gap then.
"""

_HEAD: Final = Struct(">QQQQQQBQQ")  # the fields of StoredHead
_RECORD: Final = Struct(">QQQBQQHHI")  # version, position, recorded, and the body
_BODY: Final = Struct(
    ">BQQHHI"
)  # level, start, end; length of item, op, meta + 1 (0: None). They follow, then the data
_SPAN: Final = Struct(">BQQQQ")  # level, start, version, end, recorded
_EDGE: Final = Struct(">BQ")  # level, start

HEAD_END: Final = _HEAD.size - 1
SINCE: Final = b"since"
"""The field of a graveyard that names the first era that it has graves for."""

_ABOVE: Final = b"\xff" * _SPAN.size
_ERA_BYTES: Final = 8


class Partition:
    """The names of a partition's keys, and the slot of a cluster that they are in."""

    def __init__(self, namespace: str, number: int) -> None:
        self.number = number
        self._prefix = f"rstore:{{{quote(namespace, safe='')}:{number}}}:"
        self.slot: int = key_slot(self._prefix.encode())
        self.meta, self.feed, self.live, self.all = map(self._key, ("meta", "feed", "live", "all"))
        self.promised, self.notes = self._key("promised"), self._key("notes")

    @property
    def graves(self) -> tuple[bytes, bytes]:
        """The keys of the sets of streams that have graveyards."""
        return self._key("gs"), self._key("os")

    @property
    def own(self) -> tuple[bytes, ...]:
        """The keys that are not those of one stream."""
        return self.meta, self.feed, self.live, self.all

    def promise(self, txid: bytes) -> bytes:
        """Return the key of what is promised to a transaction."""
        return self._key("p:") + txid

    def head(self, stream: Stream) -> bytes:
        return f"{self._prefix}h:{stream.kind}:{stream.key}".encode()

    def records(self, stream: Stream) -> bytes:
        return f"{self._prefix}r:{stream.kind}:{stream.key}".encode()

    def spans(self, stream: Stream) -> bytes:
        return f"{self._prefix}i:{stream.kind}:{stream.key}".encode()

    def graveyards(self, stream: Stream) -> tuple[bytes, bytes]:
        return self._key(f"g:{stream.kind}:{stream.key}"), self._key(f"o:{stream.kind}:{stream.key}")

    def living(self, stream: Stream) -> tuple[bytes, bytes, bytes]:
        """Return the keys of a stream that a reader needs if nobody rewrites it."""
        return self.head(stream), self.records(stream), self.spans(stream)

    def each_of(self, name: bytes) -> list[bytes]:
        """Return all keys of a stream by its name, whatever bytes that has."""
        return [self._key(f"{key}:") + name for key in "hrigo"]

    def staged(self, name: str) -> bytes:
        return self._key(f"s:{name}")

    def is_staged(self, key: bytes) -> bool:
        """Tell whether a key is that of an upload."""
        return key.startswith(self._key("s:"))

    def _key(self, name: str) -> bytes:
        return f"{self._prefix}{name}".encode()


META_PATTERN: Final = b"rstore:{*:0}:meta"
"""What the meta of each namespace's first partition is called; so may be other keys, see :func:`namespace_of`."""


def namespace_of(meta: bytes) -> str | None:
    """Return the namespace that a key like :data:`META_PATTERN` is the first meta of; None if it is another key.

    A user's keys are part of ours, and may end like that one.
    """
    quoted = meta.removeprefix(b"rstore:{").removesuffix(b":0}:meta")
    try:
        namespace = unquote(quoted.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        return None
    return namespace if quote(namespace, safe="").encode() == quoted else None


def partition_of(key: str, number: int) -> int:
    """Return the partition of a key. The kind does not count: an event sequence and its snapshots share one."""
    return crc32(key.encode()) % number


@frozen(order=True)
class Place:
    """A record's position where there are several partitions: its number, and its partition.

    A follower's position also says how far it has ``seen`` each partition: what comes later with a smaller number is
    not skipped. It is no part of what is compared.
    """

    n: int
    partition: int
    seen: tuple[int, ...] = field(default=(), eq=False, repr=False)

    def after(self, partition: int) -> int:
        """Return the number after which a partition goes on."""
        if self.seen:
            return self.seen[partition]
        return self.n if partition <= self.partition else self.n - 1


def stream_name(stream: Stream) -> bytes:
    return f"{stream.kind}:{stream.key}".encode()


def stream_named(name: bytes) -> Stream:
    try:
        kind, _, key = name.decode().partition(":")
    except UnicodeDecodeError as exc:
        raise damaged() from exc
    return Stream(kind, key)


def stored_number(text: bytes | None) -> int:
    """Return a number that is stored in decimal."""
    if text is None or not text.isdigit() or len(text) > len(str(MOST)) or int(text) > MOST:
        raise damaged()
    return int(text)


def packed_number(number: int) -> bytes:
    return number.to_bytes(8, "big")


def packed_time(time: int) -> bytes:
    return (time - TIME_MIN).to_bytes(8, "big")


TIMELESS: Final = packed_time(TIME_MIN)


def damaged() -> StoreError:
    return StoreError("what is stored under rstore's keys is not what rstore writes: is somebody else using them?")


# -- heads ------------------------------------------------------------------------------------------------------------


class StoredHead(NamedTuple):
    """A stream's head.

    ``died`` is the version of the append that last ended its life. An ``era`` is the time between two rewrites: while
    it lasts, records are only added. ``newest`` is the version of the newest record (0: there is none), ``recorded``
    is that of it, and ``record`` is itself, if the stream keeps it here; ``filed`` counts those that are elsewhere.
    ``levels`` is a bit mask.
    """

    version: int
    floor: int
    died: int
    era: int
    newest: int
    filed: int
    live: int
    recorded: int
    levels: int
    record: Record | None = None

    def is_before_gap(self, version: int) -> bool:
        """Tell whether the record of a version may have been lost since it was seen: if it was, others follow a gap."""
        return self.floor < version < self.version - self.version % UNIT

    def shown(self, stream: Stream) -> Head:
        return Head(stream, self.version, self.floor, bool(self.live), self.died)

    def each_level(self) -> Iterator[int]:
        return (of_level for of_level in range(TOP_LEVEL + 1) if self.levels >> of_level & 1)


def unpack_head(packed: bytes | None) -> StoredHead | None:
    """Return a head, and the record behind it; None if there is no such stream."""
    return stored_head(packed) if packed else None


def stored_head(packed: bytes) -> StoredHead:
    """Return a head, and the record behind it."""
    try:
        head = StoredHead(*_HEAD.unpack_from(packed))
    except error as exc:
        raise damaged() from exc
    if max(head.newest, head.filed) > head.version or max(head.version, head.era) > MOST:
        raise damaged()
    record = unpack_record(packed, _HEAD.size) if len(packed) > _HEAD.size else None
    return head._replace(recorded=head.recorded + TIME_MIN, record=record)


# -- records ----------------------------------------------------------------------------------------------------------


def pack_body(entry: Entry | Record) -> bytes:
    """Return what a writer knows of a record; the scripts put version, position and recorded before it."""
    item, op, meta = entry.item.encode(), entry.op.encode(), entry.meta
    sizes = len(item), len(op), 0 if meta is None else len(meta) + 1
    start, end = entry.start, entry.end
    fixed = _BODY.pack(level(start, end), start - TIME_MIN, end - TIME_MIN, *sizes)
    body = b"".join((fixed, item, op, meta or b"", entry.data))
    if len(body) > VALUE_BYTES:
        raise StoreError("a value is larger than Redis can take (512 MB); nothing was stored")
    return body


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
    """An entry of a stream's index: where a record is in time, so that only those that count need to be fetched."""

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
    """Return what is below and above all spans of a level that start from ``low`` to ``high``."""
    return _EDGE.pack(of_level, low - TIME_MIN), _EDGE.pack(of_level, high - TIME_MIN) + _ABOVE


class Grave(NamedTuple):
    """The name of a grave: of what was taken away when ``era`` began."""

    era: int
    span: Span
    field: bytes


def unpack_grave(field: bytes) -> Grave:
    return Grave(int.from_bytes(field[:_ERA_BYTES], "big"), unpack_span(field[_ERA_BYTES:]), field)
