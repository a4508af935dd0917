"""The tables of ``upcast``: they rename, drop, change and move the items that earlier versions of a class stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from attrs import frozen

from rstore.models.event_states import copied_value
from rstore.repository.faults import UnfitError, is_about_a_value

Upcast: TypeAlias = str | Callable[[Any], Any] | None
"""A row of a table: the new name of an item, None if the item is gone, or a function of its stored value."""

Upcasts: TypeAlias = Mapping[Any, Any]
"""The rows for items, by name or path; and the tables for enums by stored value, and for classes by item."""

ItemPath: TypeAlias = tuple[str, ...]
"""The names that lead to an item; a single one outside of nested classes."""

_MISSING: Final = object()
_LONGEST_CHAIN: Final = 100


class Fields(Protocol):
    """The fields of a class, and of the classes nested in it."""

    def has(self, path: ItemPath) -> bool:
        """Tell whether a path leads to a field."""

    def around(self, path: ItemPath) -> Fields | None:
        """Return the fields of the class in which a path ends; None if it ends in no class."""


@frozen(eq=False)
class Table:
    """The table of one class.

    Attributes:
        title: the name of the class.
        rows: by the paths of items.
        heads: the first names of these paths. A stored form without any of them stays as it is.
        retyped: the items that still are fields: their functions change the form of a value, and not its place.
        fields: those of the class, and of the classes nested in it.
    """

    title: str
    rows: Mapping[ItemPath, Upcast]
    heads: frozenset[str]
    retyped: frozenset[ItemPath]
    fields: Fields

    @classmethod
    def of(cls, title: str, upcast: Mapping[str, Upcast], fields: Fields) -> Table:
        """Return the table that a user has written.

        Raises:
            TypeError: a row is neither a name, nor None, nor a function.
            ValueError: an item needs no row, or its new name is no field, or leads back to itself.
        """
        rows = {_path(item, fields): became for item, became in upcast.items()}
        table = cls(title, rows, frozenset(path[0] for path in rows), frozenset(filter(fields.has, rows)), fields)
        for path, became in rows.items():
            table._check(path, became)
        return table

    def _check(self, path: ItemPath, became: Upcast) -> None:
        item = ".".join(path)
        if not (became is None or isinstance(became, str) or callable(became)):
            raise TypeError(f"upcast: {item!r} became a name, None, or what a function makes of it, not {became!r}")
        if path in self.retyped and not callable(became):
            raise ValueError(f"upcast: {item!r} is a field of {self.title}, and needs none but a function of its value")
        if self.fields.around(path) is None:
            raise ValueError(f"upcast: {item!r}: {'.'.join(path[:-1])!r} is no nested class of {self.title}")
        passed = {path}
        while isinstance(became, str):
            path = _path(became, self.fields)
            if path in passed:
                raise ValueError(f"upcast: {item!r} becomes {became!r} again and again")
            if path not in self.rows and not self.fields.has(path):
                raise ValueError(f"upcast: {item!r} became {became!r}, which is no field of {self.title}")
            passed.add(path)
            became = self.rows.get(path)

    def applied(self, stored: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return stored values under the names that their fields have now. Values without a row keep their names.

        Raises:
            UnfitError: a function fails, or gives what is no field.
        """
        if self.heads.isdisjoint(stored):
            return stored
        for is_nested in (False, True):  # an item may become a field in which others have a path
            found = [
                (path, value)
                for path in self.rows
                if (len(path) > 1) is is_nested and (value := _at(stored, path)) is not _MISSING
            ]
            before = stored
            for path, _ in found:
                stored = stored if path in self.retyped else _without(stored, path)
            for path, value in found:
                stored = self._put(stored, before, path, value, 0)
        return stored

    def retype(self, name: str, value: Any) -> Any:
        """Return the stored value of a field in the form that it has now."""
        function = self.rows.get((name,))  # a field has no other rows
        return _call((name,), function, value) if callable(function) else value

    def _put(
        self, stored: Mapping[str, Any], before: Mapping[str, Any], path: ItemPath, value: Any, passed: int
    ) -> Any:
        """Return stored values, among them that of an item under its new name.

        A value that ``before`` has under that name was recorded there, and stays.
        """
        if path not in self.rows:
            return _with(stored, path, value)
        became = self.rows[path]
        if became is None:
            return stored
        if passed > _LONGEST_CHAIN:
            raise UnfitError(f"upcast of {'.'.join(path)!r} comes back to it again and again")
        if isinstance(became, str):
            items = {became: value}
        elif path in self.retyped:
            return _with(stored, path, _call(path, became, value))
        else:
            items = _call(path, partial(_items, became), value)
        for name, each in items.items():
            target = _path(name, self.fields)
            if target not in self.rows and not self.fields.has(target):
                raise UnfitError(f"upcast of {'.'.join(path)!r} gives {name!r}: no field of {self.title}")
            if not _is_recorded(before, target):
                stored = self._put(stored, before, target, each, passed + 1)
        return stored


def enum_table(members: type[Enum], upcast: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the values of an enum that earlier versions have stored, each with that of its member now.

    Raises:
        ValueError: a value needs no row, or its new value is no member's, or leads back to itself.
    """
    values, olds = [each.value for each in members], list(upcast)  # lists, since a value may have no hash
    found = {}
    for old in olds:
        if old in values or isinstance(old, members):
            raise ValueError(f"upcast: {old!r} is a value of {members.__name__}, and needs none")
        value, passed = upcast[old], {old}
        while value in olds and value not in passed:  # from version to version
            passed.add(value)
            value = upcast[value]
        value = value.value if isinstance(value, members) else value
        if value not in values:
            raise ValueError(f"upcast: {old!r} became {value!r}, which is no value of {members.__name__}")
        found[old] = value
    return found


def _items(function: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    return dict(function(value))


def versions_of(kind: Any, upcast: Any) -> dict[int, Any]:
    """Return the rows of a table that are about versions of a class. In that of an enum, numbers are its values."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {}
    return (
        {each: became for each, became in upcast.items() if isinstance(each, int)}
        if isinstance(upcast, Mapping)
        else {}
    )


def event_versions(event: type[Any], upcast: Upcasts, version: int) -> dict[int, Callable[[Any], Any]]:
    """Return the functions that a table has for earlier versions of a class of events.

    Raises:
        ValueError: a version is not an earlier one.
        TypeError: a row is no function.
    """
    found = versions_of(event, upcast.get(event, {}))
    for each, became in found.items():
        if not 1 <= each < version or isinstance(each, bool):
            raise ValueError(f"upcast: {each!r} is no version of {event.__name__} before {version}, its version now")
        if not callable(became):
            raise TypeError(f"upcast: version {each} of {event.__name__} has a function of its fields, not {became!r}")
    return found


def _call(path: ItemPath, function: Callable[[Any], Any], value: Any) -> Any:
    value = copied_value(path[0], value)  # the function may keep it, or change it
    try:
        return function(value)
    except Exception as exc:  # whatever a user's function raises
        if not is_about_a_value(exc):
            raise
        raise UnfitError(f"upcast of {'.'.join(path)!r} fails: {type(exc).__name__}") from exc


def _path(item: str, fields: Fields) -> ItemPath:
    """Return the path of an item. Dots in its name separate steps only where the first step is a field."""
    names = tuple(item.split("."))
    return names if fields.has(names[:1]) else (item,)


def _at(stored: Any, path: ItemPath) -> Any:
    for name in path:
        if not isinstance(stored, Mapping) or name not in stored:
            return _MISSING
        stored = stored[name]
    return stored


def _is_recorded(stored: Any, path: ItemPath) -> bool:
    """Tell whether there is a value at a path, or one around it in which nothing can be put."""
    for name in path:
        if not isinstance(stored, Mapping):
            return True
        if name not in stored:
            return False
        stored = stored[name]
    return True


def _without(stored: Mapping[str, Any], path: ItemPath) -> dict[str, Any]:
    name, *inner = path
    if inner:
        return {**stored, name: _without(stored[name], tuple(inner))}
    return {each: value for each, value in stored.items() if each != name}


def _with(stored: Mapping[str, Any], path: ItemPath, value: Any) -> dict[str, Any]:
    name, *inner = path
    return {**stored, name: _with(stored.get(name, {}), tuple(inner), value) if inner else value}
