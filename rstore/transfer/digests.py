"""The contents of a namespace as one number: the same on every backend, and after every copy."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import takewhile
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.domain.log import Head, LogReader, Position, Record
from rstore.domain.paging import newest, pages
from rstore.domain.streams import COPY, DELIVER, DUE, ES, KEYS, KV, PROJECT, SKIPPED, SS, TS, Stream, kind_of
from rstore.encoding.sealing import Sealer
from rstore.progress import Steps

KINDS: Final = (KV, TS, ES)
"""The kinds of streams whose heads are copied. Heads of other kinds follow from their records."""

_NOT_COPIED: Final = (SS, COPY, PROJECT, SKIPPED, DELIVER, DUE, KEYS)
"""Kinds that are not copied: snapshots are made anew, another log has its own positions and its own keys."""

_PAGE: Final = 256
_HASH_BYTES: Final = 32
_MODULUS: Final = 1 << 8 * _HASH_BYTES

_Found: TypeAlias = tuple[Position, Stream, Record]
_Contents: TypeAlias = Callable[[Stream, Record], tuple[Any, ...]]
"""Returns the part of a record's payloads that counts."""


class Digest(NamedTuple):
    """The contents of a namespace: the number of ``records``, and the ``sha`` of all records and heads, in hex.

    It does not depend on the backend, the namespace's name, or the order in which different streams were written to.
    """

    records: int
    sha: str


def copied_records(log: LogReader, after: Position | None) -> Iterator[_Found]:
    """Yield the records after a position that a copy includes."""
    return (found for found in log.follow(after) if kind_of(found[1]) not in _NOT_COPIED)


def heads_of(log: LogReader) -> Iterator[Head]:
    """Yield the heads that a copy includes."""
    for kind in KINDS:
        yield from log.heads(kind, live=False)


def pages_of_heads(log: LogReader) -> Iterator[list[Head]]:
    """Yield the same heads page by page."""
    return pages(heads_of(log), _PAGE)


def is_behind(log: LogReader, heads: Iterable[Head], position: Position | None) -> bool:
    """Return whether streams have records after a position, even if ``follow`` does not show them yet.

    On PostgreSQL, ``follow`` hides records as long as any transaction is open that began before them.
    """
    found = filter(None, newest(log, (head.stream for head in heads)))
    return any(position is None or record.position > position for record in found)


class Tally:
    """A sum of records and heads by kind, in constant memory. Their order does not matter."""

    def __init__(self, contents: _Contents | None = None) -> None:
        """Take a function that returns the part of a record's payloads that counts; by default their bytes."""
        self._contents = contents or _sealed
        self._sums: defaultdict[str, int] = defaultdict(int)
        self.records = 0

    def add(self, stream: Stream, record: Record) -> None:
        """Add a record, without its position."""
        version, _, recorded, start, end, item, op, *_ = record
        fields = (*stream, version, recorded, start, end, item, op, *self._contents(stream, record))
        self._add(stream, "record", fields)
        self.records += 1

    def add_head(self, stream: Stream, version: int, live: bool) -> None:
        """Add the head of a stream: its version, and whether it is live."""
        self._add(stream, "head", (*stream, version, int(live)))

    def _add(self, stream: Stream, part: str, fields: tuple[Any, ...]) -> None:
        hashed = blake2b(b"".join(map(_packed, (part, *fields))), digest_size=_HASH_BYTES)
        kind = kind_of(stream)
        self._sums[kind] = (self._sums[kind] + int.from_bytes(hashed.digest())) % _MODULUS

    def digest(self) -> Digest:
        """Return the sum of everything that was added."""
        return Digest(self.records, f"{sum(self._sums.values()) % _MODULUS:064x}")

    def differing(self, other: Tally) -> list[str]:
        """Return the kinds of streams in which both sums differ."""
        return sorted(kind for kind in {*self._sums, *other._sums} if self._sums[kind] != other._sums[kind])


def tally(
    log: LogReader,
    *,
    contents: _Contents | None = None,
    until: Position | None = None,
    steps: Steps | None = None,
) -> Tally:
    """Return the sum of everything that a copy of a log includes, up to the record at a position."""
    done = Tally(contents)
    found = takewhile(lambda found: until is None or not found[0] > until, copied_records(log, None))
    for _, stream, record in (steps or Steps(None)).counted(found):
        done.add(stream, record)
    for head in heads_of(log):
        done.add_head(head.stream, head.version, head.live)
    return done


def opened_by(sealer: Sealer) -> _Contents:
    """Return a function that opens payloads, so that records count by their contents, however they are sealed."""

    def contents(stream: Stream, record: Record) -> tuple[Any, ...]:
        body, note = sealer.opened(stream, record)
        return (*body, *(note or (None,)))

    return contents


def _sealed(_: Stream, record: Record) -> tuple[Any, ...]:
    return record.data, record.meta


def _packed(field: int | str | bytes | None) -> bytes:
    """Return a field as bytes, so that different rows of fields never have the same bytes."""
    if field is None:
        return b"n"
    if isinstance(field, int):
        return struct.pack("<cq", b"i", field)
    data = field.encode() if isinstance(field, str) else field
    return struct.pack("<cQ", b"t" if isinstance(field, str) else b"b", len(data)) + data
