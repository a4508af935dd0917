"""What is about a whole backend: its namespaces, and a copy of its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from rstore.core import Surface
from rstore.domain.errors import StoreError
from rstore.domain.log import Backupable
from rstore.progress import Progress, Report

_INSTEAD: Final = "has no backup of its own: use 'rstore copy', which makes a SQLite file of a namespace"


class Backups(Surface):
    """Lists the namespaces of a backend, and backs all of them up."""

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces of the backend, in code-point order.

        >>> store.namespaces()
        ['default']
        """
        return self._core.base.namespaces()

    def backup(self, path: str | os.PathLike[str], progress: Report | None = None) -> None:
        """Copy a SQLite file, with all its namespaces, into a new one, as it is at this moment; others may write to it.

        The new file appears when it is whole and safe on the disk, and not at all if anything fails. It is a store of
        its own, also if it is moved to where the first one was.

        Args:
            path: the name of the new file.
            progress: is told how many pages are copied.

        Raises:
            StoreError: there is such a file; it can't be written; or the backend is none that is kept in a file, and
                has tools of its own.
        """
        self._core.check_outside(_no_backup)
        log = self._core.base
        if not isinstance(log, Backupable):
            raise StoreError(f"{log.name} {getattr(log, 'instead_of_backup', _INSTEAD)}")
        log.backup(os.fspath(path), _told(progress))


def _no_backup() -> StoreError:
    return StoreError("a backup can't be part of a transaction: make it before it or after it")


def _told(progress: Report | None) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(Progress(done, total))

    return tell
