"""Resampling: the points of a series are gathered in bins of time, each bin becomes a value, and empty ones are filled.

A bin holds the points from its edge up to the next edge, which it excludes, and is labelled by its edge: pandas does so
by default for all fixed frequencies. Missing values, such as None and NaN, do not count. Numbers of NumPy are
calculated and compared as those of Python: their own width would limit them, and eight bits end at 255.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.domain.scalars import is_missing, plain
from rstore.domain.series import Run

Bin: TypeAlias = tuple[int, dict[str | None, Any]]
"""An edge, and the values of its bin by column; a column without a name is the only one."""

States: TypeAlias = dict[str | None, tuple[Any, ...] | None]
"""The aggregates that a :class:`How` needs, by column; None of a column without values."""


class Aggregate(NamedTuple):
    """One number, or other value, of many: how it is made of values, at least one, and of that of two parts."""

    of: Callable[[Sequence[Any]], Any]
    joint: Callable[[Any, Any], Any]


AGGREGATES: Final[Mapping[str, Aggregate]] = {
    "count": Aggregate(len, operator.add),
    "sum": Aggregate(sum, operator.add),
    "min": Aggregate(min, min),
    "max": Aggregate(max, max),
    "first": Aggregate(operator.itemgetter(0), lambda before, _: before),
    "last": Aggregate(operator.itemgetter(-1), lambda _, after: after),
}
"""The aggregates of a bin by name. Values of a bin may come in parts, whose aggregates are then joined."""


class How(NamedTuple):
    """A way to make one value of many.

    ``of`` are the aggregates that it needs. ``end`` makes of these the values of the bin, by name if there are several.
    ``empty`` has those of a bin without values. If it ``calculates``, aggregates are made of
    :func:`~rstore.domain.scalars.plain` values, and not of stored ones.
    """

    of: tuple[str, ...]
    end: Callable[..., Mapping[str | None, Any]] = lambda only: {None: only}
    empty: Mapping[str | None, Any] = {None: None}
    calculates: bool = True


_PARTS: Final = ("open", "high", "low", "close")

HOWS: Final[Mapping[str, How]] = {
    "first": How(("first",), calculates=False),
    "last": How(("last",), calculates=False),
    "min": How(("min",)),
    "max": How(("max",)),
    "mean": How(("sum", "count"), lambda total, number: {None: total / number}),
    "sum": How(("sum",), empty={None: 0}),
    "count": How(("count",), empty={None: 0}),
    "ohlc": How(
        ("first", "max", "min", "last"),
        lambda *parts: dict(zip(_PARTS, parts, strict=True)),
        dict.fromkeys(_PARTS),
    ),
}
"""The ways to make the values of a bin one. An empty bin has the sum and count 0, and None of all else."""

Reduce: TypeAlias = Callable[[Sequence[Any], Sequence[int], How], Iterable[States]]
"""Finds the aggregates of bins like :func:`reduced_values`, for its own sequences of values."""

PICKS: Final = frozenset({"first", "last", "min", "max"})
"""The ways that return one of the values, and so keep the unit of these."""

MOST_BINS: Final = 10_000_000
"""More bins would not fit into memory; the caller meant another unit."""


def resample(runs: Iterable[Run], edges: Iterable[int], how: How, reduced: Reduce | None = None) -> Iterator[Bin]:
    """Yield a bin for each edge up to the last point, lazily.

    Args:
        edges: increasing, and without an end; the first is not after the first point.
        reduced: what finds the aggregates instead of :func:`reduced_values`, for other sequences of values.

    Raises:
        TypeError: values can't be added up or compared, or stand beside rows.
        ValueError: there would be more than :data:`MOST_BINS`.

    >>> list(resample([([1, 2], [5, 7]), ([25], [9])], range(0, 100, 10), HOWS['sum']))
    [(0, {None: 12}), (10, {None: 0}), (20, {None: 9})]
    """
    following = iter(edges)
    low, high = next(following), next(following)
    left = MOST_BINS
    states: States = {}
    for times, values in runs:
        if (times[-1] - low) // (high - low) > left:
            raise ValueError(f"there would be more than {MOST_BINS:,} bins: choose a longer freq, or a span")
        ends, lows = [_place(times, high, 0)], [low]
        while ends[-1] < len(times):
            lows.append(high)
            high = next(following)
            ends.append(_place(times, high, ends[-1]))
        for edge, part in zip(lows, (reduced or reduced_values)(values, ends, how), strict=True):
            if edge != low:
                yield low, _ended(states, how)
                low, left = edge, left - 1
            _join(states, part, how)
    if states:
        yield low, _ended(states, how)


def _place(times: Sequence[int], edge: int, low: int) -> int:
    """Return where an edge is among times. The first and the last are asked first: most bins and runs lie apart."""
    if times[-1] < edge:
        return len(times)
    return low if times[low] >= edge else bisect_left(times, edge, low)


def reduced_values(values: Sequence[Any], ends: Sequence[int], how: How) -> Iterator[States]:
    """Yield for each bin of a run the aggregates of its columns. ``ends`` tell where in the run each bin ends."""
    for first, end in pairwise((0, *ends)):
        yield (
            {name: aggregated(column, how, name) for name, column in _columns(list(values[first:end])).items()}
            if first < end
            else {}
        )


def aggregated(values: Iterable[Any], how: How, name: str | None) -> tuple[Any, ...] | None:
    """Return the aggregates of a column's values that are not missing; None if there are none.

    Raises:
        TypeError: values can't be added up or compared; the message names the column.
    """
    present = [value for value in values if not is_missing(value)]
    if not present:
        return None
    counted = list(map(plain, present)) if how.calculates else present
    with _explained(name):
        return tuple([AGGREGATES[each].of(counted) for each in how.of])


def _join(states: States, part: States, how: How) -> None:
    for name, new in part.items():
        old = states.get(name)
        if old is None:
            states[name] = new
        elif new is not None:
            with _explained(name):
                pairs = zip(how.of, old, new, strict=True)
                states[name] = tuple([AGGREGATES[each].joint(before, after) for each, before, after in pairs])


@contextmanager
def _explained(name: str | None) -> Iterator[None]:
    try:
        yield
    except (TypeError, ArithmeticError) as exc:  # values of several types; Decimals that are no numbers
        where = "" if name is None else f" of column {name!r}"
        reason = str(exc) if isinstance(exc, TypeError) else type(exc).__name__
        problem = f"values{where} are no numbers ({reason}): resample them by first, last or count"
        raise TypeError(problem) from None


def _columns(values: list[Any]) -> Mapping[str | None, Iterable[Any]]:
    rows = [value for value in values if isinstance(value, dict)]
    if not rows:
        return {None: values}
    if len(rows) < len(values):
        raise TypeError("there are values beside rows of columns: they can't be resampled together")
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _ended(states: States, how: How) -> dict[str | None, Any]:
    """Return the values of a bin, and make ``states`` those of an empty one with the same columns."""
    found = {}
    for name, state in states.items():
        parts = how.empty if state is None else how.end(*state)
        found.update({_joint(name, part): value for part, value in parts.items()})
        states[name] = None
    return found


def _joint(name: str | None, part: str | None) -> str | None:
    return part if name is None else name if part is None else f"{name} {part}"


# -- filling empty bins ------------------------------------------------------------------------------------------------


def _previous(column: Sequence[Any]) -> Iterable[Any]:
    return accumulate(column, lambda before, value: before if value is None else value)


def _linear(column: Sequence[Any]) -> Iterable[Any]:
    known = [at for at, value in enumerate(column) if value is not None]
    found = list(_previous(column))  # it stays after the last known value
    for first, last in pairwise(known):
        low, high = plain(column[first]), plain(column[last])
        step = (high - low) / (last - first) if last - first > 1 else 0
        found[first + 1 : last] = [low + step * i for i in range(1, last - first)]
    return found


FILLS: Final[Mapping[str, Callable[[Sequence[Any]], Iterable[Any]]]] = {"previous": _previous, "linear": _linear}
"""The ways to fill empty bins: by the value before, or by a line from that to the next one."""


def filled(bins: Sequence[Bin], fill: str) -> list[Bin]:
    """Return bins, the empty ones filled. Those before the first value stay empty.

    >>> filled([(0, {None: 1}), (10, {None: None}), (20, {None: 2})], 'linear')
    [(0, {None: 1}), (10, {None: 1.5}), (20, {None: 2})]
    """
    names = list(dict.fromkeys(name for _, values in bins for name in values))
    columns = [list(FILLS[fill]([values.get(name) for _, values in bins])) for name in names]
    rows = zip(*columns, strict=True)
    return [(edge, dict(zip(names, row, strict=True))) for (edge, _), row in zip(bins, rows, strict=True)]
