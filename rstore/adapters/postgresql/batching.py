"""The parts in which a write is sent: entries or records as arrays, a few megabytes at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, TypeGuard

from attrs import Factory, define

from rstore.adapters.postgresql.arrays import BIGINTS, BOOLEANS, BYTEAS, TEXTS, Array, Column
from rstore.adapters.postgresql.server import Row
from rstore.adapters.postgresql.statements import CHUNK_BYTES
from rstore.domain.errors import StoreError
from rstore.domain.log import Batch, Copy, Entry, Record, Rewrite
from rstore.domain.rules import merged_copies
from rstore.domain.spans import level_of, mask_of
from rstore.domain.streams import Stream

CHUNK_ROWS: Final = 4096
_PAYLOAD: Final = (TEXTS, TEXTS, BYTEAS, BYTEAS)
_APPENDED: Final = (*[BIGINTS] * 5, *_PAYLOAD)
_COPIED: Final = (*[BIGINTS] * 7, *_PAYLOAD)
_LARGEST: Final = 511 << 20
"""A row of 1 GB can be stored, but not backed up: pg_dump asks for text, which has twice as many bytes."""


@define
class Part:
    """The entries of a batch in one chunk. ``goes_on`` says that the chunk before has more of the same batch."""

    batch: Batch
    goes_on: bool
    live: bool
    count: int = 0
    mask: int = 0
    largest: int = 0


@define
class Chunk:
    """The part of an append that is sent at once: parts of batches, and the rows of their entries."""

    parts: list[Part] = Factory(list)
    rows: list[Row] = Factory(list)
    size: int = 0

    def begin(self, batch: Batch, *, goes_on: bool) -> None:
        self.parts.append(Part(batch, goes_on, batch.live))

    def add(self, entry: Entry) -> None:
        part = self.parts[-1]
        start, end, *rest = entry
        of_level = level_of(part.batch.stream, start, end)
        part.count += 1
        part.mask |= mask_of(part.batch.stream, start, end)
        part.largest = max(part.largest, checked_size(entry))
        self.rows.append((len(self.parts), part.count, start, end, of_level, *rest))
        self.size += len(entry.data)

    def is_full(self) -> bool:
        return self.size > CHUNK_BYTES or len(self.rows) >= CHUNK_ROWS

    def values(self) -> list[Array]:
        """Return the arguments of ``APPEND`` after the time."""
        batches = [part.batch for part in self.parts]
        return [
            *names_of([batch.stream for batch in batches]),
            BIGINTS.of([None if part.goes_on else part.batch.expect for part in self.parts]),
            BOOLEANS.of([part.live for part in self.parts]),
            BOOLEANS.of([batch.replace for batch in batches]),
            BOOLEANS.of([batch.if_live for batch in batches]),
            BOOLEANS.of([part.goes_on for part in self.parts]),
            BIGINTS.of([part.mask for part in self.parts]),
            BIGINTS.of([part.count for part in self.parts]),
            BIGINTS.of([part.largest for part in self.parts]),
            *_columns(self.rows, _APPENDED),
        ]


def chunked(batches: Iterable[Batch]) -> Iterator[Chunk]:
    """Yield batches in chunks. A batch that goes on in the next chunk leaves its stream live until it ends."""
    chunk = Chunk()
    for batch in batches:
        chunk.begin(batch, goes_on=False)
        for entry in batch.entries:
            if chunk.is_full():
                chunk.parts[-1].live = True
                yield chunk
                chunk = Chunk()
                chunk.begin(batch, goes_on=True)
            chunk.add(entry)
    if chunk.parts:
        yield chunk


def records_to_put(stream: Stream, records: Iterable[Record]) -> Iterator[tuple[list[int], list[Any]]]:
    """Yield versions of records, and values for ``PUT``, as many as are sent at once."""
    rows: list[Row] = []
    size = mask = 0

    def packed() -> tuple[list[int], list[Any]]:
        return [row[0] for row in rows], [mask, *_columns(rows, _APPENDED)]

    for version, _, recorded, start, end, *rest in records:
        of_level = level_of(stream, start, end)
        rows.append((version, recorded, start, end, of_level, *rest))
        mask |= mask_of(stream, start, end)
        size += len(rows[-1][7])
        if size > CHUNK_BYTES or len(rows) >= CHUNK_ROWS:
            yield packed()
            rows, size = [], 0
    if rows:
        yield packed()


def is_range(versions: Collection[int]) -> TypeGuard[range]:
    return isinstance(versions, range) and versions.step == 1


def rewrites_to_send(rewrites: Sequence[Rewrite]) -> list[Any]:
    """Return the arguments of ``REWRITE`` before the versions to put. A rewrite that drops no range comes alone."""
    drops = [rewrite.drop if is_range(rewrite.drop) else range(0) for rewrite in rewrites]
    listed = None if is_range(rewrites[0].drop) else list(rewrites[0].drop)
    return [
        *names_of([rewrite.stream for rewrite in rewrites]),
        BIGINTS.of([rewrite.expect for rewrite in rewrites]),
        BIGINTS.of([rewrite.floor for rewrite in rewrites]),
        BIGINTS.of([drop.start for drop in drops]),
        BIGINTS.of([drop.stop for drop in drops]),
        BOOLEANS.of([rewrite.live for rewrite in rewrites]),
        BOOLEANS.of([rewrite.bump_version for rewrite in rewrites]),
        listed,
    ]


def copies_to_restore(copies: Iterable[Copy]) -> Iterator[list[Array]]:
    """Yield values for ``RESTORE``, for as many copies and records as are sent at once.

    Raises:
        ValueError, StoreError: see :func:`merged_copies`.
    """
    part: list[Copy] = []
    size = number = 0
    for stream, version, live, died, records in copies:
        cut = 0
        for end, record in enumerate(records, 1):
            size += checked_size(record)
            if size > CHUNK_BYTES or number + end - cut >= CHUNK_ROWS:
                yield _restored([*part, Copy(stream, record.version, True, 0, records[cut:end])])
                part, size, number, cut = [], 0, 0, end
        part.append(Copy(stream, version, live, died, records[cut:]))
        number += len(records) - cut + 1
    if part:
        yield _restored(part)


def _restored(copies: Sequence[Copy]) -> list[Array]:
    heads, records = merged_copies(copies)
    places = {stream: place for place, stream in enumerate(sorted(heads), 1)}
    of_streams = [(*stream, heads[stream].version, heads[stream].live, heads[stream].died) for stream in places]
    rows = []
    for stream, (version, _, recorded, start, end, *rest) in records:
        span = start, end, level_of(stream, start, end), mask_of(stream, start, end)
        rows.append((places[stream], version, recorded, *span, *rest))
    return [*_columns(of_streams, (TEXTS, TEXTS, BIGINTS, BOOLEANS, BIGINTS)), *_columns(rows, _COPIED)]


def names_of(streams: Sequence[Stream]) -> tuple[Array, Array]:
    """Return streams as the arrays of their kinds and keys."""
    return TEXTS.of([stream.kind for stream in streams]), TEXTS.of([stream.key for stream in streams])


def _columns(rows: Sequence[Row], types: Sequence[Column]) -> list[Array]:
    columns = zip(*rows, strict=True) if rows else [()] * len(types)
    return [of_type.of(column) for of_type, column in zip(types, columns, strict=True)]


def checked_size(entry: Entry | Record) -> int:
    """Return the bytes of an entry's payload, or raise if they are too many."""
    size = len(entry.data)
    if size > _LARGEST:
        raise StoreError(
            f"a value of {size:,} bytes is larger than PostgreSQL can back up ({_LARGEST:,}); nothing was stored"
        )
    return size
