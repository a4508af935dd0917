"""Times as users write them."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rstore.bins import named_zone
from rstore.domain.spans import check_time
from rstore.encoding.columns import UNITS, TimeAxis

if TYPE_CHECKING:
    import numpy as np

Moment: TypeAlias = "int | str | datetime.datetime | np.datetime64"
"""A time: POSIX milliseconds, an aware datetime (pandas' too), ISO 8601 text with an offset, or NumPy's, in UTC.

Calls that take a moment of the past also take the name of a tag; see :mod:`rstore.tags`.
"""

Stamp: TypeAlias = "int | str | datetime.datetime | np.datetime64"
"""A timestamp of a series; of one that has a unit also a datetime, or an ISO 8601 string, down to nanoseconds."""

Length: TypeAlias = "int | datetime.timedelta | np.timedelta64"
"""A distance between timestamps of a series: in its unit, or if it has one, a timedelta of Python, pandas or NumPy."""

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
_NANOSECONDS: Final = UNITS["ns"]
_PER_MILLISECOND: Final = 10**6
_FRACTION: Final = re.compile(r"[.,](\d+)")
_TO_SECONDS: Final = len("1970-01-01T00:00:00")


def posix_ms(moment: Moment, what: str = "a time", *, up: bool = False) -> int:
    """Return a time in POSIX milliseconds, rounded down, or with ``up`` rounded up.

    Args:
        what: the name of the argument in an error.

    Raises:
        TypeError, ValueError: the argument is no time, or has no offset from UTC.

    >>> posix_ms(1000), posix_ms('1970-01-01T00:00:01Z'), posix_ms('1970-01-01T01:00:01+01:00')
    (1000, 1000, 1000)
    """
    beyond = 0
    if isinstance(moment, str):
        moment, beyond = _parsed(moment)
    if not is_datetime(moment):
        if isinstance(moment, datetime.date):
            raise TypeError(f"{moment} is a day: say which moment of it, as a datetime with an offset from UTC")
        return check_time(what, moment)
    whole, rest = divmod(_nanoseconds(moment) + beyond, _PER_MILLISECOND)
    return whole + (up and rest > 0)


def is_datetime(moment: object) -> bool:
    """Tell whether an object is a datetime: of Python, of pandas, or of NumPy."""
    return isinstance(moment, datetime.datetime) or _kind(moment) == "M"


def is_timedelta(length: object) -> bool:
    """Tell whether an object is a timedelta: of Python, of pandas, or of NumPy."""
    return isinstance(length, datetime.timedelta) or _kind(length) == "m"


def _kind(value: object) -> str:
    """Return the kind of a NumPy scalar, ``M`` for a datetime ``m`` for a timedelta; empty for all other objects."""
    dtype = getattr(value, "dtype", None)
    return getattr(dtype, "kind", "") if getattr(value, "shape", None) == () else ""


def _nanoseconds(moment: Any) -> int:
    """Return a datetime as nanoseconds since 1970 in UTC. NumPy's datetimes are in UTC."""
    if moment != moment:  # noqa: PLR0124
        raise ValueError("NaT is no time")
    if not isinstance(moment, datetime.datetime):
        seconds = moment.astype("M8[s]")
        return int(seconds.astype("i8")) * _NANOSECONDS + int((moment - seconds).astype("m8[ns]").astype("i8"))
    if moment.utcoffset() is None:
        raise ValueError(f"{moment.isoformat()} has no offset from UTC: say which time zone it is in")
    return (moment - _EPOCH) // _MICROSECOND * 1000 + getattr(moment, "nanosecond", 0)


def _parsed(text: str) -> tuple[datetime.datetime, int]:
    """Return the datetime that a text states, and the nanoseconds beyond its six digits of a second."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no time: write it as in ISO 8601, 2026-11-01T09:00+01:00") from None
    found = _FRACTION.search(text)
    digits = "" if found is None else found[1].rstrip("0")
    if len(digits) > digits_of("ns"):
        raise ValueError(f"{text[:60]!r} has more than {digits_of('ns')} digits of a second: timestamps hold no more")
    return moment, int(digits[digits_of("us") :].ljust(3, "0"))


def _in_zone(moment: datetime.datetime, name: str) -> datetime.datetime:
    """Return a local time of a zone. A time that clocks skipped has a smaller offset with fold 0 than with 1."""
    before, after = (moment.replace(tzinfo=named_zone(name), fold=fold) for fold in (0, 1))
    first, second = before.utcoffset(), after.utcoffset()
    if first is not None and second is not None and first < second:
        raise ValueError(
            f"{moment.isoformat()} was skipped in {name} when clocks were put forward: write it with an offset"
        )
    return after if moment.fold else before


def in_series(moment: Stamp, times: TimeAxis, *, up: bool) -> int:
    """Return a time as a timestamp of a series, rounded down, or with ``up`` rounded up.

    A time without an offset from UTC is in the time zone of the series, or in UTC if that has none. NumPy's times are
    always in UTC.

    Raises:
        ValueError: the argument is no time; or it has an offset, and the series no time zone; or the series no unit.

    >>> from rstore.encoding.columns import TimeAxis
    >>> in_series('1970-01-01T01:00', TimeAxis('s', 'Europe/Berlin'), up=True)
    0
    >>> [in_series('1970-01-01T00:00:00.5', TimeAxis('s'), up=up) for up in (True, False)]
    [1, 0]
    """
    beyond = 0
    if isinstance(moment, str):
        moment, beyond = _parsed(moment)
    if not is_datetime(moment):
        return check_time("a timestamp", moment)
    if times.unit is None:
        raise ValueError(
            f"the timestamps of the series are plain ints, and {moment} is none: use ints, "
            "or begin a series with a frame of datetimes, which gives it a unit"
        )
    if isinstance(moment, datetime.datetime):
        if moment.tzinfo is None:
            zone = times.zone
            moment = moment.replace(tzinfo=datetime.UTC) if zone is None else _in_zone(moment, zone)
        elif times.zone is None:
            raise ValueError(
                f"the times of the series have no time zone, and {moment.isoformat()} has an offset from UTC"
            )
    whole, rest = divmod((_nanoseconds(moment) + beyond) * UNITS[times.unit], _NANOSECONDS)
    return whole + (up and rest > 0)


def exactly_in_series(moment: Stamp, times: TimeAxis) -> int:
    """Return a time as a timestamp of a series without rounding it: see :func:`in_series`.

    Raises:
        ValueError: the unit of the series is too coarse for the time; or as :func:`in_series`.
    """
    found = in_series(moment, times, up=False)
    if found != in_series(moment, times, up=True):
        raise ValueError(f"{moment} lies between two timestamps of the series, which counts in {times.unit!r}")
    return found


def length_in_series(length: Any, times: TimeAxis) -> int:
    """Return a timedelta in the unit of a series.

    Raises:
        ValueError: the series has no unit, or one that is too coarse; or the timedelta has no fixed length.

    >>> from rstore.encoding.columns import TimeAxis
    >>> length_in_series(datetime.timedelta(minutes=5), TimeAxis('s'))
    300
    """
    if times.unit is None:
        raise ValueError(f"the timestamps of the series are plain ints: freq is one too, not {length}")
    if length != length:  # noqa: PLR0124
        raise ValueError("NaT is no length of time")
    if isinstance(length, datetime.timedelta):
        nanoseconds = length // _MICROSECOND * 1000 + getattr(length, "nanoseconds", 0)
    elif length.dtype.str.endswith(("m8", "[M]", "[Y]")):
        raise ValueError(f"{length!r} is of no fixed length: freq is in days or shorter units")
    else:
        nanoseconds = int(length.astype("m8[ns]").astype("i8"))
    found, rest = divmod(nanoseconds * UNITS[times.unit], _NANOSECONDS)
    if rest:
        raise ValueError(f"the series counts its times in {times.unit!r}, which {length} is no multiple of")
    return found


def iso_in_series(timestamp: int, times: TimeAxis) -> str | int:
    """Return a timestamp of a series with a unit as a date and time in ISO 8601, with as many digits as the unit has.

    A timestamp outside the years of datetimes, 1 to 9999, stays a number.

    >>> from rstore.encoding.columns import TimeAxis
    >>> iso_in_series(1_500, TimeAxis('ms', 'Europe/Berlin')), iso_in_series(-1, TimeAxis('ns'))
    ('1970-01-01T01:00:01.500+01:00', '1969-12-31T23:59:59.999999999')
    >>> iso_in_series(2**60, TimeAxis('s'))
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
    """Return the number of decimals that a second has in a unit.

    >>> digits_of('s'), digits_of('us')
    (0, 6)
    """
    return len(str(UNITS[unit])) - 1
