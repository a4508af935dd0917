"""The fields of domain models: the argument that sets each, its type, and how its values are stored."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import fractions
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import attrs

_PLAIN: Final = frozenset({int, float, str, bool, bytes, type(None), Any})
_SHOWN: Final = 100
_MICROSECOND: Final = datetime.timedelta(microseconds=1)

_AS_TEXT: Final[Mapping[type, Callable[[Any], Any]]] = {
    decimal.Decimal: decimal.Decimal,
    fractions.Fraction: fractions.Fraction,
    uuid.UUID: uuid.UUID,
    pathlib.Path: pathlib.Path,
    pathlib.PurePath: pathlib.PurePath,
    datetime.time: datetime.time.fromisoformat,
}
"""Types whose values are stored as ``str(value)``, and the function that parses it. cattrs itself knows the others."""


class Field(NamedTuple):
    """A field of a model: the argument that sets it, its type, and whether its values are stored as they are."""

    argument: str
    type: Any
    is_plain: bool
    has_default: bool

    @property
    def type_name(self) -> str:
        """The name of the type in a message."""
        return self.type.__name__ if isinstance(self.type, type) else str(self.type)


def fields_of(model: type[Any]) -> dict[str, Field]:
    """Return the fields of a class that its constructor sets, by name."""
    if not isinstance(model, type):
        raise TypeError(f"a model is a class, not {model!r}")
    if attrs.has(model):
        found = {
            field.name: (field.alias or field.name, field.type, field.default is not attrs.NOTHING)
            for field in attrs.fields(model)
            if field.init
        }
    elif dataclasses.is_dataclass(model):
        none = dataclasses.MISSING
        found = {
            field.name: (field.name, field.type, field.default is not none or field.default_factory is not none)
            for field in dataclasses.fields(model)
            if field.init
        }
    else:
        raise TypeError(f"{model.__name__} is neither an attrs class nor a dataclass")
    hints = _hints(model)
    given = {name: hints.get(name, Any if of_type is None else of_type) for name, (_, of_type, _) in found.items()}
    return {
        name: Field(argument, given[name], _is_plain(given[name]), has_default)
        for name, (argument, _, has_default) in found.items()
    }


def _hints(model: type[Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(model)
    except NameError as exc:
        raise TypeError(f"a type of {model.__name__} can't be found where the class is: {exc}") from exc


def _is_plain(of_type: Any) -> bool:
    """Tell whether values of a type are stored as they are: unions of plain types are, too."""
    options = typing.get_args(of_type) if typing.get_origin(of_type) in (typing.Union, types.UnionType) else (of_type,)
    return all(option in _PLAIN for option in options)


def converter_for(model: type[Any], fields: Mapping[str, Field]) -> Any:
    """Return a converter that structures the fields of a class that are not plain; None if all are."""
    structured = {name: field.type for name, field in fields.items() if not field.is_plain}
    if not structured:
        return None
    try:
        from cattrs.preconf.json import make_converter
    except ImportError:
        raise ImportError(
            f"{', '.join(structured)} of {model.__name__} can't be stored as they are, but structured with cattrs: "
            "pip install 'rlib-store[models]'"
        ) from None
    converter = make_converter()
    for of_type, parse_text in _AS_TEXT.items():
        converter.register_unstructure_hook(of_type, str)
        converter.register_structure_hook(of_type, _parsing(parse_text))
    converter.register_unstructure_hook(datetime.timedelta, lambda duration: duration // _MICROSECOND)
    converter.register_structure_hook(datetime.timedelta, lambda number, _: number * _MICROSECOND)
    for name, of_type in structured.items():
        try:
            converter.get_structure_hook(of_type)
        except Exception as exc:  # cattrs has several, by version
            raise TypeError(f"{name} of {model.__name__} can't be structured: pass a converter= that can") from exc
    return converter


def _parsing(parse_text: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda text, _: parse_text(text)


def shown(value: Any) -> str:
    """Return a value as a message shows it: of a long one the beginning."""
    try:
        text = repr(value)
    except Exception:  # whatever a user's class raises
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def at_fault(model: type[Any], arguments: Mapping[str, Any]) -> str | None:
    """Return the field of an attrs class whose own converter or validator refuses its value; None if there is none."""
    if not attrs.has(model):
        return None
    for field in attrs.fields(model):
        argument = field.alias or field.name
        if argument not in arguments:
            continue
        try:
            value = arguments[argument]
            value = value if field.converter is None else field.converter(value)
            if field.validator is not None:
                field.validator(None, field, value)
        except AttributeError:  # the validator asked for the instance, and there is none
            continue
        except Exception:
            return str(field.name)
    return None
