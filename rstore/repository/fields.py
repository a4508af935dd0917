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
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import attrs

from rstore.repository.faults import is_about_a_value
from rstore.repository.pydantic_models import PydanticConverter, is_pydantic, pydantic_fields, refused_argument

_PLAIN: Final = frozenset({int, float, str, bool, bytes, type(None), Any})
_LONGEST_REPR: Final = 100
NO_DEFAULT: Final = object()
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
    """A field of a model: the argument that sets it, its type, and whether its values are stored as they are.

    ``accepted`` has the types that a plain value may have; None if there are no limits.
    """

    argument: str
    type: Any
    is_plain: bool
    has_default: bool
    accepted: tuple[type, ...] | None

    @classmethod
    def of(cls, argument: str, of_type: Any, default: Any) -> Field:
        """Return the field of an argument. The default is :data:`NO_DEFAULT` if there is none."""
        options = options_of(of_type)
        is_plain = _PLAIN.issuperset(options)
        accepted = None if not is_plain or Any in options else _accepted(options, default)
        return cls(argument, of_type, is_plain, default is not NO_DEFAULT, accepted)

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
            each.name: (each.alias or each.name, each.type, each.default) for each in attrs.fields(model) if each.init
        }
    elif dataclasses.is_dataclass(model):
        found = {each.name: (each.name, each.type, _default(each)) for each in dataclasses.fields(model) if each.init}
    elif is_pydantic(model):
        return {name: Field.of(*each) for name, each in pydantic_fields(model, NO_DEFAULT).items()}
    else:
        raise TypeError(f"{model.__name__} is neither an attrs class, nor a dataclass, nor a pydantic model")
    hints = hints_of(model)
    return {
        name: Field.of(
            argument,
            hints.get(name, Any if of_type is None else of_type),
            NO_DEFAULT if default is attrs.NOTHING or default is dataclasses.MISSING else default,
        )
        for name, (argument, of_type, default) in found.items()
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default is not dataclasses.MISSING else field.default_factory


def hints_of(model: type[Any]) -> dict[str, Any]:
    """Return the types of the names of a class.

    Raises:
        TypeError: one of them can't be found.
    """
    try:
        return typing.get_type_hints(model)
    except NameError as exc:
        raise TypeError(f"a type of {model.__name__} can't be found where the class is: {exc}") from exc


def options_of(of_type: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the one type."""
    is_union = typing.get_origin(of_type) in (typing.Union, types.UnionType)
    return typing.get_args(of_type) if is_union else (of_type,)


def _accepted(options: tuple[type, ...], default: Any) -> tuple[type, ...]:
    """Return the types whose values a type checker accepts: also an int for a float. None may be a default of any."""
    return (*options, *([int] if float in options else []), *([type(None)] if default is None else []))


def converter_for(model: type[Any], fields: Mapping[str, Field]) -> Any:
    """Return a converter that structures the fields of a class that are not plain; None if all are."""
    structured = {name: field.type for name, field in fields.items() if not field.is_plain}
    if not structured:
        return None
    converter = PydanticConverter() if is_pydantic(model) else _cattrs_for(model, structured)
    for name, of_type in structured.items():
        try:
            converter.get_structure_hook(of_type)
        except Exception as exc:
            # several, by the version of the converter, and whatever the annotations of a nested class raise when they
            # are evaluated: the caller is promised a TypeError for a field that can't be structured, whatever it lacks
            if not is_about_a_value(exc):
                raise
            raise TypeError(f"{name} of {model.__name__} can't be structured: pass a converter= that can") from exc
    return converter


def hooks_of(converter: Any, fields: Mapping[str, Field], is_own: bool) -> dict[str, Callable[[Any, Any], Any]]:
    """Return the functions of a stored form and a type that load the fields that are not plain.

    cattrs looks its function up at each load, for a quarter of the time of a small field. A converter of the user's may
    do something else in ``structure``.
    """
    direct = is_own and not isinstance(converter, PydanticConverter)
    structured = {name: field.type for name, field in fields.items() if not field.is_plain}
    return {
        name: converter.get_structure_hook(of_type) if direct else converter.structure
        for name, of_type in structured.items()
    }


def fault_of(of_type: Any, stored: Any, error: Exception) -> Exception:
    """Return the error of a stored form that rstore's converter has refused, with the places that cattrs notes.

    They are asked for only then: without them, a list of nested classes loads in less time. Where the store fails
    meanwhile, the places stay unknown.
    """
    try:
        _noting_places().structure(stored, of_type)
    except Exception as noted:  # whatever a user's class raises, as it did before
        return noted if is_about_a_value(noted) else error
    return error


@cache
def _noting_places() -> Any:
    from cattrs.preconf.json import make_converter

    return _with_hooks(make_converter(detailed_validation=True))


def _cattrs_for(model: type[Any], structured: Collection[str]) -> Any:
    try:
        from cattrs.preconf.json import make_converter
    except ImportError:
        raise ImportError(
            f"{', '.join(structured)} of {model.__name__} can't be stored as they are, but structured with cattrs: "
            "pip install 'rlib-store[models]'"
        ) from None
    return _with_hooks(make_converter(detailed_validation=False))


def _with_hooks(converter: Any) -> Any:
    for of_type, parse_text in _AS_TEXT.items():
        converter.register_unstructure_hook(of_type, str)
        converter.register_structure_hook(of_type, _parsing(parse_text))
    converter.register_unstructure_hook(datetime.timedelta, lambda duration: duration // _MICROSECOND)
    converter.register_structure_hook(datetime.timedelta, lambda number, _: number * _MICROSECOND)
    nested = PydanticConverter()
    converter.register_unstructure_hook_func(is_pydantic, lambda value: nested.unstructure(value, type(value)))
    converter.register_structure_hook_func(is_pydantic, nested.structure)
    return converter


def _parsing(parse_text: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda text, _: parse_text(text)


def short_repr(value: Any) -> str:
    """Return a value as a message shows it: of a long one the beginning."""
    try:
        text = repr(value)
    except Exception:  # whatever a user's class raises: an error about a value must not be replaced by one of its repr
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."


def at_fault(
    model: type[Any], fields: Mapping[str, Field], arguments: Mapping[str, Any], error: Exception
) -> str | None:
    """Return the first field whose value the class refuses by itself; None if no such field is known."""
    if not attrs.has(model):
        refused = refused_argument(error)
        return next((name for name, field in fields.items() if field.argument == refused), None)
    for attribute in attrs.fields(model):
        argument = attribute.alias or attribute.name
        if argument not in arguments:
            continue
        try:
            value = _converted(attribute, arguments[argument])
            if attribute.validator is not None:
                attribute.validator(None, attribute, value)
        except AttributeError:  # the converter or validator asked for the instance, and there is none
            continue
        except Exception as exc:  # whatever a user's class raises
            if not is_about_a_value(exc):
                raise
            return str(attribute.name)
    return None


def _converted(attribute: attrs.Attribute[Any], value: Any) -> Any:
    """Return a value as the converter of its attribute leaves it, without an instance."""
    convert: Any = attribute.converter
    if hasattr(convert, "takes_self"):  # an attrs.Converter, which attrs has since 24.1
        return convert(value, None, attribute)
    return value if convert is None else convert(value)
