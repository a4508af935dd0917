"""What values share with the stored forms that they are made of, told from their types.

Folded states are cached, and callers may change what they get. So a stored form is copied before a value is made of it,
unless its type tells that the value shares nothing with it that could change.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import fractions
import pathlib
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any, Final

import attrs

from rstore.repository.fields import Field, hints_of
from rstore.repository.pydantic_models import PydanticConverter, is_pydantic


class Sharing(IntEnum):
    """What a value may share with its stored form, or with other values of the same stored form."""

    UNKNOWN = 0
    """It may hold parts of its stored form."""
    FRESH = 1
    """It holds no part of its stored form that can change."""
    FROZEN = 2
    """Nobody can change it, so that one value serves all."""


_FROZEN: Final = frozenset({
    int, float, str, bool, bytes, type(None), decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.Path,
    pathlib.PurePath, datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
})  # fmt: skip
_CONTAINERS: Final[Mapping[Any, Sharing]] = {
    tuple: Sharing.FROZEN,
    frozenset: Sharing.FROZEN,
    list: Sharing.FRESH,
    set: Sharing.FRESH,
    dict: Sharing.FRESH,
    collections.abc.Sequence: Sharing.FRESH,
    collections.abc.Mapping: Sharing.FRESH,
}


def sharing_of(fields: Mapping[str, Field], converter: Any, is_own: bool) -> dict[str, Sharing]:
    """Return what the values of fields share with their stored forms, by name; for those that are not plain.

    A converter of the user's may do anything. pydantic reads stored forms as JSON.
    """
    structured = [name for name, field in fields.items() if not field.is_plain]
    if not is_own:
        return dict.fromkeys(structured, Sharing.UNKNOWN)
    if isinstance(converter, PydanticConverter):
        return dict.fromkeys(structured, Sharing.FRESH)
    return {name: _sharing(fields[name].type) for name in structured}


def _sharing(of_type: Any, around: frozenset[Any] = frozenset()) -> Sharing:
    """Return what values of a type share; of a class that lies in one ``around`` it, the other fields tell."""
    while isinstance(of_type, typing.NewType):
        of_type = of_type.__supertype__
    origin, arguments = typing.get_origin(of_type) or of_type, typing.get_args(of_type)
    if origin is typing.Literal:
        return min(_sharing(type(each), around) for each in arguments)
    if arguments:
        is_union = origin in (typing.Union, types.UnionType)
        own = Sharing.FROZEN if is_union else _CONTAINERS.get(origin, Sharing.UNKNOWN)
        return min(own, *(_sharing(each, around) for each in arguments if each is not Ellipsis))
    return _sharing_of_class(origin, around) if isinstance(origin, type) else Sharing.UNKNOWN


def _sharing_of_class(kind: Any, around: frozenset[Any]) -> Sharing:
    if kind in _FROZEN or kind in around or issubclass(kind, Enum):
        return Sharing.FROZEN
    if is_pydantic(kind):
        return Sharing.FRESH
    try:
        fields: Any = attrs.fields(kind) if attrs.has(kind) else dataclasses.fields(kind)
        hints = hints_of(kind)
    except TypeError:  # it has none, or the converter has a hook of its own for it
        return Sharing.UNKNOWN
    of_fields = [_sharing(hints.get(each.name, Any), around | {kind}) for each in fields if each.init]
    as_given = all(each.init and getattr(each, "converter", None) is None for each in fields)
    own = Sharing.FROZEN if as_given and _is_frozen(kind, [each.name for each in fields]) else Sharing.FRESH
    return min([own, *of_fields])


def _is_frozen(kind: type, names: Sequence[str]) -> bool:
    try:
        for name in names:
            setattr(object.__new__(kind), name, None)
    except (attrs.exceptions.FrozenError, dataclasses.FrozenInstanceError):
        return True
    except Exception:  # whatever a class of the user's raises
        return False
    return False
