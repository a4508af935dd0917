"""The choice between several rows of one time in one series of a table or frame: refuse them, or keep the last."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

Duplicates: TypeAlias = Literal["refuse", "last"]
"""``refuse``: nothing of the table or frame is stored. ``last``: the last of the rows counts."""

_CHOICES: Final = get_args(Duplicates)


def check_duplicates(duplicates: object) -> None:
    """Raise if an argument is none of the choices.

    >>> check_duplicates('first')
    Traceback (most recent call last):
    ValueError: duplicates is 'refuse' or 'last', not 'first'
    """
    if duplicates not in _CHOICES:
        raise ValueError(f"duplicates is {' or '.join(map(repr, _CHOICES))}, not {duplicates!r}")
