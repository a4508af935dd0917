"""Aggregates of typed columns, found by NumPy without a Python object for each value.

They are those of :mod:`rstore.domain.resampling`: missing values do not count, and ints do not overflow. Only sums of
floats may differ from those of Python, in their last digits: NumPy adds up pairs, and pairs of pairs.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from rstore.domain.resampling import How, States, aggregated, reduced_values
from rstore.encoding.columns import DATE, EPOCH, FORMATS, IN_UNITS, NOT_A_TIME, Table
from rstore.encoding.rows import Row, Rows
from rstore.encoding.summaries import ALL, is_summed

_HALF: Final = 32  # bits


def reduced(values: Sequence[Any], ends: Sequence[int], how: How) -> Iterator[States]:
    """Yield the aggregates of the bins of a run of rows, as :func:`~rstore.domain.resampling.reduced_values` does."""
    if not isinstance(values, Rows):
        yield from reduced_values(_listed(values), ends, how)
        return
    table = values.table
    columns = table.layout.columns
    names = [None] if len(columns) == 1 else [column.name for column in columns]
    parts = [_of_column(table, i, name, ends, how) for i, name in enumerate(names)]
    for (first, end), *states in zip(pairwise((0, *ends)), *parts, strict=True):
        yield dict(zip(names, states, strict=True)) if first < end else {}


def aggregates_of(table: Table, i: int) -> Sequence[Any] | None:
    """Return the aggregates of a column for a summary, as :func:`rstore.encoding.summaries.aggregates_of` does."""
    column = table.layout.columns[i]
    return (_of_numbers(*_present(table, i), [len(table)], ALL, column.kind)[0] or ()) if is_summed(column) else None


def _listed(values: Sequence[Any]) -> list[Any]:
    """Return the values of rows of several tables, and of none: each table is read once."""
    tables = {id(value.table): value.table for value in values if isinstance(value, Row)}
    read = {name: list(table) for name, table in tables.items()}
    return [read[id(value.table)][value.at] if isinstance(value, Row) else value for value in values]


def _of_column(
    table: Table, i: int, name: str | None, ends: Sequence[int], how: How
) -> Sequence[tuple[Any, ...] | None]:
    """Return the aggregates of a column for each bin."""
    kind = table.layout.columns[i].kind
    if kind in FORMATS and not (kind == DATE and "sum" in how.of):  # dates can't be added up: that error is Python's
        return _of_numbers(*_present(table, i), ends, how, kind)
    listed = table.column(i)
    return [aggregated(listed[first:end], how, name) for first, end in pairwise((0, *ends))]


def _present(table: Table, i: int) -> tuple[Any, Any]:
    """Return a column as an array, and a mask of the values that are not missing."""
    kind, absent = table.layout.columns[i].kind, table.absent[i]
    values = np.asarray(table.data[i])
    is_present = np.ones(len(values), bool) if absent is None else np.frombuffer(absent, np.uint8) == 0
    if kind in IN_UNITS:
        is_present &= values != NOT_A_TIME
    elif values.dtype.kind == "f":
        is_present &= values == values  # noqa: PLR0124  # NaN is not
    return values, is_present


def _of_numbers(
    values: Any, is_present: Any, ends: Sequence[int], how: How, kind: str
) -> Sequence[tuple[Any, ...] | None]:
    places = np.array((0, *ends))
    if not is_present.all():
        values, places = values[is_present], np.append(0, np.cumsum(is_present))[places]
    starts, stops = places[:-1], places[1:]
    is_full = starts < stops
    with np.errstate(all="ignore"):
        columns = [_AGGREGATES[each](values, starts[is_full], stops[is_full]) for each in how.of]
    found = zip(
        *(
            _dates(column) if kind == DATE and each != "count" else column
            for each, column in zip(how.of, columns, strict=True)
        ),
        strict=True,
    )
    return [next(found) if full else None for full in is_full.tolist()]


def _dates(days: list[int]) -> list[datetime.date]:
    return [datetime.date.fromordinal(day + EPOCH) for day in days]


def _sum(values: Any, starts: Any, _: Any) -> list[Any]:
    if values.dtype.kind == "f":
        return _at(np.add, values, starts, np.float64)
    if values.dtype.itemsize * 8 <= _HALF:
        return _at(np.add, values, starts, np.int64)
    high, low = values >> _HALF, values & (1 << _HALF) - 1
    pairs = zip(_at(np.add, high, starts), _at(np.add, low, starts), strict=True)
    return [(above << _HALF) + below for above, below in pairs]


def _at(function: Any, values: Any, starts: Any, dtype: Any = None) -> list[Any]:
    if not len(starts):
        return []
    found: list[Any] = function.reduceat(values, starts, dtype=dtype).tolist()
    return found


_AGGREGATES: Final[Mapping[str, Callable[[Any, Any, Any], list[Any]]]] = {
    "count": lambda _, starts, stops: (stops - starts).tolist(),
    "sum": _sum,
    "min": lambda values, starts, _: _at(np.minimum, values, starts),
    "max": lambda values, starts, _: _at(np.maximum, values, starts),
    "first": lambda values, starts, _: values[starts].tolist(),
    "last": lambda values, _, stops: values[stops - 1].tolist(),
}
"""Those of :data:`rstore.domain.resampling.AGGREGATES`, of the values from each start to each stop."""
