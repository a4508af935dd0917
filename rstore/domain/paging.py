"""Reading much a page at a time, of a number of things or of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from rstore.domain.log import LogReader, Record
from rstore.domain.streams import Stream

T = TypeVar("T")

_PAGE: Final = 256
_PAGE_BYTES: Final = 8 << 20


def newest(log: LogReader, streams: Iterable[Stream]) -> Iterator[Record | None]:
    """Yield the newest record of each stream, of which some megabytes are in memory at a time."""
    for page in pages(streams, _PAGE):
        done = 0
        while done < len(page):
            found = log.last(page[done:], room=_PAGE_BYTES)
            yield from found
            done += len(found)


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


def pages(each: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield so many at a time.

    >>> list(pages('abcde', 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(each)
    while page := list(islice(rest, size)):
        yield page
