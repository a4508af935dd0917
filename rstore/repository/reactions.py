"""Reactions: functions that a projection calls for each decision, or each domain event, of some repositories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from operator import attrgetter
from os.path import commonprefix
from typing import Any, Final, Generic, TypeAlias, TypeVar

from attrs import Factory, define

from rstore.commits import ARGUMENTS, COMMIT, DID, decision_name
from rstore.core import Core, core_of
from rstore.domain.errors import StoreError, StoreModelError
from rstore.domain.operators import EVENT
from rstore.domain.streams import ES
from rstore.history.changes import StreamFilter
from rstore.history.commits import Commit, commit_of
from rstore.history.projections import Options, Rebuild, run_projection, target_of
from rstore.history.projector import Call, Due, skipping
from rstore.history.skipping import OnError, Skipped
from rstore.history.targets import StoreTarget, Target
from rstore.repository.earlier import EarlierStates
from rstore.repository.events import EventTypes, UnknownEvent
from rstore.repository.mapping import ModelMapping
from rstore.store import Store
from rstore.view import View

M = TypeVar("M")
F = TypeVar("F", bound=Callable[..., Any])

Handler: TypeAlias = Callable[["Occurrence[Any]", Any], Any]
"""Called with an occurrence, and with the store, or what another target hands out."""
Wanted: TypeAlias = Callable[..., Any] | type[Any] | str
"""A decision, or the name of one; or a class of domain events."""


class Occurrence(Generic[M]):
    """A decision that was taken about an instance, or a domain event that happened to it.

    Attributes:
        commit: what was stored with it, of this instance: a :class:`rstore.Commit`.
        key: that of the instance, without the prefix of its repository.
        event: the domain event; None of a decision.
    """

    def __init__(self, commit: Commit, key: str, event: Any, load: Callable[[int], M | None]) -> None:
        self.commit, self.key, self.event, self._load = commit, key, event, load

    def __repr__(self) -> str:
        return f"<Occurrence of {self.event or self.commit.did!r} to {self.key!r}>"

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the decision, by name, in stored form; those that the log keeps."""
        return self.commit.arguments or {}

    @cached_property
    def before(self) -> M | None:
        """The instance before the commit; None if there was none.

        It is loaded when it is asked for.

        Raises:
            StoreModelError: the state of that time does not fit the class.
            StoreIntegrityError, StorePayloadError: there is no such state any more, or it can't be read.
        """
        return self._load(self.commit.changes[0].version - 1)

    @cached_property
    def after(self) -> M | None:
        """The instance after the commit, as ``before`` is that before it; None if the commit has deleted it."""
        return self._load(self.commit.changes[-1].version)


@define(eq=False)
class Source(Generic[M]):
    """A repository as a projection reads it, and what is to be called, by names of decisions and of events."""

    mapping: ModelMapping[M]
    events: EventTypes
    decisions: dict[str, list[Handler]] = Factory(dict)
    happenings: dict[str, list[Handler]] = Factory(dict)

    def add(self, wanted: Wanted, handler: Handler) -> None:
        """Call a function for a decision, or for a class of domain events."""
        if isinstance(wanted, type):
            kind = self.events.by_class.get(wanted)
            if kind is None:
                raise ValueError(f"{wanted.__name__} is no class of events of {self.mapping.title}: see events=")
            names = [name for name, each in self.events.by_name.items() if each is kind]
            handlers = self.happenings
        else:
            names, handlers = [self._decision(wanted)], self.decisions
        for name in names:
            handlers.setdefault(name, []).append(handler)

    def _decision(self, wanted: Any) -> str:
        name = wanted if isinstance(wanted, str) else decision_name(wanted) if callable(wanted) else None
        if not name:
            raise TypeError(
                "a projection is of decisions, such as Order.pay or 'pay', and of classes of events; "
                f"{wanted!r} is none, and has no name"
            )
        return name

    def wants(self, part: Sequence[Due]) -> bool:
        """Tell whether a function is to be called for a commit. No value of it is loaded for that."""
        if any(due.record.op == EVENT and due.record.item in self.happenings for due in part):
            return True
        # a commit whose words can't be read may be of any decision
        return any(self._decided(due.words.get(DID)) or (self.decisions and due.unreadable) for due in part)

    def _decided(self, did: Any) -> list[Handler]:
        # a context of the user may have given any word as did
        return self.decisions.get(did, []) if isinstance(did, str) else []

    def calls(self, core: Core, part: Sequence[Due], states: EarlierStates) -> Iterator[Call]:
        """Yield the calls for a commit: first those for its decision, then those for its events, in their order."""
        read = [due.change(core) for due in part]
        commit, position = commit_of([change for change, _ in read]), part[-1].position
        first = commit.changes[0]
        key = first.key.removeprefix(self.mapping.prefix)

        def load(version: int) -> M | None:
            state = states.at(first.key, version)
            return None if state is None else self.mapping.load(key, state)

        occurrence = Occurrence(commit, key, None, load)
        error: StoreError | None = next((error for _, error in read if error is not None), None)
        if error is not None:
            yield Call(occurrence, first, position, error, len)  # which is not called
            return
        for handler in self._decided(commit.did):
            yield Call(occurrence, first, position, None, partial(handler, occurrence))
        for change in commit.changes:
            handlers = self.happenings.get(change.item, ()) if change.op == EVENT else ()
            if handlers:
                event = self.events.read(key, change.item, change.value)
                occurrence, error = Occurrence(commit, key, event, load), _unfit(key, event)
                for handler in handlers:
                    yield Call(occurrence, change, position, error, partial(handler, occurrence))


def _unfit(key: str, event: Any) -> StoreModelError | None:
    """Return the error of an event of which no instance can be made."""
    if not isinstance(event, UnknownEvent):
        return None
    return StoreModelError(key, f"event {event.name!r}: {event.reason}")


def _parts(dues: Iterable[Due]) -> list[list[Due]]:
    """Return the records of each commit to an instance, in the order in which the commits end.

    On a cluster, commits to several keys may be mixed with one another.
    """
    parts = list[list[Due]]()
    of_key = dict[str, list[Due]]()
    for due in dues:
        together = of_key.get(due.stream.key)
        if together is None or not _belongs(due, together[-1]):
            together = of_key[due.stream.key] = []
            parts.append(together)
        together.append(due)
    parts.sort(key=lambda part: part[-1].position)
    return parts


def _belongs(due: Due, before: Due) -> bool:
    """Tell whether a record is of the commit of the one before it. The arguments of a decision begin a new one.

    Without words, the records of an append have one time: each append to an event sequence has a time of its own.
    """
    words, earlier = due.words, before.words
    if ARGUMENTS in words or (
        words != earlier and words != {each: earlier[each] for each in earlier if each != ARGUMENTS}
    ):
        return False
    one, other = due.record, before.record
    return COMMIT in words or (one.recorded, one.start) == (other.recorded, other.start)


class Projection:
    """A read model of one repository or several, and the functions that keep it up to date.

    :meth:`Repository.projection` makes one.
    """

    def __init__(self, name: str, repository: Reacting[Any], into: Target[Any] | Store | None = None) -> None:
        self.name, self._repository = name, repository
        self._store = _parts_of(repository)[0]
        self._into = target_of(self._store, into)
        self._sources: dict[str, Source[Any]] = {}

    def __repr__(self) -> str:
        return f"<Projection {self.name!r} of {', '.join(self._sources) or 'nothing yet'}>"

    def on(self, *wanted: Wanted, repository: Reacting[Any] | None = None) -> Callable[[F], F]:
        """Return a decorator: the function is called for some decisions, and for some classes of domain events.

        It gets an :class:`Occurrence`, and the store; or what the target hands out. If it stands for a decision and for
        an event of that decision, it is called for both.

        Args:
            wanted: decisions, such as ``Order.pay`` or ``'pay'``, and classes of events. ``'create'`` and ``'delete'``
                are decisions, too.
            repository: another one of the same store that they belong to.

        Raises:
            TypeError: there are none; or one of them has no name, as a lambda.
            ValueError: the repository has no such events, or is of another store.
        """
        if not wanted:
            raise TypeError("on() takes decisions or classes of events, such as on(Order.pay, Shipped)")
        source = self._source_of(self._repository if repository is None else repository)

        def decorate(handler: F) -> F:
            for each in dict.fromkeys(wanted):
                source.add(each, handler)
            return handler

        return decorate

    def _source_of(self, repository: Reacting[Any]) -> Source[Any]:
        store, mapping, events = _parts_of(repository)
        if store is not self._store:
            raise ValueError(f"{repository!r} is of another store: a projection follows one")
        return self._sources.setdefault(mapping.prefix, Source(mapping, events))

    def run(
        self,
        *,
        wait: float | None = None,
        rebuild: Rebuild[Any] = False,
        on_error: OnError = "raise",
        history: bool = True,
    ) -> int:
        """Call the functions for all commits since the last time, exactly once; see :meth:`Store.project`.

        A commit that no function wants is not loaded.

        Args:
            wait, rebuild, on_error, history: as in :meth:`Store.project`. A function as ``on_error`` gets
                the occurrence and the error.

        Returns:
            The number of calls that were made or skipped.

        Raises:
            TypeError: there are no functions yet.
        """
        if not self._sources:
            raise TypeError(f"projection {self.name!r} has no functions yet: see on()")
        core = core_of(self._store)
        states = EarlierStates(core)

        def calls(dues: Sequence[Due]) -> Iterator[Call]:
            for part in _parts(dues):
                for prefix, source in self._sources.items():
                    if part[0].stream.key.startswith(prefix) and source.wants(part):
                        yield from source.calls(core, part, states)

        prefixes = commonprefix([*self._sources])  # noqa: RUF071  # of texts, which are no paths
        streams = StreamFilter(ES, prefixes)
        options = Options(wait, rebuild, on_error, history)
        return run_projection(self._store, self._into, self.name, streams, calls, options)

    def skipped(self) -> list[Skipped]:
        """Return what was skipped, in the order in which it was, since the last rebuild; see :meth:`Store.skipped`."""
        target = StoreTarget(self._store) if self._into is None else self._into
        return skipping(target).skipped(self.name)


class Reacting(Generic[M]):
    """The part of a repository's surface that calls functions for its commits."""

    _store: Store | View
    _mapping: ModelMapping[M]
    _events: EventTypes

    def projection(self, name: str, into: Target[Any] | Store | None = None) -> Projection:
        """Return a read model that functions keep up to date, a function for each decision or class of domain events.

        Args:
            name: that of the projection; its checkpoint is kept under it.
            into: another :class:`Store`, or a :class:`Target`, to which the functions write; None for the store itself.

        >>> import attrs
        >>> @attrs.frozen
        ... class Shipped:
        ...     parcels: int
        ...
        ...     def changes(self, order):
        ...         return {'state': 'shipped'}
        >>> @attrs.frozen
        ... class Order:
        ...     total: int
        ...     state: str = 'new'
        ...
        ...     def pay(self):
        ...         return {'state': 'paid'}
        ...
        ...     def ship(self, parcels):
        ...         return Shipped(parcels)
        >>> orders = Repository(store, Order, events=[Shipped])
        >>> sales = orders.projection('sales')
        >>> @sales.on(Order.pay)
        ... def count(occurrence, store):
        ...     store['paid'] = store.get('paid', 0) + occurrence.after.total
        >>> @sales.on(Shipped)
        ... def note(occurrence, store):
        ...     store['parcels of ' + occurrence.key] = occurrence.event.parcels
        >>> _ = orders.create('o-1', total=20), orders.do('o-1', Order.pay), orders.do('o-1', Order.ship, 2)
        >>> sales.run(), store['paid'], store['parcels of o-1']
        (2, 20, 2)
        """
        return Projection(name, self, into)

    def project(
        self,
        name: str,
        handlers: Mapping[Wanted, Handler],
        *,
        into: Target[Any] | Store | None = None,
        wait: float | None = None,
        rebuild: Rebuild[Any] = False,
        on_error: OnError = "raise",
        history: bool = True,
    ) -> int:
        """Keep a read model up to date with a function for each decision or class of domain events, exactly once.

        Args:
            handlers: functions of an :class:`Occurrence` and the store, by decision (``Order.pay`` or ``'pay'``) or
                class of events; see :meth:`Projection.on`.
            name, into: as in :meth:`projection`.
            wait, rebuild, on_error, history: as in :meth:`Projection.run`.

        Returns:
            The number of calls that were made or skipped.

        >>> import attrs
        >>> @attrs.frozen
        ... class Visit:
        ...     guest: str
        ...     open: bool = True
        ...
        ...     def leave(self):
        ...         return {'open': False}
        >>> visits = Repository(store, Visit)
        >>> _ = visits.create('1', guest='Ada'), visits.do('1', Visit.leave)
        >>> def forget(occurrence, store):
        ...     store.delete('in: ' + occurrence.key)
        >>> def welcome(occurrence, store):
        ...     store['in: ' + occurrence.key] = occurrence.after.guest
        >>> visits.project('in', {'create': welcome, Visit.leave: forget}), store.find('in: *')
        (2, [])
        """
        projection = self.projection(name, into)
        for wanted, handler in handlers.items():
            projection.on(wanted)(handler)
        return projection.run(wait=wait, rebuild=rebuild, on_error=on_error, history=history)


_parts_of: Final[Callable[[Reacting[Any]], tuple[Store, ModelMapping[Any], EventTypes]]] = attrgetter(
    "_store", "_mapping", "_events"
)
