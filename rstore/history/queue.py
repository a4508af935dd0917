"""The queue of a delivery: the streams that have something to be delivered, and the lease of each.

A lease is the one record of a private stream, which lives as long as something of the user's stream is left. So the
queue is a list of live heads. All that moves a lease is an append that expects the version which was read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

from attrs import Factory, define

from rstore.core import Core, now
from rstore.domain.leases import Lease, lease_in
from rstore.domain.log import Batch, Head, Record
from rstore.domain.operators import SETTLED
from rstore.domain.paging import newest, pages
from rstore.domain.streams import DUE, Stream, due_kind
from rstore.encoding.envelope import Envelope
from rstore.encoding.notes import note_body
from rstore.history.changes import KINDS, StreamFilter

_PAGE: Final = 256


class StoredLease(NamedTuple):
    """A lease as it was read: its stream, the version of its record, and whether the stream is in the queue."""

    stream: Stream
    lease: Lease
    version: int
    is_due: bool


@define(eq=False)
class Queue:
    """The queue of a delivery of some name."""

    core: Core
    name: str
    streams: StreamFilter = Factory(StreamFilter)

    @property
    def kinds(self) -> list[str]:
        """The kinds of streams that may be in it."""
        return list(KINDS) if self.streams.kind is None else [self.streams.kind]

    def lease_stream(self, stream: Stream) -> Stream:
        """Return the private stream that holds the lease of a stream."""
        return Stream(due_kind(self.name, stream.kind), stream.key)

    def heads(self) -> Iterator[tuple[str, Head]]:
        """Yield the kind of each stream in the queue, and the head of its lease."""
        for kind in self.kinds:
            for head in self.core.base.heads(due_kind(self.name, kind)):
                yield kind, head

    def leases(self, streams: Sequence[Stream]) -> list[StoredLease | None]:
        """Return the lease of each stream; None where there is none."""
        places = map(self.lease_stream, streams)
        pairs = zip(streams, newest(self.core.base, places), strict=True)
        return [None if record is None else self._stored(stream, record) for stream, record in pairs]

    def lease_pages(self, heads: Iterable[tuple[str, Head]]) -> Iterator[list[StoredLease]]:
        """Yield the leases of heads, page by page, without those of which nothing is left to be delivered."""
        for page in pages(heads, _PAGE):
            leases = self.leases([Stream(kind, head.stream.key) for kind, head in page])
            yield [each for each in leases if each is not None and each.is_due]

    def all(self) -> Iterator[StoredLease]:
        """Yield all leases in the queue."""
        return chain.from_iterable(self.lease_pages(self.heads()))

    def count(self) -> int:
        """Return how many streams are in the queue."""
        return sum(self.core.base.counts([due_kind(self.name, kind) for kind in self.kinds]))

    def batch(self, stream: Stream, lease: Lease, version: int) -> Batch:
        """Return the batch that puts a stream with a lease into the queue, if that is at this version."""
        return self._batch(stream, lease, version, DUE, live=True)

    def removal(self, stored: StoredLease, end: int) -> list[Batch]:
        """Return the batches that take a stream out of the queue, if it is still at version ``end``.

        They conflict if something was appended to the stream meanwhile, or another worker has the lease.
        """
        # in one append, or a message could come in between: a searcher passes over streams that are in the queue
        unchanged = Batch(stored.stream, (), now(), end, if_live=True)
        rest = Lease(stored.lease.cursor)
        return [self._batch(stored.stream, rest, stored.version, SETTLED, live=False), unchanged]

    def _batch(self, stream: Stream, lease: Lease, version: int, op: str, *, live: bool) -> Batch:
        place = self.lease_stream(stream)
        entry = self.core.envelope.entry(place, op, note_body(lease.words()), start=0, end=0)
        return Batch(place, (entry,), now(), version, live, replace=True)

    def _stored(self, stream: Stream, record: Record) -> StoredLease:
        lease = lease_of(self.core.envelope, self.lease_stream(stream), record)
        return StoredLease(stream, lease, record.version, record.op == DUE)


def lease_of(envelope: Envelope, place: Stream, record: Record) -> Lease:
    """Return the lease that a record holds.

    Raises:
        StorePayloadError: it can't be opened, or holds none.
    """
    envelope.check_op(place, record, (DUE, SETTLED))
    words = envelope.words(place, record)
    try:
        return lease_in(words)
    except ValueError as exc:
        raise envelope.error(place, f"{exc}: it was damaged, or a newer rstore wrote it") from exc


def milliseconds(seconds: float) -> int:
    """Return seconds in milliseconds, rounded up."""
    return math.ceil(seconds * 1000)
