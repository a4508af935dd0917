"""The feed of a partition: its records in the order of their positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from attrs import field, frozen

from rstore.adapters.redis.cluster.router import Owner
from rstore.adapters.redis.codec import stored_number, unpack_head, unpack_record
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.errors import damaged
from rstore.adapters.redis.keys import Partition, stream_named
from rstore.domain.log import Record
from rstore.domain.paging import within
from rstore.domain.streams import Stream

_FIRST_PAGE: Final = 16
_PAGE: Final = 256
PAGE_BYTES: Final = 4 << 20
"""How much of a feed is held in memory."""

_Named: TypeAlias = tuple[Stream, int]
"""A record by its stream and version."""


@frozen(order=True)
class Place:
    """A record's position where there are several partitions: its number, and its partition.

    A follower's position also says how far it has ``seen`` each partition, so that it skips no record that comes later
    with a smaller number. This part is not compared.
    """

    n: int
    partition: int
    seen: tuple[int, ...] = field(default=(), eq=False, repr=False)

    def after(self, partition: int) -> int:
        """Return the number after which a partition goes on."""
        if self.seen:
            return self.seen[partition]
        return self.n if partition <= self.partition else self.n - 1


def feed(owner: Owner, partition: Partition, after: int, last: int, most: int) -> Iterator[tuple[Stream, Record]]:
    """Yield the records of a partition from one position to another, in pages of ``most`` bytes, or of one record."""
    low, size = b"(%d" % after, _FIRST_PAGE
    while True:
        (entries,) = owner.ask((b"XRANGE", partition.feed, low, last, b"COUNT", size))
        places = [_place(words) for _, words in entries]
        records = _records(owner, partition, places, most)
        for (stream, _), record in zip(places, records, strict=True):
            if record is not None:
                yield stream, record
        if len(entries) < size:
            return
        low = b"(" + entries[-1][0]
        size = min(4 * size, _PAGE)


def _place(words: Sequence[bytes]) -> _Named:
    """Return the stream and version of the record that an entry of the feed names."""
    if len(words) != 4:
        raise damaged()
    _, name, _, version = words
    return stream_named(name), stored_number(version)


def _records(owner: Owner, partition: Partition, places: Sequence[_Named], most: int) -> Iterator[Record | None]:
    """Yield the records of streams and versions; None for one that has just been erased."""
    if len(places) == 1:  # a follower that has seen all else need not ask
        yield from _read(owner, partition, places)
        return
    looks: list[Command] = []
    for stream, version in places:
        looks += (b"HSTRLEN", partition.records(stream), version), (b"STRLEN", partition.head(stream))
    sizes = iter(owner.ask(*looks))
    for group in within(most, ((place, next(sizes) + next(sizes)) for place in places)):
        yield from _read(owner, partition, group)


def _read(owner: Owner, partition: Partition, places: Sequence[_Named]) -> list[Record | None]:
    commands: list[Command] = []
    for stream, version in places:  # the head first: what is no longer there when it is read has been filed
        commands += (b"GET", partition.head(stream)), (b"HGET", partition.records(stream), version)
    packed = owner.ask(*commands)
    heads, filed = map(unpack_head, packed[::2]), packed[1::2]
    return [
        unpack_record(found) if found else head.record if head and head.newest == version else None
        for (_, version), head, found in zip(places, heads, filed, strict=True)
    ]
