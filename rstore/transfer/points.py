"""Points of series as tables: CSV, and Parquet if pyarrow is installed; :mod:`rstore.transfer.tabular` reads them."""

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
    format: Format | None = None,  # noqa: A002  # what it is called everywhere
    progress: Report | None = None,
) -> int:
    """Write the points of series as a table, and return how many there were.

    The columns of one series are ``time`` and ``value``, of several ``time``, ``key`` and ``value``. A series of rows,
    such as a frame or any whose values are dicts, has a column for each of theirs instead of ``value``. Times are the
    ints that they are, or if the series has a unit dates and times of that unit, in its time zone; those in columns of
    rows are ints, as :meth:`Store.range` gives them. CSV holds numbers and texts: None is an empty cell, and a bool
    becomes a text. Texts that look like something else are in quotes, and come back as texts. Parquet keeps types, and
    wants values of one type in a column, of which ints and floats become floats.

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
    write = {"csv": write_csv, "parquet": write_parquet}[format_of(file, format)]
    series = [_Series(key, tuple(_columns_of(store, key)), store.time_axis(key)) for key in names]
    columns = _columns(series)
    steps = Steps(progress)
    write(file, columns, partial(_lines, store, series, columns), steps)
    steps.report()
    return steps.done


class _Series(NamedTuple):
    """A series as it is written: ``columns`` are those of its rows, or none if its values are no rows."""

    key: str
    columns: tuple[str, ...]
    axis: TimeAxis


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
    for key, own, axis in series:
        known, before = set(own), () if len(series) == 1 else (key,)
        for time, value in store.points(key):
            row = value if own else {"value": value}
            if own and not (isinstance(row, dict) and row.keys() <= known):
                raise StoreError(f"{key!r} was written to meanwhile: export it again")
            yield Line(time, axis, [*before, *map(row.get, values)])
