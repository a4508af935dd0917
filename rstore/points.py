"""Points of series to tables and back: CSV, and Parquet if pyarrow is installed.

Tables are anybody's: a column of times and columns of values, or one row for each point with the key of its series.
Times are ints, or dates and times in ISO 8601 (``2026-11-01T09:00+01:00``, ``2026-11-01 09:00``, ``2026/11/01``), which
become POSIX milliseconds; without an offset they are UTC.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from attrs import frozen

from rstore.columns import Times, name_of_times
from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.log import check_name
from rstore.progress import Report, Steps
from rstore.store import Store
from rstore.tables import (
    BATCH_ROWS,
    Line,
    Sheet,
    TableFile,
    is_integer,
    read_csv,
    read_parquet,
    write_csv,
    write_parquet,
)

Format: TypeAlias = Literal["csv", "parquet"]

_CHUNK_POINTS: Final = 1 << 18
_KEYED: Final = ("time", "key")
_ROW: Final = (*_KEYED, "value")


@frozen
class _Layout:
    """Which cells of a row are points: its time, and values with the keys of their series, or with a cell for that."""

    table: Sheet
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

    The columns of one series are ``time`` and ``value``, of several ``time``, ``key`` and ``value``. A series of rows,
    such as a frame or any whose values are dicts, has a column for each of theirs instead of ``value``. Times are the
    ints that they are, or if the series has a unit dates and times of that unit, in its time zone. CSV holds numbers
    and texts; None is an empty cell, and a text that looks like a number becomes one when it is read back. Parquet
    keeps types, and wants values of one type in a column, of which ints and floats become floats.

    Args:
        keys: one series, or several.
        file: a name or an open file. One that is named is there when all of it was written, and not before.
        format: ``'csv'`` or ``'parquet'``; by default what the file's name ends in, else CSV.
        progress: is told how many points were written.

    Raises:
        TypeError: a value is none that such a table holds.
        ValueError: the series don't make one table: the message tells why.

    >>> import io
    >>> store.extend('temperature', (1, 20.5), (2, 21))
    >>> file = io.StringIO()
    >>> export_points(store, 'temperature', file), file.getvalue().splitlines()
    (2, ['time,value', '1,20.5', '2,21'])
    >>> store.extend('weather', (1, {'low': 3, 'high': 9.5}))
    >>> file = io.StringIO()
    >>> export_points(store, 'weather', file), file.getvalue().splitlines()
    (1, ['time,low,high', '1,3,9.5'])
    """
    names = [keys] if isinstance(keys, str) else list(keys)
    write = {"csv": write_csv, "parquet": write_parquet}[_format(file, format)]
    series = [_Series(key, tuple(_columns_of(store, key)), store.meaning(key)) for key in names]
    columns = _columns(series)
    steps = Steps(progress)
    write(file, columns, partial(_lines, store, series, columns), steps)
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
        file: a name, which for CSV may end in ``.gz``, or an open file.
        format: ``'csv'`` or ``'parquet'``; by default what the file's name ends in, else CSV.
        key: that of the series, or what comes before those of several.
        time: the column of times (default: the first one with dates, else the very first one if it has integers).
        columns: those of values (default: all others).
        progress: is told how many points were stored.

    Raises:
        ValueError: there is no such column, or none of times.
        StoreFileError: a row can't be read; its line is named.

    >>> import io
    >>> import_points(store, io.StringIO('date,low,high\\n2026-11-01,3.5,9\\n2026-11-02,,11'))
    3
    >>> store.range('high'), store.range('low')
    ([(1793491200000, 9), (1793577600000, 11)], [(1793491200000, 3.5)])
    """
    opened = {"csv": read_csv, "parquet": read_parquet}[_format(file, format)]
    with opened(file) as table:
        layout = _layout(table, key, time, columns)
        total = sum(1 for _ in layout.points())
        steps, points = Steps(progress, total), layout.points()
        while chunk := list(islice(points, _CHUNK_POINTS)):
            _store_points(store, chunk)
            steps.done += len(chunk)
            steps.report()
    return total


class _Series(NamedTuple):
    """A series as it is written: ``columns`` are those of its rows, or none if its values are no rows."""

    key: str
    columns: tuple[str, ...]
    meaning: Times


def _columns_of(store: Store, key: str) -> Iterable[str]:
    """Return the columns of all rows of a series; none if it does not begin with a row."""
    first = store.first(key)
    if first is None or not _is_row(first[1]):
        return ()
    columns: dict[str, None] = {}
    for time, row in store.points(key):
        if not _is_row(row):
            raise TypeError(f"{key!r} holds rows, and at {time} there is a value of type {type(row).__name__}")
        columns |= dict.fromkeys(row)
    return columns


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(name, str) for name in value)


def _columns(series: Sequence[_Series]) -> list[str]:
    """Return the columns of a table: that of times, that of keys if there are several, and those of values."""
    columns = list(dict.fromkeys(name for each in series for name in each.columns or ("value",)))
    if len(series) == 1:
        return [name_of_times(columns), *columns]
    for each in series:
        for name in _KEYED:
            if name in each.columns:
                raise ValueError(f"the rows of {each.key!r} have a column {name!r}: export each series to a file")
    return [*_KEYED, *columns]


def _lines(store: Store, series: Sequence[_Series], columns: Sequence[str]) -> Iterator[Line]:
    """Yield the points of all series, as cells of columns."""
    values = columns[1:] if len(series) == 1 else columns[2:]
    for key, own, meaning in series:
        known, before = set(own), () if len(series) == 1 else (key,)
        for time, value in store.points(key):
            row = value if own else {"value": value}
            if own and not (isinstance(row, dict) and row.keys() <= known):
                raise StoreError(f"{key!r} was written to meanwhile: export it again")
            yield Line(time, meaning, [*before, *map(row.get, values)])


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


def _layout(table: Sheet, key: str | None, time: str | None, columns: Sequence[str] | None) -> _Layout:
    """Tell which columns are what, or raise if they are not there."""
    names = table.columns
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


def _time_column(table: Sheet) -> int:
    """Return the first column that has dates, by the first cell that it has, else the very first if it has integers.

    An integer elsewhere is no time: a table whose dates are written in another way would come in as nonsense.
    """
    first: dict[int, Any] = {}
    for _, cells in islice(table.rows(), BATCH_ROWS):
        for at, cell in enumerate(cells[: len(table.columns)]):
            if cell is not None and cell != "":
                first.setdefault(at, cell)
        if len(first) == len(table.columns):
            break
    times = [at for at, cell in sorted(first.items()) if _is_time(table, cell)]
    dates = [at for at in times if not is_integer(first[at])]
    if not dates and times[:1] != [0]:
        raise ValueError(
            "no column has times, which are dates in ISO 8601, or ints in the first column: name the one that has "
            f"them, of {_listed(table.columns)}"
        )
    return (dates or times)[0]


def _is_time(table: Sheet, cell: Any) -> bool:
    try:
        table.time(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
