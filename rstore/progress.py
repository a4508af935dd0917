"""How far something has come that takes long, also if it fails on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias

from rstore.domain.errors import StoreError, StoreNotAvailableError

_NOTHING: Final = re.compile("(;|, and) nothing was stored.*")
_REPORTED: Final = 1_000
"""After as many records progress is reported."""


class Progress(NamedTuple):
    """How much is ``done`` of a ``total``, which is None if nobody knows it: records, or the pages of a file."""

    done: int
    total: int | None


Report: TypeAlias = Callable[[Progress], object]
"""Is told now and then how far something has come; what it raises ends that."""


@contextmanager
def step_of(advice: str) -> Iterator[None]:
    """Say of an error in one of many steps what is true of all of them, not that nothing was stored.

    >>> with step_of("the rest is: call it again"):
    ...     raise StoreError("the disk is full; nothing was stored")
    Traceback (most recent call last):
        ...
    rstore.domain.errors.StoreError: the disk is full; the rest is: call it again
    """
    try:
        yield
    except StoreError as exc:
        if type(exc) not in (StoreError, StoreNotAvailableError):  # others are not about where it is stored
            raise
        raise type(exc)(f"{_NOTHING.sub('', str(exc))}; {advice}") from exc


class Steps:
    """Records as they are dealt with, reported now and then."""

    def __init__(self, progress: Report | None, total: int | None = None) -> None:
        self._progress, self._total = progress, total
        self.done = 0

    def step(self) -> None:
        """Count one."""
        self.done += 1
        if self.done % _REPORTED == 0:
            self.report()

    def report(self) -> None:
        """Report how many there were."""
        if self._progress is not None:
            self._progress(Progress(self.done, self._total))
