"""A whole table, block by block, and the types of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from rstore.transfer.tabular.kinds import Kind
from rstore.transfer.tabular.times import Example
from rstore.transfer.tabular.zones import TimeReader

BLOCK_CELLS: Final = 1 << 17
"""The number of cells in a block."""

BLOCK_CHARACTERS: Final = 1 << 24
"""The number of characters in a block, at most or little more."""

Convert: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""Converts cells to values; None if a cell is no point."""


class Block(NamedTuple):
    """Some rows: the line in which each begins, and the cells of each column, None for an empty one."""

    lines: Sequence[int]
    columns: Sequence[Sequence[Any]]


class Text(NamedTuple):
    """A text among numbers."""

    example: Example
    column: str


class Schema(NamedTuple):
    """The types of the columns of a table.

    ``are_dates`` is whether the times are dates, and not plain integers; ``is_aware`` is whether they have an offset
    from UTC. ``zone`` is the time zone of new series. ``texts`` is the number of texts among numbers, ``text`` the
    first of them.
    """

    are_dates: bool
    is_aware: bool
    zone: str | None
    times: Callable[[], TimeReader]
    converters: Mapping[int, Convert]
    kinds: Mapping[int, Kind]
    texts: int = 0
    text: Text | None = None


class Table(Protocol):
    """A table. Each call of :meth:`blocks` reads it from its beginning."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""

    def blocks(self, most: int | None = None) -> Iterator[Block]:
        """Yield the rows, at most ``most`` in a block."""

    def is_time(self, cell: Any) -> bool:
        """Return whether a cell may be a time."""

    def is_date(self, cell: Any) -> bool:
        """Return whether a cell may be a time, and is no integer."""

    def check_header(self, time: int, first: Any) -> None:
        """Raise if the header is a row of data, judged by the name and the first cell of the column of times."""

    def schema(self, time: int, values: Iterable[int]) -> Schema:
        """Return the types of the column of times and the columns of values, after reading all rows.

        Raises:
            StoreFileError: a cell is no time, or a column can be read in more than one way.
        """
