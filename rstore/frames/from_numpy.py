"""A pair ``(times, values)`` of NumPy arrays. Several columns are a structured array.

Times are integers, or datetime64. NumPy has that in UTC only, so it fits a series of any time zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rstore.encoding.columns import DATE, IN_UNITS, NOT_A_TIME, OBJECT, TEXT, TimeAxis
from rstore.frames.frame import (
    ANY_ZONE,
    Frame,
    Values,
    array_column,
    columns_of,
    frame_of,
    labels,
    object_column,
    text_column,
)
from rstore.frames.times import Ints, check_present, unit_of, whole_times


def owns(thing: Any) -> bool:
    """Tell whether an object is a pair that begins with an array."""
    return isinstance(thing, tuple) and len(thing) == 2 and isinstance(thing[0], np.ndarray)


def read(pair: tuple[Any, Any]) -> Frame:
    """Return a pair as a frame."""
    times, values = pair[0], np.asarray(pair[1])
    if times.ndim != 1 or values.ndim != 1:
        raise ValueError("a pair is two arrays of one dimension; of several columns make a structured array or a frame")
    stamps, axis = read_times(times)
    if values.dtype.names is None:
        return frame_of(stamps, axis, [_column(None, values)], framed=False)
    columns = [_column(name, values[name]) for name in values.dtype.names]
    return frame_of(stamps, axis, columns, framed=True)


def read_times(times: Any) -> tuple[Ints, TimeAxis]:
    """Return an array of times as integers, and their meaning."""
    if times.dtype.kind != "M":
        return whole_times(times, "times"), TimeAxis()
    unit = unit_of(times.dtype)
    return check_present(times.astype(f"<M8[{unit}]", copy=False).view(np.int64)), TimeAxis(unit, ANY_ZONE)


def _column(name: str | None, array: Any) -> Values:
    if array.dtype.kind in "UT":
        return text_column(name, array.tolist())
    if array.dtype.kind == "O":
        return object_column(name, array.tolist())
    return array_column(name, array)


def show(frame: Frame) -> tuple[Any, Any]:
    """Return a frame as a pair. Missing numbers are NaN, or None in an array of objects, as texts are."""
    times: Any = frame.times
    if frame.axis.unit is not None:
        times = times.view(f"<M8[{frame.axis.unit}]")
    arrays = [shown_array(values) for values in columns_of(frame.table)]
    if not frame.table.layout.framed or len(arrays) == 1:
        return times, arrays[0]
    _, names = labels(frame.table.layout)
    rows = np.empty(len(times), [(name, array.dtype) for name, array in zip(names, arrays, strict=True)])
    for name, array in zip(rows.dtype.names or (), arrays, strict=True):  # a dtype without fields has None
        rows[name] = array
    return times, rows


def shown_array(values: Values) -> Any:
    """Return a column as an array."""
    column, data, absent = values
    missing = None if absent is None else np.asarray(absent, bool)
    if column.kind in (TEXT, OBJECT):
        return _filled(_objects(data), missing, None)
    if column.kind == DATE:
        return _filled(np.asarray(data).astype("M8[D]").astype(object), missing, None)
    if column.kind in IN_UNITS:
        return _filled(data, missing, NOT_A_TIME).view(f"<{'M' if column.kind == 'time' else 'm'}8[{column.unit}]")
    if column.dtype == "float16":
        return _filled(data, missing, np.nan).astype(np.float16)
    if column.kind in ("f8", "f4"):
        return _filled(data, missing, np.nan)
    return data if missing is None else _filled(data.astype(object), missing, None)


def missing_times(values: Values) -> Any:
    """Return a mask of the missing times or durations: the library had none there, or the column had no row."""
    missing = values.data == NOT_A_TIME
    return missing if values.absent is None else missing | np.asarray(values.absent, bool)


def _objects(values: Sequence[Any]) -> Any:
    """Return values as an array of objects; values that are lists stay lists."""
    array = np.empty(len(values), object)
    array[:] = list(values)  # of another sequence NumPy would look at each value more than once
    return array


def _filled(data: Any, missing: Any, value: Any) -> Any:
    if missing is None:
        return data
    filled = data.copy()
    filled[missing] = value
    return filled
