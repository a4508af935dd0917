"""Operators on values that are stored as text: a decimal, a fraction, a datetime, a date.

Each has a name of its own in the log, such as ``decimal.add``: the type of the item, and an operator. So a record says
how its item is read, and every reader folds alike. The functions are pure: they take the texts of the item and the
operand, and return a text.
"""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from fractions import Fraction
from typing import Any, Final, NamedTuple

from attrs import frozen

from rstore.domain.growth import TooLargeError

_CONTEXT: Final = Context(
    28, ROUND_HALF_EVEN, -999_999, 999_999, 1, 0, [], [InvalidOperation, DivisionByZero, Overflow]
)
"""Calculates decimals. The context of a thread would give each reader a sum of its own."""

_DIGITS: Final = 4_200
"""The most digits of a fraction's numerator, and of its denominator: Python reads no number of more than 4,300."""
_BITS: Final = 13_950
"""The most bits that both have in a result: it has no more digits then than are read."""
_FRACTION: Final = re.compile(rf"([+-]?[0-9]{{1,{_DIGITS}}})(?:/([0-9]{{1,{_DIGITS}}}))?")
_MICROSECOND: Final = datetime.timedelta(microseconds=1)


class _Type(NamedTuple):
    """How the values of a type are read from text, calculated with, and written.

    Attributes:
        read: makes a value of an item.
        write: makes a text of a value, in the form of the item that it takes the place of.
        operands: the types that an operand may have.
        store_operand: makes what is stored of an operand.
        read_operand: makes an operand of what is stored.
        functions: the operators, by their names in the module ``operator``.
    """

    read: Callable[[Any], Any]
    write: Callable[[Any, str], str]
    operands: tuple[type, ...]
    store_operand: Callable[[Any], Any]
    read_operand: Callable[[Any], Any]
    functions: Mapping[str, Callable[..., Any]]


def _decimal(text: str) -> Decimal:
    return Decimal(_checked(text), _CONTEXT)


def _decimal_text(value: Decimal, _: str) -> str:
    return _CONTEXT.to_sci_string(value)


def _fraction(text: str) -> Fraction:
    """Return a fraction of the text that ``str`` makes. An exponent is refused: its power could take all memory."""
    match = _FRACTION.fullmatch(_checked(text))
    if match is None:
        raise ValueError(f"no fraction of two numbers of up to {_DIGITS:,} digits")
    return Fraction(int(match[1]), int(match[2] or 1))


def _fraction_text(value: Fraction, _: str) -> str:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _BITS:
        raise TooLargeError(f"the result would have a number of more than {_BITS:,} bits")
    return str(value)


def _datetime(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _date(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def _iso_text(value: datetime.date, old: str) -> str:
    """Return a time as ISO 8601 has it: with a ``Z`` for UTC if there was one before."""
    text = value.isoformat()
    return f"{text.removesuffix('+00:00')}Z" if old.endswith("Z") and text.endswith("+00:00") else text


def _duration(microseconds: Any) -> datetime.timedelta:
    if type(microseconds) is not int:
        raise TypeError(f"a time span is an int of microseconds, not {type(microseconds).__name__}")
    return microseconds * _MICROSECOND


def _checked(text: Any) -> str:
    if not isinstance(text, str):  # a Decimal of a float is another number than the float shows
        raise TypeError(f"a text is needed, not {type(text).__name__}")
    return text


_DECIMALS: Final[Mapping[str, Callable[..., Any]]] = {
    "add": _CONTEXT.add,
    "sub": _CONTEXT.subtract,
    "mul": _CONTEXT.multiply,
    "truediv": _CONTEXT.divide,
    "floordiv": _CONTEXT.divide_int,
    "mod": _CONTEXT.remainder,
    "neg": _CONTEXT.minus,
    "pos": _CONTEXT.plus,
    "abs": _CONTEXT.abs,
}
"""No powers: their last digit may differ from one implementation of Python to another."""

_FRACTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (
        *(operator.add, operator.sub, operator.mul, operator.truediv, operator.mod),
        *(operator.neg, operator.pos, operator.abs),
    )
}
"""No powers: some are floats. No ``floordiv``: its result is an int."""

_TIMES: Final[Mapping[str, Callable[..., Any]]] = {"add": operator.add, "sub": operator.sub}


def _in_microseconds(span: datetime.timedelta) -> int:
    return span // _MICROSECOND


_TYPES: Final[Mapping[str, _Type]] = {
    "decimal": _Type(_decimal, _decimal_text, (Decimal, int), str, _decimal, _DECIMALS),
    "fraction": _Type(_fraction, _fraction_text, (Fraction, int), str, _fraction, _FRACTIONS),
    "datetime": _Type(_datetime, _iso_text, (datetime.timedelta,), _in_microseconds, _duration, _TIMES),
    "date": _Type(_date, _iso_text, (datetime.timedelta,), _in_microseconds, _duration, _TIMES),
}

_NAME_OF: Final[Mapping[type, str]] = {
    Decimal: "decimal",
    Fraction: "fraction",
    datetime.datetime: "datetime",  # before date, of which it is a subclass
    datetime.date: "date",
}

_UNARY: Final = frozenset({"neg", "pos", "abs"})


@frozen
class TypedOperator:
    """An operator on the text of a value. It equals any other of its type and name, and can be pickled.

    >>> TypedOperator('decimal', 'add')('0.10', '0.20')
    '0.30'
    """

    type: str
    operator: str

    @property
    def __name__(self) -> str:
        """The name under which it is stored."""
        return f"{self.type}.{self.operator}"

    @property
    def is_binary(self) -> bool:
        """Whether it takes an operand."""
        return self.operator not in _UNARY

    @property
    def takes_text(self) -> bool:
        """Whether its operand is stored as a text, too."""
        return self.is_binary and _TYPES[self.type].store_operand is str

    def operand_text(self, operand: Any) -> str:
        """Return an operand as people read it: of a time span, days and hours.

        Raises:
            TypeError, ValueError, ArithmeticError: it is no stored operand.

        >>> TypedOperator('date', 'add').operand_text(86_400_000_000)
        '1 day, 0:00:00'
        """
        return str(_TYPES[self.type].read_operand(operand))

    def __call__(self, text: str, *operand: Any) -> str:
        """Return the text of the result.

        Raises:
            Exception: a text can't be read, or there is no result. A fold says so.
        """
        of_type = _TYPES[self.type]
        value = of_type.functions[self.operator](of_type.read(text), *map(of_type.read_operand, operand))
        return of_type.write(value, text)


TYPED_OPERATORS: Final = tuple(TypedOperator(name, each) for name, row in _TYPES.items() for each in row.functions)
"""All of them: a closed table, as that of the operators of the module ``operator``."""


def typed_change(value: Any, op: str, operand: Any) -> tuple[str, Any] | None:
    """Return the name and the stored operand of a typed operator; None if there is none for a value and an operand.

    >>> typed_change(Decimal('2.50'), 'add', Decimal('0.50')), typed_change(7, 'add', 1)
    (('decimal.add', '0.50'), None)
    """
    name = next((name for of_type, name in _NAME_OF.items() if isinstance(value, of_type)), None)
    if name is None or op not in _TYPES[name].functions:
        return None
    if op in _UNARY:
        return f"{name}.{op}", None
    row = _TYPES[name]
    return (f"{name}.{op}", row.store_operand(operand)) if isinstance(operand, row.operands) else None
