"""What the three faces of a Store share: one way to read the log and one way to append to it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from rstore.domain.errors import FrozenStoreError, StoreConflictError
from rstore.domain.log import Batch, Log, check_name
from rstore.payload import Payload

_ATTEMPTS: Final = 100
_BACKOFF_SECONDS: Final = 0.001
_BACKOFF_MOST: Final = 0.05

T = TypeVar("T")


class Face:
    """The base of the faces. Made complete by :class:`rstore.store.Store`."""

    _freq: int | None = None
    _log: Log
    _payload: Payload
    _frozen: bool
    _history: bool

    def _check_writable(self) -> None:
        if self._frozen:
            raise FrozenStoreError(repr(self))

    def _append(self, batches: Sequence[Batch]) -> list[int]:
        self._check_writable()
        return self._log.append(batches) if batches else []

    def _decide(self, attempt: Callable[[], T]) -> T:
        """Repeat an attempt, which reads, decides and appends with ``expect``, until nobody comes in between."""
        self._check_writable()
        for tried in range(_ATTEMPTS):
            try:
                return attempt()
            except StoreConflictError:
                if tried == _ATTEMPTS - 1:
                    raise
            time.sleep(random.uniform(0, min(_BACKOFF_MOST, _BACKOFF_SECONDS * 2**tried)))  # noqa: S311
        raise AssertionError("unreachable")


def now() -> int:
    """Return the time in POSIX milliseconds. The only place that reads a clock."""
    return time.time_ns() // 1_000_000


def check_key(key: object) -> str:
    """Return a key that every backend can keep."""
    return check_name("key", key)
