"""Which cells of a table belong to which series, and the points that these cells make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from attrs import frozen

from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.names import check_name, exact
from rstore.transfer.tabular.axes import Axis
from rstore.transfer.tabular.table import Block, Schema, Table
from rstore.transfer.tabular.times import Example

_SAMPLE_ROWS: Final = 1 << 12
KEYED: Final = ("time", "key")
_ROW: Final = (*KEYED, "value")


class SeriesBlock(NamedTuple):
    """Points of one series: their lines in the table, their timestamps, and the columns of their values.

    There is one column, or with ``rows`` one for each column of the rows, with None for an empty cell. ``indexes`` are
    the indexes of these columns in the table.
    """

    key: str
    lines: Sequence[int]
    times: Sequence[int]
    columns: Sequence[Sequence[Any]]
    indexes: Sequence[int]


class BlockCounts(NamedTuple):
    """The counts of a block of a table: its rows, and its empty cells with the first of them.

    ``twice`` is the number of local times so far that occur twice because clocks were put back.
    """

    rows: int
    empty: int
    example: Example | None
    twice: int


@frozen
class Layout:
    """Which cells of a row are points: the column of times, columns of values by index, and a column of keys if any.

    The key of a value's series is the prefix, then the cell with the key if there is one, then the text in ``values``.
    With ``rows`` each row is one value, and ``values`` has the names of its columns.
    """

    table: Table
    time: int
    values: Mapping[int, str]
    key: int | None = None
    prefix: str = ""
    rows: bool = False

    def series_blocks(
        self, schema: Schema, axes: Callable[[str], Axis], count: Callable[[BlockCounts], object] = lambda _: None
    ) -> Iterator[SeriesBlock]:
        """Yield the points of all rows, block by block. Empty cells are skipped, except in rows.

        Args:
            axes: returns the time axis of a series.
            count: is called with the counts of each block.

        Raises:
            StoreFileError: a cell is no time, or no key.
        """
        times = schema.times()
        for block in self.table.blocks():
            lines, columns = self._with_times(block)
            keys = None if self.key is None else self._keys(lines, columns[self.key])
            stamps = times.read(lines, columns[self.time], keys)
            values = {at: schema.converters[at](columns[at]) for at in self.values}
            count(self._counts(lines, values, times.twice))
            stamped: dict[Axis, Sequence[int]] = {}
            for prefix, rows in _rows_by_prefix(keys, self.prefix):
                group = _Group(prefix, _taken(lines, rows), _taken(stamps, rows), stamped if rows is None else {})
                yield from self._of_group(group, {at: _taken(column, rows) for at, column in values.items()}, axes)

    def _of_group(
        self, group: _Group, values: Mapping[int, Sequence[Any]], axes: Callable[[str], Axis]
    ) -> Iterator[SeriesBlock]:
        if not group.lines:
            return
        if self.rows:
            stamps = group.stamps(group.prefix, axes)
            yield SeriesBlock(group.prefix, group.lines, stamps, [*values.values()], [*values])
            return
        for at, column in values.items():
            key = group.prefix + self.values[at]
            rows = None if None not in column else [row for row, value in enumerate(column) if value is not None]
            if rows is None or rows:
                stamps = _taken(group.stamps(key, axes), rows)
                yield SeriesBlock(key, _taken(group.lines, rows), stamps, [_taken(column, rows)], [at])

    def _with_times(self, block: Block) -> Block:
        """Return the rows that have a time, or raise if a row has values but no time."""
        lines, columns = block
        times = columns[self.time]
        if None not in times:
            return block
        others = [*self.values] if self.key is None else [*self.values, self.key]
        for row, time in enumerate(times):
            if time is None and any(columns[at][row] is not None for at in others):
                raise StoreFileError(lines[row], "'' is no time: the row has values, but no time")
        rows = [row for row, time in enumerate(times) if time is not None]
        return Block(_taken(lines, rows), [_taken(column, rows) for column in columns])

    def _keys(self, lines: Sequence[int], cells: Sequence[Any]) -> list[str]:
        known: dict[Any, str] = {}
        for line, cell in zip(lines, cells, strict=True):
            if cell not in known:
                if cell is None:
                    raise StoreFileError(line, f"there is no key in the column {self.table.columns[self.key or 0]!r}")
                try:
                    known[cell] = check_name("key", str(cell))
                except (TypeError, ValueError) as exc:
                    raise StoreFileError(line, str(exc)) from None
        return [known[cell] for cell in cells]

    def _counts(self, lines: Sequence[int], values: Mapping[int, Sequence[Any]], twice: int) -> BlockCounts:
        if self.rows:
            return BlockCounts(len(lines), 0, None, twice)
        gaps = {at: column for at, column in values.items() if None in column}
        empty = sum(value is None for column in gaps.values() for value in column)
        firsts = [Example(lines[list(column).index(None)], self.table.columns[at]) for at, column in gaps.items()]
        return BlockCounts(len(lines), empty, min(firsts, default=None), twice)


class _Group(NamedTuple):
    """Rows of a block whose keys have the same prefix, and their times. ``known`` caches the timestamps for an axis."""

    prefix: str
    lines: Sequence[int]
    times: Sequence[int]
    known: dict[Axis, Sequence[int]]

    def stamps(self, key: str, axes: Callable[[str], Axis]) -> Sequence[int]:
        """Return the times as timestamps of a series."""
        try:
            axis = axes(check_name("key", key))
        except (TypeError, ValueError) as exc:
            raise StoreFileError(self.lines[0], str(exc)) from None
        if axis not in self.known:
            self.known[axis] = axis.stamps(self.lines, self.times)
        return self.known[axis]


def _taken(values: Sequence[Any], rows: Sequence[int] | None) -> Sequence[Any]:
    return values if rows is None else [values[row] for row in rows]


def _rows_by_prefix(keys: Sequence[str] | None, prefix: str) -> Iterator[tuple[str, Sequence[int] | None]]:
    """Yield each prefix of keys with its rows, None for all rows."""
    if keys is None:
        yield prefix, None
        return
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    for key, rows in groups.items():
        yield prefix + key, rows


# -- the layout that the caller asks for ------------------------------------------------------------------------------


def layout_of(
    table: Table,
    key: str | None,
    time: str | None,
    columns: Sequence[str] | None,
    key_column: str | None,
    *,
    rows: bool,
) -> Layout:
    """Return the layout of a table, for the names that the caller has given, with defaults for the others.

    Raises:
        ValueError: a column is not there.
        StoreError: the table has no rows.
        StoreFileError: the header is a row of data.
    """
    key = None if key is None else check_name("key", key)
    time, key_column = (None if name is None else exact(name) for name in (time, key_column))
    columns = None if columns is None else list(map(exact, columns))
    names, first = list(table.columns), next(table.blocks(_SAMPLE_ROWS), None)
    _check_named(table, [name for name in (time, key_column, *(columns or ())) if name is not None])
    time_at = _time_index(table, first, time)
    is_keyed = key_column is None and columns is None and _is_keyed(names) and time_at == names.index("time")
    key_name = "key" if is_keyed else key_column
    key_at = None if key_name is None else names.index(key_name)
    wanted = [name for at, name in enumerate(names) if at not in (time_at, key_at)] if columns is None else columns
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"pass columns=..., each once, of these: {_listed(names)}")
    values, is_single = {names.index(name): name for name in wanted}, len(wanted) == 1
    if key_at is not None:
        own = "value" if is_keyed else wanted[0] if is_single else None
        suffixes = values if rows else {at: "" if name == own else f"/{name}" for at, name in values.items()}
        return Layout(table, time_at, suffixes, key_at, "" if key is None else f"{key}/", rows)
    if rows:
        if key is None:
            raise ValueError("pass key=..., the key of the series that gets the rows")
        return Layout(table, time_at, values, None, key, rows)
    if key is not None:
        values = {at: key if is_single else f"{key}/{name}" for at, name in values.items()}
    return Layout(table, time_at, values)


def _check_named(table: Table, wanted: Iterable[str]) -> None:
    names = list(table.columns)
    for name in wanted:
        if (count := names.count(name)) != 1:
            _check_no_dates(table)
            raise ValueError(f"there is {'more than one' if count else 'no'} column {name!r}: {_listed(names)}")


def _check_no_dates(table: Table) -> None:
    """Raise if the name of a column is a date: then the table has no header."""
    for at, name in enumerate(table.columns):
        if table.is_date(name):
            table.check_header(at, None)


def _time_index(table: Table, first: Block | None, time: str | None) -> int:
    """Return the index of the column of times, after a check that the header is no row of data."""
    names = list(table.columns)
    if first is None:
        _check_no_dates(table)
        if time is not None:
            table.check_header(names.index(time), None)
        raise StoreError(f"there are no rows in the table, only the names of columns: {_listed(names)}")
    at = _find_times(table, first) if time is None else names.index(time)
    table.check_header(at, _first_cell(first, at))
    return at


def _is_keyed(names: Sequence[str]) -> bool:
    """Return whether each row has the key of its series."""
    return sorted(names) == sorted(_ROW) or (tuple(names[:2]) == KEYED and len(names) > 2)


def _find_times(table: Table, block: Block) -> int:
    """Return the first column that begins with a date, else the very first column if it has integers.

    An integer in another column is no time: a table with dates in an unknown form would be imported as nonsense.
    """
    first = [_first_cell(block, at) for at in range(len(block.columns))]
    times = [at for at, cell in enumerate(first) if cell is not None and table.is_time(cell)]
    dates = [at for at in times if table.is_date(first[at])]
    if not dates and times[:1] != [0]:
        raise ValueError(
            "no column has times, which are dates in ISO 8601, or ints in the first column: name the one that has "
            f"them with time=..., of {_listed(table.columns)}; TableOptions(date_format=...) says how they are written"
        )
    return (dates or times)[0]


def _first_cell(block: Block, at: int) -> Any:
    return next((cell for cell in block.columns[at] if cell is not None), None)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
