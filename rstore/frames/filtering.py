"""Which rows of a table meet conditions: numbers are compared as arrays, where that gives what Python would."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from typing import Any

import numpy as np

from rstore.domain.series import Run
from rstore.encoding.columns import FORMATS, IN_UNITS, NOT_A_TIME, Table
from rstore.encoding.conditions import COMPARISONS, Condition, Where
from rstore.encoding.rows import Rows, stretches
from rstore.frames.frame import taken

_EXACT = 2**53


def filtered(where: Where, run: Run) -> Iterator[Run]:
    """Yield the points of a run of rows that meet all conditions."""
    for times, values in stretches(run):
        if isinstance(values, Table):
            columns = where.columns(values)
            met = np.full(len(values), columns is not None)
            for condition, place in columns or ():
                met &= _met(values, condition, place)
            yield np.asarray(times, np.int64)[met], Rows(values if met.all() else taken(values, np.flatnonzero(met)))
        else:
            chosen = where.met(values)
            yield list(compress(times, chosen)), list(compress(values, chosen))


def _met(table: Table, condition: Condition, place: int) -> Any:
    kind, absent = table.layout.columns[place].kind, table.absent[place]
    if not _as_arrays(kind, condition):
        alone = Where((condition,))
        return np.array(alone.met(table), bool)
    data = np.asarray(table.data[place])
    if kind == "f4":
        data = data.astype("f8")  # NumPy would round the value to 32 bits
    met = COMPARISONS[condition.comparison].of_value(data, condition.value)
    met &= data == data  # noqa: PLR0124  # no NaN
    if kind in IN_UNITS:
        met &= data != NOT_A_TIME
    return met if absent is None else met & ~np.asarray(absent, bool)


def _as_arrays(kind: str, condition: Condition) -> bool:
    """Tell whether NumPy compares a column as Python does, though it may round values to the type of the column."""
    value = condition.value
    if condition.comparison in ("in", "not in") or kind not in FORMATS or kind in ("date", "b1"):
        return False
    if type(value) is float:
        return kind in ("f8", "f4", "i4", "i2", "u4", "u2", "i1", "u1")
    return type(value) is int and (abs(value) <= _EXACT if kind in ("f8", "f4") else 0 <= value < 2**31)
