"""Tables in Parquet, where each column has a type."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from attrs import frozen

from rstore.bins import named_zone
from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.spans import check_time
from rstore.encoding.columns import UNITS
from rstore.transfer.files import BinaryFile, seekable
from rstore.transfer.tabular.clocks import NANOSECONDS
from rstore.transfer.tabular.kinds import Kind
from rstore.transfer.tabular.options import TableOptions
from rstore.transfer.tabular.table import BLOCK_CELLS, Block, Schema
from rstore.transfer.tabular.times import TimeScan, is_date
from rstore.transfer.tabular.writing import parquet_library
from rstore.transfer.tabular.zones import TimeReader

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@contextmanager
def read_parquet(file: BinaryFile, options: TableOptions) -> Iterator[ParquetTable]:
    """Yield the table of a file."""
    parquet = parquet_library()
    import pyarrow

    with seekable(file) as found:
        try:
            source = parquet.ParquetFile(found)
        except pyarrow.ArrowException as exc:
            raise StoreError(f"the file can't be read as Parquet: {exc}") from None
        with source as opened:
            yield ParquetTable(list(opened.schema_arrow.names), opened, options)


@frozen(eq=False)
class ParquetTable:
    """A table of Parquet, which is a :class:`~rstore.transfer.tabular.table.Table`."""

    columns: Sequence[str]
    _file: Any
    _options: TableOptions

    def blocks(self, most: int | None = None) -> Iterator[Block]:
        """Yield the rows. Timestamps become nanoseconds; other cells become values of Python."""
        line = 1
        for batch in self._file.iter_batches(most or max(1, BLOCK_CELLS // len(self.columns))):
            if len(batch):
                yield Block(range(line, line + len(batch)), [_cells_of(column) for column in batch.columns])
            line += len(batch)

    def is_time(self, cell: Any) -> bool:
        """Return whether a cell may be a time."""
        return self.is_date(cell) or (isinstance(cell, int) and not isinstance(cell, bool))

    def is_date(self, cell: Any) -> bool:
        """Return whether a cell may be a time, and is no integer."""
        if isinstance(cell, str):
            return is_date(cell, self._options)
        return isinstance(cell, datetime.date | _Nanoseconds)

    def check_header(self, time: int, first: Any) -> None:
        """Raise nothing: columns of Parquet always have names."""

    def schema(self, time: int, values: Iterable[int]) -> Schema:
        """Return the types of the columns, as the file declares them."""
        import pyarrow

        schema = self._file.schema_arrow
        kind, own = schema.types[time], self._options.zone
        converters, kinds = dict.fromkeys(values, _values), {at: _kind_of(schema.types[at]) for at in values}
        if _is_text(kind):
            scan = TimeScan(self._options)
            for lines, columns in self.blocks():
                scan.add(lines, columns[time])
            form = scan.form()
            return Schema(form.are_dates, form.is_aware, form.series_zone, form.reader, converters, kinds)
        zone, are_dates = getattr(kind, "tz", None), not pyarrow.types.is_integer(kind)
        times = partial(TimeReader, _times, own if are_dates and zone is None else None)
        return Schema(are_dates, zone is not None, own or zone, times, converters, kinds)


def _is_text(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


class _Nanoseconds(int):
    """A timestamp of a column, in nanoseconds from 1970."""

    zone: str | None


def _timestamp(count: int, factor: int, zone: str | None) -> _Nanoseconds:
    found = _Nanoseconds(count * factor)
    found.zone = zone
    return found


def _cells_of(column: Any) -> Sequence[Any]:
    import pyarrow

    if not pyarrow.types.is_timestamp(column.type):
        cells: list[Any] = column.to_pylist()
        return cells
    factor, zone = NANOSECONDS // UNITS[column.type.unit], column.type.tz
    counts = column.view(pyarrow.int64()).to_pylist()
    return [None if count is None else _timestamp(count, factor, zone) for count in counts]


def _kind_of(kind: Any) -> Kind:
    import pyarrow

    if pyarrow.types.is_integer(kind):
        return Kind.INTEGER
    if pyarrow.types.is_floating(kind):
        return Kind.REAL
    return Kind.TEXT if _is_text(kind) else Kind.MIXED


def _times(lines: Sequence[int], cells: Sequence[Any]) -> list[int]:
    found = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            found.append(_time_of(cell))
        except (TypeError, ValueError, OverflowError) as exc:
            raise StoreFileError(line, str(exc)) from None
    return found


def _time_of(cell: Any) -> int:
    if isinstance(cell, _Nanoseconds):
        return int(cell)
    if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
        moment = datetime.datetime(cell.year, cell.month, cell.day, tzinfo=datetime.UTC)
        return (moment - _EPOCH) // datetime.timedelta(seconds=1) * NANOSECONDS
    return check_time("a time", cell)


def _values(cells: Sequence[Any]) -> list[Any]:
    """Return cells as values. Timestamps become datetimes, which have no nanoseconds."""
    return [_moment(cell) if isinstance(cell, _Nanoseconds) else cell for cell in cells]


def _moment(time: _Nanoseconds) -> datetime.datetime:
    moment = _EPOCH + datetime.timedelta(microseconds=int(time) // (NANOSECONDS // UNITS["us"]))
    return moment.replace(tzinfo=None) if time.zone is None else moment.astimezone(named_zone(time.zone))
