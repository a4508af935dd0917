"""The progress of a long operation, also of one that fails on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias, TypeVar

from rstore.domain.errors import StoreError, StoreNotAvailableError

T = TypeVar("T")

_NOTHING: Final = re.compile("(;|, and) nothing was stored.*")
_REPORTED: Final = 1_000
"""The number of records between two reports."""


class Progress(NamedTuple):
    """The part ``done`` of a ``total``, which is None if unknown: both count records, or the pages of a file."""

    done: int
    total: int | None


Report: TypeAlias = Callable[[Progress], object]
"""Takes the progress now and then. An exception that it raises ends the operation."""


@contextmanager
def step_of(advice: str) -> Iterator[None]:
    """Replace "nothing was stored" in an error of one of many steps by advice that is true for all of them.

    >>> with step_of("not every record is copied: call it again"):
    ...     raise StoreError("the disk is full; nothing was stored")
    Traceback (most recent call last):
        ...
    rstore.domain.errors.StoreError: the disk is full; not every record is copied: call it again
    """
    try:
        yield
    except StoreError as exc:
        if type(exc) not in (StoreError, StoreNotAvailableError):  # others are not about the backend
            raise
        raise type(exc)(f"{_NOTHING.sub('', str(exc))}; {advice}") from exc


class Steps:
    """Counts records, and reports their number now and then."""

    def __init__(self, progress: Report | None, total: int | None = None) -> None:
        self._progress, self._total = progress, total
        self.done = 0

    def step(self) -> None:
        """Count one record."""
        self.done += 1
        if self.done % _REPORTED == 0:
            self.report()

    def counted(self, records: Iterable[T]) -> Iterator[T]:
        """Yield records, count each once the caller has dealt with it, and report at the end."""
        for record in records:
            yield record
            self.step()
        self.report()

    def report(self) -> None:
        """Report the number of records so far."""
        if self._progress is not None:
            self._progress(Progress(self.done, self._total))
