"""How far something has come that takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

_REPORTED: Final = 1_000
"""After as many records progress is reported."""


class Progress(NamedTuple):
    """How much is ``done`` of a ``total``, which is None if nobody knows it: records, or the pages of a file."""

    done: int
    total: int | None


Report: TypeAlias = Callable[[Progress], object]
"""Is told now and then how far something has come; what it raises ends that."""


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
