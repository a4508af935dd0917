"""Positions as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rstore.domain.log import Position
from rstore.domain.spans import TIME_MAX

_DIGITS: Final = len(str(TIME_MAX))


def number(position: Position | None) -> int:
    """Return the number that a position is, in a log whose positions are numbers; without one 0, which is before all.

    Raises:
        TypeError: it is a position of another kind of log.
    """
    if position is None:
        return 0
    if not isinstance(position, int):
        raise TypeError(f"a position of this log is a number, not {position!r}")
    return position


def dotted(numbers: Iterable[int]) -> str:
    """Return numbers as the text of a checkpoint.

    >>> dotted((3, 14))
    '3.14'
    """
    return ".".join(map(str, numbers))


def undotted(checkpoint: str, *counts: int) -> list[int]:
    """Return the numbers in the text of a checkpoint.

    Raises:
        ValueError: they are not as many as one of ``counts``, or not in 64 bits.

    >>> undotted('3.14', 2)
    [3, 14]
    """
    if not isinstance(checkpoint, str):
        raise TypeError(f"a checkpoint is a str that follow() has yielded, not {type(checkpoint).__name__}")
    parts = checkpoint.split(".")
    if len(parts) not in counts or not all(map(_is_number, parts)):
        raise ValueError(
            f"{checkpoint[:60]!r} is no checkpoint of this kind of store: pass one that its follow() has yielded"
        )
    return list(map(int, parts))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) <= TIME_MAX
