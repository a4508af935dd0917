"""The keys of a namespace, as a tree: a level at a time, or those that match a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Final, NamedTuple

from attrs import frozen

from rstore.core import Reading, reading_of
from rstore.domain.log import Head
from rstore.domain.names import check_name
from rstore.domain.patterns import pattern_of
from rstore.domain.rules import is_there
from rstore.domain.streams import ES, KV, TS
from rstore.web.asked import Asked
from rstore.web.timing import Timing, timing_of_namespace

_KINDS: Final = (KV, TS, ES)
_SEPARATOR: Final = re.compile("[/:]")
_PAGE: Final = 100
_LAST: Final = "\U0010ffff"
_COMPARED: Final = 20_000
"""So many keys of a kind are compared with a pattern for one page. The next page goes on from there."""


@frozen
class Item:
    """A key, or the beginning of several keys.

    Attributes:
        name: the key, or the beginning of keys, with the separator at its end.
        kinds: those of the key; empty for the beginning of keys.
        is_live: whether one of them lives.
    """

    name: str
    kinds: Sequence[str]
    is_live: bool


@frozen
class Browse:
    """A page of keys.

    Attributes:
        prefix: that of all keys here.
        parents: its beginnings that are levels of the tree, the shortest first.
        find: the pattern that keys have to match; empty for all.
        kind: the only kind that is listed; empty for all.
        deleted: whether deleted keys are listed, too.
        items: the keys, and the beginnings of keys, in code-point order.
        more: the name after which the next page begins; None if this is the last one. A page may have few items, or
            none, and yet a next one: no more keys were compared with the pattern than these.
    """

    prefix: str
    parents: Sequence[str]
    find: str
    kind: str
    deleted: bool
    items: Sequence[Item]
    more: str | None
    timing: Timing


def page(asked: Asked) -> Browse:
    """Return the model of the page."""
    query = asked.query
    prefix, find, kind = (check_name(word, query.get(word, "")) for word in ("prefix", "find", "kind"))
    if kind and kind not in _KINDS:
        raise ValueError(f"a kind is {', '.join(_KINDS)}, not {kind[:60]!r}")
    listing = _Listing(reading_of(asked.view), prefix, query.get("after") or None, bool(query.get("deleted")), [])
    listed = (listing.matching(each, find) if find else listing.level(each) for each in ([kind] if kind else _KINDS))
    groups = islice(groupby(merge(*listed), itemgetter(0)), _PAGE + 1)
    together = [_together(name, list(items)) for name, items in groups]
    items, more = _cut(together, min(listing.stops, default=None))
    return Browse(prefix, _parents(prefix), find, kind, listing.deleted, items, more, timing_of_namespace(asked))


class _Listing(NamedTuple):
    """Lists keys of one kind as ``(name, kind, is_live)``."""

    core: Reading
    prefix: str
    after: str | None
    deleted: bool
    stops: list[str]
    """The last keys that were compared with a pattern, of the kinds that have more keys."""

    def level(self, kind: str) -> Iterator[tuple[str, str, bool]]:
        """Yield the keys at this level of the tree, and the levels below it, as names without a kind."""
        begun, last = len(self.prefix), self.after
        after = last + _LAST if last and _SEPARATOR.search(last, begun) else last
        while (head := next(self._heads(kind, self.prefix, after), None)) is not None:
            after = key = head.stream.key
            cut = _SEPARATOR.search(key, begun)
            name = key[: cut.end()] if cut else key
            if cut:
                after = max(name + _LAST, key)
            if name != last:  # a key may begin with the last character that there is
                yield name, "" if cut else kind, bool(cut) or self._is_there(head)
            last = name

    def matching(self, kind: str, find: str) -> Iterator[tuple[str, str, bool]]:
        """Yield the keys that match a pattern."""
        pattern = pattern_of(find)
        prefix = max(pattern.prefix, self.prefix, key=len)
        last = None
        for number, head in enumerate(self._heads(kind, prefix, self.after)):
            if last is not None and number == _COMPARED:
                self.stops.append(last)
                return
            last = head.stream.key
            if pattern.matches(last):
                yield last, kind, self._is_there(head)

    def _heads(self, kind: str, prefix: str, after: str | None) -> Iterator[Head]:
        heads = self.core.log.heads(kind, prefix, live=not self.deleted, after=after)
        return (head for head in heads if self.deleted or self._is_there(head))

    def _is_there(self, head: Head) -> bool:
        return is_there(head, self.core.moment())


def _cut(items: Sequence[Item], stop: str | None) -> tuple[Sequence[Item], str | None]:
    """Return the items of a page, and the name after which the next one begins.

    Behind the key at which one kind stopped, only the other kinds are known.
    """
    known = items if stop is None else [item for item in items if item.name <= stop]
    return known[:_PAGE], known[_PAGE - 1].name if len(known) > _PAGE else stop


def _together(name: str, items: Sequence[tuple[str, str, bool]]) -> Item:
    """Return the item of a name that several kinds may have."""
    return Item(name, [kind for _, kind, _ in items if kind], any(is_live for *_, is_live in items))


def _parents(prefix: str) -> list[str]:
    """Return the levels above a prefix, and itself.

    >>> _parents('a/b:c')
    ['a/', 'a/b:']
    """
    return [prefix[: found.end()] for found in _SEPARATOR.finditer(prefix)]
