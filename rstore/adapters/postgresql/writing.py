"""Writes on a connection to PostgreSQL: calls of the functions in ``functions.sql``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial, reduce
from itertools import chain, groupby
from typing import Any, TypeAlias

import psycopg

from rstore.adapters.postgresql import statements as sql
from rstore.adapters.postgresql.arrays import BIGINTS
from rstore.adapters.postgresql.batching import (
    CHUNK_ROWS,
    Chunk,
    checked_size,
    chunked,
    copies_to_restore,
    is_range,
    names_of,
    records_to_put,
    rewrites_to_send,
)
from rstore.adapters.postgresql.server import Connection, Row
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Copy, Entry, Reclaimed, Rewrite
from rstore.domain.paging import pages
from rstore.domain.rules import check_expected, forgets, merged_copies
from rstore.domain.spans import level_of, mask_of
from rstore.domain.streams import Stream

Terms: TypeAlias = tuple[int, bool, str]
"""The first values of every write: the longest wait for a lock in milliseconds, whether it is durable, and where."""


def append_one(db: Connection, terms: Terms, batch: Batch, entry: Entry) -> int:
    """Append a batch of one entry in one round trip."""
    stream, _, recorded, expect, live, replace, if_live = batch
    start, end, *rest = entry
    span = start, end, level_of(stream, start, end), mask_of(stream, start, end)
    checked_size(entry)
    values = (*terms, *stream, expect, live, replace, if_live, recorded, *span, *rest)
    version, conflict = _answered(partial(db.rows, sql.APPEND_ONE, values), [batch])
    if conflict is not None:
        check_expected(batch, version, 0)
    return int(version)


def append(db: Connection, terms: Terms, batches: Sequence[Batch]) -> list[int]:
    """Append batches: in one round trip, or in a transaction if they are too large to be sent at once."""
    # writers that lock streams in the same order can't wait for each other
    chunks = chunked(sorted(batches, key=lambda batch: batch.stream))
    moment = max(batch.recorded for batch in batches)
    first, second = next(chunks), next(chunks, None)
    if second is None:
        found, _ = _append_chunk(first, partial(db.rows, sql.APPEND, (*terms, moment, *first.values())))
    else:
        found = {}
        with db.transaction():
            for versions in _append_chunks(db, terms, moment, chain((first, second), chunks)):
                found |= versions
    return [found[batch.stream] for batch in batches]


def append_pages(db: Connection, terms: Terms, given: Iterable[Sequence[Batch]]) -> None:
    """Append batches that are in the order of their streams, in a transaction. They may be more than memory holds."""
    batches = chain.from_iterable(given)
    first = next(batches, None)
    if first is not None:
        with db.transaction():
            for _ in _append_chunks(db, terms, first.recorded, chunked(chain((first,), batches))):
                pass


def _append_chunks(db: Connection, terms: Terms, moment: int, chunks: Iterable[Chunk]) -> Iterator[dict[Stream, int]]:
    """Append chunks in a transaction, and yield the versions of each. It is made while the server works on another."""
    moments = set()
    with db.pipeline() if psycopg.Pipeline.is_supported() else nullcontext():  # libpq has it since version 14
        for chunk, answer in _answers(db, ((chunk, (*terms, moment, *chunk.values())) for chunk in chunks)):
            versions, recorded = _append_chunk(chunk, answer)
            yield versions
            moments.add(recorded)
    if len(moments) > 1:
        db.execute(sql.REDATE, (terms[-1], max(moments)))


def _answers(
    db: Connection, chunks: Iterable[tuple[Chunk, Sequence[Any]]]
) -> Iterator[tuple[Chunk, Callable[[], list[Row]]]]:
    """Send chunks in a pipeline, and yield each with the call that waits for its answer, once the next one is made."""
    sent = None
    for chunk, values in chunks:
        if sent is not None:
            yield sent
        sent = chunk, db.send(sql.APPEND, values)
    if sent is not None:
        yield sent


def _append_chunk(chunk: Chunk, answer: Callable[[], list[Row]]) -> tuple[dict[Stream, int], int]:
    """Return the versions of a chunk's streams, and the time at which it was recorded."""
    batches = [part.batch for part in chunk.parts]
    versions, conflict, moment = _answered(answer, batches)
    if conflict is not None:
        check_expected(batches[conflict - 1], versions[0], 0)
    return {batch.stream: version for batch, version in zip(batches, versions, strict=True)}, moment


def restore(db: Connection, terms: Terms, copies: Sequence[Copy]) -> None:
    """Keep records as another log has them."""
    heads, _ = merged_copies(copies)
    top = max((copy.version for copy in heads.values()), default=0)
    with db.transaction():
        for values in copies_to_restore(copies):
            db.execute(sql.RESTORE, (*terms, top, *values))


def rewrite(db: Connection, terms: Terms, rewrites: Sequence[Rewrite]) -> Reclaimed:
    """Replace records of streams by others."""
    reclaimed = Reclaimed(0, 0)
    in_order = sorted(rewrites, key=lambda rewrite: rewrite.stream)
    with db.transaction():
        if len(rewrites) > 1 and all(map(forgets, rewrites)):
            db.execute(sql.BEGIN_WRITE, terms[:-1])
            db.execute(sql.HOLD_NAMESPACE, terms[-1:])
            return reduce(Reclaimed.plus, (_forget(db, terms, part) for part in pages(in_order, CHUNK_ROWS)))
        # rewrites that do nothing but drop ranges are sent together
        for _, group in groupby(
            in_order, key=lambda rewrite: (rewrite.put == () and is_range(rewrite.drop)) or id(rewrite)
        ):
            for part in pages(group, CHUNK_ROWS):
                reclaimed = reclaimed.plus(_rewrite(db, terms, part))
    return reclaimed


def _forget(db: Connection, terms: Terms, rewrites: list[Rewrite]) -> Reclaimed:
    """Forget streams with all their records, in a transaction that holds the namespace."""
    found = db.rows(sql.LOCK_STREAMS, (*names_of([rewrite.stream for rewrite in rewrites]), terms[-1]))
    for rewrite, (_, version, floor) in zip(rewrites, found, strict=True):
        check_expected(rewrite, version, floor)
    ids = BIGINTS.of([number for number, _, _ in found if number is not None])
    return Reclaimed._make(*db.rows(sql.FORGET_STREAMS, (ids, ids)))


def _rewrite(db: Connection, terms: Terms, rewrites: list[Rewrite]) -> Reclaimed:
    kept, less = [], 0
    for rewrite in rewrites:
        place = (*terms, *rewrite.stream, rewrite.expect, rewrite.floor)
        for versions, columns in records_to_put(rewrite.stream, rewrite.put):
            head, floor, freed = _answered(partial(db.rows, sql.PUT, (*place, *columns)), [rewrite])
            check_expected(rewrite, head, floor)
            kept += versions
            less += freed
    values = (*terms, *rewrites_to_send(rewrites), kept)
    ((conflict, head, floor, records, freed),) = db.rows(sql.REWRITE, values)
    if conflict is not None:
        check_expected(rewrites[conflict - 1], head, floor)
    return Reclaimed(records, less + freed)


def _answered(answer: Callable[[], list[Row]], writes: Sequence[Batch | Rewrite]) -> Row:
    """Return the row that a function answers."""
    try:
        return answer()[0]
    except psycopg.Error as exc:
        if exc.sqlstate != sql.CONFLICT:
            raise
        number, version = map(int, (exc.diag.message_primary or "").split())
        write = writes[number - 1]
        raise StoreConflictError(*write.stream, write.expect or 0, version) from None
