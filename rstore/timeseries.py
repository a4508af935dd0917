"""The time-series face of a Store: points ``(timestamp, value)``, kept as segments."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.domain.errors import StoreConflictError
from rstore.domain.log import (
    TIME_MAX,
    TIME_MIN,
    TS,
    Batch,
    Entry,
    Record,
    Rewrite,
    Saved,
    Stream,
    check_name,
    check_time,
)
from rstore.domain.operators import EXTEND, REMOVE
from rstore.domain.series import SEGMENT, Layer, Run, gaps, join, overlay, split, thin
from rstore.face import ATTEMPTS, Face, check_expect, check_key, check_one, now
from rstore.spool import Spool

Point: TypeAlias = tuple[int, Any]

_STEP: Final = 8
_OPS: Final = (EXTEND, REMOVE)


class TimeSeries(Face):
    """Time series: for each key, one value for each timestamp.

    Timestamps are ints of any meaning in signed 64 bits. ``start`` and ``end`` are inclusive.
    """

    # -- read ---------------------------------------------------------------------------------------------------------

    def range(
        self,
        key: str,
        start: int | None = None,
        *,
        n: int | None = None,
        end: int | None = None,
        freq: int | None = None,
    ) -> list[Point]:
        """Return the points of a series in order of time; ``[]`` if there are none or the key is unknown.

        Args:
            start: the first timestamp that counts.
            n: at most so many points; reading stops there.
            end: the last timestamp that counts.
            freq: the first point, and then each one at least so much after the last kept (default: ``Store._freq``).

        >>> store.extend('series', (10, 'a'), (20, 'b'), (30, 'c'))
        >>> store.range('series', 15), store.range('series', n=1), store.range('series', freq=20)
        ([(20, 'b'), (30, 'c')], [(10, 'a')], [(10, 'a'), (30, 'c')])
        """
        freq = _check_freq(self._freq if freq is None else freq)
        if n is None and freq is None:
            found: list[Point] = []
            for times, values in self._runs(Stream(TS, check_key(key)), *_bounds(start, end)):
                found.extend(zip(times, values, strict=True))
            return found
        return list(self.points(key, start, n=n, end=end, freq=freq))

    def points(
        self,
        key: str,
        start: int | None = None,
        *,
        n: int | None = None,
        end: int | None = None,
        freq: int | None = None,
    ) -> Iterator[Point]:
        """Iterate over what :meth:`range` would return, lazily and in constant memory.

        The points are those of the moment when the first one is asked for.
        """
        stream = Stream(TS, check_key(key))
        low, high = _bounds(start, end)
        freq = _check_freq(self._freq if freq is None else freq)
        if n is not None and check_time("n", n) < 0:
            raise ValueError(f"n is the most points to return, not {n}")
        found: Iterable[Point] = (point for run in self._runs(stream, low, high) for point in zip(*run, strict=True))
        return islice(found if freq is None else thin(found, freq), n)

    def first(self, key: str) -> Point | None:
        """Return the earliest point, or None if the key is unknown."""
        return next(self._points(Stream(TS, check_key(key))), None)

    def last(self, key: str) -> Point | None:
        """Return the latest point, or None if the key is unknown.

        >>> store.extend('series', (10, 'a'), (20, 'b'))
        >>> store.first('series'), store.last('series')
        ((10, 'a'), (20, 'b'))
        """
        return self._last(Stream(TS, check_key(key)))

    def missing(self, key: str, start: int, end: int | None = None, freq: int | None = None) -> list[int]:
        """Return the timestamps of the grid ``start, start + freq, ... <= end`` that have no point.

        ``end`` defaults to ``start``, ``freq`` to ``Store._freq``.

        Raises:
            ValueError: there is no ``freq``.

        >>> store.extend('series', (0, 'a'), (20, 'c'))
        >>> store.missing('series', 0, 30, freq=10)
        [10, 30]
        """
        return list(self._gaps(key, start, end, freq))

    def iscomplete(self, key: str, start: int, end: int | None = None, freq: int | None = None) -> bool:
        """Tell whether :meth:`missing` would return nothing."""
        return next(self._gaps(key, start, end, freq), None) is None

    def timeseries(self, prefix: str = "") -> list[str]:
        """Return the keys of all series, or of those that begin with a prefix, in code-point order."""
        return [head.stream.key for head in self._log.heads(TS, check_name("prefix", prefix))]

    def _gaps(self, key: str, start: int, end: int | None, freq: int | None) -> Iterator[int]:
        stream = Stream(TS, check_key(key))
        low = check_time("start", start)
        high = low if end is None else check_time("end", end)
        step = _check_freq(self._freq if freq is None else freq)
        if step is None:
            raise ValueError("there is no freq: pass it, or set it for all series as Store._freq")
        times = (time for times, _ in self._runs(stream, low, high) for time in times)
        return gaps(times, low, high, step)

    def _points(self, stream: Stream) -> Iterator[Point]:
        return (point for run in self._runs(stream) for point in zip(*run, strict=True))

    def _runs(
        self, stream: Stream, start: int = TIME_MIN, end: int = TIME_MAX, version: int | None = None
    ) -> Iterator[Run]:
        """Return what is seen from ``start`` to ``end``, of the records up to ``version``."""
        if start > end:
            return iter(())
        records = self._log.read(stream, start=start, end=end, alive=version is None)
        counted = (record for record in records if version is None or record.version <= version)
        return overlay((self._layer(stream, record) for record in counted), start, end)

    def _layer(self, stream: Stream, record: Record) -> Layer:
        version, start, end = record.version, record.start, record.end
        if self._payload.check_op(stream, record, _OPS) == REMOVE:
            self._payload.check(stream, record)
            return Layer(version, start, end, None)
        return Layer(version, start, end, lambda: self._payload.run(stream, record))

    def _last(self, stream: Stream) -> Point | None:
        """Look from the end in windows that grow: what starts latest is not always what is seen last."""
        high, limit = TIME_MAX, 1
        while True:
            low = None
            for record in self._log.read(stream, end=high, alive=True, reverse=True, limit=limit):
                low = record.start
            if low is None:
                return None
            point = None
            for times, values in self._runs(stream, low, high):
                point = times[-1], values[-1]
            if point is not None:
                return point
            high, limit = low - 1, limit * _STEP

    # -- write --------------------------------------------------------------------------------------------------------

    def extend(self, key: str, *points: Any, expect: int | None = None, once: str | None = None) -> None:
        """Add points to a series, or replace those of the same timestamps: all of them, or nothing.

        Give points as arguments, or one iterable of any length, which is read lazily and in constant memory, and which
        may itself read from the store. Of equal timestamps the last counts.

        Args:
            expect: the version that the series must still have, as :meth:`version` returned it; 0 if it must be new.
            once: a token; whatever is done again with it, for this key, has been done already.

        Raises:
            StoreConflictError: the series is at another version than expected.
            TypeError, OverflowError: a point is no pair, or its timestamp no int of 64 bits; its index is named.

        >>> store.extend('series', (1, 'a'), (2, 'b'))
        >>> store.extend('series', ((t, t * t) for t in range(3, 1000)))
        """
        stream = Stream(TS, check_key(key))
        self._check_writable()
        version = check_expect(expect)
        with Spool() as spool:
            for run in split(_flat(points)):
                spool.add(self._segment(stream, run))
            if spool:
                self._write(Batch(stream, spool.entries(), now(), version), once)
            else:
                self._check_version(stream, version)

    def _segment(self, stream: Stream, run: Run) -> Entry:
        body = self._payload.dump_run(stream.key, run)
        return self._entry(stream, EXTEND, body, start=run[0][0], end=run[0][-1])

    def remove(self, *keys: str, start: int | None = None, end: int | None = None, expect: int | None = None) -> None:
        """Remove the points from ``start`` to ``end``, or all of them. A series without points is no longer listed.

        Args:
            expect: the version that the series must still have; there is one key then.

        Raises:
            StoreConflictError: the series is at another version than expected.
        """
        low, high = _bounds(start, end)
        streams = [Stream(TS, check_key(key)) for key in dict.fromkeys(keys)]
        version = check_one(check_expect(expect), streams)
        for stream in streams:
            self._decide(partial(self._remove, stream, low, high, version), 1 if version is not None else ATTEMPTS)

    def _remove(self, stream: Stream, low: int, high: int, expect: int | None) -> None:
        head = self._log.head(stream)
        version = head.version if head else 0
        if expect is not None and expect != version:
            raise StoreConflictError(*stream, expect, version)
        first = next(self._points(stream), None)
        last = self._last(stream)
        if head is None or first is None or last is None:
            return
        low, high = max(low, first[0]), min(high, last[0])
        if low > high or not any(True for _ in self._runs(stream, low, high)):
            return
        hole = self._entry(stream, REMOVE, start=low, end=high)
        live = low > first[0] or high < last[0]
        self._append((Batch(stream, (hole,), now(), head.version, live),))

    def _overwrite(self, stream: Stream, low: int, high: int, points: Iterable[Point], version: int) -> None:
        """Put points in the place of all that there are from ``low`` to ``high``, in one append."""
        first, last = next(self._points(stream), None), self._last(stream)
        with Spool() as spool:
            live = False
            if first is not None and last is not None:
                live = low > first[0] or high < last[0]
                start, end = max(low, first[0]), min(high, last[0])
                if start <= end:
                    spool.add(self._entry(stream, REMOVE, start=start, end=end))
            for run in split(points):
                live = True
                spool.add(self._segment(stream, run))
            if spool:
                self._append((Batch(stream, spool.entries(), now(), version, live),))

    # -- compact ------------------------------------------------------------------------------------------------------

    def _compact_series(self, stream: Stream, before: int | None) -> Saved:
        """Lay all segments over each other, or those recorded before a time, and keep what is seen as full ones."""
        head = self._log.head(stream)
        last = None if before is None else self._log.last((stream,), before)[0]
        if head is None or (before is not None and last is None):
            return Saved(0, 0)
        version = last.version if last else head.version
        if not head.live and (last is None or self._log.last((stream,)) == [last]):
            return self._log.rewrite([Rewrite(stream, head.version, range(head.version + 1), live=False)])
        seen = self._survey(stream, version)
        if seen.tidy:
            return Saved(0, 0)
        with Spool() as spool:
            for run in join(self._runs(stream, version=version)):
                spool.add(self._merged(stream, run))
            put = (
                Record(version, None, seen.recorded, *entry)
                for version, entry in zip(
                    seen.versions[len(seen.versions) - len(spool) :], spool.entries(), strict=True
                )
            )
            return self._log.rewrite([Rewrite(stream, None, range(version + 1), put, floor=head.floor)])

    def _merged(self, stream: Stream, run: Run) -> Entry:
        """Return a segment without who and why: its points were written by several, and not by who compacts them."""
        body = self._payload.dump_run(stream.key, run)
        return self._payload.entry(stream, EXTEND, body, start=run[0][0], end=run[0][-1])

    def _survey(self, stream: Stream, version: int) -> _Survey:
        """Look whether a series consists of full segments side by side, the last of which may be shorter.

        What is appended after ``version`` does not count: it will lie above what is rewritten.
        """
        tidy, full, end = True, True, TIME_MIN - 1
        points, recorded, versions = 0, TIME_MIN, array("q")
        for record in self._log.read(stream):
            if record.version > version:
                continue
            op = self._payload.check_op(stream, record, _OPS)
            size = len(self._payload.run(stream, record)[0]) if op == EXTEND else 0
            tidy = tidy and full and op == EXTEND and record.start > end
            full, end, points = size == SEGMENT, record.end, points + size
            recorded = max(recorded, record.recorded)
            versions.append(record.version)
        return _Survey(tidy, recorded, sorted(versions)[-(points // SEGMENT + 1) :])


class _Survey(NamedTuple):
    """``versions`` are the newest of the series' own, as many as its points need at most in full segments.

    The newest: a follower that has not come to them yet does not miss what is merged into them.
    """

    tidy: bool
    recorded: int
    versions: Sequence[int]


def _flat(points: tuple[Any, ...]) -> Iterable[Any]:
    """Return the points of a call: its arguments, or what its only argument holds."""
    if len(points) != 1:
        return points
    (only,) = points
    is_point = isinstance(only, tuple) and len(only) == 2 and not isinstance(only[0], Iterable)
    if is_point:
        return points
    if not isinstance(only, Iterable) or isinstance(only, str | bytes):
        raise TypeError(f"points are (timestamp, value) pairs or one iterable of them, not {type(only).__name__}")
    return only


def _bounds(start: int | None, end: int | None) -> tuple[int, int]:
    low = TIME_MIN if start is None else check_time("start", start)
    return low, TIME_MAX if end is None else check_time("end", end)


def _check_freq(freq: int | None) -> int | None:
    if freq is None:
        return None
    value = check_time("freq", freq)
    if value < 1:
        raise ValueError(f"freq is at least 1, not {value}")
    return value
