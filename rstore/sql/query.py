"""Running a query: a connection of its own that can reach nothing else, and types that the values decide.

The type of a column of values is not known before they are read, and DuckDB needs it before it runs a query. So a
query runs on the type of the first values that its conditions on keys and times let through. If it meets a value of
another type, it begins anew with a type for both. To know these conditions, it first runs on tables without rows.

Rejected: reading all values beforehand, which takes the time twice. Rejected: JSON for all values, where ``avg(value)``
would need a cast.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, reduce
from typing import Any, Final

import duckdb
import pyarrow as pa

from rstore.core import Reading
from rstore.sql.catalog import tables_of
from rstore.sql.kinds import FLOAT, MOMENT, NOTHING, TEXT, MisfitError, joint
from rstore.sql.pushed import EVERYTHING
from rstore.sql.scan import Mode, Request, Scan, UnforeseenError, peek
from rstore.sql.statement import Parameters, Statement, statement_of
from rstore.sql.tables import Table

_CONFIGURATION: Final[dict[str, Any]] = {
    "enable_external_access": False,  # no files, no network, no extensions
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "temp_directory": "",  # values that are encrypted in the log would be in clear there
    "threads": 1,  # a scan reads in the thread of its caller, which transactions and SQLite need
}
_SETTINGS: Final = (
    "SET disabled_filesystems = 'LocalFileSystem'",  # else a query can write a file that is named :memory:
    "SET GLOBAL python_enable_replacements = false",  # no variable of the caller is a table
    "SET GLOBAL TimeZone = 'UTC'",
    "SET lock_configuration = true",
)
_GUESSES: Final = (FLOAT, TEXT, MOMENT)
"""The types that a query tries on a table that it may never read. If it reads it, the values decide."""
_RESTARTS: Final = 8
"""After so many restarts because of a table, all of it is read to find its columns."""
_INTERRUPTED: Final = "Query interrupted"
"""The message of a RuntimeError, which DuckDB raises in place of KeyboardInterrupt while it computes."""
_LINE: Final = re.compile(r"\s*LINE (\d+): (.*)\n( *)\^.*", re.DOTALL)


def run(core: Reading, query: str, parameters: Parameters) -> tuple[Any, int]:
    """Return the result of a query as a table of Arrow, and how many values could not be loaded.

    Raises:
        ValueError: DuckDB refuses the query, or it fails; the message says why, and where.
    """
    with _connection() as connection, _errors():
        statement = statement_of(connection, query, parameters)
        tables = tables_of(core, statement.tables)
        try:
            rows = _Run(connection, statement, tables, parameters).result()
        except duckdb.Error:
            if statement.text == query:
                raise
            # the error should show the query of the user
            rows = _Run(connection, statement._replace(text=query), tables, parameters).result()
        return _with_ints(rows), sum(table.lost.count for table in tables.values())


def _with_ints(rows: Any) -> Any:
    """Return rows with ints of 64 bits in place of those of 128 bits, such as sums, where they fit."""
    for place, column in enumerate(rows.columns):
        if column.type == pa.decimal128(38, 0):
            with suppress(pa.ArrowInvalid):  # an int that does not fit
                rows = rows.set_column(place, rows.field(place).name, column.cast(pa.int64()))
    return rows


@contextmanager
def _connection() -> Iterator[Any]:
    connection = _database(os.getpid()).cursor()
    try:
        yield connection
    finally:
        connection.close()


@cache
def _database(_process: int) -> Any:
    """Return the empty database of a process, which takes ten times as long to make as a connection with its tables.

    The tables of a query belong to its connection, and end with it. A forked process makes its own database: locks of
    its parent's may be held for ever.
    """
    database = duckdb.connect(":memory:", config=_CONFIGURATION)
    for setting in _SETTINGS:
        database.execute(setting).fetchall()
    return database


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except RuntimeError as exc:
        if str(exc) == _INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    except duckdb.Error as exc:
        raise ValueError(_one_line(str(exc))) from None


def _one_line(text: str) -> str:
    """Return the message of DuckDB in one line, with the place in the query."""
    _, _, message = text.partition(": ")
    found = _LINE.search(message)
    place = ""
    if found is not None:
        line, shown, caret = found[1], found[2], len(found[3]) - len(f"LINE {found[1]}: ")
        place = f" (line {line})" if shown.startswith("...") else f" (line {line}, column {caret + 1})"
        message = message[: found.start()]
    return " ".join((message or text).split()) + place


class _Run:
    """A query on its tables, until their columns are known."""

    def __init__(
        self, connection: Any, statement: Statement, tables: Mapping[str, Table], parameters: Parameters
    ) -> None:
        self._connection, self._statement, self._tables = connection, statement, tables
        self._parameters = parameters
        self._peeked = set[tuple[str, str]]()
        self._unread: dict[str, list[str]] = {}
        self._guesses = iter(_GUESSES)
        self._restarts = dict.fromkeys(tables, 0)

    def result(self) -> Any:
        """Return the rows."""
        while True:
            self._find_kinds()
            for table in self._tables.values():
                table.lost.count = 0
            try:
                return self._attempt(self._register())
            except (MisfitError, UnforeseenError):
                pass
            except duckdb.Error as exc:
                if self._unread:
                    self._guess()
                elif not (isinstance(exc, duckdb.BinderException) and self._find_columns()):
                    raise

    def _find_columns(self) -> bool:
        """Look for further columns, and tell whether there may be any that were not known."""
        may_have_more = [table.find_columns() for table in self._tables.values()]  # a list: all tables look
        return any(may_have_more)

    def _register(self, mode: Mode | None = None) -> dict[str, Scan]:
        scans = {
            name: Scan(table, mode or (Mode.UNFORESEEN if name in self._unread else Mode.READ))
            for name, table in self._tables.items()
        }
        for name, scan in scans.items():
            self._connection.register(name, scan)
        return scans

    def _attempt(self, scans: Mapping[str, Scan]) -> Any:
        """Run the query, and raise the error of a read as it was."""
        try:
            relation = self._connection.sql(self._statement.text, params=self._parameters)
            return relation.to_arrow_table()
        except duckdb.Error:
            for name, scan in scans.items():
                if scan.failed is not None:
                    self._learn(name, scan.failed)
                    raise scan.failed from None
            raise

    def _learn(self, name: str, error: BaseException) -> None:
        """Widen a table by the columns and kinds that a read has met."""
        table = self._tables[name]
        if isinstance(error, UnforeseenError):
            self._peek(name, self._unread.pop(name), [Request(error.request.pushed, None)])
        if not isinstance(error, MisfitError):
            return
        for column, kind in error.kinds.items():
            table.set_kind(column, kind)
        self._restarts[name] += 1
        if self._restarts[name] == _RESTARTS:
            while table.find_columns():
                pass

    # -- kinds --------------------------------------------------------------------------------------------------------

    def _find_kinds(self) -> None:
        """Find the kinds of columns that the query may need, and that only their values can tell."""
        needed = {name: columns for name in self._tables if (columns := self._unknown(name))}
        requests = self._probe() if needed else {}
        unread = {name: columns for name, columns in needed.items() if not requests.get(name)}
        for name, columns in needed.items():
            self._peeked.update((name, column) for column in columns)
            if name not in unread:
                self._peek(name, columns, requests[name])
        if unread:
            self._unread |= unread
            self._guess()

    def _unknown(self, name: str) -> list[str]:
        return [
            column
            for column, kind in self._tables[name].columns.items()
            if kind == NOTHING and (name, column) not in self._peeked and self._statement.mentions(column)
        ]

    def _probe(self) -> dict[str, list[Request]]:
        """Return the requests of scans, as a run without rows shows them.

        It shows no scan at all if the query needs the types. It leaves out a scan that conditions which contradict each
        other make needless, or that DuckDB skips after another one without rows.
        """
        scans = self._register(Mode.PROBE)
        try:
            self._attempt(scans)
        except duckdb.Error:
            return {}
        return {name: scan.requests for name, scan in scans.items()}

    def _peek(self, name: str, columns: list[str], requests: list[Request]) -> None:
        """Find the kinds of columns by the first values that scans let through."""
        table = self._tables[name]
        try:
            kinds = [peek(table, each, columns) for each in requests]
        except MisfitError as exc:
            self._learn(name, exc)
            return self._peek(name, [column for column in columns if column in table.columns], requests)
        for column in columns:
            table.set_kind(column, reduce(joint, (each[column] for each in kinds), NOTHING))
        return None

    def _guess(self) -> None:
        """Take the values of tables that may never be read for those of the next type.

        Where all types have failed, the first values of a table decide, whatever the conditions of the query.
        """
        guess = next(self._guesses, None)
        for name, columns in self._unread.items():
            if guess is None:
                self._peek(name, columns, [Request(EVERYTHING, None)])
            else:
                for column in columns:
                    self._tables[name].set_kind(column, guess)
        if guess is None:
            self._unread.clear()
