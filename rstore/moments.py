"""Times as users write them."""

from __future__ import annotations

import datetime
from typing import Final, TypeAlias

from rstore.domain.log import check_time

Moment: TypeAlias = int | str | datetime.datetime
"""A time: POSIX milliseconds, an aware datetime, or an ISO 8601 string with an offset."""

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)


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
