"""Running a query: a connection of its own that can reach nothing else, and types that the values decide.

The type of a column of values is not known before they are read, and DuckDB needs it before it runs a query. So a
query runs on the type of the first values that its conditions on keys and times let through. If it meets a value of
another one, it begins anew with a type for both. To know these conditions, it first runs on tables without rows.

Rejected: to read all values beforehand, which takes the time twice; and to take everything for JSON, in which
``avg(value)`` would need a cast.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import reduce
from typing import Any, Final

import duckdb
import pyarrow as pa

from rstore.core import Reading
from rstore.sql.catalog import tables_of
from rstore.sql.kinds import FLOAT, MOMENT, NOTHING, TEXT, MisfitError, joint
from rstore.sql.pushed import EVERYTHING
from rstore.sql.scan import Asked, Mode, Scan, UnforeseenError, peek
from rstore.sql.statement import Parameters, Statement, statement_of
from rstore.sql.tables import Table

_CONFIGURATION: Final[dict[str, Any]] = {
    "enable_external_access": False,  # no files, no network, no extensions
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "temp_directory": "",  # what was encrypted in the log would be in clear there
    "threads": 1,  # a scan reads in the thread of its caller, as transactions and SQLite want it
}
_SETTINGS: Final = (
    "SET python_enable_replacements = false",  # no variables of the caller's as tables
    "SET TimeZone = 'UTC'",
    "SET lock_configuration = true",
)
_GUESSES: Final = (FLOAT, TEXT, MOMENT)
"""Types with which a query runs on a table that it may never read, until it does."""
_AGAIN: Final = 8
"""So often a query may begin anew for a table, until all of that is read to find its columns."""
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
            found = _Run(connection, statement, tables, parameters).result()
        except duckdb.Error:
            if statement.text == query:
                raise
            # the error is to show what the user wrote
            found = _Run(connection, statement._replace(text=query), tables, parameters).result()
        return _with_ints(found), sum(table.lost.count for table in tables.values())


def _with_ints(found: Any) -> Any:
    """Return a result with ints of 64 bits in place of those of 128 bits, such as sums are, where they fit."""
    for place, column in enumerate(found.columns):
        if column.type == pa.decimal128(38, 0):
            with suppress(pa.ArrowInvalid):
                found = found.set_column(place, found.field(place).name, column.cast(pa.int64()))
    return found


@contextmanager
def _connection() -> Iterator[Any]:
    connection = duckdb.connect(":memory:", config=_CONFIGURATION)
    try:
        for setting in _SETTINGS:
            connection.execute(setting).fetchall()
        yield connection
    finally:
        connection.close()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as exc:
        raise ValueError(_explained(str(exc))) from None


def _explained(text: str) -> str:
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
        self._begun = dict.fromkeys(tables, 0)

    def result(self) -> Any:
        """Return the rows."""
        while True:
            self._find_kinds()
            for table in self._tables.values():
                table.lost.count = 0
            try:
                return self._attempt(self._registered())
            except (MisfitError, UnforeseenError):
                pass
            except duckdb.Error as exc:
                if self._unread:
                    self._guess()
                elif not (isinstance(exc, duckdb.BinderException) and self._settled()):
                    raise

    def _settled(self) -> bool:
        """Look for further columns, and tell whether that may have found any."""
        found = [table.settle() for table in self._tables.values()]
        return any(found)

    def _registered(self, mode: Mode | None = None) -> dict[str, Scan]:
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
        """Widen a table by what a read has met."""
        table = self._tables[name]
        if isinstance(error, UnforeseenError):
            self._peek(name, self._unread.pop(name), [Asked(error.asked.pushed, None)])
        if not isinstance(error, MisfitError):
            return
        for column, kind in error.kinds.items():
            table.learn(column, kind)
        self._begun[name] += 1
        if self._begun[name] == _AGAIN:
            while table.settle():
                pass

    # -- kinds --------------------------------------------------------------------------------------------------------

    def _find_kinds(self) -> None:
        """Find the kinds of columns that the query may need, and that only their values can tell."""
        needed = {name: columns for name in self._tables if (columns := self._unknown(name))}
        asked = self._asked() if needed else {}
        unread = {name: columns for name, columns in needed.items() if not asked.get(name)}
        for name, columns in needed.items():
            self._peeked.update((name, column) for column in columns)
            if name not in unread:
                self._peek(name, columns, asked[name])
        if unread:
            self._unread |= unread
            self._guess()

    def _unknown(self, name: str) -> list[str]:
        return [
            column
            for column, kind in self._tables[name].columns.items()
            if kind == NOTHING and (name, column) not in self._peeked and self._statement.mentions(column)
        ]

    def _asked(self) -> dict[str, list[Asked]]:
        """Return what scans are asked for, as a run without rows shows it.

        It does not show a scan that the query needs no more when another one had no row, or one that conditions which
        contradict each other leave out, or any if the query needs the types.
        """
        scans = self._registered(Mode.PROBE)
        try:
            self._attempt(scans)
        except duckdb.Error:
            return {}
        return {name: scan.asked for name, scan in scans.items()}

    def _peek(self, name: str, columns: list[str], asked: list[Asked]) -> None:
        """Find the kinds of columns by the first values that scans let through."""
        table = self._tables[name]
        try:
            kinds = [peek(table, each, columns) for each in asked]
        except MisfitError as exc:
            self._learn(name, exc)
            return self._peek(name, [column for column in columns if column in table.columns], asked)
        for column in columns:
            table.learn(column, reduce(joint, (each[column] for each in kinds), NOTHING))
        return None

    def _guess(self) -> None:
        """Take the values of tables that may never be read for those of the next type.

        Where all have failed, the first values tell, whatever the query asks for.
        """
        guess = next(self._guesses, None)
        for name, columns in self._unread.items():
            if guess is None:
                self._peek(name, columns, [Asked(EVERYTHING, None)])
            else:
                for column in columns:
                    self._tables[name].learn(column, guess)
        if guess is None:
            self._unread.clear()
