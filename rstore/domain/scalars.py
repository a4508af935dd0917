"""Single values as they are calculated with: which of them are missing, and what is a number.

Scalars of other libraries are known by how they behave: the domain imports none of those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

_EXACT: Final = frozenset({int, float, complex, bool, str, bytes, type(None)})
_NUMBERS: Final = frozenset("biufc")
"""Kinds of NumPy's scalars: booleans, signed and unsigned integers, real and complex numbers."""


def is_missing(value: Any) -> bool:
    """Tell whether a value stands for none: None, NaN of any type, NaT, and pandas' NA.

    A NaN is not equal to itself. NA answers each comparison with itself, and a signalling NaN refuses to be compared.

    >>> from decimal import Decimal
    >>> [is_missing(value) for value in (None, float('nan'), Decimal('sNaN'), 0, '', [])]
    [True, True, True, False, False, False]
    """
    if type(value) in _EXACT:
        return value is None or value != value  # noqa: PLR0124
    try:
        answer = value != value  # noqa: PLR0124
    except ArithmeticError:
        return True
    except Exception:  # whatever comparing a user's values raises: there is a value
        return False
    try:
        return bool(answer)
    except Exception:  # neither NA nor an array of answers has a truth
        return answer is value


def plain(value: Any) -> Any:
    """Return a NumPy scalar as the Python number of the same value, and all else as it is.

    NumPy calculates in the width of its scalars: four times 100 are 144 as uint8.
    """
    if type(value) in _EXACT or getattr(value, "shape", None) != ():
        return value
    return value.item() if getattr(getattr(value, "dtype", None), "kind", "") in _NUMBERS else value


def plain_numbers(values: Iterable[Any]) -> Iterable[Any]:
    """Return values, each as :func:`plain` returns it. Those of Python's own types are passed on as they are."""
    return values if _EXACT.issuperset(map(type, values)) else map(plain, values)
