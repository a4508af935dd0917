"""Conditions on the values of rows: which rows meet them, and which segments may have such rows, by their summaries."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self, TypeAlias

from attrs import Factory, frozen

from rstore.domain.event_state import loaded
from rstore.domain.names import exact
from rstore.domain.scalars import is_missing
from rstore.encoding.columns import Layout, Table, is_row
from rstore.encoding.summaries import ALL, Summary

Conditions: TypeAlias = "tuple[str, str, Any] | Sequence[tuple[str, str, Any]]"

_VALUE: Final = "value"
_LEAST, _GREATEST = ALL.of.index("min"), ALL.of.index("max")


class Comparison(NamedTuple):
    """How values are compared: each by itself, and the least and greatest of many, of which one may meet it."""

    of_value: Callable[[Any, Any], bool]
    of_some: Callable[[Any, Any, Any], bool]


def _within(least: Any, greatest: Any, value: Any) -> bool:
    return bool(least <= value <= greatest)


def _is_in(value: Any, others: Collection[Any]) -> bool:
    return value in others


COMPARISONS: Final[Mapping[str, Comparison]] = {
    "==": Comparison(operator.eq, _within),
    "!=": Comparison(operator.ne, lambda least, greatest, value: not least == greatest == value),
    "<": Comparison(operator.lt, lambda least, _, value: least < value),
    "<=": Comparison(operator.le, lambda least, _, value: least <= value),
    ">": Comparison(operator.gt, lambda _, greatest, value: greatest > value),
    ">=": Comparison(operator.ge, lambda _, greatest, value: greatest >= value),
    "in": Comparison(_is_in, lambda least, greatest, others: any(_within(least, greatest, each) for each in others)),
    "not in": Comparison(lambda value, others: not _is_in(value, others), lambda *_: True),
}
"""The comparisons of conditions by name."""


class Condition(NamedTuple):
    """A condition: the name of a column, that of a comparison, and the value to compare with."""

    name: str
    comparison: str
    value: Any

    def meets(self, value: Any) -> bool:
        """Tell whether a value meets it. A missing one does not.

        Raises:
            TypeError: the values can't be compared.
        """
        return not is_missing(value) and bool(COMPARISONS[self.comparison].of_value(value, self.value))

    def may_meet(self, aggregates: Sequence[Any] | None) -> bool:
        """Tell whether one of the values may meet it that have these aggregates, as a summary has them."""
        if not aggregates:
            return aggregates is None
        try:
            return COMPARISONS[self.comparison].of_some(aggregates[_LEAST], aggregates[_GREATEST], self.value)
        except TypeError:  # the values themselves raise it, if there is one that counts
            return True


@frozen
class Where:
    """Conditions that a row meets all of, and the columns that were found in what was read so far."""

    conditions: tuple[Condition, ...]
    _found: set[str | None] = Factory(set)

    @classmethod
    def of(cls, given: object, found: set[str | None] | None = None) -> Self:
        """Return the conditions of a caller: one ``(column, comparison, value)``, or several.

        Args:
            found: where to note the columns that points have.

        Raises:
            TypeError, ValueError: it is none; the message tells why.

        >>> Where.of(('bid', '>', 3)).conditions
        (Condition(name='bid', comparison='>', value=3),)
        """
        alone = isinstance(given, tuple) and len(given) == 3 and isinstance(given[0], str)
        listed = (given,) if alone else given
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            raise TypeError(f"where is a (column, comparison, value), or a list of these, not {given!r}")
        return cls(tuple(map(_condition, listed)), set() if found is None else found)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the conditions."""
        return tuple(dict.fromkeys(condition.name for condition in self.conditions))

    def may_hold(self, summary: Summary) -> bool:
        """Tell whether a row of a segment may meet the conditions."""
        places = {name: place_of(summary.layout, name) for name in self.names}
        self._found.update((None, *(column.name for column in summary.layout.columns)))
        self._found.update(name for name, place in places.items() if place is not None)
        return all(
            place is not None and condition.may_meet(summary.aggregates[place])
            for condition, place in ((condition, places[condition.name]) for condition in self.conditions)
        )

    def columns(self, table: Table) -> list[tuple[Condition, int]] | None:
        """Return each condition with the number of its column in a table; None if the table does not have one."""
        places = [(condition, place_of(table.layout, condition.name)) for condition in self.conditions]
        self._found.update((None, *(condition.name for condition, place in places if place is not None)))
        found = [(condition, place) for condition, place in places if place is not None]
        return found if len(found) == len(places) else None

    def met(self, values: Sequence[Any]) -> list[bool]:
        """Tell of each value of a segment whether it meets the conditions.

        Raises:
            TypeError: a value can't be compared.
        """
        if isinstance(values, Table):
            columns = self.columns(values)
            if columns is None:
                return [False] * len(values)
            listed = [(condition, values.column(place)) for condition, place in columns]
        else:
            listed = [(condition, self._listed(values, condition.name)) for condition in self.conditions]
        met = [True] * len(values)
        for condition, column in listed:
            met = [is_met and _meets(condition, value) for is_met, value in zip(met, column, strict=True)]
        return met

    def _listed(self, values: Sequence[Any], name: str) -> list[Any]:
        self._found.add(None)
        found = []
        for value in map(loaded, values):
            own = value if is_row(value) else {_VALUE: value}
            if name in own:
                self._found.add(name)
            found.append(own.get(name))
        return found

    def check(self, key: str, layout: Callable[[], Layout | None]) -> None:
        """Raise if points of the series ``key`` were read, and none of them has a column of the conditions."""
        check_found(key, self.names, self._found, layout)


def check_found(
    key: str, names: Iterable[str], found: Collection[str | None], layout: Callable[[], Layout | None]
) -> None:
    """Raise if points of the series ``key`` were read, and none of them has one of the columns.

    Args:
        found: the columns that some point has; nothing if there were no points.
        layout: finds that of any segment of the series: the message names its columns.
    """
    missing = [name for name in names if name not in found]
    if found and missing:
        known = layout()
        others = "" if known is None else f": {', '.join(repr(column.name) for column in known.columns)}"
        raise ValueError(f"none of these points of {key!r} has a column {missing[0]!r}{others}")


def place_of(layout: Layout, name: str) -> int | None:
    """Return the number of a column, None if there is none. The values of a series are the column ``value``."""
    names = [column.name for column in layout.columns]
    if name in names:
        return names.index(name)
    return 0 if name == _VALUE and len(names) == 1 and not layout.framed else None


def _condition(given: object) -> Condition:
    if not isinstance(given, tuple | list) or len(given) != 3 or not isinstance(given[0], str):
        raise TypeError(f"a condition is a (column, comparison, value), not {given!r}")
    name, comparison, value = given
    if comparison not in tuple(COMPARISONS):
        raise ValueError(f"a comparison is one of {', '.join(COMPARISONS)}, not {comparison!r}")
    if "in" in comparison and (isinstance(value, str) or not isinstance(value, Collection)):
        raise TypeError(f"{comparison!r} takes a list of values, not {value!r}")
    return Condition(exact(name), comparison, _hashed(value) if "in" in comparison else value)


def _hashed(values: Collection[Any]) -> Collection[Any]:
    try:
        return frozenset(values)
    except TypeError:  # lists have no hash
        return list(values)


def _meets(condition: Condition, value: Any) -> bool:
    try:
        return condition.meets(value)
    except TypeError as exc:
        exc.add_note(f"rstore: while comparing values of the column {condition.name!r}")
        raise
