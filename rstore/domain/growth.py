"""The size of an operator's result, estimated before it is calculated: a short event could ask for all memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

from rstore.domain.scalars import plain

MOST: Final = 1 << 24
"""The most bits of a number, and the most elements of a text or list, that an operator makes of smaller ones.

That is far above any count, and a power of so many bits takes a second or two. The fold refuses, and not only the
command: otherwise each reader would have to calculate whatever any writer has stored.
"""


class TooLargeError(ArithmeticError):
    """A result was not calculated, since it would be larger than :data:`MOST`."""


def check_growth(op: str, old: Any, value: Any) -> None:
    """Raise if the result of an operator would be too large.

    Raises:
        TooLargeError: it would have more than :data:`MOST` bits or elements.

    >>> check_growth('pow', 2, 1000)
    >>> check_growth('pow', 2, 100_000_000)
    Traceback (most recent call last):
        ...
    rstore.domain.growth.TooLargeError: the result would have more than 16,777,216 bits or elements
    """
    size = _SIZES.get(op)
    if size is not None and size(plain(old), plain(value)) > MOST:
        raise TooLargeError(f"the result would have more than {MOST:,} bits or elements")


def _bits(value: Any) -> int:
    """Return the bits of a number whose size has no limit; 0 for all others, such as floats."""
    if isinstance(value, int):
        return value.bit_length()
    if isinstance(value, Fraction):
        return max(value.numerator.bit_length(), value.denominator.bit_length())
    return 0


def _of_power(old: Any, value: Any) -> int:
    if not isinstance(value, int):
        return 0
    return max(0, _bits(old) - 1) * abs(value) if isinstance(old, Fraction) else max(0, _bits(old) - 1) * max(0, value)


def _of_shift(old: Any, value: Any) -> int:
    return _bits(old) + value if isinstance(old, int) and isinstance(value, int) and old else 0


def _of_product(old: Any, value: Any) -> int:
    for many, times in ((old, value), (value, old)):
        if isinstance(many, str | bytes | bytearray | list | tuple) and isinstance(times, int):
            return len(many) * max(0, times) if times > 1 else 0
    return _bits(old) + _bits(value) - 1 if _bits(old) and _bits(value) else 0


_SIZES: Final[Mapping[str, Callable[[Any, Any], int]]] = {
    "pow": _of_power,
    "lshift": _of_shift,
    "mul": _of_product,
}
"""The least size of the result, for each operator that can make a large value of small ones."""
