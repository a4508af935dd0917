"""Writes that are appended together: a log that keeps them in memory until then, and shows them to its own reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import islice, takewhile
from operator import attrgetter
from typing import Final, NamedTuple

from attrs import Factory, define, evolve

from rstore.domain.errors import StoreConflictError, StoreError
from rstore.domain.log import (
    EVERYTHING,
    UNPLACED,
    VERSION_MAX,
    Batch,
    Entry,
    Head,
    Log,
    Position,
    Query,
    Record,
    Replay,
    ReplayQuery,
)
from rstore.domain.rules import check_expected, head_then
from rstore.domain.streams import KV, SS, Stream

PROVISIONAL: Final = VERSION_MAX + 1
"""Versions from here on are those of records that are not appended yet: above all that a log gives out."""

_BY_TIME: Final = attrgetter("start", "version")
_PENDING: Final = "pending"


class Pending(NamedTuple):
    """The position of a record that is not appended yet: after all that is stored, in the order of its versions."""

    stored: Position | None
    version: int


@define
class _Written:
    """The pending writes of a stream: records with provisional versions. ``replaced``: they replace earlier ones."""

    records: list[Record] = Factory(list)
    live: bool = True
    replaced: bool = False

    def entries(self) -> list[Entry]:
        return [Entry(*record[3:]) for record in self.records]


class Transaction:
    """A log above another one, which holds the writes for it until they are appended together.

    No writer waits for another. When the writes are appended, each stream that was read has to be at the version that
    was seen: otherwise nothing is stored. Streams that were only written to may have moved, and so may those that were
    listed or counted.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._written: dict[Stream, _Written] = {}
        self._seen: dict[Stream, int] = {}
        self._given_out = PROVISIONAL
        self._replacing = False

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Let the records of keys that are written inside take the places of all earlier ones."""
        before, self._replacing = self._replacing, True
        try:
            yield
        finally:
            self._replacing = before

    def batches(self, recorded: int) -> list[Batch]:
        """Return the batches to append: the writes, and a check of each stream that was only read.

        Reads of one stream alone fit together anyway.
        """
        if not self._written and len(self._seen) < 2:
            return []
        writes = [
            Batch(stream, done.entries(), recorded, self._seen.get(stream), done.live, done.replaced)
            for stream, done in self._written.items()
        ]
        read_only = [(stream, version) for stream, version in self._seen.items() if stream not in self._written]
        return writes + [Batch(stream, (), recorded, version, if_live=True) for stream, version in read_only]

    def check_seen(self) -> None:
        """Raise StoreConflictError if a stream that was read has moved since: the reads may not fit together."""
        for stream in tuple(self._seen):
            self._see(stream, self._log.head(stream))

    def mark(self) -> dict[Stream, _Written]:
        """Return a mark, to which :meth:`go_back` goes back."""
        return {stream: evolve(written, records=written.records.copy()) for stream, written in self._written.items()}

    def go_back(self, mark: dict[Stream, _Written]) -> None:
        """Forget the writes since a mark."""
        self._written = mark

    def origin(self, stream: Stream) -> tuple[int, int]:
        """Return the version at which a stream was found, and how many records are to follow it."""
        written = self._written.get(stream, _Written())
        return self._seen.get(stream, 0), len(written.records)

    def newest(self, stream: Stream) -> int | None:
        """Return the version of the last record that was written to a stream, None if there is none."""
        written = self._written.get(stream)
        return written.records[-1].version if written and written.records else None

    # -- write --------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        drained = [(batch, list(batch.entries)) for batch in batches]
        for batch, _ in drained:
            if batch.expect is not None:
                check_expected(batch, self._version(batch.stream), 0)
        return [self._add(batch, entries) for batch, entries in drained]

    def _add(self, batch: Batch, entries: list[Entry]) -> int:
        stream = batch.stream
        if stream.kind == SS and any(int(entry.item) >= PROVISIONAL for entry in entries):
            return 0  # it folds events that have no version yet: the next snapshot will do
        if batch.if_live and not (entries and self._is_live(stream)):  # without entries, it has only checked
            return self._version(stream)
        if batch.replace or (self._replacing and stream.kind == KV):
            self._written[stream] = _Written(replaced=True)
        written = self._written.setdefault(stream, _Written())
        written.records += [self._record(batch, entry) for entry in entries]
        written.live = batch.live
        return self._version(stream)

    def _record(self, batch: Batch, entry: Entry) -> Record:
        self._given_out += 1
        return Record(self._given_out, UNPLACED, batch.recorded, *entry)

    def _is_live(self, stream: Stream) -> bool:
        head = self.head(stream)
        return head is not None and head.live

    def _version(self, stream: Stream) -> int:
        """Return the version of a stream as a writer in this transaction sees it."""
        newest = self.newest(stream)
        if newest is not None:
            return newest
        if stream not in self._seen:
            self._see(stream, self._log.head(stream))
        return self._seen[stream]

    def _see(self, stream: Stream, found: Head | Record | None) -> None:
        """Note at which version a stream is.

        Raises:
            StoreConflictError: it has moved since it was read before.
        """
        version = found.version if found else 0
        seen = self._seen.setdefault(stream, version)
        if seen != version:
            raise StoreConflictError(*stream, seen, version)

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        written = self._written.get(stream, _Written())
        own = sorted(query.matching(written.records), key=_BY_TIME, reverse=query.reverse)
        stored: Iterable[Record] = ()
        if not written.replaced and query.after < PROVISIONAL:
            self._see(stream, self._log.head(stream))
            stored = self._log.read(stream, query)
        yield from islice(merge(stored, own, key=_BY_TIME, reverse=query.reverse), query.limit)

    def replay(self, queries: Sequence[ReplayQuery], room: int | None = None) -> list[Replay | None]:
        asked = [each for each in queries if each.query.after < PROVISIONAL]
        stored = deque(self._log.replay(asked, room) if asked else ())
        replays = list[Replay | None]()
        for each in queries:
            is_asked = each.query.after < PROVISIONAL
            if is_asked and not stored:  # the log has answered fewer, since they are large
                break
            replays.append(self._replayed(each, stored.popleft() if is_asked else None))
        return replays

    def _replayed(self, asked: ReplayQuery, stored: Replay | None) -> Replay | None:
        """Return the stored records of a stream together with those that were written here."""
        stream, query, _ = asked
        if query.after < PROVISIONAL:
            self._see(stream, stored and stored.head)
        written = self._written.get(stream)
        if written is None:
            return stored
        kept = stored.records if stored and not written.replaced else ()
        records = sorted([*kept, *query.matching(written.records)], key=_BY_TIME, reverse=query.reverse)
        snapshot = stored.snapshot if stored else None
        return Replay(self._head(stream, written), snapshot, records[: query.limit])

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        own = {stream: self._last(stream, until) for stream in streams}
        others = [stream for stream in streams if own[stream] is None]
        for stream in others:
            if stream.kind != KV:
                self._see(stream, self._log.head(stream))
        # of fewer, if they are large
        stored = dict(zip(others, self._log.last(others, until, room) if others else (), strict=room is None))
        for stream, record in stored.items():
            if stream.kind == KV and until is None:  # whose head is at its last record
                self._see(stream, record)
        return [own[each] or stored[each] for each in takewhile(lambda each: own[each] or each in stored, streams)]

    def _last(self, stream: Stream, until: int | None) -> Record | None:
        records = reversed(self._written.get(stream, _Written()).records)
        return next((record for record in records if until is None or record.recorded <= until), None)

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        if until is not None:
            return self._head_then(stream, until) or self._log.head(stream, until)
        written = self._written.get(stream)
        if written is not None:
            return self._head(stream, written)
        head = self._log.head(stream)
        self._see(stream, head)
        return head

    def _head(self, stream: Stream, written: _Written) -> Head:
        end = written.records[-1].end if written.records and stream.kind == KV else 0
        return Head(stream, self._version(stream), 0, written.live, end=end)

    def _head_then(self, stream: Stream, until: int) -> Head | None:
        last = self._last(stream, until)
        return None if last is None else head_then(stream, last.version, last.op, last.end)

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        found = {
            stream: self._head(stream, written) if until is None else self._head_then(stream, until)
            for stream, written in self._written.items()
            if stream.kind == kind and stream.key.startswith(prefix) and (after is None or stream.key > after)
        }
        own = {stream: head for stream, head in found.items() if head is not None}
        shown = sorted((head for head in own.values() if head.live or not live), key=attrgetter("stream.key"))
        stored = self._log.heads(kind, prefix, live=live, after=after, until=until)
        return merge((head for head in stored if head.stream not in own), shown, key=attrgetter("stream.key"))

    def counts(self, kinds: Sequence[str]) -> list[int]:
        return [stored + self._more_of(kind) for kind, stored in zip(kinds, self._log.counts(kinds), strict=True)]

    def _more_of(self, kind: str) -> int:
        own = {stream: written.live for stream, written in self._written.items() if stream.kind == kind}
        stored = (self._log.head(stream) for stream in own)
        return sum(own.values()) - sum(head.live for head in stored if head)

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        """Yield the stored records and then the pending ones. Stored records that pending ones replace are left out."""
        last, least = (after.stored, after.version) if isinstance(after, Pending) else (after, 0)
        for position, stream, record in self._log.follow(last):
            last = position
            if not self._written.get(stream, _Written()).replaced:
                yield position, stream, record
        own = [(stream, record) for stream, written in self._written.items() for record in written.records]
        for stream, record in sorted(own, key=lambda found: found[1].version):
            if record.version > least:
                yield Pending(last, record.version), stream, record

    def wait(self, after: Position | None, seconds: float) -> bool:
        return self._log.wait(after.stored if isinstance(after, Pending) else after, seconds)

    def checkpoint(self, position: Position) -> str:
        if isinstance(position, Pending):
            return f"{_PENDING}-{position.version - PROVISIONAL}"
        return self._log.checkpoint(position)

    def position(self, checkpoint: str) -> Position:
        check_stored(checkpoint)
        return self._log.position(checkpoint)


def check_stored(checkpoint: str) -> None:
    """Raise if a checkpoint is that of a record which a transaction had written, and which was not stored yet.

    Raises:
        ValueError: it is; nothing can go on after it.

    >>> check_stored('pending-1')
    Traceback (most recent call last):
        ...
    ValueError: 'pending-1' is of a change that its transaction had not stored yet: go on after one that is stored
    """
    if checkpoint.startswith(_PENDING):
        problem = "is of a change that its transaction had not stored yet: go on after one that is stored"
        raise ValueError(f"{checkpoint[:60]!r} {problem}")


def unerasable() -> StoreError:
    """Return the error of an operation that erases, in a transaction."""
    return StoreError("what is erased can't be part of a transaction: prune, compact or discard before it or after it")
