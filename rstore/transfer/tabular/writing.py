"""Writing tables row by row: CSV, and Parquet if pyarrow is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from rstore.domain.errors import StoreError
from rstore.domain.paging import pages
from rstore.domain.scalars import is_missing, plain
from rstore.encoding.columns import TimeAxis
from rstore.progress import Steps
from rstore.timestamps import iso_in_series
from rstore.transfer.files import BinaryFile, TextFile, name_of, written, written_bytes
from rstore.transfer.tabular.numerals import written as as_written
from rstore.transfer.tabular.records import delimiter_of, has_to_be_quoted, quoted

TableFile: TypeAlias = TextFile | BinaryFile
"""A file by its name, or an open one: for text if it is CSV, for bytes if it is Parquet."""

Format: TypeAlias = Literal["csv", "parquet"]
"""The formats of tables."""

BATCH_ROWS: Final = 1 << 14

_LIKE_DATES: Final = range(18_000_101, 22_000_000)  # with a sign, 20261101 is no date


class Line(NamedTuple):
    """A line of a table: a timestamp, its time axis, and the cells of the other columns."""

    time: int
    axis: TimeAxis
    cells: Sequence[Any]


def format_of(file: TableFile, given: str | None) -> Format:
    """Return the format of a table: the given one, or the one of the file's name, else CSV.

    Raises:
        ValueError: there is no such format.
    """
    found = given or ("parquet" if name_of(file).endswith((".parquet", ".pq")) else "csv")
    if found not in ("csv", "parquet"):
        raise ValueError(f"format is 'csv' or 'parquet', not {found!r}")
    return cast("Format", found)


# -- CSV --------------------------------------------------------------------------------------------------------------


def write_csv(file: TableFile, columns: Sequence[str], lines: Callable[[], Iterator[Line]], steps: Steps) -> None:
    """Write a table. Times with a unit become dates.

    A text that would be read as something else, or as an empty cell, is quoted.

    Raises:
        TypeError: a value is neither a number nor a text.
        ValueError: a text has lone surrogates.
    """
    delimiter = delimiter_of(name_of(file)) or ","
    with written(cast("TextFile", file)) as text:
        text.write(delimiter.join(map(_name, columns)) + "\n")
        for line in lines():
            try:
                text.write(delimiter.join(_as_cells(line)) + "\n")
            except UnicodeEncodeError:
                raise ValueError(
                    f"a text at {line.time} has lone surrogates, and no file in UTF-8 holds these"
                ) from None
            steps.step()


def _name(name: str) -> str:
    """Return the name of a column as a cell. An empty one is quoted, or its line might be an empty line."""
    return quoted(name) if not name or has_to_be_quoted(name) else name


def _as_cells(line: Line) -> list[str]:
    cells = [_time(line)]
    for cell in map(plain, line.cells):
        if cell is None or (is_missing(cell) and not isinstance(cell, Real)):
            cells.append("")
        elif isinstance(cell, str | Real):
            cells.append(as_written(cell))
        else:
            raise TypeError(
                f"CSV holds numbers and texts, and at {line.time} there is a value of type {type(cell).__name__}"
            )
    return cells


def _time(line: Line) -> str:
    if line.axis.unit is not None:
        return str(iso_in_series(line.time, line.axis))
    return f"{line.time:+}" if line.time in _LIKE_DATES else str(line.time)


# -- Parquet ----------------------------------------------------------------------------------------------------------


def parquet_library() -> Any:
    """Return the library that reads and writes Parquet.

    Raises:
        StoreError: pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as exc:
        raise StoreError("Parquet needs the package pyarrow: pip install 'rlib-store[arrow]'") from exc
    return parquet


def write_parquet(file: TableFile, columns: Sequence[str], lines: Callable[[], Iterator[Line]], steps: Steps) -> None:
    """Write a table whose columns have types for all their values. Finding these reads all lines once more.

    Raises:
        TypeError: there is no such type.
        ValueError: times are of several units or zones.
    """
    parquet = parquet_library()
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
    """Return the types of columns: of times, and for each other column the narrowest one for all its values."""
    import pyarrow

    axes = set()
    found = pyarrow.schema([(name, pyarrow.null()) for name in columns[1:]])
    for page in pages(lines, BATCH_ROWS):
        axes |= {line.axis[:2] for line in page}
        types = [pyarrow.array(cells).type for cells in zip(*(line.cells for line in page), strict=True)]
        fields = list(zip(columns[1:], types, strict=True))
        found = pyarrow.unify_schemas([found, pyarrow.schema(fields)], promote_options="permissive")
    if len(axes) > 1:
        raise ValueError("a column of Parquet has dates of one unit and zone, or ints: export each series to a file")
    unit, zone = axes.pop() if axes else (None, None)
    return found.insert(0, pyarrow.field(columns[0], pyarrow.timestamp(unit, zone) if unit else pyarrow.int64()))


def _arrays(page: Sequence[Line], schema: Any) -> list[Any]:
    import pyarrow

    times, *types = schema.types
    stamps = pyarrow.array([line.time for line in page], pyarrow.int64()).cast(times)
    columns = zip(*(line.cells for line in page), strict=True)
    return [stamps, *(pyarrow.array(cells, kind) for cells, kind in zip(columns, types, strict=True))]
