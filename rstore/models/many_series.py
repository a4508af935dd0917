"""Many time series at once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rstore import frames
from rstore.core import Surface, check_key
from rstore.domain.duplicates import Duplicates, check_duplicates
from rstore.domain.streams import TS, Stream
from rstore.models.extending import Given, How, extend_with_many


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
        given = {Stream(TS, check_key(key)): _given(key, points, duplicates) for key, points in series.items()}
        extend_with_many(self._core, given, How(unless_equal=unless_equal), room=sys.maxsize)


def _given(key: str, points: Any, duplicates: Duplicates | None) -> Given:
    frame = frames.recognized((points,))
    return (points,) if frame is None else frames.by_series(key, frame, None, duplicates or "refuse")[key]
