"""The time axes of series, and how times of a table become their timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from rstore.domain.errors import StoreFileError
from rstore.encoding.columns import UNITS, TimeAxis
from rstore.store import Store
from rstore.transfer.tabular.clocks import NANOSECONDS, NumberAmongDates, check_times
from rstore.transfer.tabular.table import Schema

_CALENDAR: Final = range(-62_135_596_800, 253_402_300_800)  # seconds from 1970, of the years 1 to 9999


class Axis(NamedTuple):
    """The times of a series. ``unit`` is the unit of its dates, None if its times are integers.

    ``time_axis`` is stored with the points; if it has no unit, they are stored as plain points. ``is_own`` is whether
    the series has its unit already, and ``is_new`` whether there is no such series.
    """

    unit: str | None
    time_axis: TimeAxis
    is_own: bool = False
    is_new: bool = False

    def stamps(self, lines: Sequence[int], times: Sequence[int]) -> Sequence[int]:
        """Return times as timestamps of the series. Dates come in nanoseconds from 1970.

        Raises:
            StoreFileError: a timestamp does not fit, or would not be exact: rounding might give two points one time.
        """
        if self.unit is None:
            return times
        factor = NANOSECONDS // UNITS[self.unit]
        has_numbers = NumberAmongDates in set(map(type, times))
        found = [time // factor for time in times]
        if has_numbers:
            found = [self._whole(*row) for row in zip(lines, times, found, strict=True)]
        for line, time in zip(lines, times, strict=True) if factor > 1 else ():
            if time % factor and type(time) is not NumberAmongDates:
                raise StoreFileError(line, self._inexact(time))
        check_times(lines, found, f", counted in {self.unit!r}")
        return found

    def _whole(self, line: int, time: int, stamp: int) -> int:
        if type(time) is not NumberAmongDates:
            return stamp
        if time // UNITS[self.unit or "s"] in _CALENDAR:
            raise StoreFileError(line, f"{int(time)} is a number, and other times in its column are dates")
        return int(time)

    def _inexact(self, time: int) -> str:
        exact = next(unit for unit in UNITS if time % (NANOSECONDS // UNITS[unit]) == 0)
        advice = "its unit can't be changed" if self.is_own else f"pass unit={exact!r}"
        return f"the time is exact to {exact!r}, the series counts in {self.unit!r}: {advice}"


def axis_of(store: Store | None, unit: str | None, schema: Schema, has_zone: bool, key: str) -> Axis:
    """Return the time axis of a series, or the one that a new series gets.

    Args:
        store: None if there is no store yet.
        unit: the unit of dates that the caller wants.
        has_zone: whether the caller has given a time zone.

    Raises:
        ValueError: the series counts in another unit, or has a time zone, and the times of the table have none.
    """
    own = TimeAxis() if store is None else store.time_axis(key)
    if own.unit is not None:
        if unit not in (own.unit, None):
            raise ValueError(f"{key!r} counts its times in {own.unit!r}, not in {unit!r}")
        if own.zone is not None and schema.are_dates and not (schema.is_aware or has_zone):
            raise ValueError(
                f"the times of {key!r} are in the time zone {own.zone}, and those here have no offset from UTC: say in "
                "which zone they are with TableOptions(zone=...)"
            )
        return Axis(own.unit if schema.are_dates else None, own, is_own=True)
    is_new = store is None or store.first(key) is None
    if not schema.are_dates:
        return Axis(None, TimeAxis(), is_new=is_new)
    counted = unit or "ms"
    return Axis(counted, TimeAxis(counted, schema.zone) if is_new else TimeAxis(), is_new=is_new)
