"""The log in a SQLite file: its statements, and what each of them is for.

Connections are in :mod:`rstore.adapters.sqlite.pool`, the file and its schema in :mod:`rstore.adapters.sqlite.file`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import chain, islice
from sys import getsizeof
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.adapters.sqlite.backup import back_up
from rstore.adapters.sqlite.file import Connection, SqliteFile
from rstore.adapters.sqlite.pool import SqlitePool
from rstore.domain.checkpoints import dotted, number, undotted
from rstore.domain.log import (
    EVERYTHING,
    PRESENT,
    Batch,
    Copy,
    Entry,
    Head,
    Position,
    Query,
    Record,
    Replay,
    ReplayQuery,
    Rewrite,
    Saved,
)
from rstore.domain.paging import within
from rstore.domain.rules import check_expected, folded_version, head_then, merged_copies
from rstore.domain.spans import TIME_MAX, TIME_MIN, TOP_LEVEL, level, reach
from rstore.domain.streams import KV, SS, Stream
from rstore.domain.waiting import wait_for_change

_PAGE: Final = 256
_PAGE_BYTES: Final = 8 << 20
_NEAR: Final = 32  # records: to look at as many one by one takes no longer than to bisect
_LOOK_SECONDS: Final = 0.01

_COLUMNS: Final = 'version, position, recorded, start, "end", item, op, data, meta'

_OF_R: Final = ", ".join(f"r.{column}" for column in _COLUMNS.split(", "))

_ROW_TYPES: Final = {(int, int, int, int, int, str, str, bytes, meta) for meta in (bytes, type(None))}

_LISTED_TYPES: Final = {(str, int, int, int, int)}
_THEN_TYPES: Final = {(str, int, str)}
_HEAD_TYPES: Final = {(int, int, int, int, int, int, recorded) for recorded in (int, type(None))}

# The position of a stream's newest record, and of the newest by a time. That is nearly always among the newest ones. If
# not, it is between the oldest and those: half of what is between two bounds is left by each look at the record below
# the middle. An index on times would cost every append.
_NEWEST_OF: Final = "SELECT position FROM rstore_record WHERE stream = {stream} ORDER BY version DESC LIMIT 1"
_NEWEST_BY_THEN: Final = f"""
SELECT coalesce(
    (SELECT position FROM (
        SELECT position, recorded FROM rstore_record WHERE stream = {{stream}} ORDER BY version DESC LIMIT {_NEAR})
    WHERE recorded <= :until LIMIT 1),
    (WITH RECURSIVE bounds (low, high) AS (
        SELECT (SELECT min(version) FROM rstore_record WHERE stream = {{stream}}),
            (SELECT max(version) FROM rstore_record WHERE stream = {{stream}})
        UNION ALL
        SELECT iif(r.recorded <= :until, (low + high) / 2, low), iif(r.recorded <= :until, high, r.version)
        FROM bounds CROSS JOIN rstore_record AS r ON r.position = (
            SELECT position FROM rstore_record WHERE stream = {{stream}} AND version <= (low + high) / 2
            ORDER BY version DESC LIMIT 1)
        WHERE high - low > 1)
    SELECT position FROM rstore_record
    WHERE stream = {{stream}} AND version <= (SELECT max(low) FROM bounds) AND recorded <= :until
    ORDER BY version DESC LIMIT 1))"""


def _each_way(sql: str, stream: str) -> dict[str, str]:
    """Return a statement for the newest record of a stream, and one for its newest by a time."""
    return {way: sql.format(newest=f"({way.format(stream=stream)})") for way in (_NEWEST_OF, _NEWEST_BY_THEN)}


_LAST_OF_ID: Final = _each_way(f"SELECT {_COLUMNS} FROM rstore_record WHERE position = {{newest}}", ":id")

# CROSS JOIN: streams are looked up first. The planner might rather list them all, and search for each.
_LAST: Final = _each_way(
    f"""
SELECT s.id, {_OF_R} FROM rstore_stream AS s CROSS JOIN rstore_record AS r ON r.position = {{newest}}
WHERE s.namespace = :namespace AND s.kind = :kind AND s.key = :key""",
    "s.id",
)

_OF_MANY: Final = """
FROM json_each(:keys) AS asked
CROSS JOIN rstore_stream AS s ON s.namespace = :namespace AND s.kind = :kind AND s.key = asked.value
CROSS JOIN rstore_record AS r ON r.position = {newest}"""

_LAST_OF_MANY: Final = _each_way(f"SELECT s.key, {_OF_R} {_OF_MANY}", "s.id")

# Of a BLOB that is not read SQLite knows the length.
_SIZES: Final = _each_way(f"SELECT s.key, length(r.data) + coalesce(length(r.meta), 0) {_OF_MANY}", "s.id")

_HEAD: Final = """
SELECT s.id, s.live, s.levels, s.floor, s.died, max(s.floor, coalesce(r.version, 0)), r.recorded
FROM rstore_stream AS s LEFT JOIN rstore_record AS r ON r.position =
    (SELECT position FROM rstore_record WHERE stream = s.id ORDER BY version DESC LIMIT 1)
WHERE s.namespace = ? AND s.kind = ? AND s.key = ?"""

_SNAPSHOT: Final = f"""
SELECT {_COLUMNS} FROM rstore_record INDEXED BY rstore_record_span WHERE level = 0 AND stream =
    (SELECT id FROM rstore_stream WHERE namespace = ? AND kind = ? AND key = ?)
AND start <= ? AND recorded <= ? ORDER BY start DESC, position DESC LIMIT 1"""

_HEADS: Final = """
SELECT s.key, max(s.floor, coalesce((SELECT max(version) FROM rstore_record WHERE stream = s.id), 0)), s.floor, s.live,
    s.died
FROM rstore_stream AS s
WHERE s.namespace = ? AND s.kind = ? AND s.key >= ? {live} ORDER BY s.key LIMIT ?"""

_HEADS_THEN: Final = f"""
SELECT s.key, r.version, r.op FROM rstore_stream AS s
CROSS JOIN rstore_record AS r ON r.position = ({_NEWEST_BY_THEN.format(stream="s.id")})
WHERE s.namespace = :namespace AND s.kind = :kind AND s.key >= :low ORDER BY s.key LIMIT :page"""

_HEAD_THEN: Final = f"""
SELECT r.version, r.op FROM rstore_stream AS s
CROSS JOIN rstore_record AS r ON r.position = ({_NEWEST_BY_THEN.format(stream="s.id")})
WHERE s.namespace = :namespace AND s.kind = :kind AND s.key = :key"""

# One entry for a live stream whose level is known: no other table changes, so one statement is the transaction.
_APPEND_ONE: Final = """
INSERT INTO rstore_record (stream, version, recorded, start, "end", level, item, op, data, meta)
SELECT s.id, max(s.floor, coalesce(r.version, 0)) + 1, max(coalesce(r.recorded, :recorded), :recorded),
    :start, :end, :level, :item, :op, :data, :meta
FROM rstore_stream AS s LEFT JOIN rstore_record AS r ON r.position =
    (SELECT position FROM rstore_record WHERE stream = s.id ORDER BY version DESC LIMIT 1)
WHERE s.namespace = :namespace AND s.kind = :kind AND s.key = :key AND s.live
    AND (:level IS NULL OR (s.levels >> :level) & 1)
    AND (:expect IS NULL OR :expect = max(s.floor, coalesce(r.version, 0)))
RETURNING version"""

_APPEND_ONE_NAMES: Final = ("namespace", *Stream._fields, "expect", "level", "recorded", *Entry._fields)

_INSERT: Final = """
INSERT INTO rstore_record (stream, version, recorded, start, "end", level, item, op, data, meta)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_CHANGE_STREAM: Final = "UPDATE rstore_stream SET live = ?, levels = ?, floor = ?, died = ? WHERE id = ?"

_RAISE_FLOOR: Final = "UPDATE rstore_namespace SET floor = max(floor, ?) WHERE id = ?"

_REPLACE: Final = """
UPDATE rstore_record SET recorded = ?, start = ?, "end" = ?, level = ?, item = ?, op = ?, data = ?, meta = ?
WHERE stream = ? AND version = ?"""

_SIZE: Final = "SELECT count(*), coalesce(sum(length(data)), 0) FROM rstore_record WHERE stream = ? AND "

_DROP: Final = "DELETE FROM rstore_record WHERE stream = ? AND version NOT IN (SELECT value FROM json_each(?))"

# The floor is raised above all versions, so that whoever folded one of these streams notices.
_DISCARD: Final = (
    """UPDATE rstore_namespace SET live = 0, floor = max(floor, coalesce(
        (SELECT max(max(s.floor, coalesce(r.version, 0))) FROM rstore_stream AS s
         LEFT JOIN rstore_record AS r ON r.stream = s.id WHERE s.namespace = :id), 0)) + 1 WHERE id = :id""",
    "DELETE FROM rstore_record WHERE stream IN (SELECT id FROM rstore_stream WHERE namespace = :id)",
    "DELETE FROM rstore_stream WHERE namespace = :id",
    "DELETE FROM rstore_count WHERE namespace = :id",
)

_NAMESPACES: Final = "SELECT name FROM rstore_namespace WHERE live ORDER BY name"

_NEWEST: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'rstore_record'"

_FOLLOW: Final = f"""
SELECT s.kind, s.key, {_OF_R}
FROM rstore_record AS r CROSS JOIN rstore_stream AS s ON s.id = r.stream
WHERE r.position > ? AND s.namespace = ? ORDER BY r.position"""


class _Head(NamedTuple):
    """A row of _HEAD."""

    id: int
    live: int
    levels: int
    floor: int
    died: int
    version: int
    recorded: int | None

    def shown(self, stream: Stream) -> Head:
        return Head(stream, self.version, self.floor, bool(self.live), self.died)


_Parts: TypeAlias = list[tuple[str, tuple[int, ...]]]
"""For each part of a compound SELECT its index and condition, and the values of that."""


class SqliteLog:
    """A namespace of a SQLite file."""

    def __init__(
        self, path: str, durability: str, timeout: float, namespace: str, frozen: bool, *, adopt: bool = False
    ) -> None:
        self._file = SqliteFile(path, durability, timeout, namespace, frozen, adopt=adopt)
        self._pool = SqlitePool(self._file)

    @property
    def name(self) -> str:
        return self._file.name

    def open(self) -> None:
        self._pool.open()

    def close(self) -> None:
        self._pool.close()

    # -- append -------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        if len(batches) == 1:
            version = self._append_one(batches[0])
            if version is not None:
                return [version]
        with self._pool.transaction() as db:
            floor = self._file.revive_namespace(db)
            born: Counter[str] = Counter()
            heads = [_head(db, batch.stream) for batch in batches]
            for batch, head in zip(batches, heads, strict=True):
                _expect(batch, head)
            lasts = (head.recorded for head in heads if head is not None and head.recorded is not None)
            recorded = max(chain((batch.recorded for batch in batches), lasts), default=0)
            versions = [
                self._append_batch(db, batch._replace(recorded=recorded), head, floor, born)
                for batch, head in zip(batches, heads, strict=True)
            ]
            for kind, change in born.items():
                _count(db, kind, change)
        return versions

    def _append_one(self, batch: Batch) -> int | None:
        """Append a single entry the short way; None if the stream has to be changed as well, or there is a conflict."""
        stream, entries, recorded, expect, live, replace, _ = batch
        if not live or replace or not isinstance(entries, list | tuple) or len(entries) != 1:
            return None
        of_level = _level(stream, entries[0].start, entries[0].end)
        with self._pool.writer() as db:
            row = db.execute(
                _APPEND_ONE,
                dict(
                    zip(
                        _APPEND_ONE_NAMES,
                        (db.namespace, *stream, expect, of_level, recorded, *entries[0]),
                        strict=True,
                    )
                ),
            ).fetchall()
        return row[0][0] if row else None

    def _append_batch(self, db: Connection, batch: Batch, head: _Head | None, floor: int, born: Counter[str]) -> int:
        """Append a batch to a stream, made above the floor if need be; count in ``born`` who comes to life or ends."""
        if batch.if_live and not (head and head.live):
            return head.version if head else 0
        head = head or _create_stream(db, batch.stream, floor)
        levels, version = head.levels, head.version
        if batch.replace:
            db.execute("DELETE FROM rstore_record WHERE stream = ?", (head.id,))

        def rows() -> Iterator[tuple[Any, ...]]:
            nonlocal levels, version
            for start, end, *rest in batch.entries:
                of_level = _level(batch.stream, start, end)
                levels |= _bit(of_level)
                version += 1
                yield (head.id, version, batch.recorded, start, end, of_level, *rest)

        db.executemany(_INSERT, rows())
        floor = version if batch.replace else head.floor
        died = head.died if batch.live else version
        if (batch.live, levels, floor, died) != (head.live, head.levels, head.floor, head.died):
            db.execute(_CHANGE_STREAM, (batch.live, levels, floor, died, head.id))
            born[batch.stream.kind] += batch.live - head.live
        return version

    def restore(self, copies: Sequence[Copy]) -> None:
        heads, records = merged_copies(copies)
        with self._pool.transaction() as db:
            self._file.revive_namespace(db)
            # a new stream begins at version 0, whatever the namespace's floor is: versions come from elsewhere
            known = {stream: _head(db, stream) or _create_stream(db, stream, 0) for stream in heads}
            missing = [(stream, record) for stream, record in records if record.version > known[stream].version]
            levels = {stream: head.levels for stream, head in known.items()}
            for stream, record in missing:
                levels[stream] |= _bit(_level(stream, record.start, record.end))
            db.executemany(_INSERT, (_row(known[stream].id, stream, record) for stream, record in missing))
            born: Counter[str] = Counter()
            for stream, copy in heads.items():
                head = known[stream]
                if copy.version >= head.version:
                    floor = head.floor if copy.version == head.version else copy.version
                    db.execute(_CHANGE_STREAM, (copy.live, levels[stream], floor, copy.died, head.id))
                    born[stream.kind] += copy.live - head.live
            for kind, change in born.items():
                _count(db, kind, change)

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        ops = query.ops
        if ops is not None and not ops:
            return
        with self._pool.lease() as db:
            db.execute("BEGIN")  # head and records in one snapshot, which is held until the iterator ends
            head = _head(db, stream)
            if head is None:
                return
            filters: dict[str, Sequence[Any] | None] = {
                "version > ?": [query.above(head.died)],
                "item = ?": None if query.item is None else [query.item],
                "recorded <= ?": None if query.until is None else [query.until],
                f"op IN ({', '.join('?' * len(ops or ()))})": None if ops is None else list(ops),
            }
            select = _by_version if stream.kind == KV or query.after > 0 else _by_span
            parts = select(head, query.start, query.end)
            with self._rows(db, *_select(parts, filters, reverse=query.reverse, limit=query.limit)) as rows:
                for row in rows:
                    yield _record(row)

    def replay(self, stream: Stream, query: ReplayQuery = PRESENT) -> Replay | None:
        end, horizon, after, until = query
        recorded = TIME_MAX if until is None else until
        with self._pool.lease() as db:
            db.execute("BEGIN")
            head = _head(db, stream)
            if head is None:
                return None
            snapshot = None
            if after is None:
                row = db.execute(_SNAPSHOT, (db.namespace, SS, stream.key, min(end, horizon), recorded)).fetchone()
                snapshot = None if row is None else _record(row)
                after = folded_version(snapshot)
            if after >= head.version:
                return Replay(head.shown(stream), snapshot, [])
            parts = _by_version(head, TIME_MIN, end) if after else _by_span(head, TIME_MIN, end)
            filters: dict[str, Sequence[Any] | None] = {"version > ?": [after], "recorded <= ?": [recorded]}
            rows = db.execute(*_select(parts, filters)).fetchall()
            return Replay(head.shown(stream), snapshot, list(map(_record, rows)))

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        way = _NEWEST_OF if until is None else _NEWEST_BY_THEN
        with self._pool.lease() as db:
            if len(streams) == 1:
                return [_last(db, streams[0], until)]
            db.execute("BEGIN")
            if room is not None:
                sizes = {stream: size for stream, (size,) in _of_many(db, _SIZES[way], streams, until)}
                streams = next(within(room, ((stream, sizes.get(stream) or 0) for stream in streams)), [])
            rows = _of_many(db, _LAST_OF_MANY[way], streams, until)
            found = {stream: Record._make(row) for stream, row in rows}
        return [found.get(stream) for stream in streams]

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        with self._pool.lease() as db:
            if until is not None:
                return _head_then(db, stream, until)
            head = _head(db, stream)
        return None if head is None else head.shown(stream)

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        low = prefix if after is None else max(prefix, _next(after))
        while True:
            with self._pool.lease() as db:
                page = _heads(db, kind, low, live) if until is None else _heads_then(db, kind, low, until)
            for head in page:
                if not head.stream.key.startswith(prefix):
                    return
                if head.live or not live:
                    yield head
                    self._pool.check_open()
            if len(page) < _PAGE:
                return
            low = _next(page[-1].stream.key)

    def count(self, kind: str) -> int:
        with self._pool.lease() as db:
            row = db.execute(
                "SELECT live FROM rstore_count WHERE namespace = ? AND kind = ?", (db.namespace, kind)
            ).fetchone()
        return row[0] if row else 0

    def namespaces(self) -> list[str]:
        with self._pool.lease() as db:
            return [name for (name,) in db.execute(_NAMESPACES)]

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        # there is one writer at a time, so positions are given out in the order in which they are committed
        with self._pool.lease() as db, self._rows(db, _FOLLOW, (number(after), db.namespace)) as rows:
            for kind, key, *row in rows:
                record = _record(row)
                yield record.position, Stream(kind, key), record

    def wait(self, after: Position | None, seconds: float) -> bool:
        # each look takes a connection of its own: a child that is forked with one in use could not use the store
        return wait_for_change(
            self._newest, partial(self.follow, after), time.sleep, seconds, _LOOK_SECONDS, _LOOK_SECONDS
        )

    def _newest(self) -> tuple[int] | None:
        """Return the last position that was given out, to whatever namespace."""
        with self._pool.lease() as db:
            found: tuple[int] | None = db.execute(_NEWEST).fetchone()
        return found

    def checkpoint(self, position: Position) -> str:
        return dotted((number(position),))

    def position(self, checkpoint: str) -> Position:
        return undotted(checkpoint, 1)[0]

    @contextmanager
    def _rows(self, db: Connection, sql: str, values: Sequence[Any]) -> Iterator[Iterator[tuple[Any, ...]]]:
        """Select rows in pages, and leave no open statement: the next one to use the connection could not write."""
        cursor = db.execute(sql, values)
        try:
            with closing(self._each(db, cursor)) as rows:
                yield rows
        finally:
            with suppress(sqlite3.ProgrammingError):  # the garbage collector has closed the connection before us
                cursor.close()

    def _each(self, db: Connection, cursor: sqlite3.Cursor) -> Generator[tuple[Any, ...], None, None]:
        size = 1  # pages grow: who wants only the first record does not pay for more
        while page := _fetched(cursor, size):
            with self._pool.parked(db, cursor):
                yield from page
            size = min(2 * size, _PAGE)

    # -- erase --------------------------------------------------------------------------------------------------------

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Saved:
        saved = Saved(0, 0)
        with self._pool.transaction() as db:
            for rewrite in rewrites:
                saved = saved.plus(self._rewrite(db, rewrite))
        return saved

    def _rewrite(self, db: Connection, rewrite: Rewrite) -> Saved:
        head = _head(db, rewrite.stream)
        _expect(rewrite, head)
        if head is None:
            return Saved(0, 0)
        dropped, versions = _among(rewrite.drop)
        records, size = db.execute(_SIZE + dropped, (head.id, *versions)).fetchone()
        live = head.live if rewrite.live is None else rewrite.live
        if not records and live == head.live and (live or _has_records(db, head)):
            return Saved(0, 0)
        levels, kept = head.levels, []
        for record in rewrite.put:
            of_level = _level(rewrite.stream, record.start, record.end)
            levels |= _bit(of_level)
            kept.append(record.version)
            size -= len(record.data)
            places = (record.recorded, record.start, record.end, of_level, *record[5:])
            db.execute(_REPLACE, (*places, head.id, record.version))
        db.execute(f"{_DROP} AND {dropped}", (head.id, json.dumps(kept), *versions))
        version = head.version + rewrite.moves
        if live or _has_records(db, head):
            died = min([head.died, *(version - 1 for version in kept)])
            floor = version if rewrite.moves else head.floor
            db.execute(_CHANGE_STREAM, (live, levels, floor, died, head.id))
        else:
            db.execute("DELETE FROM rstore_stream WHERE id = ?", (head.id,))
            db.execute(_RAISE_FLOOR, (version, db.namespace))
        _count(db, rewrite.stream.kind, live - head.live)
        return Saved(records - len(kept), size)

    def backup(self, path: str, progress: Callable[[int, int], None]) -> None:
        with self._pool.lease() as db:
            back_up(db, path, progress)

    def vacuum(self) -> None:
        with self._pool.writer() as db:
            db.execute("VACUUM")
            self._file.checkpoint(db)

    def discard(self) -> None:
        with self._pool.transaction() as db:
            for statement in _DISCARD:
                db.execute(statement, {"id": db.namespace})
            deserted = self._file.is_deserted(db)
        if deserted:
            self._pool.end_session()
            self._file.unlink()


def _next(key: str) -> str:
    """Return the lowest key above this one; no key has a NUL in it."""
    return key + "\0"


def _level(stream: Stream, start: int, end: int) -> int | None:
    return None if stream.kind == KV else level(start, end)


def _row(number: int, stream: Stream, record: Record) -> tuple[Any, ...]:
    """Return what a record of the stream with this id is inserted as."""
    version, _, recorded, start, end, *rest = record
    return number, version, recorded, start, end, _level(stream, start, end), *rest


def _bit(of_level: int | None) -> int:
    """Return the level's bit as SQLite sees it: its integers have a sign."""
    if of_level is None:
        return 0
    return 1 << of_level if of_level < TOP_LEVEL else -(1 << TOP_LEVEL)


def _fetched(cursor: sqlite3.Cursor, size: int) -> list[tuple[Any, ...]]:
    """Return the next rows of records, up to a number of them, or fewer if they are large."""
    page, room = [], _PAGE_BYTES
    for row in islice(cursor, size):
        page.append(row)
        room -= getsizeof(row[-2])  # of what may be no bytes, in a damaged file
        if room <= 0:
            break
    return page


def _head(db: Connection, stream: Stream) -> _Head | None:
    row = db.execute(_HEAD, (db.namespace, *stream)).fetchone()
    return None if row is None else _Head._make(_checked(row, _HEAD_TYPES))


def _head_then(db: Connection, stream: Stream, until: int) -> Head | None:
    values = {"namespace": db.namespace, "kind": stream.kind, "key": stream.key, "until": until}
    row = db.execute(_HEAD_THEN, values).fetchone()
    return None if row is None else head_then(stream, *row)


def _heads(db: Connection, kind: str, low: str, live: bool) -> list[Head]:
    rows = db.execute(_HEADS.format(live="AND s.live" if live else ""), (db.namespace, kind, low, _PAGE)).fetchall()
    listed = (_checked(row, _LISTED_TYPES) for row in rows)
    return [
        Head(Stream(kind, key), version, floor, bool(is_live), died) for key, version, floor, is_live, died in listed
    ]


def _heads_then(db: Connection, kind: str, low: str, until: int) -> list[Head]:
    values = {"namespace": db.namespace, "kind": kind, "low": low, "until": until, "page": _PAGE}
    listed = (_checked(row, _THEN_TYPES) for row in db.execute(_HEADS_THEN, values).fetchall())
    return [head_then(Stream(kind, key), version, op) for key, version, op in listed]


def _create_stream(db: Connection, stream: Stream, floor: int) -> _Head:
    cursor = db.execute(
        "INSERT INTO rstore_stream (namespace, kind, key, live, levels, floor) VALUES (?, ?, ?, 0, 0, ?)",
        (db.namespace, *stream, floor),
    )
    return _Head(cursor.lastrowid or 0, live=0, levels=0, floor=floor, died=0, version=floor, recorded=None)


def _by_version(head: _Head, start: int, end: int) -> _Parts:
    """Select along the versions: values of a key, and tails."""
    where = 'INDEXED BY rstore_record_version WHERE stream = ? AND start <= ? AND "end" >= ?'
    return [(where, (head.id, end, start))]


def _by_span(head: _Head, start: int, end: int) -> _Parts:
    """Select the records that touch a span: one range of the index for each level, merged in order by SQLite."""
    where = 'INDEXED BY rstore_record_span WHERE stream = ? AND level = ? AND start BETWEEN ? AND ? AND "end" >= ?'
    levels = [of_level for of_level in range(TOP_LEVEL + 1) if head.levels >> of_level & 1]
    # a stream that never had a span is asked for one all the same: an empty answer needs no case of its own
    return [(where, (head.id, of_level, reach(of_level, start), end, start)) for of_level in levels or (0,)]


def _select(
    parts: _Parts, filters: Mapping[str, Sequence[Any] | None], *, reverse: bool = False, limit: int | None = None
) -> tuple[str, list[Any]]:
    """Return the statement, and its values, that selects records in order of (start, position)."""
    given = {text: values for text, values in filters.items() if values is not None}
    extra = "".join(f" AND {text}" for text in given)
    order = "DESC" if reverse else "ASC"
    sql = " UNION ALL ".join(f"SELECT {_COLUMNS} FROM rstore_record {where}{extra}" for where, _ in parts)
    values = [value for _, own in parts for value in chain(own, *given.values())]
    return f"{sql} ORDER BY 4 {order}, 2 {order} LIMIT ?", [*values, -1 if limit is None else limit]


def _record(row: Sequence[Any]) -> Record:
    """Return a row as a record. SQLite's columns take any type: in a damaged file they may have another than ours."""
    return Record._make(_checked(row, _ROW_TYPES))


def _checked(row: Sequence[Any], types: Collection[tuple[type, ...]]) -> Sequence[Any]:
    if tuple(map(type, row)) not in types:
        raise sqlite3.DatabaseError("the file is damaged: restore it from a backup")
    return row


def _last(db: Connection, stream: Stream, until: int | None) -> Record | None:
    """Return the newest record: the most frequent read of all, a third faster if the stream's id is known."""
    way, known = _NEWEST_OF if until is None else _NEWEST_BY_THEN, db.ids.get(stream)
    if known is not None:
        row = db.execute(_LAST_OF_ID[way], {"id": known, "until": until}).fetchone()
        if row is not None:
            return Record._make(row)
    values = {"namespace": db.namespace, "kind": stream.kind, "key": stream.key, "until": until}
    row = db.execute(_LAST[way], values).fetchone()
    if row is None:
        return None
    db.remember(stream, row[0])
    return Record._make(row[1:])


def _of_many(
    db: Connection, sql: str, streams: Sequence[Stream], until: int | None = None
) -> Iterator[tuple[Stream, list[Any]]]:
    """Yield streams, and what a statement selects of each besides its key; those are left out that are not there."""
    for kind in {stream.kind for stream in streams}:
        keys = json.dumps([stream.key for stream in streams if stream.kind == kind])
        values = {"keys": keys, "namespace": db.namespace, "kind": kind, "until": until}
        for key, *row in db.execute(sql, values).fetchall():
            yield Stream(kind, key), row


def _has_records(db: Connection, head: _Head) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM rstore_record WHERE stream = ?)", (head.id,)).fetchone()[0])


def _among(versions: Collection[int]) -> tuple[str, tuple[Any, ...]]:
    """Return the condition, and its values, that a version is among these."""
    if isinstance(versions, range) and versions.step == 1:
        return "version >= ? AND version < ?", (versions.start, versions.stop)
    return "version IN (SELECT value FROM json_each(?))", (json.dumps(list(versions)),)


def _count(db: Connection, kind: str, change: int) -> None:
    if change:
        db.execute(
            "INSERT INTO rstore_count (namespace, kind, live) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET live = live + excluded.live",
            (db.namespace, kind, change),
        )


def _expect(write: Batch | Rewrite, head: _Head | None) -> None:
    check_expected(write, *(head.version, head.floor) if head else (0, 0))
