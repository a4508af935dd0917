"""Reading much a page at a time, of a number of things or of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from rstore.domain.log import Head, LogReader, Record, Replay
from rstore.domain.streams import Stream

T = TypeVar("T")

PAGE: Final = 256
PAGE_BYTES: Final = 8 << 20
RECORD_BYTES: Final = 512
"""About how many bytes a record takes in memory besides its payloads."""


def newest(log: LogReader, streams: Iterable[Stream]) -> Iterator[Record | None]:
    """Yield the newest record of each stream, of which some megabytes are in memory at a time."""
    for page in pages(streams, PAGE):
        done = 0
        while done < len(page):
            found = log.last(page[done:], room=PAGE_BYTES)
            yield from found
            done += len(found)


def listed(
    page: Callable[[str, bool], Sequence[Head]], prefix: str, after: str | None, *, live: bool
) -> Iterator[Head]:
    """Yield the heads of streams whose keys begin with a prefix, from their pages.

    Args:
        page: returns the next :data:`PAGE` heads, by their keys. It begins with the key that it gets, or after that
            key if its second argument is true.
        after: the key to go on from, if there is one.
        live: whether only those that live are wanted.
    """
    low, is_after = prefix, False
    if after is not None and after >= prefix:
        low, is_after = after, True
    while True:
        heads = page(low, is_after)
        for head in heads:
            if not head.stream.key.startswith(prefix):
                return
            if head.live or not live:
                yield head
        if len(heads) < PAGE:
            return
        low, is_after = heads[-1].stream.key, True


def fitting(room: int | None, replays: Iterable[Replay | None]) -> list[Replay | None]:
    """Return the first replays, up to the one that fills so many bytes of memory; all if there is no limit.

    >>> fitting(0, [None, None]), fitting(None, [None, None])
    ([None], [None, None])
    """
    found, taken = list[Replay | None](), 0
    for replay in replays:
        found.append(replay)
        taken += size_of(replay)
        if room is not None and taken >= room:
            break
    return found


def size_of(replay: Replay | None) -> int:
    """Return about how many bytes the records of a replay take in memory."""
    records = () if replay is None else filter(None, (replay.snapshot, *replay.records))
    return sum(RECORD_BYTES + len(record.data) + len(record.meta or b"") for record in records)


def within(most: int, sized: Iterable[tuple[T, int]]) -> Iterator[list[T]]:
    """Yield as many at a time as have some size together, or a single one that has more.

    >>> list(within(10, [('a', 5), ('b', 5), ('c', 1), ('d', 20)]))
    [['a', 'b'], ['c'], ['d']]
    """
    group, room = list[T](), most
    for each, size in sized:
        if group and size > room:
            yield group
            group, room = [], most
        group.append(each)
        room -= size
    if group:
        yield group


def pages(each: Iterable[T], size: int, first: int | None = None) -> Iterator[list[T]]:
    """Yield so many at a time. Pages grow from ``first``, if it is given: a caller pays little for the first alone.

    >>> list(pages('abcde', 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    >>> list(pages('abcdefghij', 4, first=1))
    [['a'], ['b', 'c'], ['d', 'e', 'f', 'g'], ['h', 'i', 'j']]
    """
    rest, now = iter(each), first or size
    while page := list(islice(rest, now)):
        yield page
        now = min(2 * now, size)
