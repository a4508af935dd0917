"""pydantic models as domain models. A class that is one has imported pydantic: nothing here imports it before."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from math import isnan
from typing import Any


def is_pydantic(model: Any) -> bool:
    """Tell whether a class is a pydantic model."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(model, type) and issubclass(model, base)


def pydantic_fields(model: Any, no_default: object) -> dict[str, tuple[str, Any, Any]]:
    """Return argument, type and default of the fields of a pydantic model, by name.

    Raises:
        TypeError: it keeps extra values, or has a type that can't be found or an alias that no argument has.
    """
    if model.model_config.get("extra") == "allow":
        raise TypeError(f"{model.__name__} allows extra values, and a repository stores fields only")
    try:
        model.model_rebuild()
    except NameError as exc:  # PydanticUndefinedAnnotation is one
        raise TypeError(f"a type of {model.__name__} can't be found where the class is: {exc}") from exc
    found = {}
    for name, field in model.model_fields.items():
        default = no_default if field.is_required() else field.default_factory or field.default
        found[name] = (_argument(model, name, field.validation_alias), field.annotation, default)
    return found


def is_root_model(model: Any) -> bool:
    """Tell whether a class is a pydantic model that is stored as its one value, and not as fields."""
    return is_pydantic(model) and bool(model.__pydantic_root_model__)


def pydantic_names(kind: Any, fields: Collection[str]) -> frozenset[str] | None:
    """Return the names that pydantic stores for a class with fields.

    They are None if the class has validators or serializers of its own for the whole of it.
    """
    decorators = getattr(kind, "__pydantic_decorators__", None)
    if decorators is None:  # a dataclass of the standard library, or a TypedDict
        return frozenset(fields)
    whole = any(each.info.mode != "after" for each in decorators.model_validators.values())
    return None if whole or decorators.model_serializers else frozenset({*fields, *decorators.computed_fields})


def _argument(model: Any, name: str, alias: Any) -> str:
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    if alias is None or by_name:
        return name
    choices = [each for each in getattr(alias, "choices", [alias]) if isinstance(each, str)]
    if not choices:
        raise TypeError(f"no argument of {model.__name__} sets {name}: give it an alias that is a text")
    return str(choices[0])


def refused_argument(error: Exception) -> str | None:
    """Return the argument that a pydantic model refuses first, by its name or alias; None for any other error.

    The error may also be of another model, which the class has made of its fields: no argument has that name then.
    """
    kind = getattr(sys.modules.get("pydantic"), "ValidationError", None)
    if kind is None or not isinstance(error, kind):
        return None
    places = error.errors()[0]["loc"]
    return str(places[0]) if places else None


class PydanticConverter:
    """Stores values as ``model_dump(mode='json')`` does, and validates them when they are loaded.

    Names are those of fields and not aliases, since an alias may differ from one direction to the other. Values are
    validated as JSON, where a strict model takes a text for a date.
    """

    def __init__(self) -> None:
        """Know no types yet."""
        self._adapters: dict[Any, Any] = {}

    def get_structure_hook(self, of_type: Any) -> Any:
        """Return pydantic's adapter of a type, or raise what pydantic raises if there is none."""
        if of_type not in self._adapters:
            from pydantic import TypeAdapter

            self._adapters[of_type] = TypeAdapter(of_type)
        return self._adapters[of_type]

    def unstructure(self, value: Any, of_type: Any = None) -> Any:
        """Return the stored form of a value.

        Raises:
            ValueError: it would be another when it is loaded, as a ``SecretStr`` would.
        """
        if of_type is None:
            from pydantic_core import to_jsonable_python

            return to_jsonable_python(value, by_alias=False, fallback=lambda other: other)
        adapter = self.get_structure_hook(of_type)
        stored = adapter.dump_python(value, mode="json", by_alias=False, warnings="error")
        loaded = self.structure(stored, of_type)
        if loaded != value and not _same(adapter.dump_python(loaded), adapter.dump_python(value)):
            raise ValueError("it would be loaded as another value")
        return stored

    def structure(self, stored: Any, of_type: Any) -> Any:
        """Return the value of a stored form."""
        return self.get_structure_hook(of_type).validate_json(json.dumps(stored), by_alias=False, by_name=True)


def _same(one: Any, other: Any) -> bool:
    """Compare values of which some may be NaN, which does not equal itself.

    >>> _same([float('nan')], [float('nan')]), _same([1], [2])
    (True, False)
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (isinstance(one, float) and isinstance(other, float) and isnan(one) and isnan(other))
