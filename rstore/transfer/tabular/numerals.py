"""Cells that are numbers, and texts that look like numbers."""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import Final

from attrs import frozen

from rstore.transfer.tabular.options import MISSING
from rstore.transfer.tabular.records import has_to_be_quoted, quoted

WORDS: Final = frozenset({"nan", "inf", "-inf"})
"""Floats that are no finite numbers, as Python writes them. They are floats in any column."""

_MORE_WORDS: Final = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_CODE: Final = re.compile(r"[+-]?0[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMA: Final = re.compile(r"[+-]?[0-9]+,[0-9]+|[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_PLAIN: Final = re.compile(r"(?:[+-]?(?:0|[1-9][0-9]{0,14})\n)*+")
_PLAIN_REALS: Final = re.compile(
    r"(?:[+-]?(?:(?:0|[1-9][0-9]{0,14})(?:\.[0-9]*(?:[eE][+-]?[0-9]+)?)?|(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)\n)*+"
)


def is_word(text: str) -> bool:
    """Return whether a text is a float that is no finite number, in any spelling: ``NaN``, ``-Infinity``."""
    return _MORE_WORDS.fullmatch(text) is not None


def is_code(text: str) -> bool:
    """Return whether a text is digits after a zero, as in codes of accounts or stations: ``007``."""
    return _CODE.fullmatch(text) is not None


def has_comma(text: str) -> bool:
    """Return whether a text is a number with a comma: ``2,2`` or ``1,234.5``."""
    return _COMMA.fullmatch(text) is not None


def are_small_integers(joint: str) -> bool:
    """Return whether lines, each with its line end, are integers of up to 15 digits, which are exact as floats."""
    return _PLAIN.fullmatch(joint) is not None


def are_plain_reals(joint: str) -> bool:
    """Return whether lines, each with its line end, are such integers, or numbers with a point."""
    return _PLAIN_REALS.fullmatch(joint) is not None


@frozen(slots=False)
class Numerals:
    """How numbers are written: the ``decimal`` mark, and the mark between ``thousands``, empty if there is none."""

    decimal: str = "."
    thousands: str = ""

    @cached_property
    def _integer(self) -> re.Pattern[str]:
        return re.compile(rf"[+-]?(?:{self._grouped}0|[1-9][0-9]*)")

    @cached_property
    def _real(self) -> re.Pattern[str]:
        mark = re.escape(self.decimal)
        return re.compile(rf"[+-]?(?:(?:{self._grouped}[0-9]+)(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]+)?")

    @property
    def _grouped(self) -> str:
        return rf"[1-9][0-9]{{0,2}}(?:{re.escape(self.thousands)}[0-9]{{3}})+|" if self.thousands else ""

    def is_integer(self, text: str) -> bool:
        """Return whether a text is an integer, and no code."""
        return self._integer.fullmatch(text) is not None

    def is_real(self, text: str) -> bool:
        """Return whether a text is a number with decimals or an exponent."""
        return self._real.fullmatch(text) is not None and not is_code(text) and not self.is_integer(text)

    def number(self, text: str) -> int | float | None:
        """Return the number in a text, None if the text is no number.

        >>> german = Numerals(',', '.')
        >>> german.number('1.234,5'), german.number('1.234'), german.number('1.23'), german.number('007')
        (1234.5, 1234, None, None)
        """
        if self._integer.fullmatch(text):
            return int(self._bare(text))
        if self._real.fullmatch(text) and not _CODE.fullmatch(text):
            return float(self._bare(text))
        return None

    def _bare(self, text: str) -> str:
        digits = text.replace(self.thousands, "") if self.thousands else text
        return digits if self.decimal == "." else digits.replace(self.decimal, ".")


def written(value: object) -> str:
    """Return a number or a text as a cell that is read as the same value.

    >>> [written(value) for value in (1.5, 'fog', '1.5', 'NA', ' x', '', True)]
    ['1.5', 'fog', '"1.5"', '"NA"', '" x"', '""', 'True']
    """
    if isinstance(value, str):
        return quoted(value) if _is_mistakable(value) else value
    if isinstance(value, float):
        return _written_float(float(value))
    return str(value)


def _written_float(value: float) -> str:
    return "nan" if math.isnan(value) else repr(value)


def _is_mistakable(text: str) -> bool:
    return not text or text in MISSING or _NUMBER.fullmatch(text) is not None or is_word(text) or has_to_be_quoted(text)
