"""The mapping between instances of a model and the states that event sequences have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args

from attrs import frozen

from rstore.domain.errors import StoreError, StoreModelError
from rstore.domain.names import check_name
from rstore.repository.fields import Field, at_fault, converter_for, fields_of, short_repr
from rstore.repository.pydantic_models import is_pydantic

M = TypeVar("M")

_FROM_ELSEWHERE: Final = (StoreError, MemoryError)
"""Errors that say nothing about a value: of a store that a user's function reads, or of the process.

A RecursionError is none of them: it mostly means a value that is nested too deeply.
"""

Unknown: TypeAlias = Literal["error", "keep", "drop"]
"""What becomes of items that are no fields: an error, or they stay, or the next decision deletes them."""

Upcast: TypeAlias = str | Callable[[Any], Mapping[str, Any]] | None
"""What became of an item that is no field any more: its new name, nothing, or a function of its value to new items."""


@frozen(eq=False)
class ModelMapping(Generic[M]):
    """Makes states of the instances of a class, and instances of states.

    Attributes:
        prefix: the beginning of their keys in the store.
        fields: the fields of the class, by name.
        upcast: for items that are no fields, what became of them.
        converter: structures the fields that are not stored as they are; None if there are none.
        unknown: what becomes of items that are no fields, and have no upcast.
    """

    model: type[M]
    prefix: str
    fields: Mapping[str, Field]
    upcast: Mapping[str, Upcast]
    converter: Any
    unknown: Unknown

    @classmethod
    def of(
        cls, model: type[M], prefix: str | None, upcast: Mapping[str, Upcast], converter: Any, unknown: Unknown
    ) -> ModelMapping[M]:
        """Return the mapping that a repository was described by; see :class:`~rstore.repository.Repository`."""
        fields = fields_of(model)
        prefix = check_name("prefix", f"{model.__name__}/" if prefix is None else prefix)
        if unknown not in get_args(Unknown):
            raise ValueError(f"unknown is 'error', 'keep' or 'drop', not {unknown!r}")
        _check_upcast(model.__name__, fields, upcast)
        converter = converter_for(model, fields) if converter is None else converter
        return cls(model, prefix, fields, dict(upcast), converter, unknown)

    @property
    def title(self) -> str:
        """The name of the class."""
        return self.model.__name__

    def name(self, key: str) -> str:
        """Return the key that an instance has in the store."""
        return self.prefix + check_name("key", key)

    # -- instances to states ------------------------------------------------------------------------------------------

    def bind(self, arguments: Mapping[str, Any]) -> None:
        """Raise a TypeError that says which argument is missing, or unknown. pydantic has rules of its own for both."""
        if not is_pydantic(self.model):
            inspect.signature(self.model).bind(**arguments)

    def make(self, key: str, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> M:
        """Return an instance; if its class fails on values that it does not refuse, the error shows ``given``."""
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

    def stored(self, key: str, name: str, value: Any) -> Any:
        """Return the value of a field in the form in which it is stored."""
        field = self.fields[name]
        if field.is_plain:
            if field.accepted is not None and not isinstance(value, field.accepted):
                problem = f"{short_repr(value)} is no {field.type_name}, but of type {type(value).__name__}"
                raise StoreModelError(key, f"field {name!r}: {problem}; nothing was stored")
            return value
        try:
            return self.converter.unstructure(value, field.type)
        except Exception as exc:  # whatever a converter raises on a value of another type
            if not _is_about_a_value(exc):
                raise
            raise self._unfit(key, name, f"{short_repr(value)} is no", exc) from exc

    def check_whole(self, key: str, names: Container[str]) -> None:
        """Raise if a field without a default is not among the names."""
        for name, field in self.fields.items():
            if name not in names and not field.has_default:
                raise StoreModelError(key, f"field {name!r} of {self.title} has no value and no default")

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the constructor that set fields to values."""
        return {self.fields[name].argument: value for name, value in values.items()}

    # -- states to instances ------------------------------------------------------------------------------------------

    def load(self, key: str, state: Mapping[str, Any], decided: Mapping[str, Any] | None = None) -> M:
        """Return the instance that a state makes. Errors show values of those fields only that are decided just now."""
        items = self.upcasted(key, state.keys(), state)
        self.check_whole(key, items)
        arguments = self.arguments({name: self._structured(key, name, items[name], decided) for name in items})
        try:
            return self.model(**arguments)
        except Exception as exc:  # whatever a user's class raises
            if not _is_about_a_value(exc):
                raise
            fault = at_fault(self.model, self.fields, arguments, exc)
            of = f"field {fault!r}: it makes no" if fault else f"{', '.join(items)} make no"
            raise StoreModelError(key, f"{of} {self.title} ({type(exc).__name__})") from exc

    def _structured(self, key: str, name: str, value: Any, decided: Mapping[str, Any] | None) -> Any:
        field = self.fields[name]
        if field.is_plain:
            return value
        try:
            return self.converter.structure(value, field.type)
        except Exception as exc:  # whatever a converter raises on a stored value
            if not _is_about_a_value(exc):
                raise
            if decided is not None and name in decided:
                raise self._unfit(key, name, f"{short_repr(decided[name])} is no", exc) from exc
            way_out = f"correct it with store.apply({self.name(key)!r}, {{{name!r}: ...}})"
            raise self._unfit(key, name, "the stored value is no", exc, way_out) from exc

    def _unfit(
        self, key: str, name: str, value_is_no: str, exc: Exception, then: str = "nothing was stored"
    ) -> StoreModelError:
        problem = f"field {name!r}: {value_is_no} {self.fields[name].type_name} ({type(exc).__name__}); {then}"
        return StoreModelError(key, problem)

    def upcasted(self, key: str, names: AbstractSet[str], state: Mapping[str, Any]) -> dict[str, Any]:
        """Return some items of a state under the names that their fields have now."""
        unknown = self.unknown_in(names) if self.unknown == "error" else []
        if unknown:
            raise StoreModelError(key, f"{unknown[0]!r} is no field of {self.title}: say in upcast= what became of it")
        items: dict[str, Any] = {}
        for item, became in self.upcast.items():
            if item in names and became is not None:
                items |= {became: state[item]} if isinstance(became, str) else self._became(key, item, became, state)
        return items | {name: state[name] for name in self.fields if name in names}

    def unknown_in(self, names: AbstractSet[str]) -> list[str]:
        """Return those names of items that are no fields, and have no upcast."""
        return sorted(names - self.fields.keys() - self.upcast.keys())

    def _became(
        self, key: str, item: str, upcast: Callable[[Any], Mapping[str, Any]], state: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        try:
            items = dict(upcast(state[item]))
        except Exception as exc:  # whatever a user's function raises
            if not _is_about_a_value(exc):
                raise
            raise StoreModelError(key, f"upcast of {item!r} fails: {type(exc).__name__}") from exc
        for name in items:
            if name not in self.fields:
                raise StoreModelError(key, f"upcast of {item!r} gives {name!r}: no field of {self.title}")
        return items


def _is_about_a_value(error: Exception) -> bool:
    """Tell whether an error of a user's function or class, or a group of them, is about the value that it was given.

    An instance that does not fit may be skipped. A store that can't be reached must not look like one.
    """
    if isinstance(error, ExceptionGroup):  # cattrs raises one with all that it finds inside of a value
        return error.subgroup(_FROM_ELSEWHERE) is None
    return not isinstance(error, _FROM_ELSEWHERE)


def _check_upcast(title: str, fields: Container[str], upcast: Mapping[str, Upcast]) -> None:
    for item, became in upcast.items():
        if item in fields:
            raise ValueError(f"upcast: {item!r} is a field of {title}, and needs none")
        if isinstance(became, str) and became not in fields:
            raise ValueError(f"upcast: {item!r} became {became!r}, which is no field of {title}")
