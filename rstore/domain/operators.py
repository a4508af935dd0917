"""The operator table: the changes that an event can make to an item.

Operators are stored by name and looked up here, so that stored bytes never choose a function to import or call.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from rstore.domain.growth import check_growth
from rstore.domain.scalars import calculated
from rstore.domain.typed_operators import TYPED_OPERATORS


class Operator(NamedTuple):
    """One row of the table: the function that users name, and whether it takes a value besides the item's own."""

    function: Callable[..., Any]
    binary: bool


SETITEM: Final = "setitem"
DELITEM: Final = "delitem"
DELETE: Final = "delete"
"""Ends an event sequence: it then has no items, and counts as unknown until another event follows."""
EVENT: Final = "event"
"""A domain event: says what happened, and changes nothing. Its item is the name under which its class is registered."""
UPDATE_IN: Final = "update_in"
"""Changes a part of an item: its value says where, and by which of the other operators."""
EXTEND: Final = "extend"
REMOVE: Final = "remove"
SNAPSHOT: Final = "snapshot"
ONCE: Final = "once"
SKIP: Final = "skip"
CHECK: Final = "check"
PROTECT: Final = "protect"
UNPROTECT: Final = "unprotect"
SET_TAG: Final = "tag"
UNTAG: Final = "untag"
INDEX_OF: Final = "index"
"""Says which fields of a repository have an index."""
EXPIRE: Final = "expire"

SET_UNTIL: Final = "setuntil"
"""Sets a value that has an end. Users see a ``setitem``; an rstore that knows no ends refuses to read it."""
SETTLED: Final = "settled"
"""Nothing of the stream is left to be delivered."""
RESETS: Final = frozenset({SETITEM, DELITEM})
"""Operators after which the earlier value of the item no longer matters."""

_BINARY = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow),
    *(operator.matmul, operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift, operator.concat),
    *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
)
_UNARY = (operator.neg, operator.pos, operator.abs, operator.not_, operator.truth, operator.invert, operator.inv)


class Update(NamedTuple):
    """A change of a part of a value.

    Attributes:
        path: keys of dicts and places in lists, from the outside inwards; one at least.
        op: the name of an operator.
        operand: that of the operator, None if it takes none.
    """

    path: Sequence[Any]
    op: str
    operand: Any

    @classmethod
    def of(cls, value: Any) -> Update:
        """Return the update that is the value of an event, or raise ValueError."""
        is_one = isinstance(value, list | tuple) and len(value) == 3 and isinstance(value[0], list | tuple) and value[0]
        if not is_one or not isinstance(value[1], str) or value[1] not in OPERATORS or value[1] == UPDATE_IN:
            raise ValueError("update_in takes [path, operator, operand], and no operator of its own name")
        return cls(*value)


def update_in(value: Any, update: Any) -> Any:
    """Return a dict or list with a changed part; the value itself stays as it is.

    Args:
        update: path, name of an operator, and operand, as :class:`Update` has them.

    >>> update_in({'city': 'Wels', 'tags': ['a']}, [['city'], 'setitem', 'Graz'])
    {'city': 'Graz', 'tags': ['a']}
    >>> update_in({'city': 'Wels', 'tags': ['a']}, [['tags', 0], 'add', 'b'])
    {'city': 'Wels', 'tags': ['ab']}
    """
    return _updated(value, *Update.of(update))


def _updated(value: Any, path: Sequence[Any], op: str, operand: Any) -> Any:
    key, *rest = path
    if type(value) not in (dict, list, tuple) or (type(value) is not dict and type(key) is not int):
        raise TypeError(f"{type(value).__name__} has no part {key!r}")
    copy: Any = dict(value) if type(value) is dict else list(value)
    if rest:
        copy[key] = _updated(value[key], rest, op, operand)
    else:
        change_item(copy, key, op, operand)
    return tuple(copy) if type(value) is tuple else copy


def change_item(items: Any, key: Any, op: str, operand: Any) -> None:
    """Change an item of a dict, or a place in a list, by an operator.

    Raises:
        TooLargeError: the result would be too large.
        Exception: there is no such item; or whatever the operator raises on these values.

    >>> items = {'n': 1, 'm': 2}
    >>> change_item(items, 'n', 'add', 4), change_item(items, 'm', 'delitem', None), items
    (None, None, {'n': 5})
    """
    if op == SETITEM:
        items[key] = operand
    elif op == DELITEM:
        del items[key]
    else:
        items[key] = calculate(op, items[key], operand)


def calculate(op: str, old: Any, operand: Any) -> Any:
    """Return the result of an operator that calculates: of any other than ``setitem`` and ``delitem``.

    Raises:
        TooLargeError: the result would be too large.
        Exception: whatever the operator raises on these values.
    """
    function, binary = OPERATORS[op]
    check_growth(op, old, operand)
    return calculated(function, old, operand) if binary else calculated(function, old)


OPERATORS: Final[dict[str, Operator]] = {
    SETITEM: Operator(operator.setitem, binary=True),
    DELITEM: Operator(operator.delitem, binary=False),
    **{function.__name__: Operator(function, binary=True) for function in _BINARY},
    **{function.__name__: Operator(function, binary=False) for function in _UNARY},
    UPDATE_IN: Operator(update_in, binary=True),
    **{function.__name__: Operator(function, binary=function.is_binary) for function in TYPED_OPERATORS},
}
"""Name -> operator, for all changes that an event may make. A fold is pure, so in-place forms and I/O are not here."""

OF_NO_ITEM: Final = frozenset({DELETE, EVENT})
"""The operators in an event sequence that concern no item. Users have calls of their own for them."""

EVENTS: Final = OF_NO_ITEM.union(OPERATORS)
"""The operators in the records of an event sequence."""

_NAMES: Final[dict[Callable[..., Any], str]] = {row.function: name for name, row in OPERATORS.items()}


def name_of(function: object) -> str:
    """Return the name under which an operator is stored.

    Raises:
        TypeError: the table does not have it; the message lists those it has.

    >>> name_of(operator.add)
    'add'
    """
    try:
        return _NAMES[function]  # type: ignore[index]
    except (KeyError, TypeError):
        name = getattr(function, "__name__", type(function).__name__)
        raise TypeError(
            f"{name} can't be applied (to store a tuple that begins with it, write (operator.setitem, value)): "
            f"use one of the module operator's {', '.join(sorted(name for name in OPERATORS if '.' not in name))}"
        ) from None


def names_of(functions: object) -> frozenset[str]:
    """Return the names of one operator or of several, and of those that do the same to values stored as text.

    >>> sorted(names_of(operator.mul))
    ['decimal.mul', 'fraction.mul', 'mul']
    """
    each = functions if isinstance(functions, Iterable) else (functions,)
    names = frozenset(map(name_of, each))
    return names | {typed.__name__ for typed in TYPED_OPERATORS if typed.operator in names}


def parse(item: str, change: object) -> tuple[str, Any]:
    """Return ``(name, value)`` of a user's change of an item: a value, or ``(operator, value)``.

    Raises:
        TypeError: an unknown operator, one without its tuple, or a value for an operator that takes none.

    >>> parse('n', 1), parse('n', (operator.add, 1)), parse('n', (operator.neg, None))
    (('setitem', 1), ('add', 1), ('neg', None))
    """
    if _is_operator(change):
        raise TypeError(f"item {item!r}: an operator is given with its value, as (operator.{name_of(change)}, value)")
    if not (isinstance(change, tuple) and change and callable(change[0])):
        return SETITEM, change
    name = name_of(change[0])
    if len(change) != 2:
        raise TypeError(f"item {item!r}: write (operator.{name}, value), value being None for a unary operator")
    if not OPERATORS[name].binary and change[1] is not None:
        raise TypeError(f"item {item!r}: operator.{name} takes no value, write (operator.{name}, None)")
    return name, change[1]


def _is_operator(change: object) -> bool:
    return callable(change) and getattr(change, "__hash__", None) is not None and change in _NAMES
