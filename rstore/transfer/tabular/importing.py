"""Points of tables into series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from rstore.transfer.tabular.arrow import ParquetSheet, read_parquet
from rstore.transfer.tabular.axes import Axis, axis_of
from rstore.transfer.tabular.delimited import Delimited, read_csv
from rstore.transfer.tabular.duplicates import Orders, Row, count_replaced, first_twice, in_order
from rstore.transfer.tabular.kinds import Kind
from rstore.transfer.tabular.layouts import Layout, Look, Piece, layout_of
from rstore.transfer.tabular.options import TableOptions
from rstore.transfer.tabular.sheets import Understood
from rstore.transfer.tabular.times import Example
from rstore.transfer.tabular.writing import Format, TableFile, format_of

_CHUNK_POINTS: Final = 1 << 18
_STORED_AS: Final = {Kind.INTEGER: "i8", Kind.REAL: "f8", Kind.TEXT: TEXT, Kind.MIXED: OBJECT}


@frozen
class Imported:
    """What an import has done. ``int()`` of it is the number of points.

    Args:
        rows: rows of the table that have a time.
        points: points that were in them.
        replaced: points in whose place others came: they were stored before, or stood further up in the table.
        not_points: cells that are no point, because nothing stood in them, or ``NA`` and the like among numbers.
        texts_among_numbers: texts in columns of numbers, and digits that stay texts because of a zero before them.
        twice: local times that a place had twice, because clocks were put back.

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
    format: Format | None = None,  # noqa: A002  # what it is called everywhere
    *,
    key: str | None = None,
    time: str | None = None,
    columns: Sequence[str] | None = None,
    key_column: str | None = None,
    rows: bool = False,
    unit: str | None = None,
    duplicates: Duplicates = "refuse",
    strict: bool = False,
    options: TableOptions | None = None,
    progress: Report | None = None,
) -> Imported:
    """Store the points of a table, and return how many there were, and what was no point.

    Each column of values becomes a series of its name; with a ``key``, the only one becomes the series ``key``, and
    several become ``key/column``. With ``rows`` each line is one point of the series ``key``: a dict of its columns, in
    which an empty cell is None. With a ``key_column`` there is a series for each of its values. A table whose columns
    begin with ``time`` and ``key`` has many series, as :func:`export_points` writes them: ``value`` is that of the
    series, another column becomes ``key/column``.

    Times are ints, or dates, with or without a time of the day and an offset: ``2026-11-01T09:00+01:00``,
    ``2026/11/01``, ``20261101``, ``31.12.2026``, ``12/31/2026 3:05 PM``. A new series gets their unit and time zone, as
    it would from a frame: so ``range(key, '2026-11-01')``, ``resample(key, '7D')`` and ``to='pandas'`` work.

    In CSV what a column holds is decided by all of its cells. One of numbers has ints, or floats if any is one. Cells
    in quotes, and columns with digits after a zero (``007``), are texts. An empty cell is no point, nor is ``NA`` and
    the like in a column of numbers.

    What was exported comes back as the same points with the same ``key``, and ``rows`` for rows. Parquet keeps more
    types of columns if it comes as a frame instead: ``store.extend(key, pyarrow.parquet.read_table(file))``.

    The whole table is checked before anything is stored, and small ones are stored all or nothing. It may be repeated.

    Args:
        store: one that is not open is opened, and made if there is none, when the table was found to be good.
        file: a name, which for CSV may end in ``.gz``, or an open file; one for text with ``newline=''``.
        format: ``'csv'`` or ``'parquet'``; by default what the file's name ends in, else CSV.
        key: that of the series, or what comes before those of several.
        time: the column of times (default: the first one with dates, else the very first one if it has integers).
        columns: those of values (default: all others); of a table without header the names of all of them.
        key_column: the column that tells of which series a row is.
        rows: make one series, whose values are the rows.
        unit: ``s``, ``ms``, ``us`` or ``ns``: in what to count dates (default: as the series does, if it has a unit,
            else ``ms``).
        duplicates: ``'last'``: of several rows of one time in a series the last counts (default: they are refused).
        strict: refuse a table that would replace points, or has cells that are no points, or texts among numbers.
        options: how the table is written, where it does not tell.
        progress: is told how many points were stored.

    Raises:
        ValueError: there is no such column, or none of times; or no such unit.
        StoreFileError: a row can't be read, its time is more exact than the unit, or that of a row before; its line is
            named.
        StoreError: there is no row.

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
        understood = sheet.understood(layout.time, layout.values)
        session = core_of(store).session
        is_there = session.is_there()
        if is_there:
            stack.enter_context(session.while_open())
        axes = cache(partial(axis_of, store if is_there else None, unit, understood, options.zone is not None))
        table = _Table(layout, understood, axes)
        checked = _checked(table, store if is_there else None, duplicates, strict=strict)
        stack.enter_context(session.while_open())  # not before: what is refused leaves no store behind
        return _stored(store, table, checked, progress)


def _names(columns: Sequence[str] | None, options: TableOptions) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """Return the names of all columns, if they are not in the table, and those of values, if they were chosen."""
    if options.header:
        return None, columns
    if not columns:
        raise ValueError("of a table without header pass columns=..., the names of all of its columns in their order")
    return columns, None


def _opened(
    file: Any, written: Format, options: TableOptions, names: Sequence[str] | None
) -> AbstractContextManager[Delimited | ParquetSheet]:
    return read_parquet(file, options) if written == "parquet" else read_csv(file, options, names)


def _check_texts(layout: Layout, options: TableOptions) -> None:
    unknown = sorted(options.text.difference(layout.table.columns))
    if unknown:
        raise ValueError(f"there is no column {unknown[0]!r}: {', '.join(map(repr, layout.table.columns))}")


class _Table(NamedTuple):
    """A table whose columns are understood, and in what its series count their times."""

    layout: Layout
    found: Understood
    axes: Callable[[str], Axis]

    def pieces(self, look: Callable[[Look], object] = lambda _: None) -> Iterator[Piece]:
        """Return its points."""
        return self.layout.pieces(self.found, self.axes, look)


# -- check ------------------------------------------------------------------------------------------------------------


@define
class _Checked:
    """What was found in a table before anything is stored."""

    rows: int = 0
    points: int = 0
    empty: int = 0
    example: Example | None = None
    twice: int = 0
    replaced: dict[str, int] = field(factory=dict)

    def look(self, look: Look) -> None:
        """Count what a block had."""
        self.rows += look.rows
        self.empty += look.empty
        self.example = self.example or look.example
        self.twice = look.twice


def _checked(table: _Table, store: Store | None, duplicates: Duplicates, *, strict: bool) -> _Checked:
    """Look at all points.

    Raises:
        StoreFileError: a row can't be stored, or must not.
    """
    checked, orders = _Checked(), Orders()
    for piece in table.pieces(checked.look):
        checked.points += len(piece.times)
        orders.add(piece)
        if store is not None and not table.axes(piece.key).is_new:
            there = _there(store, piece)
            if there and strict:
                line = next(line for line, time in zip(piece.lines, piece.times, strict=True) if time in there)
                raise StoreFileError(line, f"{piece.key!r} has a point at that time already (strict)")
            checked.replaced[piece.key] = checked.replaced.get(piece.key, 0) + len(there)
    if orders.unordered:
        rows = partial(in_order, (piece for piece in table.pieces() if piece.key in orders.unordered))
        if strict or duplicates == "refuse":
            _check_times_differ(table, rows())
        else:
            checked.replaced.update(_replaced(table, store, rows()))
    if strict:
        _check_strictly(table, checked)
    return checked


def _there(store: Store, piece: Piece) -> set[int]:
    """Return the times of points at which their series has others."""
    wanted = set(piece.times)
    return {time for time, _ in store.points(piece.key, min(wanted), end=max(wanted)) if time in wanted}


def _check_times_differ(table: _Table, rows: Iterator[Row]) -> None:
    twice = first_twice(rows)
    if twice is None:
        return
    time_axis = table.axes(twice.key).time_axis
    time = twice.time if time_axis.unit is None else iso_in_series(twice.time, time_axis)
    raise StoreFileError(
        twice.second,
        f"{twice.key!r} has {time} already in line {twice.first}: make a series for each value of a column with "
        "--key-column (key_column=...), or let the last row count with --duplicates last (duplicates='last')",
    )


def _replaced(table: _Table, store: Store | None, rows: Iterator[Row]) -> dict[str, int]:
    """Return how many points of series take the place of an earlier one, or of a stored one."""
    found = {}
    for key, group in groupby(rows, attrgetter("key")):
        known = () if store is None or table.axes(key).is_new else store.points(key)
        found[key] = count_replaced((row.time for row in group), (time for time, _ in known))
    return found


def _check_strictly(table: _Table, checked: _Checked) -> None:
    if table.found.text is not None:
        (line, cell), column = table.found.text
        raise StoreFileError(line, f"{cell[:60]!r} is a text, and in the column {column!r} there are numbers (strict)")
    if checked.example is not None:
        raise StoreFileError(checked.example.line, f"there is no value in the column {checked.example.cell!r} (strict)")


# -- store ------------------------------------------------------------------------------------------------------------


class _Points(NamedTuple):
    """Points of a series that are stored together, in the order of their rows."""

    times: list[int]
    columns: list[list[Any]]
    places: Sequence[int]


def _stored(store: Store, table: _Table, checked: _Checked, progress: Report | None) -> Imported:
    steps, begun = Steps(progress, checked.points), set[str]()
    for chunk in _chunks(table.pieces()):
        with _step(steps), store.transaction():
            for key, points in chunk.items():
                _store(store, table, key, points, is_first=key not in begun)
        begun.update(chunk)
        steps.done += sum(len(points.times) for points in chunk.values())
        steps.report()
    replaced = sum(checked.replaced.values())
    return Imported(checked.rows, checked.points, replaced, checked.empty, table.found.texts, checked.twice)


def _chunks(pieces: Iterator[Piece]) -> Iterator[dict[str, _Points]]:
    """Yield points of series, so many that they fit into memory."""
    chunk: dict[str, _Points] = {}
    count = 0
    for piece in pieces:
        if piece.key not in chunk:
            chunk[piece.key] = _Points([], [[] for _ in piece.columns], piece.places)
        points = chunk[piece.key]
        points.times.extend(piece.times)
        for column, values in zip(points.columns, piece.columns, strict=True):
            column.extend(values)
        count += len(piece.times)
        if count >= _CHUNK_POINTS:
            yield chunk
            chunk, count = {}, 0
    if chunk:
        yield chunk


def _store(store: Store, table: _Table, key: str, points: _Points, *, is_first: bool) -> None:
    axis = table.axes(key)
    if axis.is_new and is_first and store.first(key) is not None:
        raise StoreError(f"{key!r} was written to meanwhile: import the table again")
    times, columns = _in_order(points)
    store.extend(key, _as_stored(table, axis, times, columns, points.places))


def _in_order(points: _Points) -> tuple[list[int], list[list[Any]]]:
    """Return times in increasing order, of equal ones the last, with their values."""
    times, columns = points.times, points.columns
    if all(map(lt, times, times[1:])):
        return times, columns
    newest = {time: at for at, time in enumerate(times)}
    order = sorted(newest)
    return order, [[column[newest[time]] for time in order] for column in columns]


def _as_stored(
    table: _Table, axis: Axis, times: list[int], columns: list[list[Any]], places: Sequence[int]
) -> TypedPoints | Iterator[tuple[int, Any]]:
    layout, kinds = table.layout, table.found.kinds
    if axis.time_axis.unit is not None:
        names = [layout.values[at] if layout.rows else None for at in places]
        parts = [(name, _STORED_AS[kinds[at]], column) for name, at, column in zip(names, places, columns, strict=True)]
        return points_of_columns(times, axis.time_axis, parts, framed=layout.rows)
    if not layout.rows:
        return zip(times, columns[0], strict=True)
    names = [layout.values[at] for at in places]
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return zip(times, rows, strict=True)


def _step(steps: Steps) -> AbstractContextManager[None]:
    """Return what tells of an error how many points were stored before, if any were."""
    if not steps.done:
        return nullcontext()
    return step_of(
        f"{steps.done:,} points are stored: import the table again when that is seen to, and it replaces them"
    )
