"""The type of a column, decided by all of its cells.

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
from rstore.transfer.tabular.options import MISSING, TableOptions
from rstore.transfer.tabular.records import Quoted
from rstore.transfer.tabular.times import Example

Cell = str | None
"""The text between two delimiters; None if it is empty or blank."""

_EXACT_DIGITS: Final = 15


class Kind(Enum):
    """The type of a column."""

    INTEGER = "ints"
    REAL = "floats"
    MIXED = "numbers and texts"
    TEXT = "texts"


class CellKind(Enum):
    """The form of a cell."""

    INTEGER = "an integer"
    LONG = "an integer that is not exact as a float"
    REAL = "a number with a point, or an exponent"
    COMMA = "a number with a comma"
    CODE = "digits after a zero"
    WORD = "nan or inf, as Python writes them"
    OTHER_WORD = "NaN or Infinity, as others do"
    MISSING = "NA and the like"
    TEXT = "a text"
    QUOTED = "a text in quotes"
    QUOTED_COMMA = "a number with a comma, in quotes"


class Reading(NamedTuple):
    """How a column is read. With ``skips``, ``NA`` and the like are no points."""

    kind: Kind
    skips: bool = False


@define
class ColumnStats:
    """The number of cells of each kind in a column, and the first of each."""

    counts: Counter[CellKind] = field(factory=Counter)
    first: dict[CellKind, Example] = field(factory=dict)

    def add(
        self, lines: Sequence[int], cells: Sequence[Cell], kind_of: Callable[[str], CellKind], *, quick: bool
    ) -> None:
        """Add cells. ``quick``: decimals have a point, and digits are not grouped."""
        filled = [cell for cell in cells if cell is not None]
        if not filled:
            return
        if quick and set(map(type, filled)) == {str}:
            joint = "\n".join(filled) + "\n"
            if are_small_integers(joint):
                self._count(CellKind.INTEGER, len(filled), lines, cells, filled[0])
                return
            if are_plain_reals(joint):
                real = next(cell for cell in filled if "." in cell)
                self._count(CellKind.REAL, len(filled), lines, cells, real)
                return
            for cell, count in Counter(filled).items():
                self._count(kind_of(cell), count, lines, cells, cell)
            return
        for (cell, _), count in Counter(zip(filled, map(type, filled), strict=True)).items():
            self._count(kind_of(cell), count, lines, cells, cell)

    def _count(self, kind: CellKind, count: int, lines: Sequence[int], cells: Sequence[Cell], cell: str) -> None:
        self.counts[kind] += count
        if kind not in self.first:
            self.first[kind] = Example(lines[cells.index(cell)], cell)


def classifier(commas: bool, numerals: Numerals) -> Callable[[str], CellKind]:
    """Return a function that returns the kind of a cell.

    Args:
        commas: whether the decimal mark may be a comma as well as the one of ``numerals``.
    """
    other = Numerals(",", numerals.thousands) if commas else None

    def number(cell: str) -> CellKind | None:
        if numerals.is_integer(cell):
            return CellKind.INTEGER if len(cell) <= _EXACT_DIGITS else CellKind.LONG
        if numerals.is_real(cell):
            return CellKind.REAL
        if other is not None and other.is_real(cell):
            return CellKind.COMMA
        return CellKind.CODE if is_code(cell) else None

    def kind_of(cell: str) -> CellKind:
        if type(cell) is Quoted:
            return CellKind.QUOTED_COMMA if has_comma(cell) else CellKind.QUOTED
        return number(cell) or _kind_of_text(cell)

    return kind_of


def _kind_of_text(cell: str) -> CellKind:
    if is_word(cell):
        return CellKind.WORD if cell in WORDS else CellKind.OTHER_WORD
    return CellKind.MISSING if cell in MISSING else CellKind.TEXT


def reading_of(counts: Counter[CellKind], *, as_text: bool = False, skips: bool = True) -> Reading:
    """Decide how a column is read.

    Args:
        as_text: whether the caller wants texts.
        skips: whether ``NA`` and the like may be no points.

    >>> reading_of(Counter({CellKind.INTEGER: 2, CellKind.REAL: 1, CellKind.MISSING: 1}))
    Reading(kind=<Kind.REAL: 'floats'>, skips=True)
    >>> reading_of(Counter({CellKind.INTEGER: 2, CellKind.CODE: 1})).kind, reading_of(Counter({CellKind.TEXT: 1})).kind
    (<Kind.TEXT: 'texts'>, <Kind.TEXT: 'texts'>)
    """
    kinds = {kind for kind, count in counts.items() if count}
    if as_text or CellKind.CODE in kinds:
        return Reading(Kind.TEXT)
    numbers, words = kinds & _NUMBERS, kinds & _WORDS
    if not numbers and (not words or kinds - _WORDS):
        return Reading(Kind.MIXED if CellKind.WORD in kinds else Kind.TEXT)
    if kinds & _TEXTS:
        return Reading(Kind.MIXED)
    if CellKind.MISSING in kinds and not skips:
        return Reading(Kind.MIXED)
    if numbers <= _INTEGERS and not words:
        return Reading(Kind.INTEGER, skips)
    return Reading(Kind.MIXED if CellKind.LONG in kinds else Kind.REAL, skips)


_INTEGERS: Final = frozenset({CellKind.INTEGER, CellKind.LONG})
_NUMBERS: Final = _INTEGERS | {CellKind.REAL, CellKind.COMMA}
_WORDS: Final = frozenset({CellKind.WORD, CellKind.OTHER_WORD})
_TEXTS: Final = frozenset({CellKind.TEXT, CellKind.QUOTED, CellKind.QUOTED_COMMA})


def texts_among_numbers(seen: ColumnStats) -> tuple[int, Example | None]:
    """Return the number of texts in a column that also has numbers or codes, and the first of these texts.

    Digits after a zero count as texts, and so do quoted numbers, whose commas may need the quotes: ``"2,2"``.
    """
    counts = seen.counts
    if CellKind.CODE in counts:
        digits = [kind for kind in (CellKind.CODE, *_INTEGERS) if kind in counts]
        return sum(counts[kind] for kind in digits), seen.first[CellKind.CODE]
    if not counts.keys() & (_NUMBERS | {CellKind.QUOTED_COMMA}):
        return 0, None
    texts = [kind for kind in _TEXTS if kind in counts]
    if texts and CellKind.MISSING in counts:
        texts.append(CellKind.MISSING)
    examples = [seen.first[kind] for kind in texts]
    return sum(counts[kind] for kind in texts), min(examples, default=None)


def decimal_of(columns: Sequence[ColumnStats]) -> str:
    """Return the decimal mark of a table in which it may be a comma.

    Raises:
        StoreFileError: some decimals begin with a point, and others with a comma.
    """
    points = [seen.first[CellKind.REAL] for seen in columns if _has_point(seen)]
    commas = [seen.first[CellKind.COMMA] for seen in columns if CellKind.COMMA in seen.first]
    if points and commas:
        point, comma = min(points), min(commas)
        raise StoreFileError(
            max(point.line, comma.line),
            f"decimals begin with a point in {point.cell!r}, line {point.line}, and with a comma in {comma.cell!r}, "
            f"line {comma.line}: say which with TableOptions(decimal=..., thousands=...)",
        )
    return "," if commas else "."


def _has_point(seen: ColumnStats) -> bool:
    return CellKind.REAL in seen.first and "." in seen.first[CellKind.REAL].cell


def converter(reading: Reading, numerals: Numerals) -> Callable[[Sequence[Cell]], list[Any]]:
    """Return a function that converts the cells of a column to values; None if a cell is no point."""
    one = _CELLS[reading.kind]

    def convert(cells: Sequence[Cell]) -> list[Any]:
        nothing = MISSING if reading.skips else ()
        return [None if cell is None or cell in nothing else one(cell, numerals) for cell in cells]

    quick = _QUICK.get(reading.kind)
    if quick is None or numerals != Numerals():
        return convert

    def convert_quickly(cells: Sequence[Cell]) -> list[Any]:
        try:
            return list(map(quick, cells))
        except (TypeError, ValueError):  # one is None, or NA
            return [None if cell is None or cell in MISSING else quick(cell) for cell in cells]

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
    """Return how numbers are written, as far as the caller has said it.

    >>> numerals_of(TableOptions(thousands='.')).decimal
    ','
    """
    decimal = options.decimal or ("," if options.thousands == "." else ".")
    if decimal == options.thousands:
        decimal = "." if decimal == "," else ","
    return Numerals(decimal, options.thousands or "")
