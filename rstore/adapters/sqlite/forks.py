"""Keeps SQLite files safe over a fork."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakSet

from rstore.domain.errors import StoreNotAvailableError

if TYPE_CHECKING:
    from rstore.adapters.sqlite.pool import SqlitePool


class Forks:
    """Knows the files that this process has open, and those that a fork has made unusable.

    SQLite keeps its locks by process, in tables that a forked child inherits. While one connection of the parent is
    known there, the child's own connections take no locks at all. Whatever they write is lost when the parent closes
    the file. So idle connections are closed before a fork, and those of suspended iterators after it, in the child. A
    connection in the middle of a call of another thread can be neither used nor closed: the child is then refused.
    """

    def __init__(self) -> None:
        self._pools: WeakSet[SqlitePool] = WeakSet()
        self._stopped: list[SqlitePool] = []
        self._inherited: list[tuple[str, object]] = []
        os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def watch(self, pool: SqlitePool) -> None:
        """Look after a pool for as long as it is used."""
        self._pools.add(pool)

    def check(self, path: str, name: str) -> None:
        """Raise if a fork has made a file unusable in this process."""
        if any(path == inherited for inherited, _ in self._inherited):
            raise StoreNotAvailableError(
                f"{name}: this process was forked while another thread was reading from the store: SQLite can't work "
                "with it here; fork before there are threads, or start processes by 'spawn'"
            )

    def _before(self) -> None:
        self._stopped = list(self._pools)
        for pool in self._stopped:
            pool.before_fork()

    def _in_parent(self) -> None:
        for pool in self._stopped:
            pool.after_fork_in_parent()

    def _in_child(self) -> None:
        for pool in self._stopped:
            self._inherited += pool.after_fork_in_child()


@cache
def forks() -> Forks:
    """Return the one watcher of this process, made when the first pool is: forks concern the whole process."""
    return Forks()
