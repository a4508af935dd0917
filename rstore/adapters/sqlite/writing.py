"""Writes on a connection to a SQLite file, each within a transaction of its caller."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from rstore.adapters.sqlite import statements as sql
from rstore.adapters.sqlite.file import Connection
from rstore.adapters.sqlite.reading import StreamRow, find
from rstore.domain.log import Batch, Copy, Reclaimed, Rewrite
from rstore.domain.rules import check_expected, merged_copies
from rstore.domain.spans import bit, level_of
from rstore.domain.streams import Stream


def append_one(db: Connection, batch: Batch) -> int | None:
    """Append a single entry in one statement; return None if that can't be, or if there is a conflict.

    It can't be where the stream has to be changed as well.
    """
    stream, (entry,), recorded, expect, *_ = batch
    values = (db.namespace, *stream, expect, level_of(stream, entry.start, entry.end), recorded, *entry)
    row = db.execute(sql.APPEND_ONE, dict(zip(sql.APPEND_ONE_NAMES, values, strict=True))).fetchall()
    return row[0][0] if row else None


def append(db: Connection, batches: Sequence[Batch], floor: int) -> list[int]:
    """Append batches; new streams begin above the floor."""
    found = [find(db, batch.stream) for batch in batches]
    for batch, row in zip(batches, found, strict=True):
        _expect(batch, row)
    lasts = (row.recorded for row in found if row is not None and row.recorded is not None)
    recorded = max(chain((batch.recorded for batch in batches), lasts), default=0)
    born: Counter[str] = Counter()
    versions = [
        _append_batch(db, batch._replace(recorded=recorded), row, floor, born)
        for batch, row in zip(batches, found, strict=True)
    ]
    _count(db, born)
    return versions


def _append_batch(db: Connection, batch: Batch, row: StreamRow | None, floor: int, born: Counter[str]) -> int:
    """Append a batch to a stream, and add to ``born`` whether the stream's life begins or ends."""
    if batch.if_live and not (row and row.live):
        return row.version if row else 0
    row = row or _create_stream(db, batch.stream, floor)
    levels, version = row.levels, row.version
    if batch.replace:
        db.execute(sql.DELETE_ALL, (row.id,))

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal levels, version
        for start, end, *rest in batch.entries:
            of_level = level_of(batch.stream, start, end)
            levels |= bit(of_level)
            version += 1
            yield (row.id, version, batch.recorded, start, end, of_level, *rest)

    db.executemany(sql.INSERT, rows())
    floor = version if batch.replace else row.floor
    died = row.died if batch.live else version
    if (batch.live, levels, floor, died) != (row.live, row.levels, row.floor, row.died):
        db.execute(sql.CHANGE_STREAM, (batch.live, levels, floor, died, row.id))
        born[batch.stream.kind] += batch.live - row.live
    return version


def restore(db: Connection, copies: Sequence[Copy]) -> None:
    """Keep records as another log has them."""
    heads, records = merged_copies(copies)
    # a new stream begins at version 0, whatever the namespace's floor is: versions come from elsewhere
    known = {stream: find(db, stream) or _create_stream(db, stream, 0) for stream in heads}
    levels = {stream: row.levels for stream, row in known.items()}
    missing = []
    for stream, (version, _, recorded, start, end, *rest) in records:
        if version > known[stream].version:
            of_level = level_of(stream, start, end)
            levels[stream] |= bit(of_level)
            missing.append((known[stream].id, version, recorded, start, end, of_level, *rest))
    db.executemany(sql.INSERT, missing)
    born: Counter[str] = Counter()
    for stream, copy in heads.items():
        row = known[stream]
        if copy.version >= row.version:
            floor = row.floor if copy.version == row.version else copy.version
            db.execute(sql.CHANGE_STREAM, (copy.live, levels[stream], floor, copy.died, row.id))
            born[stream.kind] += copy.live - row.live
    _count(db, born)


def rewrite_stream(db: Connection, rewrite: Rewrite) -> Reclaimed:
    """Replace records of a stream by others."""
    row = find(db, rewrite.stream)
    _expect(rewrite, row)
    if row is None:
        return Reclaimed(0, 0)
    dropped, versions = _among(rewrite.drop)
    records, size = db.execute(sql.SIZE + dropped, (row.id, *versions)).fetchone()
    live = row.live if rewrite.live is None else rewrite.live
    if not records and live == row.live and (live or _has_records(db, row)):
        return Reclaimed(0, 0)
    levels, kept = row.levels, []
    for record in rewrite.put:
        of_level = level_of(rewrite.stream, record.start, record.end)
        places = (record.recorded, record.start, record.end, of_level, *record[5:])
        # a record that was erased does not come back
        if db.execute(sql.REPLACE, (*places, row.id, record.version)).rowcount:
            levels |= bit(of_level)
            kept.append(record.version)
            size -= len(record.data)
    db.execute(sql.DELETE + dropped, (row.id, json.dumps(kept), *versions))
    version = row.version + rewrite.bump_version
    if live or _has_records(db, row):
        died = min([row.died, *(version - 1 for version in kept)])
        floor = version if rewrite.bump_version else row.floor
        db.execute(sql.CHANGE_STREAM, (live, levels, floor, died, row.id))
    else:
        db.execute(sql.FORGET_STREAM, (row.id,))
        db.execute(sql.RAISE_FLOOR, (version, db.namespace))
    _count(db, {rewrite.stream.kind: live - row.live})
    return Reclaimed(records - len(kept), size)


def _create_stream(db: Connection, stream: Stream, floor: int) -> StreamRow:
    number = db.execute(sql.CREATE_STREAM, (db.namespace, *stream, floor)).lastrowid
    return StreamRow(number or 0, live=0, levels=0, floor=floor, died=0, version=floor, recorded=None)


def _has_records(db: Connection, row: StreamRow) -> bool:
    return bool(db.execute(sql.HAS_RECORDS, (row.id,)).fetchone()[0])


def _count(db: Connection, born: Mapping[str, int]) -> None:
    """Keep count of the live streams of each kind."""
    for kind, change in born.items():
        if change:
            db.execute(sql.ADD_TO_COUNT, (db.namespace, kind, change))


def _expect(write: Batch | Rewrite, row: StreamRow | None) -> None:
    check_expected(write, *(row.version, row.floor) if row else (0, 0))


def _among(versions: Collection[int]) -> tuple[str, tuple[Any, ...]]:
    """Return the condition, and its values, that a version is among these."""
    if isinstance(versions, range) and versions.step == 1:
        return sql.IN_RANGE, (versions.start, versions.stop)
    return sql.LISTED, (json.dumps(list(versions)),)
