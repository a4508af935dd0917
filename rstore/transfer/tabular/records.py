"""CsvTable text, cut into records of cells.

This is not the csv module, which does not distinguish quoted cells from others, nor say where a quote was opened. Its
limit for the size of a cell also applies to the whole process. A line without quotes is one call of ``str.split``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

from rstore.domain.errors import StoreFileError

DELIMITERS: Final = ",;\t|"
"""The delimiters to choose from: the one that is most frequent in the names of columns."""

_TABS: Final = (".tsv", ".tab", ".tsv.gz", ".tab.gz")
_QUOTE: Final = '"'
_IN_QUOTES: Final = re.compile(r'"[^"]*"')
_SEPARATOR_LINE: Final = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
_LINE_END: Final = "\r\n"
_MOST_CHARACTERS: Final = 1 << 30  # of one cell: a value has at most 1 GB


def delimiter_of(name: str) -> str | None:
    """Return the delimiter of a file with this name, None if the name does not show it.

    >>> delimiter_of('a.TSV.gz'), delimiter_of('a.csv')
    ('\\t', None)
    """
    return "\t" if name.lower().endswith(_TABS) else None


class Quoted(str):
    """A quoted cell: its writer marks it as a text."""

    __slots__ = ()


class Dialect(NamedTuple):
    """The delimiter of a file, and the number of lines before its first record."""

    delimiter: str
    skipped: int = 0


def dialect_of(lines: Iterable[str], delimiter: str | None = None) -> Dialect:
    """Return the dialect of a text that begins with these lines.

    A first line ``sep=;``, as Excel writes it, decides. Otherwise the most frequent delimiter in the first record
    does, outside of quotes.

    >>> dialect_of(['"a,b";c;d']), dialect_of(['sep=|', 'a|b'])
    (Dialect(delimiter=';', skipped=0), Dialect(delimiter='|', skipped=1))
    """
    remaining = iter(lines)
    first = next(remaining, "")
    if separator := _SEPARATOR_LINE.fullmatch(first):
        return Dialect(delimiter or separator[1], 1)
    if delimiter is not None:
        return Dialect(delimiter)
    record = _first_record(chain((first,), remaining))
    outside = _IN_QUOTES.sub("", record)
    return Dialect(max(DELIMITERS, key=outside.count))


def _first_record(lines: Iterator[str]) -> str:
    """Return the lines up to the first one after which no quote is open."""
    found, quotes = [], 0
    for line in lines:
        found.append(line)
        quotes += line.count(_QUOTE)
        if quotes % 2 == 0:
            break
    return "".join(found)


def records(lines: Iterable[str], dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    r"""Yield the records of a text: the number of the line in which each begins, and its cells.

    Quoted cells are :class:`Quoted`. Blanks around the quotes do not count. In a cell that does not begin with a quote,
    a quote is a character like any other.

    Raises:
        StoreFileError: a quote is never closed, or something follows a closing quote.

    >>> list(records(['a,b\n', '1,"x\n', 'y"\n'], Dialect(',')))
    [(1, ['a', 'b']), (2, ['1', 'x\ny'])]
    """
    numbered = enumerate(lines, 1)
    for _ in range(dialect.skipped):
        next(numbered, None)
    return records_of(numbered, numbered, dialect.delimiter)


def records_of(
    numbered: Iterator[tuple[int, str]], following: Iterator[tuple[int, str]], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that begin in numbered lines, and may end in the ``following`` ones."""
    between = f"{_QUOTE}{delimiter}{_QUOTE}"
    for number, line in numbered:
        if _QUOTE not in line:
            yield number, line.rstrip(_LINE_END).split(delimiter)
        else:
            yield number, _all_quoted(line, between) or _Record(number, line, following, delimiter).cells()


def _all_quoted(line: str, between: str) -> list[str] | None:
    """Return the cells of a line in which each is quoted and has no quote inside; None for any other line."""
    line = line.rstrip(_LINE_END)
    if line[0] != _QUOTE or line[-1] != _QUOTE:
        return None
    cells = line[1:-1].split(between)
    return list(map(Quoted, cells)) if line.count(_QUOTE) == 2 * len(cells) else None


def columns_of(lines: Sequence[str], delimiter: str, width: int) -> list[list[str]] | None:
    r"""Return the columns of lines if each is a record of ``width`` cells without quotes, else None.

    This makes no list for each record, which would take half of the time.

    >>> columns_of(['1,2\r\n', '3,4\r\n'], ',', 2), columns_of(['1,2\n', '\n'], ',', 2), columns_of(['"1",2'], ',', 2)
    ([['1', '3'], ['2', '4']], None, None)
    """
    joint = "".join(lines)
    if _QUOTE in joint or {line.count(delimiter) for line in lines} != {width - 1}:
        return None
    if "\r" in joint:
        joint = joint.replace("\r\n", "\n").replace("\r", "\n")
    cells = joint.removesuffix("\n").replace("\n", delimiter).split(delimiter)
    return [cells[at::width] for at in range(width)] if len(cells) == width * len(lines) else None


class _Record:
    """A record with quotes, which is read cell by cell, and may continue in the next lines."""

    def __init__(self, number: int, line: str, following: Iterator[tuple[int, str]], delimiter: str) -> None:
        self._number, self._line, self._following, self._delimiter = number, line, following, delimiter
        self._blanks = " \t".replace(delimiter, "")
        self._at = 0

    def cells(self) -> list[str]:
        """Return all cells."""
        cells: list[str] = []
        while True:
            begin = self._past_blanks(self._at)
            if self._line.startswith(_QUOTE, begin):
                cells.append(self._quoted(begin + 1))
            else:
                cells.append(self._bare())
            if self._at < 0:
                return cells

    def _bare(self) -> str:
        end = self._line.find(self._delimiter, self._at)
        cell = self._line[self._at :].rstrip(_LINE_END) if end < 0 else self._line[self._at : end]
        self._at = -1 if end < 0 else end + 1
        return cell

    def _quoted(self, begin: int) -> Quoted:
        opened = self._number
        text, end = self._up_to_quote(begin)
        after = self._past_blanks(end)
        rest = self._line[after:].rstrip(_LINE_END)
        if rest and not rest.startswith(self._delimiter):
            where = "" if opened == self._number else f", which was opened in line {opened}"
            raise StoreFileError(
                self._number,
                f"{rest[:20]!r} follows the closing quote of a cell{where}: a quote inside of a cell is written twice",
            )
        self._at = after + 1 if rest else -1
        return Quoted(text)

    def _up_to_quote(self, begin: int) -> tuple[str, int]:
        """Return the quoted text, and the index after the closing quote."""
        opened, parts, size = self._number, [], 0
        while True:
            end = self._line.find(_QUOTE, begin)
            if end < 0:
                parts.append(self._line[begin:])
                size += len(parts[-1])
                self._go_on(opened, size)
                begin = 0
            elif self._line.startswith(_QUOTE, end + 1):
                parts.append(self._line[begin : end + 1])
                begin = end + 2
            else:
                parts.append(self._line[begin:end])
                return "".join(parts), end + 1

    def _go_on(self, opened: int, size: int) -> None:
        following = next(self._following, None)
        if following is None or size > _MOST_CHARACTERS:
            raise StoreFileError(opened, "a quote is opened here, and never closed")
        self._number, self._line = following

    def _past_blanks(self, at: int) -> int:
        while at < len(self._line) and self._line[at] in self._blanks:
            at += 1
        return at


# -- writing ----------------------------------------------------------------------------------------------------------

_TO_QUOTE: Final = re.compile(f'["\r\n{re.escape(DELIMITERS)}]')


def has_to_be_quoted(text: str) -> bool:
    """Return whether a cell without quotes would be cut, or lose blanks."""
    return text != text.strip() or _TO_QUOTE.search(text) is not None


def quoted(text: str) -> str:
    """Return a text in quotes.

    >>> print(quoted('say "no", twice'))
    "say ""no"", twice"
    """
    return f'"{text.replace(_QUOTE, _QUOTE * 2)}"'
