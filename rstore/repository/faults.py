"""Where a stored form does not fit a class, and which errors say so."""

from __future__ import annotations

import sys
from typing import Any, Final

from rstore.domain.errors import StoreError

Place = tuple[str | int, ...]
"""Where in a stored form: the names and places to follow from the outside."""

_FROM_ELSEWHERE: Final = (StoreError, MemoryError)
"""Errors that say nothing about a value: of a store that a user's function reads, or of the process.

A RecursionError is none of them: it mostly means a value that is nested too deeply.
"""


class UnfitError(Exception):
    """A part of a stored form does not fit its type. ``place`` is where it stands; ``problem`` goes on from there."""

    def __init__(self, problem: str, *place: str | int) -> None:
        """Note a problem, and where it is as far as is known."""
        super().__init__(problem)
        self.problem, self.place = problem, place

    def within(self, *around: str | int) -> UnfitError:
        """Return the error, whose place begins further outside."""
        self.place = (*around, *self.place)
        return self


def is_about_a_value(error: Exception) -> bool:
    """Tell whether an error of a user's function or class, or a group of them, is about the value that it was given.

    An instance that does not fit may be skipped. A store that can't be reached must not look like one.
    """
    if isinstance(error, ExceptionGroup):  # cattrs raises one with all that it finds inside of a value
        return error.subgroup(_FROM_ELSEWHERE) is None
    return not isinstance(error, _FROM_ELSEWHERE)


def is_equal(one: Any, other: Any) -> bool:
    """Tell whether two values of a user are equal. Those that can't be compared are not."""
    try:
        return bool(one == other)
    except Exception as exc:  # whatever a user's class raises: arrays do
        if not is_about_a_value(exc):
            raise
        return False


def place_text(place: Place) -> str:
    """Return a place as a message shows it.

    >>> place_text(('lines', 3, 'price')), place_text(('homes', 'a b', 'zip'))
    ('lines[3].price', "homes['a b'].zip")
    """
    first, *inner = place or ("",)
    steps = (f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{step!r}]" for step in inner)
    return f"{first}{''.join(steps)}"


def fault_within(error: BaseException, of_type: Any) -> tuple[Place, Any, BaseException]:
    """Return where in a value cattrs or pydantic found the first fault, the type that is wanted there, and its error.

    The type is None if it is not known.
    """
    place: list[str | int] = []
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
        for note in getattr(error, "__notes__", ()):  # cattrs adds notes that are texts with attributes
            step = getattr(note, "name", getattr(note, "index", None))
            if step is not None:
                place.append(step)
                of_type = note.type
    kind = getattr(sys.modules.get("pydantic"), "ValidationError", None)
    if kind is not None and isinstance(error, kind):
        place += error.errors()[0]["loc"]
        of_type = of_type if not error.errors()[0]["loc"] else None
    return tuple(place), of_type, error
