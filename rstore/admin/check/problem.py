"""What an inspection finds, and how it goes on after what can't be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from rstore.domain.errors import StoreClosedError, StoreError, StoreNotAvailableError, StorePayloadError

T = TypeVar("T")


class Problem(NamedTuple):
    """Something that is not as it was written, or that rstore would not have written.

    Attributes:
        kind, key: the stream; a kind without key if it is about all streams of a kind, and neither if about the log.
        version: that of the record; None if it is about the stream as a whole.
        message: what is wrong.
    """

    kind: str
    key: str
    version: int | None
    message: str


def tried(read: Callable[[], T]) -> T | StoreError:
    """Return what a read returns, or what it says is wrong with what is stored; raise if nothing can be read at all."""
    try:
        return read()
    except (StoreNotAvailableError, StoreClosedError):
        raise
    except StoreError as exc:
        return exc


def words_of(error: StoreError) -> str:
    """Return what an error says, without the name of the stream, which the problem has anyway."""
    if not isinstance(error, StorePayloadError):
        return str(error)
    return f"{error.problem} ({error.detail})" if error.detail else error.problem
