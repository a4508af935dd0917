"""A PostgreSQL server (13 or later): its address, the connections to it, and what the driver's errors mean.

Every call is one statement, or one transaction, and leaves nothing in its session: any pooler may stand in between.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import unquote_plus

import psycopg
from attrs import Factory, field, frozen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from rstore.adapters.postgresql.schema import FUNCTIONS, SCHEMA_VERSION, TABLES, UPGRADES
from rstore.domain.errors import StoreClosedError, StoreError, StoreNotAvailableError

Row: TypeAlias = tuple[Any, ...]

_OLDEST: Final = 13
_LARGE: Final = 1 << 20
_MAY_BE_LARGE: Final = (bytes, list)  # a tuple: to make their union for each value was a twentieth of a call's CPU
_MILLISECONDS_MOST: Final = 2**31 - 1

# Two who create the schema at once: the second waits, and finds it there. The number is arbitrary, but ours.
_CREATION_LOCK: Final = "SELECT pg_advisory_xact_lock(7235430851)"

# The catalogue itself: to_regclass() may remember that there was none, before the lock was waited for. Its tables, not
# the views of them, which take five times as long to plan.
_HAS_SCHEMA: Final = """
    SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'rstore' AND c.relname = 'about')
"""

_ARRIVE: Final = "SELECT rstore.arrive()"

_OPEN_NAMESPACE: Final = "SELECT rstore.open_namespace(%s, %s, %s)"

_VERSION: Final = "SELECT schema_version FROM rstore.about"

# Of a schema that others use meanwhile: an upgrade waits for them no longer than a write would.
_PATIENCE: Final = "SELECT set_config('lock_timeout', %s, true)"

_HAS_NAMESPACE: Final = "SELECT EXISTS (SELECT FROM rstore.namespace WHERE name = %s)"

# By the first two characters of the error's code, or by all five.
_MESSAGES: Final[Mapping[str, str]] = {
    "08": "{}",
    "25006": "it is read-only, a standby perhaps: open it with frozen=True, or connect to the primary",
    "28": "the server refuses this user: {}",
    "3D": "there is no such database: {}",
    "40": "it was in the way of another transaction, and nothing was stored: repeat it",
    "42501": "this user lacks a privilege: {}",
    "53100": "the server's disk is full; nothing was stored",
    "53": "the server has no resources left: {}",
    "55P03": "somebody else held a lock for longer than the timeout (raise it with ?timeout=SECONDS, or lock_timeout)",
    "57014": "the statement was cancelled, by statement_timeout perhaps; nothing was stored",
    "57": "the server is going down or starting: {}",
    "58": "the server has a problem with its disk: {}",
}
_ENDED: Final = ("57P01", "57P02")
"""Somebody has ended the session: perhaps while the commit was being replicated, when it is done already."""

_DAMAGED: Final[Mapping[str, str]] = {
    "25001": "{}",
    "54": "a value is larger than PostgreSQL can take (1 GB); nothing was stored",
    "XX": "the database is damaged: {}",
}


class Connection(psycopg.Connection[Row]):
    """A connection that keeps a cursor: one that knows the types of its statements is a third faster than a new one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for dumper in (Int8Dumper, Int8BinaryDumper):  # the smallest type would do, and make a statement for each mix
            self.adapters.register_dumper(int, dumper)
        self._cursor = self.cursor(binary=True)

    def rows(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        """Execute a statement, and return what it selects."""
        rows = self._cursor.execute(sql, values).fetchall()
        self._forget_what_is_large(list(values.values()) if isinstance(values, Mapping) else values, *rows)
        return rows

    def rows_of_each(self, sql: str, values: Sequence[Sequence[object]]) -> list[Row]:
        """Execute a statement, which selects one row, with each of these values, in one round trip."""
        self._cursor.executemany(sql, values, returning=True)
        return [row for result in self._cursor.results() for row in result.fetchall()]

    def _forget_what_is_large(self, *rows: Sequence[object]) -> None:
        """Let go of a cursor that would keep megabytes until it is used again."""
        if sum(len(value) for row in rows for value in row if isinstance(value, _MAY_BE_LARGE)) > _LARGE:
            self._cursor = self.cursor(binary=True)


@frozen
class Server:
    """Where a server is and how to use it; ``name`` is the address as it may be shown, ``timeout`` is in seconds."""

    name: str
    conninfo: Mapping[str, Any] = field(repr=False)
    durable: bool
    timeout: float
    prepares: bool

    @classmethod
    def at(cls, uri: str, durability: str, timeout: float) -> Self:
        """Take a libpq URI apart. ``prepare=off`` is ours: prepare no statements, for poolers that can't.

        Raises:
            ValueError: it is not a URI that libpq takes.
        """
        address, _, query = uri.partition("?")
        pairs = [pair for pair in query.split("&") if pair]
        ours = [unquote_plus(pair).partition("=")[2] for pair in pairs if pair.startswith("prepare=")]
        rest = "&".join(pair for pair in pairs if not pair.startswith("prepare="))
        if ours not in ([], ["on"], ["off"]):
            raise ValueError(f"prepare is on or off, not {ours[-1]!r}")
        user, at, host = address.partition("//")[2].partition("@")
        if at and ("/" in user or "@" in host):  # libpq would take a part of the password for a host, and show it
            raise ValueError(_bad_uri(""))
        try:
            given = conninfo_to_dict(f"{address}?{rest}" if rest else address)
        except psycopg.ProgrammingError as exc:
            raise ValueError(_bad_uri(str(exc))) from None
        if not all(port.isdecimal() for port in str(given.get("port") or 0).split(",") if port):
            raise ValueError(_bad_uri(""))
        waits = {
            "connect_timeout": max(2, round(timeout)),  # libpq takes less for no limit at all
            "tcp_user_timeout": min(_MILLISECONDS_MOST, max(1, round(1000 * timeout))),
            "fallback_application_name": "rstore",
        }
        return cls(
            _shown(given), waits | given | {"client_encoding": "utf8"}, durability == "full", timeout, ours != ["off"]
        )

    @property
    def patience(self) -> int:
        """The longest wait for a lock, in milliseconds; to the server, 0 would be no limit."""
        return min(_MILLISECONDS_MOST, max(1, round(1000 * self.timeout)))

    def connect(self, *, arrives: bool = False) -> Connection:
        """Return a new connection, outside of any transaction.

        That of a writer arrives: it may be one to another server than the last.
        """
        threshold = 5 if self.prepares else None
        db = Connection.connect(**self.conninfo, autocommit=True, prepare_threshold=threshold)
        try:
            self._check(db)
            if arrives:
                db.rows(_ARRIVE)
        except BaseException:
            db.close()
            raise
        return db

    def _check(self, db: Connection) -> None:
        if db.info.server_version < _OLDEST * 10_000:
            raise StoreNotAvailableError(f"{self.name}: PostgreSQL {_OLDEST} or later is needed")
        if db.info.parameter_status("server_encoding") != "UTF8":
            raise StoreNotAvailableError(
                f"{self.name}: the database has to have the encoding UTF8, for keys are any text"
            )

    def translated(self, error: psycopg.Error, *, wrote: bool = False) -> StoreError:
        """Return what a driver's error means to a user, who may have to know that a write's outcome is unknown."""
        code = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
        text = (error.diag.message_primary or str(error)).strip()
        doubt = "; whether what was being written is stored is not known: look before you repeat it"
        for table, kind in ((_MESSAGES, StoreNotAvailableError), (_DAMAGED, StoreError)):
            message = table.get(code) or table.get(code[:2])
            if message:
                in_doubt = wrote and (code in _ENDED or code[:2] == "08")
                return kind(f"{self.name}: {message.format(text)}{doubt if in_doubt else ''}")
        return StoreError(f"{self.name}: {text}")


def _bad_uri(reason: str) -> str:
    """Say what is wrong with a URI, without showing what could be a part of its password."""
    option = reason.partition('invalid URI query parameter: "')[2].partition('"')[0]
    if option:
        ours = "durability=full|normal, timeout=SECONDS, prepare=on|off"
        return f"unknown option {option!r} in the DSN: use {ours}, or one of libpq's"
    return "it is not a PostgreSQL URI: special characters in a user name, password or host have to be %-encoded"


def _shown(given: Mapping[str, Any]) -> str:
    hosts, ports = str(given.get("host") or given.get("hostaddr") or ""), str(given.get("port") or "")
    port = f":{ports}" if ports else ""
    user = f"{given['user']}@" if given.get("user") else ""
    return f"postgresql://{user}{hosts}{port}/{given.get('dbname', '')}"


@frozen(eq=False)
class Session:
    """Connections that one process has opened, and that are idle. Those of an earlier session are not used again."""

    process: int = Factory(os.getpid)
    idle: deque[Connection] = Factory(deque)


class Pool:
    """The connections of one log. Each call takes one for as long as it runs; threads never share one.

    psycopg_pool was rejected: it connects in threads of its own, so that a caller waits for the whole timeout where the
    server's refusal is there at once, and not before a pause after the server has come back; and threads don't
    outlive a fork.
    """

    def __init__(self, server: Server, namespace: str, frozen: bool, connected: Callable[[], None]) -> None:
        self._server, self._namespace, self._frozen, self._connected = server, namespace, frozen, connected
        self._opened = False
        self._arrives = False  # whether new connections do: once there is a schema
        self._inherited: list[Connection] = []
        self._session = Session()

    def open(self) -> None:
        """Look for the schema and the namespace, or make them if the log may be written."""
        self._opened, self._arrives = True, False
        try:
            with self.lease(wrote=not self._frozen) as db:
                self._check_schema(db)
                if self._frozen and not self._fetch(db, _HAS_NAMESPACE, self._namespace):
                    raise self._missing()
                if not self._frozen:
                    db.rows(_ARRIVE)
                    self._arrives = True
                    db.rows(_OPEN_NAMESPACE, (self._server.patience, self._server.durable, self._namespace))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections that nobody uses; the others follow when they are given back."""
        self._opened = False
        ended, self._session = self._session, Session()
        while ended.idle and ended.process == os.getpid():
            ended.idle.pop().close()

    def check_open(self) -> None:
        """Raise if the log is not open."""
        if not self._opened:
            raise StoreClosedError(self._server.name)

    def _check_schema(self, db: Connection) -> None:
        if not self._fetch(db, _HAS_SCHEMA):
            if self._frozen:
                raise self._missing()
            self._make_schema(db)
        version = self._fetch(db, _VERSION)
        if version in UPGRADES and not self._frozen:  # readers need nothing that it has not
            self._make_schema(db)
        elif version not in (*UPGRADES, SCHEMA_VERSION):
            raise StoreNotAvailableError(
                f"{self._server.name} has schema version {version}, this rstore knows {SCHEMA_VERSION}: "
                "install a newer rstore"
            )

    def _make_schema(self, db: Connection) -> None:
        """Make the schema, or that of an earlier version into ours, unless somebody else has just done so."""
        with db.transaction():
            db.execute(_CREATION_LOCK)
            if not self._fetch(db, _HAS_SCHEMA):
                db.execute(TABLES + FUNCTIONS)
            elif (version := self._fetch(db, _VERSION)) in UPGRADES:
                db.execute(_PATIENCE, (str(self._server.patience),))
                db.execute(UPGRADES[version] + FUNCTIONS)

    def _missing(self) -> StoreNotAvailableError:
        return StoreNotAvailableError(
            f"no namespace {self._namespace!r} in {self._server.name} (open it with frozen=False to create it)"
        )

    @staticmethod
    def _fetch(db: Connection, sql: str, *values: object) -> Any:
        return db.rows(sql, values)[0][0]

    def lease(self, *, wrote: bool = False) -> Lease:
        """Take a connection for the length of a ``with`` block, which also translates the driver's errors."""
        return Lease(self, wrote)

    def take(self) -> tuple[Connection, Session]:
        """Take a connection that is idle, or open one."""
        self.check_open()
        if self._session.process != os.getpid():  # forked: the sockets are the parent's; they are kept, and never used
            self._inherited.extend(self._session.idle)
            self._session = Session()
        session = self._session
        while session.idle:
            try:
                db = session.idle.pop()
            except IndexError:  # another thread was faster
                break
            if _is_alive(db):
                return db, session
            db.close()
        try:
            db = self._server.connect(arrives=self._arrives)
        except psycopg.Error as exc:
            raise self._server.translated(exc) from exc
        self._connected()
        return db, session

    def give(self, db: Connection, session: Session) -> None:
        """Give a connection back. One of another session is closed; one from before a fork is never touched again."""
        if session.process != os.getpid():
            self._inherited.append(db)
            return
        if db.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            with suppress(psycopg.Error):
                db.rollback()
        if session is self._session and db.pgconn.transaction_status == TransactionStatus.IDLE:
            session.idle.append(db)
        else:
            db.close()

    def translated(self, error: psycopg.Error, *, wrote: bool) -> StoreError:
        """Return what a driver's error means; after a close, that it was closed."""
        return self._server.translated(error, wrote=wrote) if self._opened else StoreClosedError(self._server.name)


class Lease:
    """A connection for the length of a ``with`` block."""

    __slots__ = ("_db", "_pool", "_session", "_wrote")

    def __init__(self, pool: Pool, wrote: bool) -> None:
        self._pool, self._wrote = pool, wrote

    def __enter__(self) -> Connection:
        self._db, self._session = self._pool.take()
        return self._db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.give(self._db, self._session)
        if isinstance(error, psycopg.Error):
            raise self._pool.translated(error, wrote=self._wrote) from error


def _is_alive(db: Connection) -> bool:
    """Tell whether a connection that was idle is still open at the other end, without asking the server."""
    try:
        db.pgconn.consume_input()
        db.pgconn.consume_input()  # if the first has read a farewell, this one sees the end
    except psycopg.Error:
        return False
    return bool(db.pgconn.status == ConnStatus.OK)
