"""The findings of a check, and how it goes on after a part that can't be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from rstore.domain.errors import StoreClosedError, StoreError, StoreNotAvailableError, StorePayloadError

T = TypeVar("T")


class Problem(NamedTuple):
    """A part of the store that is not as it was written, or that rstore would not have written.

    Attributes:
        kind, key: the stream. The key is empty if the problem concerns all streams of a kind; both are empty if it
            concerns the whole log.
        version: the version of the record; None if the problem concerns the stream as a whole.
        message: a description of the problem.
    """

    kind: str
    key: str
    version: int | None
    message: str


def attempted(read: Callable[[], T]) -> T | StoreError:
    """Return the result of a read, or the error if stored data is damaged; raise if nothing can be read at all."""
    try:
        return read()
    except (StoreNotAvailableError, StoreClosedError):
        raise
    except StoreError as exc:
        return exc


def message_of(error: StoreError) -> str:
    """Return the message of an error without the name of the stream, which the problem has anyway."""
    return error.reason if isinstance(error, StorePayloadError) else str(error)
