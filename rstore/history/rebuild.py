"""The output of a projection: the streams that a rebuild deletes before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from rstore.domain.errors import StoreError
from rstore.domain.log import Head, LogReader, Query, Record
from rstore.domain.streams import ES, KV, TS, Stream

_KINDS: Final = (KV, TS, ES)
_LOOKS: Final = 40
_LOOK_SECONDS: Final = 0.25
_SHOWN: Final = 3

WritersOf: TypeAlias = Callable[[Stream, Record], set[str | None]]
"""Returns which projections have written a record: see :func:`rstore.commits.writers_in`."""


def output_of(log: LogReader, projection: Stream, writers_of: WritersOf) -> list[Head]:
    """Return the live streams that a projection has written, in order.

    The log is read twice: for the streams that the projection wrote to, and then for other writers of these.

    Args:
        projection: the stream that holds the checkpoint.

    Raises:
        StoreError: other writers wrote to one of them too; or the log does not show the projection's last write yet.
    """
    written = _written(log, projection, writers_of)
    output = {head.stream: head for kind in _KINDS for head in log.heads(kind) if head.stream in written}
    shared = sorted(_shared(log, output, {projection.key}, writers_of))
    if shared:
        raise StoreError(
            f"projection {projection.key!r} can't be built again: others have written to {_listed(shared)} too; "
            "delete what is not needed, or let the projection write to keys of its own; nothing was changed"
        )
    return list(output.values())


def _shared(log: LogReader, output: Mapping[Stream, Head], own: set[str], writers_of: WritersOf) -> set[Stream]:
    """Return the streams that other writers wrote to since the streams began to live."""
    shared, shown = set[Stream](), dict[Stream, int]()
    for _, stream, record in log.follow():
        if stream in output and record.version > output[stream].died:
            shown[stream] = record.version
            if writers_of(stream, record) != own:
                shared.add(stream)
    for stream, head in output.items():
        if head.version not in (shown.get(stream), head.floor):  # the log does not show all of it yet
            records = log.read(stream, Query(after=head.died))
            shared |= {stream for record in records if writers_of(stream, record) != own}
    return shared


def _written(log: LogReader, projection: Stream, writers_of: WritersOf) -> set[Stream]:
    """Return all streams that a projection ever wrote to, as soon as the log shows its newest checkpoint.

    The log then shows its output, too: output and checkpoint are stored together.
    """
    (newest,) = log.last([projection])
    found, shown, position = set[Stream](), 0, None
    for _ in range(_LOOKS):
        for position, stream, record in log.follow(position):  # noqa: B007, B020  # each look goes on from the one before
            if stream == projection:
                shown = record.version
            elif stream.kind in _KINDS and projection.key in writers_of(stream, record):
                found.add(stream)
        if newest is None or shown >= newest.version:
            return found
        log.wait(position, _LOOK_SECONDS)
    raise StoreError(
        f"what projection {projection.key!r} wrote last is not shown yet: another writer's transaction holds it back; "
        "call this again when that has ended; nothing was changed"
    )


def _listed(streams: Sequence[Stream]) -> str:
    more = len(streams) - _SHOWN
    shown: Iterable[str] = (f"{stream.kind} {stream.key!r}" for stream in streams[:_SHOWN])
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
