"""Tables in files, row by row: CSV, and Parquet if pyarrow is installed; and what their cells hold."""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any, Final, NamedTuple, TypeAlias, cast

from attrs import frozen

from rstore.columns import UNITS, Times
from rstore.domain.errors import StoreError, StoreFileError
from rstore.domain.log import check_time, pages
from rstore.grids import named_zone
from rstore.moments import digits_of, iso_in_series
from rstore.progress import Steps
from rstore.textfiles import BinaryFile, TextFile, read_again, written, written_bytes

TableFile: TypeAlias = TextFile | BinaryFile
"""A file by its name, or one that is open: for text if it is CSV, for bytes if it is Parquet."""

BATCH_ROWS: Final = 1 << 14

_INT: Final = re.compile(r"[+-]?[0-9]+")
_FRACTION: Final = re.compile(r"[.,]([0-9]+)")
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND: Final = datetime.timedelta(seconds=1)

TableRow: TypeAlias = tuple[int, Sequence[Any]]
"""The number of a row's line, and its cells, None if one is empty; those of CSV are text."""


class Line(NamedTuple):
    """A line of a table that is written: a timestamp, what that means, and the cells of the other columns."""

    time: int
    meaning: Times
    cells: Sequence[Any]


class Instant(NamedTuple):
    """A time in a cell: a ``number`` of a ``unit`` from 1970 in UTC; or without a unit, just an int.

    ``zone`` is that of a timestamp's type, None if it has none.
    """

    number: int
    unit: str | None = None
    zone: str | None = None


@frozen
class Sheet:
    """A table that is read again each time that its rows are asked for; what its cells hold, once they are parsed."""

    columns: list[str]
    rows: Callable[[], Iterator[TableRow]]
    time: Callable[[Any], Instant]
    value: Callable[[Any], Any]


def is_integer(cell: Any) -> bool:
    """Tell whether a cell holds an integer."""
    return isinstance(cell, int) or (isinstance(cell, str) and _INT.fullmatch(cell.strip()) is not None)


# -- CSV --------------------------------------------------------------------------------------------------------------


def write_csv(file: TableFile, columns: Sequence[str], lines: Callable[[], Iterator[Line]], steps: Steps) -> None:
    """Write a table; times with a unit as dates.

    Raises:
        TypeError: a value is neither a number nor a text.
    """
    with written(cast("TextFile", file)) as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for line in lines():
            writer.writerow(_as_cells(line))
            steps.step()


def _as_cells(line: Line) -> list[Any]:
    for cell in line.cells:
        if cell is not None and not isinstance(cell, str | Real):
            raise TypeError(
                f"CSV holds numbers and texts, and at {line.time} there is a value of type {type(cell).__name__}"
            )
    return [line.time if line.meaning.unit is None else iso_in_series(line.time, line.meaning), *line.cells]


@contextmanager
def read_csv(file: TableFile) -> Iterator[Sheet]:
    """Yield the table of a file, which may have other delimiters than commas."""
    with read_again(cast("TextFile", file)) as begin:
        header = begin().readline().removeprefix("\ufeff")
        delimiter = max(",;\t", key=header.count)
        columns = next(csv.reader([header], delimiter=delimiter), [])
        if not columns:
            raise StoreFileError(1, "the file is empty, or does not begin with the names of columns")

        def rows() -> Iterator[TableRow]:
            reader = csv.reader(begin(), delimiter=delimiter)
            try:
                next(reader, None)
                for cells in reader:
                    yield reader.line_num, [cell or None for cell in cells]
            except (csv.Error, UnicodeDecodeError) as exc:
                raise StoreFileError(reader.line_num + 1, f"this is no CSV ({exc})") from exc

        yield Sheet([name.strip() for name in columns], rows, _time_of_text, _value_of_text)


def _time_of_text(cell: str) -> Instant:
    text = cell.strip()
    if _INT.fullmatch(text):
        return Instant(check_time("a time", int(text)))
    try:
        moment = datetime.datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no time: an int, or a date and time in ISO 8601") from None
    fraction = _FRACTION.search(text)
    return _instant(moment, "" if fraction is None else fraction[1])


def _instant(moment: datetime.datetime, fraction: str) -> Instant:
    """Return a moment, whose second has a fraction of these digits: a datetime holds six of them."""
    digits = fraction.rstrip("0")
    unit = next((unit for unit in UNITS if len(digits) <= digits_of(unit)), None)
    if unit is None:
        raise ValueError(f"a time has no more than 9 digits of a second, and not {len(digits)}")
    aware = moment if moment.utcoffset() is not None else moment.replace(tzinfo=datetime.UTC)
    seconds = (aware.replace(microsecond=0) - _EPOCH) // _SECOND
    return Instant(seconds * UNITS[unit] + int(digits.ljust(digits_of(unit), "0") or 0), unit)


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


def write_parquet(file: TableFile, columns: Sequence[str], lines: Callable[[], Iterator[Line]], steps: Steps) -> None:
    """Write a table, whose columns have a type that holds all their values. All lines are read twice to find it.

    Raises:
        TypeError: there is no such type.
        ValueError: times are of several units or zones.
    """
    parquet = _parquet()
    import pyarrow

    try:
        schema = _schema(columns, lines())
        with (
            written_bytes(cast("BinaryFile", file)) as target,
            parquet.ParquetWriter(target, schema) as writer,
        ):
            for page in pages(lines(), BATCH_ROWS):
                writer.write_table(pyarrow.table(_arrays(page, schema), schema=schema))
                for _ in page:
                    steps.step()
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError) as exc:
        raise TypeError(f"the values are of different types, for which there is CSV ({exc})") from None


def _schema(columns: Sequence[str], lines: Iterator[Line]) -> Any:
    """Return the types of columns: that of the times, and of others the narrowest that holds what is in all pages."""
    import pyarrow

    meanings = set()
    found = pyarrow.schema([(name, pyarrow.null()) for name in columns[1:]])
    for page in pages(lines, BATCH_ROWS):
        meanings |= {line.meaning[:2] for line in page}
        types = [pyarrow.array(cells).type for cells in zip(*(line.cells for line in page), strict=True)]
        fields = list(zip(columns[1:], types, strict=True))
        found = pyarrow.unify_schemas([found, pyarrow.schema(fields)], promote_options="permissive")
    if len(meanings) > 1:
        raise ValueError("a column of Parquet has dates of one unit and zone, or ints: export each series to a file")
    unit, zone = meanings.pop() if meanings else (None, None)
    return found.insert(0, pyarrow.field(columns[0], pyarrow.timestamp(unit, zone) if unit else pyarrow.int64()))


def _arrays(page: Sequence[Line], schema: Any) -> list[Any]:
    import pyarrow

    times, *types = schema.types
    stamps = pyarrow.array([line.time for line in page], pyarrow.int64()).cast(times)
    columns = zip(*(line.cells for line in page), strict=True)
    return [stamps, *(pyarrow.array(cells, kind) for cells, kind in zip(columns, types, strict=True))]


@contextmanager
def read_parquet(file: TableFile) -> Iterator[Sheet]:
    """Yield the table of a file."""
    parquet = _parquet()
    import pyarrow

    try:
        source = parquet.ParquetFile(file)
    except pyarrow.ArrowException as exc:
        raise StoreError(f"the file can't be read as Parquet: {exc}") from None
    with source as opened:

        def rows() -> Iterator[TableRow]:
            line = 0
            for batch in opened.iter_batches(BATCH_ROWS):
                for cells in zip(*map(_cells_of, batch.columns), strict=True):
                    line += 1
                    yield line, cells

        yield Sheet(opened.schema_arrow.names, rows, _time_of_cell, _value_of_cell)


def _cells_of(column: Any) -> Iterable[Any]:
    import pyarrow

    if not pyarrow.types.is_timestamp(column.type):
        cells: list[Any] = column.to_pylist()
        return cells
    unit, zone = column.type.unit, column.type.tz
    counts = column.view(pyarrow.int64()).to_pylist()
    return (None if count is None else Instant(count, unit, zone) for count in counts)


def _time_of_cell(cell: Any) -> Instant:
    if isinstance(cell, Instant):
        return cell
    if isinstance(cell, datetime.date):
        return _instant(datetime.datetime(cell.year, cell.month, cell.day, tzinfo=datetime.UTC), "")
    if isinstance(cell, str):
        return _time_of_text(cell)
    return Instant(check_time("a time", cell))


def _value_of_cell(cell: Any) -> Any:
    """Return what a cell holds; a timestamp as a datetime, which has no nanoseconds."""
    if not isinstance(cell, Instant):
        return cell
    moment = _EPOCH + datetime.timedelta(microseconds=cell.number * UNITS["us"] // UNITS[cell.unit or "us"])
    return moment.replace(tzinfo=None) if cell.zone is None else moment.astimezone(named_zone(cell.zone))
