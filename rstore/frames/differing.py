"""Which rows of a frame differ from those that a series has already: typed columns are compared as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from rstore.domain.series import Run
from rstore.encoding.columns import FORMATS, Layout, Table, TimeAxis
from rstore.encoding.equality import are_equal
from rstore.encoding.rows import stretches
from rstore.frames.frame import Frame, Values, columns_of, runs, taken
from rstore.frames.times import Ints


def differing(frame: Frame, stored: Callable[[Sequence[int]], Iterable[Run]], read_back: Callable[[Any], Any]) -> Frame:
    """Return the rows of a frame that differ from those which a series has at their times.

    Args:
        stored: finds the stored runs of rows that have points at some times, which increase.
        read_back: returns values as they would be read after they were stored.
    """
    kept = np.ones(len(frame), bool)
    low = 0
    for times, values in runs(frame):
        for found, there in chain.from_iterable(map(stretches, stored(times))):
            ours, theirs = _met(np.asarray(times), np.asarray(found, np.int64))
            if len(ours):
                kept[low + ours] = ~_same(read_back(_rows(values, ours)), _rows(there, theirs))
        low += len(times)
    if kept.all():
        return frame
    rows = np.flatnonzero(kept) if frame.order is None else frame.order[kept]
    return Frame(frame.times[rows], taken(frame.table, rows))


def _rows(values: Any, rows: Ints) -> Any:
    if len(rows) == len(values):
        return values
    return taken(values, rows) if isinstance(values, Table) else [values[row] for row in rows.tolist()]


def _met(times: Ints, found: Ints) -> tuple[Ints, Ints]:
    """Return the places of the times that are in both, in each of the two."""
    places = np.searchsorted(found, times)
    places[places == len(found)] = 0
    ours: Ints = np.flatnonzero(found[places] == times)
    return ours, places[ours]


def _same(ours: Any, theirs: Any) -> Any:
    if not isinstance(theirs, Table) or _types(ours) != _types(theirs):
        return np.fromiter(map(are_equal, ours, theirs), bool, len(ours))
    there = {_name(theirs, values): values for values in columns_of(theirs)}
    return np.logical_and.reduce([_same_column(values, there[_name(ours, values)]) for values in columns_of(ours)])


def _types(table: Table) -> dict[str | None, tuple[Any, ...]]:
    return {_name(table, values): values.column[1:4] for values in columns_of(table)}


def _name(table: Table, values: Values) -> str | None:
    """Return what names the values in a row: those of one column are no rows."""
    return values.column.name if len(table.layout.columns) > 1 else None


def _same_column(one: Values, other: Values) -> Any:
    if one.column.kind not in FORMATS:
        return np.fromiter(map(are_equal, _listed(one), _listed(other)), bool, len(one.data))
    a, b = np.asarray(one.data), np.asarray(other.data)
    same = a == b
    if a.dtype.kind == "f":
        same = np.where(same, np.signbit(a) == np.signbit(b), np.isnan(a) & np.isnan(b))
    if one.absent is None and other.absent is None:
        return same
    missing, gone = _mask(one), _mask(other)
    return np.where(missing | gone, missing & gone, same)


def _listed(values: Values) -> list[Any]:
    return Table(Layout(TimeAxis(), (values.column,)), [values.data], [values.absent]).column(0)


def _mask(values: Values) -> Any:
    return np.zeros(len(values.data), bool) if values.absent is None else np.asarray(values.absent, bool)
