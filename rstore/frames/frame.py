"""A frame between a library and the segments of a series: NumPy arrays, whose slices are views of the whole."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np
from attrs import evolve, frozen

from rstore.domain.errors import StoreNotAvailableError
from rstore.domain.names import exact
from rstore.domain.series import Run
from rstore.encoding.columns import (
    DATE,
    DAYS,
    EPOCH,
    FORMATS,
    IN_UNITS,
    NOT_A_TIME,
    OBJECT,
    TEXT,
    Column,
    Layout,
    Table,
    TimeAxis,
    name_of_times,
)
from rstore.encoding.texts import Texts
from rstore.frames import library
from rstore.frames.texts import cut, ints
from rstore.frames.times import Ints, order_of, rescaled, unit_of

ANY_ZONE: Final = "*"
"""The zone of times that are in UTC and can't have another: they take the zone of the series."""

_CHUNK: Final = 1 << 18  # rows: a chunk fits into the cache, so that its second pass reads no memory


class Values(NamedTuple):
    """A column with its values; ``absent`` has a true byte for each missing one, or is None if none is missing."""

    column: Column
    data: Any
    absent: Any = None


def columns_of(table: Table) -> list[Values]:
    """Return the columns of a table with their values."""
    return list(map(Values, table.layout.columns, table.data, table.absent))


def chosen(values: Any, rows: Ints) -> Any:
    """Return the values in these rows: of an array as an array, of a list as a list."""
    if isinstance(values, Texts):
        if values.codes is not None:
            return Texts(values.lengths, values.data, memoryview(ints(values.codes)[rows]), values.offsets)
        values = values.tolist()
    return [values[row] for row in rows.tolist()] if isinstance(values, list) else np.asarray(values)[rows]


def taken(table: Table, rows: Ints) -> Table:
    """Return these rows of a table."""
    absent = [None if mask is None else chosen(mask, rows) for mask in table.absent]
    return Table(table.layout, [chosen(values, rows) for values in table.data], absent)


@frozen(eq=False)
class Frame:
    """The points of a frame. ``order`` has its rows in order of time, of equal times the last; None if they come so."""

    times: Ints
    table: Table
    order: Ints | None = None

    def __len__(self) -> int:
        return len(self.times) if self.order is None else len(self.order)

    @property
    def axis(self) -> TimeAxis:
        """The meaning of the times."""
        return self.table.layout.times

    @property
    def has_objects(self) -> bool:
        """Whether there are values of no other type, which have to be dumped."""
        return any(column.kind == OBJECT for column in self.table.layout.columns)

    @property
    def is_short(self) -> bool:
        """Whether one segment can hold all rows."""
        return len(self) <= self.table.layout.rows

    def with_times(self, times: Ints, axis: TimeAxis) -> Frame:
        """Return the same columns at other times, which are in the same order."""
        layout = evolve(self.table.layout, times=axis)
        return Frame(times, Table(layout, self.table.data, self.table.absent), self.order)


def frame_of(times: Ints, axis: TimeAxis, columns: Sequence[Values], *, framed: bool) -> Frame:
    """Return columns as a frame.

    Raises:
        ValueError: the columns have different lengths, there is no column, or two have the same name.
    """
    names = [values.column.name for values in columns]
    if not names:
        raise ValueError("a frame needs a column of values besides its times")
    if len(set(names)) != len(names):
        raise ValueError(f"columns need names of their own: {names}")
    lengths = {len(values.data) for values in columns}
    if lengths != {len(times)}:
        raise ValueError(f"there are {len(times)} times, and {', '.join(map(str, sorted(lengths)))} values")
    layout = Layout(axis, tuple(values.column for values in columns), framed)
    table = Table(layout, [values.data for values in columns], [values.absent for values in columns])
    return Frame(times, table, None if _is_increasing(times) else order_of(times))


def with_columns(frame: Frame, names: Sequence[str], *, framed: bool) -> Frame:
    """Return a frame with these columns; one that it does not have is empty."""
    own = {values.column.name: values for values in columns_of(frame.table)}
    columns = [own.get(name) or object_column(name, [None] * len(frame.times)) for name in names]
    layout = Layout(frame.axis, tuple(values.column for values in columns), framed)
    table = Table(layout, [values.data for values in columns], [values.absent for values in columns])
    return Frame(frame.times, table, frame.order)


def _is_increasing(times: Ints) -> bool:
    return all(
        bool(np.all(times[i + 1 : i + 1 + _CHUNK] > times[i : i + _CHUNK][: len(times) - i - 1]))
        for i in range(0, len(times) - 1, _CHUNK)
    )


def runs(frame: Frame) -> Iterator[Run]:
    """Yield the points of a frame as runs, each of one segment."""
    size, times = frame.table.layout.rows, cast("Any", frame.times)
    for low in range(0, len(frame), size):
        if frame.order is None:
            yield times[low : low + size], _cut(frame.table[low : low + size])
        else:
            rows = frame.order[low : low + size]
            yield times[rows], taken(frame.table, rows)


def _cut(table: Table) -> Table:
    data = [cut(values) if isinstance(values, Texts) else values for values in table.data]
    return Table(table.layout, data, table.absent)


# -- columns ----------------------------------------------------------------------------------------------------------


def array_column(name: str | None, array: Any, absent: Any = None, dtype: str = "") -> Values:
    """Return an array as a column; an array of a type without a kind here becomes a column of objects."""
    mask = np.asarray(absent, np.uint8) if absent is not None and absent.any() else None
    kind, code = array.dtype.kind, f"{array.dtype.kind}{array.dtype.itemsize}"
    if kind in "Mm":
        little = np.asarray(array, array.dtype.newbyteorder("<"))
        column = Column(name, "time" if kind == "M" else "duration", unit_of(array.dtype), dtype=dtype)
        return Values(column, little.view(np.int64), mask)
    if code == "f2":  # fits into the next width exactly
        return Values(Column(name, "f4", dtype=dtype or "float16"), array.astype("<f4"), mask)
    if code in FORMATS:
        return Values(Column(name, code, dtype=dtype), np.asarray(array, f"<{code}"), mask)
    return object_column(name, array.tolist())


def object_column(name: str | None, values: list[Any], dtype: str = "") -> Values:
    """Return values of any type as a column."""
    return Values(Column(name, OBJECT, dtype=dtype), values)


def text_column(name: str | None, texts: list[Any], dtype: str = "") -> Values:
    """Return texts as a column; a value that is no str is missing."""
    column = Column(name, TEXT, dtype=dtype)
    if set(map(type, texts)) <= {str}:
        return Values(column, texts)
    absent = np.fromiter((not isinstance(text, str) for text in texts), np.uint8, len(texts))
    return Values(column, [text if isinstance(text, str) else "" for text in texts], absent)


def with_types(frame: Frame) -> Frame:
    """Return a frame whose columns of objects that are all texts, or all dates, or None, have that type.

    pandas shows them as objects still. An enum or another subclass of str stays an object.
    """
    columns = [_typed(values) if values.column.kind == OBJECT else values for values in columns_of(frame.table)]
    layout = evolve(frame.table.layout, columns=tuple(values.column for values in columns))
    table = Table(layout, [values.data for values in columns], [values.absent for values in columns])
    return Frame(frame.times, table, frame.order)


def _typed(values: Values) -> Values:
    types = set(map(type, values.data)) - {type(None)}
    typed = _TYPED.get(types.pop()) if len(types) == 1 else None
    if typed is None:
        return values
    found = typed(values.column.name, values.data)
    return found._replace(column=found.column._replace(dtype=OBJECT))


def _texts(name: str | None, texts: list[str | None]) -> Values:
    try:
        found: Values = library("arrow").read_texts(name, texts)
    except (StoreNotAvailableError, UnicodeError):
        found = text_column(name, texts)
    return found


def _dates(name: str | None, dates: list[datetime.date | None]) -> Values:
    days = np.fromiter((EPOCH if day is None else day.toordinal() for day in dates), np.int64, len(dates)) - EPOCH
    missing = np.fromiter((day is None for day in dates), np.uint8, len(dates))
    return date_column(name, days, missing)


_TYPED: Final[dict[type, Callable[[str | None, list[Any]], Values]]] = {str: _texts, datetime.date: _dates}


def date_column(name: str | None, days: Any, absent: Any = None) -> Values:
    """Return days from 1970 as a column of dates.

    Raises:
        ValueError: a day is no date of Python.
    """
    if len(days) and not (int(days.min()) in DAYS and int(days.max()) in DAYS):
        raise ValueError(f"dates are of the years 1 to 9999, and not {days.min()} to {days.max()} days from 1970")
    mask = np.asarray(absent, np.uint8) if absent is not None and absent.any() else None
    return Values(Column(name, DATE), np.asarray(days, "<i4"), mask)


def guessed_column(name: str | None, values: list[Any]) -> Values:
    """Return values that came without a type as a column: of the one type that they have, or else of objects.

    >>> [guessed_column(None, values).column.kind for values in ([1.5, 2.0], [True], ['a'], [1, None], [2**70])]
    ['f8', 'b1', 'text', 'object', 'object']
    """
    types = set(map(type, values))
    if types == {str}:
        return text_column(name, values)
    code = _GUESSED.get(types.pop()) if len(types) == 1 else None
    if code is None or (code == "i8" and not -(2**63) <= min(values) <= max(values) < 2**63):
        return object_column(name, values)
    return Values(Column(name, code), np.array(values, "?" if code == "b1" else code))


def are_same(given: Sequence[Any], shown: Sequence[Any]) -> bool:
    """Tell whether values stay the same when a library shows them as one type.

    An int among floats does not, nor does a bool among ints, though they are equal. A dict may get None for a key that
    it has not.

    >>> are_same([1, None, (2,)], [1, None, [2]]), are_same([1, 1.5], [1.0, 1.5])
    (True, False)
    """
    return all(map(_is_same, given, shown))


def _is_same(given: Any, shown: Any) -> bool:
    if isinstance(given, np.generic | np.ndarray):
        given = given.tolist()
    if isinstance(given, tuple):
        given = list(given)
    if isinstance(given, dict) and isinstance(shown, dict):
        return _without_none(given) == _without_none(shown)
    if isinstance(given, bool) != isinstance(shown, bool) or not isinstance(given, type(shown)):
        return False
    if isinstance(given, float) and math.isnan(given):
        return math.isnan(shown)
    return bool(given == shown)


def _without_none(row: dict[Any, Any]) -> dict[Any, Any]:
    return {name: value for name, value in row.items() if value is not None}


_GUESSED: Final[dict[type, str]] = {float: "f8", int: "i8", bool: "b1"}


def check_label(what: str, label: object) -> str | None:
    """Return the name of a column or an index, or raise if that is no str."""
    if label is None:
        return None
    if isinstance(label, str):
        return exact(label)
    raise TypeError(f"the name of {what} is a str, not {type(label).__name__}: rename {label!r}")


def labels(layout: Layout) -> tuple[str, list[str]]:
    """Return the name of the column of times, and those of the others, where all need names that differ.

    >>> labels(Layout(TimeAxis(name='value'), (Column(None, 'f8'),)))
    ('time', ['value'])
    """
    others = ["value" if column.name is None else column.name for column in layout.columns]
    return name_of_times(others, layout.times.name), others


# -- into a series ----------------------------------------------------------------------------------------------------


def fitted(key: str, frame: Frame, known: Sequence[Layout] | None) -> Frame:
    """Return a frame with its times, and its columns of times, in the units of a series.

    Args:
        known: the layouts of some segments of the series that came as frames; None if the series is new.

    Raises:
        ValueError: only one of the two has datetimes, or a time zone; or a time would not be exact.
    """
    times, own = frame.times, frame.axis
    zone = None if own.zone == ANY_ZONE else own.zone
    if known is None:
        return frame.with_times(times, own._replace(zone=zone))
    series = known[0].times if known else TimeAxis()
    if own.unit is None:
        return _with_columns_fitted(key, frame, known).with_times(times, series._replace(name=own.name))
    if series.unit is None:
        raise ValueError(f"the timestamps of {key!r} are plain ints, and those of the frame datetimes: convert them")
    if own.zone != ANY_ZONE:
        _check_zones(f"the timestamps of {key!r}", series.zone, own.zone)
    if own.unit != series.unit:
        times = rescaled(times, own.unit, series.unit)
    return _with_columns_fitted(key, frame, known).with_times(times, TimeAxis(series.unit, series.zone, own.name))


def _check_zones(what: str, there: str | None, here: str | None) -> None:
    if (there is None) != (here is None):
        needs, has = ("no time zone", here) if there is None else (f"the time zone {there}", "none")
        raise ValueError(f"{what} have {needs}, and those of the frame {has}: convert them")


def _with_columns_fitted(key: str, frame: Frame, known: Sequence[Layout]) -> Frame:
    """Return a frame whose columns of times and durations have the units of the known columns of the same names."""
    layout = frame.table.layout
    there = {_name(each, column): column for each in known for column in each.columns if column.kind in IN_UNITS}
    pairs = zip(layout.columns, frame.table.data, strict=True)
    fitting = [_as_there(key, column, data, there.get(_name(layout, column))) for column, data in pairs]
    columns = tuple(column for column, _ in fitting)
    table = Table(evolve(layout, columns=columns), [data for _, data in fitting], frame.table.absent)
    return Frame(frame.times, table, frame.order)


def _name(layout: Layout, column: Column) -> str | None:
    """Return the name that identifies a column of a frame; None for the values of a series."""
    return column.name if layout.framed or len(layout.columns) > 1 else None


def _as_there(key: str, column: Column, data: Any, there: Column | None) -> tuple[Column, Any]:
    if there is None or column.kind != there.kind:
        return column, data
    _check_zones(f"the times in column {column.name!r} of {key!r}", there.zone, column.zone)
    if column.unit == there.unit or column.unit is None or there.unit is None:
        return column, data
    missing = data == NOT_A_TIME
    scaled = rescaled(np.where(missing, 0, data), column.unit, there.unit)
    return column._replace(unit=there.unit), np.where(missing, NOT_A_TIME, scaled)
