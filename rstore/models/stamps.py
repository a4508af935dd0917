"""Times as callers give them, turned into timestamps in the unit of a series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from rstore.core import Reading, check_key
from rstore.domain.series import gaps
from rstore.domain.spans import TIME_MAX, TIME_MIN, check_time
from rstore.domain.streams import TS, Stream
from rstore.encoding.columns import TimeAxis
from rstore.models.segments import axis_of, bare_runs, is_new
from rstore.timestamps import Length, Stamp, exactly_in_series, in_series, is_datetime, is_timedelta, length_in_series


def span_of(core: Reading, stream: Stream, start: Stamp | None, end: Stamp | None) -> tuple[int, int]:
    """Return the first and the last timestamp of a query. The series tells in which unit a datetime counts."""
    low, high = TIME_MIN if start is None else start, TIME_MAX if end is None else end
    if any(isinstance(each, str) or is_datetime(each) for each in (low, high)):
        times = axis_of(core, stream)
        if times is None and is_new(core, stream)[0]:
            return TIME_MAX, TIME_MIN  # the series has no points
        times = times or TimeAxis()
        low, high = in_series(low, times, up=True), in_series(high, times, up=False)
    return check_time("start", low), check_time("end", high)


def step_of(core: Reading, stream: Stream, freq: Length | None) -> int | None:
    """Return the least distance between timestamps, in the unit of the series; None if none was given."""
    given = core.freq if freq is None else freq
    if is_timedelta(given):
        return _check_freq(length_in_series(given, axis_of(core, stream) or TimeAxis()))
    return _check_freq(given)


def gaps_of(core: Reading, key: str, start: Stamp, end: Stamp | None, freq: Length | None) -> Iterator[int]:
    """Yield the timestamps of a grid that have no point."""
    stream = Stream(TS, check_key(key))
    times = cache(lambda: axis_of(core, stream) or TimeAxis())
    low, *others = (
        exactly_in_series(each, times()) if isinstance(each, str) or is_datetime(each) else check_time(what, each)
        for what, each in (("start", start), ("end", end))
        if each is not None
    )
    high = others[0] if others else low
    step = step_of(core, stream, freq)
    if step is None:
        raise ValueError("there is no freq: pass it, or set it for all series as Store._freq")
    found = (time for times, _ in bare_runs(core, stream, low, high) for time in times)
    return gaps(found, low, high, step)


def reader_of(core: Reading, stream: Stream) -> Callable[[Any], Any]:
    """Return a function that makes timestamps of datetimes and texts. It looks up the unit when the first one comes."""
    times = cache(lambda: axis_of(core, stream) or TimeAxis())

    def read(time: Any) -> Any:
        is_one = is_datetime(time) or (isinstance(time, str) and times().unit is not None)
        return exactly_in_series(time, times()) if is_one else time

    return read


def _check_freq(freq: Length | None) -> int | None:
    if freq is None:
        return None
    value = check_time("freq", freq)
    if value < 1:
        raise ValueError(f"freq is at least 1, not {value}")
    return value
