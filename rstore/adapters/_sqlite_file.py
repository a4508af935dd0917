"""A SQLite file (3.35 or later): its schema, its connections, its lock, and the errors of its driver.

Write-ahead logging: any number of readers beside one writer. Connections are pooled and each call takes one for as
long as it reads or writes, so that threads never share one. A connection for each thread was rejected: those of dead
threads stay open, and a suspended iterator would block its thread.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from weakref import WeakSet

from rstore.domain.errors import StoreClosedError, StoreError, StoreNotAvailableError
from rstore.domain.log import Stream

_SCHEMA_VERSION: Final = 1
_DISCARDED: Final = -1  # the schema version of a file that is about to be unlinked
_RETRY_SECONDS: Final = 0.005
_IDS: Final = 16_384

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
-- Ids are never used again: connections remember them.
CREATE TABLE rstore_stream (
    id INTEGER PRIMARY KEY AUTOINCREMENT, namespace INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
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

# The version, and whether the file is ours: in one statement, since somebody may just be making the schema.
_VERSION: Final = """
SELECT user_version, EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'rstore_namespace') FROM pragma_user_version"""

_IS_USED: Final = """
SELECT EXISTS (SELECT 1 FROM rstore_namespace WHERE live)
    OR EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT LIKE 'rstore_%' AND name NOT LIKE 'sqlite_%')"""

_NAMESPACE: Final = "SELECT id FROM rstore_namespace WHERE name = ? AND live"

_REVIVE: Final = """
INSERT INTO rstore_namespace (name, live) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET live = 1
RETURNING id, floor"""

_MESSAGES: Final = {
    "SQLITE_BUSY": "another process is writing to it for longer than the timeout (raise it with ?timeout=SECONDS)",
    "SQLITE_LOCKED": "it is locked",
    "SQLITE_CANTOPEN": "it can't be opened: is it a file, is its directory there, and may both be read and written?",
    "SQLITE_READONLY": "it may only be read: open it with frozen=True, or make the file and its directory writable",
    "SQLITE_PERM": "access is denied",
    "SQLITE_AUTH": "access is denied",
    "SQLITE_IOERR": "the disk failed to read or write",
    "SQLITE_FULL": "the disk is full; nothing was stored",
}
_DAMAGED: Final = {
    "SQLITE_NOTADB": "it is not a SQLite file",
    "SQLITE_CORRUPT": "the file is damaged: restore it from a backup",
    "DataError": "a value is larger than SQLite can take (1 GB); nothing was stored",
    "SQLITE_TOOBIG": "a value is larger than SQLite can take (1 GB); nothing was stored",
}


class Connection(sqlite3.Connection):
    """A connection that knows the id of its namespace (0: there is none), and in which session it was opened.

    ``ids`` has the ids of streams looked up before. One may be of a stream that is gone: then it leads to nothing.
    """

    namespace: int = 0
    session: object = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ids: dict[Stream, int] = {}

    def remember(self, stream: Stream, key: int) -> None:
        """Keep the id of a stream, and forget all others if there are too many."""
        if len(self.ids) >= _IDS:
            self.ids.clear()
        self.ids[stream] = key


class SqliteFile:
    """The pool of connections to one namespace of a file."""

    def __init__(self, path: str, durability: str, timeout: float, namespace: str, frozen: bool) -> None:
        self.name = f"sqlite://{path}"
        self._path = os.path.abspath(path)
        self._durability, self._timeout = durability, timeout
        self._namespace, self._frozen = namespace, frozen
        self._writing = threading.Lock()
        self.opened = False
        self._start_session()
        _forks().watch(self)

    def _start_session(self) -> None:
        """Forget all connections: those in use are closed when they are given back."""
        self._session = object()
        self._idle: deque[Connection] = deque()
        self._used: set[Connection] = set()
        self._parked: set[Connection] = set()

    # -- open and close -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Look for the file and the namespace, or make them if the file may be written."""
        self.opened = True
        try:
            with self.lease() as db:
                if not db.namespace:
                    raise StoreNotAvailableError(
                        f"no namespace {self._namespace!r} in {self.name} (open it with frozen=False to create it)"
                    )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections that nobody uses; the others follow when they are given back."""
        self.opened = False
        self._session = object()
        while self._idle:
            self._idle.pop().close()

    def check_open(self) -> None:
        """Raise if the file is not open."""
        if not self.opened:
            raise StoreClosedError(self.name)

    # -- connections --------------------------------------------------------------------------------------------------

    def lease(self) -> _Lease:
        """Take a connection for the length of a ``with`` block, which also translates the driver's errors."""
        return _Lease(self)

    def take(self) -> Connection:
        """Take a connection from the pool, or open one."""
        self.check_open()
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._connect()
        self._used.add(db)
        return db

    def give(self, db: Connection) -> None:
        """Give a connection back. One of another session is closed; one from before a fork is never touched again."""
        if db not in self._used:
            return
        self._used.discard(db)
        if db.session is not self._session:
            db.close()
            return
        if db.in_transaction:
            db.rollback()
        self._idle.append(db)

    @contextmanager
    def parked(self, db: Connection) -> Iterator[None]:
        """Tell, around a ``yield``, that a connection in use is not in the middle of a call; then, if it was closed."""
        self._parked.add(db)
        try:
            yield
        finally:
            self._parked.discard(db)
        self.check_open()

    def _connect(self) -> Connection:
        _forks().check(self._path, self.name)
        db = None
        try:
            while db is None:
                db = self._try_to_connect()
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            if self._frozen and not os.path.exists(self._path):
                raise StoreNotAvailableError(f"no file {self.name} (open it with frozen=False to create it)") from None
            raise self.translated(exc) from exc
        db.session = self._session
        return db

    def _try_to_connect(self) -> Connection | None:
        """Return a connection, or None if the file is just being discarded by another process."""
        db = sqlite3.connect(
            f"{Path(self._path).as_uri()}?{self._mode()}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
        )
        try:
            if not self._frozen:
                self._prepare(db)
            version = self._schema_version(db)
            if version == _SCHEMA_VERSION:
                row = db.execute(_NAMESPACE, (self._namespace,)).fetchone()
                db.namespace = row[0] if row else 0
        except BaseException:
            db.close()
            raise
        if version == _DISCARDED:
            db.close()
            return None
        return db

    def _mode(self) -> str:
        if not self._frozen:
            return "mode=rwc"
        may_write_beside = os.access(os.path.dirname(self._path), os.W_OK)
        # where no -shm file can be made, a file that nobody has open can still be read as it is
        return "mode=ro" if may_write_beside or os.path.exists(f"{self._path}-wal") else "mode=ro&immutable=1"

    def _prepare(self, db: Connection) -> None:
        """Make a connection durable, and the schema and the namespace if there are none."""
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreNotAvailableError(f"SQLite 3.35 or later is needed, this is {sqlite3.sqlite_version}")
        if self._schema_version(db) == _DISCARDED:
            return
        self._log_ahead(db)
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'full' else 'NORMAL'}")
        db.execute("PRAGMA fullfsync = ON")  # on macOS, where fsync alone does not reach the disk
        if self._schema_version(db) == 0:
            with immediate(db):
                self._create_schema(db)
        if db.execute(_NAMESPACE, (self._namespace,)).fetchone() is None:
            with immediate(db):
                self.revive_namespace(db)

    def _log_ahead(self, db: Connection) -> None:
        deadline = time.monotonic() + self._timeout
        while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:  # SQLite does not wait by itself for others who do the same
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _create_schema(self, db: Connection) -> None:
        if self._schema_version(db) == 0:  # nobody was faster
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _schema_version(self, db: Connection) -> int:
        """Return the version of our schema; 0 if there is nothing of ours in the file."""
        version, is_ours = db.execute(_VERSION).fetchone()
        if version in ((_DISCARDED, _SCHEMA_VERSION) if is_ours else (0,)):
            return int(version)
        reason = (
            f"has schema version {version}, this rstore knows {_SCHEMA_VERSION}: install a newer rstore"
            if is_ours
            else f"is another application's file (its user_version is {version}): choose another name"
        )
        raise StoreNotAvailableError(f"{self.name} {reason}")

    def revive_namespace(self, db: Connection) -> int:
        """Make sure that the namespace is there, and return its floor."""
        db.namespace, floor = db.execute(_REVIVE, (self._namespace,)).fetchall()[0]
        return int(floor)

    # -- write --------------------------------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait in line with the other threads that write: SQLite would let them poll."""
        if not self._writing.acquire(timeout=self._timeout):
            raise StoreNotAvailableError(f"{self.name}: another thread is writing to it for longer than the timeout")
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write, all or nothing. Other processes are waited for up to the timeout."""
        with self.turn(), self.lease() as db, immediate(db):
            yield db

    def checkpoint(self, db: Connection) -> None:
        """Empty the write-ahead log, unless somebody is still reading from it: the last one to close does it then."""
        db.execute("PRAGMA busy_timeout = 0")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute(f"PRAGMA busy_timeout = {int(self._timeout * 1000)}")

    def is_deserted(self, db: sqlite3.Connection) -> bool:
        """Tell whether the file holds neither a namespace nor tables of somebody else."""
        return not db.execute(_IS_USED).fetchone()[0]

    def unlink(self) -> None:
        """Delete the file, unless somebody has it open: what they write must not go with it."""
        opened = self.opened
        self.close()
        self.opened = opened
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = DELETE")  # fails while there is any other connection
            db.execute("BEGIN EXCLUSIVE")
            if self.is_deserted(db):
                db.execute(f"PRAGMA user_version = {_DISCARDED}")  # for those who wait for the lock right now
                db.execute("COMMIT")
                os.unlink(self._path)
        except sqlite3.OperationalError:
            return
        finally:
            db.close()

    # -- fork ---------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let writers finish, and close what nobody uses, so that the child inherits neither."""
        self._writing.acquire(timeout=self._timeout)
        while self._idle:
            self._idle.pop().close()

    def after_fork_in_parent(self) -> None:
        """Let writers go on."""
        with suppress(RuntimeError):  # it could not be acquired in time
            self._writing.release()

    def after_fork_in_child(self) -> list[tuple[str, Connection]]:
        """Close the connections of suspended iterators, and return those of threads that are not in this process."""
        for db in self._parked:
            db.close()
        running = [(self._path, db) for db in self._used - self._parked]
        self._writing = threading.Lock()
        self._start_session()
        return running

    def translated(self, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
        """Return what a driver's error means to a user."""
        if not self.opened:
            return StoreClosedError(self.name)
        if isinstance(error, UnicodeDecodeError):  # in a damaged file, the driver can't even tell what is wrong
            return StoreError(f"{self.name}: {_DAMAGED['SQLITE_CORRUPT']}")
        code = getattr(error, "sqlite_errorname", type(error).__name__)
        primary = "_".join(code.split("_")[:2])
        if primary in _MESSAGES:
            return StoreNotAvailableError(f"{self.name}: {_MESSAGES[primary]}")
        return StoreError(f"{self.name}: {_DAMAGED.get(primary, str(error))}")


class _Lease:
    __slots__ = ("_connection", "_file")

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def __enter__(self) -> Connection:
        self._connection = self._file.take()
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.give(self._connection)
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            raise self._file.translated(error) from error


class _Forks:
    """Keeps files safe over a fork.

    SQLite keeps its locks by process, in tables that a forked child inherits. While one connection of the parent is
    known there, the child's own take no locks at all, and what it writes is lost when the parent closes the file. So
    idle connections are closed before a fork, and those of suspended iterators after it, in the child. One that was
    in the middle of a call in another thread can be neither used nor closed: the child is then refused.
    """

    def __init__(self) -> None:
        self._files: WeakSet[SqliteFile] = WeakSet()
        self._stopped: list[SqliteFile] = []
        self._inherited: list[tuple[str, Connection]] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def watch(self, file: SqliteFile) -> None:
        """Look after a file for as long as it is used."""
        self._files.add(file)

    def check(self, path: str, name: str) -> None:
        """Raise if a fork has made a file unusable in this process."""
        if any(path == inherited for inherited, _ in self._inherited):
            raise StoreNotAvailableError(
                f"{name}: this process was forked while another thread was reading from the store: SQLite can't work "
                "with it here; fork before there are threads, or start processes by 'spawn'"
            )

    def _before(self) -> None:
        self._stopped = [file for file in self._files if file.opened]
        for file in self._stopped:
            file.before_fork()

    def _in_parent(self) -> None:
        for file in self._stopped:
            file.after_fork_in_parent()

    def _in_child(self) -> None:
        for file in self._stopped:
            self._inherited += file.after_fork_in_child()


@cache
def _forks() -> _Forks:
    """Return the one watcher of this process, made when the first file is: forks are a matter of the process."""
    return _Forks()


@contextmanager
def immediate(db: sqlite3.Connection) -> Iterator[None]:
    """Run a transaction that has the write lock from its start: one that is upgraded can fail without waiting."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.rollback()
        raise
    db.commit()
