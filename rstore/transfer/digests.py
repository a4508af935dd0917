"""What a namespace holds, as one number: the same on every backend, and after every copy."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.domain.log import Head, LogReader, Position, Record
from rstore.domain.paging import newest, pages
from rstore.domain.streams import COPY, ES, KEYS, KV, PROJECT, SKIPPED, SS, TS, Stream, kind_of
from rstore.encoding.sealing import Sealer
from rstore.progress import Steps

KINDS: Final = (KV, TS, ES)
"""The kinds of streams that have heads of their own. Those of others follow from their records."""

_LEFT: Final = (SS, COPY, PROJECT, SKIPPED, KEYS)
"""Kinds that are not copied: snapshots are made anew, positions mean nothing in another log, which has its own keys."""

_PAGE: Final = 256
_HASH_BYTES: Final = 32
_MODULUS: Final = 1 << 8 * _HASH_BYTES

_Found: TypeAlias = tuple[Position, Stream, Record]
_Contents: TypeAlias = Callable[[Stream, Record], tuple[Any, ...]]
"""Returns what counts of a record's payloads."""


class Digest(NamedTuple):
    """What a namespace holds: how many ``records``, and the ``sha`` of all of them and of all heads, in hex.

    It does not depend on the backend, the namespace's name, or the order in which different streams were written to.
    """

    records: int
    sha: str


def moved(log: LogReader, after: Position | None) -> Iterator[_Found]:
    """Yield what a copy takes along of what comes after a position."""
    return (found for found in log.follow(after) if found[1].kind not in _LEFT)


def heads_of(log: LogReader) -> Iterator[Head]:
    """Yield the heads that a copy takes along."""
    for kind in KINDS:
        yield from log.heads(kind, live=False)


def pages_of_heads(log: LogReader) -> Iterator[list[Head]]:
    """Yield the same, some at a time."""
    return pages(heads_of(log), _PAGE)


def is_behind(log: LogReader, heads: Iterable[Head], position: Position | None) -> bool:
    """Tell whether streams have records after a position, also such as ``follow`` does not show yet.

    On PostgreSQL it does not, as long as any writer is in progress that began before them.
    """
    found = filter(None, newest(log, (head.stream for head in heads)))
    return any(position is None or record.position > position for record in found)


class Tally:
    """A sum over records and heads, by kind: of sets, so that their order does not matter, in constant memory."""

    def __init__(self, contents: _Contents | None = None) -> None:
        """Take what counts of a record's payloads: as a default, their bytes."""
        self._contents = contents or _sealed
        self._sums: defaultdict[str, int] = defaultdict(int)
        self.records = 0

    def add(self, stream: Stream, record: Record) -> None:
        """Count a record, without its position."""
        version, _, recorded, start, end, item, op, *_ = record
        fields = (*stream, version, recorded, start, end, item, op, *self._contents(stream, record))
        self._add(stream, "record", fields)
        self.records += 1

    def add_head(self, stream: Stream, version: int, live: bool) -> None:
        """Count where a stream stands, and whether it lives."""
        self._add(stream, "head", (*stream, version, int(live)))

    def _add(self, stream: Stream, what: str, fields: tuple[Any, ...]) -> None:
        hashed = blake2b(b"".join(map(_packed, (what, *fields))), digest_size=_HASH_BYTES)
        kind = kind_of(stream)
        self._sums[kind] = (self._sums[kind] + int.from_bytes(hashed.digest())) % _MODULUS

    def digest(self) -> Digest:
        """Return what was counted."""
        return Digest(self.records, f"{sum(self._sums.values()) % _MODULUS:064x}")

    def differing(self, other: Tally) -> list[str]:
        """Return the kinds of streams that are not the same in both."""
        return sorted(kind for kind in {*self._sums, *other._sums} if self._sums[kind] != other._sums[kind])


def tally(
    log: LogReader,
    *,
    contents: _Contents | None = None,
    until: Position | None = None,
    steps: Steps | None = None,
) -> Tally:
    """Return the sum of all that a copy takes along of a log, up to the record at a position."""
    done = Tally(contents)
    for position, stream, record in moved(log, None):
        if until is not None and position > until:
            break
        done.add(stream, record)
        if steps is not None:
            steps.step()
    if steps is not None:
        steps.report()
    for head in heads_of(log):
        done.add_head(head.stream, head.version, head.live)
    return done


def opened_by(sealer: Sealer) -> _Contents:
    """Return what makes records count by what is in their payloads, however those are sealed."""

    def contents(stream: Stream, record: Record) -> tuple[Any, ...]:
        body, note = sealer.opened(stream, record)
        return (*body, *(note or (None,)))

    return contents


def _sealed(_: Stream, record: Record) -> tuple[Any, ...]:
    return record.data, record.meta


def _packed(field: int | str | bytes | None) -> bytes:
    """Return a field so that no two rows of fields are the same bytes."""
    if field is None:
        return b"n"
    if isinstance(field, int):
        return struct.pack("<cq", b"i", field)
    data = field.encode() if isinstance(field, str) else field
    return struct.pack("<cQ", b"t" if isinstance(field, str) else b"b", len(data)) + data
