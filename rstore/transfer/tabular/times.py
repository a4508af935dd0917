"""Columns of times. All cells of a column decide the form of its dates, in :func:`form_of`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from attrs import define, field, frozen

from rstore.domain.errors import StoreFileError
from rstore.domain.spans import check_time
from rstore.transfer.tabular.clocks import (
    DAY,
    DAY_FIRST,
    HOW,
    INTEGER,
    MONTH_FIRST,
    NANOSECONDS,
    REMEMBERED,
    NumberAmongDates,
    check_times,
    clock_of,
    day_of,
    eight_digits,
    halves,
    parse_format,
    parse_iso,
)
from rstore.transfer.tabular.numerals import are_small_integers
from rstore.transfer.tabular.options import TableOptions
from rstore.transfer.tabular.zones import TimeReader

_ORDERS: Final = (DAY_FIRST, MONTH_FIRST)


class Example(NamedTuple):
    """A cell, and the first line with it."""

    line: int
    cell: str


@define
class TimeStats:
    """The first example of each form of times in a column.

    ``whole`` is an integer, ``eight`` one that may be a date; ``either`` may begin with the day or the month.
    """

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
        """Add cells.

        Raises:
            StoreFileError: a cell is no time.
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
        except _UnknownFormError:
            self._add_one_by_one(lines, cells)

    def _add_integers(self, lines: Sequence[int], cells: Sequence[str]) -> None:
        """Add integers. One example that is no date of eight digits is enough."""
        if not cells:
            return
        at = next((at for at, cell in enumerate(cells) if eight_digits(cell) is None), None)
        if at is None or eight_digits(cells[0]) is not None:
            self.eight = self.eight or Example(lines[0], cells[0])
        if at is not None:
            self.whole = self.whole or Example(lines[at], cells[at])

    def _add_one_by_one(self, lines: Sequence[int], cells: Sequence[str]) -> None:
        """Add cells, some of which have a rare form of ISO 8601, or are no times."""
        for line, cell in zip(lines, cells, strict=True):
            date, clock = halves(cell)
            try:
                if clock:
                    self._add_clock(Example(line, clock))
                    self._add_date(Example(line, date))
                else:
                    self._add_alone(Example(line, date))
            except _UnknownFormError:
                try:
                    _, offset = parse_iso(cell)
                except ValueError as exc:
                    raise StoreFileError(line, str(exc)) from None
                self._add_offset(Example(line, cell), offset)
                self.dates = self.dates or Example(line, cell)

    def _add_clock(self, example: Example) -> None:
        try:
            clock = clock_of(example.cell)
        except ValueError as exc:
            raise _UnknownFormError(example) from exc
        self._add_offset(example, clock.offset)

    def _add_offset(self, example: Example, offset: int | None) -> None:
        if offset is None:
            self.naive = self.naive or example
        else:
            self.aware = self.aware or example

    def _add_alone(self, example: Example) -> None:
        """Add a cell that is a number, or a date without a time of the day."""
        if INTEGER.fullmatch(example.cell):
            if eight_digits(example.cell) is None:
                self.whole = self.whole or example
            else:
                self.eight = self.eight or example
            return
        self._add_date(example)
        self.naive = self.naive or example

    def _add_date(self, example: Example) -> None:
        if example.cell in self._known:
            return
        by_day, by_month = (day_of(example.cell, order) for order in _ORDERS)
        if by_day is None and by_month is None:
            raise _UnknownFormError(example)
        if by_day == by_month:
            self.dates = self.dates or example
        elif by_month is None:
            self.day_first = self.day_first or example
        elif by_day is None:
            self.month_first = self.month_first or example
        else:
            self.either = self.either or example
        if len(self._known) < REMEMBERED:
            self._known[example.cell] = None


class _UnknownFormError(Exception):
    """The form of a cell is unknown here."""


@frozen
class TimeForm:
    """How a column of times is read.

    ``are_dates`` is whether the times are dates, and not plain integers; ``is_aware`` is whether they have an offset
    from UTC. ``order`` is :data:`DAY_FIRST` or :data:`MONTH_FIRST`.
    """

    are_dates: bool
    is_aware: bool = False
    order: str = DAY_FIRST
    date_format: str | None = None
    zone: str | None = None

    @property
    def series_zone(self) -> str | None:
        """The time zone of a new series: the given one, else UTC if the times have an offset."""
        return self.zone or ("UTC" if self.is_aware else None)

    def reader(self) -> TimeReader:
        """Return a reader of the column, which starts at the first row of the table."""
        if not self.are_dates:
            return TimeReader(_integers)
        parse = partial(_dates, self.order) if self.date_format is None else partial(_formatted, self.date_format)
        return TimeReader(parse, None if self.is_aware else self.zone)


def _formatted(date_format: str, lines: Sequence[int], cells: Sequence[str]) -> list[int]:
    return [parse_format(line, cell, date_format)[0] for line, cell in zip(lines, cells, strict=True)]


def _dates(order: str, lines: Sequence[int], cells: Sequence[str]) -> list[int]:
    days, clocks, found = _Days(order), _Clocks(), []
    for at, cell in enumerate(cells):
        date, _, clock = cell.partition("T" if "T" in cell else " ")
        try:
            found.append(days[date] + clocks[clock])
        except ValueError:
            found.append(_other(lines[at], cell))
    return found


def _other(line: int, cell: str) -> int:
    """Return a time that is a number, or has a rare form of ISO 8601."""
    try:
        if INTEGER.fullmatch(cell):
            return NumberAmongDates(check_time("a time", int(cell)))
        nanoseconds, offset = parse_iso(cell)
    except (ValueError, OverflowError) as exc:
        raise StoreFileError(line, str(exc)) from None
    return nanoseconds - (offset or 0) * NANOSECONDS


class _Days(dict[str, int]):
    """Dates, as nanoseconds from 1970."""

    def __init__(self, order: str) -> None:
        self._order = order

    def __missing__(self, text: str) -> int:
        day = day_of(text, self._order)
        if day is None:
            raise ValueError(text)
        self[text] = day * DAY * NANOSECONDS
        return self[text]


class _Clocks(dict[str, int]):
    """Times of a day as nanoseconds, in UTC if they have an offset."""

    def __missing__(self, text: str) -> int:
        nanoseconds, offset = clock_of(text)
        self[text] = nanoseconds - (offset or 0) * NANOSECONDS
        return self[text]


def form_of(seen: TimeStats, options: TableOptions) -> TimeForm:
    """Decide how a column of times is read, by the forms of all its cells.

    Raises:
        StoreFileError: the column can be read in more than one way.
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


def _order(seen: TimeStats) -> str:
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
            f"{seen.either.cell!r} may be {first:%Y-%m-%d} ({DAY_FIRST}) or {second:%Y-%m-%d} ({MONTH_FIRST}): {HOW}",
        )
    return DAY_FIRST if seen.month_first is None else MONTH_FIRST


def _slashed(cell: str) -> str:
    return cell.replace("-", "/")


def is_time(cell: str, options: TableOptions) -> bool:
    """Return whether a cell may be a time."""
    try:
        if options.date_format is not None:
            parse_format(1, cell, options.date_format)
        else:
            TimeStats().add([1], [cell])
    except StoreFileError:
        return False
    return True


def is_date(cell: str, options: TableOptions) -> bool:
    """Return whether a cell may be a time, and is no integer."""
    return (options.date_format is not None or not INTEGER.fullmatch(cell)) and is_time(cell, options)


class TimeScan:
    """A scan of a column of times, from the first row of the table to the last."""

    def __init__(self, options: TableOptions) -> None:
        self._options, self._seen, self._is_aware = options, TimeStats(), False

    def add(self, lines: Sequence[int], cells: Sequence[str | None]) -> None:
        """Add cells.

        Raises:
            StoreFileError: a cell is no time.
        """
        filled = [(line, cell) for line, cell in zip(lines, cells, strict=True) if cell is not None]
        if self._options.date_format is None:
            self._seen.add([line for line, _ in filled], [cell for _, cell in filled])
            return
        for line, cell in filled:
            self._is_aware = parse_format(line, cell, self._options.date_format)[1]

    def form(self) -> TimeForm:
        """Return how the column is read.

        Raises:
            StoreFileError: the column can be read in more than one way.
        """
        if self._options.date_format is None:
            return form_of(self._seen, self._options)
        return TimeForm(True, self._is_aware, date_format=self._options.date_format, zone=self._options.zone)


def _integers(lines: Sequence[int], cells: Sequence[str]) -> list[int]:
    found = list(map(int, cells))
    check_times(lines, found)
    return found
