"""Points of series to tables and back: CSV, and Parquet if pyarrow is installed.

Tables are anybody's: a column of times and columns of values, or one row for each point with the key of its series.
Times are ints, or dates and times in ISO 8601 (``2026-11-01T09:00+01:00``, ``2026-11-01 09:00``, ``2026/11/01``), which
become POSIX milliseconds, or what else a series counts in; without an offset they are UTC.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cache, partial
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from attrs import frozen

from rstore.columns import UNITS, Times, is_row, name_of_times
from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.log import check_time, pages
from rstore.domain.names import check_name, exact
from rstore.progress import Report, Steps, step_of
from rstore.store import Store
from rstore.tables import (
    BATCH_ROWS,
    Instant,
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
    """Which cells of a line are points: its time, and values with the keys of their series, or with a cell for that.

    With ``rows`` all values of a line are one: a row, and ``values`` has the names of their columns.
    """

    table: Sheet
    time: int
    values: dict[int, str]
    key: int | None = None
    prefix: str = ""
    rows: bool = False

    def points(self, units: Callable[[str], _Unit]) -> Iterator[tuple[str, int, Any]]:
        """Yield the points of all lines: key, time, value. Empty cells are passed over, but in rows.

        Args:
            units: tells in what a series counts its times.

        Raises:
            StoreFileError: a cell is no time, or no key.
        """
        counted = self.values.keys() | {self.time} if self.rows else self.values.keys()
        for line, cells in self.table.rows():
            if len(cells) > len(self.table.columns):
                raise StoreFileError(line, "there are more cells than columns")
            filled = {at: cell for at, cell in enumerate(cells) if cell is not None}
            if not filled.keys() & counted:
                continue
            try:
                instant = self.table.time(filled.get(self.time, ""))
                for key, value in self._values(filled):
                    yield key, units(check_name("key", key)).stamp(instant), value
            except (TypeError, ValueError, OverflowError) as exc:
                raise StoreFileError(line, str(exc)) from None

    def _values(self, filled: dict[int, Any]) -> Iterator[tuple[str, Any]]:
        prefix = self.prefix + ("" if self.key is None else filled.get(self.key, ""))
        parse = self.table.value
        if self.rows:
            yield prefix, {name: parse(filled[at]) if at in filled else None for at, name in self.values.items()}
            return
        for at in filled.keys() & self.values.keys():
            yield prefix + self.values[at], parse(filled[at])


@frozen
class _Unit:
    """In what a series counts its times. ``is_own`` if it does so already, and nobody may choose another."""

    name: str
    is_own: bool

    def stamp(self, instant: Instant) -> int:
        """Return a time as a timestamp of the series.

        Raises:
            ValueError: it would not be exact. To round it might put two points at one time.
        """
        if instant.unit is None:
            return instant.number
        found, rest = divmod(instant.number * UNITS[self.name], UNITS[instant.unit])
        if rest:
            advice = "its unit can't be changed" if self.is_own else f"pass unit={instant.unit!r}"
            raise ValueError(f"the time is exact to {instant.unit!r}, the series counts in {self.name!r}: {advice}")
        return check_time("a time", found)


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
    ints that they are, or if the series has a unit dates and times of that unit, in its time zone; those in columns of
    rows are ints, as :meth:`Store.range` gives them. CSV holds numbers and texts: None and an empty text are empty
    cells, and when it is read back, a text that looks like a number becomes one, and a bool a text. Parquet keeps
    types, and wants values of one type in a column, of which ints and floats become floats.

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
    names = [check_name("key", key) for key in ([keys] if isinstance(keys, str) else keys)]
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
    rows: bool = False,
    unit: str | None = None,
    progress: Report | None = None,
) -> int:
    """Store the points of a table, and return how many there were.

    Each column of values becomes a series of its name; with a ``key``, the only one becomes the series ``key``, and
    several become ``key/column``. With ``rows`` each line is one point of the series ``key``: a dict of its columns, in
    which an empty cell is None. A table whose columns begin with ``time`` and ``key`` has many series, as
    :func:`export_points` writes them: ``value`` is that of the series, another column becomes ``key/column``. In CSV
    what looks like a number is one, all else is text, and an empty cell is no point. Of equal times in a series the
    last counts.

    What was exported comes back as the same points with the same ``key``, ``rows`` for rows, and ``unit`` if it has
    dates and the series is not there any more. Types of columns, and the unit and zone of dates, are stored with a new
    series if Parquet comes as a frame instead: ``store.extend(key, pyarrow.parquet.read_table(file))``.

    The whole table is checked before anything is stored, and small ones are stored all or nothing. It may be repeated.

    Args:
        store: one that is not open is opened, and made if there is none, when the table was found to be good.
        file: a name, which for CSV may end in ``.gz``, or an open file.
        format: ``'csv'`` or ``'parquet'``; by default what the file's name ends in, else CSV.
        key: that of the series, or what comes before those of several.
        time: the column of times (default: the first one with dates, else the very first one if it has integers).
        columns: those of values (default: all others).
        rows: make one series, whose values are the rows.
        unit: ``s``, ``ms``, ``us`` or ``ns``: in what to count dates (default: as the series does, if it has a unit,
            else ``ms``).
        progress: is told how many points were stored.

    Raises:
        ValueError: there is no such column, or none of times; or no such unit.
        StoreFileError: a row can't be read, or its time is more exact than the unit; its line is named.
        StoreError: there is no row.

    >>> import io
    >>> import_points(store, io.StringIO('date,low,high\\n2026-11-01,3.5,9\\n2026-11-02,,11'))
    3
    >>> store.range('high'), store.range('low')
    ([(1793491200000, 9), (1793577600000, 11)], [(1793491200000, 3.5)])
    >>> import_points(store, io.StringIO('date,low,high\\n2026-11-01,3.5,9'), key='weather', rows=True, unit='s')
    1
    >>> store.range('weather')
    [(1793491200, {'low': 3.5, 'high': 9})]
    """
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unit is one of {', '.join(UNITS)}, not {unit!r}")
    opened = {"csv": read_csv, "parquet": read_parquet}[_format(file, format)]
    with opened(file) as table, ExitStack() as stack:
        layout = _layout(table, key, time, columns, rows=rows)
        is_there = store._is_there()  # noqa: SLF001
        if is_there:
            stack.enter_context(store._while_open())  # noqa: SLF001
        units = cache(partial(_unit, store if is_there else None, unit))
        steps = Steps(progress, sum(1 for _ in layout.points(units)))
        stack.enter_context(store._while_open())  # noqa: SLF001  # not before: what is refused leaves no store behind
        for chunk in pages(layout.points(units), _CHUNK_POINTS):
            with _step(steps):
                _store_points(store, chunk)
            steps.done += len(chunk)
            steps.report()
    return steps.done


class _Series(NamedTuple):
    """A series as it is written: ``columns`` are those of its rows, or none if its values are no rows."""

    key: str
    columns: tuple[str, ...]
    meaning: Times


def _columns_of(store: Store, key: str) -> Iterable[str]:
    """Return the columns of all rows of a series; none if it does not begin with a row."""
    first = store.first(key)
    if first is None or not is_row(first[1]):
        return ()
    columns: dict[str, None] = {}
    for time, row in store.points(key):
        if not is_row(row):
            raise TypeError(f"{key!r} holds rows, and at {time} there is a value of type {type(row).__name__}")
        columns |= dict.fromkeys(row)
    return columns


def _columns(series: Sequence[_Series]) -> list[str]:
    """Return the columns of a table: that of times, that of keys if there are several, and those of values."""
    columns = list(dict.fromkeys(name for each in series for name in each.columns or ("value",))) or ["value"]
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


def _unit(store: Store | None, given: str | None, key: str) -> _Unit:
    """Return in what a series counts its times, or will; no series of a store that is not there does so yet."""
    own = None if store is None else store.meaning(key).unit
    if own is not None and given not in (own, None):
        raise ValueError(f"{key!r} counts its times in {own!r}, not in {given!r}")
    return _Unit(own or given or "ms", own is not None)


def _layout(table: Sheet, key: str | None, time: str | None, columns: Sequence[str] | None, *, rows: bool) -> _Layout:
    """Tell which columns are what, or raise if they are not there."""
    names, key = table.columns, None if key is None else check_name("key", key)
    time, columns = None if time is None else exact(time), None if columns is None else list(map(exact, columns))
    if next(table.rows(), None) is None:
        raise StoreError(f"there are no rows in the table, only the names of columns: {_listed(names)}")
    for name in (*([time] if time is not None else ()), *(columns or ())):
        if names.count(name) != 1:
            raise ValueError(
                f"there is {'no' if name not in names else 'more than one'} column {name!r}: {_listed(names)}"
            )
    at = _time_column(table) if time is None else names.index(time)
    keyed = columns is None and _is_keyed(names) and at == names.index("time")
    taken = {at, names.index("key")} if keyed else {at}
    wanted = [name for place, name in enumerate(names) if place not in taken] if columns is None else columns
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"pass columns=..., each once, of these: {_listed(names)}")
    places = {names.index(name): name for name in wanted}
    if keyed:
        values = places if rows else {at: "" if name == "value" else f"/{name}" for at, name in places.items()}
        return _Layout(table, at, values, names.index("key"), "" if key is None else f"{key}/", rows)
    if rows:
        if key is None:
            raise ValueError("pass key=..., that of the series whose points the rows are")
        return _Layout(table, at, places, None, key, rows)
    if key is not None:
        places = {at: key if len(wanted) == 1 else f"{key}/{name}" for at, name in places.items()}
    return _Layout(table, at, places)


def _is_keyed(names: Sequence[str]) -> bool:
    """Tell whether each line says of which series it is."""
    return sorted(names) == sorted(_ROW) or (tuple(names[:2]) == _KEYED and len(names) > 2)


def _time_column(table: Sheet) -> int:
    """Return the first column that has dates, by the first cell that it has, else the very first if it has integers.

    An integer elsewhere is no time: a table whose dates are written in another way would come in as nonsense.
    """
    first: dict[int, Any] = {}
    for _, cells in islice(table.rows(), BATCH_ROWS):
        for at, cell in enumerate(cells[: len(table.columns)]):
            if cell is not None:
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
