"""Series and DataFrames of pandas. Their index holds the times: datetimes, or integers.

These types come back as they were: numbers and bools of NumPy, the nullable ones of pandas, datetimes with and without
a zone, time deltas, texts, and the types of Arrow that :mod:`rstore.frames.from_arrow` knows. Categories come back as
their texts or objects; values of all other types, such as periods and intervals, as objects. Before pandas 3 a column
of texts is one of objects, unless its type is ``string``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import numpy as np
import pandas as pd

from rstore.domain.errors import StoreNotAvailableError
from rstore.encoding.columns import DATE, OBJECT, TEXT, TimeAxis
from rstore.encoding.texts import Texts
from rstore.frames.frame import (
    Frame,
    Values,
    array_column,
    check_label,
    columns_of,
    frame_of,
    object_column,
    text_column,
)
from rstore.frames.from_numpy import shown_array
from rstore.frames.times import Ints, check_present, whole_times

_NULLABLE: Final = frozenset(
    {"boolean", "Float32", "Float64", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))}
)
"""The nullable types of pandas: they keep missing values in a mask."""

_TEXTS: Final = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
"""The type that pandas has for texts. Before 3, ``str`` is NumPy's type, which turns None into the text 'None'."""


def owns(thing: Any) -> bool:
    """Tell whether an object is a Series or DataFrame of pandas."""
    return isinstance(thing, pd.Series | pd.DataFrame)


def read(frame: Any) -> Frame:
    """Return a Series or a DataFrame as a frame."""
    times, axis = _read_index(frame.index)
    if isinstance(frame, pd.Series):
        return frame_of(times, axis, [_column(check_label("a series", frame.name), frame)], framed=False)
    names = [_check_column(label) for label in frame.columns]
    columns = [_column(name, frame.iloc[:, i]) for i, name in enumerate(names)]
    return frame_of(times, axis, columns, framed=True)


def _check_column(label: object) -> str:
    name = check_label("a column", label)
    if name is None:
        raise TypeError("the name of a column is a str: rename None")
    return name


def _read_index(index: Any) -> tuple[Ints, TimeAxis]:
    name = check_label("an index", index.name)
    if isinstance(index, pd.DatetimeIndex):
        zone = None if index.tz is None else zone_name(index.tz)
        return check_present(index.asi8), TimeAxis(index.unit, zone, name)
    if isinstance(index.dtype, pd.ArrowDtype):
        times, axis = _arrow().read_times(name, index.array.__arrow_array__())
        return times, axis
    if isinstance(index, pd.MultiIndex) or not (isinstance(index.dtype, np.dtype) or index.dtype.name in _NULLABLE):
        raise TypeError(f"the index of a frame is of datetimes or integers, not {index.dtype}")
    if index.hasnans:
        raise ValueError(f"row {index.isna().argmax()} has no time")
    return whole_times(index.to_numpy(), "the index"), TimeAxis(None, None, name)


def zone_name(zone: Any) -> str:
    """Return the name of a time zone, by which a reader finds it again.

    Raises:
        ValueError: the zone has no name.
    """
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if name is None and isinstance(zone, datetime.timezone):
        name = str(datetime.timezone(zone.utcoffset(None)))[3:9] or "UTC"  # UTC+05:30 is +05:30 for Arrow and polars
    if name is None:
        raise ValueError(f"the time zone {zone!r} has no name: convert the index with tz_convert")
    return str(name)


def _column(name: str | None, series: Any) -> Values:
    """Return the values of a Series as a column. Values of a type without a kind here become objects."""
    dtype = series.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        values = array_column(name, series.dt.tz_convert(None).to_numpy())
        return values._replace(column=values.column._replace(zone=zone_name(dtype.tz)))
    if isinstance(dtype, pd.ArrowDtype) or getattr(dtype, "storage", None) == "pyarrow":
        found: Values = _arrow().read_column(name, series.array.__arrow_array__())
        return found._replace(column=found.column._replace(dtype=str(dtype)))
    if isinstance(dtype, pd.StringDtype):
        return text_column(name, series.array.to_numpy(object).tolist(), str(dtype))
    if dtype.name in _NULLABLE:
        missing = series.isna().to_numpy()
        plain = series.array.to_numpy(dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return array_column(name, plain, missing, dtype.name)
    if isinstance(dtype, np.dtype) and dtype.kind in "fiubMm":
        return array_column(name, series.to_numpy())
    return _object_column(name, series)


def _object_column(name: str | None, series: Any) -> Values:
    dtype, objects = series.dtype, series.astype(object)
    if isinstance(dtype, pd.CategoricalDtype) and pd.api.types.infer_dtype(dtype.categories) == "string":
        try:
            found: Values = _arrow().read_texts(name, series.array)
        except (StoreNotAvailableError, UnicodeError):
            found = text_column(name, objects.tolist())
        return found
    if not pd.api.types.is_object_dtype(dtype):  # a category or a period may be missing; a NaN among objects is a value
        objects = objects.where(series.notna(), None)
    values = objects.tolist()
    if type(pd.NA) in set(map(type, values)):
        values = [None if value is pd.NA else value for value in values]
    return object_column(name, values)


def _arrow() -> Any:
    """Return the module that reads and shows arrays of Arrow: columns of pandas may be made of them."""
    from rstore.frames import library

    return library("arrow")


# -- out --------------------------------------------------------------------------------------------------------------


def show(frame: Frame) -> Any:
    """Return a frame as a DataFrame or a Series, whichever it was."""
    index = _index(frame.times, frame.axis)
    series = {values.column.name: _series(values, index) for values in columns_of(frame.table)}
    return pd.DataFrame(series, index, copy=False) if frame.table.layout.framed else next(iter(series.values()))


def _series(values: Values, index: Any) -> Any:
    shown = _shown(values)  # with its type: pandas 3 takes objects that are texts for texts
    return pd.Series(shown, index, shown.dtype, values.column.name, copy=False)


def _index(times: Ints, axis: TimeAxis) -> Any:
    unit, zone, name = axis
    if unit is None:
        return pd.Index(times, name=name)
    return _datetimes(times, unit, zone).rename(name)


def _datetimes(times: Any, unit: str, zone: str | None) -> Any:
    index = pd.DatetimeIndex(times.view(f"<M8[{unit}]"))
    return index if zone is None else index.tz_localize("UTC").tz_convert(zone)


def _shown(values: Values) -> Any:
    column, data, absent = values
    if column.dtype.endswith("[pyarrow]"):
        return pd.arrays.ArrowExtensionArray(_arrow().show_column(values))
    if column.kind == "time" and column.unit is not None:
        return _datetimes(shown_array(values).view(np.int64), column.unit, column.zone)
    if column.kind == TEXT:
        return _shown_texts(values, pd.api.types.pandas_dtype(_TEXTS if column.dtype in ("", "str") else column.dtype))
    if column.kind in (OBJECT, DATE, "duration"):
        return shown_array(values)
    if column.dtype not in _NULLABLE and (absent is None or column.kind in ("f8", "f4")):
        return shown_array(values)
    missing = np.zeros(len(data), bool) if absent is None else np.asarray(absent, bool)
    return _MASKED[column.kind[0]](data, missing)


def _shown_texts(values: Values, dtype: Any) -> Any:
    """Return an array of texts. Arrow makes objects of them in half the time, but where few texts come often."""
    if getattr(dtype, "storage", None) == "pyarrow":
        return dtype.__from_arrow__(_arrow().show_column(values))
    if not pd.api.types.is_object_dtype(dtype):
        return pd.array(shown_array(values), dtype=dtype)
    if isinstance(values.data, Texts) and values.data.codes is None:
        with suppress(StoreNotAvailableError, UnicodeError):
            return _arrow().show_column(values).to_numpy(zero_copy_only=False)
    return shown_array(values)


_MASKED: Final[dict[str, Callable[..., Any]]] = {
    "b": pd.arrays.BooleanArray,
    "f": pd.arrays.FloatingArray,
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
}
"""Arrays with a mask of missing values: integers and bools have no NaN for that."""
