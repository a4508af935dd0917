"""The points of a series as columns of a query: typed columns as arrays of Arrow, all others as values of Python."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from rstore import frames
from rstore.core import Reading
from rstore.domain.event_state import Unloaded
from rstore.domain.log import Record
from rstore.domain.series import Run
from rstore.domain.streams import Stream
from rstore.encoding.columns import FORMATS, IN_UNITS, OBJECT, UNITS, Column, Layout, Table, TimeAxis, is_row
from rstore.encoding.rows import as_rows, stretches
from rstore.frames.frame import Values, columns_of
from rstore.frames.from_arrow import show_column
from rstore.frames.times import joint_times
from rstore.models.segments import laid_runs
from rstore.sql import kinds
from rstore.sql.kinds import cleaned
from rstore.sql.tables import Lost

_FLOATS: Final = ("f8", "f4")
_NANOSECONDS: Final = UNITS["ns"] // UNITS["us"]  # of a microsecond
_LIMIT: Final = 2**63 - 1


def read_runs(
    core: Reading, stream: Stream, span: tuple[int, int], names: Collection[Any] | None, lost: Lost
) -> Iterator[Run]:
    """Yield the points of a span as runs. Their values are tables or lists, with None for values that can't be loaded.

    Args:
        names: the typed columns to read, None for all. A series that came without a frame has one column, of the name
            None. If there are no names, no value is loaded.
    """
    unpack, merged = frames.as_arrays()

    def load(record: Record) -> Run:
        if names is not None and not names:
            times, values = core.envelope.bare_run(stream, record)
        else:
            times, values = core.envelope.run(stream, record, unpack, span, names)
        return times, as_rows(values)

    for run in laid_runs(core, stream, *span, load=load, merged=merged):
        for times, values in stretches(run):
            yield times, values if isinstance(values, Table) else [_unless_lost(value, lost) for value in values]


def _unless_lost(value: Any, lost: Lost) -> Any:
    if type(value) is not Unloaded:
        return value
    lost.count += 1
    return None


def columns_in(values: Sequence[Any]) -> dict[str | None, kinds.Values]:
    """Return values by column. The column None holds values that are no rows."""
    if isinstance(values, Table):
        layout = values.layout
        is_alone = len(layout.columns) == 1 and not layout.framed
        return {None if is_alone else each.column.name: _array(each) for each in columns_of(values)}
    rows = [value if is_row(value) else {} for value in values]
    names = dict.fromkeys(name for row in rows for name in row)
    found: dict[str | None, kinds.Values] = {name: cleaned([row.get(name) for row in rows]) for name in names}
    others = [None if row else value for row, value in zip(rows, values, strict=True)]
    if not names or any(value is not None for value in others):
        found[None] = cleaned(others)
    return found


def values_in(values: Sequence[Any]) -> kinds.Values:
    """Return values in one column: rows as dicts."""
    if isinstance(values, Table) and len(values.layout.columns) == 1:
        (only,) = columns_of(values)
        return _array(only)
    return cleaned(list(values))


def _array(values: Values) -> kinds.Values:
    """Return a typed column as an array. A missing number is NULL, and so is NaN, which frames have in its place."""
    column, data, absent = values
    if column.kind == OBJECT:
        return cleaned(list(data))
    if column.kind in FORMATS:
        data = np.require(data, requirements="A")
    if column.kind in _FLOATS:
        missing = None if absent is None else np.asarray(absent, bool)
        if len(data) and np.isnan(data.min()):  # quicker than a look at each of them
            missing = np.isnan(data) if missing is None else missing | np.isnan(data)
        return pa.array(data, mask=missing)
    if column.kind in IN_UNITS and column.zone is not None:
        column = Column(column.name, column.kind, column.unit, "UTC")
    try:
        return show_column(Values(column, data, absent))
    except UnicodeError:  # a text with lone surrogates
        return Table(Layout(TimeAxis(), (column,)), [data], [absent]).column(0)


# -- times ------------------------------------------------------------------------------------------------------------


def ints_of(times: Sequence[int]) -> Any:
    """Return times as an array of ints."""
    return pa.array(joint_times([times]))


def moments_of(times: Sequence[int], axis: TimeAxis, key: str) -> Any:
    """Return times as an array: ints if they have no unit, and else microseconds, or nanoseconds where they need them.

    DuckDB hands filters to a scan for times in these two units only.
    """
    if axis.unit is None:
        return ints_of(times)
    zone, unit = None if axis.zone is None else "UTC", "us"
    if axis.unit != "ns":
        factor = UNITS["us"] // UNITS[axis.unit]
        if len(times) and not -_LIMIT < int(times[0]) * factor <= int(times[-1]) * factor < _LIMIT:
            raise ValueError(f"the series {key!r} has times that no timestamp of SQL can hold: query it in points")
        found = _multiplied(times, factor)
    elif (joint_times([times]) % _NANOSECONDS).any():
        found, unit = joint_times([times]), "ns"
    else:
        found = joint_times([times]) // _NANOSECONDS
    return pa.array(found).view(pa.timestamp(unit, zone))


def _multiplied(times: Sequence[int], factor: int) -> Any:
    if isinstance(times, range) and times:  # one pass over memory makes the array
        first, last, step = (each * factor for each in (times[0], times[-1], times.step))
        return np.arange(first, last + 1, step, dtype="i8")
    found = joint_times([times])
    return found if factor == 1 else found * factor
