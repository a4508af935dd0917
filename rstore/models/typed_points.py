"""Typed columns of points, as an import makes them. NumPy is not needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from rstore.domain.series import Run
from rstore.encoding.columns import OBJECT, TEXT, Column, Layout, Table, TimeAxis

_BLANK: Final[dict[str, Any]] = {"f8": 0.0, "i8": 0, TEXT: ""}


class TypedPoints(NamedTuple):
    """Times in increasing order, and a table of their values: ``extend`` stores them as segments of that kind."""

    times: Sequence[int]
    table: Table

    def runs(self) -> Iterator[Run]:
        """Yield them as runs, each of one segment."""
        size = self.table.layout.rows
        for low in range(0, len(self.times), size):
            yield self.times[low : low + size], self.table[low : low + size]


def points_of_columns(
    times: Sequence[int], axis: TimeAxis, columns: Sequence[tuple[str | None, str, list[Any]]], *, framed: bool
) -> TypedPoints:
    """Return columns as points.

    Args:
        times: in increasing order.
        columns: the name, kind and values of each; None is a value that is missing.
        framed: the values are rows, dicts of the columns.

    >>> points_of_columns([5, 6], TimeAxis('s'), [(None, 'f8', [1.5, 2.5])], framed=False).table[1]
    2.5
    """
    parts = [_column(*column) for column in columns]
    layout = Layout(axis, tuple(column for column, _, _ in parts), framed)
    return TypedPoints(times, Table(layout, [values for _, values, _ in parts], [absent for _, _, absent in parts]))


def _column(name: str | None, kind: str, values: list[Any]) -> tuple[Column, list[Any], bytes | None]:
    if kind not in _BLANK or not _fits(kind, values):
        return Column(name, OBJECT), values, None
    if None not in values:
        return Column(name, kind), values, None
    blank = _BLANK[kind]
    filled = [blank if value is None else value for value in values]
    return Column(name, kind), filled, bytes(value is None for value in values)


def _fits(kind: str, values: list[Any]) -> bool:
    """Tell whether all values are of a kind: ints have 64 bits, and texts no lone surrogates."""
    if kind == "i8":
        return all(value is None or -(2**63) <= value < 2**63 for value in values)
    return True
