"""DataFrames of polars. One of their columns holds the times: see :func:`rstore.frames.choosing.time_column`."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from rstore.domain.errors import StoreNotAvailableError
from rstore.encoding.columns import DATE, IN_UNITS, OBJECT, TEXT, Column, TimeAxis
from rstore.frames import library
from rstore.frames.choosing import Choice, time_column
from rstore.frames.frame import (
    Frame,
    Values,
    are_same,
    array_column,
    columns_of,
    date_column,
    frame_of,
    labels,
    object_column,
    text_column,
)
from rstore.frames.from_numpy import missing_times, shown_array
from rstore.frames.times import Ints, rescaled, whole_times


def owns(thing: Any) -> bool:
    """Tell whether an object is a DataFrame of polars."""
    return isinstance(thing, pl.DataFrame)


def read(frame: Any) -> Frame:
    """Return a DataFrame as a frame."""
    choices = [
        Choice(name, dtype in (pl.Datetime, pl.Date), _is_integer(dtype)) for name, dtype in frame.schema.items()
    ]
    chosen = time_column(choices)
    times, axis = _read_times(frame.to_series(chosen))
    columns = [_column(series) for i, series in enumerate(frame) if i != chosen]
    return frame_of(times, axis, columns, framed=True)


def _is_integer(dtype: Any) -> bool:
    """Tell whether a type is one of integers that NumPy has too."""
    return bool(dtype.is_integer()) and not str(dtype).endswith("128")


def _read_times(series: Any) -> tuple[Ints, TimeAxis]:
    if series.null_count():
        raise ValueError(f"row {series.is_null().arg_max()} has no time")
    if series.dtype == pl.Date:
        series = series.cast(pl.Datetime("ms"))
    if series.dtype != pl.Datetime:
        return whole_times(series.to_numpy(), "times"), TimeAxis(None, None, series.name)
    return series.to_physical().to_numpy(), TimeAxis(series.dtype.time_unit, series.dtype.time_zone, series.name)


def _column(series: Any) -> Values:
    dtype = series.dtype
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return _read_texts(series.name, series.cast(pl.String))
    if dtype == pl.Date:
        missing = series.is_null().to_numpy() if series.null_count() else None
        return date_column(series.name, series.to_physical().fill_null(0).to_numpy(), missing)
    if not (dtype in (pl.Float64, pl.Float32, pl.Boolean, pl.Datetime, pl.Duration) or _is_integer(dtype)):
        return object_column(series.name, series.to_list())
    missing = series.is_null().to_numpy() if series.null_count() else None
    plain = series.to_physical().fill_null(False if dtype == pl.Boolean else 0)
    values = array_column(series.name, plain.to_numpy(), missing)
    if dtype == pl.Duration:
        return values._replace(column=Column(series.name, "duration", dtype.time_unit))
    if dtype != pl.Datetime:
        return values
    return values._replace(column=Column(series.name, "time", dtype.time_unit, dtype.time_zone))


def _read_texts(name: str, series: Any) -> Values:
    try:
        found: Values = library("arrow").read_column(name, series.to_arrow())
    except StoreNotAvailableError:
        return text_column(name, series.to_list())
    return found


def _shown_texts(values: Values) -> Any:
    try:
        return pl.Series(library("arrow").show_column(values), dtype=pl.String)
    except StoreNotAvailableError:
        return pl.Series(shown_array(values).tolist(), dtype=pl.String)


def show(frame: Frame) -> Any:
    """Return a frame as a DataFrame. Polars has no seconds and no fixed offsets: they become milliseconds and UTC."""
    unit, zone, _ = frame.axis
    times = pl.Series(frame.times) if unit is None else _datetimes(frame.times, unit, zone)
    name, names = labels(frame.table.layout)
    return pl.DataFrame({name: times, **dict(zip(names, map(_shown, columns_of(frame.table)), strict=True))})


def _durations(spans: Any, unit: str) -> Any:
    spans, unit = _in_units_of_polars(spans, unit)
    return pl.Series(spans).cast(pl.Duration(unit))  # type: ignore[arg-type]


def _in_units_of_polars(counts: Any, unit: str) -> tuple[Any, str]:
    return (rescaled(counts, "s", "ms"), "ms") if unit == "s" else (counts, unit)


def _datetimes(times: Any, unit: str, zone: str | None) -> Any:
    times, unit = _in_units_of_polars(times, unit)
    if zone is not None and zone.startswith(("+", "-")):
        zone = "UTC"
    return pl.Series(times).cast(pl.Datetime(unit, zone))  # type: ignore[arg-type]


def _shown(values: Values) -> Any:
    column, data, missing = values
    if column.kind == TEXT:
        return _shown_texts(values)
    if column.kind == OBJECT:
        return _objects(shown_array(values).tolist())
    if column.kind in IN_UNITS and column.unit is not None:
        missing = missing_times(values)
        counts = np.where(missing, 0, data)
        is_time = column.kind == "time"
        series = _datetimes(counts, column.unit, column.zone) if is_time else _durations(counts, column.unit)
    else:
        series = pl.Series(data).cast(pl.Date) if column.kind == DATE else pl.Series(data)
    if missing is None:
        return series
    return pl.select(pl.when(~pl.Series(np.asarray(missing, bool))).then(series)).to_series()


def _objects(values: list[Any]) -> Any:
    """Return values of any type as a Series: of the type that polars finds for them if that changes none of them."""
    try:
        found = pl.Series(values)
        fits = are_same(values, found.to_list())
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        fits = False
    return found if fits else pl.Series(values, dtype=pl.Object)
