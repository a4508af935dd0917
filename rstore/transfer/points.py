"""Writing points of series as tables: CSV, and Parquet if pyarrow is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from rstore.domain.errors import StoreError
from rstore.domain.names import check_name
from rstore.encoding.columns import TimeAxis, is_row, name_of_times
from rstore.progress import Report, Steps
from rstore.store import Store
from rstore.transfer.tabular.writing import Format, Line, TableFile, format_of, write_csv, write_parquet

_KEYED: Final = ("time", "key")


def export_points(
    store: Store,
    keys: str | Iterable[str],
    file: TableFile,
    format: Format | None = None,  # noqa: A002  # the usual name
    progress: Report | None = None,
) -> int:
    """Write the points of series as a table, and return how many there were.

    The columns of one series are ``time`` and ``value``, those of several ``time``, ``key`` and ``value``. A series of
    rows, such as a frame or one whose values are dicts, has the columns of its rows instead of ``value``. Times of a
    series with a unit are dates in its time zone; other times are ints. Times in columns of rows are ints, as
    :meth:`Store.range` returns them.

    CSV has numbers and texts: None becomes an empty cell, and a bool a text. A text that looks like something else is
    quoted, so that it stays a text. Parquet keeps types. A column of Parquet has values of one type; a mix of ints and
    floats becomes floats.

    Args:
        keys: one series, or several.
        file: a name or an open file. A named file appears when it is complete, and not before.
        format: ``'csv'`` or ``'parquet'``; by default the suffix of the file's name decides, else CSV.
        progress: is called with the number of points that are written.

    Raises:
        TypeError: such a table can't hold a value.
        ValueError: the series don't make one table. The message says why.

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
    write = {"csv": write_csv, "parquet": write_parquet}[format_of(file, format)]
    series = [_Series(key, tuple(_columns_of(store, key)), store.time_axis(key)) for key in names]
    columns = _columns(series)
    steps = Steps(progress)
    write(file, columns, partial(_lines, store, series, columns), steps)
    steps.report()
    return steps.done


class _Series(NamedTuple):
    """A series to write: ``columns`` are the columns of its rows, empty if its values are no rows."""

    key: str
    columns: tuple[str, ...]
    axis: TimeAxis


def _columns_of(store: Store, key: str) -> Iterable[str]:
    """Return the columns of all rows of a series; none if its first value is no row."""
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
    """Return the columns of a table: of times, of keys if there are several, and of values."""
    columns = list(dict.fromkeys(name for each in series for name in each.columns or ("value",))) or ["value"]
    if len(series) == 1:
        return [name_of_times(columns), *columns]
    for each in series:
        for name in _KEYED:
            if name in each.columns:
                raise ValueError(f"the rows of {each.key!r} have a column {name!r}: export each series to a file")
    return [*_KEYED, *columns]


def _lines(store: Store, series: Sequence[_Series], columns: Sequence[str]) -> Iterator[Line]:
    """Yield the points of all series as lines of cells."""
    values = columns[1:] if len(series) == 1 else columns[2:]
    for key, own, axis in series:
        known, before = set(own), () if len(series) == 1 else (key,)
        for time, value in store.points(key):
            row = value if own else {"value": value}
            if own and not (isinstance(row, dict) and row.keys() <= known):
                raise StoreError(f"{key!r} was written to meanwhile: export it again")
            yield Line(time, axis, [*before, *map(row.get, values)])
