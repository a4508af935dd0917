"""Frames of several series as one: long, one below the other, or wide, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from rstore.encoding.columns import OBJECT, TEXT, UNITS, Column, Layout, Table, TimeAxis
from rstore.frames.frame import Frame, Values, columns_of, frame_of, object_column, text_column
from rstore.frames.gathering import Piece, united
from rstore.frames.times import Ints, joint_times, rescaled

_KEY: Final = "key"
_VALUE: Final = "value"


def long(frames: Mapping[str, Frame]) -> Frame:
    """Return frames one below the other: the first column has the key of each row.

    Raises:
        ValueError: the rows of a series have a column ``key``; or the times do not fit together.
    """
    parts = {key: frame for key, frame in frames.items() if len(frame.times)} or frames
    for key, frame in parts.items():
        if _KEY in _named(frame):
            raise ValueError(f"the rows of {key!r} have a column {_KEY!r}, where the key of each row belongs")
    axis = axis_of(parts)
    times = joint_times([_in_unit(frame, axis) for frame in parts.values()])
    pieces: list[Piece] = [(len(frame.times), dict(_named(frame).items())) for frame in parts.values()]
    names = list(dict.fromkeys(name for _, piece in pieces for name in piece)) or [_VALUE]
    layout = Layout(axis, tuple(Column(name, OBJECT) for name in names), framed=True)
    keys = [key for key, frame in parts.items() for _ in range(len(frame.times))]
    columns = [text_column(_KEY, keys), *columns_of(united(layout, pieces))]
    layout = Layout(axis, tuple(values.column for values in columns), framed=True)
    table = Table(layout, [values.data for values in columns], [values.absent for values in columns])
    return Frame(times, table)


def wide(frames: Mapping[str, Frame]) -> Frame:
    """Return frames side by side, with the times of all of them, and missing values where a series has no point.

    Raises:
        ValueError: two columns have one name; or the times do not fit together.
    """
    axis = axis_of({key: frame for key, frame in frames.items() if len(frame.times)} or frames)
    own = {key: _in_unit(frame, axis) for key, frame in frames.items()}
    times: Ints = np.unique(joint_times(list(own.values())))
    columns = []
    for key, frame in frames.items():
        places = np.searchsorted(times, own[key])
        for name, (column, *data) in _named(frame).items():
            named = column._replace(name=key if _is_one(frame) else f"{key}/{name}")
            columns.append(_spread(Values(named, *data), places, len(times)))
    return frame_of(times, axis, columns or [object_column(_VALUE, [])], framed=True)


def axis_of(frames: Mapping[str, Frame]) -> TimeAxis:
    """Return the axis on which all frames have their times: in the finest unit, and in UTC if they differ in zones.

    Raises:
        ValueError: some times are datetimes and others are not; or some have a time zone and others have none.
    """
    axes = {key: frame.axis for key, frame in frames.items()}
    units = {axis.unit for axis in axes.values()} or {None}
    zones = {axis.zone for axis in axes.values()} or {None}
    _check_alike(axes, lambda axis: axis.unit is None, "plain ints", "datetimes")
    _check_alike(axes, lambda axis: axis.zone is None, "no time zone", "some")
    names = {axis.name for axis in axes.values()}
    unit = None if None in units else max(map(str, units), key=UNITS.__getitem__)
    return TimeAxis(unit, zones.pop() if len(zones) == 1 else "UTC", names.pop() if len(names) == 1 else None)


def _check_alike(axes: Mapping[str, TimeAxis], is_so: Callable[[TimeAxis], bool], yes: str, no: str) -> None:
    these, others = [key for key in axes if is_so(axes[key])], [key for key in axes if not is_so(axes[key])]
    if these and others:
        problem = f"the times of {these[0]!r} have {yes}, and those of {others[0]!r} {no}"
        raise ValueError(f"{problem}: they make no single frame; ask for a dict")


def _in_unit(frame: Frame, axis: TimeAxis) -> Ints:
    own = frame.axis.unit
    if own is None or axis.unit is None or own == axis.unit:
        return frame.times
    return rescaled(frame.times, own, axis.unit)


def _named(frame: Frame) -> dict[str, Values]:
    """Return the columns of a frame by name. The values of a series that is no frame have none of their own."""
    if _is_one(frame):
        return {_VALUE: columns_of(frame.table)[0]}
    return {str(values.column.name): values for values in columns_of(frame.table)}


def _is_one(frame: Frame) -> bool:
    return not frame.table.layout.framed and len(frame.table.layout.columns) == 1


def _spread(values: Values, places: Ints, rows: int) -> Values:
    """Return a column whose values are in these rows of a longer one, where others are missing."""
    column, data, absent = values
    if len(places) == rows:
        return values
    if column.kind == OBJECT:
        return Values(column, _scattered(data, places, [None] * rows))
    missing = np.ones(rows, np.uint8)
    missing[places] = 0 if absent is None else np.asarray(absent, np.uint8)
    if column.kind == TEXT:
        texts = data if isinstance(data, list) else data.tolist()
        return Values(column, _scattered(texts, places, [""] * rows), missing)
    array = np.asarray(data)
    found = np.zeros(rows, array.dtype)
    found[places] = array
    return Values(column, found, missing)


def _scattered(values: Sequence[Any], places: Ints, into: list[Any]) -> list[Any]:
    for place, value in zip(places.tolist(), values, strict=True):
        into[place] = value
    return into
