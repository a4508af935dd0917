"""Resampling: the points of a series are gathered in bins of time, each bin becomes a value, and empty ones are filled.

A bin holds the points from its edge up to the next edge, which it excludes, and is labelled by its edge: pandas does so
by default for all fixed frequencies. Missing values, such as None and NaN, do not count. Numbers of NumPy are
calculated and compared as those of Python: their own width would limit them, and eight bits end at 255.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple, TypeAlias

from rstore.domain.scalars import is_missing, plain
from rstore.domain.series import Run

Bin: TypeAlias = tuple[int, dict[str | None, Any]]
"""An edge, and the values of its bin by column; a column without a name is the only one."""


class How(NamedTuple):
    """A way to make one value of many.

    ``add`` takes its own last result, None at first, and more values, at least one, and returns a new result. ``end``
    makes of the last one the values of the bin, by name if there are several. ``empty`` has those of a bin without
    values. If it ``calculates``, ``add`` is given :func:`~rstore.domain.scalars.plain` values, and not stored ones.
    """

    add: Callable[[Any, Sequence[Any]], Any]
    end: Callable[[Any], Mapping[str | None, Any]] = lambda state: {None: state}
    empty: Mapping[str | None, Any] = {None: None}
    calculates: bool = True


def _ohlc(state: Any, values: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    first, high, low, _ = state or (values[0],) * 4
    return first, max(high, *values), min(low, *values), values[-1]


def _total(state: tuple[Any, int] | None, values: Sequence[Any]) -> tuple[Any, int]:
    total, number = state or (0, 0)
    return total + sum(values), number + len(values)


_PARTS: Final = ("open", "high", "low", "close")

HOWS: Final[Mapping[str, How]] = {
    "first": How(lambda state, values: state or (values[0],), lambda state: {None: state[0]}, calculates=False),
    "last": How(lambda _, values: values[-1], calculates=False),
    "min": How(lambda state, values: min(values) if state is None else min(state, *values)),
    "max": How(lambda state, values: max(values) if state is None else max(state, *values)),
    "mean": How(_total, lambda state: {None: state[0] / state[1]}),
    "sum": How(_total, lambda state: {None: state[0]}, {None: 0}),
    "count": How(lambda state, values: (state or 0) + len(values), empty={None: 0}),
    "ohlc": How(_ohlc, lambda state: dict(zip(_PARTS, state, strict=True)), dict.fromkeys(_PARTS)),
}
"""The ways to make the values of a bin one. An empty bin has the sum and count 0, and None of all else."""

PICKS: Final = frozenset({"first", "last", "min", "max"})
"""The ways that return one of the values, and so keep the unit of these."""

MOST_BINS: Final = 10_000_000
"""More bins would not fit into memory; the caller meant another unit."""


def resample(runs: Iterable[Run], edges: Iterable[int], how: How) -> Iterator[Bin]:
    """Yield a bin for each edge up to the last point, lazily.

    Args:
        edges: increasing, and without an end; the first is not after the first point.

    Raises:
        TypeError: values can't be added up or compared, or stand beside rows.
        ValueError: there would be more than :data:`MOST_BINS`.

    >>> list(resample([([1, 2], [5, 7]), ([25], [9])], range(0, 100, 10), HOWS['sum']))
    [(0, {None: 12}), (10, {None: 0}), (20, {None: 9})]
    """
    following = iter(edges)
    low, high = next(following), next(following)
    left = MOST_BINS
    states: dict[str | None, Any] = {}
    for times, values in runs:
        at = 0
        while at < len(times):
            if times[at] < high:
                until = bisect_left(times, high, at)
                _add(states, list(values[at:until]), how)
                at = until
            else:
                if (times[at] - low) // (high - low) > left:
                    raise ValueError(f"there would be more than {MOST_BINS:,} bins: choose a longer freq, or a span")
                yield low, _ended(states, how)
                low, high, left = high, next(following), left - 1
    if states:
        yield low, _ended(states, how)


def _add(states: dict[str | None, Any], values: list[Any], how: How) -> None:
    for name, column in _columns(values).items():
        present = [value for value in column if not is_missing(value)]
        state = states.setdefault(name, None)
        if present:
            states[name] = _added(how, state, present, name)


def _added(how: How, state: Any, values: Sequence[Any], name: str | None) -> Any:
    try:
        return how.add(state, list(map(plain, values)) if how.calculates else values)
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


def _ended(states: dict[str | None, Any], how: How) -> dict[str | None, Any]:
    """Return the values of a bin, and make ``states`` those of an empty one with the same columns."""
    found = {}
    for name, state in states.items():
        parts = how.empty if state is None else how.end(state)
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
