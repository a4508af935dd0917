"""Single cells that are times: numbers, dates and times of the day, in the forms that people write.

A cell has two halves: a date and a time of the day. Both are often repeated in a column, so each is parsed once, and
the result is cached.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from rstore.domain.errors import StoreFileError
from rstore.domain.spans import check_time
from rstore.encoding.columns import UNITS

NANOSECONDS: Final = UNITS["ns"]
DAY: Final = 86_400
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_START: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND: Final = datetime.timedelta(seconds=1)
REMEMBERED: Final = 1 << 17

INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_EIGHT: Final = re.compile(r"(18|19|20|21)([0-9]{2})([0-9]{2})([0-9]{2})")
_YEAR_FIRST: Final = re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})")
_YEAR_LAST: Final = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})")
_CLOCK: Final = re.compile(
    r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?"
    r"\s*(?P<half>[AaPp][Mm])?\s*(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-9]{2}(?::[0-9]{2})?)?)?"
)
_FRACTION: Final = re.compile(r"[.,]([0-9]+)")

DAY_FIRST: Final = "%d/%m/%Y"
MONTH_FIRST: Final = "%m/%d/%Y"
HOW: Final = "say it with TableOptions(date_format=...)"


class NumberAmongDates(int):
    """A number in a column of dates: a time beyond the calendar, in the unit of its series."""

    __slots__ = ()


def check_times(lines: Sequence[int], times: Sequence[int], suffix: str = "") -> None:
    """Raise a StoreFileError with the first line whose time is beyond 64 bits."""
    if times and not -(2**63) <= min(times) <= max(times) < 2**63:
        for line, time in zip(lines, times, strict=True):
            try:
                check_time("a time", time)
            except OverflowError as exc:
                raise StoreFileError(line, f"{exc}{suffix}") from None


class Clock(NamedTuple):
    """A time of the day in nanoseconds, and its offset from UTC in seconds; None if it has none."""

    nanoseconds: int
    offset: int | None


def halves(cell: str) -> tuple[str, str]:
    """Return the date of a cell, and the rest of the cell.

    >>> halves('2026-11-01T09:00'), halves('1/31/2024 3:05 PM'), halves('17')
    (('2026-11-01', '09:00'), ('1/31/2024', '3:05 PM'), ('17', ''))
    """
    date, mark, clock = cell.partition("T" if "T" in cell else " ")
    return (cell, "") if mark == "T" and not clock else (date, clock)  # '0T' is no number, and no date


@lru_cache(REMEMBERED)
def clock_of(text: str) -> Clock:
    """Return the time of the day in a text.

    Raises:
        ValueError: the text is none.

    >>> clock_of('09:00:00.5+01:00'), clock_of('3:05 PM').nanoseconds / NANOSECONDS / 3600
    (Clock(nanoseconds=32400500000000, offset=3600), 15.083333333333334)
    """
    if not text:
        return Clock(0, None)
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no time of a day")
    hours, minutes, seconds, fraction, half, offset = found.groups()
    hour, minute, second = int(hours), int(minutes or 0), int(seconds or 0)
    if half:
        if not 1 <= hour <= 12:
            raise ValueError(f"{text[:40]!r} is no time of a day")
        hour = hour % 12 + (12 if half.lower() == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59 or (minutes is None and not half and len(hours) < 2):
        raise ValueError(f"{text[:40]!r} is no time of a day")
    digits = (fraction or "").rstrip("0")
    if len(digits) > 9:
        raise ValueError(f"a time has at most 9 digits of a second, and not {len(digits)}")
    part = int(digits.ljust(9, "0")) if digits else 0
    return Clock((hour * 3600 + minute * 60 + second) * NANOSECONDS + part, _offset_of(offset))


def _offset_of(text: str | None) -> int | None:
    if not text:
        return None
    if text in "Zz":
        return 0
    digits = text[1:].replace(":", "").ljust(6, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:])
    if seconds >= DAY:
        raise ValueError(f"there is no offset {text}")
    return -seconds if text[0] == "-" else seconds


def day_of(text: str, order: str) -> int | None:
    """Return the day of a date, counted from 1970; None if the text is no date.

    >>> day_of(\'31.12.1970\', DAY_FIRST), day_of(\'01/02/1970\', MONTH_FIRST), day_of(\'1970-02-30\', DAY_FIRST)
    (364, 1, None)
    """
    if (parts := _YEAR_LAST.fullmatch(text)) is not None:
        begins_with_day = parts[2] == "." or order == DAY_FIRST
        return _day(parts[4], parts[3], parts[1]) if begins_with_day else _day(parts[4], parts[1], parts[3])
    if (parts := _YEAR_FIRST.fullmatch(text)) is not None:
        return _day(parts[1], parts[3], parts[4])
    return eight_digits(text)


def eight_digits(text: str) -> int | None:
    """Return the day of a date of eight digits; None if the text is none."""
    parts = _EIGHT.fullmatch(text)
    return None if parts is None else _day(parts[1] + parts[2], parts[3], parts[4])


def _day(year: str, month: str, day: str) -> int | None:
    """Return a day, counted from 1970; None if there is no such day."""
    try:
        return datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError:
        return None


def parse_iso(cell: str) -> tuple[int, int | None]:
    """Return the nanoseconds of a cell in any form of ISO 8601, and its offset in seconds."""
    try:
        moment = datetime.datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        raise ValueError(
            f"{cell[:60]!r} is no time: an int, or a date and time in ISO 8601; if it has another form, {HOW}"
        ) from None
    fraction = _FRACTION.search(cell)
    digits = "" if fraction is None else fraction[1].rstrip("0")
    if len(digits) > 9:
        raise ValueError(f"a time has at most 9 digits of a second, and not {len(digits)}")
    offset = moment.utcoffset()
    naive = moment.replace(tzinfo=None, microsecond=0)
    seconds = None if offset is None else offset // _SECOND
    return _nanoseconds(naive, int(digits.ljust(9, "0") or 0)), seconds


def _nanoseconds(moment: datetime.datetime, fraction: int) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
    return (aware.replace(microsecond=0) - _START) // _SECOND * NANOSECONDS + fraction


def parse_format(line: int, cell: str, date_format: str) -> tuple[int, bool]:
    """Return the nanoseconds of a cell in a format of ``strptime``, and whether it has an offset from UTC."""
    try:
        moment = datetime.datetime.strptime(cell, date_format)  # noqa: DTZ007  # the zone comes later
    except ValueError:
        raise StoreFileError(line, f"{cell[:60]!r} is no time as in {date_format!r}") from None
    offset = moment.utcoffset()
    return _nanoseconds(moment, moment.microsecond * 1000), offset is not None
