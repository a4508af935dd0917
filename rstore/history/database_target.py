"""A database as a target: read models in its tables, and their checkpoints in the same transactions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from rstore.domain.errors import StoreError
from rstore.history.skipping import Skipped
from rstore.history.targets import CheckpointMovedError


class _Dialect(NamedTuple):
    """The parts in which the statements of two databases differ.

    Attributes:
        mark: stands for a parameter.
        begin: begins a transaction that writes.
        alone: holds up other processes that would create the tables too, until the end of the transaction.
        exists: has a row if the tables are there. A user who may not create tables can work with those that are there.
    """

    mark: str
    begin: str
    alone: str
    exists: str


_SQLITE: Final = _Dialect(
    "?", "BEGIN IMMEDIATE", "SELECT 1", "SELECT 1 FROM sqlite_master WHERE name = 'rstore_checkpoints'"
)
_POSTGRESQL: Final = _Dialect(
    "%s",
    "BEGIN",
    "SELECT pg_advisory_xact_lock(hashtext('rstore_checkpoints'))",
    "SELECT 1 WHERE to_regclass('rstore_checkpoints') IS NOT NULL",
)
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS rstore_checkpoints (name TEXT PRIMARY KEY, checkpoint TEXT NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS rstore_skipped (name TEXT NOT NULL, place BIGINT NOT NULL, "
        "recorded BIGINT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, version BIGINT NOT NULL, "
        "checkpoint TEXT NOT NULL, error TEXT NOT NULL, PRIMARY KEY (name, place))"
    ),
)
_SELECT: Final = "SELECT checkpoint FROM rstore_checkpoints WHERE name = ?"
_INSERT: Final = "INSERT INTO rstore_checkpoints VALUES (?, ?) ON CONFLICT DO NOTHING"
_UPDATE: Final = "UPDATE rstore_checkpoints SET checkpoint = ? WHERE name = ? AND checkpoint = ?"
_DELETE: Final = "DELETE FROM rstore_checkpoints WHERE name = ? AND checkpoint = ?"
_SKIP: Final = (
    "INSERT INTO rstore_skipped SELECT ?, coalesce(max(place), 0) + 1, ?, ?, ?, ?, ?, ? "
    "FROM rstore_skipped WHERE name = ?"
)
_SKIPPED: Final = (
    "SELECT recorded, kind, key, version, checkpoint, error FROM rstore_skipped WHERE name = ? ORDER BY place"
)
_FORGET: Final = "DELETE FROM rstore_skipped WHERE name = ?"
_CONFLICTS: Final = ("40001", "40P01")
"""The codes of PostgreSQL for transactions that may succeed if they are begun anew."""


class DatabaseTarget:
    """A database as a :class:`Target`, by a connection of ``sqlite3`` or ``psycopg``. Functions get a cursor.

    The tables ``rstore_checkpoints`` and ``rstore_skipped`` are made in it. While a projection runs, it alone uses the
    connection, and commits. So a function must not commit.

    >>> import sqlite3
    >>> connection = sqlite3.connect(':memory:')
    >>> _ = connection.execute('CREATE TABLE prices (key TEXT PRIMARY KEY, price INTEGER)')
    >>> def note(change, cursor):
    ...     cursor.execute('INSERT OR REPLACE INTO prices VALUES (?, ?)', (change.key, change.value))
    >>> store['apple'], store['pear'] = 3, 4
    >>> Projector(store, DatabaseTarget(connection)).project('prices', note, kind='kv')
    2
    >>> connection.execute('SELECT * FROM prices').fetchall()
    [('apple', 3), ('pear', 4)]
    """

    def __init__(self, connection: Any) -> None:
        """Take a connection.

        Raises:
            TypeError: it is none of these.
        """
        self._connection = connection
        self._is_sqlite = _is_of("sqlite3", connection)
        if not self._is_sqlite and not _is_of("psycopg", connection):
            raise TypeError(
                f"this takes a connection of sqlite3 or psycopg, not {type(connection).__name__}: for others, write a "
                "Target; the page about read models has examples"
            )
        self._dialect = _SQLITE if self._is_sqlite else _POSTGRESQL
        self._is_ready = False
        self.own_errors: tuple[type[Exception], ...] = (connection.OperationalError, connection.InterfaceError)

    @contextmanager
    def transaction(self, name: str) -> Iterator[Any]:
        """Begin a transaction, and yield a cursor."""
        if self._is_busy():
            raise StoreError("a transaction is open on this connection: end it before the projection runs")
        try:
            if self._is_sqlite or self._connection.autocommit:  # else the first statement begins it
                self._run(self._dialect.begin)
            yield self._connection.cursor()
            self._commit()
        except BaseException as exc:
            with suppress(self._connection.Error):  # the connection is lost, and so is the transaction
                if self._is_busy():
                    self._run("ROLLBACK")
            if getattr(exc, "sqlstate", None) in _CONFLICTS:
                raise CheckpointMovedError(name) from exc
            raise

    def _commit(self) -> None:
        if not self._is_busy():
            raise StoreError("a function has ended the transaction of its projection: it should write, and not commit")
        status = getattr(self._run("COMMIT"), "statusmessage", None)
        if status == "ROLLBACK":
            raise StoreError("a statement has failed, and a function has hidden its error: nothing was stored")

    def _is_busy(self) -> bool:
        if self._is_sqlite:
            return bool(self._connection.in_transaction)
        return bool(self._connection.info.transaction_status)

    def _run(self, statement: str, *parameters: object) -> Any:
        cursor = self._connection.cursor()
        cursor.row_factory = _plain_rows(self._is_sqlite)  # the user's may make dicts
        return cursor.execute(statement.replace("?", self._dialect.mark), parameters)

    def _rows(self, statement: str, *parameters: object) -> list[Any]:
        """Return the rows of a statement outside of transactions."""
        if self._is_busy():
            raise StoreError("a transaction is open on this connection: end it before the projection runs")
        try:
            return list(self._run(statement, *parameters).fetchall())
        finally:
            if self._is_busy():  # psycopg has begun one
                self._run("ROLLBACK")

    def _prepare(self) -> None:
        if not self._is_ready and not self._rows(self._dialect.exists):
            with self.transaction(""):
                for statement in (self._dialect.alone, *_TABLES):
                    self._run(statement)
        self._is_ready = True

    def checkpoint(self, name: str) -> str | None:
        """Return the checkpoint of a projection."""
        self._prepare()
        rows = self._rows(_SELECT, name)
        return rows[0][0] if rows else None

    def advance(self, name: str, before: str | None, after: str | None) -> bool:
        """Move the checkpoint. Other processes wait here until the transaction ends."""
        if before is None:
            is_first = bool(self._run(_INSERT, name, after or "").rowcount == 1)
            if is_first and after is None:  # by the row, other processes wait until the end, too
                self._run(_DELETE, name, "")
            return is_first
        if after is None:
            return bool(self._run(_DELETE, name, before).rowcount == 1)
        return bool(self._run(_UPDATE, after, name, before).rowcount == 1)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Begin a savepoint."""
        self._run("SAVEPOINT rstore_call")
        try:
            yield
        except BaseException:
            self._run("ROLLBACK TO SAVEPOINT rstore_call")
            self._run("RELEASE SAVEPOINT rstore_call")
            raise
        self._run("RELEASE SAVEPOINT rstore_call")

    def skip(self, name: str, skipped: Skipped) -> None:
        """Add a row to the table of skipped changes."""
        self._run(_SKIP, name, *skipped, name)

    def skipped(self, name: str) -> list[Skipped]:
        """Return the skipped changes."""
        self._prepare()
        return [Skipped(*row) for row in self._rows(_SKIPPED, name)]

    def forget_skipped(self, name: str) -> None:
        """Delete the rows of skipped changes."""
        self._run(_FORGET, name)


def _is_of(driver: str, connection: object) -> bool:
    """Tell whether a connection is one of a driver. Without an import, there is none."""
    module = sys.modules.get(driver)
    return module is not None and isinstance(connection, module.Connection)


def _plain_rows(is_sqlite: bool) -> Any:
    if is_sqlite:
        return None
    from psycopg.rows import tuple_row

    return tuple_row
