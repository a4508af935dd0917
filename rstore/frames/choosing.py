"""Which column of a frame without an index holds the times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Choice(NamedTuple):
    """A column that may hold the times: its name, and whether its type is one of dates, or of integers."""

    name: str
    is_temporal: bool
    is_integer: bool


def time_column(columns: Sequence[Choice]) -> int:
    """Return the number of the column of times: the first if it has datetimes, else the only one with datetimes.

    If no single column has them, it is the first if that has integers.

    Raises:
        TypeError: the first column has no integers either.

    >>> time_column([Choice('id', False, True), Choice('at', True, False), Choice('price', False, False)])
    1
    """
    temporal = [i for i, column in enumerate(columns) if column.is_temporal]
    if temporal and (temporal[0] == 0 or len(temporal) == 1):
        return temporal[0]
    if columns and columns[0].is_integer:
        return 0
    names = ", ".join(column.name for column in columns)
    raise TypeError(f"no column is known to hold the times: put one of datetimes or integers first ({names})")
