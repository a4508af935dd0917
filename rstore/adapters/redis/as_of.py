"""The newest record of a stream by a time: what ``last``, ``head`` and ``heads`` show of the past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.codec import HEAD_END, Span, StoredHead, packed_time, unpack_head, unpack_record, unpack_span
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.keys import Partition
from rstore.adapters.redis.node import Request, Run
from rstore.adapters.redis.scripts import NEWEST
from rstore.adapters.redis.snapshot import Snapshot
from rstore.domain.log import Record
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import KV, Stream

_NEAR: Final = 16  # spans: a key has seldom been set more often since

At: TypeAlias = tuple[Partition, Stream]
"""Where a stream is."""

Asked: TypeAlias = dict[int, tuple[At, StoredHead]]
"""Streams by the number under which they were asked for, and their heads."""


def newest_by_script(node: Servers, places: Sequence[At], until: int, *, whole: bool) -> list[Record | None]:
    """Return of each stream the newest record by a time; without data and meta, unless they are wanted whole."""
    args = packed_time(until), b"1" if whole else b"0"
    # one by one where a slot may be moving to another node: a script waits until all of its keys are there
    size = max(1, len(places)) if node.partitions == 1 else 1
    runs = [
        Run(page[0][0].slot, NEWEST, [key for home, stream in page for key in home.current(stream)], args)
        for page in (places[at : at + size] for at in range(0, len(places), size))
    ]
    return [packed and unpack_record(packed) for answer in node.query_each(runs) for packed in answer]


def newest_by_reads(node: Servers, asked: Asked, until: int) -> dict[int, Record | None]:
    """Do without the script, which asks for more than permission to read."""
    keys = {index: (place, head) for index, (place, head) in asked.items() if place[1].kind == KV}
    near = _near(node, keys, until)
    return {
        index: near[index] if index in near else _far(node, place, head, until)
        for index, (place, head) in asked.items()
    }


def last_of(node: Servers, place: At, head: StoredHead | None) -> Record | None:
    """Return the newest record of a stream, whatever was rewritten since its head was read."""
    if head is None or not head.newest:
        return None
    return head.record or next(Snapshot(node, *place, head).records([head.newest]))


def _far(node: Servers, place: At, head: StoredHead, until: int) -> Record | None:
    """Return the newest record by a time, whatever was rewritten since its head was read."""
    snapshot = Snapshot(node, *place, head)
    spans = _bisected(node, place, head, until) if place[1].kind == KV else None
    if spans is None:
        spans = [span for span in snapshot.spans(TIME_MIN, TIME_MAX) if span.recorded <= until]
    version = max((span.version for span in spans), default=None)
    return None if version is None else next(snapshot.records([version]))


def _bisected(node: Servers, place: At, head: StoredHead, until: int) -> list[Span] | None:
    """Return the span of a key's newest record by a time, if there is one; None if it was rewritten meanwhile."""
    low, high, found = -1, head.filed, []
    while high - low > 1:
        middle = (low + high) // 2
        spans = _unmoved(node, {0: (place, head)}, [(b"ZRANGE", place[0].spans(place[1]), middle, middle)])
        if not (spans and spans[0]):
            return None
        (span,) = map(unpack_span, spans[0])
        if span.recorded <= until:
            low, found = middle, [span]
        else:
            high = middle
    return found


def _near(node: Servers, asked: Asked, until: int) -> dict[int, Record | None]:
    """Look among the newest records of keys, of all at once; who is not found there has to be looked for."""
    pages = _unmoved(
        node, asked, [(b"ZRANGE", home.spans(key), 0, _NEAR - 1, b"REV") for (home, key), _ in asked.values()]
    )
    chosen: dict[int, int] = {}
    found: dict[int, Record | None] = {}
    for index, page in pages.items():
        version = next((span.version for span in map(unpack_span, page) if span.recorded <= until), None)
        if version is not None:
            chosen[index] = version
        elif len(page) < _NEAR:
            found[index] = None
    commands: list[Command] = [
        (b"HGET", asked[index][0][0].records(asked[index][0][1]), version) for index, version in chosen.items()
    ]
    records = _unmoved(node, {index: asked[index] for index in chosen}, commands)
    return found | {index: unpack_record(packed) for index, packed in records.items() if packed}


def _unmoved(node: Servers, asked: Asked, commands: Sequence[Command]) -> dict[int, Any]:
    """Send a command to each, and return the replies of those that nobody has rewritten since their head was read."""
    requests = [
        Request(home.slot, [command, (b"GETRANGE", home.head(stream), 0, HEAD_END)])
        for ((home, stream), _), command in zip(asked.values(), commands, strict=True)
    ]
    answers = zip(asked.items(), node.ask_each(requests), strict=True)
    heads = ((index, head.generation, reply, unpack_head(packed)) for (index, (_, head)), (reply, packed) in answers)
    return {index: reply for index, seen, reply, now in heads if now is not None and now.generation == seen}
