"""Rows of one time in a frame: refused with an example, or parted by a column into a series for each of its values."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np

from rstore.domain.names import check_name, exact
from rstore.domain.scalars import is_missing
from rstore.encoding.columns import IN_UNITS
from rstore.frames.frame import ANY_ZONE, Frame, Values, chosen, columns_of, frame_of
from rstore.frames.times import Ints
from rstore.timestamps import iso_in_series


def check_times_differ(key: str, frame: Frame, rows: Ints | None = None) -> None:
    """Raise if several rows have one time. Where each time is later than the one before, this looks at nothing.

    Args:
        key: the key of the series.
        rows: the numbers of these rows in the frame that the user gave; None if they are all of its rows.

    Raises:
        ValueError: the message names the earliest such time and two rows, counted from 0.
    """
    times = frame.times
    if len(frame) == len(times):
        return
    order = np.argsort(times, kind="stable")
    at = int(np.argmax(times[order[1:]] == times[order[:-1]]))
    first, second = (int(row if rows is None else rows[row]) for row in order[at : at + 2])
    raise ValueError(
        f"{key!r} has {_shown(frame, int(times[order[at]]))} twice, in rows {first} and {second} of the frame, and "
        f"{len(times) - len(frame)} of its {len(times)} rows would be lost: make a series for each value of a column "
        "with key_column=..., or let the last row count with duplicates='last'"
    )


def _shown(frame: Frame, time: int) -> str | int:
    axis = frame.axis
    if axis.unit is None:
        return time
    return iso_in_series(time, axis._replace(zone=None) if axis.zone == ANY_ZONE else axis)


def parted(key: str, frame: Frame, key_column: str | None) -> Iterator[tuple[str, Frame, Ints | None]]:
    """Yield a frame for each value of a column, with the key of its series, ``key/value``, and its row numbers.

    Without a column yield the whole frame, and None for its row numbers.

    Raises:
        ValueError: there is no such column, or no other one; or a row has no key, or one that no store can keep.
        TypeError: the column holds neither texts nor integers.
    """
    if key_column is None:
        yield key, frame, None
        return
    name, table = exact(key_column), frame.table
    names = [column.name for column in table.layout.columns]
    if name not in names:
        raise ValueError(f"there is no column {name!r}: {', '.join(map(repr, names))}")
    at = names.index(name)
    others = [values for place, values in enumerate(columns_of(table)) if place != at]
    if table.layout.columns[at].kind in IN_UNITS:  # ints to Python
        raise _no_keys(name, table.layout.columns[at].kind)
    if not others:
        raise ValueError(f"a frame needs a column of values besides its times and {name!r}")
    for own, rows in _groups(key, name, table.column(at)):
        part = [_rows_of(values, rows) for values in others]
        yield own, frame_of(frame.times[rows], frame.axis, part, framed=table.layout.framed), rows


def _rows_of(values: Values, rows: Ints) -> Values:
    column, data, absent = values
    missing = None if absent is None else chosen(absent, rows)
    return Values(column, chosen(data, rows), missing if missing is not None and missing.any() else None)


def _groups(prefix: str, column: str, cells: list[Any]) -> Iterator[tuple[str, Ints]]:
    """Yield keys in the order of their first rows, each with the numbers of its rows."""
    for cls in set(map(type, cells)) - {type(None), float}:  # a float may be NaN, which stands for a missing text
        if not issubclass(cls, str | Integral) or issubclass(cls, bool):
            raise _no_keys(column, cls.__name__)
    known: dict[Any, int] = {}
    numbers = np.fromiter((known.setdefault(cell, len(known)) for cell in cells), np.int64, len(cells))
    keys: dict[str, int] = {}
    places = np.array([keys.setdefault(_key(prefix, column, cells, cell), len(keys)) for cell in known], np.int64)
    numbers = places[numbers] if known else numbers
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=len(keys)))
    low = 0
    for key, high in zip(keys, ends.tolist(), strict=True):
        yield key, order[low:high]
        low = high


def _key(prefix: str, column: str, cells: list[Any], cell: Any) -> str:
    if is_missing(cell):
        row = next(row for row, each in enumerate(cells) if each is cell)
        raise ValueError(f"row {row} has no key in the column {column!r}")
    if isinstance(cell, float):
        raise _no_keys(column, "float")
    return check_name("key", f"{prefix}/{exact(cell) if isinstance(cell, str) else int(cell)}")


def _no_keys(column: str, kind: str) -> TypeError:
    return TypeError(f"the column {column!r} holds keys, which are texts or ints, not of type {kind}: convert it")
