"""The tables of series: all points, a series by its name, and the series whose names match a pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, count, islice
from typing import Any, Final

import pyarrow as pa

from rstore.core import Reading
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import TS, Stream
from rstore.encoding.columns import UNITS, Table, TimeAxis, name_of_times
from rstore.frames.frame import labels
from rstore.models.segments import layouts_of
from rstore.sql.columns import columns_in, ints_of, moments_of, read_runs, values_in
from rstore.sql.kinds import INT, JSON, NOTHING, TEXT, Kind, MisfitError, Values, joint, kind_of
from rstore.sql.pushed import ANY, Bound, Pushed
from rstore.sql.statement import folded
from rstore.sql.tables import Chunk, Columns, FixedTable, Lost, keys_in

_VALUE: Final = "value"
_NO_COLUMN: Final = frozenset[str | None]()

Keys = Callable[[Bound], Iterable[str]]
"""Finds the keys of a table among those that a filter may let through."""


def point_table(core: Reading) -> FixedTable:
    """Return the points of all series. Times are ints, of which each series has its own unit; a row is one value."""
    return FixedTable({"key": TEXT, "t": INT, _VALUE: NOTHING}, partial(_points, core))


def _points(core: Reading, pushed: Pushed, wanted: Columns, lost: Lost) -> Iterator[Chunk]:
    span = _span(pushed.of("t"), INT, TimeAxis())
    names = None if _VALUE in wanted else _NO_COLUMN
    for key in keys_in(core, TS, pushed.of("key"), live=False):
        for times, values in read_runs(core, Stream(TS, key), span, names, lost):
            cells = values_in(values) if names is None else pa.nulls(len(times))
            yield {"key": _repeated(key, len(times)), "t": ints_of(times), _VALUE: cells}


def _repeated(key: str, count: int) -> Values:
    return pa.repeat(pa.scalar(key, pa.string()), count)


def _span(bound: Bound, kind: Kind, axis: TimeAxis) -> tuple[int, int]:
    """Return the first and the last timestamp of a bound, in the unit of a series."""
    of_series = of_bound = 1  # units per second
    if pa.types.is_timestamp(kind.type) and axis.unit is not None:
        of_series, of_bound = UNITS[axis.unit], UNITS[kind.type.unit]
    low = TIME_MIN if bound.low is None else max(bound.low * of_series // of_bound, TIME_MIN)
    return low, TIME_MAX if bound.high is None else min(bound.high * of_series // of_bound, TIME_MAX)


class SeriesTable:
    """One series, or several with a column for the key of each.

    Its columns are those of its frames, or of its values if these are rows, or else ``value``. The column of times is
    ``t``. A few segments tell the columns; a query that meets another column begins anew.

    Args:
        keys: finds those of its series that a filter may let through.
    """

    def __init__(self, core: Reading, keys: Keys, *, has_key: bool) -> None:
        self.lost = Lost()
        self._core, self._keys, self._has_key = core, keys, has_key
        self._axes: dict[str, TimeAxis] = {}
        self._values: dict[str, Kind] = {}
        self._time_kind, self._has_units, self._alone = INT, True, _VALUE
        self._looks = iter((True, False))
        for key in islice(keys(ANY), 1):
            axis, names = self._layout(key)
            self._time_kind = kind_of(moments_of((), axis, key))
            self._values = dict.fromkeys(names, NOTHING)
            self._alone = names[0] if len(names) == 1 else _VALUE

    @property
    def columns(self) -> dict[str, Kind]:
        """The kind of each column."""
        return {
            **({self._key: TEXT} if self._has_key else {}),
            self._time: self._time_kind,
            **(self._values or {_VALUE: NOTHING}),
        }

    @property
    def _key(self) -> str:
        taken = set(map(folded, self._values))
        made_up = (f"series key {number}" for number in count(2))
        return next(name for name in chain(("key", "series", "series key"), made_up) if name not in taken)

    @property
    def _time(self) -> str:
        taken = set(map(folded, self._values))
        return name_of_times(taken, "t")

    def set_kind(self, column: str, kind: Kind) -> None:
        """Take a column for one of a kind, or add it."""
        if column == self._time:
            self._time_kind = kind
        else:
            self._values[column] = kind

    def find_columns(self) -> bool:
        """Look for further columns: first in the first rows, then in all, and then there are none."""
        is_first = next(self._looks, None)
        if is_first is None:
            return False
        for chunk in islice(self._all_chunks(), 1 if is_first else None):
            for name, values in chunk.items():
                self.set_kind(name, joint(self.columns.get(name, NOTHING), kind_of(values)))
        return True

    def _all_chunks(self) -> Iterator[Chunk]:
        for key in self._keys(ANY):
            self._layout(key)
            for _, values in read_runs(self._core, Stream(TS, key), (TIME_MIN, TIME_MAX), None, Lost()):
                yield self._named(columns_in(values))

    def chunks(self, pushed: Pushed, wanted: Columns) -> Iterator[Chunk]:
        """Yield rows; see :class:`rstore.sql.tables.Table`."""
        chosen = self._values.keys() & set(wanted)
        names = frozenset[str | None]((*chosen, None) if chosen or (not self._values and _VALUE in wanted) else ())
        for key in self._keys(pushed.of(self._key) if self._has_key else ANY):
            axis, found = self._layout(key)
            self._check(found)
            span = _span(pushed.of(self._time), self._time_kind, axis if self._has_units else TimeAxis())
            for times, values in read_runs(self._core, Stream(TS, key), span, names, self.lost):
                yield self._chunk(key, times, values, is_bare=not names)

    def _chunk(self, key: str, times: Sequence[int], values: Sequence[Any], *, is_bare: bool) -> Chunk:
        if isinstance(values, Table) and values.layout.times.unit != self._axes[key].unit is None:
            self._axes[key] = values.layout.times
            raise MisfitError({self._time: kind_of(moments_of((), values.layout.times, key))})
        cells = {} if is_bare else self._named(columns_in(values))
        self._check(cells)
        first = {self._key: _repeated(key, len(times))} if self._has_key else {}
        return {**first, self._time: self._times(key, times), **cells}

    def _times(self, key: str, times: Sequence[int]) -> Values:
        found = moments_of(times, self._axes[key] if self._has_units else TimeAxis(), key)
        if joint(kind_of(found), self._time_kind) == JSON:
            self._has_units = False  # series with and without units: all times are ints then
            raise MisfitError({self._time: INT})
        return found

    def _named(self, cells: Mapping[str | None, Values]) -> Chunk:
        """Return cells with names. Values that are no rows go to the only column of a frame, or else to ``value``."""
        alone = self._alone if len(cells) == 1 else _VALUE
        return {alone if name is None else name: each for name, each in cells.items()}

    def _check(self, names: Iterable[str]) -> None:
        """Raise if there are columns that are not known yet."""
        new = [name for name in names if name not in self._values]
        if new and (self._values or new != [_VALUE]):
            raise MisfitError(dict.fromkeys(new, NOTHING))

    def _layout(self, key: str) -> tuple[TimeAxis, list[str]]:
        """Return the time axis of a series, and the names of columns, as a few segments tell them."""
        if key in self._axes:
            return self._axes[key], []
        layouts = layouts_of(self._core, Stream(TS, key), 2, 1)
        axes = [layout.times for layout in layouts if layout.times.unit is not None]
        self._axes[key] = axes[0] if axes else TimeAxis()
        return self._axes[key], list(dict.fromkeys(name for layout in layouts for name in labels(layout)[1]))
