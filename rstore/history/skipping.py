"""Changes that a projection cannot handle: whether it stops or skips them, and how it lists the skipped ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from rstore.domain.errors import (
    FrozenStoreError,
    StoreClosedError,
    StoreConflictError,
    StoreNotAvailableError,
    StorePayloadError,
)
from rstore.history.changes import Change

OnError: TypeAlias = Literal["raise", "skip"] | Callable[[Change, Exception], Any]

OF_THE_STORE: Final = (StoreConflictError, StoreNotAvailableError, StoreClosedError, FrozenStoreError)
"""Errors that are not about a change: no change is skipped because of them."""


class Skipped(NamedTuple):
    """A change that a projection has skipped.

    Attributes:
        recorded: when it was skipped, in POSIX milliseconds.
        kind, key, version: the stream of the change, and its version there.
        checkpoint: :meth:`Store.follow` goes on after it with this.
        error: the error's type, and the reason if the change could not be read. Other texts of errors may hold values,
            and are left out.
    """

    recorded: int
    kind: str
    key: str
    version: int
    checkpoint: str
    error: str


def check_on_error(on_error: object) -> OnError:
    """Return ``on_error`` if it is valid.

    >>> check_on_error('ignore')
    Traceback (most recent call last):
        ...
    ValueError: on_error is 'raise', 'skip' or a function of a change and its error, not 'ignore'
    """
    if callable(on_error):
        return on_error
    if on_error == "raise":
        return "raise"
    if on_error == "skip":
        return "skip"
    error = ValueError if isinstance(on_error, str) else TypeError
    raise error(f"on_error is 'raise', 'skip' or a function of a change and its error, not {on_error!r}")


def skipped_now(recorded: int, change: Change, checkpoint: str, error: Exception) -> Skipped:
    """Return the entry of a list for a change that is skipped because of an error."""
    reason = f": {error.reason}" if isinstance(error, StorePayloadError) else ""
    return Skipped(recorded, change.kind, change.key, change.version, checkpoint, f"{type(error).__name__}{reason}")


def words_of(skipped: Skipped) -> dict[str, Any]:
    """Return the words of the note that lists a skipped change. Its record has the time."""
    words = skipped._asdict()
    del words["recorded"]
    return words


def skipped_of(recorded: int, words: Mapping[str, Any]) -> Skipped:
    """Return the skipped change of a note."""
    return Skipped(recorded, **words)
