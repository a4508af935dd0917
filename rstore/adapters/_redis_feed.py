"""The feed of a partition: its records in the order of their positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rstore.adapters._redis_cluster import Owner
from rstore.adapters._redis_layout import Partition, damaged, stored_number, stream_named, unpack_head, unpack_record
from rstore.adapters._redis_line import Command
from rstore.adapters._redis_snapshot import page_after
from rstore.domain.log import Record, Stream

_FIRST_PAGE: Final = 16


def feed(owner: Owner, home: Partition, after: int, last: int) -> Iterator[tuple[Stream, Record]]:
    """Yield the records of a partition from one position to another, in pages."""
    low, size = b"(%d" % after, _FIRST_PAGE
    while True:
        (entries,) = owner.ask((b"XRANGE", home.feed, low, last, b"COUNT", size))
        places = [_place(words) for _, words in entries]
        records = _records(owner, home, places)
        for (stream, _), record in zip(places, records, strict=True):
            if record is not None:
                yield stream, record
        if len(entries) < size:
            return
        low = b"(" + entries[-1][0]
        size = page_after(size, (record and record.data for record in records))


def _place(words: Sequence[bytes]) -> tuple[Stream, int]:
    """Return what an entry of the feed names: a record's stream and version."""
    if len(words) != 4:
        raise damaged()
    _, name, _, version = words
    return stream_named(name), stored_number(version)


def _records(owner: Owner, home: Partition, places: Sequence[tuple[Stream, int]]) -> list[Record | None]:
    """Return the records of streams and versions; None for one that has just been erased."""
    commands: list[Command] = []
    for stream, version in places:  # the head first: what is no longer there when it is read has been filed
        commands += (b"GET", home.head(stream)), (b"HGET", home.records(stream), version)
    packed = owner.ask(*commands)
    heads, filed = map(unpack_head, packed[::2]), packed[1::2]
    return [
        unpack_record(found) if found else head.record if head and head.newest == version else None
        for (_, version), head, found in zip(places, heads, filed, strict=True)
    ]
