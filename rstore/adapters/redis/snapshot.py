"""A stream as it was when its reader began, read in pages, whatever is written meanwhile.

Reads are plain commands: they need no permission but to read, and lock nothing. While a *generation* lasts, records are
only added, and their versions tell which are new. Each look asks for the stream's head as well. If another generation
has begun, the stream's retired records are those that the rewrite took away.

Rejected: a transaction, or a script. It would have to return everything at once, and needs permissions that a reader
need not have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final, Protocol

from rstore.adapters.redis.codec import (
    HEAD_END,
    SINCE,
    Retired,
    Span,
    StoredHead,
    span_of,
    span_range,
    unpack_head,
    unpack_record,
    unpack_retired,
    unpack_span,
)
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.errors import damaged
from rstore.adapters.redis.keys import Location
from rstore.domain.errors import StoreError
from rstore.domain.log import Query, Record
from rstore.domain.spans import TIME_MIN, ranges
from rstore.domain.streams import KV

_SPANS: Final = 64
_MOST_SPANS: Final = 4096
_TAIL: Final = 256
_MOST_RECORDS: Final = 256
_PAGE_BYTES: Final = 4 << 20


class Owner(Protocol):
    """The server that has the keys of a partition, or what stands for it."""

    def ask(self, *commands: Command) -> list[Any]:
        """Send commands in one go, and return the replies."""


class Snapshot:
    """A stream at the time of a head."""

    def __init__(self, owner: Owner, location: Location, head: StoredHead) -> None:
        self._owner, self._head = owner, head
        self._head_key, self._records_key, self._spans_key = location.current
        self._is_key = location.stream.kind == KV
        self._young, self._old = location.partition.retired(location.stream)
        self._generation: int | None = head.generation
        self._retired: dict[int, Retired] = {}
        # the record in the head is in hand; it is filed when a newer one comes, and must not be found twice
        self._newest_filed = head.version if head.record is None else head.record.version - 1

    def spans(self, start: int, end: int, *, reverse: bool = False) -> Iterator[Span]:
        """Yield the spans that touch ``start..end``, in order of ``(start, version)``."""
        levels = ranges(self._head.levels, start) if self._head.filed else ()
        edges = [span_range(of_level, low, end) for of_level, low in levels]
        pages = self._pages(edges, _SPANS, reverse=reverse)
        parts = [self._along(*each, page, reverse=reverse) for each, page in zip(edges, pages, strict=True)]
        if self._head.record is not None and self._head.record.start <= end:
            parts.append(iter((span_of(self._head.record),)))
        return (span for span in merge(*parts, key=_order, reverse=reverse) if span.end >= start)

    def records(self, versions: Iterable[int], size: int = 1) -> Iterator[Record]:
        """Yield the records of versions. Pages grow from ``size``: a caller pays little for the first record alone."""
        waiting = iter(versions)
        while page := list(islice(waiting, size)):
            packed = self._fetch(page)
            for version in page:
                yield self._unpacked(version, packed)
            size = page_after(size, packed.values())

    def has(self, version: int) -> bool:
        """Tell whether there is a record of a version that is not the newest."""
        return self._fetch([version])[version] is not None

    def matching(self, query: Query, size: int = 1) -> Iterator[Record]:
        """Yield the records that a query matches, in pages that grow from ``size``."""
        found = self.select(query._replace(after=query.above(self._head.died)), size)
        return islice(query.matching(found), query.limit)

    def select(self, query: Query, size: int = 1) -> Iterator[Record]:
        """Yield the records that may match a query, in its order: all that the index can tell is considered."""
        after, until = query.after, query.until
        if after and self._head.version - after <= _TAIL:
            return iter(sorted(query.matching(self._tail(after)), key=_order, reverse=query.reverse))
        start = TIME_MIN if self._is_key else query.start  # the index does not have the spans of values by level
        spans = self.spans(start, query.end, reverse=query.reverse)
        chosen = (span for span in spans if span.version > after and (until is None or span.recorded <= until))
        return self.records((span.version for span in chosen), size)

    def after(self, query: Query) -> list[Record]:
        """Return all records after a version that match a query. Of a short stream the index need not be searched."""
        before = self._head.newest - self._head.filed  # the first version, if none is missing
        if query.after < before and self._head.version - before <= _TAIL and self._head.record is None:
            found = list(self._tail(before))
            if len(found) == self._head.filed:
                return sorted(query.matching(found), key=_order)
        return list(self.select(query))

    def _tail(self, after: int) -> Iterator[Record]:
        """Yield the records after a version that is not far back. Most versions have one, so no index is searched."""
        packed = self._fetch(range(after + 1, self._newest_filed + 1))
        versions = [version for version, found in packed.items() if found]
        if self._head.record is not None and self._head.record.version > after:
            versions.append(self._head.record.version)
        return (self._unpacked(version, packed) for version in versions)

    # -- pages of the index -------------------------------------------------------------------------------------------

    def _along(self, low: bytes, high: bytes, page: list[bytes], *, reverse: bool) -> Iterator[Span]:
        """Yield the spans from one edge to the other, given their first page."""
        size = _SPANS
        while len(page) == size:
            edge = page[-1] if reverse else page[-1] + b"\0"
            if reverse:
                yield from self._between(edge, high, page, reverse=True)
                high = edge
            else:
                yield from self._between(low, edge, page)
                low = edge
            size = min(4 * size, _MOST_SPANS)
            (page,) = self._pages([(low, high)], size, reverse=reverse)
        yield from self._between(low, high, page, reverse=reverse)

    def _between(self, low: bytes, high: bytes, page: list[bytes], *, reverse: bool = False) -> list[Span]:
        """Return the spans that were between two edges when the reader began, given those that are there now."""
        now = map(unpack_span, page)
        kept = [span for span in now if span.version <= self._newest_filed and span.version not in self._retired]
        kept += [retired.span for retired in self._retired.values() if low <= retired.span.packed < high]
        return sorted(kept, key=_order, reverse=reverse)

    def _pages(self, ranges: Sequence[tuple[bytes, bytes]], size: int, *, reverse: bool) -> list[list[bytes]]:
        """Return the first page of each range, in one round trip."""
        if not ranges:
            return []
        commands: list[Command] = []
        for low, high in ranges:
            edges = (b"(" + high, b"[" + low, b"BYLEX", b"REV") if reverse else (b"[" + low, b"(" + high, b"BYLEX")
            commands.append((b"ZRANGE", self._spans_key, *edges, b"LIMIT", 0, size))
        return self._look(*commands)

    # -- records ------------------------------------------------------------------------------------------------------

    def _fetch(self, versions: Collection[int]) -> dict[int, bytes | None]:
        """Return the packed records of versions, without the one in hand; None where there was no record."""
        versions = [version for version in versions if version <= self._newest_filed]
        known = [version for version in versions if version not in self._retired]
        packed: dict[int, bytes | None] = {}
        if known:
            (found,) = self._look((b"HMGET", self._records_key, *known))
            packed = dict(zip(known, found, strict=True))
        return packed | self._fetch_retired([version for version in versions if version in self._retired])

    def _unpacked(self, version: int, packed: dict[int, bytes | None]) -> Record:
        record = self._head.record
        if record is not None and record.version == version:
            return record
        found = packed[version]
        if found is None:
            raise damaged()
        return unpack_record(found)

    def _look(self, *commands: Command) -> list[Any]:
        """Send commands, and see whether another generation began before the replies."""
        *replies, packed = self._owner.ask(*commands, (b"GETRANGE", self._head_key, 0, HEAD_END))
        head = unpack_head(packed)
        generation = head.generation if head else None
        if generation != self._generation:
            self._find_retired()
            self._generation = generation
        return replies

    def _find_retired(self) -> None:
        """Note, for each record that was retired since the reader began, where it is as it was then."""
        # the young ones first: they may become the old ones in between
        keys = self._young, self._old
        replies = self._owner.ask(
            *((verb, key, *rest) for key in keys for verb, *rest in ((b"HGET", SINCE), (b"HKEYS",)))
        )
        since, fields = replies[::2], replies[1::2]
        if not any(each is not None and int.from_bytes(each, "big") <= self._head.generation for each in since):
            raise _retired_too_long()
        for field in {*fields[0], *fields[1]} - {SINCE}:
            retired = unpack_retired(field)
            version = retired.span.version
            if retired.generation > self._head.generation and version <= self._newest_filed:
                self._retired[version] = min(retired, self._retired.get(version, retired))

    def _fetch_retired(self, versions: Collection[int]) -> dict[int, bytes | None]:
        if not versions:
            return {}
        fields = [self._retired[version].field for version in versions]
        found = self._owner.ask((b"HMGET", self._young, *fields), (b"HMGET", self._old, *fields))
        packed = {version: young or old for version, young, old in zip(versions, *found, strict=True)}
        if None in packed.values():
            raise _retired_too_long()
        return packed


def page_after(size: int, packed: Iterable[bytes | None]) -> int:
    """Return how many records to ask for after a page: more, unless they are large."""
    sizes = [len(found) for found in packed if found]
    mean = sum(sizes) // max(len(sizes), 1)
    return max(1, min(4 * size, _MOST_RECORDS, _PAGE_BYTES // max(mean, 1)))


def _order(found: Span | Record) -> tuple[int, int]:
    return found.start, found.version


def _retired_too_long() -> StoreError:
    return StoreError("the stream was erased in the last minutes, while it was being read: read it again")
