"""Values as texts whose code-point order is that of the values: what the keys of an index begin with.

All numbers share one order, as in Python: 1, 1.0, Decimal('1.00') and True have the same text. Values of types that
can't be compared, such as a number and a date, are told apart by the first character.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import math
import uuid
from collections.abc import Callable
from enum import Enum
from hashlib import sha256
from typing import Any, Final

SEPARATOR: Final = "\x01"
"""Stands behind a text in a key. No text has it, nor a character below it: so "a" comes before "ab"."""
CUT: Final = "\x02"
"""Stands before a digest, in the place of all that is too long."""
HIGHEST: Final = "\U0010ffff"
"""No text has it."""
_LONGEST: Final = 100
"""Characters of a text that a key keeps: with 4 bytes each, the half of what a key may have."""
_DIGEST: Final = 32

_TABLE: Final = {
    **{code: f"\x03{chr(4 + code)}" for code in range(4)},
    0xD7FF: "\ud7ff\x04",
    **{code: f"\ud7ff\x05{chr(code - 0xD700)}" for code in range(0xD800, 0xE000)},  # lone surrogates, which UTF-8 lacks
    **{code: f"\U0010fffe{chr(code - 0x10FFFA)}" for code in (0x10FFFE, 0x10FFFF)},  # so that nothing has the highest
}
_COMPLEMENT: Final = str.maketrans("0123456789", "9876543210")
_AFTER_DIGITS: Final = "~"
_SIGNIFICANT: Final = 200
_SMALL: Final = 10**18
_EXPONENT_DIGITS: Final = 20
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
_BEGINNING: Final = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)
_DAY: Final = datetime.timedelta(days=1)


def ordered_text(value: Any) -> str:
    """Return the text of a value. Texts of numbers, of texts, of dates and so on are in the order of these.

    >>> sorted([10, 2.5, -3], key=ordered_text)
    [-3, 2.5, 10]
    >>> ordered_text(1) == ordered_text(1.0) == ordered_text(True)
    True

    Raises:
        TypeError: there is no order for values of its type.
    """
    if isinstance(value, Enum):
        return ordered_text(value.value)
    for kind in type(value).__mro__:
        make = _TEXTS.get(kind)
        if make is not None:
            return make(value)
    names = ", ".join(each.__name__ for each in _TEXTS if each is not type(None))
    raise TypeError(f"{type(value).__name__} has no order here: those of {names}, enums and None have one")


def cut(text: str) -> str:
    """Return a text, or of a long one the beginning and a digest: then only the beginning tells its order.

    >>> cut('short'), len(cut('long' * 100)) < 200
    ('short', True)
    """
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}{CUT}{digest(text)}"


def digest(text: str) -> str:
    """Return the digest that stands for a text, or for the rest of it."""
    return sha256(text.encode()).hexdigest()[:_DIGEST]


def is_cut(text: str) -> bool:
    """Tell whether a key has no more than the beginning of a text."""
    return len(text) > _LONGEST


def beginning(text: str) -> str:
    """Return the part of a text that the keys of all texts above it have, or are above."""
    return text[:_LONGEST]


def edges(text: str) -> tuple[str, str]:
    """Return texts below and above all that are comparable with one."""
    return text[:1], text[:1] + HIGHEST


def _number(value: Any) -> str:
    """Return the text of a number: its sign, its exponent, its digits."""
    if _is_nan(value):
        return "o"  # behind all numbers
    if value in (math.inf, -math.inf):
        return "n5" if value > 0 else "n1"
    if not value:
        return "n3"
    digits, exponent, rest = _digits(value)
    sized = f"{abs(exponent):0{_EXPONENT_DIGITS}d}"
    scale = f"1{sized}" if exponent >= 0 else f"0{sized.translate(_COMPLEMENT)}"
    if value > 0:
        return f"n4{scale}{digits}{rest}"
    return f"n2{(scale + digits).translate(_COMPLEMENT)}{rest or _AFTER_DIGITS}"


def _is_nan(value: Any) -> bool:
    if isinstance(value, decimal.Decimal):
        return value.is_nan()  # one that signals can't be compared
    return isinstance(value, float) and math.isnan(value)


def _digits(value: Any) -> tuple[str, int, str]:
    """Return the digits of a number, the exponent of ``0.digits``, and a digest if these are not all of it."""
    if type(value) is int and -_SMALL < value < _SMALL:
        digits = str(abs(value))
        return digits.rstrip("0"), len(digits), ""
    if isinstance(value, fractions.Fraction):
        exact = _finite(value)
        if exact is None:
            return _rounded(value)
        value = exact
    found = decimal.Decimal(value).as_tuple()  # exact for floats, and for ints of any size
    digits = "".join(map(str, found.digits))
    stripped = digits.lstrip("0")
    return stripped.rstrip("0"), len(stripped) + int(found.exponent), ""


def _finite(value: fractions.Fraction) -> decimal.Decimal | None:
    """Return a fraction as a decimal that equals it, None if there is none: its denominator has factors but 2 and 5."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return None
    places = max(twos, fives)
    scaled = decimal.Decimal(value.numerator * 10**places // value.denominator).as_tuple()
    return decimal.Decimal((0, scaled.digits, -places))


def _rounded(value: fractions.Fraction) -> tuple[str, int, str]:
    """Return the first digits of a fraction that has no end, and a digest that tells it from others with these."""
    places = _SIGNIFICANT - _magnitude(value)
    scaled = abs(value) * fractions.Fraction(10) ** places
    digits = "".join(map(str, decimal.Decimal(scaled.numerator // scaled.denominator).as_tuple().digits))
    return digits, len(digits) - places, f"+{digest(f'{value.numerator:x}/{value.denominator:x}')}"


def _magnitude(value: fractions.Fraction) -> int:
    """Return about how many digits a fraction has before its point; below 0 if it has noughts behind it."""
    return int((value.numerator.bit_length() - value.denominator.bit_length()) * math.log10(2))


def _str(value: str) -> str:
    return "s" + str.__str__(value).translate(_TABLE)


def _microseconds(value: datetime.timedelta, width: int, more: int = 0) -> str:
    return f"{value // _MICROSECOND + more:0{width}d}"


def _datetime(value: datetime.datetime) -> str:
    if value.utcoffset() is None:
        return "t" + value.replace(tzinfo=None).isoformat(timespec="microseconds")
    return "d" + _microseconds(value - _BEGINNING + _DAY, 18)  # by instant: the first may be a day before year 1


def _time(value: datetime.time) -> str:
    offset = value.utcoffset()
    if offset is None:
        return "w" + value.replace(tzinfo=None).isoformat(timespec="microseconds")
    elapsed = datetime.datetime.combine(_BEGINNING, value.replace(tzinfo=None)) - _BEGINNING.replace(tzinfo=None)
    return "v" + _microseconds(elapsed - offset + _DAY, 12)


_TEXTS: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _: "a",
    bool: _number,
    int: _number,
    float: _number,
    decimal.Decimal: _number,
    fractions.Fraction: _number,
    str: _str,
    bytes: lambda value: "b" + value.hex(),
    datetime.datetime: _datetime,
    datetime.date: lambda value: "c" + value.isoformat(),
    datetime.time: _time,
    datetime.timedelta: lambda value: "e" + _microseconds(value, 21, 10**20),
    uuid.UUID: lambda value: "u" + value.hex,
}
"""The types whose values have an order. Of several that a value has, the most derived one counts."""
