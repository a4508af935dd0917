"""The public calls that find instances: all of them, or by their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Literal, TypeVar, overload

from rstore.core import core_of, reading_of
from rstore.domain.errors import StoreError
from rstore.repository.finding import count_by, found_by
from rstore.repository.indexes import Indexes
from rstore.repository.listing import Errors, check_errors, instances
from rstore.repository.mapping import ModelMapping
from rstore.repository.reindexing import Reindexed, reindexed
from rstore.store import Store
from rstore.view import View

M = TypeVar("M")


class Searching(Generic[M]):
    """The part of a repository that finds instances. It has no state and no helpers of its own."""

    _store: Store | View
    _mapping: ModelMapping[M]
    _indexes: Indexes[M]

    @overload
    def all(self, errors: Literal["raise", "skip"] = "raise") -> Iterator[tuple[str, M]]: ...
    @overload
    def all(self, errors: Literal["yield"]) -> Iterator[tuple[str, M | StoreError]]: ...
    def all(self, errors: Errors = "raise") -> Iterator[tuple[str, M | StoreError]]:
        """Yield ``(key, instance)``, in code-point order of the keys, which are read in pages meanwhile.

        Args:
            errors: how to treat an instance that can't be loaded, since its state does not fit the class or can't be
                read: raise its error, skip it, or yield the error in its place.

        >>> import attrs
        >>> @attrs.frozen
        ... class Fee:
        ...     amount: int
        >>> fees = Repository(store, Fee)
        >>> _ = fees.create('1', amount=5), store.apply('Fee/2', {'cost': 7})
        >>> list(fees.all('skip'))
        [('1', Fee(amount=5))]
        >>> [str(error) for _, error in fees.all('yield') if isinstance(error, StoreError)]
        ["'2': 'cost' is no field of Fee: say in upcast= what became of it"]
        """
        return instances(reading_of(self._store), self._mapping, check_errors(errors))

    @overload
    def by(self, errors: Literal["raise", "skip"] = "raise", /, **criteria: Any) -> Iterator[tuple[str, M]]: ...
    @overload
    def by(self, errors: Literal["yield"], /, **criteria: Any) -> Iterator[tuple[str, M | StoreError]]: ...
    def by(self, errors: Errors = "raise", /, **criteria: Any) -> Iterator[tuple[str, M | StoreError]]:
        """Yield ``(key, instance)`` of the instances whose fields have some values, in order of value and key.

        Fields have an ``index``, or are ``unique``. They are read in pages, as :meth:`all` does. An instance whose
        value changes meanwhile may come twice, or not at all; a view of a time shows one moment.

        Args:
            errors: how to treat an instance that can't be loaded, as for :meth:`all`.
            criteria: a value for each field, or :class:`rstore.Between` or :class:`rstore.StartsWith`. The index of the
                first one is walked along, and the others are looked at in each instance: the one that finds the least
                should come first. Numbers that are equal are the same value, whatever their types.

        Raises:
            ValueError: a field has no index.
            TypeError: there is no order for a value.
            StoreIndexError: the index may lack instances: call :meth:`reindex`.

        >>> import attrs
        >>> from rstore import Between
        >>> @attrs.frozen
        ... class Invoice:
        ...     customer: str
        ...     total: int
        >>> invoices = Repository(store, Invoice, index=['customer', 'total'])
        >>> _ = invoices.create('i-1', customer='Ada', total=50), invoices.create('i-2', customer='Bob', total=70)
        >>> list(invoices.by(customer='Ada'))
        [('i-1', Invoice(customer='Ada', total=50))]
        >>> [key for key, _ in invoices.by(total=Between(10, None))], invoices.count(total=70)
        (['i-1', 'i-2'], 1)
        """
        return found_by(reading_of(self._store), self._indexes, criteria, check_errors(errors))

    def count(self, /, **criteria: Any) -> int:
        """Return how many instances have some values, as :meth:`by` takes them. Of one field, no instance is loaded."""
        return count_by(reading_of(self._store), self._indexes, criteria)

    def reindex(self, errors: Literal["raise", "skip"] = "raise") -> Reindexed:
        """Add the entries that the indexes lack, end those that are out of date, and return their numbers.

        It is needed once for a field that gets an index when there are instances already. It is needed again after
        programs wrote that do not declare the index, or wrote with :meth:`Store.apply`. Others may write meanwhile, if
        they declare the same indexes. A call that was interrupted can be repeated.

        Args:
            errors: how to treat an instance that can't be loaded, and a value without order: raise the error, or leave
                it out of the indexes.

        Raises:
            StoreUniqueError: two instances have the same value in a field that is unique. The other fields are done.
            StoreError: inside a transaction.

        >>> import attrs
        >>> @attrs.frozen
        ... class Member:
        ...     name: str
        >>> _ = Repository(store, Member).create('m-1', name='Ada')
        >>> members = Repository(store, Member, index=['name'])
        >>> members.reindex()
        Reindexed(added=1, ended=0)
        >>> [key for key, _ in members.by(name='Ada')]
        ['m-1']
        """
        return reindexed(core_of(self._store), self._indexes, errors)
