"""Times as users write them."""

from __future__ import annotations

import datetime
from typing import Final, TypeAlias

from rstore.columns import UNITS, Times
from rstore.domain.log import check_time
from rstore.grids import named_zone

Moment: TypeAlias = int | str | datetime.datetime
"""A time: POSIX milliseconds, an aware datetime, or an ISO 8601 string with an offset."""

Stamp: TypeAlias = int | str | datetime.datetime
"""A timestamp of a series; of one that has a unit also a datetime, or an ISO 8601 string, down to microseconds."""

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
_TO_SECONDS: Final = len("1970-01-01T00:00:00")


def posix_ms(moment: Moment) -> int:
    """Return a time in POSIX milliseconds.

    Raises:
        TypeError, ValueError: it is no time, or has no offset from UTC.

    >>> posix_ms(1000), posix_ms('1970-01-01T00:00:01Z'), posix_ms('1970-01-01T01:00:01+01:00')
    (1000, 1000, 1000)
    """
    if isinstance(moment, str):
        moment = _parsed(moment)
    if isinstance(moment, datetime.datetime):
        if moment.utcoffset() is None:
            raise ValueError(f"{moment.isoformat()} has no offset from UTC: say which time zone it is in")
        return (moment - _EPOCH) // _MILLISECOND
    if isinstance(moment, datetime.date):
        raise TypeError(f"{moment} is a day: say which moment of it, as a datetime with an offset from UTC")
    return check_time("a time", moment)


def _parsed(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no time: write it as in ISO 8601, 2026-11-01T09:00+01:00") from None


def in_series(moment: Stamp, times: Times, *, up: bool) -> int:
    """Return a time as a timestamp of a series with a unit: the first from then on (``up``), or the last up to then.

    A time without an offset from UTC is in the time zone of the series; in UTC, if that has none.

    Raises:
        ValueError: it is no time; or has an offset, and the series no time zone.

    >>> from rstore.columns import Times
    >>> in_series('1970-01-01T01:00', Times('s', 'Europe/Berlin'), up=True)
    0
    >>> [in_series('1970-01-01T00:00:00.5', Times('s'), up=up) for up in (True, False)]
    [1, 0]
    """
    if isinstance(moment, str):
        moment = _parsed(moment)
    if not isinstance(moment, datetime.datetime):
        return moment
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC if times.zone is None else named_zone(times.zone))
    elif times.zone is None:
        raise ValueError(f"the times of the series have no time zone, and {moment.isoformat()} has an offset from UTC")
    microseconds = (moment - _EPOCH) // _MICROSECOND
    whole, rest = divmod(microseconds * UNITS[times.unit or "us"], UNITS["us"])
    return whole + (up and rest > 0)


def iso_in_series(timestamp: int, times: Times) -> str | int:
    """Return a timestamp of a series with a unit as a date and time in ISO 8601, with as many digits as the unit has.

    Far from our days, where there are no datetimes, it stays a number.

    >>> from rstore.columns import Times
    >>> iso_in_series(1_500, Times('ms', 'Europe/Berlin')), iso_in_series(-1, Times('ns'))
    ('1970-01-01T01:00:01.500+01:00', '1969-12-31T23:59:59.999999999')
    >>> iso_in_series(2**60, Times('s'))
    1152921504606846976
    """
    per_second = UNITS[times.unit or "us"]
    seconds, rest = divmod(timestamp, per_second)
    try:
        moment = _EPOCH + datetime.timedelta(seconds=seconds)
        text = (moment if times.zone is None else moment.astimezone(named_zone(times.zone))).isoformat()
    except OverflowError:
        return timestamp
    digits = digits_of(times.unit or "us")
    fraction = f".{rest:0{digits}}" if digits else ""
    offset = "" if times.zone is None else text[_TO_SECONDS:]
    return text[:_TO_SECONDS] + fraction + offset


def digits_of(unit: str) -> int:
    """Return how many digits of a second a unit has.

    >>> digits_of('s'), digits_of('us')
    (0, 6)
    """
    return len(str(UNITS[unit])) - 1
