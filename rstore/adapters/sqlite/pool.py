"""The connections to a SQLite file: the queue of its writers, and what a fork does to them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from weakref import WeakSet

from rstore.adapters.pool import Lease, Pool
from rstore.adapters.sqlite.file import Connection, DriverError, SqliteFile, immediate
from rstore.adapters.sqlite.forks import forks
from rstore.domain.errors import StoreNotAvailableError


class _Turn:
    """A connection to write, for the length of a ``with`` block, after which its file must still have its name."""

    # a class: a generator's context takes as long as a tenth of a write
    __slots__ = ("_db", "_file", "_lease", "_lock")

    def __init__(self, file: SqliteFile, lease: Lease[Connection], lock: threading.Lock) -> None:
        self._file, self._lease, self._lock = file, lease, lock

    def __enter__(self) -> Connection:
        if not self._lock.acquire(timeout=self._file.timeout):
            raise StoreNotAvailableError(
                f"{self._file.name}: another thread is writing to it for longer than the timeout"
            )
        try:
            self._db = self._lease.__enter__()
        except BaseException:
            self._lock.release()
            raise
        return self._db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._lease.__exit__(kind, error, trace)
            if error is None:
                self._file.check_named(self._db)
        finally:
            self._lock.release()


class SqlitePool:
    """The pool of connections to a file, for readers and for writers."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._pool = Pool(
            file.name,
            connect=self._connect,
            reset=_reset,
            errors=DriverError,
            translated=file.translated,
        )
        self.lease, self.check_open = self._pool.lease, self._pool.check_open
        self.close, self.end_session = self._pool.close, self._pool.end_session
        self._writing, self._connecting = threading.Lock(), threading.Lock()
        self._held_for_fork = False
        self._connected: WeakSet[Connection] = WeakSet()
        self._parked: dict[Connection, sqlite3.Cursor] = {}
        forks().watch(self)

    def open(self) -> None:
        """Look for the file and the namespace, or make them if the file may be written."""
        self._file.forget_identity()
        with self._pool.opening() as db:
            self._file.check_namespace(db)

    def _connect(self) -> Connection:
        with self._connecting:
            forks().check(self._file.path, self._file.name)
            db = self._file.connect()
            self._connected.add(db)
        return db

    # -- read and write -----------------------------------------------------------------------------------------------

    @contextmanager
    def parked(self, db: Connection, cursor: sqlite3.Cursor) -> Iterator[None]:
        """Mark, around a ``yield``, that a connection in use is not in the middle of a call; then check for a close."""
        self._parked[db] = cursor
        try:
            yield
        finally:
            self._parked.pop(db, None)
        self.check_open()

    def writer(self) -> _Turn:
        """Take a connection to write. Threads queue for it on a lock: in SQLite's busy timeout they would poll."""
        return _Turn(self._file, self.lease(), self._writing)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write, all or nothing. Other processes are waited for up to the timeout."""
        with self.writer() as db, immediate(db):
            yield db

    # -- fork ---------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let writers finish, and close the idle connections, so that the child inherits neither."""
        self._connecting.acquire()
        self._held_for_fork = self._writing.acquire(timeout=self._file.timeout)
        self._pool.close_idle()

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
        self._writing, self._connecting, self._parked = threading.Lock(), threading.Lock(), {}
        running: list[tuple[str, object]] = [(self._file.path, db) for db in self._connected if not db.closed]
        self._connected = WeakSet()
        return running


def _reset(db: Connection) -> bool:
    """End the transaction of a connection, and tell whether it may be used again."""
    if db.fleeting:
        return False
    try:
        if db.in_transaction:
            db.rollback()
    except sqlite3.Error:  # it is of no more use; or the interpreter ends, and has closed it
        return False
    return True
