"""The log in a SQLite file (3.35 or later): write-ahead logging, any number of readers beside one writer.

Connections are pooled and each call takes one for as long as it reads or writes, so that threads never share one. A
connection for each thread was rejected: those of dead threads stay open, and a suspended iterator blocks its thread.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from rstore.domain.errors import StoreClosedError, StoreConflictError, StoreError, StoreNotAvailableError
from rstore.domain.log import (
    KV,
    SS,
    TIME_MAX,
    TIME_MIN,
    TOP_LEVEL,
    Batch,
    Head,
    Position,
    Record,
    Replay,
    Rewrite,
    Saved,
    Stream,
    level,
    reach,
)

_SCHEMA_VERSION: Final = 1
_DISCARDED: Final = -1  # the schema version of a file that is about to be unlinked
_PAGE: Final = 256
_RETRY_SECONDS: Final = 0.005

_SCHEMA: Final = """
-- A discarded namespace keeps its row: ids are never used again, so that a cached one can't point at another's data,
-- and neither are versions up to its floor.
CREATE TABLE rstore_namespace (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    live INTEGER NOT NULL, floor INTEGER NOT NULL DEFAULT 0);

-- How many streams of a kind are live: len() is one look. Counting an index would be a scan.
CREATE TABLE rstore_count (
    namespace INTEGER NOT NULL, kind TEXT NOT NULL, live INTEGER NOT NULL,
    PRIMARY KEY (namespace, kind)) WITHOUT ROWID;

-- levels: bit mask of the span levels that its records have. died: version of the append that last ended its life.
-- The newest version is not kept here: a set on a live stream is one INSERT and no UPDATE.
CREATE TABLE rstore_stream (
    id INTEGER PRIMARY KEY, namespace INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
    live INTEGER NOT NULL, levels INTEGER NOT NULL, floor INTEGER NOT NULL, died INTEGER NOT NULL DEFAULT 0,
    UNIQUE (namespace, kind, key));

-- Lists the live streams without stepping over dead ones.
CREATE INDEX rstore_stream_live ON rstore_stream (namespace, kind, key) WHERE live;

-- AUTOINCREMENT: the file grows at its end, and the position of a pruned record is not given to another, which a
-- follower would then skip. Along a stream, positions increase with versions, also after a rewrite.
CREATE TABLE rstore_record (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL, version INTEGER NOT NULL,
    recorded INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, level INTEGER,
    item TEXT NOT NULL, op TEXT NOT NULL, data BLOB NOT NULL, meta BLOB);

-- The last record of a stream, and the tail after a version.
CREATE UNIQUE INDEX rstore_record_version ON rstore_record (stream, version);

-- The records that touch a span, in order of (start, position). Values of keys have no span and no level.
CREATE INDEX rstore_record_span ON rstore_record (stream, level, start) WHERE level IS NOT NULL;
"""

_COLUMNS: Final = 'version, position, recorded, start, "end", item, op, data, meta'

_LAST: Final = f"""
SELECT {_COLUMNS} FROM rstore_record WHERE stream =
    (SELECT id FROM rstore_stream WHERE namespace = ? AND kind = ? AND key = ?)
ORDER BY version DESC LIMIT 1"""

_LAST_UNTIL: Final = f"""
SELECT {_COLUMNS} FROM rstore_record WHERE stream =
    (SELECT id FROM rstore_stream WHERE namespace = ? AND kind = ? AND key = ?)
AND recorded <= ? ORDER BY version DESC LIMIT 1"""

_LAST_OF_MANY: Final = f"""
SELECT asked.key, {", ".join(f"r.{column}" for column in _COLUMNS.split(", "))}
FROM json_each(?) AS asked
JOIN rstore_stream AS s ON s.namespace = ? AND s.kind = ? AND s.key = asked.value
JOIN rstore_record AS r ON r.position =
    (SELECT position FROM rstore_record WHERE stream = s.id AND recorded <= ? ORDER BY version DESC LIMIT 1)"""

_HEAD: Final = """
SELECT s.id, s.live, s.levels, s.floor, s.died, max(s.floor, coalesce(r.version, 0)), r.recorded
FROM rstore_stream AS s LEFT JOIN rstore_record AS r ON r.position =
    (SELECT position FROM rstore_record WHERE stream = s.id ORDER BY version DESC LIMIT 1)
WHERE s.namespace = ? AND s.kind = ? AND s.key = ?"""

_SNAPSHOT: Final = f"""
SELECT {_COLUMNS} FROM rstore_record INDEXED BY rstore_record_span WHERE level = 0 AND stream =
    (SELECT id FROM rstore_stream WHERE namespace = ? AND kind = ? AND key = ?)
AND start <= ? ORDER BY start DESC, position DESC LIMIT 1"""

_HEADS: Final = """
SELECT s.key, max(s.floor, coalesce((SELECT max(version) FROM rstore_record WHERE stream = s.id), 0)), s.floor, s.live
FROM rstore_stream AS s
WHERE s.namespace = ? AND s.kind = ? AND s.key >= ? {live} ORDER BY s.key LIMIT ?"""

# One entry for a live stream whose level is known: no other table changes, so one statement is the transaction.
_APPEND_ONE: Final = """
INSERT INTO rstore_record (stream, version, recorded, start, "end", level, item, op, data, meta)
SELECT s.id, max(s.floor, coalesce(r.version, 0)) + 1, max(coalesce(r.recorded, ?1), ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8
FROM rstore_stream AS s LEFT JOIN rstore_record AS r ON r.position =
    (SELECT position FROM rstore_record WHERE stream = s.id ORDER BY version DESC LIMIT 1)
WHERE s.namespace = ?9 AND s.kind = ?10 AND s.key = ?11 AND s.live AND (?4 IS NULL OR (s.levels >> ?4) & 1)
    AND (?12 IS NULL OR ?12 = max(s.floor, coalesce(r.version, 0)))
RETURNING version"""

_INSERT: Final = """
INSERT INTO rstore_record (stream, version, recorded, start, "end", level, item, op, data, meta)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_CHANGE_STREAM: Final = "UPDATE rstore_stream SET live = ?, levels = ?, floor = ?, died = ? WHERE id = ?"

_RAISE_FLOOR: Final = "UPDATE rstore_namespace SET floor = max(floor, ?) WHERE id = ?"

_REPLACE: Final = """
UPDATE rstore_record SET recorded = ?, start = ?, "end" = ?, level = ?, item = ?, op = ?, data = ?, meta = ?
WHERE stream = ? AND version = ?"""

_SIZE: Final = "SELECT count(*), coalesce(sum(length(data)), 0) FROM rstore_record WHERE stream = ?"

_DISCARD: Final = (
    """UPDATE rstore_namespace SET live = 0, floor = max(floor, coalesce(
        (SELECT max(max(s.floor, coalesce(r.version, 0))) FROM rstore_stream AS s
         LEFT JOIN rstore_record AS r ON r.stream = s.id WHERE s.namespace = ?1), 0)) WHERE id = ?1""",
    "DELETE FROM rstore_record WHERE stream IN (SELECT id FROM rstore_stream WHERE namespace = ?)",
    "DELETE FROM rstore_stream WHERE namespace = ?",
    "DELETE FROM rstore_count WHERE namespace = ?",
)

_IS_USED: Final = """
SELECT EXISTS (SELECT 1 FROM rstore_namespace WHERE live)
    OR EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT LIKE 'rstore_%' AND name NOT LIKE 'sqlite_%')"""

_FOLLOW: Final = f"""
SELECT s.kind, s.key, {", ".join(f"r.{column}" for column in _COLUMNS.split(", "))}
FROM rstore_record AS r JOIN rstore_stream AS s ON s.id = r.stream
WHERE r.position > ? AND s.namespace = ? ORDER BY r.position"""

_MESSAGES: Final = {
    "SQLITE_BUSY": "another process is writing to it for longer than the timeout (raise it with ?timeout=SECONDS)",
    "SQLITE_LOCKED": "it is locked",
    "SQLITE_CANTOPEN": "it can't be opened: is the directory there, and may it be read and written?",
    "SQLITE_READONLY": "it may only be read: open it with frozen=True, or make the file and its directory writable",
    "SQLITE_PERM": "access is denied",
    "SQLITE_AUTH": "access is denied",
    "SQLITE_IOERR": "the disk failed to read or write",
    "SQLITE_FULL": "the disk is full; nothing was stored",
}
_DAMAGED: Final = {
    "SQLITE_NOTADB": "it is not a SQLite file",
    "SQLITE_CORRUPT": "the file is damaged: restore it from a backup",
    "SQLITE_TOOBIG": "a value is larger than SQLite can take (1 GB); nothing was stored",
}


class _Connection(sqlite3.Connection):
    """A connection that knows its namespace's id; 0 while there is no such namespace."""

    namespace: int = 0


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
        return Head(stream, self.version, self.floor, bool(self.live))


_Parts: TypeAlias = list[tuple[str, tuple[int, ...]]]
"""For each part of a compound SELECT its index and condition, and the values of that."""


class _Lease:
    """Takes a connection from the pool for the length of a ``with`` block and translates the driver's errors."""

    __slots__ = ("_connection", "_log")

    def __init__(self, log: SqliteLog) -> None:
        self._log = log

    def __enter__(self) -> _Connection:
        self._connection = self._log._take()
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log._give(self._connection)
        if isinstance(error, sqlite3.Error):
            raise self._log._translated(error) from error


class SqliteLog:
    """A namespace of a SQLite file."""

    def __init__(self, path: str, durability: str, timeout: float, namespace: str, frozen: bool) -> None:
        self._path, self._file = path, os.path.abspath(path)
        self._durability, self._timeout = durability, timeout
        self._namespace, self._frozen = namespace, frozen
        self._forget_connections()
        self._opened = False

    @property
    def name(self) -> str:
        return f"sqlite://{self._path}"

    # -- connections --------------------------------------------------------------------------------------------------

    def _forget_connections(self) -> None:
        self._pid = os.getpid()
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._inherited: list[object] = []
        self._writing = threading.Lock()

    def open(self) -> None:
        self._opened = True
        try:
            with self._lease() as db:
                if not db.namespace:
                    raise StoreNotAvailableError(
                        f"no namespace {self._namespace!r} in {self.name} (open it with frozen=False to create it)"
                    )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._opened = False
        if os.getpid() != self._pid:
            return
        self._idle.clear()
        while self._all:
            with suppress(sqlite3.Error):
                self._all.pop().close()

    def _lease(self) -> _Lease:
        return _Lease(self)

    def _take(self) -> _Connection:
        if not self._opened:
            raise StoreClosedError(self.name)
        if os.getpid() != self._pid:
            # SQLite forbids even to close a connection in a forked child: they are kept, and never touched
            inherited = [*self._inherited, self._all]
            self._forget_connections()
            self._inherited = inherited
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _give(self, db: _Connection) -> None:
        try:
            if db.in_transaction:
                db.rollback()
        except sqlite3.Error:
            self._all.discard(db)
            return
        if self._opened and db in self._all:
            self._idle.append(db)
        else:
            db.close()

    def _connect(self) -> _Connection:
        try:
            while True:
                db = self._connect_once()
                if db is not None:
                    self._all.add(db)
                    return db
        except sqlite3.Error as exc:
            if self._frozen and not os.path.exists(self._file):
                raise StoreNotAvailableError(f"no file {self.name} (open it with frozen=False to create it)") from None
            raise self._translated(exc) from exc

    def _connect_once(self) -> _Connection | None:
        """Return a connection, or None if the file was just being discarded by another process."""
        db = sqlite3.connect(
            f"file:{quote(self._file)}?{self._mode()}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        try:
            if not self._frozen:
                self._prepare(db)
            found = self._schema_version(db)
            if found == _DISCARDED:
                db.close()
                return None
            if found == _SCHEMA_VERSION:
                row = db.execute(
                    "SELECT id FROM rstore_namespace WHERE name = ? AND live", (self._namespace,)
                ).fetchone()
                db.namespace = row[0] if row else 0
        except BaseException:
            db.close()
            raise
        return db

    def _mode(self) -> str:
        if not self._frozen:
            return "mode=rwc"
        directory_is_fixed = not os.access(os.path.dirname(self._file), os.W_OK)
        # without the right to create a -shm file beside it, a file that nobody has open can still be read as it is
        return "mode=ro&immutable=1" if directory_is_fixed and not os.path.exists(f"{self._file}-wal") else "mode=ro"

    def _prepare(self, db: _Connection) -> None:
        """Make a connection durable, and the schema and the namespace if there are none."""
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreNotAvailableError(f"SQLite 3.35 or later is needed, this is {sqlite3.sqlite_version}")
        self._schema_version(db)
        deadline = time.monotonic() + self._timeout
        while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:  # SQLite does not wait by itself for others who do the same
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'full' else 'NORMAL'}")
        db.execute("PRAGMA fullfsync = ON")  # on macOS, where fsync alone does not reach the disk
        if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'rstore_namespace'").fetchone() is None:
            with _immediate(db):
                if self._schema_version(db) == 0:
                    for statement in _SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        named = (self._namespace,)
        if db.execute("SELECT 1 FROM rstore_namespace WHERE name = ? AND live", named).fetchone() is None:
            with _immediate(db):
                self._revive_namespace(db)

    def _schema_version(self, db: _Connection) -> int:
        """Return the file's schema version; 0 if nothing of ours is in it."""
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version in (0, _DISCARDED, _SCHEMA_VERSION):
            return version
        if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'rstore_namespace'").fetchone():
            raise StoreNotAvailableError(
                f"{self.name} has schema version {version}, this rstore knows {_SCHEMA_VERSION}: install a newer one"
            )
        raise StoreNotAvailableError(
            f"{self.name} is another application's file (user_version {version}): choose another name"
        )

    def _revive_namespace(self, db: _Connection) -> int:
        """Make sure that the namespace is there, and return its floor."""
        row = db.execute(
            "INSERT INTO rstore_namespace (name, live) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET live = 1 RETURNING id, floor",
            (self._namespace,),
        ).fetchall()[0]
        db.namespace = row[0]
        return int(row[1])

    @contextmanager
    def _transaction(self) -> Iterator[_Connection]:
        """Write: the threads of this process wait in line, other processes by SQLite's busy timeout."""
        with self._lease() as db, self._turn(), _immediate(db):
            yield db

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._writing.acquire(timeout=self._timeout):
            raise StoreNotAvailableError(f"{self.name}: another thread is writing to it for longer than the timeout")
        try:
            yield
        finally:
            self._writing.release()

    def _translated(self, error: sqlite3.Error) -> StoreError:
        if not self._opened:
            return StoreClosedError(self.name)
        code = getattr(error, "sqlite_errorname", "") or type(error).__name__
        primary = "_".join(code.split("_")[:2])
        if primary in _MESSAGES:
            return StoreNotAvailableError(f"{self.name}: {_MESSAGES[primary]}")
        if isinstance(error, sqlite3.DataError):
            primary = "SQLITE_TOOBIG"
        return StoreError(f"{self.name}: {_DAMAGED.get(primary, str(error))}")

    # -- append -------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        if len(batches) == 1:
            version = self._append_one(batches[0])
            if version is not None:
                return [version]
        with self._transaction() as db:
            return [self._append_batch(db, batch) for batch in batches]

    def _append_one(self, batch: Batch) -> int | None:
        """Append a single entry the short way; None if the stream has to be changed as well, or there is a conflict."""
        stream, entries, recorded, expect, live, replace = batch
        if not live or replace or not isinstance(entries, list | tuple) or len(entries) != 1:
            return None
        start, end, item, op, data, meta = entries[0]
        of_level = _level(stream, start, end)
        with self._lease() as db, self._writing:
            row = db.execute(
                _APPEND_ONE,
                (recorded, start, end, of_level, item, op, data, meta, db.namespace, *stream, expect),
            ).fetchall()
        return row[0][0] if row else None

    def _append_batch(self, db: _Connection, batch: Batch) -> int:
        head = _head(db, batch.stream)
        _expect(batch, head)
        head = head or self._create_stream(db, batch.stream)
        floor, levels, version = head.floor, head.levels, head.version
        recorded = batch.recorded if head.recorded is None else max(head.recorded, batch.recorded)
        if batch.replace:
            db.execute("DELETE FROM rstore_record WHERE stream = ?", (head.id,))
            floor = version

        def rows() -> Iterator[tuple[Any, ...]]:
            nonlocal levels, version
            for start, end, *rest in batch.entries:
                of_level = _level(batch.stream, start, end)
                levels |= _bit(of_level)
                version += 1
                yield (head.id, version, recorded, start, end, of_level, *rest)

        db.executemany(_INSERT, rows())
        died = head.died if batch.live else version
        if (batch.live, levels, floor, died) != (head.live, head.levels, head.floor, head.died):
            db.execute(_CHANGE_STREAM, (batch.live, levels, floor, died, head.id))
            _count(db, batch.stream.kind, batch.live - head.live)
        return version

    def _create_stream(self, db: _Connection, stream: Stream) -> _Head:
        floor = self._revive_namespace(db)
        cursor = db.execute(
            "INSERT INTO rstore_stream (namespace, kind, key, live, levels, floor) VALUES (?, ?, ?, 0, 0, ?)",
            (db.namespace, *stream, floor),
        )
        return _Head(cursor.lastrowid or 0, live=0, levels=0, floor=floor, died=0, version=floor, recorded=None)

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(
        self,
        stream: Stream,
        *,
        start: int = TIME_MIN,
        end: int = TIME_MAX,
        item: str | None = None,
        ops: Collection[str] | None = None,
        until: int | None = None,
        after: int = 0,
        alive: bool = False,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[Record]:
        with self._lease() as db:
            db.execute("BEGIN")  # head and records in one snapshot, which is held until the iterator ends
            head = _head(db, stream)
            if head is None:
                return
            filters: dict[str, Sequence[Any] | None] = {
                "version > ?": [max(after, head.died if alive else 0)],
                "item = ?": None if item is None else [item],
                "recorded <= ?": None if until is None else [until],
                f"op IN ({', '.join('?' * len(ops or ()))})": None if ops is None else list(ops),
            }
            along_versions = stream.kind == KV or after > 0
            parts = _by_version(head, start, end) if along_versions else _by_span(head, start, end)
            cursor = db.execute(*_select(parts, filters, reverse=reverse, limit=limit))
            while rows := cursor.fetchmany(_PAGE):
                yield from map(Record._make, rows)

    def replay(
        self, stream: Stream, *, end: int = TIME_MAX, horizon: int = TIME_MAX, after: int | None = None
    ) -> Replay | None:
        with self._lease() as db:
            db.execute("BEGIN")
            head = _head(db, stream)
            if head is None:
                return None
            snapshot = None
            if after is None:
                row = db.execute(_SNAPSHOT, (db.namespace, SS, stream.key, min(end, horizon))).fetchone()
                snapshot = None if row is None else Record._make(row)
                after = 0 if snapshot is None else int(snapshot.item)
            if after >= head.version:
                return Replay(head.shown(stream), snapshot, [])
            parts = _by_version(head, TIME_MIN, end) if after else _by_span(head, TIME_MIN, end)
            rows = db.execute(*_select(parts, {"version > ?": [after]}))
            return Replay(head.shown(stream), snapshot, list(map(Record._make, rows)))

    def last(self, streams: Sequence[Stream], until: int | None = None) -> list[Record | None]:
        if len(streams) == 1:
            with self._lease() as db:
                if until is None:
                    row = db.execute(_LAST, (db.namespace, *streams[0])).fetchone()
                else:
                    row = db.execute(_LAST_UNTIL, (db.namespace, *streams[0], until)).fetchone()
            return [None if row is None else Record._make(row)]
        found: list[Record | None] = [None] * len(streams)
        with self._lease() as db:
            db.execute("BEGIN")
            for kind in {stream.kind for stream in streams}:
                asked = [i for i, stream in enumerate(streams) if stream.kind == kind]
                keys = json.dumps([streams[i].key for i in asked])
                for i, *row in db.execute(
                    _LAST_OF_MANY, (keys, db.namespace, kind, TIME_MAX if until is None else until)
                ):
                    found[asked[i]] = Record._make(row)
        return found

    def head(self, stream: Stream) -> Head | None:
        with self._lease() as db:
            head = _head(db, stream)
        return None if head is None else head.shown(stream)

    def heads(self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None) -> Iterator[Head]:
        sql = _HEADS.format(live="AND s.live" if live else "")
        low = prefix if after is None else max(prefix, _next(after))
        while True:
            with self._lease() as db:
                rows = db.execute(sql, (db.namespace, kind, low, _PAGE)).fetchall()
            for key, version, floor, is_live in rows:
                if not key.startswith(prefix):
                    return
                yield Head(Stream(kind, key), version, floor, bool(is_live))
            if len(rows) < _PAGE:
                return
            low = _next(rows[-1][0])

    def count(self, kind: str) -> int:
        with self._lease() as db:
            row = db.execute(
                "SELECT live FROM rstore_count WHERE namespace = ? AND kind = ?", (db.namespace, kind)
            ).fetchone()
        return row[0] if row else 0

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        # there is one writer at a time, so positions are given out in the order in which they are committed
        with self._lease() as db:
            cursor = db.execute(_FOLLOW, (0 if after is None else after, db.namespace))
            while rows := cursor.fetchmany(_PAGE):
                for kind, key, *row in rows:
                    record = Record._make(row)
                    yield record.position, Stream(kind, key), record

    # -- erase --------------------------------------------------------------------------------------------------------

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Saved:
        saved = Saved(0, 0)
        with self._transaction() as db:
            for rewrite in rewrites:
                saved = saved.plus(self._rewrite(db, rewrite))
        return saved

    def _rewrite(self, db: _Connection, rewrite: Rewrite) -> Saved:
        head = _head(db, rewrite.stream)
        _expect(rewrite, head)
        if head is None:
            return Saved(0, 0)
        records, size = db.execute(_SIZE, (head.id,)).fetchone()
        levels, kept = head.levels, []
        for record in rewrite.put:
            of_level = _level(rewrite.stream, record.start, record.end)
            levels |= _bit(of_level)
            kept.append(record.version)
            places = (record.recorded, record.start, record.end, of_level, *record[5:])
            db.execute(_REPLACE, (*places, head.id, record.version))
        _delete(db, head.id, rewrite.drop, kept)
        records_left, size_left = db.execute(_SIZE, (head.id,)).fetchone()
        live = head.live if rewrite.live is None else rewrite.live
        if not records_left and not live:
            db.execute("DELETE FROM rstore_stream WHERE id = ?", (head.id,))
            db.execute(_RAISE_FLOOR, (head.version + 1, db.namespace))
        elif kept or records_left < records or live != head.live:
            died = min([head.died, *(version - 1 for version in kept)])
            db.execute(_CHANGE_STREAM, (live, levels, head.version + 1, died, head.id))
        _count(db, rewrite.stream.kind, live - head.live)
        return Saved(records - records_left, size - size_left)

    def vacuum(self) -> None:
        with self._lease() as db, self._turn():
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def discard(self) -> None:
        with self._transaction() as db:
            for statement in _DISCARD:
                db.execute(statement, (db.namespace,))
            deserted = not _is_used(db)
        if deserted:
            self._unlink()

    def _unlink(self) -> None:
        """Delete the file, unless somebody has it open: what they write must not go with it."""
        while self._idle:
            idle = self._idle.pop()
            self._all.discard(idle)
            idle.close()
        db = sqlite3.connect(self._file, timeout=0, isolation_level=None)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = DELETE")  # fails while there is any other connection
            db.execute("BEGIN EXCLUSIVE")
            if not _is_used(db):
                db.execute(f"PRAGMA user_version = {_DISCARDED}")  # for those who wait for the lock right now
                db.execute("COMMIT")
                os.unlink(self._file)
        except sqlite3.OperationalError:
            return
        finally:
            db.close()


def _next(key: str) -> str:
    """Return the lowest key above this one; no key has a NUL in it."""
    return key + "\0"


def _level(stream: Stream, start: int, end: int) -> int | None:
    return None if stream.kind == KV else level(start, end)


def _bit(of_level: int | None) -> int:
    """Return the level's bit as SQLite sees it: its integers have a sign."""
    if of_level is None:
        return 0
    return 1 << of_level if of_level < TOP_LEVEL else -(1 << TOP_LEVEL)


def _head(db: _Connection, stream: Stream) -> _Head | None:
    row = db.execute(_HEAD, (db.namespace, *stream)).fetchone()
    return None if row is None else _Head._make(row)


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


def _delete(db: _Connection, stream: int, versions: Collection[int], kept: list[int]) -> None:
    if isinstance(versions, range) and versions.step == 1:
        db.execute(
            "DELETE FROM rstore_record WHERE stream = ? AND version >= ? AND version < ? "
            "AND version NOT IN (SELECT value FROM json_each(?))",
            (stream, versions.start, versions.stop, json.dumps(kept)),
        )
        return
    gone = set(versions).difference(kept)
    db.executemany(
        "DELETE FROM rstore_record WHERE stream = ? AND version = ?", ((stream, version) for version in gone)
    )


def _count(db: _Connection, kind: str, change: int) -> None:
    if change:
        db.execute(
            "INSERT INTO rstore_count (namespace, kind, live) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET live = live + excluded.live",
            (db.namespace, kind, change),
        )


def _is_used(db: sqlite3.Connection) -> bool:
    """Tell whether a file holds a namespace, or tables of somebody else."""
    return bool(db.execute(_IS_USED).fetchone()[0])


def _expect(write: Batch | Rewrite, head: _Head | None) -> None:
    actual = head.version if head else 0
    if write.expect is not None and write.expect != actual:
        raise StoreConflictError(*write.stream, write.expect, actual)


@contextmanager
def _immediate(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction that has the write lock from its start: one that is upgraded can fail without waiting."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.rollback()
        raise
    db.commit()
