"""Frames out of series: segments of one layout are concatenated, those of several are first brought together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Any, Final, TypeAlias

import numpy as np

from rstore.domain.series import Run, tail, thin
from rstore.encoding.columns import DATE, FORMATS, IN_UNITS, OBJECT, TEXT, Column, Layout, Table, TimeAxis, is_row
from rstore.encoding.rows import stretches
from rstore.encoding.texts import Texts, coded_if_it_pays
from rstore.frames import texts
from rstore.frames.frame import Frame, Values, columns_of, frame_of, guessed_column, object_column
from rstore.frames.room import Room
from rstore.frames.times import joint_times

_NUMBERS: Final = frozenset(FORMATS) - IN_UNITS - {"b1", DATE}

_DTYPES: Final = {"b1": "?", DATE: "<i4"}
_STAGE: Final = 1 << 25  # bytes

Piece: TypeAlias = tuple[int, dict[str | None, Values | None]]
"""The number of rows, and the values of each column, None if all are missing.

A column without a name is the only one, or holds the values that are no rows.
"""


def limited(runs: Iterable[Run], freq: int | None, n: int | None) -> Iterator[Run]:
    """Yield the points of runs that ``range`` returns with ``freq`` and ``n``, and read no more than needed."""
    if n is not None and n < 0:
        yield from tail(limited(runs, freq, None), -n)
        return
    due, left = None, n
    if left == 0:
        return
    for times, values in runs:
        if freq is not None:
            kept = [at for _, at in thin(_since(times, due), freq)]
            due = int(times[kept[-1]]) + freq if kept else due
            found: Run = [times[at] for at in kept[:left]], [values[at] for at in kept[:left]]
        else:
            found = times[:left], values[:left]
        left = None if left is None else left - len(found[0])
        if len(found[0]):
            yield found
        if left == 0:
            return


def _since(times: Any, due: int | None) -> Iterator[tuple[int, int]]:
    listed = times.tolist() if isinstance(times, np.ndarray) else times
    return ((time, at) for at, time in enumerate(listed) if due is None or time >= due)


def gathered(runs: Iterable[Run], kind: Callable[[], Layout | None], *, by_name: bool = False) -> Frame:
    """Return runs, whose values are rows of tables or have no type, as one frame.

    Args:
        kind: finds the layout of the series, where no table tells it.
        by_name: all values are rows: the name of a single column counts too.

    Raises:
        ValueError: the times are in several units.
    """
    room = Room(_STAGE)
    found = [(stamps, _copied(values, room)) for stamps, values in chain.from_iterable(map(stretches, runs))]
    times = joint_times([stamps for stamps, _ in found])
    pieces = [values for _, values in found]
    if not any(isinstance(values, Table) for values in pieces) and (layout := kind()) is not None:
        pieces.insert(0, _empty(layout))
    layouts = list(dict.fromkeys(values.layout for values in pieces if isinstance(values, Table)))
    if len(layouts) == 1 and all(isinstance(values, Table) for values in pieces):
        return Frame(times, united(layouts[0], [_piece(table, alone=False) for table in pieces]))
    return Frame(times, _brought_together(pieces, layouts, by_name=by_name))


def _copied(values: Any, room: Room) -> Any:
    """Return a table whose numbers lie in other memory: then the next record takes that of this one."""
    if not isinstance(values, Table):
        return values
    pairs = zip(values.layout.columns, values.data, strict=True)
    data = [room.joined([_array(each, column.kind)]) if column.kind in FORMATS else each for column, each in pairs]
    return Table(values.layout, data, values.absent)


def _empty(layout: Layout) -> Table:
    return Table(layout, [np.empty(0, _dtype(kind)) if kind in FORMATS else [] for _, kind, *_ in layout.columns])


def of_points(points: Sequence[tuple[int, Any]], axis: TimeAxis, kind: Layout | None = None) -> Frame:
    """Return points without a type as a frame, and rows as its columns, in which None is a missing value.

    Args:
        kind: the layout of the series: it tells which columns hold times or durations, which are ints in points.
    """
    times, values = [time for time, _ in points], [value for _, value in points]
    rows = [value for value in values if isinstance(value, dict)]
    names: Iterable[str | None] = dict.fromkeys(chain.from_iterable(rows)) if rows else (None,)
    columns = [_known_of(name, [row.get(name) for row in rows] if rows else values) for name in names]
    in_units = {} if kind is None else {column.name if rows else None: column for column in kind.columns}
    columns = [_in_unit(values, in_units.get(values.column.name)) for values in columns]
    return frame_of(np.array(times, np.int64), axis, columns, framed=bool(rows))


def _in_unit(values: Values, column: Column | None) -> Values:
    """Return ints as the times or durations that a known column has."""
    if column is None or column.kind not in IN_UNITS or values.column.kind != "i8":
        return values
    return values._replace(column=column._replace(name=values.column.name, dtype=""))


def _known_of(name: str | None, values: list[Any]) -> Values:
    """Return values as a column of the one type that the present ones have."""
    types = {type(value) for value in values if value is not None}
    if types == {int, float}:
        types, values = {float}, [None if value is None else float(value) for value in values]
    if len(types) != 1 or None not in values:
        return guessed_column(name, values)
    nothing = types.pop()
    if nothing not in (int, float, bool, str):
        return guessed_column(name, values)
    found = guessed_column(name, [nothing() if value is None else value for value in values])
    if found.column.kind == OBJECT:
        return guessed_column(name, values)
    return found._replace(absent=np.fromiter((value is None for value in values), np.uint8, len(values)))


def _brought_together(found: Sequence[Any], layouts: Sequence[Layout], *, by_name: bool) -> Table:
    names = dict.fromkeys(column.name for layout in layouts if _has_names(layout) for column in layout.columns)
    alone = len(names) < 2 and not by_name
    pieces = [_piece(values, alone=alone) for values in _with_lists_joined(found, alone=alone)]
    columns = list(dict.fromkeys(name for _, values in pieces for name in values))
    if alone:
        last = layouts[-1] if layouts else None
        shown = [last.columns[0].name if last is not None else None]
    else:
        shown = [_name_beside(columns) if name is None else name for name in columns]
    framed = any(layout.framed for layout in layouts) or not alone
    layout = Layout(_meaning(layouts), tuple(Column(name, OBJECT) for name in shown), framed)
    return united(layout, pieces, columns)


def _name_beside(columns: Sequence[str | None]) -> str:
    """Return a name for the column of values that are no rows, which no column of rows has."""
    made_up = (f"value {number}" for number in count(2))
    return next(name for name in chain(("value",), made_up) if name not in columns)


def _has_names(layout: Layout) -> bool:
    """Tell whether columns have names. A series has one column, and the name of that does not count."""
    return layout.framed or len(layout.columns) > 1


def _meaning(layouts: Sequence[Layout]) -> TimeAxis:
    units = {layout.times.unit for layout in layouts if layout.times.unit is not None}
    if len(units) > 1:
        raise ValueError(f"the times are counted in several units: {', '.join(sorted(units))}")
    known = [layout.times for layout in layouts if layout.times.unit is not None or not units]
    return known[-1] if known else TimeAxis()


def _with_lists_joined(found: Sequence[Any], *, alone: bool) -> Iterator[Any]:
    """Yield the parts. If all are lists, yield one list: only all values together tell whether they have one type."""
    if alone and not any(isinstance(values, Table) for values in found):
        yield [value for values in found for value in values]
    else:
        yield from found


def _piece(values: Any, *, alone: bool) -> Piece:
    if isinstance(values, Table):
        return len(values), {None if alone else each.column.name: each for each in columns_of(values)}
    if alone:
        return len(values), {None: guessed_column(None, list(values))}
    rows = [value if is_row(value) else {} for value in values]
    columns: dict[str | None, Values | None] = {
        name: _unless_nothing(name, [row.get(name) for row in rows])
        for name in dict.fromkeys(chain.from_iterable(rows))
    }
    others = _unless_nothing(None, [None if is_row(value) else value for value in values])
    return len(values), columns if others is None else {**columns, None: others}


def _unless_nothing(name: str | None, values: list[Any]) -> Values | None:
    """Return values as a column, or None if all are missing: then they must not change the type of others."""
    return None if all(value is None for value in values) else _known_of(name, values)


def united(layout: Layout, pieces: Sequence[Piece], keys: Sequence[str | None] | None = None) -> Table:
    """Return pieces as one table. Each column has the common type, and is missing where a piece does not have it."""
    names = [column.name for column in layout.columns]
    room = Room(8 * len(names) * sum(count for count, _ in pieces))
    merged = []
    for key, name in zip(keys or names, names, strict=True):
        merged.append(_column(name, [(count, values.get(key)) for count, values in pieces], room))
    return Table(
        Layout(layout.times, tuple(each.column for each in merged), layout.framed),
        [each.data for each in merged],
        [each.absent for each in merged],
    )


def _column(name: str | None, parts: Sequence[tuple[int, Values | None]], room: Room) -> Values:
    """Return the parts of a column, each with its number of values, as one; the values of a part None are missing."""
    present = [part for _, part in parts if part is not None]
    if not present:
        return object_column(name, [None] * sum(count for count, _ in parts))
    column = _common([part.column for part in present])._replace(name=name)
    if column.kind in FORMATS:
        dtype = np.result_type(*(_dtype(part.column.kind) for part in present))
        data = room.joined([_numbers(part, count, dtype) for count, part in parts])
        column = column._replace(kind=f"{dtype.kind}{dtype.itemsize}") if column.kind in _NUMBERS else column
    elif column.kind == TEXT:
        data = texts.joined([_texts(part, count) for count, part in parts])
    else:
        data = [value for count, part in parts for value in _as_objects(part, count)]
    if column.kind == OBJECT or all(part is not None and part.absent is None for _, part in parts):
        return Values(column, data)
    return Values(column, data, room.joined([_mask(part, count) for count, part in parts]))


def _common(columns: Sequence[Column]) -> Column:
    """Return the column that such parts make: of their type, of one that holds all their numbers, or of objects."""
    types = {column[1:4] for column in columns}
    dtypes = {column.dtype for column in columns}
    dtype = dtypes.pop() if len(dtypes) == 1 else ""
    if len(types) == 1:
        return columns[0]._replace(dtype=dtype)
    in_units = {column[1:4] for column in columns if column.kind in IN_UNITS}
    if len(in_units) == 1 and {column.kind for column in columns} - IN_UNITS == {"i8"}:
        return next(column for column in columns if column.kind in IN_UNITS)  # points have ints of its unit
    if {column.kind for column in columns} <= _NUMBERS:
        return Column(None, "f8")
    return Column(None, OBJECT)


def _dtype(kind: str) -> Any:
    return np.dtype("<i8" if kind in IN_UNITS else _DTYPES.get(kind, f"<{kind}"))


def _numbers(part: Values | None, count: int, dtype: Any) -> Any:
    if part is None:
        return np.zeros(count, dtype)
    return np.asarray(_array(part.data, part.column.kind), dtype)


def _array(data: Any, kind: str) -> Any:
    return data if isinstance(data, np.ndarray) else np.frombuffer(data, _dtype(kind))


def _texts(part: Values | None, count: int) -> Texts:
    data = [""] * count if part is None else part.data
    return data if isinstance(data, Texts) else coded_if_it_pays(data)


def _as_objects(part: Values | None, count: int) -> Sequence[Any]:
    if part is None:
        return [None] * count
    return Table(Layout(TimeAxis(), (part.column,)), [part.data], [part.absent]).column(0)


def _mask(part: Values | None, count: int) -> Any:
    if part is None:
        return np.ones(count, np.uint8)
    return np.zeros(count, np.uint8) if part.absent is None else np.frombuffer(part.absent, np.uint8)
