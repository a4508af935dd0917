"""Domain models as event sequences: classes whose instances are folded from what was decided about them."""

from __future__ import annotations

import inspect
import operator
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar

from rstore.core import core_of, reading_of
from rstore.domain.errors import StoreIntegrityError, StoreModelError
from rstore.domain.event_state import EventState, Fact, fold
from rstore.domain.names import check_name, exact
from rstore.domain.operators import DELITEM, OPERATORS, SETITEM, parse
from rstore.domain.streams import ES
from rstore.history.changes import Change
from rstore.history.diff import Diff
from rstore.models.applying import apply_if
from rstore.models.event_states import copied, current_state
from rstore.repository.fields import at_fault, converter_for, fields_of, told
from rstore.store import Store
from rstore.timestamps import Moment, posix_ms
from rstore.view import View

M = TypeVar("M")
P = ParamSpec("P")

Changes: TypeAlias = Mapping[str, Any]
"""What a decision comes to: ``{field: value}`` or ``{field: (operator, value)}``, as for :meth:`Store.apply`."""

Upcast: TypeAlias = str | Callable[[Any], Mapping[str, Any]] | None
"""What became of an item that is no field any more: its new name, nothing, or a function of its value to new items."""


class Repository(Generic[M]):
    """The instances of an attrs class or dataclass, each an event sequence with an item for each field.

    Methods of the class decide: they take a state, and return changes or raise. They read and write nothing, so they
    are tested without a store.

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

    When the class changes, what was recorded still loads. A field that is new has its default (one that is always the
    same: nothing is stored for it). An item that no field has any more is an error, unless ``upcast`` says what became
    of it.

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
        upcast: Mapping[str, Upcast] | None = None,
        converter: Any = None,
    ) -> None:
        """Describe a repository; nothing is read or written.

        Args:
            store: a Store, or a view of its past.
            model: an attrs class or dataclass. Fields that are not int, float, str, bool, bytes or None are structured
                with cattrs (``pip install 'rlib-store[models]'``), as what JSON can hold too.
            prefix: what the keys begin with in the store (default: the name of the class and a slash). Other keys of
                event sequences must not begin with it.
            upcast: for items of earlier versions of the class that it has no field for: the field's new name, or None
                if it is gone, or a function from the item's value to ``{field: stored value}``. If several become the
                same field, the last one in this table counts; and what was recorded under the field's own name does
                before all.
            converter: a cattrs converter of your own.

        Raises:
            TypeError: the model is neither, or has a field that can't be structured.
            ValueError: ``upcast`` is about a field of the class, or names one that it has not.
            ImportError: a field has to be structured, and there is no cattrs.
        """
        self._store, self._model, self._fields = store, model, fields_of(model)
        self._prefix = check_name("prefix", f"{model.__name__}/" if prefix is None else prefix)
        self._upcast = self._checked(upcast or {})
        self._converter = converter_for(model, self._fields) if converter is None else converter

    def __repr__(self) -> str:
        return f"<Repository of {self._model.__name__} under {self._prefix!r} in {self._store!r}>"

    def at(self, moment: Moment) -> Repository[M]:
        """Return the repository as it was known at a time, to be read only; see :meth:`Store.at`."""
        view = self._store.at(moment)
        return Repository(view, self._model, self._prefix, upcast=self._upcast, converter=self._converter)

    # -- read ---------------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> M | Any:
        """Return an instance, or the default if there is none.

        Raises:
            StoreModelError: what was recorded does not fit the class.
        """
        state = self._store.current(self._name(key))
        return default if state is None else self._loaded(key, state)

    def __getitem__(self, key: str) -> M:
        state = self._store.current(self._name(key))
        if state is None:
            raise KeyError(key)
        return self._loaded(key, state)

    def __contains__(self, key: str) -> bool:
        found = current_state(reading_of(self._store), self._name(key))  # no value has to be loaded
        return found is not None and not found.deleted

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[str]:
        """Return the keys, in code-point order."""
        return [key.removeprefix(self._prefix) for key in self._store.eventsources(self._prefix)]

    def all(self) -> Iterator[tuple[str, M]]:
        """Yield ``(key, instance)``, in code-point order of the keys."""
        for key in self.keys():
            state = self._store.current(self._name(key))
            if state is not None:
                yield key, self._loaded(key, state)

    def past(self, key: str, t: Moment) -> M | None:
        """Return an instance as it was at a valid time, or None if there was none."""
        state = self._store.past(self._name(key), posix_ms(t))
        return None if state is None else self._loaded(key, state)

    def diff(self, key: str, t1: Moment, t2: Moment) -> Diff:
        """Return which fields are different at two valid times, as they are stored; see :meth:`Store.diff`."""
        return self._store.diff(self._name(key), t1, t2)

    def history(self, key: str) -> list[Change]:
        """Return all changes of an instance; see :meth:`Store.history`."""
        return self._store.history(self._name(key), ES)

    # -- write --------------------------------------------------------------------------------------------------------

    def create(self, key: str, **arguments: Any) -> M:
        """Make an instance, store it, and return what was stored.

        Raises:
            StoreConflictError: there is one under this key.
            StoreModelError: a field has a value that could not be loaded, or that the class fails on.
        """
        name = self._name(key)
        inspect.signature(self._model).bind(**arguments)  # its TypeError says which argument is missing, or unknown
        instance = self._made(key, arguments, arguments)
        changes = {item: (operator.setitem, value) for item, value in self._state(key, instance).items()}
        if not changes:
            raise StoreModelError(key, f"{self._model.__name__} has no fields that could be stored")
        given = {field: getattr(instance, field) for field in self._fields}
        return self._applied(key, name, changes, 0, given)

    def do(self, key: str, decide: Callable[Concatenate[M, P], Changes | None], *args: P.args, **kwargs: P.kwargs) -> M:
        """Load an instance, let it decide, store what it decided, and return what it has become.

        A decision names fields, and values as instances have them: ``{'due': date(2026, 1, 1)}``, or with an operator,
        ``{'balance': (operator.add, 10)}``; None or nothing changes nothing. If somebody else was faster, the instance
        is loaded and decides again, so ``decide`` has no effects of its own. If it raises, or if what it decides makes
        an invalid instance, nothing is stored. What is returned is what :meth:`get` returns from then on.

        Raises:
            KeyError: there is none under this key.
            StoreModelError: the decision does not fit the class, or could not be loaded; field and value are named.
            StoreConflictError: somebody else was faster, again and again.

        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Ticket:
        ...     title: str
        ...     done: bool = False
        >>> tickets = Repository(store, Ticket)
        >>> _ = tickets.create('42', title='Write the manual')
        >>> tickets.do('42', lambda ticket: {'done': True})
        Ticket(title='Write the manual', done=True)
        """
        attempt = partial(self._do, key, lambda model: decide(model, *args, **kwargs))
        return core_of(self._store).decide(attempt)

    def delete(self, *keys: str) -> None:
        """Delete instances; unknown ones are passed over. Their past stays. See :meth:`Store.delete_events`.

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
        self._store.delete_events(*map(self._name, keys))

    def revert(self, key: str, t: Moment) -> M:
        """Bring an instance back to what it was at a valid time, by new changes; return it. See :meth:`Store.revert`.

        One that was deleted since comes back too.

        Raises:
            KeyError: there never was one under this key.
            StoreModelError: there was none then.
        """
        if not self._store.version(self._name(key)):
            raise KeyError(key)
        if self.past(key, t) is None:
            raise StoreModelError(key, f"there was no {self._model.__name__} yet at that time")
        return self._loaded(key, self._store.revert(self._name(key), t))

    def _do(self, key: str, decide: Callable[[M], Changes | None]) -> M:
        found = current_state(reading_of(self._store), self._name(key))  # one round trip for state and version
        if found is None or found.deleted:
            raise KeyError(key)
        stored = copied(found.state)
        model = self._loaded(key, stored)
        changes = decide(self._loaded(key, copied(stored)))  # what it does to its own instance is not decided by that
        if changes is None:
            return model
        steps = self._steps(key, changes)
        if not steps:
            return model
        instance = self._decided(key, model, steps)
        recorded = {name: self._recorded(key, stored, name, step, instance) for name, step in steps.items()}
        decided = {name: getattr(instance, name) for name in steps}
        return self._applied(key, self._name(key), recorded, found.version, decided)

    def _applied(self, key: str, name: str, changes: Changes, expect: int, decided: Mapping[str, Any]) -> M:
        """Store changes if what will be there then can be loaded, and return that."""
        loaded: list[M] = []

        def check(state: Mapping[str, Any]) -> None:
            loaded.append(self._loaded(key, state, decided))

        apply_if(core_of(self._store), name, changes, check, expect)
        return loaded[-1]

    def _steps(self, key: str, changes: Changes) -> dict[str, tuple[str, Any]]:
        if not isinstance(changes, Mapping):
            raise StoreModelError(key, f"a decision is a mapping of fields, not {type(changes).__name__}")
        for name in changes:
            if name not in self._fields:
                raise StoreModelError(
                    key,
                    f"a decision changes {name!r}, which is no field of {self._model.__name__}: "
                    f"it has {', '.join(self._fields)}",
                )
        return {exact(name): parse(name, change) for name, change in changes.items()}

    def _decided(self, key: str, model: M, steps: Mapping[str, tuple[str, Any]]) -> M:
        """Return what a decision makes of an instance, whose class may well refuse it."""
        values = {name: getattr(model, name) for name in self._fields}
        for name, (op, value) in steps.items():
            try:
                values = dict(fold(EventState(state=values), [Fact(1, 0, name, op, value)]).state)
            except StoreIntegrityError as exc:
                given = f" of {told(value)}" if OPERATORS[op].binary else ""
                problem = f"operator.{op}{given} fails with {type(exc.__cause__).__name__}"
                raise StoreModelError(key, f"field {name!r}: {problem}; nothing was stored") from exc.__cause__
        self._check_whole(key, values)
        arguments = {self._fields[name].argument: value for name, value in values.items()}
        return self._made(key, arguments, {name: values[name] for name in steps if name in values})

    def _made(self, key: str, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> M:
        """Return an instance; of what its class does not refuse, but fails on, say what was given."""
        try:
            return self._model(**arguments)
        except (AttributeError, TypeError, ArithmeticError) as exc:  # what values of a wrong type come to
            values = ", ".join(f"{name}={told(value)}" for name, value in given.items())
            raise StoreModelError(
                key, f"{values} makes no {self._model.__name__} ({type(exc).__name__}: {exc}); nothing was stored"
            ) from exc
        except Exception as exc:  # what the class itself says of it: a rule that was broken
            exc.add_note(f"rstore: of {self._model.__name__} {key!r}; nothing was stored")
            raise

    def _check_whole(self, key: str, names: typing.Container[str]) -> None:
        for name, field in self._fields.items():
            if name not in names and not field.has_default:
                raise StoreModelError(key, f"field {name!r} of {self._model.__name__} has no value and no default")

    def _recorded(
        self, key: str, stored: Mapping[str, Any], name: str, step: tuple[str, Any], instance: M
    ) -> tuple[Callable[..., Any], Any]:
        """Return the change of an item: the operator, if it does to what is stored what it did to the instance.

        It does not if no event speaks of the field yet, since it has its default or had another name; if values are
        not stored as they are; or if the class has made something else of it. Then what it came to is recorded.
        """
        (op, value), field = step, self._fields[name]
        before = {name: stored[name]} if name in stored else {}
        if op == DELITEM and before and name not in self._upcasted(key, stored.keys() - before, stored):
            return operator.delitem, None
        result = self._stored(key, name, getattr(instance, name))
        if op not in (SETITEM, DELITEM) and before:
            operand = value if field.is_plain else self._converter.unstructure(value)
            if _comes_to(before, Fact(1, 0, name, op, operand), result):
                return OPERATORS[op].function, operand
        return operator.setitem, result

    # -- between instances and states ---------------------------------------------------------------------------------

    def _name(self, key: str) -> str:
        return self._prefix + check_name("key", key)

    def _state(self, key: str, instance: M) -> dict[str, Any]:
        return {name: self._stored(key, name, getattr(instance, name)) for name in self._fields}

    def _stored(self, key: str, name: str, value: Any) -> Any:
        field = self._fields[name]
        if field.is_plain:
            return value
        try:
            return self._converter.unstructure(value, field.type)
        except Exception as exc:  # whatever a converter raises on a value of another type
            raise self._unfit(key, name, f"{told(value)} is no", exc) from exc

    def _loaded(self, key: str, state: Mapping[str, Any], decided: Mapping[str, Any] | None = None) -> M:
        """Return the instance that a state makes. Values are told of those fields only that are decided just now."""
        items = self._upcasted(key, state.keys(), state)
        self._check_whole(key, items)
        arguments = {self._fields[name].argument: self._shown(key, name, items[name], decided) for name in items}
        try:
            return self._model(**arguments)
        except Exception as exc:  # whatever a user's class raises
            fault = at_fault(self._model, arguments)
            of = f"field {fault!r}: it makes no" if fault else f"{', '.join(items)} make no"
            raise StoreModelError(key, f"{of} {self._model.__name__} ({type(exc).__name__})") from exc

    def _shown(self, key: str, name: str, value: Any, decided: Mapping[str, Any] | None) -> Any:
        field = self._fields[name]
        if field.is_plain:
            return value
        try:
            return self._converter.structure(value, field.type)
        except Exception as exc:  # whatever a converter raises on what is stored
            if decided is not None and name in decided:
                raise self._unfit(key, name, f"{told(decided[name])} is no", exc) from exc
            way_out = f"correct it with store.apply({self._name(key)!r}, {{{name!r}: ...}})"
            raise self._unfit(key, name, "what is stored is no", exc, way_out) from exc

    def _unfit(
        self, key: str, name: str, what: str, exc: Exception, then: str = "nothing was stored"
    ) -> StoreModelError:
        problem = f"field {name!r}: {what} {self._fields[name].type_name} ({type(exc).__name__}); {then}"
        return StoreModelError(key, problem)

    def _upcasted(self, key: str, names: typing.AbstractSet[str], state: Mapping[str, Any]) -> dict[str, Any]:
        """Return some items of a state under the names that their fields have now."""
        unknown = sorted(names - self._fields.keys() - self._upcast.keys())
        if unknown:
            raise StoreModelError(
                key, f"{unknown[0]!r} is no field of {self._model.__name__}: say in upcast= what became of it"
            )
        items: dict[str, Any] = {}
        for item, became in self._upcast.items():
            if item in names and became is not None:
                items |= {became: state[item]} if isinstance(became, str) else self._became(key, item, became, state)
        return items | {name: state[name] for name in self._fields if name in names}

    def _became(
        self, key: str, item: str, upcast: Callable[[Any], Mapping[str, Any]], state: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        try:
            items = dict(upcast(state[item]))
        except Exception as exc:  # whatever a user's function raises
            raise StoreModelError(key, f"upcast of {item!r} fails: {type(exc).__name__}") from exc
        for name in items:
            if name not in self._fields:
                raise StoreModelError(key, f"upcast of {item!r} gives {name!r}: no field of {self._model.__name__}")
        return items

    def _checked(self, upcast: Mapping[str, Upcast]) -> dict[str, Upcast]:
        for item, became in upcast.items():
            if item in self._fields:
                raise ValueError(f"upcast: {item!r} is a field of {self._model.__name__}, and needs none")
            if isinstance(became, str) and became not in self._fields:
                raise ValueError(f"upcast: {item!r} became {became!r}, which is no field of {self._model.__name__}")
        return dict(upcast)


def _comes_to(stored: Mapping[str, Any], fact: Fact, result: Any) -> bool:
    """Tell whether an operator, applied to what is stored, gives the same as it gave for an instance."""
    try:
        after = fold(EventState(state=stored), [fact]).state[fact.item]
        return type(after) is type(result) and bool(after == result)
    except Exception:  # an operator that fails on stored forms, or values that can't be compared: not the same
        return False
