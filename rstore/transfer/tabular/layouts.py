"""Which cells of a table belong to which series, and the points that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from attrs import frozen

from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.names import check_name, exact
from rstore.transfer.tabular.axes import Axis
from rstore.transfer.tabular.sheets import Block, Sheet, Understood
from rstore.transfer.tabular.times import Example

_SAMPLE_ROWS: Final = 1 << 12
KEYED: Final = ("time", "key")
_ROW: Final = (*KEYED, "value")


class Piece(NamedTuple):
    """Points of one series: in which lines they stand, their times, and the columns of their values.

    There is one column, or with ``rows`` one for each of theirs, with None where a cell is empty. ``places`` tells
    where the columns stand in the table.
    """

    key: str
    lines: Sequence[int]
    times: Sequence[int]
    columns: Sequence[Sequence[Any]]
    places: Sequence[int]


class Look(NamedTuple):
    """What a block of a table had besides points: rows, and empty cells with the first of those.

    ``twice`` is how many times there were so far that a place has twice.
    """

    rows: int
    empty: int
    example: Example | None
    twice: int


@frozen
class Layout:
    """Which cells of a line are points: its time, and values with the keys of their series, or with a cell for that.

    With ``rows`` all values of a line are one: a row, and ``values`` has the names of their columns.
    """

    table: Sheet
    time: int
    values: Mapping[int, str]
    key: int | None = None
    prefix: str = ""
    rows: bool = False

    def pieces(
        self, found: Understood, axes: Callable[[str], Axis], look: Callable[[Look], object] = lambda _: None
    ) -> Iterator[Piece]:
        """Yield the points of all rows, block by block. Empty cells are passed over, but in rows.

        Args:
            axes: tells in what a series counts its times.
            look: is told of each block what it had besides.

        Raises:
            StoreFileError: a cell is no time, or no key.
        """
        times = found.times()
        for whole in self.table.blocks():
            lines, columns = self._with_times(whole)
            keys = None if self.key is None else self._keys(lines, columns[self.key])
            stamps = times.read(lines, columns[self.time], keys)
            values = {at: found.converters[at](columns[at]) for at in self.values}
            look(self._look(lines, values, times.twice))
            stamped: dict[Axis, Sequence[int]] = {}
            for prefix, at in _groups(keys, self.prefix):
                own = _Group(prefix, _taken(lines, at), _taken(stamps, at), {} if at is not None else stamped)
                yield from self._of_group(own, {place: _taken(column, at) for place, column in values.items()}, axes)

    def _of_group(
        self, group: _Group, values: Mapping[int, Sequence[Any]], axes: Callable[[str], Axis]
    ) -> Iterator[Piece]:
        if not group.lines:
            return
        if self.rows:
            yield Piece(group.prefix, group.lines, group.stamps(group.prefix, axes), [*values.values()], [*values])
            return
        for place, column in values.items():
            key = group.prefix + self.values[place]
            there = None if None not in column else [at for at, value in enumerate(column) if value is not None]
            if there is None or there:
                stamps = group.stamps(key, axes)
                yield Piece(key, _taken(group.lines, there), _taken(stamps, there), [_taken(column, there)], [place])

    def _with_times(self, block: Block) -> Block:
        """Return the rows that have a time, or raise if there are others with values."""
        lines, columns = block
        times = columns[self.time]
        if None not in times:
            return block
        counted = [*self.values] if self.key is None else [*self.values, self.key]
        for at, time in enumerate(times):
            if time is None and any(columns[place][at] is not None for place in counted):
                raise StoreFileError(lines[at], "'' is no time: there are values, and none in the column of times")
        kept = [at for at, time in enumerate(times) if time is not None]
        return Block(_taken(lines, kept), [_taken(column, kept) for column in columns])

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

    def _look(self, lines: Sequence[int], values: Mapping[int, Sequence[Any]], twice: int) -> Look:
        if self.rows:
            return Look(len(lines), 0, None, twice)
        empty, examples = 0, []
        for place, column in values.items():
            if None in column:
                nothing = sum(value is None for value in column)
                empty += nothing
                examples.append(Example(lines[list(column).index(None)], self.table.columns[place]))
        return Look(len(lines), empty, min(examples, default=None), twice)


class _Group(NamedTuple):
    """Rows of a block that belong together: what their keys begin with, and their times, stamped for each axis."""

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


def _taken(values: Sequence[Any], at: Sequence[int] | None) -> Sequence[Any]:
    return values if at is None else [values[row] for row in at]


def _groups(keys: Sequence[str] | None, prefix: str) -> Iterator[tuple[str, Sequence[int] | None]]:
    """Yield what the keys of rows begin with, and which rows these are, None for all."""
    if keys is None:
        yield prefix, None
        return
    groups: dict[str, list[int]] = {}
    for at, key in enumerate(keys):
        groups.setdefault(key, []).append(at)
    for key, rows in groups.items():
        yield prefix + key, rows


# -- which columns are what -------------------------------------------------------------------------------------------


def layout_of(
    table: Sheet,
    key: str | None,
    time: str | None,
    columns: Sequence[str] | None,
    key_column: str | None,
    *,
    rows: bool,
) -> Layout:
    """Tell which columns are what.

    Raises:
        ValueError: they are not there.
        StoreError: there is no row.
        StoreFileError: the names of columns are a row.
    """
    names, key = list(table.columns), None if key is None else check_name("key", key)
    time, key_column = (None if name is None else exact(name) for name in (time, key_column))
    columns = None if columns is None else list(map(exact, columns))
    first = next(table.blocks(_SAMPLE_ROWS), None)
    for name in (time, key_column, *(columns or ())):
        if name is not None and names.count(name) != 1:
            _check_first_cells(table)
            raise ValueError(
                f"there is {'no' if name not in names else 'more than one'} column {name!r}: {_listed(names)}"
            )
    if first is None:
        _check_first_cells(table)
    at = names.index(time) if time is not None else None if first is None else _time_column(table, first)
    if at is not None:
        table.check_header(at, None if first is None else _first_cell(first, at))
    if first is None or at is None:
        raise StoreError(f"there are no rows in the table, only the names of columns: {_listed(names)}")
    keyed = key_column is None and columns is None and _is_keyed(names) and at == names.index("time")
    with_keys = "key" if keyed else key_column
    cell = None if with_keys is None else names.index(with_keys)
    wanted = [name for place, name in enumerate(names) if place not in (at, cell)] if columns is None else columns
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"pass columns=..., each once, of these: {_listed(names)}")
    places = {names.index(name): name for name in wanted}
    if cell is not None:
        alone = "value" if keyed else wanted[0] if len(wanted) == 1 else None
        values = places if rows else {at: "" if name == alone else f"/{name}" for at, name in places.items()}
        return Layout(table, at, values, cell, "" if key is None else f"{key}/", rows)
    if rows:
        if key is None:
            raise ValueError("pass key=..., that of the series whose points the rows are")
        return Layout(table, at, places, None, key, rows)
    if key is not None:
        places = {at: key if len(wanted) == 1 else f"{key}/{name}" for at, name in places.items()}
    return Layout(table, at, places)


def _check_first_cells(table: Sheet) -> None:
    """Raise if one of the names of columns is a date: then there is no row of names."""
    for at, name in enumerate(table.columns):
        if table.is_date(name):
            table.check_header(at, None)


def _is_keyed(names: Sequence[str]) -> bool:
    """Tell whether each line says of which series it is."""
    return sorted(names) == sorted(_ROW) or (tuple(names[:2]) == KEYED and len(names) > 2)


def _time_column(table: Sheet, block: Block) -> int:
    """Return the first column that has dates, by the first cell that it has, else the very first if it has integers.

    An integer elsewhere is no time: a table whose dates are written in another way would come in as nonsense.
    """
    first = [_first_cell(block, at) for at in range(len(block.columns))]
    times = [at for at, cell in enumerate(first) if cell is not None and table.is_time(cell)]
    dates = [at for at in times if table.is_date(first[at])]
    if not dates and times[:1] != [0]:
        raise ValueError(
            "no column has times, which are dates in ISO 8601, or ints in the first column: name the one that has "
            f"them with --time (time=...), of {_listed(table.columns)}; how they are written says --date-format (in "
            "Python TableOptions(date_format=...))"
        )
    return (dates or times)[0]


def _first_cell(block: Block, at: int) -> Any:
    return next((cell for cell in block.columns[at] if cell is not None), None)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
