"""Domain events: classes whose instances say what happened. The log keeps a registered name, and their fields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen

from rstore.core import Reading
from rstore.domain.errors import StoreModelError, StorePayloadError
from rstore.domain.log import Query, Record
from rstore.domain.names import check_name
from rstore.domain.operators import EVENT
from rstore.domain.streams import ES, Stream
from rstore.encoding.equality import are_equal
from rstore.encoding.unreadable import Unreadable
from rstore.models.applying import Happened
from rstore.repository.faults import is_about_a_value, is_equal
from rstore.repository.fields import short_repr
from rstore.repository.mapping import ModelMapping
from rstore.repository.nested import items_of
from rstore.repository.upcasts import Upcasts, event_versions, versions_of

VERSION: Final = "rstore.version"
"""The word beside the fields of a stored event that has the version of its class. It is left out for version 1."""

EventClasses: TypeAlias = Collection[type[Any]] | Mapping[str, type[Any]]
"""Classes of events: each by its own name, or by the name that a table gives it."""

ChangesOf: TypeAlias = Callable[[Any, Any], Any]
"""Returns the changes that an event makes. Its arguments are the event, and the instance to which it happens."""


@frozen
class UnknownEvent:
    """A stored domain event of which no instance can be made.

    Attributes:
        name: the name under which its class was registered.
        version: that of its class; 0 if the event can't be loaded.
        fields: the fields in stored form; empty if the event can't be loaded.
        reason: why there is no instance.
    """

    name: str
    version: int
    fields: Mapping[str, Any]
    reason: str


@frozen(eq=False)
class EventType:
    """A class of events.

    Attributes:
        name: the name under which its events are stored.
        version: that of its fields.
        mapping: makes stored fields of events, and events of stored fields.
        changes: returns the changes that an event makes.
        upcasts: for each earlier version, the function of its stored fields to those of the next one.
    """

    name: str
    version: int
    mapping: ModelMapping[Any]
    changes: ChangesOf
    upcasts: Mapping[int, Callable[[dict[str, Any]], Mapping[str, Any]]]

    @classmethod
    def of(cls, name: str, event: type[Any], changes: ChangesOf | None, options: Mapping[str, Any]) -> EventType:
        """Return the description of a class, with the upcasts and the converter of its repository."""
        upcast: Upcasts = options["upcast"]
        types = {kind: table for kind, table in upcast.items() if not isinstance(kind, str)}
        mapping = ModelMapping.of(event, None, **{**options, "upcast": types | items_of(upcast.get(event, {}))})
        version = 1 if "version" in mapping.fields else getattr(event, "version", 1)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise TypeError(f"the version of {mapping.title} is a whole number from 1 on, not {short_repr(version)}")
        changes = getattr(event, "changes", None) if changes is None else changes
        if not callable(changes):
            raise TypeError(
                f"{mapping.title} does not say what it changes: give it a method changes(self, instance), or a "
                f"function with changes={{{mapping.title}: ...}}"
            )
        return cls(name, version, mapping, changes, event_versions(event, upcast, version))

    def stored(self, key: str, event: Any) -> Happened:
        """Return an event as it is stored.

        Raises:
            StoreModelError: a field can't be stored, or would come back as another value.
        """
        try:
            fields = self.mapping.state(key, event)
            self._check_same(key, event, self.mapping.load(key, fields, self.mapping.values(event)))
        except StoreModelError as exc:
            raise StoreModelError(key, f"event {self.name!r}: {exc.problem}") from exc
        return Happened(fields if self.version == 1 else fields | {VERSION: self.version})

    def _check_same(self, key: str, event: Any, loaded: Any) -> None:
        """Raise if an event that was loaded differs from the one that was stored."""
        for name, field in self.mapping.fields.items():
            value, other = getattr(event, name), getattr(loaded, name)
            if not field.is_plain and not _is_same(value, other, self.mapping.converter):
                problem = f"field {name!r}: {short_repr(value)} would come back as {short_repr(other)}"
                raise StoreModelError(key, f"{problem}; nothing was stored")

    def loaded(self, key: str, fields: Mapping[str, Any], version: int) -> Any:
        """Return the event of stored fields.

        Raises:
            StoreModelError: they make none.
        """
        title = self.mapping.title
        if version > self.version:
            raise StoreModelError(key, f"{title} has version {self.version}, and this one {version}")
        for each in range(version, self.version):
            upcast = self.upcasts.get(each)
            if upcast is None:
                raise StoreModelError(key, f"say in upcast={{{title}: {{{each}: ...}}}} what became of version {each}")
            try:
                fields = dict(upcast(dict(fields)))
            except Exception as exc:  # whatever a user's function raises
                if not is_about_a_value(exc):
                    raise
                raise StoreModelError(key, f"upcast of version {each} fails: {type(exc).__name__}") from exc
        return self.mapping.load(key, fields)


def _is_same(value: Any, loaded: Any, converter: Any) -> bool:
    """Tell whether a value came back: as an equal one, or as one of the same stored form.

    Only the stored forms decide on values that can't be compared, as arrays, or that do not equal themselves, as NaN.
    """
    if is_equal(value, loaded):
        return True
    try:
        stored, again = converter.unstructure(value), converter.unstructure(loaded)
    except Exception as exc:  # whatever a converter raises without a type: then nothing tells the two apart
        if not is_about_a_value(exc):
            raise
        return True
    return is_equal(stored, again) or are_equal(stored, again)


@frozen(eq=False)
class EventTypes:
    """The classes of events of a repository, by name and by class."""

    by_name: Mapping[str, EventType]
    by_class: Mapping[type[Any], EventType]

    @classmethod
    def of(
        cls, events: EventClasses | EventTypes, changes: Mapping[type[Any], ChangesOf], options: Mapping[str, Any]
    ) -> EventTypes:
        """Return the classes that a repository is given; see :class:`rstore.Repository`."""
        if isinstance(events, EventTypes):  # those of another repository, of which this one shows the past
            return events
        by_name: dict[str, EventType] = {}
        by_class: dict[type[Any], EventType] = {}
        for name, event in _named(events):
            if name in by_name:
                raise ValueError(
                    f"two classes of events are called {name!r}: name them in a table, events={{name: class}}"
                )
            if event not in by_class:
                by_class[event] = EventType.of(name, event, changes.get(event), options)
            by_name[name] = by_class[event]
        for event in changes:
            if event not in by_class:
                raise ValueError(f"changes has {short_repr(event)}, which events has not")
        for event, table in options["upcast"].items():
            if event not in by_class and versions_of(event, table):
                raise ValueError(f"upcast: {short_repr(event)} has versions, and events has not this class")
        return cls(by_name, by_class)

    def all_of(self, core: Reading, name: str, key: str) -> list[Any]:
        """Return the events of an event sequence, in order of time."""
        stream = Stream(ES, name)
        records = core.log.read(stream, Query(ops=(EVENT,)))
        return [self.read(key, record.item, _stored_in(core, stream, record)) for record in records]

    def read(self, key: str, name: str, stored: Any) -> Any:
        """Return the event of a name and its stored fields, or an unknown one that says why there is none."""
        if isinstance(stored, Unreadable):
            return UnknownEvent(name, 0, {}, stored.reason)
        if not isinstance(stored, Mapping):  # no repository has stored it
            return UnknownEvent(name, 0, {}, "it has no fields")
        fields = dict(stored)
        version = fields.pop(VERSION, 1)
        if type(version) is not int or version < 1:
            return UnknownEvent(name, 0, fields, "it has no version")
        found = self.by_name.get(name)
        if found is None:
            return UnknownEvent(name, version, fields, "no class is registered under this name")
        try:
            return found.loaded(key, fields, version)
        except StoreModelError as exc:
            return UnknownEvent(name, version, fields, exc.problem.partition("; ")[0])  # the rest is about states


def _stored_in(core: Reading, stream: Stream, record: Record) -> Any:
    try:
        return core.envelope.value(stream, record)
    except StorePayloadError as exc:
        if not exc.is_genuine:
            raise
        return Unreadable(exc.reason, type(exc).__name__)


def _named(events: EventClasses) -> list[tuple[str, type[Any]]]:
    if isinstance(events, Mapping):
        return [(check_name("event", name, empty=False), event) for name, event in events.items()]
    if isinstance(events, type) or not all(isinstance(event, type) for event in events):
        raise TypeError("events has classes, such as [Paid], or classes by name, such as {'paid': Paid}")
    return [(event.__name__, event) for event in events]
