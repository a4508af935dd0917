"""Operations on a whole backend: list its namespaces, and copy its file."""

from __future__ import annotations

import os
from typing import Final

from rstore.core import Surface
from rstore.domain.capabilities import Backupable
from rstore.domain.errors import StoreError
from rstore.progress import Progress, Report

_INSTEAD: Final = "has no backup of its own: use 'rstore copy', which makes a SQLite file of a namespace"


class Backups(Surface):
    """Lists the namespaces of a backend, and backs up all of them."""

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces of the backend, in code-point order.

        >>> store.namespaces()
        ['default']
        """
        return self._core.base.namespaces()

    def backup(self, path: str | os.PathLike[str], progress: Report | None = None) -> None:
        """Copy a SQLite file with all its namespaces, as it is at this moment, into a new file.

        Others may write meanwhile. The new file appears when it is complete and safe on the disk; if anything fails,
        there is none. It is a store of its own, and it may take the place of the first one.

        Args:
            path: the name of the new file.
            progress: is called with the number of pages that are copied.

        Raises:
            StoreError: the file exists already, or can't be written; or the backend does not keep its data in a file,
                and has tools of its own.
        """
        self._core.check_outside(_no_backup)
        log = self._core.base
        if not isinstance(log, Backupable):
            raise StoreError(f"{log.name} {getattr(log, 'instead_of_backup', _INSTEAD)}")

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress(Progress(done, total))

        log.backup(os.fspath(path), report)


def _no_backup() -> StoreError:
    return StoreError("a backup can't be part of a transaction: make it before it or after it")
