"""The result of a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from rstore import frames
from rstore.html import counted, table


@frozen(eq=False)
class Result:
    """The rows that a query found. They are in memory, and the query has ended.

    Iterating over it yields the rows as tuples. ``unreadable`` counts values that could not be loaded: they are NULL.
    """

    _table: Any = field(repr=False)
    unreadable: int

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        names: list[str] = self._table.column_names
        return names

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples of Python values."""
        return list(self)

    def arrow(self) -> Any:
        """Return the rows as a Table of Arrow."""
        return self._table

    def pandas(self) -> Any:
        """Return the rows as a DataFrame of pandas.

        Raises:
            StoreNotAvailableError: pandas is not installed; the message tells how to install it.
        """
        frames.library("pandas")
        return self._table.to_pandas()

    def polars(self) -> Any:
        """Return the rows as a DataFrame of polars.

        Raises:
            StoreNotAvailableError: polars is not installed; the message tells how to install it.
            ValueError: two columns have one name.
        """
        frames.library("polars")
        twice = [name for name, count in Counter(self.columns).items() if count > 1]
        if twice:
            raise ValueError(f"polars has no two columns of one name: rename one {twice[0]!r} with AS")
        import polars

        return polars.from_arrow(self._table)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self._table.to_batches():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def _repr_html_(self) -> str:
        return table(counted(len(self), "row"), self.columns, self.rows(), tuple)
