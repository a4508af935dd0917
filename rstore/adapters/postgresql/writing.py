"""Writes on a connection to PostgreSQL: calls of the functions in ``functions.sql``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain, groupby
from typing import Any, TypeAlias

import psycopg

from rstore.adapters.postgresql import statements as sql
from rstore.adapters.postgresql.batching import Chunk, checked_size, chunked, copies_to_restore, records_to_put
from rstore.adapters.postgresql.server import Connection, Row
from rstore.domain.errors import StoreConflictError
from rstore.domain.log import Batch, Copy, Entry, Reclaimed, Rewrite
from rstore.domain.rules import check_expected, merged_copies
from rstore.domain.spans import bit, level_of
from rstore.domain.streams import Stream

Terms: TypeAlias = tuple[int, bool, str]
"""The first values of every write: the longest wait for a lock in milliseconds, whether it is durable, and where."""


def append_one(db: Connection, terms: Terms, batch: Batch, entry: Entry) -> int:
    """Append a batch of one entry in one round trip."""
    stream, _, recorded, expect, live, replace, if_live = batch
    start, end, *rest = entry
    level = level_of(stream, start, end)
    checked_size(entry)
    values = (*terms, *stream, expect, live, replace, if_live, recorded, start, end, level, bit(level), *rest)
    version, conflict = _called(db, sql.APPEND_ONE, values, [batch])
    if conflict is not None:
        check_expected(batch, version, 0)
    return int(version)


def append(db: Connection, terms: Terms, batches: Sequence[Batch]) -> list[int]:
    """Append batches: in one round trip, or in a transaction if they are too large to be sent at once."""
    # writers that lock streams in the same order can't wait for each other
    chunks = chunked(sorted(batches, key=lambda batch: batch.stream))
    first, second = next(chunks), next(chunks, None)
    if second is None:
        found = _append_chunk(db, terms, first)
    else:
        found = {}
        with db.transaction():
            moment = _latest(db, terms, batches)
            for chunk in chain((first, second), chunks):
                found |= _append_chunk(db, terms, chunk.recorded_at(moment))
    return [found[batch.stream] for batch in batches]


def _latest(db: Connection, terms: Terms, batches: Sequence[Batch]) -> int:
    """Lock the streams of batches, and return when all of them are recorded: no earlier than any record there."""
    streams = sorted(batch.stream for batch in batches)
    ((moment,),) = db.rows(sql.LATEST, (*terms, *names_of(streams)))
    times = [batch.recorded for batch in batches]
    return max(times if moment is None else [*times, moment])


def _append_chunk(db: Connection, terms: Terms, chunk: Chunk) -> dict[Stream, int]:
    batches = [part.batch for part in chunk.parts]
    versions, conflict = _called(db, sql.APPEND, (*terms, *chunk.values()), batches)
    if conflict is not None:
        check_expected(batches[conflict - 1], versions[0], 0)
    return {batch.stream: version for batch, version in zip(batches, versions, strict=True)}


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
        # rewrites that put nothing are sent together
        for _, group in groupby(in_order, key=lambda rewrite: rewrite.put == () or id(rewrite)):
            reclaimed = reclaimed.plus(_rewrite(db, terms, list(group)))
    return reclaimed


def _rewrite(db: Connection, terms: Terms, rewrites: list[Rewrite]) -> Reclaimed:
    values, less = [], 0
    for rewrite in rewrites:
        stream, expect, drop, put, live, bump_version, expect_floor = rewrite
        place = (*terms, *stream, expect, expect_floor)
        kept: list[int] = []
        for versions, columns in records_to_put(stream, put):
            head, floor, freed = _called(db, sql.PUT, (*place, *columns), [rewrite])
            check_expected(rewrite, head, floor)
            kept += versions
            less += freed
        values.append((*place, *_among(drop), kept, live, bump_version))
    reclaimed = Reclaimed(0, less)
    for rewrite, (head, floor, records, freed) in zip(rewrites, db.rows_of_each(sql.REWRITE, values), strict=True):
        check_expected(rewrite, head, floor)
        reclaimed = reclaimed.plus(Reclaimed(records, freed))
    return reclaimed


def names_of(streams: Sequence[Stream]) -> tuple[list[str], list[str]]:
    """Return streams as the arrays of their kinds and keys."""
    return [stream.kind for stream in streams], [stream.key for stream in streams]


def _called(db: Connection, statement: str, values: Sequence[Any], writes: Sequence[Batch | Rewrite]) -> Row:
    """Call a function that writes, and return its row."""
    try:
        return db.rows(statement, values)[0]
    except psycopg.Error as exc:
        if exc.sqlstate != sql.CONFLICT:
            raise
        number, version = map(int, (exc.diag.message_primary or "").split())
        write = writes[number - 1]
        raise StoreConflictError(*write.stream, write.expect or 0, version) from None


def _among(versions: Collection[int]) -> tuple[int | None, int | None, list[int] | None]:
    """Return versions as ``rstore.rewrite`` takes them: the lowest and the one after the highest, or all of them."""
    if isinstance(versions, range) and versions.step == 1:
        return versions.start, versions.stop, None
    return None, None, list(versions)
