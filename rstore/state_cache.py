"""The states of event sequences that a process used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from rstore.domain.event_state import EventState
from rstore.domain.transaction import PROVISIONAL

_CACHED: Final = 1024
_LOOKS: Final = 4
"""So many reads in a row must find nothing of other writers, before a state is trusted again.

A decision on a state that is out of date costs more than a read. After one look, a key that four processes write to at
random would be trusted a quarter of the time.
"""


class StateCache:
    """A bounded cache, shared by threads. That of a transaction lies above that of its store.

    A state of stored events goes to the cache below. One that holds only in the transaction does not.
    """

    def __init__(self, below: StateCache | None = None) -> None:
        self._kept: OrderedDict[str, EventState] = OrderedDict()
        self._doubts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._below = below

    def get(self, key: str) -> EventState | None:
        """Return the state of a key that is kept here, unless other writers were seen at it."""
        return None if key in self._doubts else self._own(key)

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
        """Note that another writer has changed a key: its state may soon be out of date again."""
        with self._lock:
            self._doubts[key] = _LOOKS

    def trust(self, key: str) -> None:
        """Note that no other writer has changed a key since its state was kept."""
        if key in self._doubts:
            with self._lock:
                left = self._doubts.pop(key, 1) - 1
                if left:
                    self._doubts[key] = left

    def put(self, key: str, state: EventState | None) -> None:
        """Keep a state, or forget it; if there are too many, forget the one not used for longest."""
        if self._below is not None and state is not None and state.version < PROVISIONAL:
            self._below.put(key, state)
        with self._lock:
            self._kept.pop(key, None)
            if state is None:
                self._doubts.pop(key, None)
            else:
                self._kept[key] = state
            if len(self._kept) > _CACHED:
                evicted, _ = self._kept.popitem(last=False)
                self._doubts.pop(evicted, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._doubts.clear()
