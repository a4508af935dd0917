"""The names of the keys that rstore has in Redis.

A namespace is split into partitions. All keys of one share a hash tag, so that a script may change them together, also
on a cluster. Those of partition 0 of the namespace ``default`` begin with ``rstore:{default:0}:``, and end with

=========== ====== ====================================================================================================
meta        hash   ``n``: the last position given out; ``floor``: where the versions of new streams start;
                   ``incarnation``: the run of a server that the fencing epoch belongs to. Without ``n`` there is no
                   partition: it was discarded (``ending``), or is being made (``claim``).
live, all   zset   the streams, by name: all scores are 0, so their order is that of bytes, which is that of code points
feed        stream an entry for each record; its id is the record's position
h:<name>    string a stream's head, and behind it the newest record if the stream is a key's: so ``get`` is one GET
r:<name>    hash   records by version. Rejected: native streams, in which a rewrite could replace nothing
i:<name>    zset   the spans of those records. All scores are 0: they are doubles, and lose nanoseconds
g:, o:      hash   retired records, young and old: rewrites took them away, earlier readers still need them. They expire
gs, os      set    the streams that have retired records, young and old, so that a discard finds these. They live longer
s:<random>  list   the uploaded parts of a large write
promised    hash   the streams that are prepared for a transaction, and its id: see ``two_phase.py``
p:<txid>    list   a call that is prepared for a transaction: number of keys, keys, arguments of the script
notes       hash   the states of the transactions that this partition coordinates
=========== ====== ====================================================================================================

A stream's name is ``kind:key``.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32

from redis.crc import key_slot

from rstore.adapters.redis.errors import damaged
from rstore.domain.streams import Stream

SCHEMA: Final = 1

HIGH_WATER: Final = b"rstore:epoch"
"""The key of a counter that no namespace owns: versions and positions of a new one begin above it.

It is not a fencing epoch, in spite of its stored name.
"""

HIGH_WATER_SLOT: Final[int] = key_slot(HIGH_WATER)


class Partition:
    """The names of a partition's keys, and the slot of a cluster that they are in."""

    def __init__(self, namespace: str, number: int) -> None:
        self.number = number
        self._prefix = f"rstore:{{{quote(namespace, safe='')}:{number}}}:"
        self.slot: int = key_slot(self._prefix.encode())
        self.meta, self.feed, self.live, self.all = map(self._key, ("meta", "feed", "live", "all"))
        self.prepared, self.transactions = self._key("promised"), self._key("notes")
        self._head, self._records, self._spans = map(self._key, ("h:", "r:", "i:"))

    @property
    def own(self) -> tuple[bytes, ...]:
        """The keys that are not those of one stream."""
        return self.meta, self.feed, self.live, self.all

    @property
    def retired_streams(self) -> tuple[bytes, bytes]:
        """The keys of the sets of streams that have retired records."""
        return self._key("gs"), self._key("os")

    def prepared_call(self, txid: bytes) -> bytes:
        """Return the key of the call that is prepared for a transaction."""
        return self._key("p:") + txid

    def head(self, stream: Stream) -> bytes:
        return self._head + stream_name(stream)

    def records(self, stream: Stream) -> bytes:
        return self._records + stream_name(stream)

    def spans(self, stream: Stream) -> bytes:
        return self._spans + stream_name(stream)

    def retired(self, stream: Stream) -> tuple[bytes, bytes]:
        return self._key(f"g:{stream.kind}:{stream.key}"), self._key(f"o:{stream.kind}:{stream.key}")

    def current(self, stream: Stream) -> tuple[bytes, bytes, bytes]:
        """Return the keys of a stream that a reader needs if nobody rewrites it."""
        name = stream_name(stream)
        return self._head + name, self._records + name, self._spans + name

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


class Location(NamedTuple):
    """A stream, and the partition that it is in."""

    partition: Partition
    stream: Stream

    @property
    def slot(self) -> int:
        return self.partition.slot

    @property
    def head(self) -> bytes:
        return self.partition.head(self.stream)

    @property
    def records(self) -> bytes:
        return self.partition.records(self.stream)

    @property
    def spans(self) -> bytes:
        return self.partition.spans(self.stream)

    @property
    def current(self) -> tuple[bytes, bytes, bytes]:
        """The keys that a reader needs if nobody rewrites the stream."""
        return self.partition.current(self.stream)


META_PATTERN: Final = b"rstore:{*:0}:meta"
"""The pattern of the meta of a namespace's first partition. Other keys may match too: see :func:`namespace_of`."""


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


def stream_name(stream: Stream) -> bytes:
    kind, key = stream
    return f"{kind}:{key}".encode()


def stream_named(name: bytes) -> Stream:
    try:
        kind, _, key = name.decode().partition(":")
    except UnicodeDecodeError as exc:
        raise damaged() from exc
    return Stream(kind, key)
