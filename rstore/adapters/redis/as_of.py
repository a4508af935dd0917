"""The newest record of a stream by a time: ``last``, ``head`` and ``heads`` show it of the past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.codec import HEAD_END, Span, StoredHead, packed_time, unpack_head, unpack_record, unpack_span
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.keys import Location
from rstore.adapters.redis.node import Request, Run
from rstore.adapters.redis.scripts import NEWEST
from rstore.adapters.redis.snapshot import Snapshot
from rstore.domain.log import Record
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import KV

_NEAR: Final = 16  # spans to look at first: a key has seldom been set more often since

Asked: TypeAlias = dict[int, tuple[Location, StoredHead]]
"""Streams by the number under which they were asked for, and their heads."""


def newest_by_script(
    servers: Servers, locations: Sequence[Location], until: int, *, whole: bool
) -> list[Record | None]:
    """Return the newest record of each stream by a time. Unless ``whole``, it comes without data and meta."""
    args = packed_time(until), b"1" if whole else b"0"
    # one by one where a slot may be moving to another node: a script waits until all of its keys are there
    size = max(1, len(locations)) if servers.partitions == 1 else 1
    runs = [
        Run(page[0].slot, NEWEST, [key for location in page for key in location.current], args)
        for page in (locations[start : start + size] for start in range(0, len(locations), size))
    ]
    return [packed and unpack_record(packed) for answer in servers.query_each(runs) for packed in answer]


def newest_by_reads(servers: Servers, asked: Asked, until: int) -> dict[int, Record | None]:
    """Return the same by plain reads: a script needs more than permission to read."""
    keys = {index: (at, head) for index, (at, head) in asked.items() if at.stream.kind == KV}
    near = _near(servers, keys, until)
    return {
        index: near[index] if index in near else _far(servers, location, head, until)
        for index, (location, head) in asked.items()
    }


def last_of(servers: Servers, location: Location, head: StoredHead | None) -> Record | None:
    """Return the newest record of a stream, whatever was rewritten since its head was read."""
    if head is None or not head.newest:
        return None
    return head.record or next(Snapshot(servers.at(location.slot), location, head).records([head.newest]))


def _far(servers: Servers, location: Location, head: StoredHead, until: int) -> Record | None:
    """Return the newest record by a time, whatever was rewritten since its head was read."""
    snapshot = Snapshot(servers.at(location.slot), location, head)
    spans = _bisected(servers, location, head, until) if location.stream.kind == KV else None
    if spans is None:
        spans = [span for span in snapshot.spans(TIME_MIN, TIME_MAX) if span.recorded <= until]
    version = max((span.version for span in spans), default=None)
    return None if version is None else next(snapshot.records([version]))


def _bisected(servers: Servers, location: Location, head: StoredHead, until: int) -> list[Span] | None:
    """Return the span of a key's newest record by a time, if there is one; None if it was rewritten meanwhile."""
    low, high, found = -1, head.filed, []
    while high - low > 1:
        middle = (low + high) // 2
        spans = _unmoved(servers, {0: (location, head)}, [(b"ZRANGE", location.spans, middle, middle)])
        if not (spans and spans[0]):
            return None
        (span,) = map(unpack_span, spans[0])
        if span.recorded <= until:
            low, found = middle, [span]
        else:
            high = middle
    return found


def _near(servers: Servers, asked: Asked, until: int) -> dict[int, Record | None]:
    """Look among the newest records of all keys at once. A key whose record is not among these is left out."""
    looks: list[Command] = [(b"ZRANGE", key.spans, 0, _NEAR - 1, b"REV") for key, _ in asked.values()]
    pages = _unmoved(servers, asked, looks)
    chosen: dict[int, int] = {}
    found: dict[int, Record | None] = {}
    for index, page in pages.items():
        version = next((span.version for span in map(unpack_span, page) if span.recorded <= until), None)
        if version is not None:
            chosen[index] = version
        elif len(page) < _NEAR:
            found[index] = None
    looks = [(b"HGET", asked[index][0].records, version) for index, version in chosen.items()]
    records = _unmoved(servers, {index: asked[index] for index in chosen}, looks)
    return found | {index: unpack_record(packed) for index, packed in records.items() if packed}


def _unmoved(servers: Servers, asked: Asked, commands: Sequence[Command]) -> dict[int, Any]:
    """Send a command for each stream. Return the replies for those not rewritten since their head was read."""
    requests = [
        Request(at.slot, [command, (b"GETRANGE", at.head, 0, HEAD_END)])
        for (at, _), command in zip(asked.values(), commands, strict=True)
    ]
    answers = zip(asked.items(), servers.ask_each(requests), strict=True)
    heads = ((index, head.generation, reply, unpack_head(packed)) for (index, (_, head)), (reply, packed) in answers)
    return {index: reply for index, seen, reply, now in heads if now is not None and now.generation == seen}
