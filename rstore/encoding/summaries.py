"""Summaries: a long segment of typed columns begins with one, so that many readers need not open its rows.

A summary is JSON. It has the number of rows, the layout, for each column of numbers its aggregates, and the times of
some rows, from which the others can be found.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.domain.resampling import AGGREGATES, How, States
from rstore.encoding.columns import DATE, FORMATS, Column, Layout, Table, TimeAxis
from rstore.encoding.packing import REGULAR, WIDTHS, unpack_ints, unpack_times

SUMMED_FROM: Final = 1024
"""Rows: shorter segments are read whole as quickly as their summary would be."""

_MARK: Final = 1024  # rows
_REGULAR_BYTES: Final = 9
_ROWS: Final = range(1, 2**32)

ALL: Final = How(tuple(AGGREGATES))

_COUNT: Final = ALL.of.index("count")

Aggregates: TypeAlias = Callable[[Table, int], "Sequence[Any] | None"]
"""Returns the :data:`ALL` aggregates of a column, like :func:`aggregates_of`."""


class Summary(NamedTuple):
    """The summary of a segment.

    ``aggregates`` has for each column those of :data:`ALL`, nothing if all values are missing, or None if they are no
    numbers. ``marks`` has the time of each 1024th row, from the first on, or nothing if the times are regular.
    """

    rows: int
    layout: Layout
    aggregates: Sequence[Sequence[Any] | None]
    marks: Sequence[int]

    def states(self, how: How) -> States | None:
        """Return the aggregates that a way to resample needs; None if they are not known of each column."""
        if None in self.aggregates:
            return None
        places = [ALL.of.index(name) for name in how.of]
        found = [tuple([each[at] for at in places]) if each else None for each in self.aggregates if each is not None]
        return dict(zip(self._names(), found, strict=True))

    def value(self, which: str) -> Any:
        """Return the value of the ``first`` or the ``last`` row; None if only the rows tell it, as some are missing."""
        if any(not each or each[_COUNT] != self.rows for each in self.aggregates):
            return None
        values = [each[ALL.of.index(which)] for each in self.aggregates if each]
        return values[0] if len(values) == 1 else dict(zip(self._names(), values, strict=True))

    def _names(self) -> list[str | None]:
        columns = self.layout.columns
        return [None] if len(columns) == 1 else [column.name for column in columns]


def aggregates_of(table: Table, i: int) -> Sequence[Any] | None:
    """Return the aggregates of a column of numbers; None of another."""
    if not is_summed(table.layout.columns[i]):
        return None
    present = [value for value in table.column(i) if value is not None and value == value]  # noqa: PLR0124  # no NaN
    return [AGGREGATES[name].of(present) for name in ALL.of] if present else ()


def is_summed(column: Column) -> bool:
    """Tell whether a column has aggregates."""
    return column.kind in FORMATS and column.kind != DATE


def pack_summary(times: Sequence[int], table: Table, index: bytes, aggregates: Aggregates) -> bytes:
    """Return the summary of a segment as bytes; ``index`` are its times as they are packed."""
    layout = table.layout
    columns = [[*column, aggregates(table, i)] for i, column in enumerate(layout.columns)]
    marks = [] if index[:1] == bytes((REGULAR,)) else [int(time) for time in times[::_MARK]]
    found = [len(times), layout.times, layout.framed, columns, marks]
    return json.dumps(found, separators=(",", ":")).encode()


def unpack_summary(data: bytes) -> Summary:
    """Return the summary that :func:`pack_summary` was given.

    Raises:
        ValueError: the data are damaged.
    """
    try:
        rows, times, framed, columns, marks = json.loads(data)
        layout = Layout(TimeAxis(*times), tuple(Column(*column[:-1]) for column in columns), framed)
        aggregates = [column[-1] for column in columns]
        numbers = {type(number) for each in aggregates for number in each or ()}
        sizes, ints = {len(each) for each in aggregates if each}, {type(rows), *map(type, marks)}
    except (TypeError, IndexError, AttributeError) as exc:
        raise ValueError("a summary of another shape") from exc
    if not numbers <= {int, float, bool} or not sizes <= {len(ALL.of)} or ints != {int} or rows not in _ROWS:
        raise ValueError("a summary of other types")
    return Summary(rows, layout, aggregates, marks)


def times_between(
    index: Any, start: int, summary: Summary, span: tuple[int, int], check: Callable[[int, int], None]
) -> tuple[int, Sequence[int]]:
    """Return the number of the first row in a span, and the times of all rows in it.

    Args:
        index: the times of the segment as they are packed.
        start: the first time of the segment.
        check: verifies bytes of the index before they are read.

    Raises:
        ValueError, struct.error: the data are damaged.
    """
    check(0, _REGULAR_BYTES)
    if (index[0] == REGULAR) == bool(summary.marks):
        raise ValueError("regular times have no marks, and others have some")
    if summary.marks:
        first, times = _between_marks(index, summary, span, check)
    else:
        first, times = 0, unpack_times(start, summary.rows, index)
    at = bisect_left(times, span[0])
    return first + at, times[at : bisect_right(times, span[1], at)]


def _between_marks(
    index: Any, summary: Summary, span: tuple[int, int], check: Callable[[int, int], None]
) -> tuple[int, Sequence[int]]:
    """Return the rows from the last mark before a span to the first one after it."""
    before, after = max(bisect_right(summary.marks, span[0]) - 1, 0), bisect_right(summary.marks, span[1])
    first, stop = before * _MARK, min(after * _MARK, summary.rows)
    width = 1 << WIDTHS.index(index[0])
    low, high = 1 + first * width, 1 + (stop - 1) * width
    check(low, high)
    steps, _ = unpack_ints(stop - 1 - first, bytes(index[:1]) + bytes(index[low:high]))
    return first, list(accumulate(steps, initial=summary.marks[before]))
