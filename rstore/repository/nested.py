"""The shapes of types: what a repository knows of the classes and enums that are nested in its fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Final

import attrs
from attrs import frozen

from rstore.repository.faults import is_about_a_value
from rstore.repository.fields import NO_DEFAULT, Field, fields_of
from rstore.repository.pydantic_models import PydanticConverter, is_pydantic, is_root_model, pydantic_names
from rstore.repository.shapes import Choice, Each, OneOf, Places, Record, Shape, Values
from rstore.repository.upcasts import ItemPath, Table, enum_table

_SCALARS: Final = frozenset({int, float, str, bool, bytes, type(None)})


class Shapes:
    """Finds the shape of each type, once."""

    def __init__(self, upcast: Mapping[Any, Any], converter: Any, strict: bool, is_own: bool) -> None:
        """Take the tables and the converter of a repository.

        Args:
            upcast: has the tables of enums and nested classes.
            converter: structures the values that have a shape.
            strict: whether an unknown field of a nested class is an error.
            is_own: whether the converter is rstore's: of a union, it stores the value and not which class it has.
        """
        self._upcast, self._converter, self._strict, self._is_own = upcast, converter, strict, is_own
        for kind, table in upcast.items():
            _check_kind(kind, table)
        self._enums = {kind: Choice(enum_table(kind, table)) for kind, table in upcast.items() if _is_enum(kind)}
        self._found: dict[Any, Shape | None] = {}

    def of_fields(self, fields: Mapping[str, Field]) -> dict[str, Shape]:
        """Return the shapes of those fields that have one, by name."""
        found = {name: self.of(field.type) for name, field in fields.items() if not field.is_plain}
        return {name: shape for name, shape in found.items() if shape is not None}

    def of(self, of_type: Any) -> Shape | None:
        """Return the shape of a type; None if it has no nested class, and no enum with a table."""
        of_type = _bare(of_type)
        try:
            hash(of_type)
        except TypeError:  # such as a Literal of a list
            return None
        if of_type not in self._found:
            # In itself, without a class in between, an alias or a root model has no shape. Rejected: a shape that
            # stands for itself. It would visit each value of a recursive alias, such as that of JSON, for nothing.
            self._found[of_type] = None
            self._found[of_type] = self._new(of_type)
        return self._found[of_type]

    def _new(self, of_type: Any) -> Shape | None:
        origin, arguments = typing.get_origin(of_type) or of_type, typing.get_args(of_type)
        if origin in (typing.Union, types.UnionType):
            return self._union([each for each in arguments if each is not type(None)])
        if origin is typing.Literal:
            return self._union(list({type(each): None for each in arguments if isinstance(each, Enum)}))
        if not isinstance(origin, type):
            return None
        if _has_fields(origin):
            return self._record(of_type, origin, arguments)
        if issubclass(origin, Enum):
            return self._enums.get(origin)
        return self._container(origin, arguments)

    def _container(self, origin: type, arguments: tuple[Any, ...]) -> Shape | None:
        if issubclass(origin, tuple) and hasattr(origin, "_fields"):
            return self._places(_types_in(origin))
        if origin is tuple and arguments[1:] != (...,):
            return self._places(arguments)
        if issubclass(origin, Mapping) and arguments:
            key, *value = map(self.of, arguments)  # a Counter has no type of values
            return Values(key, *value or [None]) if key or any(value) else None
        inner = self.of(arguments[0]) if issubclass(origin, Collection) and arguments else None
        return Each(inner, self._normalizing(arguments[0]), not issubclass(origin, AbstractSet)) if inner else None

    def _union(self, options: list[Any]) -> Shape | None:
        if len(options) == 1:
            return self.of(options[0])
        found = {option: shape for option in options if (shape := self.of(option)) is not None}
        records = tuple(shape for shape in found.values() if isinstance(shape, Record))
        others = tuple(shape for shape in found.values() if not isinstance(shape, Record))
        if not found:
            return None
        # a converter of the user's may say in a field of its own which class it is
        strict = self._is_own and all(option in _SCALARS or option in found for option in options)
        return OneOf(records, others, strict)

    def _places(self, options: Collection[Any]) -> Shape | None:
        inner = tuple(map(self.of, options))
        return Places(inner) if any(inner) else None

    def _record(self, of_type: Any, origin: type, arguments: tuple[Any, ...]) -> Shape | None:
        try:
            fields = _fields_in(origin)
        except (TypeError, NameError) as exc:  # the converter has a hook of its own for it, or has refused it
            if items_of(self._upcast.get(origin, {})):
                raise TypeError(f"upcast: {origin.__name__} can have no table, since {exc}") from exc
            return None
        given = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
        types_of = {name: _filled(field.type, given) for name, field in fields.items()}
        stored_names = _stored_names(origin, fields, self._converter, self._is_own)
        is_open, names = stored_names is None, frozenset(fields) if stored_names is None else stored_names
        record = Record(
            origin.__name__,
            names,
            is_open,
            frozenset(name for name, field in fields.items() if not field.has_default and name in names),
            {name: _literals(each) for name, each in types_of.items() if typing.get_origin(each) is typing.Literal},
            self._strict and not is_open,
        )
        self._found[of_type] = record  # first, since a class may lie in itself
        record.inner.update({name: shape for name, each in types_of.items() if (shape := self.of(each)) is not None})
        if rows := items_of(self._upcast.get(origin, {})):
            record.table = Table.of(record.title, rows, FieldTree(record.names, record.inner))
        return record

    def _normalizing(self, of_type: Any) -> Callable[[Any], Any]:
        converter = self._converter
        return lambda stored: converter.unstructure(converter.structure(stored, of_type), of_type)


def items_of(upcast: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the rows of a table that are about items, and not about types or versions."""
    return {str(name): became for name, became in upcast.items() if isinstance(name, str)}


@frozen(eq=False)
class FieldTree:
    """The fields of a class, and those of classes nested in it. Classes in lists and dicts are no part of it."""

    names: Collection[str]
    inner: Mapping[str, Shape]

    def has(self, path: ItemPath) -> bool:
        """Tell whether a path leads to a field."""
        around = self.around(path)
        return around is not None and path[-1] in around.names

    def around(self, path: ItemPath) -> FieldTree | None:
        """Return the fields of the class in which a path ends; None if it ends in no class."""
        tree = self
        for name in path[:-1]:
            shape = tree.inner.get(name)
            if not isinstance(shape, Record):
                return None
            tree = FieldTree(shape.names, shape.inner)
        return tree


def _bare(of_type: Any) -> Any:
    """Return the type whose stored forms a type has: without a name of its own, or what is noted beside it."""
    while True:
        if typing.get_origin(of_type) is typing.Annotated:
            of_type = typing.get_args(of_type)[0]
        elif isinstance(of_type, typing.NewType):
            of_type = of_type.__supertype__
        elif type(of_type).__name__ == "TypeAliasType":  # of typing since Python 3.12, and of typing_extensions
            of_type = of_type.__value__
        elif is_root_model(of_type):
            of_type = of_type.model_fields["root"].annotation
        else:
            return of_type


def _filled(of_type: Any, given: Mapping[Any, Any]) -> Any:
    """Return a type with its variables replaced by the types that are given for them."""
    if isinstance(of_type, typing.TypeVar):
        return given.get(of_type, Any)
    variables = () if isinstance(of_type, type) else getattr(of_type, "__parameters__", ())
    return of_type[tuple(given.get(each, Any) for each in variables)] if variables else of_type


def _literals(of_type: Any) -> tuple[Any, ...]:
    """Return the stored forms of the values of a ``Literal`` type."""
    return tuple(each.value if isinstance(each, Enum) else each for each in typing.get_args(of_type))


def _types_in(kind: type) -> Collection[Any]:
    """Return the types of the places of a named tuple; none if the converter must have a hook of its own for it."""
    try:
        return typing.get_type_hints(kind).values()
    except NameError:
        return ()


def _check_kind(kind: Any, table: Any) -> None:
    if isinstance(kind, str):
        return
    if not (isinstance(kind, type) and (issubclass(kind, Enum) or _has_fields(kind))):
        raise TypeError(f"upcast: {kind!r} is neither the name of an item, nor an enum, nor a class with fields")
    if not isinstance(table, Mapping):
        raise TypeError(f"upcast: for {kind.__name__}, write what became of what: {{'old': 'new'}}")
    if not issubclass(kind, Enum) and not all(isinstance(name, str | int) for name in table):
        raise TypeError(f"upcast: the table of {kind.__name__} has names of fields, or versions of an event")


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _has_fields(kind: type) -> bool:
    return attrs.has(kind) or dataclasses.is_dataclass(kind) or is_pydantic(kind) or typing.is_typeddict(kind)


def _fields_in(kind: type) -> dict[str, Field]:
    if not typing.is_typeddict(kind):
        return fields_of(kind)
    required: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
    hints = typing.get_type_hints(kind)
    return {name: Field.of(name, each, NO_DEFAULT if name in required else None) for name, each in hints.items()}


def _stored_names(kind: Any, fields: Collection[str], converter: Any, is_own: bool) -> frozenset[str] | None:
    """Return the names that the fields of a class have when they are stored; None if only its own hook knows."""
    if is_pydantic(kind):
        return pydantic_names(kind, fields)
    if isinstance(converter, PydanticConverter):  # it stores also those fields that no argument sets
        is_dataclass = dataclasses.is_dataclass(kind)
        return pydantic_names(kind, [each.name for each in dataclasses.fields(kind)] if is_dataclass else fields)
    try:
        overrides = getattr(converter.get_structure_hook(kind), "overrides", None)
        is_open = not is_own and getattr(converter.get_unstructure_hook(kind), "overrides", None) is None
    except Exception as exc:  # a converter of the user's: whatever it raises for a class that it does not know
        if not is_about_a_value(exc):
            raise
        return None
    if overrides is None or is_open:  # a function that cattrs has not written for the class
        return None
    aliased = attrs.has(kind) and getattr(converter, "use_alias", False)
    alias = {each.name: each.alias for each in attrs.fields(kind)} if aliased else {}
    renamed = {name: getattr(each, "rename", None) for name, each in overrides.items()}
    return frozenset(renamed.get(name) or alias.get(name) or name for name in fields)
