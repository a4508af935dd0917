"""Tables of Arrow. One of their columns holds the times: see :func:`rstore.frames.choosing.time_column`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from rstore.encoding.columns import DATE, IN_UNITS, OBJECT, TEXT, Column, TimeAxis
from rstore.encoding.texts import Texts, coded_if_it_pays, pays
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
)
from rstore.frames.from_numpy import missing_times, shown_array
from rstore.frames.texts import check_unicode, ends, ints, narrow, of_offsets
from rstore.frames.times import Ints, whole_times

_SAMPLE = 4096  # rows, spread over the column, that tell whether its texts repeat


def owns(thing: Any) -> bool:
    """Tell whether an object is a Table or RecordBatch of Arrow."""
    return isinstance(thing, pa.Table | pa.RecordBatch)


def read(table: Any) -> Frame:
    """Return a Table or RecordBatch as a frame."""
    choices = [
        Choice(
            field.name,
            pa.types.is_timestamp(field.type) or pa.types.is_date(field.type),
            pa.types.is_integer(field.type),
        )
        for field in table.schema
    ]
    chosen = time_column(choices)
    times, axis = read_times(choices[chosen].name, table.column(chosen))
    columns = [read_column(choice.name, table.column(i)) for i, choice in enumerate(choices) if i != chosen]
    return frame_of(times, axis, columns, framed=True)


def _whole(column: Any) -> Any:
    """Return a column as one array, without a copy if it is one already."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def read_times(name: str | None, array: Any) -> tuple[Ints, TimeAxis]:
    """Return an array of Arrow as times, and their meaning."""
    array = _decoded(_whole(array))
    if array.null_count:
        raise ValueError(f"row {array.is_null().to_numpy(zero_copy_only=False).argmax()} has no time")
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s" if pa.types.is_date32(array.type) else "ms"))
    if not pa.types.is_timestamp(array.type):
        return whole_times(array.to_numpy(), "times"), TimeAxis(None, None, name)
    return array.view(pa.int64()).to_numpy(), TimeAxis(array.type.unit, array.type.tz, name)


def read_column(name: str | None, array: Any) -> Values:
    """Return an array of Arrow as a column."""
    array = _whole(array)
    if _is_text(array.type) or (pa.types.is_dictionary(array.type) and _is_text(array.type.value_type)):
        return Values(Column(name, TEXT), _texts(array), _absent(array))
    array = _decoded(array)
    of_type = array.type
    if pa.types.is_date(of_type):
        days = array.cast(pa.date32(), safe=False).view(pa.int32())
        return date_column(name, days.fill_null(0).to_numpy(), _absent(array))
    in_units = pa.types.is_timestamp(of_type) or pa.types.is_duration(of_type)
    if not (in_units or pa.types.is_integer(of_type) or pa.types.is_floating(of_type) or pa.types.is_boolean(of_type)):
        return object_column(name, array.to_pylist())
    missing = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    plain = array.view(pa.int64()) if in_units else array
    if missing is not None:
        plain = plain.fill_null(False if pa.types.is_boolean(of_type) else 0)
    values = array_column(name, plain.to_numpy(zero_copy_only=False), missing)
    if not in_units:
        return values
    if pa.types.is_duration(of_type):
        return values._replace(column=Column(name, "duration", of_type.unit))
    return values._replace(column=Column(name, "time", of_type.unit, of_type.tz))


def read_texts(name: str | None, texts: Any) -> Values:
    """Return a list of texts, or a Categorical of pandas, as a column."""
    return read_column(name, pa.array(texts, pa.large_string() if isinstance(texts, list) else None))


def _is_text(of_type: Any) -> bool:
    return bool(pa.types.is_string(of_type) or pa.types.is_large_string(of_type) or pa.types.is_string_view(of_type))


def _decoded(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _absent(array: Any) -> Any:
    return array.is_null().to_numpy(zero_copy_only=False).view(np.uint8) if array.null_count else None


def _texts(array: Any) -> Texts:
    """Return an array of texts, coded where that seems to pay. The text of a row without one does not count."""
    if pa.types.is_dictionary(array.type):
        if array.dictionary.null_count or not _seems_to_repeat(array.indices):
            return _plain(array.dictionary_decode())
    else:
        array = array.cast(pa.large_string())  # Arrow can do little with views
        if not _seems_to_repeat(array):
            return _plain(array)
        array = array.dictionary_encode()
    texts = _plain(array.dictionary if len(array.dictionary) else pa.array([""]))
    return Texts(texts.lengths, texts.data, narrow(array.indices.fill_null(0).to_numpy()), texts.offsets)


def _seems_to_repeat(array: Any) -> bool:
    sample = array.take(np.linspace(0, len(array) - 1, min(len(array), _SAMPLE)).astype(np.int64))
    return pays(len(sample.unique()), len(sample))


def _plain(array: Any) -> Texts:
    array = array.cast(pa.large_string())
    array.validate(full=True)  # otherwise the texts might be no UTF-8, and nobody could read them
    _, offsets, data = array.buffers()
    counted = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return of_offsets(counted, b"" if data is None else data)


def show(frame: Frame) -> Any:
    """Return a frame as a Table.

    Raises:
        ValueError: a column has values of several types, and Arrow has no type for them.
    """
    unit, zone, _ = frame.axis
    times = pa.array(frame.times)
    times = times if unit is None else times.view(pa.timestamp(unit, zone))
    name, names = labels(frame.table.layout)
    return pa.table([times, *map(show_column, columns_of(frame.table))], names=[name, *names])


def show_column(values: Values) -> Any:
    """Return a column as an array of Arrow."""
    column, data, absent = values
    if column.kind == TEXT:
        return _shown_texts(data if isinstance(data, Texts) else coded_if_it_pays(data), absent)
    if column.kind == OBJECT:
        return _objects(column.name, shown_array(values).tolist())
    if column.kind not in IN_UNITS:
        array = pa.array(data, mask=None if absent is None else np.asarray(absent, bool))
        return array.view(pa.date32()) if column.kind == DATE else array
    of_type = pa.timestamp(column.unit, column.zone) if column.kind == "time" else pa.duration(column.unit)
    return pa.array(data, mask=missing_times(values)).view(of_type)


def _shown_texts(texts: Texts, absent: Any) -> Any:
    check_unicode(texts)
    missing = None if absent is None else np.asarray(absent, bool)
    different = _array_of(texts, None if texts.codes is not None else missing)
    if texts.codes is None:
        return different
    return pa.DictionaryArray.from_arrays(pa.array(ints(texts.codes), mask=missing), different).dictionary_decode()


def _array_of(texts: Texts, missing: Any) -> Any:
    offsets, rows = ends(texts.lengths), len(texts.lengths)
    kind, width = (pa.StringArray, np.int32) if offsets[-1] < 1 << 31 else (pa.LargeStringArray, np.int64)
    present = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return kind.from_buffers(rows, pa.py_buffer(offsets.astype(width)), pa.py_buffer(texts.data), present)


def _objects(name: str | None, values: list[Any]) -> Any:
    """Return values of any type as an array, or raise if that would change any of them."""
    problem = "it would change some of them"
    try:
        found = pa.array(values, from_pandas=False)
        if are_same(values, found.to_pylist()):
            return found
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
        problem = str(exc)
    raise ValueError(f"Arrow has no type for all values of column {name!r}: {problem}")
