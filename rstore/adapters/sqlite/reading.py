"""Reads on a connection to a SQLite file: of streams, of newest records, and of records in pages.

SQLite's columns take any type. So rows are checked: in a damaged file they may have other types than ours.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from sys import getsizeof
from typing import Any, Final, NamedTuple

from rstore.adapters.sqlite import selection
from rstore.adapters.sqlite import statements as sql
from rstore.adapters.sqlite.file import Connection
from rstore.adapters.sqlite.pool import SqlitePool
from rstore.domain.log import Head, Record, Replay, ReplayQuery
from rstore.domain.paging import PAGE
from rstore.domain.rules import folded_version, head_then
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import KV, SS, Stream

_PAGE_BYTES: Final = 1 << 20  # of larger pages the system takes the memory back, and clears it anew for the next one

_DAMAGED: Final = "the file is damaged: restore it from a backup"
_RECORD: Final = {(int, int, int, int, int, str, str, bytes, meta) for meta in (bytes, type(None))}
_FOLLOWED: Final = {(str, str, *types) for types in _RECORD}
_STREAM: Final = {(int, int, int, int, int, int, recorded, int) for recorded in (int, type(None))}
_LISTED: Final = {(str, int, int, int, int, int)}
_LISTED_BY_TIME: Final = {(str, int, str, int)}


class StreamRow(NamedTuple):
    """A stream as the file has it, with version and transaction time of its newest record, and the end of a value."""

    id: int
    live: int
    levels: int
    floor: int
    died: int
    version: int
    recorded: int | None
    end: int = 0

    def head(self, stream: Stream) -> Head:
        return Head(stream, self.version, self.floor, bool(self.live), self.died, self.end)


def find(db: Connection, stream: Stream) -> StreamRow | None:
    row = db.execute(sql.STREAM, (db.namespace, *stream)).fetchone()
    return None if row is None else StreamRow._make(_checked(row, _STREAM))


def find_many(db: Connection, streams: Sequence[Stream]) -> dict[Stream, StreamRow]:
    """Return those streams that there are."""
    if len(streams) == 1:
        rows = [(stream, find(db, stream)) for stream in streams]
        return {stream: row for stream, row in rows if row is not None}
    found = {}
    for kind in {stream.kind for stream in streams}:
        keys = json.dumps([stream.key for stream in streams if stream.kind == kind])
        for key, *row in db.execute(sql.STREAMS, (db.namespace, kind, keys)).fetchall():
            found[Stream(kind, key)] = StreamRow._make(_checked(row, _STREAM))
    return found


def replay(db: Connection, asked: ReplayQuery) -> Replay | None:
    """Return the records of a stream to fold, in a transaction if it takes several reads."""
    if asked.query.after:  # most callers have folded all that there is: the stream alone tells them so
        row = find(db, asked.stream)
        if row is not None and row.version <= asked.query.after:
            return Replay(row.head(asked.stream), None, [])
    db.execute("BEGIN")
    return replayed(db, find(db, asked.stream), asked)


def replayed(db: Connection, row: StreamRow | None, asked: ReplayQuery) -> Replay | None:
    """Return the records to fold of a stream that was found."""
    if row is None:
        return None
    (stream, query, horizon), snapshot = asked, None
    if horizon is not None:
        recorded = TIME_MAX if query.until is None else query.until
        place = db.namespace, SS, stream.key, min(query.end, horizon), recorded
        found = db.execute(sql.SNAPSHOT, place).fetchone()
        snapshot = None if found is None else record(found)
        query = query._replace(after=folded_version(snapshot))
    if query.after >= row.version:
        return Replay(row.head(stream), snapshot, [])
    rows = db.execute(*selection.records(stream.kind, row.id, row.levels, row.died, query)).fetchall()
    return Replay(row.head(stream), snapshot, _records(_begun(db, rows, query.most)))


def head_by_time(db: Connection, stream: Stream, until: int) -> Head | None:
    row = db.execute(sql.HEAD_BY_TIME.by(stream.kind, until), (db.namespace, *stream, until)).fetchone()
    return None if row is None else head_then(stream, *row)


def heads(db: Connection, kind: str, low: str, *, live: bool) -> list[Head]:
    """Return a page of heads, from a key on."""
    rows = db.execute(sql.LIST_LIVE if live else sql.LIST, (db.namespace, kind, low, PAGE)).fetchall()
    listed = (_checked(row, _LISTED) for row in rows)
    return [
        Head(Stream(kind, key), version, floor, bool(is_live), died, end)
        for key, version, floor, is_live, died, end in listed
    ]


def heads_by_time(db: Connection, kind: str, low: str, until: int) -> list[Head]:
    """Return a page of heads as of a time, from a key on."""
    rows = db.execute(sql.LIST_BY_TIME.by(kind, until), (db.namespace, kind, low, until, PAGE)).fetchall()
    listed = (_checked(row, _LISTED_BY_TIME) for row in rows)
    return [head_then(Stream(kind, key), *newest) for key, *newest in listed]


def last(db: Connection, stream: Stream, until: int | None) -> Record | None:
    """Return the newest record: the most frequent read of all, a quarter faster if the id of the key is known."""
    place = (db.namespace, *stream)
    known = db.ids.get(stream) if until is None else None
    if known is not None:
        row = db.execute(sql.LAST_OF_ID, (*place, known)).fetchone()
        if row is not None:
            return Record._make(row)
    row = db.execute(sql.LAST.by(stream.kind, until), place if until is None else (*place, until)).fetchone()
    if row is None:
        return None
    if stream.kind == KV:
        db.remember(stream, row[0])
    return Record._make(row[1:])


def of_many(
    db: Connection, ways: sql.Ways, streams: Sequence[Stream], until: int | None
) -> Iterator[tuple[Stream, list[Any]]]:
    """Yield each stream that is there, with the columns that a statement selects besides the key."""
    for kind in {stream.kind for stream in streams}:
        keys = json.dumps([stream.key for stream in streams if stream.kind == kind])
        values = (db.namespace, kind, keys) if until is None else (db.namespace, kind, keys, until)
        for key, *row in db.execute(ways.by(kind, until), values).fetchall():
            yield Stream(kind, key), row


def record(row: Sequence[Any]) -> Record:
    return Record._make(_checked(row, _RECORD))


def _records(rows: Sequence[Sequence[Any]]) -> list[Record]:
    """Return the records of rows that are all there: their types are checked together."""
    if not _RECORD.issuperset([tuple(map(type, row)) for row in rows]):
        raise sqlite3.DatabaseError(_DAMAGED)
    return list(map(Record._make, rows))


def followed(row: Sequence[Any]) -> tuple[Stream, Record]:
    """Return the stream and the record of a row."""
    _checked(row, _FOLLOWED)
    return Stream(row[0], row[1]), Record._make(row[2:])


def _checked(row: Sequence[Any], types: Collection[tuple[type, ...]]) -> Sequence[Any]:
    if tuple(map(type, row)) not in types:
        raise sqlite3.DatabaseError(_DAMAGED)
    return row


@contextmanager
def selected(
    pool: SqlitePool, db: Connection, statement: str, values: Sequence[Any], most: int | None = None
) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Select rows in pages, and leave no open statement: the connection's next user could not write.

    With ``most``, a payload that is NULL is longer than that, and its beginning is read.
    """
    cursor = db.execute(statement, values)
    try:
        with closing(_rows(pool, db, cursor, most)) as rows:
            yield rows
    finally:
        with suppress(sqlite3.ProgrammingError):  # the garbage collector has closed the connection before us
            cursor.close()


def _rows(
    pool: SqlitePool, db: Connection, cursor: sqlite3.Cursor, most: int | None
) -> Generator[tuple[Any, ...], None, None]:
    size = 1  # pages grow: a caller that wants only the first record does not pay for more
    while page := _page(cursor, size):
        page = _begun(db, page, most)
        with pool.parked(db, cursor):
            yield from page
        size = min(2 * size, PAGE)


def _begun(db: Connection, rows: list[tuple[Any, ...]], most: int | None) -> list[tuple[Any, ...]]:
    """Return rows of records, with the beginnings of payloads that are longer than ``most``."""
    if most is None:
        return rows
    return [row if row[-2] is not None else _with_beginning(db, row, most) for row in rows]


def _with_beginning(db: Connection, row: tuple[Any, ...], most: int) -> tuple[Any, ...]:
    """Return the row of a record with the beginning of a long payload. Rejected: ``substr``, which reads all of it."""
    try:
        with db.blobopen("rstore_record", "data", row[1], readonly=True) as payload:
            return (*row[:-2], payload.read(most), row[-1])
    except OverflowError:  # early Pythons 3.11 take 32 bits here, and positions begin at the microseconds of the clock
        found = db.execute(sql.BEGINNING, (most, row[1])).fetchone()
        return (*row[:-2], None if found is None else found[0], row[-1])
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorname != "SQLITE_ERROR":
            raise
        raise sqlite3.DatabaseError(_DAMAGED) from exc  # there is no such row, or no payload in it


def _page(cursor: sqlite3.Cursor, size: int) -> list[tuple[Any, ...]]:
    """Return the next rows of records, up to a number of them, or fewer if they are large."""
    page, room = [], _PAGE_BYTES
    for row in islice(cursor, size):
        page.append(row)
        room -= getsizeof(row[-2])  # not len(): in a damaged file, the payload may not be bytes
        if room <= 0:
            break
    return page
