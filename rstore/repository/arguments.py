"""The arguments of a decision, as its commit keeps them: for people and programs that read the log."""

from __future__ import annotations

import datetime
import enum
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache, partial
from math import isfinite
from pathlib import PurePath
from types import FunctionType
from typing import Any, Final, TypeAlias
from uuid import UUID

from rstore.repository.faults import is_about_a_value

Kept: TypeAlias = bool | Mapping[str, Collection[str]]
"""Whether arguments are kept: all, none, or all but those that a table names for each decision."""

HIDDEN: Final = "(hidden)"
_AS_TEXT: Final = (Decimal, Fraction, UUID, PurePath, range)
_BYTES: Final = (bytes, bytearray, memoryview)
_DEPTH: Final = 20
_INT_BITS: Final = 14_000  # some 4,200 digits: Python reads and writes no number of more than 4,300


def check_kept(kept: Kept) -> Kept:
    """Return which arguments are kept.

    Raises:
        TypeError: it is neither a bool nor a table of collections of names.
    """
    option: object = kept
    if isinstance(option, bool):
        return kept
    if not isinstance(option, Mapping) or any(isinstance(names, str) for names in option.values()):
        raise TypeError("arguments is True, False, or a table of what to hide: {'pay': ['card']}")
    return kept


def arguments_of(
    decide: Callable[..., Any], did: str, args: Sequence[Any], kwargs: Mapping[str, Any], converter: Any, kept: Kept
) -> dict[str, Any] | None:
    """Return the arguments of a decision but its first one, by name; None if they are not kept.

    What JSON can't hold is structured by the converter of the repository. Of other values there is the type: no
    decision fails because the log can't hold an argument.

    >>> arguments_of(lambda account, amount, by='hand': None, 'pay', [5], {}, None, True)
    {'amount': 5}
    >>> arguments_of(lambda account, amount, by='hand': None, 'pay', [5], {'by': 'card'}, None, {'pay': ['by']})
    {'amount': 5, 'by': '(hidden)'}
    """
    if kept is False:
        return None
    hidden = () if kept is True else kept.get(did, ())
    values = _by_name(decide, args, kwargs, hidden)
    return {_text(name): HIDDEN if name in hidden else as_json(value, converter) for name, value in values.items()}


def _by_name(
    decide: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], hidden: Collection[str]
) -> Mapping[str, Any]:
    while isinstance(decide, partial) and not decide.args:
        kwargs = {**decide.keywords, **kwargs}
        decide = decide.func
    # here, since a function that takes **more has them all below one name
    kwargs = {name: HIDDEN if name in hidden else value for name, value in kwargs.items()}
    names = _positional(decide) if isinstance(decide, FunctionType) else None  # other callables may have no hash
    if names is not None and len(args) <= len(names):
        return {**dict(zip(names, args, strict=False)), **kwargs}
    try:
        bound = inspect.signature(decide).bind(None, *args, **kwargs).arguments
    except (TypeError, ValueError):  # a built-in without a signature; or the wrong arguments, as the call will say
        return {**{str(place): value for place, value in enumerate(args, 1)}, **kwargs}
    return dict(list(bound.items())[1:])


@lru_cache(maxsize=256)
def _positional(decide: FunctionType) -> tuple[str, ...] | None:
    """Return the names that positional arguments have, after the first one; None if only a binding tells."""
    try:
        parameters = inspect.signature(decide).parameters.values()
    except (TypeError, ValueError):  # it wraps a built-in without a signature
        return None
    if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
        return None
    return tuple(each.name for each in parameters if each.kind != each.KEYWORD_ONLY)[1:]


def as_json(value: Any, converter: Any = None, around: frozenset[int] = frozenset()) -> Any:
    """Return a value as JSON can hold it; of one that JSON can't hold, the name of its type in brackets.

    Args:
        around: the ids of the values that this one lies in. One that lies in itself has no end.

    >>> as_json({'amount': Decimal('20.90'), 'by': {'card'}, 'to': print})
    {'amount': '20.90', 'by': ['card'], 'to': '(builtin_function_or_method)'}
    """
    plain = _plain(value)
    if plain is not None or value is None:
        return plain
    if len(around) == _DEPTH or id(value) in around:
        return _type_of(value)
    try:
        return _parts_as_json(value, converter, around | {id(value)})
    except Exception as exc:
        # A hook or a class of the user may raise anything for a value that it was not written for. To raise would
        # refuse the decision for the sake of its note. Only an error of the store or the process is not of the value.
        if not is_about_a_value(exc):
            raise
        return _type_of(value)


def _parts_as_json(value: Any, converter: Any, inside: frozenset[int]) -> Any:
    if isinstance(value, Mapping):
        return {_text(key): as_json(each, converter, inside) for key, each in value.items()}
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, _BYTES):
        return [as_json(each, converter, inside) for each in value]
    structured = value if converter is None else converter.unstructure(value)
    return _type_of(value) if structured is value else as_json(structured, converter, inside)


def _type_of(value: Any) -> str:
    return f"({type(value).__name__})"


def _plain(value: Any) -> Any:
    """Return a value that is a number or text, or becomes one; None if it is another."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, bool | int):
        return value if value.bit_length() <= _INT_BITS else None
    if isinstance(value, float):
        return float(value) if isfinite(value) else str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, str):
        return _utf8(value)
    return _text(value) if isinstance(value, _AS_TEXT) else None


def _text(value: Any) -> str:
    """Return the text of a value; the name of its type if it has none, as a number of too many digits has none."""
    try:
        return _utf8(str(value))
    except Exception as exc:  # whatever a user's class raises
        if not is_about_a_value(exc):
            raise
        return _type_of(value)


def _utf8(text: str) -> str:
    """Return a text without lone surrogates, which UTF-8 can't hold."""
    is_plain = type(text) is str and text.isascii()
    return text if is_plain else text.encode("utf-8", "backslashreplace").decode()
