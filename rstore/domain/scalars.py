"""Values as other libraries make them: which of them mean that one is missing, and which calculate in their own width.

They are told by how they behave, so that no library has to be imported to know its values.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from numbers import Number
from operator import is_not
from typing import Any, Final

_PRESENT: Final = frozenset({bool, int, str, bytes})
"""Types of which no value is missing: most values are of one of them."""

_PLAIN: Final = _PRESENT | {float}

_NUMBERS: Final = frozenset("biufc")
"""The kinds of NumPy's types whose scalars are numbers: bools, ints with and without sign, floats and complex ones."""


def is_missing(value: Any) -> bool:
    """Tell whether a value means that there is none: None, or what is not equal to itself, of whatever library.

    So are NaN of each width, ``NaT``, ``pandas.NA`` and both NaN of Decimal. An array is a value, whatever is in it.

    >>> [is_missing(value) for value in (None, float('nan'), Decimal('sNaN'), 0, '', [None])]
    [True, True, True, False, False, False]
    """
    if value is None or type(value) in _PLAIN:
        return value is None or value != value  # noqa: PLR0124
    if isinstance(value, Decimal):
        return value.is_nan()  # one that signals can't even be compared
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
    """Return a scalar of NumPy that is a number as the number of Python that equals it; anything else as it is.

    Four ``uint8`` of 100 add up to 144 in their own width. A ``longdouble`` has no equal in Python, and stays.
    """
    return value if type(value) in _PLAIN or not _is_numpy_number(value) else value.item()


def calculated(function: Callable[..., Any], *operands: Any) -> Any:
    """Return what a function makes of operands, where scalars of NumPy count as the numbers of Python that they equal.

    Where Python has no result and NumPy has (a float divided by zero), that is the result. Beside what is no number,
    such as an array, a scalar stays what it is, since it decides about the type of the result.

    >>> calculated(lambda a, b: a + b, 100, 200)
    300
    """
    if all(type(operand) in _PLAIN for operand in operands):
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
