"""A whole table, block by block, and what its columns turned out to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from rstore.transfer.tabular.kinds import Kind
from rstore.transfer.tabular.times import Example

BLOCK_CELLS: Final = 1 << 17
"""How many cells are looked at together."""

BLOCK_CHARACTERS: Final = 1 << 24
"""How many characters they may have in all, or little more."""

Convert: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""Makes values of cells; None for what is no point."""


class Block(NamedTuple):
    """Some rows: in which line each begins, and the cells of each column, None where one is empty."""

    lines: Sequence[int]
    columns: Sequence[Sequence[Any]]


class ReadsTimes(Protocol):
    """Reads a column of times from the first row of a table to the last."""

    @property
    def twice(self) -> int:
        """How many times there were that a place has twice, because clocks were put back."""

    def read(self, lines: Sequence[int], cells: Sequence[Any], keys: Sequence[str | None] | None = None) -> list[int]:
        """Return cells as nanoseconds from 1970; integers alone are what they are."""


class Text(NamedTuple):
    """A text that stands among numbers."""

    example: Example
    column: str


class Understood(NamedTuple):
    """What the columns of a table hold.

    ``are_dates`` tells dates from plain integers; ``is_aware`` whether they have an offset from UTC; ``zone`` is the
    time zone of new series. ``texts`` is how many texts there are among numbers, ``text`` the first of them.
    """

    are_dates: bool
    is_aware: bool
    zone: str | None
    times: Callable[[], ReadsTimes]
    converters: Mapping[int, Convert]
    kinds: Mapping[int, Kind]
    texts: int = 0
    text: Text | None = None


class Sheet(Protocol):
    """A table that is read again each time that its blocks are asked for."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of its columns."""

    def blocks(self, most: int | None = None) -> Iterator[Block]:
        """Return its rows, at most so many together."""

    def is_time(self, cell: Any) -> bool:
        """Tell whether a cell may be a time."""

    def is_date(self, cell: Any) -> bool:
        """Tell whether a cell may be a time, and is no integer."""

    def check_header(self, time: int, first: Any) -> None:
        """Raise if the names of columns are a row of data, by that of the column of times and its first cell."""

    def understood(self, time: int, values: Iterable[int]) -> Understood:
        """Look at the column of times and those of values, from the first row to the last.

        Raises:
            StoreFileError: a cell is no time, or a column may be read in more ways than one.
        """
