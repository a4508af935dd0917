"""Two rows of one time in a series, found in memory that does not grow with the table."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import pairwise
from operator import gt, lt
from typing import IO, Final, NamedTuple

from rstore.transfer.tabular.layouts import Piece

_SORTED_AT_ONCE: Final = 1 << 17
_ROW: Final = struct.Struct("<qqq")
_READ_ROWS: Final = 1 << 9


class Twice(NamedTuple):
    """A time that a series has in two lines."""

    first: int
    second: int
    key: str
    time: int


class Row(NamedTuple):
    """One point: of which series, at which time, and in which line."""

    key: str
    time: int
    line: int


class Orders:
    """In which order the times of series come. Where it is one order, no time can come twice, and nothing is kept."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[bool | None, int]] = {}
        self.unordered: set[str] = set()

    def add(self, piece: Piece) -> None:
        """Look at the next points of a series."""
        key, times = piece.key, piece.times
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


def first_twice(rows: Iterable[Row]) -> Twice | None:
    """Return a time that a series has twice, None if there is none."""
    for one, other in pairwise(rows):
        if one[:2] == other[:2]:
            return Twice(one.line, other.line, one.key, one.time)
    return None


def in_order(pieces: Iterable[Piece]) -> Iterator[Row]:
    """Yield the rows of pieces by series and time; those of one time in their own order.

    They are sorted some at a time, set aside in a file, and merged.
    """
    names: dict[str, int] = {}
    with tempfile.TemporaryFile(prefix="rstore-") as aside:
        parts: list[tuple[int, int]] = []
        rows: list[tuple[int, int, int]] = []
        for piece in pieces:
            number = names.setdefault(piece.key, len(names))
            rows.extend((number, time, line) for time, line in zip(piece.times, piece.lines, strict=True))
            if len(rows) >= _SORTED_AT_ONCE:
                parts.append(_set_aside(aside, rows))
                rows = []
        rows.sort()
        keys = list(names)
        for number, time, line in merge(rows, *(_read_back(aside, *part) for part in parts)):
            yield Row(keys[number], time, line)


def count_replaced(times: Iterable[int], stored: Iterator[int]) -> int:
    """Return how many points take the place of an earlier one, or of a stored one. Both come in order of time.

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


def _set_aside(aside: IO[bytes], rows: list[tuple[int, int, int]]) -> tuple[int, int]:
    rows.sort()
    begin = aside.seek(0, 2)
    aside.write(b"".join(_ROW.pack(*row) for row in rows))
    return begin, len(rows)


def _read_back(aside: IO[bytes], begin: int, count: int) -> Iterator[tuple[int, int, int]]:
    for low in range(0, count, _READ_ROWS):
        aside.seek(begin + low * _ROW.size)
        yield from _ROW.iter_unpack(aside.read(min(_READ_ROWS, count - low) * _ROW.size))
