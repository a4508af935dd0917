"""The mapping between instances of a model and the states that event sequences have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

from attrs import frozen

from rstore.domain.errors import StoreModelError
from rstore.domain.event_state import loaded
from rstore.domain.names import check_name
from rstore.encoding.envelope import ATOMS
from rstore.models.event_states import copied_value
from rstore.repository.faults import UnfitError, fault_within, is_about_a_value, place_text
from rstore.repository.fields import (
    Field,
    at_fault,
    converter_for,
    fault_of,
    fields_of,
    hooks_of,
    options_of,
    short_repr,
)
from rstore.repository.nested import FieldTree, Shapes, items_of
from rstore.repository.pydantic_models import is_pydantic
from rstore.repository.shapes import Shape
from rstore.repository.sharing import Sharing, sharing_of
from rstore.repository.upcasts import Table, Upcasts

M = TypeVar("M")

Unknown: TypeAlias = Literal["error", "keep", "drop"]
"""What becomes of items that are no fields: an error, or they stay, or the next decision deletes them."""

Made: TypeAlias = dict[str, tuple[Any, Any]]
"""By field, a stored form, and the value that was made of it, which nobody can change."""


@frozen(eq=False)
class ModelMapping(Generic[M]):
    """Makes states of the instances of a class, and instances of states.

    Attributes:
        prefix: the beginning of their keys in the store.
        fields: the fields of the class, by name.
        upcast: the rows and tables for earlier versions, as the user has written them.
        table: that of the items; None if there are no rows.
        shapes: for the fields with nested classes or upcast enums inside, the shapes of their stored forms.
        converter: structures the fields that are not stored as they are; None if there are none.
        is_own: whether the converter is rstore's, and not the user's.
        hooks: the functions of the converter that load these fields.
        sharing: what their values share with their stored forms.
        unknown: what becomes of items that are no fields, and have no upcast.
    """

    model: type[M]
    prefix: str
    fields: Mapping[str, Field]
    upcast: Upcasts
    table: Table | None
    shapes: Mapping[str, Shape]
    converter: Any
    is_own: bool
    hooks: Mapping[str, Callable[[Any, Any], Any]]
    sharing: Mapping[str, Sharing]
    unknown: Unknown

    @classmethod
    def of(
        cls, model: type[M], prefix: str | None, upcast: Upcasts, converter: Any, unknown: Unknown
    ) -> ModelMapping[M]:
        """Return the mapping that a repository was described by; see :class:`~rstore.repository.Repository`."""
        fields = fields_of(model)
        prefix = check_name("prefix", f"{model.__name__}/" if prefix is None else prefix)
        if unknown not in get_args(Unknown):
            raise ValueError(f"unknown is 'error', 'keep' or 'drop', not {unknown!r}")
        is_own = converter is None
        converter = converter_for(model, fields) if is_own else converter
        shapes = Shapes(upcast, converter, unknown == "error", is_own).of_fields(fields)
        rows = items_of(upcast)
        table = Table.of(model.__name__, rows, FieldTree(fields, shapes)) if rows else None
        hooks = hooks_of(converter, fields, is_own)
        sharing = sharing_of(fields, converter, is_own)
        return cls(model, prefix, fields, dict(upcast), table, shapes, converter, is_own, hooks, sharing, unknown)

    @property
    def title(self) -> str:
        """The name of the class."""
        return self.model.__name__

    @property
    def options(self) -> dict[str, Any]:
        """The options of the user, besides class and prefix."""
        return {"upcast": self.upcast, "converter": None if self.is_own else self.converter, "unknown": self.unknown}

    def name(self, key: str) -> str:
        """Return the key that an instance has in the store."""
        return self.prefix + check_name("key", key)

    # -- instances to states ------------------------------------------------------------------------------------------

    def bind(self, arguments: Mapping[str, Any]) -> None:
        """Raise a TypeError that says which argument is missing, or unknown. pydantic has rules of its own for both."""
        if not is_pydantic(self.model):
            inspect.signature(self.model).bind(**arguments)

    def make(self, key: str, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> M:
        """Return an instance. If its class fails on values without refusing them, the error shows those ``given``."""
        try:
            return self.model(**arguments)
        except (AttributeError, TypeError, ArithmeticError) as exc:  # what values of a wrong type come to
            values = ", ".join(f"{name}={short_repr(value)}" for name, value in given.items())
            raise StoreModelError(
                key, f"{values} makes no {self.title} ({type(exc).__name__}: {exc}); nothing was stored"
            ) from exc
        except Exception as exc:  # a rule of the class itself that was broken
            exc.add_note(f"rstore: of {self.title} {key!r}; nothing was stored")
            raise

    def values(self, instance: M) -> dict[str, Any]:
        """Return the values of an instance, by field."""
        return {name: getattr(instance, name) for name in self.fields}

    def state(self, key: str, instance: M) -> dict[str, Any]:
        """Return the state that stores an instance."""
        return {name: self.stored(key, name, value) for name, value in self.values(instance).items()}

    def stored(self, key: str, name: str, value: Any, before: Any = None) -> Any:
        """Return the value of a field in the form in which it is stored.

        Args:
            before: the stored form that it replaces, of which unknown fields of nested classes are kept.
        """
        field = self.fields[name]
        if field.is_plain:
            if field.accepted is not None and not isinstance(value, field.accepted):
                problem = f"{short_repr(value)} is no {field.type_name}, but of type {type(value).__name__}"
                raise StoreModelError(key, f"field {name!r}: {problem}; nothing was stored")
            return value
        try:
            stored = self.converter.unstructure(value, field.type)
        except Exception as exc:  # whatever a converter raises on a value of another type
            if not is_about_a_value(exc):
                raise
            raise self._unfit(key, name, f"{short_repr(value)} is no", exc) from exc
        if before is None or self.unknown != "keep" or name not in self.shapes:
            return stored
        return self.shapes[name].keep(stored, before if self.table is None else self.table.retype(name, before))

    def check_whole(self, key: str, names: Collection[str]) -> None:
        """Raise if a field without a default is not among the names."""
        if len(names) == len(self.fields):  # and all of them are fields
            return
        for name, field in self.fields.items():
            if name not in names and not field.has_default:
                raise StoreModelError(key, f"field {name!r} of {self.title} has no value and no default")

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the constructor that set fields to values."""
        return {self.fields[name].argument: value for name, value in values.items()}

    # -- states to instances ------------------------------------------------------------------------------------------

    def load(
        self,
        key: str,
        state: Mapping[str, Any],
        decided: Mapping[str, Any] | None = None,
        made: Made | None = None,
    ) -> M:
        """Return the instance that a state makes. It shares nothing with the state that could change.

        Args:
            decided: the values that were decided just now: an error shows only these.
            made: what other loads have made. This load takes values from there, and adds its own.
        """
        for value in state.values():
            loaded(value)
        items = self.upcasted(key, state.keys(), state)
        self.check_whole(key, items)
        arguments = self.arguments({name: self._value(key, name, items[name], decided, made) for name in items})
        try:
            return self.model(**arguments)
        except Exception as exc:  # whatever a user's class raises
            if not is_about_a_value(exc):
                raise
            fault = at_fault(self.model, self.fields, arguments, exc)
            of = f"field {fault!r}: it makes no" if fault else f"{', '.join(items)} make no"
            raise StoreModelError(key, f"{of} {self.title} ({type(exc).__name__})") from exc

    def _value(
        self,
        key: str,
        name: str,
        stored: Any,
        decided: Mapping[str, Any] | None,
        made: Made | None,
    ) -> Any:
        """Return the value of a field, which shares nothing with the stored form that could change."""
        if self.fields[name].is_plain:
            return stored if type(stored) in ATOMS else copied_value(name, stored)
        if type(stored) in ATOMS:
            return self._structured(key, name, stored, decided)
        sharing = self.sharing[name]
        if sharing is Sharing.UNKNOWN:
            return self._structured(key, name, copied_value(name, stored), decided)
        if made is None or sharing is not Sharing.FROZEN:
            return self._structured(key, name, stored, decided)
        if name not in made or made[name][0] is not stored:
            made[name] = stored, self._structured(key, name, stored, decided)
        return made[name][1]

    def _structured(self, key: str, name: str, value: Any, decided: Mapping[str, Any] | None) -> Any:
        field = self.fields[name]
        shape = self.shapes.get(name)
        try:
            return self.hooks[name](value if shape is None else shape.read(value), field.type)
        except UnfitError as exc:
            raise self._misplaced(key, exc.within(name)) from exc.__cause__
        except Exception as exc:  # whatever a converter raises on a stored value
            if not is_about_a_value(exc):
                raise
            if decided is not None and name in decided:
                raise self._unfit(key, name, f"{short_repr(decided[name])} is no", exc) from exc
            raise self._unloadable(key, name, value, exc) from exc

    def _unloadable(self, key: str, name: str, value: Any, exc: Exception) -> StoreModelError:
        """Return the error of a stored value that a converter refuses: the place in it, and a way to mend it."""
        of_type, shape = self.fields[name].type, self.shapes.get(name)
        if self.is_own and not is_pydantic(self.model):
            exc = fault_of(of_type, value if shape is None else shape.read(value), exc)
        place, wanted, _ = fault_within(exc, of_type)
        enums = [each for each in options_of(wanted) if isinstance(each, type) and issubclass(each, Enum)]
        then = f"correct it with store.apply({self.name(key)!r}, {{{name!r}: ...}})"
        if enums:
            then = f"say in upcast={{{enums[0].__name__}: ...}} what its earlier values are now, or {then}"
        inside = f" in {place_text((name, *place))!r}" if place else ""
        return self._unfit(key, name, "the stored value is no", exc, then, inside)

    def _unfit(
        self, key: str, name: str, value_is_no: str, exc: Exception, then: str = "nothing was stored", inside: str = ""
    ) -> StoreModelError:
        problem = f"field {name!r}: {value_is_no} {self.fields[name].type_name} ({type(exc).__name__}{inside}); {then}"
        return StoreModelError(key, problem)

    def upcasted(self, key: str, names: AbstractSet[str], state: Mapping[str, Any]) -> dict[str, Any]:
        """Return some items of a state under the names that their fields have now."""
        all_known = self.unknown != "error" or names <= self.fields.keys()
        unknown = [] if all_known else self.unknown_in(names)
        if unknown:
            raise StoreModelError(key, f"{unknown[0]!r} is no field of {self.title}: say in upcast= what became of it")
        if self.table is None:
            return {name: state[name] for name in self.fields if name in names}
        try:
            items = self.table.applied({item: value for item, value in state.items() if item in names})
        except UnfitError as exc:
            raise self._misplaced(key, exc) from exc.__cause__
        return {name: items[name] for name in self.fields if name in items}

    def _misplaced(self, key: str, fault: UnfitError) -> StoreModelError:
        where = f"field {place_text(fault.place)!r}: " if fault.place else ""
        return StoreModelError(key, f"{where}{fault.problem}")

    def unknown_in(self, names: AbstractSet[str]) -> list[str]:
        """Return those names of items that are no fields, and have no upcast."""
        return sorted(names - self.fields.keys() - self.upcast.keys())
