"""A SQLite file (3.35 or later): its creation, its identity and its deletion, and what the driver's errors mean.

Write-ahead logging allows any number of readers beside one writer.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, Final

from rstore.adapters.pool import Session
from rstore.adapters.sqlite import statements as sql
from rstore.domain.errors import StoreError, StoreNotAvailableError
from rstore.domain.rules import no_namespace
from rstore.domain.streams import Stream

CREATE: Final = ("schema.sql", "heads.sql", "triggers.sql")
SHOW_AS_NEW: Final = "version_1.sql"
MIGRATE: Final = (SHOW_AS_NEW, "heads.sql", "migration.sql", "triggers.sql")  # triggers last: what moves is not new

_LONGEST_SECONDS: Final = 2_000_000.0  # SQLite counts milliseconds in 32 bits
_RETRY_SECONDS: Final = 0.005
_IMMUTABLE: Final = "mode=ro&immutable=1"
_ATTEMPTS: Final = 5
_IDS: Final = 16_384

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

DriverError = (sqlite3.Error, UnicodeDecodeError)
"""In a damaged file, the driver fails to decode even the message that would say so."""


class Connection(sqlite3.Connection):
    """A connection that knows the id of its namespace; 0 if there is none.

    ``place`` is the device and inode of its file, whatever the file's name leads to by now. ``ids`` caches the ids of
    keys. A ``fleeting`` connection serves one call only: it sees the file as it was when the connection was opened, or
    in the schema that it had then.
    """

    session: Session[Connection]
    namespace: int = 0
    place: tuple[int, int] | None = None
    fleeting: bool = False
    closed: bool = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ids: dict[Stream, int] = {}

    def close(self) -> None:
        super().close()
        self.closed = True

    def __del__(self) -> None:
        # else Python warns of iterators that were dropped, though the store that they read from was closed
        with suppress(sqlite3.ProgrammingError):  # it could not be opened
            self.close()

    def remember(self, stream: Stream, number: int) -> None:
        """Keep the id of a key, and forget all others if there are too many."""
        if len(self.ids) >= _IDS:
            self.ids.clear()
        self.ids[stream] = number


class SqliteFile:
    """A file with one namespace of it. Only SQLite opens the file.

    POSIX drops all locks of a process on a file when the process closes that file anywhere. So the file is looked at
    by its name, with ``stat``, and never opened here.
    """

    def __init__(
        self, path: str, durability: str, timeout: float, namespace: str, frozen: bool, *, adopt: bool = False
    ) -> None:
        """Describe the file. With ``adopt`` a file that holds tables of another application becomes a store as well."""
        self.name = f"sqlite://{path}"
        self.path = os.path.realpath(path)
        self.timeout = min(timeout, _LONGEST_SECONDS)
        self._durability, self._namespace, self._frozen, self._adopt = durability, namespace, frozen, adopt
        self._identity: int | None = None

    # -- connect ------------------------------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """Return a new connection. One that may write makes the file, the schema and the namespace if there are none.

        Raises:
            StoreNotAvailableError: there is no such file, or it is not a store's, or is being deleted again and again.
            sqlite3.Error, UnicodeDecodeError: the driver's own.
        """
        deadline = time.monotonic() + self.timeout
        try:
            for attempt in count():
                db = self._try_to_connect()
                if db is not None:
                    return db
                if attempt > _ATTEMPTS and time.monotonic() > deadline:
                    raise StoreNotAvailableError(f"{self.name} is being deleted again and again")
        except DriverError:
            if self._frozen and self._is_missing():
                raise StoreNotAvailableError(f"no file {self.name} (open it with frozen=False to create it)") from None
            raise
        raise AssertionError("unreachable")

    def _try_to_connect(self) -> Connection | None:
        """Return a connection; or None if the name leads to another file by now, so that the caller tries again."""
        found, mode = self._locate(), self._mode()
        db = sqlite3.connect(
            f"{Path(self.path).as_uri()}?{mode}",
            uri=True,
            timeout=self.timeout,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
        )
        try:
            if not self._frozen:
                self._prepare(db)
            if version := self._schema_version(db):
                if version < sql.SCHEMA_VERSION:
                    _run(db, SHOW_AS_NEW)
                    db.fleeting = True
                row = db.execute(sql.NAMESPACE, (self._namespace,)).fetchone()
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
        db.place, db.fleeting = found, db.fleeting or mode == _IMMUTABLE
        return db

    def _mode(self) -> str:
        if not self._frozen:
            return "mode=rwc"
        may_write_beside = os.access(os.path.dirname(self.path), os.W_OK)
        # where no -shm file can be made, a file that nobody has open can still be read as it is
        return "mode=ro" if may_write_beside or os.path.exists(f"{self.path}-wal") else _IMMUTABLE

    # -- create -------------------------------------------------------------------------------------------------------

    def _prepare(self, db: Connection) -> None:
        """Make a connection durable, and the schema and the namespace if there are none."""
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreNotAvailableError(f"SQLite 3.35 or later is needed, this is {sqlite3.sqlite_version}")
        if self._schema_version(db) == 0 and not self._adopt:  # nothing is changed in a file that is not ours
            self._check_unused(db)
        self._log_ahead(db)
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'full' else 'NORMAL'}")
        db.execute("PRAGMA fullfsync = ON")  # on macOS, where fsync alone does not reach the disk
        if self._schema_version(db) < sql.SCHEMA_VERSION:
            with immediate(db):
                self._create_schema(db)
        row = db.execute(sql.NAMESPACE, (self._namespace,)).fetchone()
        if row is None or not row[1]:
            with immediate(db):
                self.revive_namespace(db)

    def _check_unused(self, db: Connection) -> None:
        if db.execute(sql.IS_FOREIGN).fetchone()[0]:
            raise StoreNotAvailableError(
                f"{self.name} holds tables of another application: choose another name, or keep a store beside them "
                f"with the DSN '{self.name}?adopt=yes'; nothing was changed"
            )

    def _log_ahead(self, db: Connection) -> None:
        deadline = time.monotonic() + self.timeout
        while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                    return
            except sqlite3.OperationalError as exc:  # SQLite itself does not wait for others that set the mode too
                if not exc.sqlite_errorname.startswith("SQLITE_BUSY"):
                    raise
            if time.monotonic() > deadline:
                raise StoreNotAvailableError(f"{self.name}: it is in use, or its disk can't do write-ahead logging")
            time.sleep(_RETRY_SECONDS)

    def _create_schema(self, db: Connection) -> None:
        version = self._schema_version(db)
        if version < sql.SCHEMA_VERSION:  # nobody was faster
            for name in CREATE if version == 0 else MIGRATE:
                _run(db, name)
            if version == 0:
                identify(db)
            db.execute(f"PRAGMA user_version = {sql.SCHEMA_VERSION}")

    def _schema_version(self, db: Connection) -> int:
        """Return the version of the schema; 0 if the file holds nothing of a store."""
        version, is_ours = db.execute(sql.VERSION).fetchone()
        if version in (range(1, sql.SCHEMA_VERSION + 1) if is_ours else (0,)):
            return int(version)
        reason = (
            f"has schema version {version}, this rstore knows {sql.SCHEMA_VERSION}: install a newer rstore"
            if is_ours
            else f"is another application's file (its user_version is {version}): choose another name"
        )
        raise StoreNotAvailableError(f"{self.name} {reason}")

    def revive_namespace(self, db: Connection) -> int:
        """Make sure that the namespace is there, and return its floor."""
        db.namespace, floor = db.execute(sql.REVIVE, (self._namespace,)).fetchall()[0]
        return int(floor)

    def check_namespace(self, db: Connection) -> None:
        """Raise if there is no such namespace."""
        row = db.execute(sql.NAMESPACE, (self._namespace,)).fetchone() if db.namespace else None
        if row is None or not row[1]:
            raise no_namespace(self.name, self._namespace)

    # -- identity -----------------------------------------------------------------------------------------------------

    def _locate(self) -> tuple[int, int] | None:
        """Return device and inode of the file with this name: no other has them as long as a connection is open."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _is_missing(self) -> bool:
        try:
            os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False

    def forget_identity(self) -> None:
        """Accept any file under the name from now on."""
        self._identity = None

    def _check_identity(self, db: Connection) -> None:
        """Raise if this is another file than the one that was opened: nothing that is cached holds for it."""
        identity = db.execute(sql.IDENTITY).fetchone()[0]
        if self._identity is None:
            self._identity = identity
        elif self._identity != identity:
            raise StoreNotAvailableError(f"{self.name} was replaced by another file: close the store and open it again")

    def check_named(self, db: Connection) -> None:
        """Raise if the file of a connection has lost its name.

        A write to an unlinked file is lost, so writers call this after each write (1-2 us). Readers don't: it takes an
        eighth of the time of reading a value.
        """
        if self._locate() != db.place:
            raise StoreNotAvailableError(
                f"{self.name} was deleted, or replaced by another file, in which nothing was stored: close the "
                "store and open it again"
            )

    # -- delete -------------------------------------------------------------------------------------------------------

    def checkpoint(self, db: Connection) -> None:
        """Empty the write-ahead log, unless others are still reading from it: the last one to close does it then."""
        db.execute("PRAGMA busy_timeout = 0")
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.execute(f"PRAGMA busy_timeout = {int(self.timeout * 1000)}")

    def is_deserted(self, db: sqlite3.Connection) -> bool:
        """Tell whether the file holds neither a namespace nor tables of another application."""
        return not any(db.execute(question).fetchone()[0] for question in (sql.IS_USED, sql.IS_FOREIGN))

    def unlink(self) -> None:
        """Delete the file, unless others have it open: their writes must not go with it.

        A process that waits for the lock meanwhile has opened a file that has no name any more. It finds that out when
        it compares the two.
        """
        self.forget_identity()
        try:
            db = sqlite3.connect(f"{Path(self.path).as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None)
        except sqlite3.OperationalError:  # another process has deleted it
            return
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = DELETE")  # fails while there is any other connection
            db.execute("BEGIN EXCLUSIVE")
            if self.is_deserted(db):
                os.unlink(self.path)
        except (sqlite3.OperationalError, OSError):  # it stays, empty
            return
        finally:
            db.close()

    # -- errors -------------------------------------------------------------------------------------------------------

    def translated(self, error: sqlite3.Error | UnicodeDecodeError, wrote: bool) -> StoreError:  # noqa: ARG002  # alike
        """Return what a driver's error means to a user."""
        if isinstance(error, UnicodeDecodeError):
            return StoreError(f"{self.name}: {_DAMAGED['SQLITE_CORRUPT']}")
        code = getattr(error, "sqlite_errorname", type(error).__name__)
        primary = "_".join(code.split("_")[:2])
        if primary in _MESSAGES:
            return StoreNotAvailableError(f"{self.name}: {_MESSAGES[primary]}")
        return StoreError(f"{self.name}: {_DAMAGED.get(primary, str(error))}")


def script(name: str) -> list[str]:
    """Return the statements of a file beside this module; read at creation only, and so not kept."""
    return files("rstore.adapters.sqlite").joinpath(name).read_text(encoding="utf-8").split(";\n\n")


def _run(db: sqlite3.Connection, name: str) -> None:
    for statement in script(name):
        db.execute(statement)


def identify(db: sqlite3.Connection) -> None:
    """Give a file a new identity, other than that of any file which stores may have seen under its name."""
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
