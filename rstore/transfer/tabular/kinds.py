"""What a column of cells holds, decided once for all of them.

========= ============================================================================================================
a column  becomes
========= ============================================================================================================
INTEGER   ints
REAL      floats, also where a cell is an integer
MIXED     numbers and texts, each cell as it is
TEXT      texts
========= ============================================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from attrs import define, field

from rstore.domain.errors import StoreFileError
from rstore.transfer.tabular.numerals import (
    WORDS,
    Numerals,
    are_plain_reals,
    are_small_integers,
    has_comma,
    is_code,
    is_word,
)
from rstore.transfer.tabular.options import NOTHING, TableOptions
from rstore.transfer.tabular.records import Quoted
from rstore.transfer.tabular.times import Example

Cell = str | None
"""What stands between two delimiters; None if it is nothing, or blank."""

_EXACT_DIGITS: Final = 15


class Kind(Enum):
    """What a column holds."""

    INTEGER = "ints"
    REAL = "floats"
    MIXED = "numbers and texts"
    TEXT = "texts"


class Sort(Enum):
    """What a cell looks like."""

    INTEGER = "an integer"
    LONG = "an integer that is not exact as a float"
    REAL = "a number with a point, or an exponent"
    COMMA = "a number with a comma"
    CODE = "digits after a zero"
    WORD = "nan or inf, as Python writes them"
    OTHER_WORD = "NaN or Infinity, as others do"
    NOTHING = "NA and the like"
    TEXT = "a text"
    QUOTED = "a text in quotes"
    QUOTED_COMMA = "a number with a comma, in quotes"


class Reading(NamedTuple):
    """How a column is read. If ``skips`` is set, ``NA`` and the like are no point in it."""

    kind: Kind
    skips: bool = False


@define
class ColumnSeen:
    """How many cells of each sort a column has, and the first of each."""

    counts: Counter[Sort] = field(factory=Counter)
    first: dict[Sort, Example] = field(factory=dict)

    def add(self, lines: Sequence[int], cells: Sequence[Cell], sort: Callable[[str], Sort], *, quick: bool) -> None:
        """Look at cells; ``quick`` if numbers have a point, and digits are not grouped."""
        filled = [cell for cell in cells if cell is not None]
        if not filled:
            return
        if quick and set(map(type, filled)) == {str}:
            joint = "\n".join(filled) + "\n"
            if are_small_integers(joint):
                self._count(Sort.INTEGER, len(filled), lines, cells, filled[0])
                return
            if are_plain_reals(joint):
                real = next(cell for cell in filled if "." in cell)
                self._count(Sort.REAL, len(filled), lines, cells, real)
                return
            for cell, count in Counter(filled).items():
                self._count(sort(cell), count, lines, cells, cell)
            return
        for (cell, _), count in Counter(zip(filled, map(type, filled), strict=True)).items():
            self._count(sort(cell), count, lines, cells, cell)

    def _count(self, sort: Sort, count: int, lines: Sequence[int], cells: Sequence[Cell], cell: str) -> None:
        self.counts[sort] += count
        if sort not in self.first:
            self.first[sort] = Example(lines[cells.index(cell)], cell)


def sorter(commas: bool, numerals: Numerals) -> Callable[[str], Sort]:
    """Return what tells of which sort a cell is.

    Args:
        commas: a comma may begin decimals as well as the mark of ``numerals``.
    """
    other = Numerals(",", numerals.thousands) if commas else None

    def number(cell: str) -> Sort | None:
        if numerals.is_integer(cell):
            return Sort.INTEGER if len(cell) <= _EXACT_DIGITS else Sort.LONG
        if numerals.is_real(cell):
            return Sort.REAL
        if other is not None and other.is_real(cell):
            return Sort.COMMA
        return Sort.CODE if is_code(cell) else None

    def sort(cell: str) -> Sort:
        if type(cell) is Quoted:
            return Sort.QUOTED_COMMA if has_comma(cell) else Sort.QUOTED
        return number(cell) or _sort_of_text(cell)

    return sort


def _sort_of_text(cell: str) -> Sort:
    if is_word(cell):
        return Sort.WORD if cell in WORDS else Sort.OTHER_WORD
    return Sort.NOTHING if cell in NOTHING else Sort.TEXT


def reading_of(counts: Counter[Sort], *, as_text: bool = False, skips: bool = True) -> Reading:
    """Decide what a column holds.

    Args:
        as_text: the caller wants texts.
        skips: ``NA`` and the like may be no point.

    >>> reading_of(Counter({Sort.INTEGER: 2, Sort.REAL: 1, Sort.NOTHING: 1}))
    Reading(kind=<Kind.REAL: 'floats'>, skips=True)
    >>> reading_of(Counter({Sort.INTEGER: 2, Sort.CODE: 1})).kind, reading_of(Counter({Sort.TEXT: 1})).kind
    (<Kind.TEXT: 'texts'>, <Kind.TEXT: 'texts'>)
    """
    sorts = {sort for sort, count in counts.items() if count}
    if as_text or Sort.CODE in sorts:
        return Reading(Kind.TEXT)
    numbers, words = sorts & _NUMBERS, sorts & _WORDS
    if not numbers and (not words or sorts - _WORDS):
        return Reading(Kind.MIXED if Sort.WORD in sorts else Kind.TEXT)
    if sorts & _TEXTS:
        return Reading(Kind.MIXED)
    if Sort.NOTHING in sorts and not skips:
        return Reading(Kind.MIXED)
    if numbers <= _INTEGERS and not words:
        return Reading(Kind.INTEGER, skips)
    return Reading(Kind.MIXED if Sort.LONG in sorts else Kind.REAL, skips)


_INTEGERS: Final = frozenset({Sort.INTEGER, Sort.LONG})
_NUMBERS: Final = _INTEGERS | {Sort.REAL, Sort.COMMA}
_WORDS: Final = frozenset({Sort.WORD, Sort.OTHER_WORD})
_TEXTS: Final = frozenset({Sort.TEXT, Sort.QUOTED, Sort.QUOTED_COMMA})


def texts_among_numbers(seen: ColumnSeen) -> tuple[int, Example | None]:
    """Return how many texts a column has in which there are numbers, or digits that are texts, and the first.

    Digits are texts after a zero, and in quotes that they may have because of their commas: ``"2,2"``.
    """
    counts = seen.counts
    if Sort.CODE in counts:
        digits = [sort for sort in (Sort.CODE, *_INTEGERS) if sort in counts]
        return sum(counts[sort] for sort in digits), seen.first[Sort.CODE]
    if not counts.keys() & (_NUMBERS | {Sort.QUOTED_COMMA}):
        return 0, None
    texts = [sort for sort in _TEXTS if sort in counts]
    if texts and Sort.NOTHING in counts:
        texts.append(Sort.NOTHING)
    examples = [seen.first[sort] for sort in texts]
    return sum(counts[sort] for sort in texts), min(examples, default=None)


def decimal_of(columns: Sequence[ColumnSeen]) -> str:
    """Return with what decimals begin in a table, where a comma may.

    Raises:
        StoreFileError: some begin with a point, and others with a comma.
    """
    points = [seen.first[Sort.REAL] for seen in columns if _has_point(seen)]
    commas = [seen.first[Sort.COMMA] for seen in columns if Sort.COMMA in seen.first]
    if points and commas:
        point, comma = min(points), min(commas)
        raise StoreFileError(
            max(point.line, comma.line),
            f"decimals begin with a point in {point.cell!r}, line {point.line}, and with a comma in {comma.cell!r}, "
            f"line {comma.line}: say which with --decimal and --thousands (in Python TableOptions(decimal=...))",
        )
    return "," if commas else "."


def _has_point(seen: ColumnSeen) -> bool:
    return Sort.REAL in seen.first and "." in seen.first[Sort.REAL].cell


def converter(reading: Reading, numerals: Numerals) -> Callable[[Sequence[Cell]], list[Any]]:
    """Return what makes values of a column's cells; None for what is no point."""
    one = _CELLS[reading.kind]

    def convert(cells: Sequence[Cell]) -> list[Any]:
        nothing = NOTHING if reading.skips else ()
        return [None if cell is None or cell in nothing else one(cell, numerals) for cell in cells]

    quick = _QUICK.get(reading.kind)
    if quick is None or numerals != Numerals():
        return convert

    def convert_quickly(cells: Sequence[Cell]) -> list[Any]:
        try:
            return list(map(quick, cells))
        except (TypeError, ValueError):  # one is None, or NA
            return [None if cell is None or cell in NOTHING else quick(cell) for cell in cells]

    return convert_quickly


def _number(cell: str, numerals: Numerals) -> Any:
    if type(cell) is Quoted:
        return str(cell)
    number = numerals.number(cell) if cell[0] in _FIRST_OF_NUMBERS else None
    if number is not None:
        return number
    return float(cell) if cell in WORDS else cell


def _real(cell: str, numerals: Numerals) -> float:
    number = numerals.number(cell)
    return float(cell if number is None else number)


_FIRST_OF_NUMBERS: Final = frozenset("0123456789+-.,")
_QUICK: Final[dict[Kind, Callable[[Any], Any]]] = {Kind.INTEGER: int, Kind.REAL: float}
_CELLS: Final[dict[Kind, Callable[[str, Numerals], Any]]] = {
    Kind.INTEGER: _number,
    Kind.REAL: _real,
    Kind.MIXED: _number,
    Kind.TEXT: lambda cell, _: str(cell),
}


def numerals_of(options: TableOptions) -> Numerals:
    """Return how numbers are written, as far as it was said.

    >>> numerals_of(TableOptions(thousands='.')).decimal
    ','
    """
    decimal = options.decimal or ("," if options.thousands == "." else ".")
    if decimal == options.thousands:
        decimal = "." if decimal == "," else ","
    return Numerals(decimal, options.thousands or "")
