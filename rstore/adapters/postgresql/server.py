"""A PostgreSQL server (13 or later): its address, how to connect to it, and what the driver's errors mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeAlias
from urllib.parse import unquote_plus

import psycopg
from attrs import field, frozen
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from rstore.adapters.pool import Session
from rstore.adapters.postgresql import statements as sql
from rstore.adapters.postgresql.arrays import Array, ArrayDumper
from rstore.domain.errors import StoreError, StoreNotAvailableError

Row: TypeAlias = tuple[Any, ...]

_OLDEST: Final = 13
_LARGE: Final = 1 << 20
_MANY: Final = 256  # rows
_MAY_BE_LARGE: Final = (bytes, list)  # a tuple: making their union for each value took a twentieth of a call's CPU
_MILLISECONDS_MOST: Final = 2**31 - 1

# The keys are error codes, or the first two characters of them: the class of the error.
_MESSAGES: Final[Mapping[str, str]] = {
    "08": "{}",
    "25006": "it is read-only, perhaps a standby: open it with frozen=True, or connect to the primary",
    "28": "the server refuses this user: {}",
    "3D": "there is no such database: {}",
    "40": "it conflicted with another transaction, and nothing was stored: repeat it",
    "42501": "this user lacks a privilege: {}",
    "53100": "the server's disk is full; nothing was stored",
    "53": "the server has no resources left: {}",
    "55P03": "another session held a lock for longer than the timeout (raise ?timeout=SECONDS or lock_timeout)",
    "57014": "the statement was cancelled, perhaps by statement_timeout; nothing was stored",
    "57": "the server is shutting down or starting: {}",
    "58": "the server has a problem with its disk: {}",
}
_ENDED: Final = ("57P01", "57P02")
"""An administrator has ended the session, perhaps while the commit was being replicated: then it is done already."""

_DAMAGED: Final[Mapping[str, str]] = {
    "25001": "{}",
    "54": "a value is larger than PostgreSQL can take (1 GB); nothing was stored",
    "XX": "the database is damaged: {}",
}


class Connection(psycopg.Connection[Row]):
    """A connection that keeps a cursor.

    A cursor that knows the types of its statements is a third faster than a new one.
    """

    session: Session[Connection]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for dumper in (Int8Dumper, Int8BinaryDumper):  # the default, the smallest type, makes a statement for each mix
            self.adapters.register_dumper(int, dumper)
        self.adapters.register_dumper(Array, ArrayDumper)
        self._cursor = self.cursor(binary=True)

    def rows(self, statement: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        """Execute a statement, and return what it selects."""
        rows = self._cursor.execute(statement, values).fetchall()
        self._drop_large(list(values.values()) if isinstance(values, Mapping) else values, *rows)
        return rows

    def send(self, statement: str, values: Sequence[object]) -> Callable[[], list[Row]]:
        """Send a statement in a pipeline, and return the call that waits for what it selects."""
        return self.cursor(binary=True).execute(statement, values).fetchall

    def _drop_large(self, *rows: Sequence[object]) -> None:
        """Let go of a cursor that would keep megabytes until it is used again."""
        # to look at each value of many rows would take longer than a new cursor
        if (
            len(rows) > _MANY
            or sum(len(value) for row in rows for value in row if isinstance(value, _MAY_BE_LARGE)) > _LARGE
        ):
            self._cursor = self.cursor(binary=True)


@frozen
class Server:
    """The address of a server. ``name`` is the address as it may be shown, ``timeout`` is in seconds."""

    name: str
    conninfo: Mapping[str, Any] = field(repr=False)
    durable: bool
    timeout: float
    prepares: bool

    @classmethod
    def at(cls, uri: str, durability: str, timeout: float) -> Self:
        """Parse a libpq URI. The option ``prepare=off`` is ours: for poolers that can't prepare statements.

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
        if at and ("/" in user or "@" in host):  # libpq would take a part of the password as a host, and show it
            raise ValueError(_bad_uri(""))
        try:
            given = conninfo_to_dict(f"{address}?{rest}" if rest else address)
        except psycopg.ProgrammingError as exc:
            raise ValueError(_bad_uri(str(exc))) from None
        if not all(port.isdecimal() for port in str(given.get("port") or 0).split(",") if port):
            raise ValueError(_bad_uri(""))
        waits = {
            "connect_timeout": max(2, round(timeout)),  # libpq reads 0 as no limit, and 1 as 2
            "tcp_user_timeout": min(_MILLISECONDS_MOST, max(1, round(1000 * timeout))),
            "fallback_application_name": "rstore",
        }
        return cls(
            _name(given), waits | given | {"client_encoding": "utf8"}, durability == "full", timeout, ours != ["off"]
        )

    @property
    def patience(self) -> int:
        """The longest wait for a lock, in milliseconds. It is never 0, which is no limit to the server."""
        return min(_MILLISECONDS_MOST, max(1, round(1000 * self.timeout)))

    def connect(self, *, fences: bool = False) -> Connection:
        """Return a new connection, outside of any transaction.

        A connection that ``fences`` begins a fencing epoch, if it leads to another server than that of the last writer.
        """
        threshold = 5 if self.prepares else None
        db = Connection.connect(**self.conninfo, autocommit=True, prepare_threshold=threshold)
        try:
            self._check(db)
            if fences:
                db.rows(sql.ARRIVE)
        except BaseException:
            db.close()
            raise
        return db

    def _check(self, db: Connection) -> None:
        if db.info.server_version < _OLDEST * 10_000:
            raise StoreNotAvailableError(f"{self.name}: PostgreSQL {_OLDEST} or later is needed")
        if db.info.parameter_status("server_encoding") != "UTF8":
            raise StoreNotAvailableError(
                f"{self.name}: the database has to have the encoding UTF8, since keys are any text"
            )

    def translated(self, error: psycopg.Error, wrote: bool) -> StoreError:
        """Return what a driver's error means to a user; after a write, also that its outcome may be unknown."""
        code = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
        text = (error.diag.message_primary or str(error)).strip()
        doubt = "; whether the write was stored is not known: look before you repeat it"
        for table, kind in ((_MESSAGES, StoreNotAvailableError), (_DAMAGED, StoreError)):
            message = table.get(code) or table.get(code[:2])
            if message:
                in_doubt = wrote and (code in _ENDED or code[:2] == "08")
                return kind(f"{self.name}: {message.format(text)}{doubt if in_doubt else ''}")
        return StoreError(f"{self.name}: {text}")


def _bad_uri(reason: str) -> str:
    """Say what is wrong with a URI, without showing any text that could be a part of its password."""
    option = reason.partition('invalid URI query parameter: "')[2].partition('"')[0]
    if option:
        ours = "durability=full|normal, timeout=SECONDS, prepare=on|off"
        return f"unknown option {option!r} in the DSN: use {ours}, or one of libpq's"
    return "it is not a PostgreSQL URI: special characters in a user name, password or host have to be %-encoded"


def _name(given: Mapping[str, Any]) -> str:
    """Return an address as it may be shown."""
    hosts, ports = str(given.get("host") or given.get("hostaddr") or ""), str(given.get("port") or "")
    port = f":{ports}" if ports else ""
    user = f"{given['user']}@" if given.get("user") else ""
    return f"postgresql://{user}{hosts}{port}/{given.get('dbname', '')}"
