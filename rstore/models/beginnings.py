"""Records of a series that are read by their beginnings: what a summary does not tell is read whole then."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from rstore.core import Reading
from rstore.domain.log import Query, Record
from rstore.domain.streams import Stream
from rstore.encoding.columns import Layout
from rstore.encoding.summaries import Summary

BEGINNING: Final = 1 << 13
"""Bytes: most summaries are shorter, and SQLite reads hardly more at once than it has to."""

T = TypeVar("T")


class MovedError(Exception):
    """A record was rewritten between two looks at it."""


def by_beginnings(core: Reading, read: Callable[[int | None], T]) -> T:
    """Return what a function reads from records of which it asks for so many bytes: for all of them, if that is None.

    All are read whole if they are encrypted; and in a second attempt, if one was rewritten meanwhile.
    """
    if not core.envelope.sealer.has_key:
        with suppress(MovedError):
            return read(BEGINNING)
    return read(None)


def summary_of(core: Reading, stream: Stream, record: Record, most: int | None) -> Summary | None:
    """Return the summary of a record that was read up to ``most``, or None if it has none, or a longer one."""
    return core.envelope.summary(stream, record, is_cut=_is_cut(record, most))


def layout_in(core: Reading, stream: Stream, record: Record, most: int | None) -> Layout | None:
    """Return the layout of a record that was read up to ``most``; None if it is of no frame."""
    summary = summary_of(core, stream, record, most)
    if summary is not None:
        return summary.layout
    return core.envelope.layout(stream, whole(core, stream, record, most)) if core.envelope.is_typed(record) else None


def whole(core: Reading, stream: Stream, record: Record, most: int | None) -> Record:
    """Return a record that was read up to ``most`` with all of its payload.

    Raises:
        MovedError: it has gone, or it holds something else by now.
    """
    if not _is_cut(record, most):
        return record
    for found in core.log.read(stream, Query(record.start, record.start, ops=(record.op,))):
        if found.data.startswith(record.data) and found._replace(data=record.data) == record:
            return found
    raise MovedError


def _is_cut(record: Record, most: int | None) -> bool:
    """Tell whether the end of a payload may be missing. A log that ignores ``most`` mostly gives more than that."""
    return len(record.data) == most
