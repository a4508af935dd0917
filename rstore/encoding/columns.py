"""Typed columns: the values of a segment that came as a frame, and how they are laid out in bytes.

A *table* is a sequence of values of a series, kept by column. It reads as Python values, without NumPy: a table of one
column gives scalars, one of several gives dicts ``{column: value}``. Nothing here depends on a library for frames.

In bytes a table is ``size of the header | header | blocks``. The header is JSON, and enough to read the segment: it
has the unit and zone of the times, and the name, type and block sizes of each column. Each block begins at a multiple
of 8 bytes; numbers are little-endian.
"""

from __future__ import annotations

import datetime
import json
import struct
import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Any, Final, NamedTuple, TypeAlias, overload

from attrs import frozen

from rstore.domain.series import SEGMENT
from rstore.encoding.texts import Texts, coded_if_it_pays, pack, unpack

UNITS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""The units of timestamps, and how many of each make a second."""

FORMATS: Final = {
    "f8": "d",
    "f4": "f",
    "i8": "q",
    "i4": "i",
    "i2": "h",
    "i1": "b",
    "u8": "Q",
    "u4": "I",
    "u2": "H",
    "u1": "B",
    "b1": "?",
    "time": "q",
    "duration": "q",
    "date": "i",
}
"""The kinds of columns whose values have one width, and the format of each in :mod:`struct`."""

IN_UNITS: Final = frozenset({"time", "duration"})
"""The kinds of columns that hold ints of a unit: times, counted from 1970, and durations."""

DATE: Final = "date"
"""A column of dates, in days from 1970."""

TEXT: Final = "text"
_CODED: Final = "coded text"  # in bytes only: it tells how a column of texts is kept there
OBJECT: Final = "object"
"""A column of values of any type: they are dumped like the values of any other series."""

EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
"""The day from which dates are counted, in the count of Python."""

DAYS: Final = range(datetime.date.min.toordinal() - EPOCH, datetime.date.max.toordinal() - EPOCH + 1)
"""The days that a date of Python can be."""

_TIME_NAMES: Final = ("time", "timestamp", "index", "rstore_time")
"""Names for a column of times that needs one and has none of its own: the first that is not taken counts."""

NOT_A_TIME: Final = -(2**63)
"""Stands for a missing time or duration in a column of these."""

_SEGMENT_BYTES: Final = 1 << 19
_MOST_ROWS: Final = 16 * SEGMENT
_WIDTH_OF_OTHERS: Final = 64  # bytes that a text or an object counts for the size of segments
_ALIGN: Final = 8
_EVERY: Final = slice(None)

Dump: TypeAlias = Callable[[Sequence[Any]], bytes]
Load: TypeAlias = Callable[[int, bytes], Sequence[Any]]


class UnknownColumnError(ValueError):
    """A column is of a kind that this version does not know."""


class TimeAxis(NamedTuple):
    """The meaning of the timestamps of a series.

    ``unit`` is one of :data:`UNITS`, counted from 1970 in UTC, or None for plain ints. ``zone`` is the name of the time
    zone in which they are shown, None if they are naive. ``name`` is the name of the frame's index.
    """

    unit: str | None = None
    zone: str | None = None
    name: str | None = None


def name_of_times(others: Iterable[str], own: str | None = None) -> str:
    """Return a name for a column of times that none of the others has: its own, or the first that is not taken.

    >>> name_of_times(['value'], 'at'), name_of_times(['time', 'value'])
    ('at', 'timestamp')
    """
    taken = set(others)
    made_up = (f"time {number}" for number in count(2))
    return next(name for name in chain(() if own is None else (own,), _TIME_NAMES, made_up) if name not in taken)


def is_row(value: Any) -> bool:
    """Tell whether a value is a row: a dict of values by column name, as the rows of frames are.

    >>> is_row({'low': 3}), is_row({}), is_row({1: 3}), is_row(3)
    (True, False, False, False)
    """
    return isinstance(value, dict) and bool(value) and all(isinstance(name, str) for name in value)


class Column(NamedTuple):
    """The name and the type of a column.

    ``unit`` is that of times and durations, ``zone`` that of times. ``dtype`` is pandas' name of the type, where the
    kind does not determine it.
    """

    name: str | None
    kind: str
    unit: str | None = None
    zone: str | None = None
    dtype: str = ""


@frozen
class Layout:
    """The time axis and the columns of a table: tables of one layout can be put together.

    ``framed`` tells a frame of one column from a series; both give scalars.
    """

    times: TimeAxis
    columns: tuple[Column, ...]
    framed: bool = False

    @property
    def rows(self) -> int:
        """The most rows of a segment: it depends on the layout only, so that compacting never makes more segments."""
        width = sum(
            struct.calcsize(FORMATS[column.kind]) if column.kind in FORMATS else _WIDTH_OF_OTHERS
            for column in self.columns
        )
        return max(SEGMENT // 4, min(_MOST_ROWS, _SEGMENT_BYTES // width))


class Table(Sequence[Any]):
    """Values by column: ``data`` has a sequence for each column.

    ``absent`` has for each column None, or a mask with a true byte for each missing value.

    >>> layout = Layout(TimeAxis(), (Column('bid', 'f8'), Column('size', 'i8')))
    >>> table = Table(layout, [[1.5, 2.5], [10, 20]])
    >>> list(table), table[1], len(table[:1])
    ([{'bid': 1.5, 'size': 10}, {'bid': 2.5, 'size': 20}], {'bid': 2.5, 'size': 20}, 1)
    """

    __slots__ = ("absent", "data", "layout")

    def __init__(self, layout: Layout, data: Sequence[Any], absent: Sequence[Any] | None = None) -> None:
        self.layout, self.data = layout, data
        self.absent: Sequence[Any] = [None] * len(data) if absent is None else absent

    def __len__(self) -> int:
        return len(self.data[0])

    def __iter__(self) -> Iterator[Any]:
        columns = [self.column(i) for i in range(len(self.data))]
        if len(columns) == 1:
            return iter(columns[0])
        names = [column.name for column in self.layout.columns]
        return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Table: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            absent = [None if mask is None else mask[at] for mask in self.absent]
            return Table(self.layout, [values[at] for values in self.data], absent)
        first = range(len(self))[at]
        return next(iter(self[first : first + 1]))

    def column(self, i: int) -> list[Any]:
        """Return a column as Python values: None for a missing one, times and durations as ints of their unit."""
        values, absent = self.data[i], self.absent[i]
        listed: list[Any] = values if isinstance(values, list) else values.tolist()
        if self.layout.columns[i].kind in IN_UNITS:
            listed = [None if value == NOT_A_TIME else value for value in listed]
        elif self.layout.columns[i].kind == DATE:
            listed = [datetime.date.fromordinal(day + EPOCH) for day in listed]
        if absent is not None:
            listed = [None if missing else value for value, missing in zip(listed, absent, strict=True)]
        return listed

    def take(self, rows: Sequence[int]) -> Table:
        """Return the rows with these numbers, counted from 0."""
        data = [
            _taken(values, rows, FORMATS.get(column.kind))
            for values, column in zip(self.data, self.layout.columns, strict=True)
        ]
        return Table(self.layout, data, [None if mask is None else _taken(mask, rows, "B") for mask in self.absent])


def concatenated(tables: Sequence[Table]) -> Table:
    """Return tables of one layout as one table, one after the other."""
    if len(tables) == 1:
        return tables[0]
    layout = tables[0].layout
    data = [
        _joined([table.data[i] for table in tables], FORMATS.get(column.kind))
        for i, column in enumerate(layout.columns)
    ]
    return Table(layout, data, [_joined_masks(tables, i) for i in range(len(data))])


def _joined_masks(tables: Sequence[Table], i: int) -> Any:
    masks = [table.absent[i] for table in tables]
    if all(mask is None for mask in masks):
        return None
    return _joined(
        [bytes(len(table)) if mask is None else mask for table, mask in zip(tables, masks, strict=True)], "B"
    )


def _joined(parts: Sequence[Any], code: str | None) -> Any:
    if code is None:
        return [value for part in parts for value in part]
    return _view(b"".join(map(memoryview, parts)), code)


def _taken(values: Any, rows: Sequence[int], code: str | None) -> Any:
    values = values.tolist() if isinstance(values, Texts) else values
    chosen = [values[row] for row in rows]
    return chosen if code is None else _view(struct.pack(f"{len(chosen)}{code}", *chosen), code)


def _view(data: bytes, code: str) -> Any:
    return _cast(memoryview(data), code)


def _cast(block: memoryview, code: str) -> Any:
    return block.cast(code)  # type: ignore[call-overload]  # the formats that there are


# -- tables to bytes and back -----------------------------------------------------------------------------------------


def encode(table: Table, dump: Dump) -> bytes:
    """Return a table as bytes; ``dump`` makes those of a column of objects."""
    blocks: list[Any] = []
    columns = []
    for column, values, absent in zip(table.layout.columns, table.data, table.absent, strict=True):
        mask = b"" if absent is None else _bytes_of(absent, "B")
        kept, block = _block(column, values, dump)
        blocks += (mask, block)
        columns.append([*kept, _size(mask), _size(block)])
    header = json.dumps([table.layout.times, table.layout.framed, columns], separators=(",", ":")).encode()
    return b"".join(_aligned([struct.pack("<I", len(header)) + header, *blocks]))


def _block(column: Column, values: Any, dump: Dump) -> tuple[Column, Any]:
    if column.kind == TEXT:
        texts = values if isinstance(values, Texts) else coded_if_it_pays(values)
        return column if texts.codes is None else column._replace(kind=_CODED), pack(texts)
    return column, dump(values) if column.kind == OBJECT else _bytes_of(values, FORMATS[column.kind])


def _size(block: Any) -> int:
    return memoryview(block).nbytes


def _aligned(blocks: Iterable[Any]) -> Iterator[Any]:
    for block in blocks:
        yield block
        yield bytes(-_size(block) % _ALIGN)


def decode(
    data: Any,
    count: int,
    load: Load,
    rows: slice = _EVERY,
    check: Callable[[int, int], None] = lambda *_: None,
    names: Collection[str] | None = None,
) -> Table:
    """Return the table of ``count`` rows, or some rows of it; ``load`` reads columns of objects.

    Args:
        names: leave out other columns; the first column stays if there is none of these names.
        check: verifies the bytes from one place to another, before they are read.

    Raises:
        UnknownColumnError: only a newer version knows the kind of a column.
        ValueError, struct.error: the data are damaged.
    """
    (size,) = struct.unpack_from("<I", data)
    check(0, 4 + size)
    times, framed, columns = json.loads(bytes(data[4 : 4 + size]))
    found = tuple(Column(*column[:5]) for column in columns)
    unknown = {column.kind for column in found} - {*FORMATS, TEXT, _CODED, OBJECT}
    if unknown:
        raise UnknownColumnError(f"columns of kind {', '.join(map(repr, unknown))}")
    places = iter(_places(len(data), 4 + size, [size for column in columns for size in column[5:7]]))
    blocks = _Blocks(memoryview(data), count, rows, check)
    chosen = [names is None or column.name in names for column in found]
    if not any(chosen):
        chosen[0] = True
    known, values, absent = [], [], []
    for column, is_chosen in zip(found, chosen, strict=True):
        mask, block = next(places), next(places)
        if not is_chosen:
            continue
        known.append(column._replace(kind=TEXT) if column.kind == _CODED else column)
        absent.append(blocks.numbers(mask, "B") if mask.stop > mask.start else None)
        values.append(_values(column.kind, block, blocks, load))
    return Table(Layout(TimeAxis(*times), tuple(known), framed), values, absent)


def _places(length: int, start: int, sizes: Sequence[int]) -> list[slice]:
    places = []
    for size in sizes:
        start += -start % _ALIGN
        places.append(slice(start, start + size))
        start += size
    if length != start + -start % _ALIGN:
        raise ValueError("a column is cut off, or too long")
    return places


class _Blocks(NamedTuple):
    """The blocks of a ``total`` of rows, of which some rows are read, and nothing unless ``check`` has verified it."""

    data: memoryview
    total: int
    rows: slice
    check: Callable[[int, int], None]

    def whole(self, place: slice) -> memoryview:
        self.check(place.start, place.stop)
        return self.data[place]

    def numbers(self, place: slice, code: str) -> Any:
        """Return the rows of a block as a sequence of numbers, without a copy on a little-endian machine."""
        width = struct.calcsize(code)
        if place.stop - place.start != self.total * width:
            raise ValueError("a column has another length")
        low, high, _ = self.rows.indices(self.total)
        block = self.whole(slice(place.start + low * width, place.start + high * width))
        if sys.byteorder == "little" or code == "?":
            return _cast(block, code)
        return _swapped(bytes(block), code)


def _values(kind: str, place: slice, blocks: _Blocks, load: Load) -> Any:
    if kind in FORMATS:
        column = blocks.numbers(place, FORMATS[kind])
        if kind == DATE and len(column) and not (min(column) in DAYS and max(column) in DAYS):
            raise ValueError("a day is no date")
        return column
    block = blocks.whole(place)
    values: Any = (
        load(blocks.total, bytes(block)) if kind == OBJECT else unpack(blocks.total, block, is_coded=kind == _CODED)
    )
    return values if blocks.rows == _EVERY else values[blocks.rows]


def _bytes_of(values: Any, code: str) -> Any:
    """Return numbers, in a list or as one block, as bytes of the column."""
    block = memoryview(struct.pack(f"{len(values)}{code}", *values) if isinstance(values, list) else values)
    if sys.byteorder == "little" or code == "?":
        return block if block.contiguous else block.tobytes()
    return _swapped(block.tobytes(), code)


def _swapped(data: bytes, code: str) -> memoryview:
    column = array(code, data)
    column.byteswap()
    return memoryview(column)
