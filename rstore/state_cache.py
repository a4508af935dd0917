"""The states of event sequences that a process used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from rstore.domain.event_state import EventState
from rstore.domain.transaction import PROVISIONAL

_CACHED: Final = 1024


class StateCache:
    """A bounded cache, shared by threads. That of a transaction lies above that of its store.

    A state of stored events goes to the cache below. One that holds only in the transaction does not.
    """

    def __init__(self, below: StateCache | None = None) -> None:
        self._kept: OrderedDict[str, EventState] = OrderedDict()
        self._doubted: set[str] = set()
        self._lock = threading.Lock()
        self._below = below

    def get(self, key: str) -> EventState | None:
        """Return the state of a key that is kept here, if it is not in doubt."""
        return None if key in self._doubted else self._own(key)

    def known(self, key: str) -> EventState | None:
        """Return the state of a key that is kept here or below. It may be out of date: a fold goes on from it."""
        found = self._own(key)
        return self._below.known(key) if found is None and self._below is not None else found

    def _own(self, key: str) -> EventState | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def doubt(self, key: str) -> None:
        """Note that the state of a key is out of date."""
        with self._lock:
            self._doubted.add(key)

    def put(self, key: str, state: EventState | None) -> None:
        """Keep a state, or forget it; if there are too many, forget the one not used for longest."""
        if self._below is not None and state is not None and state.version < PROVISIONAL:
            self._below.put(key, state)
        with self._lock:
            self._kept.pop(key, None)
            self._doubted.discard(key)
            if state is not None:
                self._kept[key] = state
            if len(self._kept) > _CACHED:
                evicted, _ = self._kept.popitem(last=False)
                self._doubted.discard(evicted)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._doubted.clear()
