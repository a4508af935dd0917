"""Values of other libraries: some stand for a missing one, and some calculate in their own width.

Their behaviour tells them, so that no library has to be imported to know its values.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from numbers import Number
from operator import is_not
from typing import Any, Final

_PLAIN: Final = frozenset({bool, int, float, str, bytes})
"""Most values are of one of these types, so it is looked for first."""

_NUMBERS: Final = frozenset("biufc")
"""The kinds of NumPy's types whose scalars are numbers: bools, ints with and without sign, floats and complex ones."""


def is_missing(value: Any) -> bool:
    """Tell whether a value stands for a missing one: None, or a value of any library that is not equal to itself.

    Such are NaN of each width, ``NaT``, ``pandas.NA`` and both NaN of Decimal. An array is a value, whatever it holds.

    >>> [is_missing(value) for value in (None, float('nan'), Decimal('sNaN'), 0, '', [None])]
    [True, True, True, False, False, False]
    """
    if value is None or type(value) in _PLAIN:
        return value is None or value != value  # noqa: PLR0124
    if isinstance(value, Decimal):
        return value.is_nan()  # a signalling NaN can't even be compared
    try:
        different = value != value  # noqa: PLR0124
        if getattr(different, "shape", ()) != ():
            return False
    except Exception:  # whatever comparing a user's value raises, it is a value
        return False
    try:
        return bool(different)
    except Exception:  # pandas.NA is neither equal nor unequal, and answers each comparison with itself
        return different is value


def plain(value: Any) -> Any:
    """Return the number of Python that equals a scalar of NumPy; any other value as it is.

    Four ``uint8`` of 100 add up to 144 in their own width. A ``longdouble`` has no equal in Python, and stays.
    """
    return value if type(value) in _PLAIN or not _is_numpy_number(value) else value.item()


def calculated(function: Callable[..., Any], *operands: Any) -> Any:
    """Return the result of a function, where scalars of NumPy count as the numbers of Python that they equal.

    Where Python has no result and NumPy has one (a float divided by zero), NumPy's counts. Beside an operand that is no
    number, such as an array, a scalar stays as it is: it decides on the type of the result.

    >>> calculated(lambda a, b: a + b, 100, 200)
    300
    """
    if _PLAIN.issuperset(map(type, operands)):
        return function(*operands)
    numbers = [plain(operand) for operand in operands]
    if not any(map(is_not, numbers, operands)) or not all(isinstance(number, Number) for number in numbers):
        return function(*operands)
    try:
        return function(*numbers)
    except (ZeroDivisionError, OverflowError):
        return function(*operands)


def _is_numpy_number(value: Any) -> bool:
    cls = type(value)
    is_scalar = cls.__module__ == "numpy" and cls.__name__ != "ndarray" and hasattr(cls, "item")
    return is_scalar and value.dtype.kind in _NUMBERS
