"""The times of the changes of a namespace, in blocks: a few megabytes for ten million records.

A log is read from its beginning, and has no order by time: from one stream to the next, times may decrease. So a block
of a thousand records keeps where it begins and ends, and its least and greatest time. A question about a time reads
only those blocks again between whose least and greatest time it lies. Rejected: all times. Ten million take 80 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from rstore.domain.log import Position

_RECORDS: Final = 1_024
_BYTES: Final = 1 << 22
_SAMPLES: Final = 4_096
_NEVER: Final = 2**62
"""The least time of a block without changes, and with its sign the greatest."""


class Block(NamedTuple):
    """Records that follow each other in the log.

    Attributes:
        after: the position behind which it begins; None for the beginning of the log.
        until: the position of its last record.
        low, high: the least and the greatest time of its changes, in POSIX milliseconds.
        changes: the number of its records that are changes; others are bookkeeping.
    """

    after: Position | None
    until: Position
    low: int
    high: int
    changes: int


class Near(NamedTuple):
    """The answer to a question for the change next to a time.

    ``known`` is the nearest of those times that need no reading; None if there is none. In each of ``blocks`` a nearer
    one may be.
    """

    known: int | None
    blocks: list[Block]


class Timeline:
    """The times of the changes of a namespace, as far as its log was read. It reads nothing itself.

    Attributes:
        end: the position of the last record that was added; None before the first.
        changes: the number of changes.
        newest: the greatest time of a change; None before the first.
    """

    def __init__(self, records: int = _RECORDS, samples: int = _SAMPLES) -> None:
        """Begin without records. A block has so many records, and so many times are kept as samples."""
        self.end: Position | None = None
        self.changes = 0
        self.newest: int | None = None
        self._records = records
        self._ends: list[Position] = []
        self._lows, self._highs, self._counts = array("q"), array("q"), array("q")
        self._samples = _Samples(samples)
        self._begin()

    def _begin(self) -> None:
        """Begin a block."""
        self._number = self._size = 0
        self._open = array("q")

    def add(self, position: Position, time: int | None, size: int = 0) -> None:
        """Add the next record of the log: the time of a change, or None for bookkeeping; and the bytes of its data."""
        self.end = position
        self._number += 1
        self._size += size
        if time is not None:
            self.changes += 1
            self.newest = time if self.newest is None else max(self.newest, time)
            self._open.append(time)
            self._samples.add(time)
        if self._number >= self._records or self._size >= _BYTES:
            self._close(position)

    def _close(self, position: Position) -> None:
        self._ends.append(position)
        self._lows.append(min(self._open, default=_NEVER))
        self._highs.append(max(self._open, default=-_NEVER))
        self._counts.append(len(self._open))
        self._begin()

    def sample(self, most: int) -> list[int]:
        """Return times of changes, in order, each once: so many at most, evenly spread over the changes.

        Those of all changes, if they are not more.
        """
        times = sorted(self._samples.times())
        if len(times) <= most:
            return times
        return [times[n * (len(times) - 1) // max(1, most - 1)] for n in range(most)]

    def before(self, time: int) -> Near:
        """Return what is known of the greatest time of a change that is less than a time."""
        known = [high for high in self._highs if -_NEVER < high < time]
        known += [each for each in self._open if each < time]
        best = max(known, default=None)
        reached = -_NEVER if best is None else best
        return Near(best, [each for each in self._closed() if each.low < time <= each.high and each.high > reached])

    def after(self, time: int) -> Near:
        """Return what is known of the least time of a change that is greater than a time."""
        known = [low for low in self._lows if time < low < _NEVER]
        known += [each for each in self._open if each > time]
        best = min(known, default=None)
        reached = _NEVER if best is None else best
        return Near(best, [each for each in self._closed() if each.low <= time < each.high and each.low < reached])

    def blocks(self, low: int, high: int) -> Iterator[Block]:
        """Yield the blocks that have changes from one time to another, both inclusive, the newest first."""
        return (each for each in self._all() if each.changes and each.low <= high and each.high >= low)

    def _all(self) -> Iterator[Block]:
        if self._number and self.end is not None:
            after = self._ends[-1] if self._ends else None
            low, high = min(self._open, default=_NEVER), max(self._open, default=-_NEVER)
            yield Block(after, self.end, low, high, len(self._open))
        yield from self._closed()

    def _closed(self) -> Iterator[Block]:
        for place in reversed(range(len(self._ends))):
            after = self._ends[place - 1] if place else None
            yield Block(after, self._ends[place], self._lows[place], self._highs[place], self._counts[place])


class _Samples:
    """Each so many-th time of many that come one after the other, and the least and the greatest."""

    def __init__(self, most: int) -> None:
        self._most, self._step, self._passed = most, 1, 0
        self._kept: list[int] = []
        self._last: int | None = None
        self._ends: tuple[int, ...] = ()

    def add(self, time: int) -> None:
        if time == self._last:  # one append has many records
            return
        self._last = time
        if not self._ends or not self._ends[0] <= time <= self._ends[1]:
            self._ends = min((time, *self._ends)), max((time, *self._ends))
        if self._passed % self._step == 0:
            self._kept.append(time)
            if len(self._kept) >= self._most:
                self._kept, self._step = self._kept[::2], 2 * self._step
        self._passed += 1

    def times(self) -> set[int]:
        return {*self._kept, *self._ends}
