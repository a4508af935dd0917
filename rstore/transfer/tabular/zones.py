"""Reading times from first row to last, and local times where clocks are put forward and back."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from rstore.bins import named_zone
from rstore.domain.errors import StoreFileError
from rstore.encoding.columns import UNITS

_NANOSECONDS: Final = UNITS["ns"]
_DAY: Final = 86_400
_START: Final = datetime.datetime(1970, 1, 1)  # noqa: DTZ001  # times here have no zone yet
_SECOND: Final = datetime.timedelta(seconds=1)


_NEAR: Final = 3 * 3600 * _NANOSECONDS  # rows further apart say nothing about each other


class _Before(NamedTuple):
    """The row before, if clocks were put back around its day."""

    local: int
    is_second: bool


class TimeReader:
    """Reads a column of times from the first row of a table to the last."""

    def __init__(self, parse: Callable[[Sequence[int], Sequence[Any]], list[int]], zone: str | None = None) -> None:
        """Take a function of lines and their cells, and the time zone if these are local times."""
        self._parse, self._local = parse, None if zone is None else LocalTimes(zone)

    @property
    def twice(self) -> int:
        """The number of local times so far that occur twice, because clocks were put back."""
        return 0 if self._local is None else self._local.twice

    def read(self, lines: Sequence[int], cells: Sequence[Any], keys: Sequence[str | None] | None = None) -> list[int]:
        """Return cells as nanoseconds from 1970. In a column of integers, these stay as they are.

        Args:
            keys: the keys of the rows, if there are several series.

        Raises:
            StoreFileError: a time is beyond 64 bits, or did not exist since clocks were put forward.
        """
        found = self._parse(lines, cells)
        return found if self._local is None else self._local.utc(lines, found, keys)


class LocalTimes:
    """Converts local times to UTC, from the first row to the last.

    A time that occurs twice is the second one if the row before it has the same or a later time.
    """

    def __init__(self, zone: str) -> None:
        self._name, self._zone = zone, named_zone(zone)
        self._before: dict[str | None, _Before] = {}
        self.twice = 0
        self._of_day = lru_cache(4096)(self._offset_of_day)

    def utc(self, lines: Sequence[int], times: Sequence[int], keys: Sequence[str | None] | None) -> list[int]:
        """Return local times as UTC, both in nanoseconds.

        Args:
            keys: the keys of the rows, if there are several series.

        Raises:
            StoreFileError: there was no such local time, since clocks were put forward.
        """
        found = []
        for at, local in enumerate(times):
            if type(local) is not int:  # a number among dates
                found.append(local)
                continue
            offset = self._of_day(local // (_DAY * _NANOSECONDS))
            if offset is None:
                offset = self._offset(lines[at], local, None if keys is None else keys[at])
            found.append(local - offset * _NANOSECONDS)
        return found

    def _offset_of_day(self, day: int) -> int | None:
        """Return the offset of a whole day in seconds; None if it changes around that day."""
        hours = range((day - 1) * 24, (day + 2) * 24 + 1, 12)
        found = {self._at(hour * 3600, fold) for hour in hours for fold in (0, 1)}
        return found.pop() if len(found) == 1 else None

    def _at(self, seconds: int, fold: int) -> int:
        try:
            local = (_START + seconds * _SECOND).replace(tzinfo=self._zone, fold=fold)
            offset = local.utcoffset()
        except OverflowError:
            return 0
        return 0 if offset is None else offset // _SECOND

    def _offset(self, line: int, local: int, key: str | None) -> int:
        seconds = local // _NANOSECONDS
        first, second = self._at(seconds, 0), self._at(seconds, 1)
        if first == second:
            self._before[key] = _Before(local, is_second=False)
            return first
        if first < second and seconds % _DAY == 0 and second - first < _DAY:
            return first  # the day begins when clocks have been put forward
        if first < second:
            raise StoreFileError(
                line,
                f"there was no {_START + seconds * _SECOND:%Y-%m-%d %H:%M} in {self._name}: clocks were put forward",
            )
        self.twice += 1
        is_second = self._is_second(local, self._before.get(key))
        self._before[key] = _Before(local, is_second)
        return second if is_second else first

    @staticmethod
    def _is_second(local: int, before: _Before | None) -> bool:
        if before is None or abs(local - before.local) >= _NEAR:
            return False
        return before.is_second or before.local >= local
