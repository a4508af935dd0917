"""SQL over all three models: DuckDB reads exactly the tables that a query names, now or as of a time.

======================= ===============================================================================================
``statement``           the query as DuckDB's parser reads it, and the queries that are refused
``catalog``             the table of each name
``tables``              the port of a table, and the rows and keys of which tables are made
``records``             the tables of values, events, states, changes and commits
``series``, ``columns`` the tables of series, and points as columns
``kinds``               the types of columns
``pushed``              the keys and times that a filter asks for
``scan``                a table as a dataset of Arrow, which DuckDB reads
``query``               the connection, and the run of a query
``result``              its rows
======================= ===============================================================================================

The first query imports DuckDB and Arrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, overload

from rstore.core import ReadSurface
from rstore.domain.errors import StoreNotAvailableError

if TYPE_CHECKING:
    from rstore.sql.result import Result

_FRAMES: Final = ("arrow", "pandas", "polars")


class SqlReader(ReadSurface):
    """Answers queries in SQL."""

    @overload
    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Result: ...
    @overload
    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None, *, to: str | None
    ) -> Any: ...
    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None, *, to: str | None = None
    ) -> Any:
        """Return the rows that a query in SQL finds. DuckDB runs it. It can read this namespace and nothing else.

        The tables:

        - ``kv(key, value, recorded, version, who, why)``: the keys and their values
        - ``points(key, t, value)``: all points of all series; ``t`` are ints, in the unit of each series
        - ``events(key, t, item, op, value, recorded, who, why, did)``, ``states(key, item, value)``
        - ``changes``: a row for each change that :meth:`log` yields; ``commits``: a row for each commit
        - each series by its name in quotes: ``t``, and the columns of its frames or rows, or ``value``
        - all series whose names match a pattern, as in :meth:`find`, in quotes: the same, with a column ``key``
        - any of these as it was known at a time: ``"price@2026-05-01"``, ``"kv@1777626000000"``, ``"states@a tag"``

        A query reads only the tables that it names, and loads only the columns that it selects. Conditions on keys
        (``=``, ``IN``, ``LIKE 'a%'``) and on times go to the log. Times are timestamps in UTC; those of ``points`` and
        of series without a unit are ints. Values keep their type if all that the query reads have the same one; else
        they are JSON. A value that cannot be loaded is NULL. So is NaN.

        Args:
            parameters: values for ``?`` in the query, or by name for ``$name``.
            to: ``arrow``, ``pandas`` or ``polars``: return a frame instead.

        Raises:
            StoreNotAvailableError: DuckDB is not installed; the message tells how to install it.
            ValueError: the query does not only read, names an unknown table, or fails; the message says where.

        >>> store.set_many({'user:ada': 36, 'user:bob': 41, 'zone': 'north'})
        >>> store.sql("SELECT key, value FROM kv WHERE key LIKE 'user:%' AND value > 40").rows()
        [('user:bob', 41)]
        >>> store.extend('price', (1, 10.0), (2, 12.5), (3, 11.0))
        >>> store.sql('SELECT max(value) FROM price WHERE t >= ?', [2]).rows()
        [(12.5,)]
        """
        if to is not None and to not in _FRAMES:
            raise ValueError(f"to is one of {', '.join(_FRAMES)}, not {to!r}")
        try:
            from rstore.sql.query import run
            from rstore.sql.result import Result
        except ModuleNotFoundError as exc:
            raise StoreNotAvailableError(
                "SQL needs the packages duckdb, pyarrow and numpy: pip install 'rlib-store[sql]'"
            ) from exc
        result = Result(*run(self._core, query, parameters))
        return result if to is None else getattr(result, to)()
