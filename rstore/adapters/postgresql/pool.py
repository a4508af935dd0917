"""The connections of one log in PostgreSQL, and the schema that the first one makes.

Every call is one statement, or one transaction, and leaves nothing in its session: any pooler may stand in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from rstore.adapters.pool import Pool
from rstore.adapters.postgresql import statements as sql
from rstore.adapters.postgresql.server import Connection, Server
from rstore.domain.errors import StoreNotAvailableError
from rstore.domain.rules import no_namespace


class PostgresqlPool:
    """The pool of connections of one log.

    Rejected: psycopg_pool. It connects in threads of its own. So a caller waits for the whole timeout where the server
    refuses at once, and for a pause after the server has come back. And its threads don't outlive a fork.
    """

    def __init__(self, server: Server, namespace: str, frozen: bool, connected: Callable[[], None]) -> None:
        """Describe the pool. ``connected`` is called after each new connection."""
        self._server, self._namespace, self._frozen, self._connected = server, namespace, frozen, connected
        self._fences = False  # whether new connections do: once there is a schema
        self._pool = Pool(
            server.name,
            connect=self._connect,
            is_alive=is_alive,
            reset=_reset,
            errors=(psycopg.Error,),
            translated=server.translated,
        )
        self.lease, self.check_open, self.close = self._pool.lease, self._pool.check_open, self._pool.close

    def open(self) -> None:
        """Look for the schema and the namespace, or make them if the log may be written."""
        self._fences = False
        with self._pool.opening(wrote=not self._frozen) as db:
            self._check_schema(db)
            if self._frozen and not _fetch(db, sql.HAS_NAMESPACE, self._namespace):
                raise self._missing()
            if not self._frozen:
                db.rows(sql.ARRIVE)
                self._fences = True
                db.rows(sql.OPEN_NAMESPACE, (self._server.patience, self._server.durable, self._namespace))

    def _connect(self) -> Connection:
        db = self._server.connect(fences=self._fences)
        self._connected()
        return db

    def _check_schema(self, db: Connection) -> None:
        if not _fetch(db, sql.HAS_SCHEMA):
            if self._frozen:
                raise self._missing()
            self._make_schema(db)
        version = _fetch(db, sql.VERSION)
        if version in sql.UPGRADES and not self._frozen:  # readers need nothing that an earlier schema lacks
            self._make_schema(db)
        elif version not in (*sql.UPGRADES, sql.SCHEMA_VERSION):
            raise StoreNotAvailableError(
                f"{self._server.name} has schema version {version}, this rstore knows {sql.SCHEMA_VERSION}: "
                "install a newer rstore"
            )

    def _make_schema(self, db: Connection) -> None:
        """Make the schema, or turn that of an earlier version into ours, unless another process has just done so."""
        with db.transaction():
            db.execute(sql.CREATION_LOCK)
            if not _fetch(db, sql.HAS_SCHEMA):
                db.execute(sql.script("schema.sql") + sql.script("functions.sql"))
            elif (version := _fetch(db, sql.VERSION)) in sql.UPGRADES:
                db.execute(sql.PATIENCE, (str(self._server.patience),))
                changes = [change for earlier, change in sql.UPGRADES.items() if earlier >= version]
                db.execute("".join(changes) + sql.script("functions.sql"))

    def _missing(self) -> StoreNotAvailableError:
        return no_namespace(self._server.name, self._namespace)


def _fetch(db: Connection, statement: str, *values: object) -> Any:
    return db.rows(statement, values)[0][0]


def is_alive(db: Connection) -> bool:
    """Tell whether a connection that was idle is still open at the other end, without asking the server."""
    try:
        db.pgconn.consume_input()
        db.pgconn.consume_input()  # if the first has read a farewell, this one sees the end
    except psycopg.Error:
        return False
    return bool(db.pgconn.status == ConnStatus.OK)


def _reset(db: Connection) -> bool:
    """End the transaction of a connection, and tell whether it may be used again."""
    if db.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        with suppress(psycopg.Error):
            db.rollback()
    return bool(db.pgconn.transaction_status == TransactionStatus.IDLE)
