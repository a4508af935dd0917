"""The list of namespaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from rstore.core import reading_of
from rstore.domain.errors import StoreError
from rstore.domain.streams import ES, KV, TS
from rstore.web.stores import Stores

_COUNTED: Final = 30


@frozen
class Namespace:
    """A namespace: how many keys of each kind are live, or why that can't be read.

    Where there are many namespaces, the numbers are None: to count, a store of each has to be open.
    """

    name: str
    values: int | None
    series: int | None
    sequences: int | None
    error: str = ""


@frozen
class Namespaces:
    """All namespaces, by name."""

    namespaces: Sequence[Namespace]


def page(stores: Stores) -> Namespaces:
    """Return the model of the page."""
    names = stores.names()
    if len(names) > _COUNTED:
        return Namespaces([Namespace(name, None, None, None) for name in names])
    return Namespaces([_counted(stores, name) for name in names])


def _counted(stores: Stores, name: str) -> Namespace:
    try:
        values, series, sequences = reading_of(stores.store(name)).log.counts((KV, TS, ES))
    except (LookupError, StoreError) as exc:  # it was discarded meanwhile, say: the others are there
        return Namespace(name, None, None, None, str(exc))
    return Namespace(name, values, series, sequences)
