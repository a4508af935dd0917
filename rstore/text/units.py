"""The unit of a series' timestamps: the one stored with the series, or the one that fits their size."""

from __future__ import annotations

from typing import Final, NamedTuple

from rstore.encoding.columns import UNITS


class Unit(NamedTuple):
    """A unit of POSIX timestamps: its name, and how many of them make a second."""

    name: str
    per_second: int

    def from_ms(self, time: int) -> int:
        """Return a time in POSIX milliseconds in this unit."""
        return time * self.per_second // 1000

    def to_ms(self, timestamp: int) -> int:
        """Return a timestamp of this unit in whole POSIX milliseconds, rounded down."""
        return timestamp * 1000 // self.per_second

    def has_date(self, timestamp: int) -> bool:
        """Return whether a timestamp of this unit is within the calendar in every time zone."""
        return _CALENDAR[0] <= timestamp // self.per_second < _CALENDAR[1]

    def seconds(self, timestamp: int) -> float:
        """Return a timestamp of this unit in POSIX seconds."""
        return timestamp / self.per_second


_UNITS: Final = tuple(Unit(name, per_second) for name, per_second in UNITS.items())
SECONDS, MILLISECONDS, MICROSECONDS, NANOSECONDS = _UNITS
_CALENDAR: Final = (-62_135_400_000, 253_402_200_000)
"""In seconds: from the year 1 to 9999, without a day or two at the edges."""
_FIRST_YEAR, _LAST_YEAR = 100_000_000, 10_000_000_000
"""In seconds: from 1973 to 2286 the units do not overlap."""


def named(name: str | None) -> Unit | None:
    """Return the unit of this name, None if there is none.

    >>> named('us').per_second
    1000000
    """
    return None if name is None else Unit(name, UNITS[name])


def spanned(first: int, last: int) -> Unit | None:
    """Return the unit that fits the last timestamp of a series, if the first one is then not before the year 1653.

    >>> spanned(-600_000_000_000, 1_700_000_000_000).name, spanned(-(10**15), 1_700_000_000_000)
    ('ms', None)
    """
    unit = recognised(last)
    return unit if unit is not None and first >= -_LAST_YEAR * unit.per_second else None


def recognised(*timestamps: int) -> Unit | None:
    """Return the unit in which all timestamps lie between the years 1973 and 2286, None if there is none.

    >>> recognised(1_700_000_000).name, recognised(1_700_000_000_000).name, recognised(1, 1_700_000_000), recognised()
    ('s', 'ms', None, None)
    """
    for unit in _UNITS if timestamps else ():
        if all(_FIRST_YEAR * unit.per_second <= each < _LAST_YEAR * unit.per_second for each in timestamps):
            return unit
    return None
