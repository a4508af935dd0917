"""Importing the points of tables into series."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cache, partial
from itertools import groupby
from operator import attrgetter, lt
from typing import Any, Final, NamedTuple

from attrs import define, field, frozen

from rstore.core import core_of
from rstore.domain.duplicates import Duplicates, check_duplicates
from rstore.domain.errors import StoreError, StoreFileError
from rstore.encoding.columns import OBJECT, TEXT, UNITS
from rstore.models.typed_points import TypedPoints, points_of_columns
from rstore.progress import Report, Steps, step_of
from rstore.store import Store
from rstore.timestamps import iso_in_series
from rstore.transfer.tabular.arrow import ParquetTable, read_parquet
from rstore.transfer.tabular.axes import Axis, axis_of
from rstore.transfer.tabular.delimited import CsvTable, read_csv
from rstore.transfer.tabular.duplicates import Row, TimeOrders, count_replaced, first_duplicate, in_order
from rstore.transfer.tabular.kinds import Kind
from rstore.transfer.tabular.layouts import BlockCounts, Layout, SeriesBlock, layout_of
from rstore.transfer.tabular.options import TableOptions
from rstore.transfer.tabular.table import Schema
from rstore.transfer.tabular.times import Example
from rstore.transfer.tabular.writing import Format, TableFile, format_of

_CHUNK_POINTS: Final = 1 << 18
_STORED_AS: Final = {Kind.INTEGER: "i8", Kind.REAL: "f8", Kind.TEXT: TEXT, Kind.MIXED: OBJECT}


@frozen
class Imported:
    """The result of an import. ``int()`` of it is the number of points.

    Args:
        rows: rows of the table that have a time.
        points: points in these rows.
        replaced: points at times that had one before: it was stored before, or is further up in the table.
        not_points: cells that are no point: empty ones, or ``NA`` and the like among numbers.
        texts_among_numbers: texts in columns of numbers, and digits that stay texts because they begin with a zero.
        twice: local times that occur twice, because clocks were put back.

    >>> int(Imported(rows=2, points=3))
    3
    """

    rows: int
    points: int
    replaced: int = 0
    not_points: int = 0
    texts_among_numbers: int = 0
    twice: int = 0

    def __int__(self) -> int:
        return self.points


def import_points(
    store: Store,
    file: TableFile,
    format: Format | None = None,  # noqa: A002  # the usual name
    *,
    key: str | None = None,
    time: str | None = None,
    columns: Sequence[str] | None = None,
    key_column: str | None = None,
    rows: bool = False,
    unit: str | None = None,
    duplicates: Duplicates = "refuse",
    strict: bool = False,
    unless_equal: bool = True,
    options: TableOptions | None = None,
    progress: Report | None = None,
) -> Imported:
    """Store the points of a table, and return counts of its rows, its points, and the cells that are no points.

    Each column of values becomes a series of the same name. With a ``key``, a single column becomes the series ``key``,
    and several columns become ``key/column``. With ``rows`` each row is one point of the series ``key``: a dict of its
    columns, in which an empty cell is None. With a ``key_column`` there is a series for each value of this column. A
    table whose columns begin with ``time`` and ``key`` has many series, as :func:`export_points` writes them. Its
    column ``value`` belongs to the series ``key``; another column becomes ``key/column``.

    Times are ints, or dates, with or without a time of the day and an offset: ``2026-11-01T09:00+01:00``,
    ``2026/11/01``, ``20261101``, ``31.12.2026``, ``12/31/2026 3:05 PM``. A new series gets their unit and time zone, as
    it would from a frame: so ``range(key, '2026-11-01')``, ``resample(key, '7D')`` and ``to='pandas'`` work.

    In CSV all cells of a column together decide its type. A column of numbers has ints, or floats if any cell is one.
    Quoted cells, and columns with digits after a zero (``007``), are texts. An empty cell is no point, nor is ``NA``
    and the like in a column of numbers.

    An exported table is imported as the same points with the same ``key``, and with ``rows`` if it has rows. Parquet
    keeps more types of columns if you store it as a frame: ``store.extend(key, pyarrow.parquet.read_table(file))``.

    The whole table is checked before anything is stored. A small table is stored all or nothing. An import may be
    repeated: points that are equal to those which a series has are not stored again.

    Args:
        store: a writable store. If it is not open, the import opens it, and creates it if there is none, once the table
            has been checked.
        file: a name, which for CSV may end in ``.gz``, or an open file; open a text file with ``newline=''``.
        format: ``'csv'`` or ``'parquet'``; by default the suffix of the file's name decides, else CSV.
        key: the key of the series, or the prefix of the keys of several series.
        time: the column of times (default: the first one with dates, else the very first one if it has integers).
        columns: the columns of values (default: all others); for a table without header the names of all columns.
        key_column: the column with the keys of the series.
        rows: make a single series, whose values are the rows.
        unit: the unit in which to count dates: ``s``, ``ms``, ``us`` or ``ns`` (default: the unit of the series if it
            has one, else ``ms``).
        duplicates: ``'last'``: the last of several rows of one time in a series counts (default: they are refused).
        strict: refuse a table that would replace points, or has empty cells, or texts among numbers.
        unless_equal: leave out equal points, as :meth:`Store.extend` does it.
        options: how the table is written, where the table itself does not show it.
        progress: is called with the number of points that are stored.

    Raises:
        ValueError: there is no such column, or no column of times, or no such unit.
        StoreFileError: a row can't be read; its time is more exact than the unit; or an earlier row has the same time.
            The error has the line.
        StoreError: the table has no rows.

    >>> import io
    >>> import_points(store, io.StringIO('date,low,high\\n2026-11-01,3.5,9\\n2026-11-02,,11'))
    Imported(rows=2, points=3, replaced=0, not_points=1, texts_among_numbers=0, twice=0)
    >>> store.range('high'), store.range('low')
    ([(1793491200000, 9), (1793577600000, 11)], [(1793491200000, 3.5)])
    >>> table = io.StringIO('date;station;rain\\n31.12.2025;007;2,2\\n31.12.2025;011;0')
    >>> import_points(store, table, key='rain', key_column='station', unit='s').points
    2
    >>> store.range('rain/007', '2025-12-31')
    [(1767139200, 2.2)]
    """
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unit is one of {', '.join(UNITS)}, not {unit!r}")
    check_duplicates(duplicates)
    options = options or TableOptions()
    written = format_of(file, format)
    names, chosen = _names(columns, options) if written == "csv" else (None, columns)
    with ExitStack() as stack:
        sheet = stack.enter_context(_opened(file, written, options, names))
        layout = layout_of(sheet, key, time, chosen, key_column, rows=rows)
        _check_texts(layout, options)
        schema = sheet.schema(layout.time, layout.values)
        session = core_of(store).session
        is_there = session.is_there()
        if is_there:
            stack.enter_context(session.while_open())
        axes = cache(partial(axis_of, store if is_there else None, unit, schema, options.zone is not None))
        table = _TypedTable(layout, schema, axes)
        checked = _checked(table, store if is_there else None, duplicates, strict=strict)
        stack.enter_context(session.while_open())  # not before: an error leaves no new store behind
        return _stored(store, table, checked, progress, unless_equal=unless_equal)


def _names(columns: Sequence[str] | None, options: TableOptions) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """Return the names of all columns if the table has no header, and the columns of values if these were chosen."""
    if options.header:
        return None, columns
    if not columns:
        raise ValueError("of a table without header pass columns=[...], the names of all of its columns in their order")
    return columns, None


def _opened(
    file: Any, written: Format, options: TableOptions, names: Sequence[str] | None
) -> AbstractContextManager[CsvTable | ParquetTable]:
    return read_parquet(file, options) if written == "parquet" else read_csv(file, options, names)


def _check_texts(layout: Layout, options: TableOptions) -> None:
    unknown = sorted(options.text.difference(layout.table.columns))
    if unknown:
        raise ValueError(f"there is no column {unknown[0]!r}: {', '.join(map(repr, layout.table.columns))}")


class _TypedTable(NamedTuple):
    """A table with the types of its columns, and the time axes of its series."""

    layout: Layout
    schema: Schema
    axes: Callable[[str], Axis]

    def series_blocks(self, count: Callable[[BlockCounts], object] = lambda _: None) -> Iterator[SeriesBlock]:
        """Yield the points of the table."""
        return self.layout.series_blocks(self.schema, self.axes, count)


# -- check ------------------------------------------------------------------------------------------------------------


@define
class _Checked:
    """The counts of a table that was checked, before anything is stored."""

    rows: int = 0
    points: int = 0
    empty: int = 0
    example: Example | None = None
    twice: int = 0
    replaced: dict[str, int] = field(factory=dict)

    def add(self, counts: BlockCounts) -> None:
        """Add the counts of a block."""
        self.rows += counts.rows
        self.empty += counts.empty
        self.example = self.example or counts.example
        self.twice = counts.twice


def _checked(table: _TypedTable, store: Store | None, duplicates: Duplicates, *, strict: bool) -> _Checked:
    """Check all points.

    Raises:
        StoreFileError: a row can't be stored, or must not be.
    """
    checked, orders = _Checked(), TimeOrders()
    for block in table.series_blocks(checked.add):
        checked.points += len(block.times)
        orders.add(block)
        if store is not None and not table.axes(block.key).is_new:
            stored = _stored_times(store, block)
            if stored and strict:
                line = next(line for line, time in zip(block.lines, block.times, strict=True) if time in stored)
                raise StoreFileError(line, f"{block.key!r} has a point at that time already (strict)")
            checked.replaced[block.key] = checked.replaced.get(block.key, 0) + len(stored)
    if orders.unordered:
        rows = partial(in_order, (block for block in table.series_blocks() if block.key in orders.unordered))
        if strict or duplicates == "refuse":
            _check_times_differ(table, rows())
        else:
            checked.replaced.update(_replaced(table, store, rows()))
    if strict:
        _check_strictly(table, checked)
    return checked


def _stored_times(store: Store, block: SeriesBlock) -> set[int]:
    """Return the times of the block at which its series has points already."""
    wanted = set(block.times)
    return {time for time, _ in store.points(block.key, min(wanted), end=max(wanted)) if time in wanted}


def _check_times_differ(table: _TypedTable, rows: Iterator[Row]) -> None:
    duplicate = first_duplicate(rows)
    if duplicate is None:
        return
    time_axis = table.axes(duplicate.key).time_axis
    time = duplicate.time if time_axis.unit is None else iso_in_series(duplicate.time, time_axis)
    raise StoreFileError(
        duplicate.second,
        f"{duplicate.key!r} has {time} already in line {duplicate.first}: make a series for each value of a column "
        "with key_column=..., or let the last row count with duplicates='last'",
    )


def _replaced(table: _TypedTable, store: Store | None, rows: Iterator[Row]) -> dict[str, int]:
    """Return how many points of each series replace an earlier one of the table, or a stored one."""
    found = {}
    for key, group in groupby(rows, attrgetter("key")):
        known = () if store is None or table.axes(key).is_new else store.points(key)
        found[key] = count_replaced((row.time for row in group), (time for time, _ in known))
    return found


def _check_strictly(table: _TypedTable, checked: _Checked) -> None:
    if table.schema.text is not None:
        (line, cell), column = table.schema.text
        raise StoreFileError(line, f"{cell[:60]!r} is a text, and in the column {column!r} there are numbers (strict)")
    if checked.example is not None:
        raise StoreFileError(checked.example.line, f"there is no value in the column {checked.example.cell!r} (strict)")


# -- store ------------------------------------------------------------------------------------------------------------


class _Points(NamedTuple):
    """Points of a series that are stored together, in the order of their rows."""

    times: list[int]
    columns: list[list[Any]]
    indexes: Sequence[int]


def _stored(
    store: Store, table: _TypedTable, checked: _Checked, progress: Report | None, *, unless_equal: bool
) -> Imported:
    steps, begun = Steps(progress, checked.points), set[str]()
    for chunk in _chunks(table.series_blocks()):
        with _step(steps):
            store.transact(partial(_store_chunk, table=table, chunk=chunk, begun=begun, unless_equal=unless_equal))
        begun.update(chunk)
        steps.done += sum(len(points.times) for points in chunk.values())
        steps.report()
    replaced = sum(checked.replaced.values())
    return Imported(checked.rows, checked.points, replaced, checked.empty, table.schema.texts, checked.twice)


def _chunks(blocks: Iterator[SeriesBlock]) -> Iterator[dict[str, _Points]]:
    """Yield chunks of points by series, each of which fits into memory."""
    chunk: dict[str, _Points] = {}
    count = 0
    for block in blocks:
        if block.key not in chunk:
            chunk[block.key] = _Points([], [[] for _ in block.columns], block.indexes)
        points = chunk[block.key]
        points.times.extend(block.times)
        for column, values in zip(points.columns, block.columns, strict=True):
            column.extend(values)
        count += len(block.times)
        if count >= _CHUNK_POINTS:
            yield chunk
            chunk, count = {}, 0
    if chunk:
        yield chunk


def _store_chunk(
    store: Store, table: _TypedTable, chunk: dict[str, _Points], begun: Collection[str], *, unless_equal: bool
) -> None:
    for key, points in chunk.items():
        axis = table.axes(key)
        if axis.is_new and key not in begun and store.first(key) is not None:
            raise StoreError(f"{key!r} was written to meanwhile: import the table again")
        times, columns = _in_order(points)
        given = _as_stored(table, axis, times, columns, points.indexes)
        store.extend(key, given, unless_equal=unless_equal and not axis.is_new)


def _in_order(points: _Points) -> tuple[list[int], list[list[Any]]]:
    """Return times in increasing order with their values. Of equal times, the last counts."""
    times, columns = points.times, points.columns
    if all(map(lt, times, times[1:])):
        return times, columns
    newest = {time: at for at, time in enumerate(times)}
    order = sorted(newest)
    return order, [[column[newest[time]] for time in order] for column in columns]


def _as_stored(
    table: _TypedTable, axis: Axis, times: list[int], columns: list[list[Any]], indexes: Sequence[int]
) -> TypedPoints | Iterator[tuple[int, Any]]:
    layout, kinds = table.layout, table.schema.kinds
    if axis.time_axis.unit is not None:
        names = [layout.values[at] if layout.rows else None for at in indexes]
        parts = [
            (name, _STORED_AS[kinds[at]], column) for name, at, column in zip(names, indexes, columns, strict=True)
        ]
        return points_of_columns(times, axis.time_axis, parts, framed=layout.rows)
    if not layout.rows:
        return zip(times, columns[0], strict=True)
    names = [layout.values[at] for at in indexes]
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return zip(times, rows, strict=True)


def _step(steps: Steps) -> AbstractContextManager[None]:
    """Return a context that adds to an error how many points are stored already, if any are."""
    if not steps.done:
        return nullcontext()
    return step_of(f"{steps.done:,} points are stored: fix the cause and import the table again, which replaces them")
