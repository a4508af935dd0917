"""The edges of the bins in which points are resampled: pandas' own edges, for frequencies of a fixed length."""

from __future__ import annotations

import datetime
import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rstore.domain.spans import check_time
from rstore.encoding.columns import UNITS, TimeAxis

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "D": 86_400 * 10**9,
}
"""The units of frequencies, in nanoseconds. Weeks, months and years of pandas have other edges, or no fixed length."""
_WORDS: Final = {"second": "s", "minute": "min", "hour": "h", "day": "D"}
"""The words that stand for units, as one or several."""

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_FREQ: Final = re.compile(r"(\d*) ?([A-Za-z]+)")
_OFFSET: Final = re.compile(r"(?:UTC)?([+-])(\d\d):(\d\d)")


class Grid(NamedTuple):
    """Edges that are ``step`` apart, in the unit of the series; or ``days`` apart, at midnights of its zone.

    A step counts from 0, or from the midnight before the first point if the series has a unit.
    """

    times: TimeAxis
    step: int
    days: int = 0

    def edges(self, first: int) -> Iterator[int]:
        """Return the edges, beginning with the last one that is not after a time; they do not end.

        >>> edges = grid('7h', TimeAxis('s')).edges(86400 + 8 * 3600)
        >>> [(next(edges) - 86400) / 3600 for _ in range(3)]
        [7.0, 14.0, 21.0]
        """
        unit, zone, _ = self.times
        if unit is None:
            return count(first - first % self.step, self.step)
        if zone is None or zone == "UTC":
            midnight = first - first % (86_400 * UNITS[unit])
        else:
            midnights = _midnights(first, UNITS[unit], named_zone(zone), self.days or 1)
            if self.days:
                return midnights
            midnight = next(midnights)
        return count(first - (first - midnight) % self.step, self.step)


def grid(freq: int | str, times: TimeAxis) -> Grid:
    """Return the grid of a frequency: a number in the unit of the series, or a text such as ``'5min'``.

    Raises:
        TypeError, ValueError: there is no such frequency; or it is a text, and the series has no unit, or one that is
            too coarse.
    """
    if not isinstance(freq, str):
        step = check_time("freq", freq)
        if step < 1:
            raise ValueError(f"freq is at least 1, not {step}")
        return Grid(times, step)
    number, unit = parsed_length(freq, "freq")
    if times.unit is None:
        raise ValueError(f"the timestamps of the series are plain ints: freq is one too, not {freq!r}")
    step, rest = divmod(number * _NANOSECONDS[unit] * UNITS[times.unit], UNITS["ns"])
    if rest:
        raise ValueError(f"the series counts its times in {times.unit!r}, which {freq!r} is no multiple of")
    return Grid(times, step, number if unit == "D" else 0)


def parsed_length(text: str, what: str) -> tuple[int, str]:
    """Return the number and the unit of a length of time that is written as a text.

    Raises:
        ValueError: it is none; ``what`` names the argument.

    >>> parsed_length('90 days', 'age'), parsed_length('h', 'freq'), parsed_length('5min', 'freq')
    ((90, 'D'), (1, 'h'), (5, 'min'))
    """
    found = _FREQ.fullmatch(text)
    written = "" if found is None else found[2]
    unit = _WORDS.get(written.removesuffix("s"), written)
    number = int(found[1] or 1) if found is not None and unit in _NANOSECONDS else 0
    if number < 1:
        raise ValueError(
            f"{what} is a number of one of {', '.join(_NANOSECONDS)}, such as '5min' or '90 days', not {text!r}"
        )
    return number, unit


def length_in_ns(text: str, what: str) -> int:
    """Return a length of time that is written as a text, in nanoseconds.

    >>> length_in_ns('2 hours', 'age') // 10**9
    7200
    """
    number, unit = parsed_length(text, what)
    return number * _NANOSECONDS[unit]


def _midnights(first: int, per_second: int, zone: datetime.tzinfo, days: int) -> Iterator[int]:
    """Yield the beginnings of days in a zone, ``days`` apart, from the day of a time on: strictly increasing.

    A day that the zone skipped has no edge of its own, as 30 December 2011 in Samoa. Where the clocks go back over
    midnight, the first of two midnights counts.
    """
    try:
        day = (_EPOCH + datetime.timedelta(seconds=first // per_second)).astimezone(zone).date()
    except OverflowError:
        raise ValueError(f"{first} is in no year from 1 to 9999: resample it by a number instead of by days") from None
    edge = _beginning(day, zone) * per_second
    while True:
        try:
            day += datetime.timedelta(days=days)
            following = _beginning(day, zone) * per_second
        except OverflowError:  # the calendar ends with the year 9999
            yield from count(edge, 86_400 * per_second * days)
            return
        if following > max(edge, first):
            yield edge
        edge = max(edge, following)


def _beginning(day: datetime.date, zone: datetime.tzinfo) -> int:
    """Return the beginning of a day in a zone, in POSIX seconds. If clocks skip midnight, the day begins when they do.

    >>> _beginning(datetime.date(1919, 3, 31), ZoneInfo('America/Toronto'))  # from 23:30 to 00:30
    -1601753400
    """
    midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=zone)
    late, early = (_seconds(midnight.replace(fold=fold)) for fold in (0, 1))
    if early >= late:
        return late
    offset = midnight.utcoffset()
    passed = range(early + 1, late + 1)
    return passed[bisect_left(passed, True, key=lambda second: _moment(second, zone).utcoffset() != offset)]


def _seconds(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(seconds=1)


def _moment(seconds: int, zone: datetime.tzinfo) -> datetime.datetime:
    return (_EPOCH + datetime.timedelta(seconds=seconds)).astimezone(zone)


def named_zone(name: str) -> datetime.tzinfo:
    """Return a time zone by its name.

    Raises:
        ValueError: the system does not know it.

    >>> named_zone('Europe/Berlin'), named_zone('+05:30')
    (zoneinfo.ZoneInfo(key='Europe/Berlin'), datetime.timezone(datetime.timedelta(seconds=19800)))
    """
    offset = _OFFSET.fullmatch(name)
    if offset is not None:
        length = datetime.timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return datetime.timezone(length if offset[1] == "+" else -length)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"the time zone {name!r} is not known here: pip install tzdata may help") from None
