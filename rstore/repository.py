"""Domain models as event sequences: classes whose instances are folded from what was decided about them."""

from __future__ import annotations

import dataclasses
import operator
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Concatenate, Final, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar

import attrs

from rstore.audit import Audit, Change
from rstore.domain.errors import StoreModelError
from rstore.domain.log import ES, check_name
from rstore.domain.operators import OPERATORS, SETITEM, parse
from rstore.domain.projection import Fact, Projection, fold
from rstore.moments import Moment
from rstore.sequences import copied

M = TypeVar("M")
P = ParamSpec("P")

Changes: TypeAlias = Mapping[str, Any]
"""What a decision comes to: ``{field: value}`` or ``{field: (operator, value)}``, as for :meth:`Store.apply`."""

Upcast: TypeAlias = str | Callable[[Any], Mapping[str, Any]] | None
"""What became of an item that is no field any more: its new name, nothing, or a function of its value to new items."""

_PLAIN: Final = frozenset({int, float, str, bool, bytes, type(None), Any})


class _Field(NamedTuple):
    """A field of a model: the argument that sets it, its type, and whether values of that are stored as they are."""

    argument: str
    type: Any
    is_plain: bool


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
    """

    def __init__(
        self,
        store: Audit,
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
                with cattrs (``pip install 'rlib-store[models]'``).
            prefix: what the keys begin with in the store (default: the name of the class and a slash).
            upcast: for items of earlier versions of the class that it has no field for: the field's new name, or None
                if it is gone, or a function from the item's value to ``{field: value}``.
            converter: a cattrs converter of your own.

        Raises:
            TypeError: the model is neither.
        """
        self._store, self._model, self._converter = store, model, converter
        self._prefix = check_name("prefix", f"{model.__name__}/" if prefix is None else prefix)
        self._upcast = dict(upcast or {})
        self._fields = _fields(model)

    def at(self, moment: Moment) -> Repository[M]:
        """Return the repository as it was known at a time, to be read only; see :meth:`Store.at`."""
        view = self._store.at(moment)
        return Repository(view, self._model, self._prefix, upcast=self._upcast, converter=self._converter)

    # -- read ---------------------------------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> M | Any:
        """Return an instance, or the default if there is none."""
        state = self._store.current(self._prefix + key)
        return default if state is None else self._loaded(key, state)

    def __getitem__(self, key: str) -> M:
        state = self._store.current(self._prefix + key)
        if state is None:
            raise KeyError(key)
        return self._loaded(key, state)

    def __contains__(self, key: str) -> bool:
        return self._store.version(self._prefix + key) > 0

    def keys(self) -> list[str]:
        """Return the keys, in code-point order."""
        return [key.removeprefix(self._prefix) for key in self._store.eventsources(self._prefix)]

    def all(self) -> Iterator[tuple[str, M]]:
        """Yield ``(key, instance)``, in code-point order of the keys."""
        for key in self.keys():
            state = self._store.current(self._prefix + key)
            if state is not None:
                yield key, self._loaded(key, state)

    def past(self, key: str, t: int) -> M | None:
        """Return an instance as it was at a valid time in POSIX milliseconds, or None if there was none."""
        state = self._store.past(self._prefix + key, t)
        return None if state is None else self._loaded(key, state)

    def history(self, key: str) -> list[Change]:
        """Return all changes of an instance; see :meth:`Store.history`."""
        return self._store.history(self._prefix + key, ES)

    # -- write --------------------------------------------------------------------------------------------------------

    def create(self, key: str, **arguments: Any) -> M:
        """Make an instance and store it.

        Raises:
            StoreConflictError: there is one under this key.
        """
        instance = self._model(**arguments)
        changes = {name: (operator.setitem, value) for name, value in self._state(instance).items()}
        self._store.apply(self._prefix + key, changes, expect=0)
        return instance

    def do(self, key: str, decide: Callable[Concatenate[M, P], Changes | None], *args: P.args, **kwargs: P.kwargs) -> M:
        """Load an instance, let it decide, store what it decided, and return what it has become.

        If somebody else was faster, it is loaded and decides again, so ``decide`` has no effects of its own. If it
        raises, or if what it decides makes an invalid instance, nothing is stored.

        Raises:
            KeyError: there is none under this key.

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
        return self._store._decide(partial(self._do, key, lambda model: decide(model, *args, **kwargs)))  # noqa: SLF001

    def _do(self, key: str, decide: Callable[[M], Changes | None]) -> M:
        projection = self._store._present(self._prefix + key)  # noqa: SLF001  # one round trip for state and version
        if projection is None:
            raise KeyError(key)
        stored = copied(projection.state)
        model = self._loaded(key, stored)
        changes = decide(model)
        if not changes:
            return model
        recorded, state = self._decided(key, stored, model, changes)
        instance = self._built(state)
        self._store.apply(self._prefix + key, recorded, expect=projection.version)
        return instance

    def _decided(
        self, key: str, stored: Mapping[str, Any], model: M, changes: Changes
    ) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """Return what is to be recorded, and the state after it.

        What is done to a field of which no event speaks yet, since it has its default or had another name, is recorded
        as what comes of it.
        """
        steps = {name: self._step(key, name, change) for name, change in changes.items()}
        facts = [Fact(1, 1, name, op, value) for name, (op, value) in steps.items()]
        after = fold(Projection(state=self._state(model)), facts).state
        recorded = {
            name: (OPERATORS[op].function, value) if name in stored else (operator.setitem, after[name])
            for name, (op, value) in steps.items()
            if name in stored or name in after
        }
        return recorded, after

    def _step(self, key: str, name: str, change: Any) -> tuple[str, Any]:
        if name not in self._fields:
            raise StoreModelError(key, f"a decision changes {name!r}, which is no field of {self._model.__name__}")
        op, value = parse(name, change)
        field = self._fields[name]
        if op == SETITEM:
            return op, self._stored(field, value)
        return op, value if field.is_plain else self._converted().unstructure(value)

    # -- between instances and states ---------------------------------------------------------------------------------

    def _state(self, instance: M) -> dict[str, Any]:
        return {name: self._stored(field, getattr(instance, name)) for name, field in self._fields.items()}

    def _stored(self, field: _Field, value: Any) -> Any:
        return value if field.is_plain else self._converted().unstructure(value, field.type)

    def _loaded(self, key: str, state: Mapping[str, Any]) -> M:
        items = self._upcasted(key, state)
        try:
            return self._built(items)
        except Exception as exc:  # whatever a user's class raises
            raise StoreModelError(key, f"it makes no {self._model.__name__}: {exc}") from exc

    def _built(self, items: Mapping[str, Any]) -> M:
        arguments = {self._fields[name].argument: self._shown(self._fields[name], items[name]) for name in items}
        return self._model(**arguments)

    def _shown(self, field: _Field, value: Any) -> Any:
        return value if field.is_plain else self._converted().structure(value, field.type)

    def _upcasted(self, key: str, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state under the names that its fields have now: what was recorded under these counts."""
        items: dict[str, Any] = {}
        for item in state.keys() - self._fields.keys():
            if item not in self._upcast:
                raise StoreModelError(
                    key, f"{item!r} is no field of {self._model.__name__}: say in upcast= what became of it"
                )
            became = self._upcast[item]
            if became is not None:
                items |= {became: state[item]} if isinstance(became, str) else became(state[item])
        return items | {name: state[name] for name in self._fields if name in state}

    def _converted(self) -> Any:
        if self._converter is None:
            try:
                import cattrs
            except ImportError:
                raise ImportError(
                    f"fields of {self._model.__name__} are structured with cattrs: pip install 'rlib-store[models]'"
                ) from None
            self._converter = cattrs.Converter()
        return self._converter


def _fields(model: type[Any]) -> dict[str, _Field]:
    """Return the fields of a class that its constructor sets, by name."""
    if attrs.has(model):
        found = {field.name: field.alias or field.name for field in attrs.fields(model) if field.init}
    elif dataclasses.is_dataclass(model):
        found = {field.name: field.name for field in dataclasses.fields(model) if field.init}
    else:
        raise TypeError(f"{getattr(model, '__name__', model)} is neither an attrs class nor a dataclass")
    hints = _hints(model)
    return {name: _Field(argument, hints[name], _is_plain(hints[name])) for name, argument in found.items()}


def _hints(model: type[Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(model)
    except NameError as exc:
        raise TypeError(f"a type of {model.__name__} can't be found where the class is: {exc}") from exc


def _is_plain(of_type: Any) -> bool:
    """Tell whether values of a type are stored as they are: unions of plain types are, too."""
    options = typing.get_args(of_type) if typing.get_origin(of_type) in (typing.Union, types.UnionType) else (of_type,)
    return all(option in _PLAIN for option in options)
