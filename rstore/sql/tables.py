"""The port of the tables of a query, and the rows and keys of which they are made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import takewhile
from typing import Any, Final, Protocol, TypeAlias

import pyarrow as pa

from rstore.core import Reading, check_key
from rstore.domain.errors import StorePayloadError
from rstore.domain.paging import PAGE_BYTES
from rstore.domain.rules import is_there
from rstore.domain.streams import Stream
from rstore.sql.kinds import MOMENT, Kind, Values, cleaned
from rstore.sql.pushed import Bound, Pushed
from rstore.sql.statement import after_prefix

Chunk: TypeAlias = Mapping[str, Values]
"""Some rows of a table, by column."""
Columns: TypeAlias = Collection[str]
Row: TypeAlias = tuple[tuple[Any, ...], int]
"""The cells of a row, and about how many bytes they take."""

ROWS: Final = 4096
_FIRST_ROWS: Final = 64
_KEYS: Final = 1000
_MICROSECONDS: Final = 1000  # of a millisecond


class Table(Protocol):
    """A table of a query.

    ``lost`` counts the values that could not be loaded. They are NULL.
    """

    lost: Lost

    @property
    def columns(self) -> Mapping[str, Kind]:
        """The kind of each column; :data:`NOTHING` where only its values can tell it."""

    def chunks(self, pushed: Pushed, wanted: Columns) -> Iterator[Chunk]:
        """Yield at least the rows that a filter lets through, with at least the wanted columns.

        No value is loaded for a column that is not wanted.

        Raises:
            MisfitError: there is another column than those that were known.
        """

    def set_kind(self, column: str, kind: Kind) -> None:
        """Take a column for one of a kind, or add it."""

    def find_columns(self) -> bool:
        """Look for further columns, and tell whether there may be any that were not known."""


class Lost:
    """Counts the values that could not be loaded."""

    def __init__(self) -> None:
        self.count = 0

    def value(self, load: Callable[[], Any]) -> Any:
        """Return a value, or None if it cannot be loaded. A value that is damaged or was moved is an error."""
        try:
            return load()
        except StorePayloadError as exc:
            if not exc.is_genuine:
                raise
            self.count += 1
            return None


ReadChunks: TypeAlias = Callable[[Pushed, Columns, Lost], Iterator[Chunk]]


class FixedTable:
    """A table that always has the same columns. Only the values of a column may tell its kind.

    Args:
        read: yields the chunks; see :meth:`Table.chunks`.
    """

    def __init__(self, columns: Mapping[str, Kind], read: ReadChunks) -> None:
        self.columns: dict[str, Kind] = dict(columns)
        self.lost = Lost()
        self._read = read

    def chunks(self, pushed: Pushed, wanted: Columns) -> Iterator[Chunk]:
        """Yield rows; see :class:`Table`."""
        return self._read(pushed, wanted, self.lost)

    def set_kind(self, column: str, kind: Kind) -> None:
        """Take a column for one of a kind."""
        self.columns[column] = kind

    def find_columns(self) -> bool:
        """Look for further columns: there are none."""
        return False


def in_columns(rows: Iterable[Row], columns: Mapping[str, Kind], wanted: Columns) -> Iterator[Chunk]:
    """Yield the wanted columns of rows. Moments are ints in the rows: POSIX milliseconds."""
    for chunk in _chunked(rows):
        cells = zip(columns.items(), zip(*chunk, strict=True), strict=True)
        yield {name: _cells(name, kind, list(each)) for (name, kind), each in cells if name in wanted}


def _cells(name: str, kind: Kind, cells: list[Any]) -> Values:
    return _moments(name, cells) if kind == MOMENT else cleaned(cells)


def _moments(name: str, cells: list[int | None]) -> Any:
    try:
        return pa.array([None if cell is None else cell * _MICROSECONDS for cell in cells], MOMENT.type)
    except OverflowError:
        raise ValueError(f"{name} holds a time that no timestamp of SQL can hold: leave out {name}") from None


def _chunked(rows: Iterable[Row]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield rows, of which some megabytes are in memory at a time. The first ones come in small numbers."""
    found, size, most = list[tuple[Any, ...]](), 0, _FIRST_ROWS
    for row, weight in rows:
        found.append(row)
        size += weight
        if len(found) >= most or size >= PAGE_BYTES:
            yield found
            found, size, most = [], 0, min(2 * most, ROWS)
    if found:
        yield found


# -- keys -------------------------------------------------------------------------------------------------------------


def keys_in(core: Reading, kind: str, bound: Bound, *, live: bool = True) -> Iterator[str]:
    """Yield the keys of a kind that a filter may let through. Few are looked up; of many, a part is listed."""
    chosen, moment = few_keys(bound), core.moment()
    if chosen is not None:
        yield from _existing(core, kind, chosen, live=live)
        return
    for head in core.log.heads(kind, _common_prefix(bound).partition("\0")[0], live=live):
        if live and not is_there(head, moment):
            continue
        key = head.stream.key
        if bound.high is not None and key > bound.high:
            return
        if bound.has(key):
            yield key
    if _is_prefix(bound):  # a bound includes its end, which does not have the prefix
        yield from _existing(core, kind, [key for key in (bound.high,) if is_key(key) and bound.has(key)], live=live)


def _existing(core: Reading, kind: str, keys: Iterable[str], *, live: bool) -> Iterator[str]:
    """Yield those of some keys that exist."""
    moment, heads = core.moment(), ((key, core.log.head(Stream(kind, key))) for key in keys)
    return (key for key, head in heads if head is not None and (not live or is_there(head, moment)))


def few_keys(bound: Bound) -> list[str] | None:
    """Return the keys of a bound in their order; None if it does not name them, or if they are many."""
    if bound.values is None or len(bound.values) > _KEYS:
        return None
    return sorted(key for key in bound.values if bound.has(key) and is_key(key))


def is_key(key: str) -> bool:
    """Tell whether every backend could keep a key, or an item."""
    with suppress(ValueError):
        return check_key(key) == key
    return False


def _is_prefix(bound: Bound) -> bool:
    """Tell whether a bound is that of the keys with a prefix."""
    return bound.low is not None and bound.high is not None and bound.high == after_prefix(bound.low)


def _common_prefix(bound: Bound) -> str:
    """Return the prefix that all keys of a bound have, but for its end."""
    low: str | None = bound.low
    if low is None or bound.high is None:
        return ""
    if _is_prefix(bound):
        return low
    same = takewhile(lambda pair: pair[0] == pair[1], zip(low, bound.high, strict=False))
    return "".join(letter for letter, _ in same)
