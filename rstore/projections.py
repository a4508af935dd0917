"""The projections of event sequences that a process used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from rstore.domain.projection import Projection

_CACHED: Final = 1024


class Projections:
    """A bounded cache, shared by threads. That of a transaction lies above that of its store, which it leaves alone."""

    def __init__(self, below: Projections | None = None) -> None:
        self._kept: OrderedDict[str, Projection] = OrderedDict()
        self._lock = threading.Lock()
        self._below = below

    def get(self, key: str) -> Projection | None:
        """Return what is kept for a key."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def known(self, key: str) -> Projection | None:
        """Return what is kept for a key here or below: something to go on from."""
        found = self.get(key)
        return self._below.get(key) if found is None and self._below is not None else found

    def put(self, key: str, projection: Projection | None) -> None:
        """Keep a projection, or forget it; if there are too many, forget the one not used for longest."""
        with self._lock:
            self._kept.pop(key, None)
            if projection is not None:
                self._kept[key] = projection
            if len(self._kept) > _CACHED:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
