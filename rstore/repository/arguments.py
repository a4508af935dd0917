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
from typing import Any, Final, TypeAlias
from uuid import UUID

Kept: TypeAlias = bool | Mapping[str, Collection[str]]
"""Whether arguments are kept: all, none, or all but those that a table names for each decision."""

HIDDEN: Final = "(hidden)"
_AS_TEXT: Final = (Decimal, Fraction, UUID, PurePath)
_DEPTH: Final = 20


def check_kept(kept: Kept) -> Kept:
    """Return which arguments are kept.

    Raises:
        TypeError: it is neither a bool nor a table of collections of names.
    """
    given: object = kept
    if isinstance(given, bool):
        return kept
    if not isinstance(given, Mapping) or any(isinstance(names, str) for names in given.values()):
        raise TypeError("arguments is True, False, or a table of what to hide: {'pay': ['card']}")
    return kept


def arguments_of(
    decide: Callable[..., Any], did: str, args: Sequence[Any], kwargs: Mapping[str, Any], converter: Any, kept: Kept
) -> dict[str, Any] | None:
    """Return the arguments of a decision but its first one, by name; None if they are not kept.

    What JSON can't hold is structured by the converter of the repository. Of other values there is the type.

    >>> arguments_of(lambda account, amount, by='hand': None, 'pay', [5], {}, None, True)
    {'amount': 5}
    >>> arguments_of(lambda account, amount, by='hand': None, 'pay', [5], {'by': 'card'}, None, {'pay': ['by']})
    {'amount': 5, 'by': '(hidden)'}
    """
    if kept is False:
        return None
    hidden = () if kept is True else kept.get(did, ())
    given = _named(decide, args, kwargs)
    return {name: HIDDEN if name in hidden else told(value, converter) for name, value in given.items()}


def _named(decide: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    while isinstance(decide, partial) and not decide.args:
        kwargs = {**decide.keywords, **kwargs}
        decide = decide.func
    names = _places(decide)
    if names is not None and len(args) <= len(names):
        return {**dict(zip(names, args, strict=False)), **kwargs}
    try:
        bound = inspect.signature(decide).bind(None, *args, **kwargs).arguments
    except (TypeError, ValueError):  # a built-in without a signature; or the wrong arguments, as the call will say
        return {**{str(place): value for place, value in enumerate(args, 1)}, **kwargs}
    return dict(list(bound.items())[1:])


@lru_cache(maxsize=256)
def _places(decide: Callable[..., Any]) -> tuple[str, ...] | None:
    """Return the names that positional arguments have, after the first one; None if only a binding tells."""
    try:
        parameters = inspect.signature(decide).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
        return None
    return tuple(each.name for each in parameters if each.kind != each.KEYWORD_ONLY)[1:]


def told(value: Any, converter: Any = None, depth: int = 0) -> Any:
    """Return a value as JSON can hold it; of one that JSON can't hold, the name of its type in brackets.

    >>> told({'amount': Decimal('20.90'), 'by': {'card'}, 'to': print})
    {'amount': '20.90', 'by': ['card'], 'to': '(builtin_function_or_method)'}
    """
    plain = _plain(value)
    if plain is not None or value is None:
        return plain
    if depth < _DEPTH and isinstance(value, Mapping):
        return {str(key): told(each, converter, depth + 1) for key, each in value.items()}
    if depth < _DEPTH and isinstance(value, Sequence | AbstractSet) and not isinstance(value, bytes | bytearray):
        return [told(each, converter, depth + 1) for each in value]
    if depth < _DEPTH and converter is not None:
        try:
            structured = converter.unstructure(value)
        except Exception:  # whatever a converter raises on a value of a type that it does not know
            structured = value
        if structured is not value:
            return told(structured, converter, depth + 1)
    return f"({type(value).__name__})"


def _plain(value: Any) -> Any:
    """Return a value that is a number or text, or becomes one; None if it is another."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if isfinite(value) else str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, _AS_TEXT) else None
