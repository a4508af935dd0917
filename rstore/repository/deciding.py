"""How a repository stores decisions: loaded, decided, checked, and appended if no other writer came in between."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar

from attrs import frozen

from rstore.commits import ARGUMENTS, DID, decision_name
from rstore.core import ATTEMPTS, core_of
from rstore.domain.errors import StoreConflictError, StoreModelError
from rstore.domain.event_state import EventState
from rstore.domain.log import Batch
from rstore.domain.streams import ES, Stream
from rstore.models.applying import apply_if, first_state, mark_used
from rstore.models.event_states import current_state, past_state
from rstore.repository.arguments import Kept, arguments_of
from rstore.repository.events import EventTypes
from rstore.repository.indexes import Indexes
from rstore.repository.mapping import Made, ModelMapping
from rstore.repository.outcomes import decided
from rstore.store import Store
from rstore.transactions import context, unless_named
from rstore.view import View

M = TypeVar("M")
P = ParamSpec("P")

_Check: TypeAlias = Callable[[], None]


def _no_check() -> None:
    """Check nothing: the state was read just now."""


@frozen(eq=False)
class When(Generic[M]):
    """A repository that creates and decides under conditions: see :meth:`rstore.Repository.when`.

    Attributes:
        events: the classes of events that deciders may return.
        arguments: which arguments of decisions the log keeps.
        expect: the version that an instance must still have; None for any.
        once: the idempotency key of a call; None without one.
        t: when it happened, in POSIX milliseconds; None for now.
        indexes: those that each change keeps up to date.
    """

    store: Store | View
    mapping: ModelMapping[M]
    events: EventTypes
    arguments: Kept
    indexes: Indexes[M]
    expect: int | None = None
    once: str | None = None
    t: int | None = None

    def create(self, key: str, **arguments: Any) -> M:
        """Make an instance, store it, and return the stored one: see :meth:`rstore.Repository.create`."""
        if self.expect:
            raise TypeError("create expects that there is none: expect is for do")
        name, mapping = self.mapping.name(key), self.mapping
        mapping.bind(arguments)
        instance = mapping.make(key, arguments, arguments)
        changes = {item: (operator.setitem, value) for item, value in mapping.state(key, instance).items()}
        if not changes:
            raise StoreModelError(key, f"{mapping.title} has no fields that could be stored")
        with unless_named(core_of(self.store), "create"):  # its changes are its arguments
            return self._applied(key, name, changes.items(), None, mapping.values(instance), None)

    def do(self, key: str, decide: Callable[Concatenate[M, P], object], *args: P.args, **kwargs: P.kwargs) -> M:
        """Load an instance, let it decide, and store the decision: see :meth:`rstore.Repository.do`."""
        if not callable(decide):
            raise TypeError(
                f"decide is a function of an instance, such as Account.deposit, not {type(decide).__name__}"
            )
        core, did = core_of(self.store), decision_name(decide)
        attempt = partial(self._do, key, lambda model: decide(model, *args, **kwargs))
        if self.once is not None:
            attempt = partial(self._do_once, key, self.once, attempt)
        arguments = (
            None if did is None else arguments_of(decide, did, args, kwargs, self.mapping.converter, self.arguments)
        )
        with context(core, {DID: did, ARGUMENTS: arguments}):
            return core.decide(attempt, ATTEMPTS if self.expect is None else 1)

    def _do_once(self, key: str, once: str, attempt: Callable[[], M]) -> M:
        """Return the instance that the first call returned. That call may come between, and make the attempt fail."""
        first = self._first(key, once)
        if first is not None:
            return first
        try:
            return attempt()
        except Exception:
            # The method may raise anything on an instance that the first call has changed. The attempt itself is the
            # first call if only its answer was lost. All other errors pass: without a first call there is no instance.
            first = self._first(key, once)
            if first is None:
                raise
            return first

    def _first(self, key: str, once: str) -> M | None:
        """Return the instance that the call with an idempotency key has led to; None without such a call."""
        state = first_state(core_of(self.store), self.mapping.name(key), once)
        return None if state is None else self._loaded(key, state)

    def _do(self, key: str, decide: Callable[[M], object]) -> M:
        """Decide on the cached state, where no other writer was seen; on the newest one, if that is out of date."""
        core, name = core_of(self.store), self.mapping.name(key)
        cached = None if self.t is not None else core.states.get(name)
        if cached is not None:
            with suppress(StoreConflictError):
                return self._do_on(
                    key, name, cached, decide, partial(core.check_version, Stream(ES, name), cached.version)
                )
        # one round trip for state and version
        return self._do_on(key, name, current_state(core, name), decide, _no_check)

    def _do_on(
        self, key: str, name: str, newest: EventState | None, decide: Callable[[M], object], check_newest: _Check
    ) -> M:
        """Decide on a state, and store the decision if that is still the newest one.

        ``check_newest`` raises a conflict if it is not. It takes the place of what the method of the user's raises on
        such a state, or the class. An error of the append passes as it is: the decision may be stored.
        """
        core, mapping, made = core_of(self.store), self.mapping, Made()
        try:
            newest, then = self._states(key, name, newest)
            instance = mapping.load(key, then.state, made=made)
            outcome = decide(mapping.load(key, then.state, made=made))  # another: what decide does to it is no decision
            changes, values = decided(mapping, self.events, key, then.state, instance, outcome, made)
        except Exception:
            check_newest()
            raise
        if not changes:
            check_newest()
            if self.once is not None:
                mark_used(core, name, self.once, newest.version)
            return instance if then is newest else mapping.load(key, newest.state)
        if mapping.unknown == "drop" and self.t is None:  # late, a deletion could keep a later event from folding
            changes += [(item, (operator.delitem, None)) for item in mapping.unknown_in(then.state.keys())]
        before = instance if then is newest or not self.indexes.fields else mapping.load(key, newest.state)
        return self._applied(key, name, changes, newest, values, before, made, check_newest)

    def _states(self, key: str, name: str, newest: EventState | None) -> tuple[EventState, EventState]:
        """Return the newest state, and the one to decide on; raise if there is none that was asked for."""
        if newest is None or newest.deleted:
            raise KeyError(key)
        if self.expect not in (None, newest.version):
            raise StoreConflictError(ES, name, self.expect, newest.version)
        then = newest if self.t is None else past_state(core_of(self.store), Stream(ES, name), self.t)
        if then is None or not then.lives:
            raise StoreModelError(key, f"there was no {self.mapping.title} yet at that time")
        return newest, then

    def _applied(
        self,
        key: str,
        name: str,
        changes: Iterable[tuple[str, Any]],
        current: EventState | None,
        values: Mapping[str, Any],
        before: M | None,
        made: Made | None = None,
        check_newest: _Check = _no_check,
    ) -> M:
        """Store changes of a state, None for a new instance, if what they make can be loaded; return the instance."""
        loaded: list[M] = []
        core, changes, expect = core_of(self.store), list(changes), 0 if current is None else current.version

        def check(state: Mapping[str, Any]) -> None:
            try:
                loaded.append(self._loaded(key, state, values, made))
            except Exception:
                check_newest()
                raise

        def beside(*_: EventState) -> Sequence[Batch]:
            try:
                return self.indexes.moved(core, key, before, loaded[-1])
            except Exception:
                check_newest()
                raise

        added = beside if self.indexes.fields else None
        self.indexes.repeated(lambda: apply_if(core, name, changes, check, expect, self.t, self.once, current, added))
        return loaded[-1]

    def _loaded(
        self, key: str, state: Mapping[str, Any], values: Mapping[str, Any] | None = None, made: Made | None = None
    ) -> M:
        if not state:  # it was deleted since: after the time of a late decision, or after what was done once
            raise KeyError(key)
        return self.mapping.load(key, state, values, made)
