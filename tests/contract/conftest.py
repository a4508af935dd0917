"""What the tests of the port share: names of streams, and short words for what a test writes and reads.

Each file holds one promise of the port against every backend of ``tests.conftest.BACKENDS``. Nothing in this folder
knows a backend: an adapter that passes may stand under a Store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from rstore.domain.log import Batch, Entry, Head, Log, Query, Reclaimed, Record, Rewrite
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, KV, TS, Stream

SERIES = Stream(TS, "series")
OTHER = Stream(TS, "other")
KEY = Stream(KV, "key")
EVENTS = Stream(ES, "events")
ALL = range(TIME_MAX)
MANY = 600  # more than two pages of any adapter


def entry(
    start: int = 0, end: int | None = None, *, item: str = "", op: str = "extend", data: bytes = b"", meta: Any = None
) -> Entry:
    return Entry(start, start if end is None else end, item, op, data, meta)


def entries(*starts: int) -> list[Entry]:
    return [entry(start) for start in starts]


def append(log: Log, stream: Stream, added: Iterable[Entry], *, recorded: int = 1, **options: Any) -> int:
    return log.append([Batch(stream, added, recorded, **options)])[0]


def rewrite(
    log: Log, stream: Stream, drop: Collection[int] = (), put: Iterable[Record] = (), live: bool | None = None
) -> Reclaimed:
    return log.rewrite([Rewrite(stream, None, drop, put, live)])


def starts(records: Iterable[Record]) -> list[int]:
    return [record.start for record in records]


def versions(log: Log, stream: Stream) -> list[int]:
    return [record.version for record in log.read(stream)]


def keys(heads: Iterable[Head]) -> list[str]:
    return [head.stream.key for head in heads]


def head_of(log: Log, stream: Stream) -> Head:
    head = log.head(stream)
    assert head is not None
    return head


def everything(log: Log, *streams: Stream) -> list[object]:
    """Return all that a log shows of itself, to compare before and after what must change nothing."""
    kinds = {stream.kind for stream in streams}
    return [
        [list(log.read(stream)) for stream in streams],
        [list(log.read(stream, Query(alive=True))) for stream in streams],
        [log.head(stream) for stream in streams],
        [(log.counts([kind])[0], list(log.heads(kind, live=False)), list(log.heads(kind))) for kind in sorted(kinds)],
        list(log.follow()),
    ]


def then(log: Log, stream: Stream, until: int) -> Record | None:
    """Return the newest record by a time, the long way."""
    return max((record for record in log.read(stream) if record.recorded <= until), default=None)


def without_position(records: Iterable[Record | None]) -> list[Record | None]:
    return [found and found._replace(position=None) for found in records]
