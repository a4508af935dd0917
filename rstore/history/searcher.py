"""The search of a delivery: it reads the log once, and puts streams that have something new into the queue."""

from __future__ import annotations

import os
from typing import Any, Final

from attrs import define

from rstore.core import Core, now
from rstore.domain.errors import StoreConflictError
from rstore.domain.leases import Lease
from rstore.domain.log import Batch, Position, Record
from rstore.domain.streams import DELIVER, Stream, due_kind
from rstore.encoding.envelope import Envelope
from rstore.encoding.notes import note_body
from rstore.history.changes import KINDS, StreamFilter, stream_filter
from rstore.history.follow import mark_of, position_in
from rstore.history.queue import Queue

_FOUND: Final = 512
_SCANNED: Final = 10_000


@define(eq=False)
class Searcher:
    """Reads the log from a checkpoint on. The checkpoint, and what is put into the queue, move in one append.

    ``position`` is where the next look begins, as long as the checkpoint has the same ``version``. ``identity`` is that
    of the delivery, which tells its tokens from others. ``unsaved`` is the number of records that were read since the
    checkpoint was stored.
    """

    queue: Queue
    after: str | None = None
    version: int = -1
    position: Position | None = None
    unsaved: int = 0
    identity: str = ""
    queue_changed: bool = True
    """Whether something in the queue may have changed since the caller has set this to false."""

    @property
    def core(self) -> Core:
        """The core of the store."""
        return self.queue.core

    @property
    def stream(self) -> Stream:
        """The stream that holds the checkpoint."""
        return Stream(DELIVER, self.queue.name)

    def begin(self) -> None:
        """Read the checkpoint, or store one.

        Raises:
            ValueError: the delivery was begun with other streams.
        """
        self.core.decide(self._begin)

    def _begin(self) -> None:
        record = self.core.base.last((self.stream,))[0]
        if record is None:
            self.position = None if self.after is None else position_in(self.core, self.after)
            self.identity, self.unsaved = os.urandom(8).hex(), 0
            self.version = self.core.append([self._progress(self.after or "", 0)])[0]
            return
        identity, streams = begun_with(self.core.envelope, self.stream, record)
        if streams != self.queue.streams:
            raise ValueError(
                f"the delivery {self.queue.name!r} was begun with kind={streams.kind!r} and prefix={streams.prefix!r}, "
                f"and not with kind={self.queue.streams.kind!r} and prefix={self.queue.streams.prefix!r}: give it "
                "another name, and after= where it should begin"
            )
        self.identity, self.version = identity, record.version
        self.position = position_in(self.core, record.item) if record.item else None
        self.unsaved = 0

    def search(self) -> bool:
        """Read on in the log, and return whether there may be more to read."""
        try:
            return self._search()
        except StoreConflictError:  # another worker has put the same streams into the queue
            self.queue_changed = True
            return True

    def _search(self) -> bool:
        record = self.core.base.last((self.stream,))[0]
        if record is None or record.version != self.version:
            self._begin()
            self.queue_changed = True
        found, position, scanned, more = self._scan()
        added = self._additions(found)
        if added or self.unsaved + scanned >= _SCANNED:
            checkpoint = "" if position is None else f"{mark_of(self.core)}-{self.core.base.checkpoint(position)}"
            self.version = self.core.append([self._progress(checkpoint, self.version), *added])[0]
            self.unsaved, self.queue_changed = 0, self.queue_changed or bool(added)
        else:
            self.unsaved += scanned
        self.position = position
        return more

    def _scan(self) -> tuple[dict[Stream, tuple[int, int]], Position | None, int, bool]:
        """Return the streams with new records, and the versions of the first and the last of these.

        Return also where the look ended, how many records were read, and whether there may be more.
        """
        found: dict[Stream, tuple[int, int]] = {}
        own = {due_kind(self.queue.name, kind) for kind in KINDS}
        position, scanned = self.position, 0
        for position, stream, record in self.core.base.follow(self.position):  # it is returned
            scanned += 1
            if self.queue.streams.has(stream):
                found[stream] = (found.get(stream, (record.version,))[0], record.version)
            elif stream.kind in own:
                self.queue_changed = True
            if len(found) >= _FOUND or scanned >= _SCANNED:
                return found, position, scanned, True
        return found, position, scanned, False

    def _additions(self, found: dict[Stream, tuple[int, int]]) -> list[Batch]:
        """Return batches that put streams into the queue, but for those that are in it, or were delivered."""
        added = []
        for (stream, (first, last)), stored in zip(found.items(), self.queue.leases(list(found)), strict=True):
            if stored is None:
                added.append(self.queue.batch(stream, Lease(first - 1), 0))
            elif not stored.is_due and stored.lease.cursor < last:
                added.append(self.queue.batch(stream, stored.lease, stored.version))
        return added

    def _progress(self, checkpoint: str, expect: int) -> Batch:
        kind, prefix, _ = self.queue.streams
        words = {"id": self.identity, "kind": kind, "prefix": prefix}
        entry = self.core.envelope.entry(self.stream, DELIVER, note_body(words), item=checkpoint, start=0, end=0)
        return Batch(self.stream, (entry,), now(), expect, replace=True)


def begun_with(envelope: Envelope, stream: Stream, record: Record) -> tuple[str, StreamFilter]:
    """Return the identity of a delivery, and its streams, as the record of its checkpoint holds them.

    Raises:
        StorePayloadError: it can't be opened, or a newer rstore wrote it.
    """
    envelope.check_op(stream, record, (DELIVER,))
    words: dict[str, Any] = envelope.words(stream, record)
    try:
        identity, kind, prefix = words.pop("id"), words.pop("kind"), words.pop("prefix")
        streams = stream_filter(kind, prefix)
        if words or not isinstance(identity, str):
            raise ValueError(f"its words are {', '.join(words)}")
    except (KeyError, TypeError, ValueError) as exc:
        detail = "it is no checkpoint of a delivery: it was damaged, or a newer rstore wrote it"
        raise envelope.error(stream, detail) from exc
    return identity, streams
