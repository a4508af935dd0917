"""The stores that are shown: one for each namespace."""

from __future__ import annotations

import threading
from collections.abc import Callable

from attrs import Factory, define

from rstore.store import Store


@define(eq=False)
class Stores:
    """The stores of the namespaces of a backend, each opened when it is first asked for.

    ``names`` returns the names of the namespaces. ``opened`` returns the open store of one, or raises a StoreError.
    ``advise`` rewrites the advice in messages of the library for the readers of the pages.
    """

    names: Callable[[], list[str]]
    opened: Callable[[str], Store]
    advise: Callable[[str], str] = str
    _found: dict[str, Store] = Factory(dict)
    _lock: threading.Lock = Factory(threading.Lock)

    def store(self, namespace: str) -> Store:
        """Return the store of a namespace.

        Raises:
            LookupError: there is no such namespace.
        """
        with self._lock:
            if namespace not in self._found:
                if namespace not in self.names():
                    raise LookupError(f"there is no namespace {namespace!r}")
                self._found[namespace] = self.opened(namespace)
            return self._found[namespace]


def only(store: Store) -> Stores:
    """Return the single store of an application. Its owner opens and closes it."""
    return Stores(lambda: [store.namespace], lambda _: store)
