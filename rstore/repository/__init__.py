"""Domain models as event sequences: classes whose instances are folded from the decisions about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from attrs import evolve

from rstore.admin.erase import erase_sequences
from rstore.core import check_expect, core_of, reading_of
from rstore.domain.errors import StoreModelError
from rstore.domain.log import Reclaimed
from rstore.domain.names import check_name
from rstore.history.revert import revert_state
from rstore.models.applying import delete_sequence
from rstore.models.event_states import current_state, is_live
from rstore.repository.arguments import Kept, check_kept
from rstore.repository.deciding import When
from rstore.repository.decisions import Changes
from rstore.repository.events import ChangesOf, EventClasses, EventTypes, UnknownEvent
from rstore.repository.indexes import Indexes
from rstore.repository.mapping import ModelMapping, Unknown
from rstore.repository.past import PastReader
from rstore.repository.reactions import Occurrence, Projection, Reacting
from rstore.repository.searching import Searching
from rstore.repository.upcasts import Upcasts
from rstore.store import Store
from rstore.tags import moment_of
from rstore.timestamps import Moment, posix_ms
from rstore.transactions import unless_named
from rstore.view import View

__all__ = ["Changes", "Occurrence", "Projection", "Repository", "UnknownEvent", "Upcasts"]

M = TypeVar("M")
P = ParamSpec("P")


class Repository(Searching[M], PastReader[M], Reacting[M]):
    """The instances of an attrs class, dataclass or pydantic model, each an event sequence with an item for each field.

    Methods of the class decide: they take an instance, and return changes or raise. They read and write nothing, so you
    can test them without a store.

    >>> import attrs
    >>> @attrs.frozen
    ... class Account:
    ...     owner: str
    ...     balance: int = 0
    ...
    ...     def deposit(self, amount):
    ...         if amount <= 0:
    ...             raise ValueError('amount must be positive')
    ...         return {'balance': (operator.add, amount)}
    >>> accounts = Repository(store, Account)
    >>> accounts.create('acc-1', owner='Ada').balance
    0
    >>> accounts.do('acc-1', Account.deposit, 10).balance
    10
    >>> accounts.get('acc-1') == Account('Ada', 10)
    True

    When the class changes, instances that were recorded before still load. A new field has its default, which should
    always be the same: nothing is stored for it. An item without a field is an error, unless ``upcast`` says what
    became of it.

    >>> @attrs.frozen
    ... class Customer:
    ...     name: str
    ...     balance: int
    ...     limit: int = 100
    >>> customers = Repository(store, Customer, prefix='Account/', upcast={'owner': 'name'})
    >>> customers.get('acc-1')
    Customer(name='Ada', balance=10, limit=100)
    """

    def __init__(
        self,
        store: Store | View,
        model: type[M],
        prefix: str | None = None,
        *,
        upcast: Upcasts | None = None,
        converter: Any = None,
        arguments: Kept = True,
        unknown: Unknown = "error",
        events: EventClasses | EventTypes = (),
        changes: Mapping[type[Any], ChangesOf] | None = None,
        index: Iterable[str] = (),
        unique: Iterable[str] = (),
    ) -> None:
        """Describe a repository; nothing is read or written.

        Args:
            store: a Store, or a view of its past.
            model: an attrs class, dataclass or pydantic model. Values of type int, float, str, bool, bytes or None are
                stored as they are. Their types are checked when they are stored, not when they are loaded. cattrs
                structures all others into what JSON can hold (``pip install 'rlib-store[models]'``). pydantic
                structures those of its models.
            prefix: the beginning of the keys in the store (default: the name of the class and a slash). No other keys
                of event sequences may begin with it.
            upcast: for items of earlier versions of the class that have no field now: the new name of the field, or
                None if it is gone, or a function from the item's value to ``{field: stored value}``. If several items
                become the same field, the last one in this table counts. A value that was recorded under the field's
                own name counts before all of them. The page *Keep domain models* has more: types, enums, versions.
            converter: a cattrs converter of your own.
            arguments: whether the log keeps the arguments of decisions: all of them, none (``False``), or all but those
                that a table names for each decision, such as ``{'pay': ['card']}``.
            unknown: how to treat items without a field or ``upcast``, as a newer version of the program writes them.
                ``error``: such an instance is not loaded. ``keep``: it loads without them, and decisions leave them as
                they are. ``drop``: it loads without them, and the next decision on it deletes them. Fields of nested
                classes are kept, or go, when a decision stores the field around them.
            events: the classes of events that decisions may return, attrs classes, dataclasses or pydantic models. The
                log keeps the name of the class, or the name that a table gives it: ``{'paid': Paid}``. Several names
                may stand for one class; the first is the one that is stored.
            changes: for classes of events without a method ``changes``: a function of an event and an instance.
            index: the fields by which :meth:`by` finds instances, or parts of their values, as in ``'address.city'``.
            unique: such fields of which no two instances may have the same value. None is not unique.

        Raises:
            TypeError: the model is no such class, or has a field that can't be structured.
            ValueError: ``upcast`` has an item or value that needs none, or a name that the class or enum lacks; or
                ``index`` or ``unique`` has such a name.
            ImportError: a field has to be structured, and cattrs is not installed.
        """
        self._store, self._mapping = store, ModelMapping.of(model, prefix, upcast or {}, converter, unknown)
        self._events = EventTypes.of(events, changes or {}, self._mapping.options)
        self._indexes = Indexes.of(self._mapping, index, unique)
        self._when = When(store, self._mapping, self._events, check_kept(arguments), self._indexes)

    def __repr__(self) -> str:
        return f"<Repository of {self._mapping.title} under {self._mapping.prefix!r} in {self._store!r}>"

    def at(self, moment: Moment) -> Repository[M]:
        """Return the repository as it was known at a time, to be read only; see :meth:`Store.at`."""
        view, own = self._store.at(moment), self._mapping
        options = {**own.options, **self._indexes.options, "arguments": self._when.arguments, "events": self._events}
        return Repository(view, own.model, own.prefix, **options)

    # -- read ---------------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> M | Any:
        """Return an instance, or the default if there is none.

        Raises:
            StoreModelError: the recorded state does not fit the class.
        """
        found = current_state(reading_of(self._store), self._name(key))
        return default if found is None or found.deleted else self._mapping.load(key, found.state)

    def __getitem__(self, key: str) -> M:
        found = current_state(reading_of(self._store), self._name(key))
        if found is None or found.deleted:
            raise KeyError(key)
        return self._mapping.load(key, found.state)

    def __contains__(self, key: str) -> bool:
        return is_live(reading_of(self._store), self._name(key))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[str]:
        """Return the keys, in code-point order."""
        prefix = self._mapping.prefix
        return [key.removeprefix(prefix) for key in self._store.eventsources(prefix)]

    def version(self, key: str) -> int:
        """Return the version of an instance, which each change of it increases: 0 if there never was one.

        It is what ``expect`` compares with: see :meth:`when`, and :meth:`Store.version`.
        """
        return self._store.version(self._name(key))

    # -- write --------------------------------------------------------------------------------------------------------

    def create(self, key: str, **arguments: Any) -> M:
        """Make an instance, store it, and return the stored one.

        Raises:
            StoreConflictError: there is one under this key.
            StoreModelError: a field has a value that could not be loaded, or on which the class fails.
        """
        return self._when.create(key, **arguments)

    def do(self, key: str, decide: Callable[Concatenate[M, P], object], *args: P.args, **kwargs: P.kwargs) -> M:
        """Load an instance, let it decide, store the decision, and return the changed instance.

        A decision names fields, and values as instances have them: ``{'due': date(2026, 1, 1)}``, or with an operator,
        ``{'balance': (operator.add, 10)}``. It may also be an event of a class in ``events``; or a changed instance, of
        which the fields count that differ from the one that ``decide`` got; or a list of all these, of which each is
        applied to what those before have made. None or an empty decision changes nothing. If another writer was faster,
        the instance is loaded and decides again, whatever ``decide`` did before: it should have no effects of its own.
        If it raises, or if its decision makes an invalid instance, nothing is stored. From then on :meth:`get` returns
        the same instance.

        The log keeps what was decided: the name of ``decide`` and its arguments, beside the changes. A lambda has the
        name that a :meth:`Store.context` gives it with ``did``. Arguments that JSON can't hold are structured. Of those
        that can't be, only the type is shown.

        Raises:
            KeyError: there is none under this key.
            StoreModelError: the decision does not fit the class, or could not be loaded; field and value are named.
            StoreConflictError: other writers were faster, again and again.

        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Ticket:
        ...     title: str
        ...     done: bool = False
        >>> tickets = Repository(store, Ticket)
        >>> _ = tickets.create('42', title='Write the manual')
        >>> tickets.do('42', lambda ticket: {'done': True})
        Ticket(title='Write the manual', done=True)
        >>> with store.context(who='ada', did='reopen'):
        ...     _ = tickets.do('42', lambda ticket: {'done': False})
        >>> [(commit.who, commit.did) for commit in tickets.history('42', by='commit')]
        [(None, 'create'), (None, None), ('ada', 'reopen')]
        """
        return self._when.do(key, decide, *args, **kwargs)

    def when(self, *, expect: int | None = None, once: str | None = None, t: Moment | None = None) -> When[M]:
        """Return an object with :meth:`create` and :meth:`do` that keep to conditions.

        The conditions are no arguments of ``do``, since those go to ``decide``, which may have an ``expect`` of its
        own.

        Args:
            expect: the version that the instance must still have, as :meth:`version` returned it. There is one attempt.
            once: an idempotency key: a second call with it, for this instance, decides and stores nothing, and returns
                the instance that the first call returned. A key counts for ``create``, ``do`` and :meth:`Store.apply`.
            t: when it happened, as :meth:`at` takes times. The decision is taken on the instance as it was then, and
                all later changes are folded again. The newest instance is returned, which must be valid, too.

        >>> import attrs
        >>> @attrs.frozen
        ... class Till:
        ...     cash: int = 0
        ...
        ...     def take(self, amount):
        ...         return {'cash': (operator.add, amount)}
        >>> tills = Repository(store, Till)
        >>> _ = tills.create('1')
        >>> tills.when(expect=tills.version('1'), once='receipt 7').do('1', Till.take, 5)
        Till(cash=5)
        >>> _ = tills.do('1', Till.take, 3)
        >>> tills.when(once='receipt 7').do('1', Till.take, 5)
        Till(cash=5)
        >>> tills['1']
        Till(cash=8)

        Raises:
            StoreConflictError: by ``do``: the instance is at another version than expected.
            StoreModelError: by ``do``: there was no instance at the time ``t``.
            StoreIntegrityError: by ``do``: later changes can't be folded any more; or a field was changed at ``t``
                already.
            KeyError: by ``do``: there is none, or it was deleted since.
        """
        token = None if once is None else check_name("token", once, empty=False)
        return evolve(self._when, expect=check_expect(expect), once=token, t=None if t is None else posix_ms(t, "t"))

    def delete(self, *keys: str) -> None:
        """Delete instances and keep their past; unknown keys are ignored. See :meth:`Store.delete_events`.

        >>> import attrs
        >>> @attrs.frozen
        ... class Guest:
        ...     name: str
        >>> guests = Repository(store, Guest)
        >>> _ = guests.create('1', name='Ada')
        >>> guests.delete('1')
        >>> guests.get('1'), guests.keys(), [change.op for change in guests.history('1')]
        (None, [], ['setitem', 'delitem', 'delete'])
        """
        core = core_of(self._store)
        with unless_named(core, "delete"):
            core.check_writable()
            for key, name in {key: self._name(key) for key in keys}.items():
                delete_sequence(core, name, None, beside=partial(self._indexes.moved_states, core, key))

    def erase(self, *keys: str, dry_run: bool = False) -> Reclaimed:
        """Erase instances with their whole past, which nothing can undo; unknown keys are ignored.

        The result says how many records that were, and their bytes. Events, arguments of decisions, snapshots and
        marks of ``once`` go, and the file or server frees their space. The log keeps a change ``erase`` with the
        context of the call, and with the key. See the page *Personal data* for copies that are elsewhere.

        Each call reads the log once, so erase several keys in one call.

        Args:
            dry_run: erase nothing, and return how much would be saved. A frozen store can do this, too.

        Raises:
            StoreError: inside a transaction.

        >>> import attrs
        >>> @attrs.frozen
        ... class Patient:
        ...     name: str
        >>> patients = Repository(store, Patient)
        >>> _ = patients.create('p-1', name='Ada')
        >>> with store.context(who='clerk', why='request 12'):
        ...     patients.erase('p-1').records
        1
        >>> patients.get('p-1'), patients.past('p-1', '2100-01-01T00:00Z')
        (None, None)
        >>> [(change.op, change.who, change.why) for change in patients.history('p-1')]
        [('erase', 'clerk', 'request 12')]
        """
        names = list(dict.fromkeys(map(self._name, keys)))
        return erase_sequences(core_of(self._store), self._mapping.prefix, names, dry_run=dry_run)

    def revert(self, key: str, t: Moment) -> M:
        """Bring an instance back to its state at a valid time, by new changes; return it. See :meth:`Store.revert`.

        An instance that was deleted since comes back too.

        Raises:
            KeyError: there never was one under this key.
            StoreModelError: there was none then.
        """
        if not self.version(key):
            raise KeyError(key)
        if self.past(key, t) is None:
            raise StoreModelError(key, f"there was no {self._mapping.title} yet at that time")
        core = core_of(self._store)
        beside, time = partial(self._indexes.moved_states, core, key), moment_of(core, t)
        with unless_named(core, "revert"):
            state = core.decide(partial(revert_state, core, self._name(key), time, beside))
        return self._mapping.load(key, state)

    def _name(self, key: str) -> str:
        return self._mapping.name(key)
