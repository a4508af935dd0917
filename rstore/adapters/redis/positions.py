"""Positions of records: numbers. Those of several partitions are Lamport numbers, so that they have one order."""

from __future__ import annotations

import os
import threading

from attrs import field, frozen

from rstore.domain.checkpoints import dotted, number, undotted
from rstore.domain.log import Position


@frozen(order=True)
class Place:
    """A record's position where there are several partitions: its number, and its partition.

    A follower's position also says how far it has ``seen`` each partition, so that it skips no record that comes later
    with a smaller number. This part is not compared.
    """

    n: int
    partition: int
    seen: tuple[int, ...] = field(default=(), eq=False, repr=False)

    def after(self, partition: int) -> int:
        """Return the number after which a partition goes on."""
        if self.seen:
            return self.seen[partition]
        return self.n if partition <= self.partition else self.n - 1


def checkpoint_of(position: Position) -> str:
    if isinstance(position, Place):
        return dotted((position.n, position.partition, *position.seen))
    return str(number(position))


def position_of(checkpoint: str, partitions: int) -> Position:
    if partitions == 1:
        return undotted(checkpoint, 1)[0]
    n, partition, *seen = undotted(checkpoint, 2, 2 + partitions)
    return Place(n, partition, tuple(seen))


class Clock:
    """A Lamport clock: the greatest position that a log has seen in any partition. Its writes get greater ones."""

    def __init__(self, n: int = 0) -> None:
        self.n = n
        self._lock = os.getpid(), threading.Lock()

    def see(self, n: int) -> None:
        if n <= self.n:
            return
        pid, lock = self._lock
        if pid != os.getpid():  # in a child of a fork, a thread that is not there may hold it
            lock = threading.Lock()
            self._lock = os.getpid(), lock
        with lock:
            self.n = max(self.n, n)
