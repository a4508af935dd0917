"""Cells that are times: integers, and dates in the forms that people write.

A cell has two halves, a date and the time of the day. Both repeat themselves a lot in a column, so each is looked at
once and remembered. How a column writes its dates is decided by all of its cells, in :func:`form_of`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from attrs import define, field, frozen

from rstore.columns import UNITS
from rstore.domain.errors import StoreFileError
from rstore.domain.log import check_time
from rstore.tabular.numerals import are_small_integers
from rstore.tabular.options import TableOptions
from rstore.tabular.zones import LocalTimes

NANOSECONDS: Final = UNITS["ns"]
_DAY: Final = 86_400
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_START: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND: Final = datetime.timedelta(seconds=1)
_REMEMBERED: Final = 1 << 17

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
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
_HOW: Final = "say it with --date-format (in Python TableOptions(date_format=...))"


class Whole(int):
    """A number in a column of dates: it counts in the unit of its series, where the calendar ends."""

    __slots__ = ()


class Clock(NamedTuple):
    """A time of the day in nanoseconds, and its offset from UTC in seconds, None if it has none."""

    nanoseconds: int
    offset: int | None


class Example(NamedTuple):
    """A cell, and the line in which it stands first."""

    line: int
    cell: str


def halves(cell: str) -> tuple[str, str]:
    """Return the date of a cell, and what follows it.

    >>> halves('2026-11-01T09:00'), halves('1/31/2024 3:05 PM'), halves('17')
    (('2026-11-01', '09:00'), ('1/31/2024', '3:05 PM'), ('17', ''))
    """
    date, _, clock = cell.partition("T" if "T" in cell else " ")
    return date, clock


@lru_cache(_REMEMBERED)
def clock_of(text: str) -> Clock:
    """Return the time of the day that a text is.

    Raises:
        ValueError: it is none.

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
        raise ValueError(f"a time has no more than 9 digits of a second, and not {len(digits)}")
    part = int(digits.ljust(9, "0")) if digits else 0
    return Clock((hour * 3600 + minute * 60 + second) * NANOSECONDS + part, _offset_of(offset))


def _offset_of(text: str | None) -> int | None:
    if not text:
        return None
    if text in "Zz":
        return 0
    digits = text[1:].replace(":", "").ljust(6, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:])
    if seconds >= _DAY:
        raise ValueError(f"there is no offset {text}")
    return -seconds if text[0] == "-" else seconds


# -- how a column writes its dates ------------------------------------------------------------------------------------


@define
class TimesSeen:
    """What was seen in a column of times, with the first example of each."""

    whole: Example | None = None
    eight: Example | None = None
    dates: Example | None = None
    day_first: Example | None = None
    month_first: Example | None = None
    either: Example | None = None
    aware: Example | None = None
    naive: Example | None = None
    _known: dict[str, None] = field(factory=dict)

    def add(self, lines: Sequence[int], cells: Sequence[str]) -> None:
        """Look at cells.

        Raises:
            StoreFileError: one is no time.
        """
        if are_small_integers("\n".join(cells) + "\n"):
            self._add_integers(lines, cells)
            return
        pairs = [halves(cell) for cell in cells]
        dates = dict(zip([date for date, _ in reversed(pairs)], reversed(lines), strict=True))
        clocks = dict(zip([clock for _, clock in reversed(pairs)], reversed(lines), strict=True))
        try:
            if clocks.keys() == {""}:
                for date, line in dates.items():
                    self._add_alone(Example(line, date))
                return
            for clock, line in clocks.items():
                if clock:
                    self._add_clock(Example(line, clock))
            for date, line in dates.items():
                self._add_date(Example(line, date))
            bare = dict.fromkeys(date for date, clock in pairs if not clock)
            for date in bare:
                self._add_alone(Example(dates[date], date))
        except _NoTimeError:
            self._add_one_by_one(lines, cells)

    def _add_integers(self, lines: Sequence[int], cells: Sequence[str]) -> None:
        """Look at integers: one that is no date of eight digits is enough to know of."""
        if not cells:
            return
        at = next((at for at, cell in enumerate(cells) if _eight_digits(cell) is None), None)
        if at is None or _eight_digits(cells[0]) is not None:
            self.eight = self.eight or Example(lines[0], cells[0])
        if at is not None:
            self.whole = self.whole or Example(lines[at], cells[at])

    def _add_one_by_one(self, lines: Sequence[int], cells: Sequence[str]) -> None:
        """Look at cells of which some are in a form of ISO 8601 that is rare, or no times."""
        for line, cell in zip(lines, cells, strict=True):
            date, clock = halves(cell)
            try:
                if clock:
                    self._add_clock(Example(line, clock))
                    self._add_date(Example(line, date))
                else:
                    self._add_alone(Example(line, date))
            except _NoTimeError:
                try:
                    _, offset = _rare(cell)
                except ValueError as exc:
                    raise StoreFileError(line, str(exc)) from None
                self._add_offset(Example(line, cell), offset)
                self.dates = self.dates or Example(line, cell)

    def _add_clock(self, example: Example) -> None:
        try:
            clock = clock_of(example.cell)
        except ValueError as exc:
            raise _NoTimeError(example) from exc
        self._add_offset(example, clock.offset)

    def _add_offset(self, example: Example, offset: int | None) -> None:
        if offset is None:
            self.naive = self.naive or example
        else:
            self.aware = self.aware or example

    def _add_alone(self, example: Example) -> None:
        """Look at a cell that is a number, or a date without a time of the day."""
        if _INTEGER.fullmatch(example.cell):
            if _eight_digits(example.cell) is None:
                self.whole = self.whole or example
            else:
                self.eight = self.eight or example
            return
        self._add_date(example)
        self.naive = self.naive or example

    def _add_date(self, example: Example) -> None:
        if example.cell in self._known:
            return
        parts = _YEAR_LAST.fullmatch(example.cell)
        if parts is None:
            if _year_first(example.cell) is None and _eight_digits(example.cell) is None:
                raise _NoTimeError(example)
            self.dates = self.dates or example
        elif parts[2] == ".":
            if _day(parts[4], parts[3], parts[1]) is None:
                raise _NoTimeError(example)
            self.dates = self.dates or example
        else:
            self._add_order(example, parts)
        if len(self._known) < _REMEMBERED:
            self._known[example.cell] = None

    def _add_order(self, example: Example, parts: re.Match[str]) -> None:
        by_day = _day(parts[4], parts[3], parts[1]) is not None
        by_month = _day(parts[4], parts[1], parts[3]) is not None
        if not by_day and not by_month:
            raise _NoTimeError(example)
        if by_day and by_month:
            if parts[1] != parts[3]:
                self.either = self.either or example
        elif by_day:
            self.day_first = self.day_first or example
        else:
            self.month_first = self.month_first or example


class _NoTimeError(Exception):
    """A cell is not in a form that is known here."""


@frozen
class TimeForm:
    """How a column of times is read.

    ``are_dates`` tells dates from plain integers, and ``is_aware`` whether they have an offset from UTC. ``order`` is
    :data:`DAY_FIRST` or :data:`MONTH_FIRST`.
    """

    are_dates: bool
    is_aware: bool = False
    order: str = DAY_FIRST
    date_format: str | None = None
    zone: str | None = None

    @property
    def series_zone(self) -> str | None:
        """The time zone that a new series has: what was said, else UTC if the times have an offset."""
        return self.zone or ("UTC" if self.is_aware else None)

    def reader(self) -> TimeReader:
        """Return what reads the cells of a column, from the first row of the table to the last."""
        return TimeReader(self)


class TimeReader:
    """Reads a column of times from the first row of a table to the last."""

    def __init__(self, form: TimeForm) -> None:
        self._form = form
        self._local = LocalTimes(form.zone) if form.zone is not None and not form.is_aware else None

    @property
    def twice(self) -> int:
        """How many times there were that a place has twice, because clocks were put back."""
        return 0 if self._local is None else self._local.twice

    def read(self, lines: Sequence[int], cells: Sequence[str], keys: Sequence[str | None] | None = None) -> list[int]:
        """Return cells as nanoseconds from 1970; integers alone are what they are.

        Args:
            keys: those of the series of the rows, if there are several.

        Raises:
            StoreFileError: a time is beyond 64 bits, or clocks were put forward past it.
        """
        if not self._form.are_dates:
            return _integers(lines, cells)
        if self._form.date_format is not None:
            found = [formatted(line, cell, self._form.date_format)[0] for line, cell in zip(lines, cells, strict=True)]
        else:
            found = self._read(lines, cells)
        return found if self._local is None else self._local.utc(lines, found, keys)

    def _read(self, lines: Sequence[int], cells: Sequence[str]) -> list[int]:
        days, clocks, found = _Days(self._form.order), _Clocks(), []
        for at, cell in enumerate(cells):
            date, _, clock = cell.partition("T" if "T" in cell else " ")
            try:
                found.append(days[date] + clocks[clock])
            except ValueError:
                found.append(self._other(lines[at], cell))
        return found

    @staticmethod
    def _other(line: int, cell: str) -> int:
        try:
            if _INTEGER.fullmatch(cell):
                return Whole(check_time("a time", int(cell)))
            nanoseconds, offset = _rare(cell)
        except (ValueError, OverflowError) as exc:
            raise StoreFileError(line, str(exc)) from None
        return nanoseconds - (offset or 0) * NANOSECONDS


class _Days(dict[str, int]):
    """Dates, as nanoseconds from 1970."""

    def __init__(self, order: str) -> None:
        self._order = order

    def __missing__(self, text: str) -> int:
        day = _read_day(text, self._order)
        if day is None:
            raise ValueError(text)
        self[text] = day * _DAY * NANOSECONDS
        return self[text]


class _Clocks(dict[str, int]):
    """Times of a day as nanoseconds, in UTC if they have an offset."""

    def __missing__(self, text: str) -> int:
        nanoseconds, offset = clock_of(text)
        self[text] = nanoseconds - (offset or 0) * NANOSECONDS
        return self[text]


def form_of(seen: TimesSeen, options: TableOptions) -> TimeForm:
    """Decide how a column of times is read, by all that was seen in it.

    Raises:
        StoreFileError: it can be read in more ways than one.
    """
    order = _order(seen)
    dated = seen.dates or seen.day_first or seen.month_first or seen.either or seen.aware or seen.naive
    if dated is None and (seen.whole is not None or seen.eight is None):
        return TimeForm(are_dates=False)
    naive = seen.naive or seen.eight
    if seen.aware is not None and naive is not None:
        raise StoreFileError(
            naive.line,
            f"{naive.cell!r} has no offset from UTC, and {seen.aware.cell!r} in line {seen.aware.line} has one",
        )
    return TimeForm(are_dates=True, is_aware=seen.aware is not None, order=order, zone=options.zone)


def _order(seen: TimesSeen) -> str:
    if seen.day_first is not None and seen.month_first is not None:
        raise StoreFileError(
            seen.month_first.line,
            f"{seen.month_first.cell!r} begins with the month, and {seen.day_first.cell!r} in line "
            f"{seen.day_first.line} with the day",
        )
    if seen.either is not None and seen.day_first is None and seen.month_first is None:
        first, second = (datetime.datetime.strptime(_slashed(seen.either.cell), order) for order in _ORDERS)  # noqa: DTZ007
        raise StoreFileError(
            seen.either.line,
            f"{seen.either.cell!r} may be {first:%Y-%m-%d} ({DAY_FIRST}) or {second:%Y-%m-%d} ({MONTH_FIRST}): {_HOW}",
        )
    return DAY_FIRST if seen.month_first is None else MONTH_FIRST


_ORDERS: Final = (DAY_FIRST, MONTH_FIRST)


def _slashed(cell: str) -> str:
    return cell.replace("-", "/")


def formatted(line: int, cell: str, date_format: str) -> tuple[int, bool]:
    """Return the nanoseconds of a cell that is written in a format, and whether it has an offset from UTC."""
    try:
        moment = datetime.datetime.strptime(cell, date_format)  # noqa: DTZ007  # the zone comes later
    except ValueError:
        raise StoreFileError(line, f"{cell[:60]!r} is no time as in {date_format!r}") from None
    offset = moment.utcoffset()
    return _nanoseconds(moment, moment.microsecond * 1000), offset is not None


def is_time(cell: str, options: TableOptions) -> bool:
    """Tell whether a cell may be a time."""
    try:
        if options.date_format is not None:
            formatted(1, cell, options.date_format)
        else:
            TimesSeen().add([1], [cell])
    except StoreFileError:
        return False
    return True


def is_date(cell: str, options: TableOptions) -> bool:
    """Tell whether a cell may be a time, and is no integer."""
    return (options.date_format is not None or not _INTEGER.fullmatch(cell)) and is_time(cell, options)


class TimesLook:
    """A look at a column of times, from the first row of a table to the last."""

    def __init__(self, options: TableOptions) -> None:
        self._options, self._seen, self._is_aware = options, TimesSeen(), False

    def add(self, lines: Sequence[int], cells: Sequence[str | None]) -> None:
        """Look at cells.

        Raises:
            StoreFileError: one is no time.
        """
        filled = [(line, cell) for line, cell in zip(lines, cells, strict=True) if cell is not None]
        if self._options.date_format is None:
            self._seen.add([line for line, _ in filled], [cell for _, cell in filled])
            return
        for line, cell in filled:
            self._is_aware = formatted(line, cell, self._options.date_format)[1]

    def form(self) -> TimeForm:
        """Return how the column is read.

        Raises:
            StoreFileError: it can be read in more ways than one.
        """
        if self._options.date_format is None:
            return form_of(self._seen, self._options)
        return TimeForm(True, self._is_aware, date_format=self._options.date_format, zone=self._options.zone)


# -- single cells -----------------------------------------------------------------------------------------------------


def _integers(lines: Sequence[int], cells: Sequence[str]) -> list[int]:
    found = list(map(int, cells))
    if found and not -(2**63) <= min(found) <= max(found) < 2**63:
        for line, number in zip(lines, found, strict=True):
            try:
                check_time("a time", number)
            except OverflowError as exc:
                raise StoreFileError(line, str(exc)) from None
    return found


def _read_day(text: str, order: str) -> int | None:
    parts = _YEAR_LAST.fullmatch(text)
    if parts is None:
        day = _year_first(text)
        return _eight_digits(text) if day is None else day
    if parts[2] == "." or order == DAY_FIRST:
        return _day(parts[4], parts[3], parts[1])
    return _day(parts[4], parts[1], parts[3])


def _year_first(text: str) -> int | None:
    parts = _YEAR_FIRST.fullmatch(text)
    return None if parts is None else _day(parts[1], parts[3], parts[4])


def _eight_digits(text: str) -> int | None:
    parts = _EIGHT.fullmatch(text)
    return None if parts is None else _day(parts[1] + parts[2], parts[3], parts[4])


def _day(year: str, month: str, day: str) -> int | None:
    """Return the number of a day from 1970, None if there is no such day."""
    try:
        return datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError:
        return None


def _rare(cell: str) -> tuple[int, int | None]:
    """Return the nanoseconds of a cell in any form of ISO 8601, and its offset in seconds."""
    try:
        moment = datetime.datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        raise ValueError(
            f"{cell[:60]!r} is no time: an int, or a date and time in ISO 8601; {_HOW}, if it is written otherwise"
        ) from None
    fraction = _FRACTION.search(cell)
    digits = "" if fraction is None else fraction[1].rstrip("0")
    if len(digits) > 9:
        raise ValueError(f"a time has no more than 9 digits of a second, and not {len(digits)}")
    offset = moment.utcoffset()
    naive = moment.replace(tzinfo=None, microsecond=0)
    seconds = None if offset is None else offset // _SECOND
    return _nanoseconds(naive, int(digits.ljust(9, "0") or 0)), seconds


def _nanoseconds(moment: datetime.datetime, fraction: int) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
    return (aware.replace(microsecond=0) - _START) // _SECOND * NANOSECONDS + fraction
