"""Heads and newest records of many streams, in one round trip to each server, and lists of streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from operator import attrgetter
from typing import Final

from attrs import frozen

from rstore.adapters.redis.as_of import last_of, newest_by_reads, newest_by_script
from rstore.adapters.redis.codec import HEAD_END, KEY_END, StoredHead, unpack_end, unpack_head
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.keys import Location, Partition, stream_name, stream_named
from rstore.adapters.redis.node import Request
from rstore.adapters.redis.opened import Opened
from rstore.domain.log import Head, Record
from rstore.domain.paging import within
from rstore.domain.rules import head_then
from rstore.domain.streams import IX, KV, Stream, kind_of

_PAGE: Final = 256
_FIRST_PAGE: Final = 16
_ABOVE: Final = b"\xff"


def newest(opened: Opened, streams: Sequence[Stream], until: int | None) -> list[Record | None]:
    """Return the newest record of each stream, by a time if there is one."""
    locations = list(map(opened.locate, streams))
    if until is not None and len(streams) == 1 and not opened.frozen:  # in one round trip
        records = newest_by_script(opened.servers, locations, until, whole=True)
    else:
        heads = list(map(unpack_head, _packed_heads(opened, locations)))
        earlier = {} if until is None else _earlier(opened, locations, heads, until, whole=True)
        records = [
            earlier[index] if index in earlier else last_of(opened.servers, location, head)
            for index, (location, head) in enumerate(zip(locations, heads, strict=True))
        ]
    return [record and opened.placed(at.partition, record) for at, record in zip(locations, records, strict=True)]


def first_within(opened: Opened, streams: Sequence[Stream], room: int) -> list[Stream]:
    """Return as many streams as have newest records of so many bytes together, and at least one."""
    locations = list(map(opened.locate, streams))
    looks = [Request(at.slot, [(b"GETRANGE", at.head, 0, HEAD_END), (b"STRLEN", at.head)]) for at in locations]
    found = [(unpack_head(packed), length) for packed, length in opened.servers.ask_each(looks)]
    # the newest record of a key is behind its head, that of another stream among its records
    filed = [
        Request(at.slot, [(b"HSTRLEN", at.records, head.newest)])
        for at, (head, length) in zip(locations, found, strict=True)
        if head is not None and length <= HEAD_END + 1
    ]
    lengths = (length for (length,) in opened.servers.ask_each(filed))
    sizes = (0 if head is None else next(lengths) if length <= HEAD_END + 1 else length for head, length in found)
    return next(within(room, zip(streams, sizes, strict=True)))


def heads_of(opened: Opened, locations: Sequence[Location], until: int | None) -> list[Head | None]:
    """Return the heads of streams, as of a time if there is one; None for a stream that is not there then."""
    looks = [Request(at.slot, [(b"GETRANGE", at.head, 0, KEY_END)]) for at in locations]
    texts = [packed for (packed,) in opened.servers.ask_each(looks)]
    heads = [unpack_head(packed and packed[: HEAD_END + 1]) for packed in texts]
    stored = list(zip(locations, heads, map(unpack_end, texts), strict=True))
    if until is None:
        return [head and head.as_head(at.stream, end) for at, head, end in stored]
    earlier = _earlier(opened, locations, heads, until, whole=False)
    return [
        head and _head_then(at.stream, head, end, earlier.get(index, head))
        for index, (at, head, end) in enumerate(stored)
    ]


def _head_then(stream: Stream, head: StoredHead, end: int, newest: StoredHead | Record | None) -> Head | None:
    """Return a head as it was by its newest record of then, if that is not the newest of all."""
    if isinstance(newest, Record):
        return head_then(stream, newest.version, newest.op, newest.end)
    if newest is None or not head.newest:
        return None
    return Head(stream, head.newest, 0, kind_of(stream) not in (KV, IX) or bool(head.live), end=end)


def _earlier(
    opened: Opened, locations: Sequence[Location], heads: Sequence[StoredHead | None], until: int, *, whole: bool
) -> dict[int, Record | None]:
    """Return, of the streams that were written to since a time, the newest record by then, by their number."""
    asked = {
        index: (location, head)
        for index, (location, head) in enumerate(zip(locations, heads, strict=True))
        if head is not None and head.recorded > until
    }
    if opened.frozen:
        return newest_by_reads(opened.servers, asked, until)
    found = newest_by_script(opened.servers, [location for location, _ in asked.values()], until, whole=whole)
    return dict(zip(asked, found, strict=True))


def _packed_heads(opened: Opened, locations: Sequence[Location]) -> list[bytes | None]:
    if len(locations) == 1:
        (at,) = locations
        return opened.servers.at(at.slot).ask((b"GET", at.head))
    if not opened.is_spread:
        (found,) = opened.servers.at(locations[0].slot).ask((b"MGET", *(at.head for at in locations)))
        return list(found)
    # not MGET: while a slot moves to another node, that has to wait until all of it is there
    commands: dict[int, list[Command]] = {}
    for at in locations:
        commands.setdefault(at.slot, []).append((b"GET", at.head))
    answers = opened.servers.ask_each([Request(slot, each) for slot, each in commands.items()])
    heads = dict(zip(commands, map(iter, answers), strict=True))
    return [next(heads[at.slot]) for at in locations]


# -- lists ------------------------------------------------------------------------------------------------------------


def listed(
    opened: Opened, kind: str, prefix: str, *, live: bool, after: str | None, until: int | None
) -> Iterator[Head]:
    """Yield the heads of streams by key, page by page."""
    low, high = _edges(kind, prefix)
    if after is not None and after >= prefix:
        low = b"(" + stream_name(Stream(kind, after))
    listing = _Listing(opened, high, live and until is None, until)
    firsts = listing.pages([(each, low) for each in opened.partitions], _FIRST_PAGE)
    parts = [listing.heads(each, page) for each, page in zip(opened.partitions, firsts, strict=True)]
    heads = merge(*parts, key=attrgetter("stream.key")) if opened.is_spread else parts[0]
    return (head for head in heads if head.live or not live)


def count_live(opened: Opened, kinds: Sequence[str]) -> list[int]:
    edges = list(map(_edges, kinds))
    looks = [Request(at.slot, [(b"ZLEXCOUNT", at.live, *each) for each in edges]) for at in opened.partitions]
    return [sum(map(int, numbers)) for numbers in zip(*opened.servers.ask_each(looks), strict=True)]


def _edges(kind: str, prefix: str = "") -> tuple[bytes, bytes]:
    """Return the lowest name of streams whose key has a prefix, and an edge above all of them."""
    name = stream_name(Stream(kind, prefix))
    return b"[" + name, b"(" + name + _ABOVE


@frozen
class _Listing:
    """The pages of streams by name, up to ``high``, of one or more partitions."""

    opened: Opened
    high: bytes
    live: bool
    until: int | None

    def heads(self, partition: Partition, first: list[tuple[bytes, Head | None]]) -> Iterator[Head]:
        """Yield the heads of a partition, given its first page."""
        page, size = first, _FIRST_PAGE
        while True:
            yield from (head for _, head in page if head is not None)
            if len(page) < size:
                return
            size = _PAGE
            (page,) = self.pages([(partition, b"(" + page[-1][0])], size)

    def pages(self, starts: Sequence[tuple[Partition, bytes]], size: int) -> list[list[tuple[bytes, Head | None]]]:
        """Return a page from each partition and lower edge: names, with heads unless these are gone."""
        rest = self.high, b"BYLEX", b"LIMIT", 0, size
        looks = [
            Request(each.slot, [(b"ZRANGE", each.live if self.live else each.all, low, *rest)]) for each, low in starts
        ]
        found = [(each, names) for (each, _), (names,) in zip(starts, self.opened.servers.ask_each(looks), strict=True)]
        locations = [Location(each, stream_named(name)) for each, names in found for name in names]
        heads = iter(heads_of(self.opened, locations, self.until))
        return [[(name, next(heads)) for name in names] for _, names in found]
