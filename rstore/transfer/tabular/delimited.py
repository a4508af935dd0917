"""Tables in delimited text: CSV and its variants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Final, TextIO

from attrs import frozen

from rstore.domain.errors import StoreError, StoreFileError
from rstore.transfer.files import TextFile, name_of, read_again
from rstore.transfer.tabular.kinds import (
    Cell,
    ColumnStats,
    Reading,
    classifier,
    converter,
    decimal_of,
    numerals_of,
    reading_of,
    texts_among_numbers,
)
from rstore.transfer.tabular.numerals import Numerals
from rstore.transfer.tabular.options import TableOptions
from rstore.transfer.tabular.records import Dialect, Quoted, columns_of, delimiter_of, dialect_of, records, records_of
from rstore.transfer.tabular.table import BLOCK_CELLS, BLOCK_CHARACTERS, Block, Convert, Schema, Text
from rstore.transfer.tabular.times import TimeScan, is_date, is_time

_SAMPLE_ROWS: Final = 1 << 10
_CHUNK_LINES: Final = 1 << 8


@contextmanager
def read_csv(file: TextFile, options: TableOptions, names: Sequence[str] | None = None) -> Iterator[CsvTable]:
    """Yield the table of a file.

    Args:
        names: the names of the columns, if the table has no header.

    Raises:
        StoreFileError: the file is empty, or no text.
    """
    with read_again(file) as begin:

        def lines() -> Iterator[str]:
            text: TextIO = begin()
            first = text.readline()
            return chain((first.removeprefix("\ufeff"),) if first else (), text)

        _check_encoding(next(lines(), ""))
        dialect = dialect_of(lines(), options.delimiter or delimiter_of(name_of(file)))
        first = next(records(lines(), dialect), (1, []))
        if not any(first[1]):
            raise StoreFileError(1, "the file is empty, or does not begin with the names of columns")
        columns = list(names) if names is not None else [_name(cell) for cell in first[1]]
        if names is not None and len(names) != len(first[1]):
            raise ValueError(
                f"there are {len(first[1])} columns in the first row, and {len(names)} names for them: "
                f"{', '.join(map(repr, names))}"
            )
        header = None if names is not None else first[1]
        yield CsvTable(columns, lines, dialect, options, header, _quotes_mark_texts(lines(), dialect, options))


def _quotes_mark_texts(lines: Iterable[str], dialect: Dialect, options: TableOptions) -> bool:
    """Return whether quotes mark a cell as a text.

    They do not if every cell of the first rows has them, or if numbers need them because of their commas.
    """
    if dialect.delimiter in (options.decimal, options.thousands):
        return False
    cells = chain.from_iterable(cells for _, cells in islice(records(lines, dialect), _SAMPLE_ROWS))
    return any(type(cell) is not Quoted for cell in cells if cell)


def _check_encoding(first: str) -> None:
    """Raise if a text is UTF-16 without a byte order mark: then every other character is NUL."""
    if len(first) > 1 and "\0" in first and (not first[1::2].strip("\0") or not first[::2].strip("\0")):
        raise StoreError("the file is text in UTF-16: convert it to UTF-8 first (iconv -f UTF-16LE -t UTF-8)")


def _name(cell: str) -> str:
    return str(cell) if type(cell) is Quoted else cell.strip()


@frozen(eq=False)
class CsvTable:
    """A table of delimited text, which is a :class:`~rstore.transfer.tabular.table.Table`."""

    columns: Sequence[str]
    _lines: Callable[[], Iterator[str]]
    _dialect: Dialect
    _options: TableOptions
    _header: Sequence[str] | None
    _quotes_mark_texts: bool

    def blocks(self, most: int | None = None) -> Iterator[Block]:
        """Yield the rows without empty lines, at most ``most`` in a block."""
        rows = max(1, BLOCK_CELLS // len(self.columns)) if most is None else most
        lines, count = self._lines(), 0

        def following() -> Iterator[tuple[int, str]]:
            nonlocal count
            for line in lines:
                count += 1
                yield count, line

        for _ in range(self._dialect.skipped):
            next(following(), None)
        if self._header is not None:
            next(records_of(following(), following(), self._dialect.delimiter), None)
        while taken := _taken(lines, rows):
            first, count = count + 1, count + len(taken)
            block = self._block(taken, first, following())
            if block.lines:
                yield block

    def _block(self, lines: Sequence[str], first: int, following: Iterator[tuple[int, str]]) -> Block:
        clean = self._clean if self._quotes_mark_texts else self._clean_of_quotes
        width, delimiter = len(self.columns), self._dialect.delimiter
        columns = columns_of(lines, delimiter, width)
        if columns is not None:
            return Block(range(first, first + len(lines)), list(map(clean, columns)))
        numbered = enumerate(lines, first)
        found = _of_width(records_of(numbered, chain(numbered, following), delimiter), width)
        rows = [cells for _, cells in found]
        return Block([number for number, _ in found], [clean(cells) for cells in zip(*rows, strict=True)])

    @staticmethod
    def _clean(cells: Sequence[str]) -> list[Cell]:
        if set(map(type, cells)) == {str}:
            return [cell.strip() or None for cell in cells]
        return [cell if type(cell) is Quoted else cell.strip() or None for cell in cells]

    @staticmethod
    def _clean_of_quotes(cells: Sequence[str]) -> list[Cell]:
        return [str(cell).strip() or None for cell in cells]

    def is_time(self, cell: str) -> bool:
        """Return whether a cell may be a time."""
        return is_time(cell, self._options)

    def is_date(self, cell: str) -> bool:
        """Return whether a cell may be a time, and is no integer."""
        return is_date(cell, self._options)

    def check_header(self, time: int, first: Cell) -> None:
        """Raise if the header is a row of data. An integer is a name if there are dates below it."""
        name = "" if self._header is None else self._header[time]
        if (type(name) is Quoted and self._quotes_mark_texts) or not self.is_time(name.strip()):
            return
        if first is None or self.is_date(name.strip()) or not self.is_date(first):
            raise StoreFileError(
                1 + self._dialect.skipped,
                f"{name.strip()!r} is a time, so this is a row, and names of columns are missing: pass "
                "TableOptions(header=False), and the names with columns=[...]",
            )

    def schema(self, time: int, values: Iterable[int]) -> Schema:
        """Return the types of the column of times and the columns of values, after reading all rows."""
        options, wanted = self._options, list(values)
        commas = options.decimal is None and options.thousands is None and self._dialect.delimiter != ","
        numerals = numerals_of(options)
        sort, quick = classifier(commas, numerals), numerals == Numerals()
        seen, times = {at: ColumnStats() for at in wanted}, TimeScan(options)
        for lines, columns in self.blocks():
            times.add(lines, columns[time])
            for at, column in seen.items():
                column.add(lines, self._without_null(columns[at]), sort, quick=quick)
        if commas:
            numerals = Numerals(decimal_of(list(seen.values())))
        readings = {
            at: reading_of(column.counts, as_text=self.columns[at] in options.text, skips=options.null is None)
            for at, column in seen.items()
        }
        texts = {at: texts_among_numbers(column) for at, column in seen.items() if self.columns[at] not in options.text}
        examples = [Text(example, self.columns[at]) for at, (_, example) in texts.items() if example is not None]
        form = times.form()
        return Schema(
            form.are_dates,
            form.is_aware,
            form.series_zone,
            form.reader,
            {at: self._converter(reading, numerals) for at, reading in readings.items()},
            {at: reading.kind for at, reading in readings.items()},
            sum(count for count, _ in texts.values()),
            min(examples, default=None),
        )

    def _converter(self, reading: Reading, numerals: Numerals) -> Convert:
        convert = converter(reading, numerals)
        return convert if not self._options.null else lambda cells: convert(self._without_null(cells))

    def _without_null(self, cells: Sequence[Cell]) -> Sequence[Cell]:
        null = self._options.null
        return [None if cell in null else cell for cell in cells] if null else cells


def _taken(lines: Iterator[str], most: int) -> list[str]:
    """Return the next lines, ``most`` of them, or fewer if they are long."""
    found: list[str] = []
    size = 0
    while len(found) < most and size < BLOCK_CHARACTERS:
        some = list(islice(lines, min(_CHUNK_LINES, most - len(found))))
        if not some:
            break
        found += some
        size += sum(map(len, some))
    return found


def _of_width(found: Iterable[tuple[int, list[str]]], width: int) -> list[tuple[int, list[str]]]:
    """Return records without empty lines, or raise if one has not as many cells as there are columns."""
    kept = []
    for number, cells in found:
        if len(cells) == width:
            kept.append((number, cells))
        elif len(cells) > 1 or cells[0].strip():
            raise StoreFileError(number, _wrong_width(len(cells), width))
    return kept


def _wrong_width(cells: int, columns: int) -> str:
    if cells > columns:
        return f"there are more cells than columns: {cells}, and {columns} names"
    return f"there are fewer cells than columns: {cells} of {columns}, as if the line was cut off"
