"""Time series: points ``(timestamp, value)``, kept as segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, Unpack, cast, overload

from rstore import frames
from rstore.bins import grid
from rstore.core import ATTEMPTS, ReadSurface, Surface, check_expect, check_key, check_keys, check_one
from rstore.domain.duplicates import Duplicates
from rstore.domain.names import check_name
from rstore.domain.resampling import FILLS, HOWS, PICKS, filled
from rstore.domain.streams import TS, Stream
from rstore.encoding.columns import TimeAxis
from rstore.encoding.conditions import Conditions
from rstore.html import Points
from rstore.models.extending import ExtendOptions, check_of_one, extend_many, extend_one, points_by_series, remove_span
from rstore.models.resampled import bins_of
from rstore.models.segments import Point, first_of, is_new, last_of, layout_of
from rstore.models.slices import SliceOptions, framed, listed, points_in, slice_of
from rstore.models.stamps import gaps_of, span_of
from rstore.timestamps import Length, Stamp, is_timedelta, length_in_series

T = TypeVar("T")


class TimeSeriesReader(ReadSurface):
    """Reads time series: for each key, one value for each timestamp.

    Timestamps are ints of any meaning in signed 64 bits. ``start`` and ``end`` are inclusive. A series that began as a
    frame of datetimes counts in the unit of those, from 1970 in UTC, and keeps it. Of such a series ``start`` and
    ``end``, and the timestamps of points, may be datetimes of Python, pandas or NumPy, or ISO 8601 strings: in its time
    zone if they name none, those of NumPy in UTC.
    """

    @overload
    def range(
        self, key: str, start: Stamp | None = None, *, to: None = None, **options: Unpack[SliceOptions]
    ) -> list[Point]: ...
    @overload
    def range(self, key: str, start: Stamp | None = None, *, to: str, **options: Unpack[SliceOptions]) -> Any: ...
    def range(
        self,
        key: str,
        start: Stamp | None = None,
        *,
        n: int | None = None,
        end: Stamp | None = None,
        freq: Length | None = None,
        columns: str | Sequence[str] | None = None,
        where: Conditions | None = None,
        to: str | None = None,
    ) -> Any:
        """Return the points of a series in order of time; ``[]`` if there are none or the key is unknown.

        Args:
            start: the first timestamp that counts: an int, or of a series with a unit also a datetime, see above.
            n: at most so many points; reading stops there. If it is negative, the last points: without ``freq`` no
                more than the end is read.
            end: the last timestamp that counts.
            freq: the first point, and then each one at least so much after the last kept (default: ``Store._freq``):
                in the unit of the series, or if it has one a ``timedelta``.
            columns: of rows, such as those of a frame, only these columns, in this order. A name alone gives its values
                instead of rows, as in pandas. A row without such a column has None there. Of typed columns no others
                are read.
            where: ``(column, comparison, value)``, or a list of these, as of ``pandas.read_parquet``: only points that
                meet all of them. A comparison is ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` or ``not in``. A
                missing value meets none. Times in columns are ints here. Values that are no rows are the column
                ``value``. Long segments of frames whose least and greatest value can't meet them are passed over. ``n``
                and ``freq`` count what is left.
            to: ``pandas``, ``polars``, ``arrow`` or ``numpy``: return a frame of that library instead of a list, with
                datetimes if the series has a unit. For NumPy that is a pair ``(times, values)``. A span without points
                has the columns of the series too. Values among rows are in a column of their own, ``value``.

        Raises:
            StoreNotAvailableError: the library is not installed; the message tells how to.
            ValueError: the library has no type for a column of such values; or none of the points has such a column.
            TypeError: a value can't be compared with that of a condition.

        >>> store.extend('series', (10, 'a'), (20, 'b'), (30, 'c'))
        >>> store.range('series', 15), store.range('series', n=1), store.range('series', freq=20)
        ([(20, 'b'), (30, 'c')], [(10, 'a')], [(10, 'a'), (30, 'c')])
        >>> store.range('series', n=-2)
        [(20, 'b'), (30, 'c')]
        >>> store.extend('quotes', (1, {'bid': 9, 'ask': 10}), (2, {'bid': 8, 'ask': 11}))
        >>> store.range('quotes', columns=['ask']), store.range('quotes', columns='ask')
        ([(1, {'ask': 10}), (2, {'ask': 11})], [(1, 10), (2, 11)])
        >>> store.range('quotes', where=('ask', '>', 10), columns='bid')
        [(2, 8)]
        >>> times, values = store.range('series', to='numpy')
        >>> times.tolist(), values.tolist()
        ([10, 20, 30], ['a', 'b', 'c'])
        """
        if to is not None:
            frames.check_library(to)
        stream = Stream(TS, check_key(key))
        wanted = slice_of(self._core, stream, start, end, n, freq, columns, where)
        if to is None:
            return listed(self._core, stream, wanted)
        return frames.shown(framed(self._core, stream, wanted), to)

    def points(
        self,
        key: str,
        start: Stamp | None = None,
        *,
        n: int | None = None,
        end: Stamp | None = None,
        freq: Length | None = None,
        columns: str | Sequence[str] | None = None,
        where: Conditions | None = None,
    ) -> Iterator[Point]:
        """Iterate over what :meth:`range` would return, lazily and in constant memory.

        The points are those of the moment when the first one is asked for. With a negative ``n`` these are in memory
        together. Whether a point has such a column is known at the end.
        """
        stream = Stream(TS, check_key(key))
        return points_in(self._core, stream, slice_of(self._core, stream, start, end, n, freq, columns, where))

    def first(self, key: str) -> Point | None:
        """Return the earliest point, or None if the key is unknown."""
        return first_of(self._core, Stream(TS, check_key(key)))

    def last(self, key: str) -> Point | None:
        """Return the latest point, or None if the key is unknown.

        >>> store.extend('series', (10, 'a'), (20, 'b'))
        >>> store.first('series'), store.last('series')
        ((10, 'a'), (20, 'b'))
        """
        return last_of(self._core, Stream(TS, check_key(key)))

    def missing(self, key: str, start: Stamp, end: Stamp | None = None, freq: Length | None = None) -> list[int]:
        """Return the timestamps of the grid ``start, start + freq, ... <= end`` that have no point.

        ``end`` defaults to ``start``, ``freq`` to ``Store._freq``.

        Raises:
            ValueError: there is no ``freq``.

        >>> store.extend('series', (0, 'a'), (20, 'c'))
        >>> store.missing('series', 0, 30, freq=10)
        [10, 30]
        """
        return list(gaps_of(self._core, key, start, end, freq))

    def iscomplete(self, key: str, start: Stamp, end: Stamp | None = None, freq: Length | None = None) -> bool:
        """Tell whether :meth:`missing` would return nothing."""
        return next(gaps_of(self._core, key, start, end, freq), None) is None

    def timeseries(self, prefix: str = "") -> list[str]:
        """Return the keys of all series, or of those that begin with a prefix, in code-point order."""
        return [head.stream.key for head in self._core.log.heads(TS, check_name("prefix", prefix))]

    def time_axis(self, key: str, *, quick: bool = False) -> TimeAxis:
        """Return the time axis of a series: ``unit``, ``zone`` and ``name`` of its timestamps, as in its first frame.

        ``unit`` is ``s``, ``ms``, ``us`` or ``ns``, counted from 1970 in UTC; None if they are plain ints, or there is
        no such series. ``zone`` is the time zone that they are shown in, None if they are naive. NumPy is not needed.

        Args:
            quick: read two records at most. A frame that is neither the earliest nor the latest record is not found
                then; without ``quick`` all are read to tell that there is none.

        >>> store.extend('series', (1, 'a'))
        >>> store.time_axis('series')
        TimeAxis(unit=None, zone=None, name=None)
        """
        kind = layout_of(self._core, Stream(TS, check_key(key)), quick=quick)
        return TimeAxis() if kind is None else kind.times

    meaning = time_axis
    """The name of :meth:`time_axis` up to this release."""

    def resample(
        self,
        key: str,
        freq: Length | str,
        how: str = "first",
        fill: str | None = None,
        start: Stamp | None = None,
        end: Stamp | None = None,
        *,
        to: str | None = None,
    ) -> Any:
        """Return one point for each bin of time, from that of the first point to that of the last.

        A bin holds the points from its edge up to the next edge, and is named by its edge. Edges are where
        pandas puts them by default: a multiple of ``freq`` from the midnight before the first point, in the time zone
        of the series. Without a unit they are multiples of ``freq``. Missing values do not count: None, NaN of any
        type, ``NaT``, ``pandas.NA``. Of rows each column is resampled. An empty bin has None; its sum and count are 0.
        Numbers of NumPy are added up as those of Python, which do not overflow.

        Args:
            freq: in the unit of the series; or, if it has one, a ``timedelta``, or such as ``'5min'`` or ``'1D'``: a
                number of ``ns``,
                ``us``, ``ms``, ``s``, ``min``, ``h`` or ``D``, which are days from midnight to midnight.
            how: ``first``, ``last``, ``min``, ``max``, ``mean``, ``sum``, ``count`` or ``ohlc``: the values become
                one, or for ``ohlc`` a dict of ``open``, ``high``, ``low`` and ``close``.
            fill: ``previous``: give empty bins the value before; ``linear``: what lies between that and the next one.
            start, end: only points from then to then, both inclusive.
            to: return a frame, as :meth:`range` does.

        Raises:
            ValueError: there is no such frequency, ``how`` or ``fill``; or the series has no unit.
            TypeError: values can't be added up or compared.

        >>> store.extend('series', (1, 10), (4, 20), (25, 30))
        >>> store.resample('series', 10, 'mean')
        [(0, 15.0), (10, None), (20, 30.0)]
        >>> store.resample('series', 10, 'sum', start=4), store.resample('series', 10, 'last', 'linear')
        ([(0, 20), (10, 0), (20, 30)], [(0, 20), (10, 25.0), (20, 30)])
        """
        if to is not None:
            frames.check_library(to)
        if fill is not None:
            _one_of(FILLS, "fill", fill)
        way, stream = _one_of(HOWS, "how", how), Stream(TS, check_key(key))
        layout = layout_of(self._core, stream)
        if layout is None and not isinstance(freq, int) and is_new(self._core, stream)[0]:
            return Points() if to is None else frames.framed(Points(), TimeAxis(), to, None)  # as of range
        times = TimeAxis() if layout is None else layout.times
        wanted = grid(cast("int | str", length_in_series(freq, times) if is_timedelta(freq) else freq), times)
        span = span_of(self._core, stream, start, end)
        found_bins = bins_of(self._core, stream, span, wanted, way, typed=layout is not None)
        bins = found_bins if fill is None else filled(found_bins, fill)
        found = Points((edge, values[None] if values.keys() == {None} else values) for edge, values in bins)
        if to is None:
            return found
        return frames.framed(found, wanted.times, to, layout if how in PICKS else None)


class TimeSeriesWriter(Surface):
    """Writes time series: points of any time, alone or in bulk, and removals of a span."""

    def extend(
        self,
        key: str,
        *points: Any,
        expect: int | None = None,
        once: str | None = None,
        duplicates: Duplicates | None = None,
        key_column: str | None = None,
        unless_equal: bool = False,
    ) -> None:
        """Add points to a series, or replace those of the same timestamps: all of them, or nothing.

        Give points as arguments, or one iterable of any length, which is read lazily and in constant memory, and which
        may itself read from the store. Of equal timestamps the last counts.

        Or give a frame: a pandas Series or DataFrame, whose index are the times; a polars DataFrame or an Arrow Table,
        of which the first column that holds datetimes, or else integers, are the times; or a pair ``(times, values)``
        of NumPy arrays. Its columns keep their types, and datetimes give the series their unit and time zone. To such
        a series datetimes of another unit come if that is exact, and ints count in its unit. Values of no type known
        here are dumped one by one, as those of points are. A frame without rows is no points: it leaves nothing behind.
        Two rows of one time in a frame are refused: one of them would be lost.

        A series may hold rows and other values at once: points mean what they did whatever else is there, and what
        decided would have to be read for each point that comes. A frame of both has all columns: see :meth:`range`.

        Args:
            expect: the version that the series must still have, as :meth:`version` returned it; 0 if it must be new.
            once: an idempotency key: a second call with it, for this key, stores nothing.
            duplicates: ``'last'``: of several rows of one time in a frame the last counts (default: they are refused).
            key_column: a column of the frame. Each of its values, which are texts or ints, has a series ``key/value``
                of the other columns; all of these are stored, or none.
            unless_equal: leave out points that are equal to what the series has at their times: of the same type and
                value; NaN is equal to NaN. If none is left, nothing is stored. The series is read where the points are,
                in constant memory. If another writer comes in between, the call begins anew.

        Raises:
            StoreConflictError: the series is at another version than expected. Or another writer came in between, with
                ``unless_equal`` and points of an iterator, which come but once.
            TypeError, OverflowError: a point is no pair, or its timestamp no int of 64 bits; its index is named.
            ValueError: the frame's times do not fit to those of the series, or one comes twice; an example is named.

        >>> store.extend('series', (1, 'a'), (2, 'b'))
        >>> store.extend('series', ((t, t * t) for t in range(3, 1000)))
        >>> store.extend('series', (1, 'a'), (2, 'c'), unless_equal=True)  # stores one point
        >>> import polars
        >>> rain = polars.DataFrame({'day': [1, 1, 2], 'station': ['007', '011', '007'], 'mm': [2.5, 0.0, 7.5]})
        >>> store.extend('rain', rain, key_column='station')
        >>> store.range('rain/007')
        [(1, 2.5), (2, 7.5)]
        """
        key = check_key(key)
        self._core.check_writable()
        options = ExtendOptions(check_expect(expect), once, unless_equal)
        series = points_by_series(key, points, duplicates, key_column)
        if key_column is None:
            extend_one(self._core, Stream(TS, key), series[Stream(TS, key)], options)
        else:
            check_of_one(options)
            extend_many(self._core, series, options)

    def remove(
        self, *keys: str, start: Stamp | None = None, end: Stamp | None = None, expect: int | None = None
    ) -> None:
        """Remove the points from ``start`` to ``end``, or all of them. A series without points is no longer listed.

        Args:
            expect: the version that the series must still have; there is one key then.

        Raises:
            StoreConflictError: the series is at another version than expected.
        """
        self._core.check_writable()
        streams = [Stream(TS, key) for key in check_keys(keys)]
        version = check_one(check_expect(expect), streams)
        spans = [span_of(self._core, stream, start, end) for stream in streams]
        attempts = ATTEMPTS if version is None else 1
        for stream, span in zip(streams, spans, strict=True):
            self._core.decide(partial(remove_span, self._core, stream, *span, version), attempts)


def _one_of(table: Mapping[str, T], what: str, name: str) -> T:
    if name not in tuple(table):  # a tuple compares, and needs no hash
        raise ValueError(f"{what} is one of {', '.join(table)}, not {name!r}")
    return table[name]
