"""Times, and the spans of time that records speak of: how an index finds those that a query touches."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from rstore.domain.streams import KV, Stream

TIME_MIN: Final = -(2**63)
TIME_MAX: Final = 2**63 - 1
TOP_LEVEL: Final = 63
_SHOWN_BITS: Final = 1024  # Python refuses to show an int of more than 4300 digits


def check_time(what: str, time: object) -> int:
    """Return a timestamp as an int, or raise if it is none.

    Raises:
        TypeError: it is not an integer (a bool is none).
        OverflowError: it does not fit in signed 64 bits.
    """
    if isinstance(time, bool) or not hasattr(time, "__index__"):
        raise TypeError(f"{what} must be an int, not {type(time).__name__}")
    value: int = time.__index__()
    if not TIME_MIN <= value <= TIME_MAX:
        shown = str(value) if value.bit_length() <= _SHOWN_BITS else f"it has {value.bit_length()}"
        raise OverflowError(f"{what} must fit in signed 64 bits: {shown}")
    return value


# -- levels -----------------------------------------------------------------------------------------------------------
#
# An index on (level, start) finds spans: by one range of it for each level that a stream has. A span of level n has a
# length below 2**n, which bounds how early it may start if it touches what is asked for. Interval trees and bins were
# rejected: they need tuning, or maintenance that a plain index does not.


def level(start: int, end: int) -> int:
    """Return the level of a span: the number of bits of its length, at most :data:`TOP_LEVEL`.

    >>> level(7, 7), level(7, 8), level(0, 1024), level(TIME_MIN, TIME_MAX)
    (0, 1, 11, 63)
    """
    return min((end - start).bit_length(), TOP_LEVEL)


def level_of(stream: Stream, start: int, end: int) -> int | None:
    """Return the level under which a record of a stream is found; None if it is a key's value, which has no span."""
    return None if stream.kind == KV else level(start, end)


def bit(of_level: int | None) -> int:
    """Return the bit of a level in the mask of those that a stream has, as an integer of 64 bits with a sign.

    >>> bit(None), bit(3), bit(63) == TIME_MIN
    (0, 8, True)
    """
    if of_level is None:
        return 0
    return 1 << of_level if of_level < TOP_LEVEL else -(1 << TOP_LEVEL)


def mask_of(stream: Stream, start: int, end: int) -> int:
    """Return the bits that a record adds to the mask of its stream. Those of a key only say that a value has an end.

    >>> mask_of(Stream(KV, 'key'), 0, 0), mask_of(Stream(KV, 'key'), 5, 7), mask_of(Stream('ts', 'key'), 0, 0)
    (0, 4, 1)
    """
    return bit(level(start, end)) if end or stream.kind != KV else 0


def reach(of_level: int, start: int) -> int:
    """Return the earliest start that a span of a level may have if it touches ``start`` or what comes later.

    >>> reach(0, 100), reach(4, 100), reach(63, 100) == TIME_MIN
    (100, 85, True)
    """
    return TIME_MIN if of_level == TOP_LEVEL else max(TIME_MIN, start - (1 << of_level) + 1)


@lru_cache
def levels_in(mask: int) -> tuple[int, ...]:
    """Return the levels in the mask of a stream. Most streams have one of a few masks, and each read asks for it.

    A stream that never had a span is searched at level 0 all the same: an empty answer needs no case of its own.

    >>> levels_in(0b101), levels_in(-(1 << TOP_LEVEL)), levels_in(0)
    ((0, 2), (63,), (0,))
    """
    return tuple(each for each in range(TOP_LEVEL + 1) if mask >> each & 1) or (0,)


def ranges(mask: int, start: int) -> list[tuple[int, int]]:
    """Return where in the index are spans that touch ``start`` or what comes later: levels, and earliest starts.

    >>> ranges(bit(0) | bit(4), 100)
    [(0, 100), (4, 85)]
    """
    return [(each, reach(each, start)) for each in levels_in(mask)]
