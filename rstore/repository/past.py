"""The past of the instances of a repository: their earlier states, their changes, and what happened to them."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar, overload

from rstore.core import reading_of
from rstore.domain.operators import EVENT
from rstore.domain.streams import ES
from rstore.history.changes import Change
from rstore.history.commits import By, Commit
from rstore.history.diff import Diff
from rstore.repository.events import EventTypes
from rstore.repository.mapping import ModelMapping
from rstore.store import Store
from rstore.timestamps import Moment
from rstore.view import View

M = TypeVar("M")


class PastReader(Generic[M]):
    """A part of the public surface of a repository: it reads the past of instances, and has no state of its own."""

    _store: Store | View
    _mapping: ModelMapping[M]
    _events: EventTypes

    def past(self, key: str, t: Moment) -> M | None:
        """Return an instance as it was at a valid time, or None if there was none."""
        state = self._store.past(self._mapping.name(key), t)
        return None if state is None else self._mapping.load(key, state)

    def diff(self, key: str, t1: Moment, t2: Moment) -> Diff:
        """Return which fields are different at two valid times, as they are stored; see :meth:`Store.diff`."""
        return self._store.diff(self._mapping.name(key), t1, t2)

    @overload
    def history(self, key: str, *, by: Literal["change"] = "change") -> list[Change]: ...
    @overload
    def history(self, key: str, *, by: Literal["commit"]) -> list[Commit]: ...
    def history(self, key: str, *, by: By = "change") -> list[Change] | list[Commit]:
        """Return all changes of an instance, or the commits that made them; see :meth:`Store.history`."""
        return self._store.history(self._mapping.name(key), ES, by=by)

    def events(self, key: str) -> list[Any]:
        """Return the domain events of an instance, in order of the times when they happened.

        In place of an event of which no instance can be made, there is an :class:`rstore.UnknownEvent`. Events that
        were pruned are gone.

        >>> import attrs
        >>> @attrs.frozen
        ... class Paid:
        ...     amount: int
        ...
        ...     def changes(self, bill):
        ...         return {'open': (operator.sub, self.amount)}
        >>> @attrs.frozen
        ... class Bill:
        ...     open: int
        ...
        ...     def pay(self, amount):
        ...         return Paid(amount)
        >>> bills = Repository(store, Bill, events=[Paid])
        >>> _ = bills.create('b-1', open=20)
        >>> bills.do('b-1', Bill.pay, 15)
        Bill(open=5)
        >>> bills.events('b-1')
        [Paid(amount=15)]
        """
        return self._events.all_of(reading_of(self._store), self._mapping.name(key), key)

    def event_in(self, change: Change) -> Any:
        """Return the domain event that a change of an instance holds, as :meth:`events` does; None of other changes.

        For functions that follow the log, such as those of :meth:`Store.project`.
        """
        if change.op != EVENT or not change.key.startswith(self._mapping.prefix):
            return None
        return self._events.read(change.key.removeprefix(self._mapping.prefix), change.item, change.value)
