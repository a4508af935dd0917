"""Reading much a page at a time, of a number of things or of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from rstore.domain.log import Log, Record
from rstore.domain.streams import Stream

T = TypeVar("T")

_ASKED: Final = 256
_ASKED_BYTES: Final = 8 << 20


def newest(log: Log, streams: Iterable[Stream]) -> Iterator[Record | None]:
    """Yield the newest record of each stream, read as many at once as are some megabytes together."""
    for page in pages(streams, _ASKED):
        for group in within(_ASKED_BYTES, zip(page, log.sizes(page), strict=True)):
            yield from log.last(group)


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
