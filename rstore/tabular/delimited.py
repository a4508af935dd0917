"""Tables in delimited text: CSV, and what is called so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Final, TextIO

from attrs import frozen

from rstore.domain.errors import StoreError, StoreFileError
from rstore.tabular.kinds import (
    Cell,
    ColumnSeen,
    Reading,
    converter,
    decimal_of,
    numerals_of,
    reading_of,
    sorter,
    texts_among_numbers,
)
from rstore.tabular.numerals import Numerals
from rstore.tabular.options import TableOptions
from rstore.tabular.records import Dialect, Quoted, delimiter_of, dialect_of, records
from rstore.tabular.sheets import BLOCK_CELLS, BLOCK_CHARACTERS, Block, Convert, Text, Understood
from rstore.tabular.times import TimesLook, is_date, is_time
from rstore.textfiles import TextFile, read_again

_ROWS_LOOKED_AT: Final = 1 << 12


@contextmanager
def read_csv(file: TextFile, options: TableOptions, names: Sequence[str] | None = None) -> Iterator[Delimited]:
    """Yield the table of a file.

    Args:
        names: those of its columns, if it has no header.

    Raises:
        StoreFileError: it is empty, or no text.
    """
    named = os.fspath(file) if isinstance(file, str | os.PathLike) else ""
    with read_again(file) as begin:

        def lines() -> Iterator[str]:
            text: TextIO = begin()
            first = text.readline()
            return chain((first.removeprefix("\ufeff"),) if first else (), text)

        _check_encoding(next(lines(), ""))
        told = options.delimiter or delimiter_of(named)
        dialect = dialect_of(lines(), told)
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
        yield Delimited(columns, lines, dialect, options, header, _quotes_tell(lines(), dialect, options))


def _quotes_tell(lines: Iterable[str], dialect: Dialect, options: TableOptions) -> bool:
    """Tell whether quotes say that a cell is a text.

    They do not where every cell of the first rows has them, or where numbers need them because of their commas.
    """
    if dialect.delimiter in (options.decimal, options.thousands):
        return False
    cells = chain.from_iterable(cells for _, cells in islice(records(lines, dialect), _ROWS_LOOKED_AT))
    return any(type(cell) is not Quoted for cell in cells if cell)


def _check_encoding(first: str) -> None:
    """Raise if a text is UTF-16 without a mark that says so: then every other character is NUL."""
    if len(first) > 1 and "\0" in first and (not first[1::2].strip("\0") or not first[::2].strip("\0")):
        raise StoreError("the file is text in UTF-16: convert it to UTF-8 first (iconv -f UTF-16LE -t UTF-8)")


def _name(cell: str) -> str:
    return str(cell) if type(cell) is Quoted else cell.strip()


@frozen(eq=False)
class Delimited:
    """A table of delimited text, which is a :class:`~rstore.tabular.sheets.Sheet`."""

    columns: Sequence[str]
    _lines: Callable[[], Iterator[str]]
    _dialect: Dialect
    _options: TableOptions
    _header: Sequence[str] | None
    _quotes_tell: bool

    def blocks(self) -> Iterator[Block]:
        """Return its rows, without those of which all cells are empty."""
        width = len(self.columns)
        found = records(self._lines(), self._dialect)
        if self._header is not None:
            next(found, None)
        most, size = max(1, BLOCK_CELLS // width), 0
        lines: list[int] = []
        rows: list[list[str]] = []
        for line, cells in found:
            if len(cells) != width:
                if len(cells) == 1 and not cells[0].strip():
                    continue  # an empty line
                raise StoreFileError(line, _wrong_width(len(cells), width))
            lines.append(line)
            rows.append(cells)
            size += sum(map(len, cells))
            if len(rows) == most or size > BLOCK_CHARACTERS:
                yield self._block(lines, rows)
                lines, rows, size = [], [], 0
        if rows:
            yield self._block(lines, rows)

    def _block(self, lines: list[int], rows: list[list[str]]) -> Block:
        clean = self._clean if self._quotes_tell else self._clean_of_quotes
        return Block(lines, [clean(cells) for cells in zip(*rows, strict=True)])

    @staticmethod
    def _clean(cells: Sequence[str]) -> list[Cell]:
        if set(map(type, cells)) == {str}:
            return [cell.strip() or None for cell in cells]
        return [cell if type(cell) is Quoted else cell.strip() or None for cell in cells]

    @staticmethod
    def _clean_of_quotes(cells: Sequence[str]) -> list[Cell]:
        return [str(cell).strip() or None for cell in cells]

    def is_time(self, cell: str) -> bool:
        """Tell whether a cell may be a time."""
        return is_time(cell, self._options)

    def is_date(self, cell: str) -> bool:
        """Tell whether a cell may be a time, and is no integer."""
        return is_date(cell, self._options)

    def check_header(self, time: int, first: Cell) -> None:
        """Raise if the names of columns are a row of data: integers are names, where there are dates below."""
        name = "" if self._header is None else self._header[time]
        if (type(name) is Quoted and self._quotes_tell) or not self.is_time(name.strip()):
            return
        if first is None or self.is_date(name.strip()) or not self.is_date(first):
            raise StoreFileError(
                1 + self._dialect.skipped,
                f"{name.strip()!r} is a time, so this is a row, and names of columns are missing: pass "
                "--no-header, and the names with --columns (in Python TableOptions(header=False), columns=[...])",
            )

    def understood(self, time: int, values: Iterable[int]) -> Understood:
        """Look at the column of times and those of values, from the first row to the last."""
        options, wanted = self._options, list(values)
        commas = options.decimal is None and options.thousands is None and self._dialect.delimiter != ","
        numerals = numerals_of(options)
        sort, quick = sorter(commas, numerals), numerals == Numerals()
        seen, times = {at: ColumnSeen() for at in wanted}, TimesLook(options)
        for lines, columns in self.blocks():
            times.add(lines, columns[time])
            for at, column in seen.items():
                column.add(lines, self._without_nothing(columns[at]), sort, quick=quick)
        if commas:
            numerals = Numerals(decimal_of(list(seen.values())))
        readings = {
            at: reading_of(column.counts, as_text=self.columns[at] in options.text, skips=options.null is None)
            for at, column in seen.items()
        }
        texts = {at: texts_among_numbers(column) for at, column in seen.items() if self.columns[at] not in options.text}
        examples = [Text(example, self.columns[at]) for at, (_, example) in texts.items() if example is not None]
        form = times.form()
        return Understood(
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
        return convert if not self._options.null else lambda cells: convert(self._without_nothing(cells))

    def _without_nothing(self, cells: Sequence[Cell]) -> Sequence[Cell]:
        null = self._options.null
        return [None if cell in null else cell for cell in cells] if null else cells


def _wrong_width(cells: int, columns: int) -> str:
    if cells > columns:
        return f"there are more cells than columns: {cells}, and {columns} names"
    return f"there are fewer cells than columns: {cells} of {columns}, as if the line was cut off"
