"""Many time series at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar, Unpack, get_args, overload

from rstore import frames
from rstore.core import Reading, Surface, check_key, check_keys
from rstore.domain.duplicates import Duplicates, check_duplicates
from rstore.domain.patterns import pattern_of
from rstore.domain.streams import TS, Stream
from rstore.encoding.conditions import Conditions
from rstore.models.extending import ExtendOptions, Given, extend_many, named, points_by_series
from rstore.models.segments import Point
from rstore.models.slices import SliceOptions, framed_by_layout, listed, slice_of
from rstore.models.timeseries import TimeSeriesReader
from rstore.models.together import RECORDS, read_together
from rstore.timestamps import Length, Stamp

Shape: TypeAlias = Literal["dict", "long", "wide"]
"""How several series are returned: each by its key; or as one frame, one below the other, or side by side."""


T = TypeVar("T")

_HIDDEN: Final = 8
"""So many more records than points are read, since later ones may hide them."""


class ManySeriesReader(TimeSeriesReader):
    """Reads time series, one or many."""

    @overload
    def range_many(
        self, keys: str | Iterable[str], start: Stamp | None = None, *, to: None = None, **options: Unpack[SliceOptions]
    ) -> dict[str, list[Point]]: ...
    @overload
    def range_many(
        self,
        keys: str | Iterable[str],
        start: Stamp | None = None,
        *,
        to: str,
        shape: Shape = "dict",
        **options: Unpack[SliceOptions],
    ) -> Any: ...
    def range_many(
        self,
        keys: str | Iterable[str],
        start: Stamp | None = None,
        *,
        n: int | None = None,
        end: Stamp | None = None,
        freq: Length | None = None,
        columns: str | Sequence[str] | None = None,
        where: Conditions | None = None,
        to: str | None = None,
        shape: Shape = "dict",
    ) -> Any:
        """Return the points of several series by key, or as one frame. The other arguments are those of :meth:`range`.

        Each series is as it is at some time during the call; in a :meth:`transaction` they fit together. Short series
        are read in pages of a few megabytes, of which each is one round trip or a few. Long ones cost what ``range``
        does.

        Args:
            keys: the keys; one without points has none in the result. Or a text, which is a pattern such as
                ``'stocks/*'``, as of :meth:`find`: all series whose keys match, in code-point order.
            n: at most so many points of each series.
            shape: with ``to``: ``'dict'``: a frame for each key. ``'long'``: one frame, whose first column ``key`` has
                the key of each row. ``'wide'``: one frame with the times of all series and a column for each, which
                is named by its key, or for rows ``key/column``; where a series has no point it has a missing value.

        Raises:
            ValueError: the series do not make one frame; the message says why. Or as of :meth:`range`.

        >>> store.extend_many({'pm/a': [(1, 20.5), (2, 21.5)], 'pm/b': [(2, 7.5)]})
        >>> store.range_many('pm/*', 2)
        {'pm/a': [(2, 21.5)], 'pm/b': [(2, 7.5)]}
        >>> store.range_many(['pm/b', 'pm/c'])
        {'pm/b': [(2, 7.5)], 'pm/c': []}
        >>> store.range_many('pm/*', to='polars', shape='wide').rows()
        [(1, 20.5, None), (2, 21.5, 7.5)]
        """
        if shape not in get_args(Shape):
            raise ValueError(f"shape is one of {', '.join(get_args(Shape))}, not {shape!r}")
        if to is not None:
            frames.check_library(to)
        elif shape != "dict":
            raise ValueError(f"shape={shape!r} is one of a frame: pass to=")
        if isinstance(keys, str):
            pattern = pattern_of(check_key(keys))
            chosen = [key for key in self.timeseries(pattern.prefix) if pattern.matches(key)]
        else:
            chosen = check_keys(keys)
        options = start, end, n, freq, columns, where
        if to is None:
            return _read_many(self._core, chosen, listed, options)
        found = _read_many(self._core, chosen, framed_by_layout, options)
        if shape == "dict":
            return {key: frames.shown(part, to) for key, part in found.items()}
        return frames.shown(frames.as_one(found, shape), to)


def _read_many(core: Reading, keys: Iterable[str], read: Callable[..., T], options: tuple[Any, ...]) -> dict[str, T]:
    """Return what a function makes of a slice of each series."""
    chosen = list(dict.fromkeys(keys))

    def of_one(each: Reading, stream: Stream) -> T:
        return read(each, stream, slice_of(each, stream, *options))

    _, _, n, freq, _, where = options
    is_few = n is not None and n >= 0 and freq is None and where is None
    most = min(RECORDS, n + _HIDDEN) if is_few else RECORDS
    return dict(zip(chosen, read_together(core, (Stream(TS, key) for key in chosen), of_one, most), strict=True))


class ManySeriesWriter(Surface):
    """Writes many time series in one append."""

    def extend_many(
        self, series: Mapping[str, Any], *, duplicates: Duplicates | None = None, unless_equal: bool = False
    ) -> None:
        """Add points to several series, as :meth:`extend` does to one: all of them, or nothing.

        The points are in memory until all are stored. For more than that, call ``extend`` for each series.

        Args:
            series: for each key an iterable of points, or a frame.
            duplicates: ``'last'``: of several rows of one time in a frame the last counts (default: they are refused).
            unless_equal: leave out points that are equal to what their series has, as :meth:`extend` does.

        Raises:
            TypeError, ValueError, OverflowError: as of :meth:`extend`; a note has the key.
            StoreConflictError: another writer came in between, and points were those of an iterator.

        >>> store.extend_many({'bid': [(1, 9.5), (2, 9.25)], 'ask': [(1, 10.5)]})
        >>> store.range('bid'), store.range('ask')
        ([(1, 9.5), (2, 9.25)], [(1, 10.5)])
        """
        self._core.check_writable()
        if duplicates is not None:
            check_duplicates(duplicates)
        if not isinstance(series, Mapping):
            raise TypeError(f"this takes a dict of points by key, not {type(series).__name__}")
        given: dict[Stream, Given] = {}
        for key, points in series.items():
            name = check_key(key)
            with named(name):
                given |= points_by_series(name, (points,), duplicates)
        extend_many(self._core, given, ExtendOptions(unless_equal=unless_equal), room=sys.maxsize)
