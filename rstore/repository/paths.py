"""Paths: the parts of a field's value that a decision names, as in ``{'address.city': 'Graz'}``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping
from typing import Any, TypeAlias

import attrs

from rstore.domain.operators import change_item
from rstore.repository.pydantic_models import is_pydantic

Path: TypeAlias = tuple[Any, ...]
"""Keys of dicts, places in lists and names of fields, from the outside inwards; empty for the field itself."""


def split_name(name: Any, fields: Container[str]) -> tuple[Any, Path]:
    """Return the field that a name in a decision begins with, and the path inside of it.

    >>> split_name('address.city', ['address']), split_name(('prices', 'a.b'), ['prices'])
    (('address', ('city',)), ('prices', ('a.b',)))
    >>> split_name('address.city', ['address.city'])  # pydantic makes such a field
    ('address.city', ())
    """
    if isinstance(name, tuple) and name:
        return name[0], name[1:]
    if not isinstance(name, str) or name in fields:
        return name, ()
    field, *path = name.split(".")
    return field, tuple(path)


def path_text(field: str, path: Path) -> str:
    """Return a path as a message shows it."""
    return ".".join(map(str, (field, *path)))


def updated(value: Any, path: Path, op: str, operand: Any) -> Any:
    """Return a value in which an operator has changed the part at a path. The value itself stays as it is.

    Raises:
        LookupError, TypeError, AttributeError: there is no such part; or whatever the operator or a class raises.
    """
    key, parts = _key_in(value, path[0]), _parts_of(value)
    if len(path) > 1:
        parts[key] = updated(parts[key], path[1:], op, operand)
    else:
        change_item(parts, key, op, operand)
    return _with_parts(value, parts)


def part_at(value: Any, path: Path) -> Any:
    """Return the part at a path; an error is that of :func:`updated`."""
    for name in path:
        key = _key_in(value, name)
        value = value[key] if isinstance(value, Mapping | list | tuple) else getattr(value, key)
    return value


def stored_path(stored: Any, path: Path, unstructure: Callable[[Any], Any]) -> list[Any]:
    """Return the path to the same part in a stored form: keys of dicts, and places in lists."""
    found = []
    for name in path:
        key = _key_in(stored, name if type(name) in (str, int) else unstructure(name))
        stored = stored.get(key) if isinstance(stored, Mapping) else stored[key]
        found.append(key)
    return found


def _key_in(value: Any, name: Any) -> Any:
    """Return the key, place or field that a name stands for in a value. A text may stand for a number."""
    if isinstance(value, Mapping):
        if name in value or not isinstance(name, str):
            return name
        return next((key for key in value if type(key) is int and str(key) == name), name)
    if isinstance(value, list | tuple):
        place = int(name) if isinstance(name, str) and name.isdecimal() else name
        if type(place) is not int or not -len(value) <= place < len(value):
            raise IndexError(f"there is no place {name} among {len(value)}")
        return place % len(value)
    if name not in _arguments_of(value):
        raise AttributeError(f"{type(value).__name__} has no field {name!r}")
    return name


def _parts_of(value: Any) -> Any:
    """Return the parts of a value in a new dict or list. A Mapping is copied as its class does it."""
    if isinstance(value, Mapping):
        return value.copy() if hasattr(value, "copy") else dict(value)
    if isinstance(value, list | tuple):
        return list(value)
    return {name: getattr(value, name) for name in _arguments_of(value)}


def _with_parts(value: Any, parts: Any) -> Any:
    """Return a value with other parts, made as its class makes it: by its constructor, with all validators.

    A field that is not among the parts gets its default.
    """
    kind = type(value)
    if isinstance(value, Mapping):
        return parts
    if isinstance(value, list | tuple):
        if hasattr(value, "_fields"):  # a named tuple, whose class takes its parts one by one
            return kind(*parts)
        return parts if kind is list else kind(parts)
    if is_pydantic(kind):
        return kind.model_validate(parts, by_alias=False, by_name=True)
    return kind(**{argument: parts[name] for name, argument in _arguments_of(value).items() if name in parts})


def _arguments_of(value: Any) -> dict[str, str]:
    """Return the argument that sets each field of an instance, by the name of the field."""
    kind = type(value)
    if attrs.has(kind):
        return {each.name: each.alias or each.name for each in attrs.fields(kind) if each.init}
    if dataclasses.is_dataclass(kind):
        return {each.name: each.name for each in dataclasses.fields(kind) if each.init}
    if is_pydantic(kind):
        return {name: name for name in kind.model_fields}
    raise TypeError(f"{kind.__name__} has no parts")
