"""Times in NumPy arrays: packed and unpacked, in other units, and checked."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rstore.encoding import packing
from rstore.encoding.columns import NOT_A_TIME, UNITS
from rstore.encoding.packing import REGULAR, WIDTHS, unpack_ints

Ints: TypeAlias = NDArray[np.int64]


def pack_times(times: Ints) -> bytes:
    """Return the same bytes as :func:`rstore.encoding.packing.pack_times`, for an array."""
    if len(times) == 1:
        return b""
    steps = np.diff(times).view(np.uint64)  # they may wrap around: a reader takes them without a sign
    top, least = int(steps.max()), int(steps.min())
    if top == least:
        return struct.pack("<BQ", REGULAR, top)
    width = next(i for i in range(len(WIDTHS)) if top < 1 << (8 << i))
    return WIDTHS[width : width + 1] + steps.astype(f"<u{1 << width}").tobytes()


def unpack_times(start: int, count: int, data: bytes) -> Any:
    """Return the same times as :func:`rstore.encoding.packing.unpack_times`: as an array, if they are irregular."""
    if count == 1 or data[0] == REGULAR:
        return packing.unpack_times(start, count, data)
    steps, _ = unpack_ints(count - 1, data)
    times = np.empty(count, np.int64)
    times[0] = start
    times[1:] = np.asarray(steps).astype(np.uint64, copy=False).view(np.int64)
    return np.cumsum(times, out=times)


def joint_times(parts: Sequence[Any]) -> Ints:
    """Return times one after the other as an array. A range is written right where it belongs in that."""
    times = np.empty(sum(map(len, parts)), np.int64)
    low = 0
    for part in parts:
        if isinstance(part, range) and part.step < 2**62:
            times[low : low + len(part)] = np.arange(len(part)) * part.step + part.start  # wraps around where it must
        else:
            times[low : low + len(part)] = np.asarray(part, np.int64)
        low += len(part)
    return times


def order_of(times: Ints) -> Ints:
    """Return the places of times in their order; of equal times only the last.

    >>> order_of(np.array([5, 1, 5, 3])).tolist()
    [1, 3, 2]
    """
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    is_last = np.append(ordered[1:] != ordered[:-1], True)
    last: Ints = order[is_last]
    return last


def rescaled(times: Ints, unit: str, to: str) -> Ints:
    """Return times in another unit.

    Raises:
        ValueError: a time would not be exact, or would not fit in 64 bits; the message names it.

    >>> rescaled(np.array([1, 2]), 's', 'ms')
    array([1000, 2000])
    """
    many, few = UNITS[to], UNITS[unit]
    if many >= few:
        factor = many // few
        bad = (times > (2**63 - 1) // factor) | (times < -(2**63 // factor))
        found = times * factor
    else:
        found, bad = times // (few // many), times % (few // many) != 0
    if bad.any():
        example = times[bad][0]
        raise ValueError(f"the series counts its times in {to!r}, in which {example} {unit} has no exact place")
    return found


def whole_times(times: Any, what: str) -> Ints:
    """Return the integers of an array as times.

    Raises:
        TypeError, OverflowError: a time is no integer, or does not fit in signed 64 bits.
    """
    if times.dtype.kind not in "iu":
        raise TypeError(f"{what} are datetimes or integers, not {times.dtype}")
    if times.dtype.kind == "u" and len(times) and int(times.max()) > 2**63 - 1:
        raise OverflowError(f"{what} must fit in signed 64 bits: {int(times.max())}")
    return np.asarray(times, np.int64)


def unit_of(dtype: Any) -> str:
    """Return the unit of a type of datetime64 or timedelta64.

    Raises:
        ValueError: no series can have it.
    """
    unit, count = np.datetime_data(dtype)
    if unit not in UNITS or count != 1:
        raise ValueError(f"times are counted in {', '.join(UNITS)}, not in {dtype}: convert them with astype")
    return unit


def check_present(times: Ints) -> Ints:
    """Return times as they are, or raise if one is missing."""
    if len(times) and times.min() == NOT_A_TIME:
        raise ValueError(f"row {times.argmin()} has no time")
    return times
