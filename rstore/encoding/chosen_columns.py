"""Columns that a caller has chosen: of the rows of a series no others are shown, and of typed columns none are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, overload

from attrs import Factory, frozen

from rstore.domain.names import exact
from rstore.encoding.columns import Layout, Table, is_row
from rstore.encoding.conditions import check_found


@frozen
class ChosenColumns:
    """The names of columns, in the order of the caller. With ``is_one`` there is one, and its values are no rows."""

    names: tuple[str, ...]
    is_one: bool = False
    _found: set[str | None] = Factory(set)

    @classmethod
    def of(cls, columns: object, found: set[str | None] | None = None) -> Self:
        """Return the choice of a caller: a name, or several.

        Args:
            found: where to note the columns that points have.

        Raises:
            TypeError, ValueError: it is none; the message tells why.

        >>> ChosenColumns.of('bid').names, ChosenColumns.of(['bid', 'ask', 'bid']).names
        (('bid',), ('bid', 'ask'))
        """
        listed = (columns,) if isinstance(columns, str) else columns
        if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
            raise TypeError(f"columns is the name of a column, or a list of names, not {columns!r}")
        if not listed:
            raise ValueError("columns has at least one name: leave it out to get all columns")
        names = tuple(dict.fromkeys(map(exact, listed)))
        return cls(names, isinstance(columns, str), set() if found is None else found)

    def note(self, values: Sequence[Any]) -> None:
        """Note which of the columns the values of a segment have."""
        if isinstance(values, Table):
            self._found.update(column.name for column in values.layout.columns)
        else:
            rows = list(filter(is_row, values))
            self._found.update((None, *(name for name in self.names if any(name in row for row in rows))))

    def rows(self, values: Sequence[Any]) -> Table | list[dict[str, Any]]:
        """Return values as rows: those of typed columns as they are, others with these columns."""
        if isinstance(values, Table):
            return values
        rows: list[dict[str, Any]] = [value if is_row(value) else {} for value in values]
        return [{name: row.get(name) for name in self.names} for row in rows]

    def select(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return values as a caller gets them: None for what a row does not have."""
        rows = self.rows(values)
        if isinstance(rows, Table):
            return _Selected(rows, self)
        return [row[self.names[0]] for row in rows] if self.is_one else rows

    def check(self, key: str, layout: Callable[[], Layout | None]) -> None:
        """Raise if points of the series ``key`` were read, and none of them has one of the columns."""
        check_found(key, self.names, self._found, layout)


class _Selected(Sequence[Any]):
    """The chosen columns of a table. A value is made when somebody asks for it."""

    def __init__(self, table: Table, choice: ChosenColumns) -> None:
        self._table, self._choice = table, choice

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Any]:
        at = {column.name: i for i, column in enumerate(self._table.layout.columns)}
        names = self._choice.names
        columns = [self._table.column(at[name]) if name in at else [None] * len(self) for name in names]
        if self._choice.is_one:
            return iter(columns[0])
        return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> _Selected: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return _Selected(self._table[at], self._choice)
        first = range(len(self))[at]
        return next(iter(self[first : first + 1]))
