"""The times at which a page changes: the slider snaps to them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from rstore.core import reading_of
from rstore.domain.log import Query
from rstore.domain.streams import Stream
from rstore.web.asked import Asked

MOST: Final = 600
"""A slider has no more stops: a screen has not many more pixels for it."""


@frozen
class Timing:
    """The times of a page, all of them in POSIX milliseconds.

    Attributes:
        at, to: the times that it shows; None for the present, and for no other time.
        stops: some of the times at which it changed, in order: all of them, if there are not too many.
        earlier, later: the times of the changes before and after the one that it shows; None if there is none.
        changes: how often it changed in all; None if that is not known.
    """

    at: int | None
    to: int | None
    stops: Sequence[int]
    earlier: int | None
    later: int | None
    changes: int | None = None


def timing_of(asked: Asked, times: Sequence[int]) -> Timing:
    """Return the times of a page that changed at some times, given in order."""
    stops = times if len(times) <= MOST else [times[n * (len(times) - 1) // (MOST - 1)] for n in range(MOST)]
    at = asked.at
    shown = (len(times) if at is None else bisect_right(times, at)) - 1
    return Timing(
        at,
        asked.to,
        stops,
        times[shown - 1] if shown > 0 else None,
        times[shown + 1] if shown + 1 < len(times) else None,
        len(times),
    )


def timing_of_namespace(asked: Asked) -> Timing:
    """Return the times of a page that any change of the namespace may change, as far as the log was read.

    Until all of it was, the greatest time that was read is not that of the present.
    """
    watcher, at = asked.watcher, asked.at
    newest = watcher.timeline.newest
    # what a page shows as of a time is what the last change up to that time has left
    shown = (newest if watcher.is_complete else None) if at is None else watcher.before(at + 1)
    return Timing(
        at,
        asked.to,
        watcher.sample(MOST),
        None if shown is None else watcher.before(shown),
        None if at is None else watcher.after(at),
        watcher.timeline.changes if watcher.is_complete else None,
    )


def times_of(asked: Asked, kind: str) -> list[int]:
    """Return the times at which the stream of a key changed, in order, each once. No payload is read."""
    records = reading_of(asked.store).log.read(Stream(kind, asked.key), Query(most=0))
    return sorted({record.recorded for record in records})
