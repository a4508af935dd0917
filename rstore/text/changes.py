"""Changes of items as users type them: ``balance+=5 owner=Ada ~typo``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from rstore.domain.operators import OPERATORS
from rstore.domain.typed_operators import TypedOperator
from rstore.text.values import parse_value

SIGNS: Final[Mapping[str, Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}
"""The operators before ``=``, as in Python."""

_NAMES: Final = "|".join(re.escape(name) for name in sorted(OPERATORS, key=len, reverse=True))
_SIGNS: Final = "|".join(re.escape(sign) for sign in sorted(SIGNS, key=len, reverse=True))
_BINARY: Final = re.compile(rf"(?P<item>.*?)(?:(?P<sign>{_SIGNS})|:(?P<name>{_NAMES}))?=(?P<value>.*)", re.DOTALL)
_VALUELESS: Final = "|".join(re.escape(name) for name, row in OPERATORS.items() if not row.binary)
_UNARY: Final = re.compile(rf"(?P<item>.*):(?P<name>{_VALUELESS})", re.DOTALL)


def parse_changes(words: Iterable[str], value: Callable[[str], Any] = parse_value) -> dict[str, Any]:
    """Return changes that the user typed as the argument of ``Store.apply``.

    A change is ``item=value``, ``item+=value`` and the like, or ``~item`` to delete the item. ``item:name=value`` and
    ``item:name`` name any operator.

    Args:
        value: makes a value of the text after ``=``.

    Raises:
        ValueError: a word is no change, or an item is changed twice.

    >>> parse_changes(['owner=Ada', 'balance+=5', '~typo', 'sign:neg'])  # doctest: +NORMALIZE_WHITESPACE
    {'owner': (<built-in function setitem>, 'Ada'), 'balance': (<built-in function add>, 5),
     'typo': (<built-in function delitem>, None), 'sign': (<built-in function neg>, None)}
    """
    changes: dict[str, Any] = {}
    for word in words:
        item, change = _parsed(word, value)
        if item in changes:
            raise ValueError(f"item {item!r} is changed twice: apply one change after the other, in two calls")
        changes[item] = change
    return changes


def _parsed(word: str, value: Callable[[str], Any]) -> tuple[str, tuple[Any, Any]]:
    if word.startswith("~"):
        return word[1:], (operator.delitem, None)
    if binary := _BINARY.fullmatch(word):
        function = OPERATORS[binary["name"] or "setitem"].function
        is_text = isinstance(function, TypedOperator) and function.takes_text
        operand = binary["value"] if is_text else value(binary["value"])
        return binary["item"], (SIGNS.get(binary["sign"], function), operand)
    if unary := _UNARY.fullmatch(word):
        return unary["item"], (OPERATORS[unary["name"]].function, None)
    raise ValueError(f"{word!r} is no change: write item=value, item+=value, ~item, item:mul=value or item:neg")
