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
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from rstore.adapters.sqlite.forks import forks
from rstore.domain.errors import StoreClosedError, StoreError, StoreNotAvailableError
from rstore.domain.streams import Stream

_SCHEMA_VERSION: Final = 1
_LONGEST_SECONDS: Final = 2_000_000.0  # SQLite counts milliseconds in 32 bits
_RETRY_SECONDS: Final = 0.005
_IMMUTABLE: Final = "mode=ro&immutable=1"
_IDS: Final = 16_384
_ATTEMPTS: Final = 5

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

-- Positions begin at the microseconds of the clock: above those of a file that was deleted before under the same name,
-- so that a follower's checkpoint skips nothing of this one.
INSERT INTO sqlite_sequence (name, seq)
VALUES ('rstore_record', CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER));

-- The last record of a stream, and the tail after a version.
CREATE UNIQUE INDEX rstore_record_version ON rstore_record (stream, version);

-- The records that touch a span, in order of (start, position). Values of keys have no span and no level.
CREATE INDEX rstore_record_span ON rstore_record (stream, level, start) WHERE level IS NOT NULL;
"""

# The version, and whether the file is ours: in one statement, since somebody may just be making the schema.
_VERSION: Final = """
SELECT user_version, EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'rstore_namespace') FROM pragma_user_version"""

# Which of all files it is: a random number, given to each when its schema is made. Inodes are used again.
_IDENTITY: Final = "PRAGMA application_id"

_IS_FOREIGN: Final = """
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT GLOB 'rstore_*' AND name NOT GLOB 'sqlite_*')"""

_IS_USED: Final = "SELECT EXISTS (SELECT 1 FROM rstore_namespace WHERE live)"

_NAMESPACE: Final = "SELECT id, live FROM rstore_namespace WHERE name = ?"

_REVIVE: Final = """
INSERT INTO rstore_namespace (name, live) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET live = 1
RETURNING id, floor"""

_MESSAGES: Final = {
    "SQLITE_BUSY": "another process is writing to it for longer than the timeout (raise it with ?timeout=SECONDS)",
    "SQLITE_LOCKED": "it is locked",
    "SQLITE_CANTOPEN": "it can't be opened: is it a file, is its directory there, and may both be read and written?",
    "SQLITE_READONLY": (
        "it may only be read: open it with frozen=True, or make the file, those beside it that end in -wal and -shm, "
        "and the directory writable"
    ),
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

    ``place`` is where its file is, whatever its name leads to by now.

    ``ids`` has the ids of streams looked up before. One may be of a stream that is gone: then it leads to nothing. A
    ``fleeting`` one sees the file as it was when it was opened, and is used for one call only.
    """

    namespace: int = 0
    session: object = None
    place: tuple[int, int] | None = None
    fleeting: bool = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ids: dict[Stream, int] = {}

    def __del__(self) -> None:
        # else Python warns of iterators that were dropped, though the store that they read from was closed
        with suppress(sqlite3.ProgrammingError):  # it could not be opened
            self.close()

    def remember(self, stream: Stream, key: int) -> None:
        """Keep the id of a stream, and forget all others if there are too many."""
        if len(self.ids) >= _IDS:
            self.ids.clear()
        self.ids[stream] = key


class SqliteFile:
    """The pool of connections to one namespace of a file."""

    def __init__(
        self, path: str, durability: str, timeout: float, namespace: str, frozen: bool, *, adopt: bool = False
    ) -> None:
        """Describe the pool. With ``adopt`` a file that holds tables of another application becomes a store as well."""
        self.name = f"sqlite://{path}"
        self._path = os.path.realpath(path)
        self._durability, self._timeout = durability, min(timeout, _LONGEST_SECONDS)
        self._namespace, self._frozen, self._adopt = namespace, frozen, adopt
        self._writing, self._connecting = threading.Lock(), threading.Lock()
        self._held_for_fork = False
        self._identity: int | None = None
        self.opened = False
        self._start_session()
        forks().watch(self)

    def _start_session(self) -> None:
        """Forget all connections: those in use are closed when they are given back."""
        self._session = object()
        self._idle: deque[Connection] = deque()
        self._used: set[Connection] = set()
        self._parked: dict[Connection, sqlite3.Cursor] = {}

    # -- open and close -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Look for the file and the namespace, or make them if the file may be written."""
        self.opened, self._identity = True, None
        try:
            with self.lease() as db:
                row = db.execute(_NAMESPACE, (self._namespace,)).fetchone() if db.namespace else None
                if row is None or not row[1]:
                    raise StoreNotAvailableError(
                        f"no namespace {self._namespace!r} in {self.name} (open it with frozen=False to create it)"
                    )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections that nobody uses; the others follow when they are given back."""
        self.opened = False
        self._drop_idle()

    def _drop_idle(self) -> None:
        """Begin a new session: idle connections are closed now, those in use when they are given back."""
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
        session = self._session
        self.check_open()
        while self._idle:
            try:
                db = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            self._used.add(db)
            if db.session is session:
                return db
            self.give(db)
        with self._connecting:
            db = self._connect()
            db.session = session
            self._used.add(db)
        return db

    def give(self, db: Connection) -> None:
        """Give a connection back. One of another session is closed; one from before a fork is never touched again."""
        if db not in self._used:
            return
        self._used.discard(db)
        if db.session is not self._session or db.fleeting:
            db.close()
            return
        try:
            if db.in_transaction:
                db.rollback()
        except sqlite3.Error:  # it is of no more use; or the interpreter ends, and has closed it
            db.close()
            return
        self._idle.append(db)

    @contextmanager
    def parked(self, db: Connection, cursor: sqlite3.Cursor) -> Iterator[None]:
        """Tell, around a ``yield``, that a connection in use is not in the middle of a call; then, if it was closed."""
        self._parked[db] = cursor
        try:
            yield
        finally:
            self._parked.pop(db, None)
        self.check_open()

    def _connect(self) -> Connection:
        forks().check(self._path, self.name)
        deadline = time.monotonic() + self._timeout
        try:
            for attempt in count():
                db = self._try_to_connect()
                if db is not None:
                    return db
                if attempt > _ATTEMPTS and time.monotonic() > deadline:
                    raise StoreNotAvailableError(f"{self.name} is being deleted again and again")
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            if self._frozen and self._is_missing():
                raise StoreNotAvailableError(f"no file {self.name} (open it with frozen=False to create it)") from None
            raise self.translated(exc) from exc
        raise AssertionError("unreachable")

    def _try_to_connect(self) -> Connection | None:
        """Return a connection, or None if the file is new, or was discarded before it could be looked at: try again.

        The file is looked at by name only. To open and close it ourselves would drop all locks that SQLite holds on
        it in this process: so POSIX wants it.
        """
        found, mode = self._locate(), self._mode()
        db = sqlite3.connect(
            f"{Path(self._path).as_uri()}?{mode}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
        )
        try:
            if not self._frozen:
                self._prepare(db)
            if self._schema_version(db):
                row = db.execute(_NAMESPACE, (self._namespace,)).fetchone()
                db.namespace = row[0] if row else 0
            is_found = self._locate() == found
            if is_found:
                self._check_identity(db)
        except sqlite3.Error:
            db.close()
            if self._locate() == found:
                raise
            return None
        except BaseException:
            db.close()
            raise
        if not is_found:
            db.close()
            return None
        db.place, db.fleeting = found, mode == _IMMUTABLE
        return db

    def _locate(self) -> tuple[int, int] | None:
        """Return what file the name leads to; as long as one is open, there is no other with its inode."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _check_identity(self, db: Connection) -> None:
        """Raise if this is not the file that was opened: what is known of that one is not true of this one."""
        identity = db.execute(_IDENTITY).fetchone()[0]
        if self._identity is None:
            self._identity = identity
        elif self._identity != identity:
            raise StoreNotAvailableError(f"{self.name} was replaced by another file: close the store and open it again")

    def _is_missing(self) -> bool:
        try:
            os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False

    def _mode(self) -> str:
        if not self._frozen:
            return "mode=rwc"
        may_write_beside = os.access(os.path.dirname(self._path), os.W_OK)
        # where no -shm file can be made, a file that nobody has open can still be read as it is
        return "mode=ro" if may_write_beside or os.path.exists(f"{self._path}-wal") else _IMMUTABLE

    def _prepare(self, db: Connection) -> None:
        """Make a connection durable, and the schema and the namespace if there are none."""
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreNotAvailableError(f"SQLite 3.35 or later is needed, this is {sqlite3.sqlite_version}")
        if self._schema_version(db) == 0 and not self._adopt:  # nothing is changed in a file that is not ours
            self._check_unused(db)
        self._log_ahead(db)
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'full' else 'NORMAL'}")
        db.execute("PRAGMA fullfsync = ON")  # on macOS, where fsync alone does not reach the disk
        if self._schema_version(db) == 0:
            with immediate(db):
                self._create_schema(db)
        row = db.execute(_NAMESPACE, (self._namespace,)).fetchone()
        if row is None or not row[1]:
            with immediate(db):
                self.revive_namespace(db)

    def _check_unused(self, db: Connection) -> None:
        if db.execute(_IS_FOREIGN).fetchone()[0]:
            raise StoreNotAvailableError(
                f"{self.name} holds tables of another application: choose another name, or keep a store beside them "
                f"with the DSN '{self.name}?adopt=yes'; nothing was changed"
            )

    def _log_ahead(self, db: Connection) -> None:
        deadline = time.monotonic() + self._timeout
        while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                    return
            except sqlite3.OperationalError as exc:  # SQLite does not wait by itself for others who do the same
                if not exc.sqlite_errorname.startswith("SQLITE_BUSY"):
                    raise
            if time.monotonic() > deadline:
                raise StoreNotAvailableError(f"{self.name}: it is in use, or its disk can't do write-ahead logging")
            time.sleep(_RETRY_SECONDS)

    def _create_schema(self, db: Connection) -> None:
        if self._schema_version(db) == 0:  # nobody was faster
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            identify(db)
            db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _schema_version(self, db: Connection) -> int:
        """Return the version of our schema; 0 if there is nothing of ours in the file."""
        version, is_ours = db.execute(_VERSION).fetchone()
        if version == (_SCHEMA_VERSION if is_ours else 0):
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
    def writer(self) -> Iterator[Connection]:
        """Take a connection to write, in line with the other threads that do: SQLite would let them poll.

        What was written to a file that has lost its name meanwhile, nobody will see again. Only who writes asks: it
        takes a microsecond or two, an eighth of what it takes to read a value.
        """
        if not self._writing.acquire(timeout=self._timeout):
            raise StoreNotAvailableError(f"{self.name}: another thread is writing to it for longer than the timeout")
        try:
            with self.lease() as db:
                yield db
                if self._locate() != db.place:
                    raise StoreNotAvailableError(
                        f"{self.name} was deleted, or replaced by another file, in which nothing was stored: close the "
                        "store and open it again"
                    )
        finally:
            self._writing.release()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write, all or nothing. Other processes are waited for up to the timeout."""
        with self.writer() as db, immediate(db):
            yield db

    def checkpoint(self, db: Connection) -> None:
        """Empty the write-ahead log, unless somebody is still reading from it: the last one to close does it then."""
        db.execute("PRAGMA busy_timeout = 0")
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.execute(f"PRAGMA busy_timeout = {int(self._timeout * 1000)}")

    def is_deserted(self, db: sqlite3.Connection) -> bool:
        """Tell whether the file holds neither a namespace nor tables of somebody else."""
        return not any(db.execute(question).fetchone()[0] for question in (_IS_USED, _IS_FOREIGN))

    def unlink(self) -> None:
        """Delete the file, unless somebody has it open: what they write must not go with it.

        Who waits for the lock meanwhile has opened a file that has no name any more, and finds that out by comparing.
        """
        self._drop_idle()
        self._identity = None
        try:
            db = sqlite3.connect(f"{Path(self._path).as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None)
        except sqlite3.OperationalError:  # another process has deleted it
            return
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = DELETE")  # fails while there is any other connection
            db.execute("BEGIN EXCLUSIVE")
            if self.is_deserted(db):
                os.unlink(self._path)
        except (sqlite3.OperationalError, OSError):  # it stays, empty
            return
        finally:
            db.close()

    # -- fork ---------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let writers finish, and close what nobody uses, so that the child inherits neither."""
        self._connecting.acquire()
        self._held_for_fork = self._writing.acquire(timeout=self._timeout)
        while self._idle:
            self._idle.pop().close()

    def after_fork_in_parent(self) -> None:
        """Let writers go on."""
        self._connecting.release()
        if self._held_for_fork:
            self._writing.release()

    def after_fork_in_child(self) -> list[tuple[str, object]]:
        """Close the connections of suspended iterators, and return those of threads that are not in this process."""
        for db, cursor in self._parked.items():
            cursor.close()  # with an open statement, SQLite would keep the connection, and with it the locks
            db.close()
        running: list[tuple[str, object]] = [(self._path, db) for db in self._used if db not in self._parked]
        self._writing, self._connecting = threading.Lock(), threading.Lock()
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


def identify(db: sqlite3.Connection) -> None:
    """Let a file be another one than all that stores may have seen under its name."""
    db.execute(f"PRAGMA application_id = {int.from_bytes(os.urandom(4), signed=True)}")


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
