"""Finding two rows of a series with the same time, in memory that does not grow with the table."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import pairwise
from operator import gt, lt
from typing import IO, Final, NamedTuple

from rstore.transfer.tabular.layouts import SeriesBlock

_SORTED_AT_ONCE: Final = 1 << 17
_ROW: Final = struct.Struct("<qqq")
_READ_ROWS: Final = 1 << 9


class DuplicateTime(NamedTuple):
    """A time that a series has in two lines of the table."""

    first: int
    second: int
    key: str
    time: int


class Row(NamedTuple):
    """One point: its series, its time, and its line."""

    key: str
    time: int
    line: int


class TimeOrders:
    """The orders of the times of series. A series in one order has no time twice, so nothing of it is kept."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[bool | None, int]] = {}
        self.unordered: set[str] = set()

    def add(self, block: SeriesBlock) -> None:
        """Add the next points of a series."""
        key, times = block.key, block.times
        if key in self.unordered:
            return
        up, last = self._ends.get(key, (None, None))
        if up is None:
            pair = ([] if last is None else [last]) + list(times[:2])
            up = None if len(pair) < 2 else pair[0] < pair[1]
        in_order = up is None or (
            (last is None or _follows(last, times[0], up=up)) and all(map(lt if up else gt, times, times[1:]))
        )
        if in_order:
            self._ends[key] = up, times[-1]
        else:
            self.unordered.add(key)


def _follows(last: int, time: int, *, up: bool) -> bool:
    return last < time if up else last > time


def first_duplicate(rows: Iterable[Row]) -> DuplicateTime | None:
    """Return the first time that a series has twice, None if there is none."""
    for one, other in pairwise(rows):
        if one[:2] == other[:2]:
            return DuplicateTime(one.line, other.line, one.key, one.time)
    return None


def in_order(blocks: Iterable[SeriesBlock]) -> Iterator[Row]:
    """Yield the rows of blocks sorted by series and time; rows of one time keep their order.

    Runs of rows are sorted in memory, written to a temporary file, and merged.
    """
    names: dict[str, int] = {}
    with tempfile.TemporaryFile(prefix="rstore-") as file:
        parts: list[tuple[int, int]] = []
        rows: list[tuple[int, int, int]] = []
        for block in blocks:
            number = names.setdefault(block.key, len(names))
            rows.extend((number, time, line) for time, line in zip(block.times, block.lines, strict=True))
            if len(rows) >= _SORTED_AT_ONCE:
                parts.append(_write_run(file, rows))
                rows = []
        rows.sort()
        keys = list(names)
        for number, time, line in merge(rows, *(_read_run(file, *part) for part in parts)):
            yield Row(keys[number], time, line)


def count_replaced(times: Iterable[int], stored: Iterator[int]) -> int:
    """Return how many points replace an earlier one, or a stored one. Both times are in order.

    >>> count_replaced([1, 2, 2, 5], iter([2, 3, 5]))
    3
    """
    count, before, there = 0, None, next(stored, None)
    for time in times:
        if time == before:
            count += 1
            continue
        before = time
        while there is not None and there < time:
            there = next(stored, None)
        count += there == time
    return count


def _write_run(file: IO[bytes], rows: list[tuple[int, int, int]]) -> tuple[int, int]:
    rows.sort()
    begin = file.seek(0, 2)
    file.write(b"".join(_ROW.pack(*row) for row in rows))
    return begin, len(rows)


def _read_run(file: IO[bytes], begin: int, count: int) -> Iterator[tuple[int, int, int]]:
    for low in range(0, count, _READ_ROWS):
        file.seek(begin + low * _ROW.size)
        yield from _ROW.iter_unpack(file.read(min(_READ_ROWS, count - low) * _ROW.size))
