"""Rows of tables: how points of several segments are laid over others, and become tables again.

Nothing here looks at a value. A run whose values are rows may hold those of tables of several layouts, and values that
are in no table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple, overload

from rstore.domain.series import SEGMENT, Run
from rstore.encoding.columns import Layout, Table, concatenated


class Row(NamedTuple):
    """A row of a table, in place of its value, so that rows put together make a table again."""

    table: Table
    at: int


class Rows(Sequence[Row]):
    """The rows of a table, to be laid over others without a look at their values."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Row]:
        return (Row(self.table, at) for at in range(len(self.table)))

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Rows: ...
    def __getitem__(self, at: int | slice) -> Any:
        return Rows(self.table[at]) if isinstance(at, slice) else Row(self.table, range(len(self))[at])


def as_rows(values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a segment, those in typed columns as rows of their table."""
    return Rows(values) if isinstance(values, Table) else values


def joined(runs: Iterable[Run]) -> Iterator[Run]:
    """Yield the points of runs of rows, which come in order of time, as full segments of each layout.

    The last segment of a layout may be shorter. Segments of one layout come in order of time. Where points of several
    layouts interleave, their segments overlap and share no time, so that no more segments come out than went in.

    >>> [len(times) for times, _ in joined([([1], ['a']), ([2, 3], ['b', 'c'])])]
    [3]
    """
    waiting: dict[Layout | None, list[Run]] = {}
    points: Counter[Layout | None] = Counter()
    for run in runs:
        for layout, part in _by_layout(run):
            size = _size_of(layout)
            waiting.setdefault(layout, []).append(part)
            points[layout] += len(part[0])
            if points[layout] >= size:
                *full, rest = _cut(waiting[layout], size)
                yield from full
                waiting[layout], points[layout] = [rest], len(rest[0])
    for layout, parts in waiting.items():
        yield from (run for run in _cut(parts, _size_of(layout)) if len(run[0]))


def _size_of(layout: Layout | None) -> int:
    return SEGMENT if layout is None else layout.rows


def _cut(parts: Sequence[Run], size: int) -> Iterator[Run]:
    """Yield runs of one layout as segments of one size; the last is shorter, and may have no points."""
    times = [time for part, _ in parts for time in part]
    values: Any = [part for _, part in parts]
    joint = concatenated(values) if isinstance(values[0], Table) else [value for part in values for value in part]
    for low in range(0, len(times) + 1, size):
        yield times[low : low + size], joint[low : low + size]


def _by_layout(run: Run) -> Iterator[tuple[Layout | None, Run]]:
    """Yield the rows of a run as tables, one for each layout, and the values that are in no table as a list."""
    times, values = run
    if isinstance(values, Rows):
        yield values.table.layout, (times, values.table)
        return
    found: dict[Layout | None, list[int]] = {}
    for at, value in enumerate(values):
        found.setdefault(_layout_of(value), []).append(at)
    for layout, places in found.items():
        chosen = [values[at] for at in places]
        yield layout, ([times[at] for at in places], chosen if layout is None else _table_of(chosen))


def _layout_of(value: Any) -> Layout | None:
    return value.table.layout if isinstance(value, Row) else None


def stretches(run: Run) -> Iterator[Run]:
    """Yield the points of a run of rows in order of time: as tables, and as lists of the values that are in none."""
    times, values = run
    if isinstance(values, Rows):
        yield times, values.table
        return
    first = 0
    for layout, group in groupby(values, _layout_of):
        chosen = list(group)
        yield times[first : first + len(chosen)], chosen if layout is None else _table_of(chosen)
        first += len(chosen)


def _table_of(rows: Sequence[Row]) -> Table:
    """Return rows of tables of one layout as one table."""
    tables = {id(row.table): row.table for row in rows}
    starts = dict(zip(tables, accumulate(map(len, tables.values()), initial=0), strict=False))
    return concatenated(list(tables.values())).take([starts[id(row.table)] + row.at for row in rows])
