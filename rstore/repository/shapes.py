"""The shapes of stored forms: where nested classes and enums are in them, by the types of fields.

A converter makes values of stored forms, and knows one version of each class. A shape knows the others: it reads a
stored form as the classes are now, and writes back what a newer version of a nested class has stored. Rejected: hooks
of cattrs for these classes. pydantic has no such hooks, and a converter of the user's may have its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from attrs import define, field, frozen

from rstore.repository.faults import UnfitError
from rstore.repository.upcasts import Table

_LISTS: Final = (list, tuple, set, frozenset)


class Shape(Protocol):
    """Where nested classes and enums are in the stored forms of a type."""

    def takes(self, stored: Any) -> bool:
        """Tell whether a stored form may be one of this type."""

    def read(self, stored: Any) -> Any:
        """Return a stored form as the classes are now. What it is given stays as it is.

        Raises:
            UnfitError: an upcast fails, or a nested class has no such field.
        """

    def has_unknown(self, stored: Any) -> bool:
        """Tell whether a newer version of a nested class has stored a field that the class does not have."""

    def keep(self, stored: Any, before: Any) -> Any:
        """Return a stored form with the unknown fields of the one that it replaces."""


@frozen(eq=False)
class Choice:
    """An enum with values of earlier versions."""

    table: Mapping[Any, Any]

    def takes(self, stored: Any) -> bool:
        return self.read(stored) is not stored

    def read(self, stored: Any) -> Any:
        try:
            return self.table.get(stored, stored)
        except TypeError:  # it has no hash, so it is no key of the table
            return stored

    def has_unknown(self, stored: Any) -> bool:
        return False

    def keep(self, stored: Any, before: Any) -> Any:
        return stored


@frozen(eq=False)
class Each:
    """A list, tuple or set whose elements have one type.

    Attributes:
        inner: the shape of an element.
        normalized: returns the form in which the value of a stored element would be stored now.
        is_ordered: whether the place of an element says which one it is.
    """

    inner: Shape
    normalized: Callable[[Any], Any]
    is_ordered: bool

    def takes(self, stored: Any) -> bool:
        return isinstance(stored, _LISTS)

    def read(self, stored: Any) -> Any:
        if not self.takes(stored) or (isinstance(self.inner, Record) and self.inner.fits_all(stored)):
            return stored
        return _read_places((self.inner, each) for each in stored)

    def has_unknown(self, stored: Any) -> bool:
        return self.takes(stored) and any(map(self.inner.has_unknown, stored))

    def keep(self, stored: Any, before: Any) -> Any:
        if not (self.takes(stored) and self.has_unknown(before)):
            return stored
        result, olds = list(stored), list(before)
        for new, old in _pairs(result, [self.normalized(self.inner.read(each)) for each in olds], self.is_ordered):
            result[new] = self.inner.keep(result[new], olds[old])
        return type(stored)(result)


@frozen(eq=False)
class Places:
    """A tuple with a type for each place; None where it has no shape."""

    inner: tuple[Shape | None, ...]

    def takes(self, stored: Any) -> bool:
        return isinstance(stored, list | tuple) and len(stored) == len(self.inner)

    def read(self, stored: Any) -> Any:
        return _read_places(zip(self.inner, stored, strict=True)) if self.takes(stored) else stored

    def has_unknown(self, stored: Any) -> bool:
        return self.takes(stored) and any(
            shape is not None and shape.has_unknown(each) for shape, each in zip(self.inner, stored, strict=True)
        )

    def keep(self, stored: Any, before: Any) -> Any:
        if not (self.takes(stored) and self.takes(before)):
            return stored
        rows = zip(self.inner, stored, before, strict=True)
        return type(stored)(each if shape is None else shape.keep(each, old) for shape, each, old in rows)


@frozen(eq=False)
class Values:
    """A dict whose keys or values have a shape."""

    key: Shape | None
    value: Shape | None

    def takes(self, stored: Any) -> bool:
        return isinstance(stored, Mapping)

    def read(self, stored: Any) -> Any:
        if not self.takes(stored):
            return stored
        return {self._key(name): _read_at(name, self.value, each) for name, each in stored.items()}

    def has_unknown(self, stored: Any) -> bool:
        return self.value is not None and self.takes(stored) and any(map(self.value.has_unknown, stored.values()))

    def keep(self, stored: Any, before: Any) -> Any:
        if self.value is None or not (self.takes(stored) and self.has_unknown(before)):
            return stored
        olds = {self._key(name): each for name, each in before.items()}
        return {name: self.value.keep(each, olds[name]) if name in olds else each for name, each in stored.items()}

    def _key(self, name: Any) -> Any:
        return name if self.key is None else self.key.read(name)


@define(eq=False)
class Record:
    """A nested class.

    Attributes:
        title: its name.
        names: the names of its fields as they are stored.
        is_open: whether the class, or a hook for it, may store other names: then no field is unknown.
        required: the fields without a default.
        literals: the stored values that fields of a ``Literal`` type may have. They tell the classes of a union apart.
        strict: whether an unknown field is an error.
        table: renames the fields of earlier versions; None if there are none.
        inner: the shapes of the fields that have one.
    """

    title: str
    names: frozenset[str]
    is_open: bool
    required: frozenset[str]
    literals: Mapping[str, tuple[Any, ...]]
    strict: bool
    table: Table | None = None
    inner: dict[str, Shape] = field(factory=dict)

    def takes(self, stored: Any) -> bool:
        return isinstance(stored, Mapping)

    def fits_all(self, stored: Collection[Any]) -> bool:
        """Tell, from their names alone, whether some stored forms can all stay as they are."""
        if self.inner or self.table is not None:
            return False
        try:
            return not self.strict or all(map(self.names.issuperset, stored))
        except TypeError:  # one of them is None, or a number
            return False

    def likeness(self, stored: Mapping[str, Any]) -> int:
        """Return how many fields of the class a stored form has; -1 if it lacks one."""
        items = self._renamed(stored)
        if not self.required.issubset(items):
            return -1
        for name, values in self.literals.items():
            if name in items and _read_at(name, self.inner.get(name), items[name]) not in values:
                return -1
        return sum(name in self.names for name in items)

    def read(self, stored: Any) -> Any:
        return self.read_as(stored, self.strict)

    def read_as(self, stored: Any, strict: bool) -> Any:
        """Return a stored form as the class is now; an unknown field is an error if it is ``strict``."""
        if not isinstance(stored, Mapping):
            return stored
        items = self._renamed(stored)
        if strict and not self.names.issuperset(items):
            raise self._no_such_field(items)
        for name, shape in self.inner.items():
            if name in items:
                value = items[name]
                new = _read_at(name, shape, value)
                if new is not value:
                    items = {**items, name: new}
        return items

    def has_unknown(self, stored: Any) -> bool:
        if not isinstance(stored, Mapping):
            return False
        items = self._renamed(stored)
        return bool(self._unknown_in(items)) or any(
            name in items and shape.has_unknown(items[name]) for name, shape in self.inner.items()
        )

    def keep(self, stored: Any, before: Any) -> Any:
        if not (isinstance(stored, Mapping) and isinstance(before, Mapping)):
            return stored
        olds = self._renamed(before)
        inner = {
            name: shape.keep(stored[name], olds[name])
            for name, shape in self.inner.items()
            if name in stored and name in olds
        }
        return {**stored, **inner, **{name: olds[name] for name in self._unknown_in(olds)}}

    def _renamed(self, stored: Mapping[str, Any]) -> Mapping[str, Any]:
        return stored if self.table is None else self.table.applied(stored)

    def _unknown_in(self, items: Mapping[str, Any]) -> list[str]:
        return [] if self.is_open else [name for name in items if name not in self.names]

    def _no_such_field(self, items: Mapping[str, Any]) -> UnfitError:
        name = min(items.keys() - self.names, key=str)
        return UnfitError(
            f"{self.title} has no such field: say in upcast={{{self.title}: {{{name!r}: ...}}}} what became of it", name
        )


@frozen(eq=False)
class OneOf:
    """A union. A stored form is of the class that has the most of its fields.

    Attributes:
        records: the shapes of the classes.
        others: the shapes of the other types that have one.
        strict: whether an unknown field is an error: not if a stored form may also be of a type without a shape.
    """

    records: tuple[Record, ...]
    others: tuple[Shape, ...]
    strict: bool

    def takes(self, stored: Any) -> bool:
        return any(shape.takes(stored) for shape in (*self.records, *self.others))

    def read(self, stored: Any) -> Any:
        shape = self._shape_of(stored)
        if isinstance(shape, Record):
            return shape.read_as(stored, shape.strict and self.strict)
        return stored if shape is None else shape.read(stored)

    def has_unknown(self, stored: Any) -> bool:
        shape = self._shape_of(stored)
        return shape is not None and shape.has_unknown(stored)

    def keep(self, stored: Any, before: Any) -> Any:
        shape = self._shape_of(stored)
        return stored if shape is None or shape is not self._shape_of(before) else shape.keep(stored, before)

    def _shape_of(self, stored: Any) -> Shape | None:
        if isinstance(stored, Mapping):
            likenesses = [record.likeness(stored) for record in self.records]
            most = max(likenesses, default=-1)
            if most >= 0:
                return self.records[likenesses.index(most)]
        return next((shape for shape in self.others if shape.takes(stored)), None)


def _read_at(name: Any, shape: Shape | None, stored: Any) -> Any:
    try:
        return stored if shape is None else shape.read(stored)
    except UnfitError as exc:
        raise exc.within(name) from exc.__cause__


def _read_places(shaped: Iterable[tuple[Shape | None, Any]]) -> Any:
    return [_read_at(place, shape, each) for place, (shape, each) in enumerate(shaped)]


def _pairs(news: list[Any], olds: list[Any], is_ordered: bool) -> Iterator[tuple[int, int]]:
    """Yield the places of the same element, after and before: first of equal ones, then of those that have changed.

    In a list that is as long as before, an element has most likely changed at its place.
    """
    places: dict[str, list[int]] = {}
    for old in reversed(range(len(olds))):
        places.setdefault(repr(olds[old]), []).append(old)
    changed = set[int]()
    for new, each in enumerate(news):
        found = places.get(repr(each))
        if found:
            yield new, found.pop()
        else:
            changed.add(new)
    left = {old for found in places.values() for old in found}
    at_place = changed & left if is_ordered and len(news) == len(olds) else set[int]()
    yield from ((place, place) for place in at_place)
    yield from _alike(
        {new: news[new] for new in sorted(changed - at_place)}, {old: olds[old] for old in sorted(left - at_place)}
    )


def _alike(news: Mapping[int, Any], olds: Mapping[int, Any]) -> Iterator[tuple[int, int]]:
    """Yield the places, after and before, of those elements that share the most values of fields.

    A value counts if only one element has it after, and only one before. Rejected: to count all equal fields. That
    compares all elements with all, and a default that all of them have would decide.
    """
    before, votes = _owners(olds), Counter[tuple[int, int]]()
    for item, new in _owners(news).items():
        if item in before:
            votes[new, before[item]] += 1
    paired_news, paired_olds = set[int](), set[int]()
    for (new, old), _ in votes.most_common():
        if new not in paired_news and old not in paired_olds:
            paired_news.add(new)
            paired_olds.add(old)
            yield new, old


def _owners(elements: Mapping[int, Any]) -> dict[str, int]:
    """Return, for each value of a field that only one element has, the place of that element."""
    owners: dict[str, list[int]] = {}
    for place, each in elements.items():
        for item in each.items() if isinstance(each, Mapping) else ():
            owners.setdefault(repr(item), []).append(place)
    return {item: places[0] for item, places in owners.items() if len(places) == 1}
