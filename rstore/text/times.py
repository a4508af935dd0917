"""Times as users type them, and as they read them."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from rstore.timestamps import posix_ms

_INTEGER: Final = re.compile(r"[+-]?\d+")
_AGO: Final = re.compile(r"(?P<count>\d+|an?)\s*(?P<unit>[a-z]+)\s+ago")
_DAY: Final = re.compile(r"(?P<day>today|yesterday|tomorrow)(?:\s+(?P<clock>\d.*))?")
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}.*")
_FORMS: Final = (
    "write it as 2026-11-01 09:00, 2026-11-01T09:00+01:00, 'yesterday 09:00', '3 days ago', now, or POSIX ms"
)

_FIRST_RECORDED: Final = 100_000_000_000
"""POSIX milliseconds, in 1973. A user who types less as a transaction time means a year, a date or seconds."""

_DAYS: Final[Mapping[str, int]] = {"today": 0, "yesterday": -1, "tomorrow": 1}

_LENGTHS: Final[Mapping[str, datetime.timedelta]] = {
    "millisecond": datetime.timedelta(milliseconds=1),
    "second": datetime.timedelta(seconds=1),
    "minute": datetime.timedelta(minutes=1),
    "hour": datetime.timedelta(hours=1),
}
"""Units of constant length. A day is none, where clocks are put forward and back."""

_DATES: Final[Mapping[str, tuple[int, int]]] = {"day": (1, 0), "week": (7, 0), "month": (0, 1), "year": (0, 12)}
"""Units of the calendar, in days and months: three days ago means the same time of the day."""

_SHORT: Final[Mapping[str, str]] = {
    "ms": "millisecond",
    "s": "second",
    "sec": "second",
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "d": "day",
    "w": "week",
    "y": "year",
}


Tell: TypeAlias = Callable[[str, str], object]
"""Is told of a time that comes twice in the local time zone: the one that is taken, and the other one."""


class _SkippedError(ValueError):
    """The local time zone had no such time."""


class _Clock(NamedTuple):
    """Where times without an offset are read: in a zone, or in the local time zone if it is None."""

    zone: datetime.tzinfo | None
    tell: Tell

    def local(self, time: int) -> datetime.datetime:
        return _local(time, self.zone)

    def here(self, moment: datetime.datetime) -> datetime.datetime:
        """Return a moment with an offset: its own, or else that of the zone."""
        if moment.tzinfo is not None:
            return moment
        aware = self._aware(moment)
        if aware.astimezone(datetime.UTC).astimezone(self.zone).replace(tzinfo=None) != moment:
            raise _SkippedError
        again = self._aware(moment.replace(fold=1))
        if again.utcoffset() != aware.utcoffset():
            self.tell(aware.isoformat(" "), again.isoformat(" "))
        return aware

    def _aware(self, moment: datetime.datetime) -> datetime.datetime:
        return moment.astimezone() if self.zone is None else moment.replace(tzinfo=self.zone)

    def before(self, now: datetime.datetime, count: int, unit: str) -> datetime.datetime:
        """Return the moment that is so many units before another one."""
        if unit in _LENGTHS:
            return now - count * _LENGTHS[unit]
        days, months = _DATES[unit]
        wall = now.replace(tzinfo=None) - datetime.timedelta(days=days * count)
        year, month = divmod(wall.year * 12 + wall.month - 1 - months * count, 12)
        last = calendar.monthrange(year, month + 1)[1]
        return self._aware(wall.replace(year=year, month=month + 1, day=min(wall.day, last)))


def _ignore(taken: str, other: str) -> None:
    """Tell nobody of a time that comes twice."""


def is_integer(text: str) -> bool:
    """Return whether the user typed a number, and not a date or a time in words.

    >>> is_integer(' -5 '), is_integer('5 s ago'), is_integer('--5')
    (True, False, False)
    """
    return _INTEGER.fullmatch(text.strip()) is not None


def parse_time(text: str, now: int, zone: datetime.tzinfo | None = None, tell: Tell = _ignore) -> int:
    """Return the time that a text means, in POSIX milliseconds.

    Args:
        now: the present, in POSIX milliseconds.
        zone: that of times without an offset; None for the local time zone.
        tell: is told of a time that comes twice there.

    Raises:
        ValueError: the text is no time. The message shows how to write one.

    >>> parse_time('90 s ago', 100_000), parse_time('1970-01-01 00:00:01Z', 0), parse_time('17', 0)
    (10000, 1000, 17)
    """
    if is_integer(text):
        return posix_ms(int(text))
    words = text.strip().lower()
    if words == "now":
        return now
    try:
        clock = _Clock(zone, tell)
        return posix_ms(_moment(words, clock.local(now), clock))
    except _SkippedError:
        raise ValueError(
            f"there was no {text[:60]!r} here, because clocks were put forward: write it with an offset, +01:00 or Z"
        ) from None
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:60]!r} is no time: {_FORMS}") from None


def parse_recorded(text: str, now: int, zone: datetime.tzinfo | None = None, tell: Tell = _ignore) -> int:
    """Return the transaction time that a text means, as :func:`parse_time` does.

    A valid time may be any int. A transaction time that is too small is a slip of the user.

    Raises:
        ValueError: the text is no time, or a number that lies before any store existed.

    >>> parse_recorded('2026', 0)
    Traceback (most recent call last):
    ValueError: 2026 is too long ago for POSIX ms: write a date as 2026-01-01, and seconds with 000 behind
    """
    time = parse_time(text, now, zone, tell)
    if is_integer(text) and time < _FIRST_RECORDED:
        raise ValueError(
            f"{text.strip()[:60]} is too long ago for POSIX ms: write a date as 2026-01-01, and seconds with 000 behind"
        )
    return time


def show_time(time: int, zone: datetime.tzinfo | None = None) -> str:
    """Return a time in POSIX milliseconds as a person reads it, in a zone: by default, the local time zone.

    >>> show_time(1_700_000_000_123)[5:7], show_time(2**62)
    ('11', '4611686018427387904')
    """
    return _formatted(time, "%Y-%m-%d %H:%M:%S", zone, with_offset=False)


def write_time(time: int, zone: datetime.tzinfo | None = None) -> str:
    """Return a time in POSIX milliseconds as ISO 8601 with its offset in a zone, for programs."""
    return _formatted(time, "%Y-%m-%dT%H:%M:%S", zone, with_offset=True)


def _formatted(time: int, form: str, zone: datetime.tzinfo | None, *, with_offset: bool) -> str:
    try:
        moment = _local(time, zone)
    except (ValueError, OverflowError, OSError):  # beyond the calendar: 64 bits go further than the year 9999
        return str(time)
    offset = moment.isoformat(timespec="seconds")[19:] if with_offset else ""
    return f"{moment.strftime(form)}.{time % 1000:03d}{offset}"


def _local(time: int, zone: datetime.tzinfo | None) -> datetime.datetime:
    seconds, milliseconds = divmod(time, 1000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC) + datetime.timedelta(milliseconds=milliseconds)
    return moment.astimezone(zone)


def _moment(words: str, now: datetime.datetime, clock: _Clock) -> datetime.datetime:
    if ago := _AGO.fullmatch(words):
        count = 1 if ago["count"].startswith("a") else int(ago["count"])
        return clock.before(now, count, _unit(ago["unit"]))
    if day := _DAY.fullmatch(words):
        date = now.date() + datetime.timedelta(days=_DAYS[day["day"]])
        return _at_time(date, day["clock"] or "00:00", clock)
    if _CLOCK.fullmatch(words):
        return _at_time(now.date(), words, clock)
    return clock.here(datetime.datetime.fromisoformat(words.upper()))


def _at_time(date: datetime.date, text: str, clock: _Clock) -> datetime.datetime:
    time = datetime.time.fromisoformat(text if text.index(":") == 2 else f"0{text}")
    return clock.here(datetime.datetime.combine(date, time))


def _unit(word: str) -> str:
    singular = word.removesuffix("s") if len(word) > 2 else word
    unit = _SHORT.get(singular, singular)
    if unit not in _LENGTHS and unit not in _DATES:
        raise ValueError(word)
    return unit
