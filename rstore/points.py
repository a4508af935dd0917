"""Points of series to tables and back: CSV, and Parquet if pyarrow is installed.

Tables are anybody's: a column of times and columns of values, or one row for each point with the key of its series.
Times are ints, or dates and times in ISO 8601 (``2026-11-01T09:00+01:00``, ``2026-11-01 09:00``, ``2026/11/01``), which
become POSIX milliseconds; without an offset they are UTC.
"""

from __future__ import annotations

import csv
import datetime
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from numbers import Real
from typing import Any, Final, Literal, TypeAlias, cast

from attrs import frozen

from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.log import check_name, check_time, pages
from rstore.moments import posix_ms
from rstore.progress import Report, Steps, step_of
from rstore.store import Store
from rstore.textfiles import BinaryFile, TextFile, read_again, written, written_bytes

Format: TypeAlias = Literal["csv", "parquet"]
TableFile: TypeAlias = TextFile | BinaryFile
"""A file by its name, or one that is open: for text if it is CSV, for bytes if it is Parquet."""

_INT: Final = re.compile(r"[+-]?[0-9]+")
_CHUNK_POINTS: Final = 1 << 18
_BATCH_ROWS: Final = 1 << 14
_ROW: Final = ("time", "key", "value")

_Row: TypeAlias = tuple[int, Sequence[Any]]
"""The number of a row's line, and its cells; those of CSV are text."""


@frozen
class _Table:
    """A table that is read again each time that its rows are asked for; what its cells hold, once they are parsed."""

    columns: list[str]
    rows: Callable[[], Iterator[_Row]]
    time: Callable[[Any], int]
    value: Callable[[Any], Any]


@frozen
class _Layout:
    """Which cells of a row are points: its time, and values with the keys of their series, or with a cell for that."""

    table: _Table
    time: int
    values: dict[int, str]
    key: int | None = None
    prefix: str = ""

    def points(self) -> Iterator[tuple[str, int, Any]]:
        """Yield the points of all rows: key, time, value. Empty cells are passed over.

        Raises:
            StoreFileError: a cell is no time, or no key.
        """
        for line, cells in self.table.rows():
            if len(cells) > len(self.table.columns):
                raise StoreFileError(line, "there are more cells than columns")
            filled = {at: cell for at, cell in enumerate(cells) if cell is not None and cell != ""}
            if not filled.keys() & self.values.keys():
                continue
            try:
                time = self.table.time(filled.get(self.time, ""))
                prefix = self.prefix + ("" if self.key is None else filled.get(self.key, ""))
                for at in filled.keys() & self.values.keys():
                    yield check_name("key", prefix + self.values[at]), time, self.table.value(filled[at])
            except (TypeError, ValueError, OverflowError) as exc:
                raise StoreFileError(line, str(exc)) from None


def export_points(
    store: Store,
    keys: str | Iterable[str],
    file: TableFile,
    format: Format | None = None,  # noqa: A002  # what it is called everywhere
    progress: Report | None = None,
) -> int:
    """Write the points of series as a table, and return how many there were.

    The columns of one series are ``time`` and ``value``, of several ``time``, ``key`` and ``value``; times are the ints
    that they are. CSV holds numbers and texts; None is an empty cell, which is not read back, and a text that looks
    like a number becomes one. Parquet keeps types, and wants values of one type.

    Args:
        keys: one series, or several.
        file: a name or an open file. One that is named is there when all of it was written, and not before.
        format: ``'csv'`` or ``'parquet'``; by default what the file's name ends in, else CSV.
        progress: is told how many points were written.

    Raises:
        TypeError: a value is none that such a table holds.

    >>> import io
    >>> store.extend('temperature', (1, 20.5), (2, 21))
    >>> file = io.StringIO()
    >>> export_points(store, 'temperature', file), file.getvalue().splitlines()
    (2, ['time,value', '1,20.5', '2,21'])
    """
    names = [keys] if isinstance(keys, str) else list(keys)
    steps = Steps(progress)
    columns = ("time", "value") if len(names) == 1 else _ROW
    write = {"csv": _write_csv, "parquet": _write_parquet}[_format(file, format)]
    write(file, columns, _points_of(store, names, steps))
    steps.report()
    return steps.done


def import_points(
    store: Store,
    file: TableFile,
    format: Format | None = None,  # noqa: A002
    *,
    key: str | None = None,
    time: str | None = None,
    columns: Sequence[str] | None = None,
    progress: Report | None = None,
) -> int:
    """Store the points of a table, and return how many there were.

    Each column of values becomes a series of its name; with a ``key``, the only one becomes the series ``key``, and
    several become ``key/column``. A table with just the columns ``time``, ``key`` and ``value`` has many series, as
    :func:`export_points` writes them. In CSV what looks like a number is one, all else is text, and an empty cell is no
    point. Of equal times in a series the last counts.

    The whole table is checked before anything is stored, and small ones are stored all or nothing. It may be repeated.

    Args:
        store: one that is not open is opened, and made if there is none, when the table was found to be good.
        file: a name, which for CSV may end in ``.gz``, or an open file.
        format: ``'csv'`` or ``'parquet'``; by default what the file's name ends in, else CSV.
        key: that of the series, or what comes before those of several.
        time: the column of times (default: the first one with dates, else the very first one if it has integers).
        columns: those of values (default: all others).
        progress: is told how many points were stored.

    Raises:
        ValueError: there is no such column, or none of times.
        StoreFileError: a row can't be read; its line is named.
        StoreError: there is no row.

    >>> import io
    >>> import_points(store, io.StringIO('date,low,high\\n2026-11-01,3.5,9\\n2026-11-02,,11'))
    3
    >>> store.range('high'), store.range('low')
    ([(1793491200000, 9), (1793577600000, 11)], [(1793491200000, 3.5)])
    """
    opened = {"csv": _read_csv, "parquet": _read_parquet}[_format(file, format)]
    with opened(file) as table:
        layout = _layout(table, key, time, columns)
        steps = Steps(progress, sum(1 for _ in layout.points()))
        with store._while_open():  # noqa: SLF001  # what is refused leaves no store behind
            for chunk in pages(layout.points(), _CHUNK_POINTS):
                with _step(steps):
                    _store_points(store, chunk)
                steps.done += len(chunk)
                steps.report()
    return steps.done


def _points_of(store: Store, keys: Sequence[str], steps: Steps) -> Iterator[tuple[Any, ...]]:
    for key in keys:
        for time, value in store.points(key):
            yield (time, value) if len(keys) == 1 else (time, key, value)
            steps.step()


def _step(steps: Steps) -> AbstractContextManager[None]:
    """Return what tells of an error how many points were stored before, if any were."""
    if not steps.done:
        return nullcontext()
    return step_of(
        f"{steps.done:,} points are stored: import the table again when that is seen to, and it replaces them"
    )


def _store_points(store: Store, points: Iterable[tuple[str, int, Any]]) -> None:
    series: defaultdict[str, list[tuple[int, Any]]] = defaultdict(list)
    for key, time, value in points:
        series[key].append((time, value))
    with store.transaction():
        for key, found in series.items():
            store.extend(key, found)


def _format(file: TableFile, given: str | None) -> Format:
    named = os.fspath(file) if isinstance(file, str | os.PathLike) else ""
    found = given or ("parquet" if named.endswith((".parquet", ".pq")) else "csv")
    if found not in ("csv", "parquet"):
        raise ValueError(f"format is 'csv' or 'parquet', not {found!r}")
    return cast("Format", found)


def _layout(table: _Table, key: str | None, time: str | None, columns: Sequence[str] | None) -> _Layout:
    """Tell which columns are what, or raise if they are not there."""
    names = table.columns
    if next(table.rows(), None) is None:
        raise StoreError(f"there are no rows in the table, only the names of columns: {_listed(names)}")
    for name in (*([time] if time is not None else ()), *(columns or ())):
        if names.count(name) != 1:
            raise ValueError(
                f"there is {'no' if name not in names else 'more than one'} column {name!r}: {_listed(names)}"
            )
    at = _time_column(table) if time is None else names.index(time)
    if columns is None and sorted(names) == sorted(_ROW) and at == names.index("time"):
        values = {names.index("value"): ""}
        return _Layout(table, at, values, names.index("key"), "" if key is None else f"{key}/")
    wanted = [name for place, name in enumerate(names) if place != at] if columns is None else columns
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"pass columns=..., each once, of these: {_listed(names)}")
    if key is not None:
        return _Layout(table, at, {names.index(name): key if len(wanted) == 1 else f"{key}/{name}" for name in wanted})
    return _Layout(table, at, {names.index(name): name for name in wanted})


def _time_column(table: _Table) -> int:
    """Return the first column that has dates, by the first cell that it has, else the very first if it has integers.

    An integer elsewhere is no time: a table whose dates are written in another way would come in as nonsense.
    """
    first: dict[int, Any] = {}
    for _, cells in islice(table.rows(), _BATCH_ROWS):
        for at, cell in enumerate(cells[: len(table.columns)]):
            if cell is not None and cell != "":
                first.setdefault(at, cell)
        if len(first) == len(table.columns):
            break
    times = [at for at, cell in sorted(first.items()) if _is_time(table, cell)]
    dates = [at for at in times if not _is_integer(first[at])]
    if not dates and times[:1] != [0]:
        raise ValueError(
            "no column has times, which are dates in ISO 8601, or ints in the first column: name the one that has "
            f"them, of {_listed(table.columns)}"
        )
    return (dates or times)[0]


def _is_time(table: _Table, cell: Any) -> bool:
    try:
        table.time(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_integer(cell: Any) -> bool:
    return isinstance(cell, int) or (isinstance(cell, str) and _INT.fullmatch(cell.strip()) is not None)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


# -- CSV --------------------------------------------------------------------------------------------------------------


def _write_csv(file: TableFile, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    with written(cast("TextFile", file)) as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(_as_cells, rows))


def _as_cells(row: tuple[Any, ...]) -> tuple[Any, ...]:
    value = row[-1]
    if value is not None and not isinstance(value, str | Real):
        raise TypeError(f"CSV holds numbers and texts, and at {row[0]} there is a value of type {type(value).__name__}")
    return row


@contextmanager
def _read_csv(file: TableFile) -> Iterator[_Table]:
    with read_again(cast("TextFile", file)) as begin:
        header = begin().readline().removeprefix("\ufeff")
        delimiter = max(",;\t", key=header.count)
        columns = next(csv.reader([header], delimiter=delimiter), [])
        if not columns:
            raise StoreFileError(1, "the file is empty, or does not begin with the names of columns")

        def rows() -> Iterator[_Row]:
            reader = csv.reader(begin(), delimiter=delimiter)
            try:
                next(reader, None)
                for cells in reader:
                    yield reader.line_num, cells
            except (csv.Error, UnicodeDecodeError) as exc:
                raise StoreFileError(reader.line_num + 1, f"this is no CSV ({exc})") from exc

        yield _Table([name.strip() for name in columns], rows, _time_of_text, _value_of_text)


def _time_of_text(cell: str) -> int:
    text = cell.strip()
    if _INT.fullmatch(text):
        return check_time("a time", int(text))
    try:
        found = datetime.datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no time: an int, or a date and time in ISO 8601") from None
    return _milliseconds(found)


def _milliseconds(moment: datetime.datetime) -> int:
    return posix_ms(moment if moment.utcoffset() is not None else moment.replace(tzinfo=datetime.UTC))


def _value_of_text(cell: str) -> Any:
    text = cell.strip()
    if _INT.fullmatch(text):
        return int(text)
    try:
        return float(text) if "_" not in text else cell
    except ValueError:
        return cell


# -- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as exc:
        raise StoreError("Parquet needs the package pyarrow: pip install 'rlib-store[arrow]'") from exc
    return parquet


def _write_parquet(file: TableFile, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    parquet = _parquet()
    import pyarrow

    found = iter(rows)
    schema = writer = None
    with written_bytes(cast("BinaryFile", file)) as target:
        while page := list(islice(found, _BATCH_ROWS)):
            try:
                table = pyarrow.table(dict(zip(columns, zip(*page, strict=True), strict=True)), schema=schema)
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as exc:
                raise TypeError(f"the values are of different types, for which there is CSV ({exc})") from None
            if writer is None:
                schema = table.schema
                writer = parquet.ParquetWriter(target, schema)
            writer.write_table(table)
        if writer is None:
            parquet.write_table(pyarrow.table({name: [] for name in columns}), target)
        else:
            writer.close()


@contextmanager
def _read_parquet(file: TableFile) -> Iterator[_Table]:
    parquet = _parquet()
    import pyarrow

    try:
        source = parquet.ParquetFile(file)
    except pyarrow.ArrowException as exc:
        raise StoreError(f"the file can't be read as Parquet: {exc}") from None
    with source as opened:

        def rows() -> Iterator[_Row]:
            line = 0
            for batch in opened.iter_batches(_BATCH_ROWS):
                for cells in zip(*map(_cells_of, batch.columns), strict=True):
                    line += 1
                    yield line, cells

        yield _Table(opened.schema_arrow.names, rows, _time_of_value, lambda value: value)


def _cells_of(column: Any) -> list[Any]:
    import pyarrow

    if pyarrow.types.is_timestamp(column.type):  # datetimes have no nanoseconds
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    cells: list[Any] = column.to_pylist()
    return cells


def _time_of_value(cell: Any) -> int:
    if isinstance(cell, datetime.datetime):
        return _milliseconds(cell)
    if isinstance(cell, datetime.date):
        return _milliseconds(datetime.datetime(cell.year, cell.month, cell.day, tzinfo=datetime.UTC))
    if isinstance(cell, str):
        return _time_of_text(cell)
    return check_time("a time", cell)
