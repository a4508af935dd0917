"""Following a namespace: the feeds of its partitions, in the order of their records' positions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import itemgetter
from typing import Final, TypeAlias

from rstore.adapters.redis.cluster.router import Owner
from rstore.adapters.redis.codec import stored_number, unpack_head, unpack_record
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.errors import damaged
from rstore.adapters.redis.keys import Partition, stream_named
from rstore.adapters.redis.opened import Opened
from rstore.adapters.redis.positions import Place
from rstore.domain.checkpoints import number
from rstore.domain.log import Position, Record
from rstore.domain.paging import within
from rstore.domain.streams import Stream

_FIRST_PAGE: Final = 16
_PAGE: Final = 256
_PAGE_BYTES: Final = 4 << 20  # of a feed, in memory
_SHARE_BYTES: Final = _PAGE_BYTES // 8  # for each of many feeds that are merged

_Named: TypeAlias = tuple[Stream, int]
"""A record by its stream and version."""


def follow(opened: Opened, after: Position | None) -> Iterator[tuple[Position, Stream, Record]]:
    """Yield the positions, streams and records of ``Log.follow``.

    A script gives out a position and adds to the feed at once, so later records have greater positions.
    """
    return _follow_all(opened, after) if opened.is_spread else _follow_one(opened, number(after))


def wait(opened: Opened, after: Position | None, seconds: float) -> bool:
    """Block on the feed of the one partition, and tell whether there is a record after a position."""
    (partition,) = opened.partitions
    milliseconds = max(1, int(1000 * min(seconds, opened.servers.server.timeout / 2)))
    block = b"XREAD", b"COUNT", 1, b"BLOCK", milliseconds, b"STREAMS", partition.feed, b"%d" % number(after)
    (found,) = opened.servers.at(partition.slot).ask(block)
    return found is not None


def _follow_one(opened: Opened, after: int) -> Iterator[tuple[Position, Stream, Record]]:
    (partition,) = opened.partitions
    owner = opened.servers.at(partition.slot)
    ((last,),) = owner.ask((b"HMGET", partition.meta, b"n"))
    if last is not None:
        for stream, record in _feed(owner, partition, after, stored_number(last), _PAGE_BYTES):
            yield record.position, stream, record


def _follow_all(opened: Opened, after: Position | None) -> Iterator[tuple[Position, Stream, Record]]:
    """Merge the feeds of all partitions.

    A log that may write first moves all partitions on to the greatest position of any. So the order in which records
    are seen is that of their positions for ever. A frozen log can't do that: it may show records of the same moment in
    another order than others do. It skips none either, since positions say how far each partition was seen.
    """
    lasts = opened.leveled_positions()
    seen = [after.after(each) if isinstance(after, Place) else 0 for each in range(len(lasts))]
    feeds = [
        _numbered(each.number, _feed(opened.servers.at(each.slot), each, low, last, _SHARE_BYTES))
        for each, low, last in zip(opened.partitions, seen, lasts, strict=True)
        if last > low
    ]
    for n, partition, stream, record in merge(*feeds, key=itemgetter(0, 1)):
        seen[partition] = n
        position = Place(n, partition, tuple(seen))
        yield position, stream, record._replace(position=position)


def _numbered(partition: int, records: Iterable[tuple[Stream, Record]]) -> Iterator[tuple[int, int, Stream, Record]]:
    return ((number(record.position), partition, stream, record) for stream, record in records)


# -- of one partition -------------------------------------------------------------------------------------------------


def _feed(owner: Owner, partition: Partition, after: int, last: int, most: int) -> Iterator[tuple[Stream, Record]]:
    """Yield the records of a partition from one position to another, in pages of ``most`` bytes, or of one record."""
    low, size = b"(%d" % after, _FIRST_PAGE
    while True:
        (entries,) = owner.ask((b"XRANGE", partition.feed, low, last, b"COUNT", size))
        named = [_named(words) for _, words in entries]
        records = _records(owner, partition, named, most)
        for (stream, _), record in zip(named, records, strict=True):
            if record is not None:
                yield stream, record
        if len(entries) < size:
            return
        low = b"(" + entries[-1][0]
        size = min(4 * size, _PAGE)


def _named(words: Sequence[bytes]) -> _Named:
    """Return the stream and version of the record that an entry of the feed names."""
    if len(words) != 4:
        raise damaged()
    _, name, _, version = words
    return stream_named(name), stored_number(version)


def _records(owner: Owner, partition: Partition, named: Sequence[_Named], most: int) -> Iterator[Record | None]:
    """Yield the records of streams and versions; None for one that has just been erased."""
    if len(named) == 1:  # a follower that has seen all else need not ask
        yield from _read(owner, partition, named)
        return
    looks: list[Command] = []
    for stream, version in named:
        looks += (b"HSTRLEN", partition.records(stream), version), (b"STRLEN", partition.head(stream))
    sizes = iter(owner.ask(*looks))
    for group in within(most, ((place, next(sizes) + next(sizes)) for place in named)):
        yield from _read(owner, partition, group)


def _read(owner: Owner, partition: Partition, named: Sequence[_Named]) -> list[Record | None]:
    commands: list[Command] = []
    for stream, version in named:  # the head first: a record that has left it by then is filed, and is found there
        commands += (b"GET", partition.head(stream)), (b"HGET", partition.records(stream), version)
    packed = owner.ask(*commands)
    heads, filed = map(unpack_head, packed[::2]), packed[1::2]
    return [
        unpack_record(found) if found else head.record if head and head.newest == version else None
        for (_, version), head, found in zip(named, heads, filed, strict=True)
    ]
