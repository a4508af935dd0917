"""The log in memory: plain Python, and the reference that the other adapters are tested against."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice, takewhile
from operator import attrgetter, itemgetter
from typing import Final

from attrs import Factory, define, field

from rstore.domain.checkpoints import number, undotted
from rstore.domain.errors import StoreClosedError
from rstore.domain.log import (
    EVERYTHING,
    Batch,
    Copy,
    Entry,
    Head,
    Position,
    Query,
    Reclaimed,
    Record,
    Replay,
    ReplayQuery,
    Rewrite,
)
from rstore.domain.paging import fitting, within
from rstore.domain.rules import check_expected, folded_version, head_then, merged_copies, no_namespace
from rstore.domain.spans import level, reach
from rstore.domain.streams import KV, SS, Stream

_BY_RECORDED: Final = attrgetter("recorded")


@define
class _Records:
    """One stream: its records by version and in that order, and for each level their ``(start, version)`` in order.

    Records are only ever added to the dict. A rewrite makes a new one, so that readers keep the one they began with.
    """

    records: dict[int, Record] = Factory(dict)
    in_order: list[Record] = Factory(list)
    spans: dict[int, list[tuple[int, int]]] = Factory(dict)
    version: int = 0
    floor: int = 0
    died: int = 0
    live: bool = False

    def add(self, record: Record) -> None:
        self.records[record.version] = record
        self.in_order.append(record)
        insort(self.spans.setdefault(level(record.start, record.end), []), (record.start, record.version))

    def replace(self, records: Iterable[Record]) -> None:
        self.records, self.in_order, self.spans = {}, [], {}
        for record in sorted(records):
            self.add(record)

    def last(self, until: int | None = None) -> Record | None:
        number = len(self.in_order) if until is None else bisect_right(self.in_order, until, key=_BY_RECORDED)
        return self.in_order[number - 1] if number else None

    def newer(self, version: int, query: Query) -> Iterator[Record]:
        tail = takewhile(lambda record: record.version > version, reversed(self.records.values()))
        return iter(sorted(tail, key=attrgetter("start", "version"), reverse=query.reverse))

    def touching(self, query: Query) -> Iterator[Record]:
        found = []
        for of_level, spans in self.spans.items():
            low = bisect_left(spans, (reach(of_level, query.start), 0))
            high = bisect_right(spans, (query.end, self.version))
            found.append(spans[low:high][:: -1 if query.reverse else 1])
        return map(self.records.__getitem__, map(itemgetter(1), merge(*found, reverse=query.reverse)))


@define
class _Namespace:
    """The streams of a namespace, and how many of a kind are live.

    ``floor`` is the highest version of any stream that was forgotten. ``feed`` has the places of the records in the
    order of their positions, also of some records that were erased.
    """

    streams: dict[Stream, _Records] = Factory(dict)
    live: Counter[str] = Factory(Counter)
    floor: int = 0
    feed: list[tuple[int, Stream, int]] = Factory(list)
    erased: int = 0

    def record(self, stream: Stream, version: int) -> Record | None:
        """Return a record, unless it was erased."""
        records = self.streams.get(stream)
        return None if records is None else records.records.get(version)

    def erase(self, number: int) -> None:
        """Count records that were erased. When they are most of the feed, make a new one without them."""
        self.erased += number
        if 2 * self.erased > len(self.feed):
            self.feed = [place for place in self.feed if self.record(*place[1:])]
            self.erased = 0


@define(eq=False)
class Space:
    """The namespaces that several logs of one process share, as they would share a file."""

    namespaces: dict[str, _Namespace] = Factory(dict)
    position: int = 0
    floor: int = 0
    lock: threading.RLock = field(factory=threading.RLock, repr=False)
    written: threading.Condition = field(init=False, repr=False)

    @written.default
    def _written(self) -> threading.Condition:
        return threading.Condition(self.lock)


class MemoryLog:
    """A namespace of a :class:`Space`. Closing it forgets nothing: the space lives as long as a log refers to it."""

    instead_of_backup: Final = "has no file to be backed up: keep the store in a SQLite file"

    def __init__(self, space: Space, namespace: str, frozen: bool) -> None:
        self._space, self._namespace, self._frozen = space, namespace, frozen
        self._opened = False

    @property
    def name(self) -> str:
        return "memory://"

    # -- connect ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        with self._space.lock:
            if self._namespace not in self._space.namespaces:
                if self._frozen:
                    raise no_namespace(self.name, self._namespace)
                self._space.namespaces[self._namespace] = _Namespace(floor=self._space.floor)
            self._opened = True

    def close(self) -> None:
        self._opened = False

    # -- append -------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        with self._space.lock:
            namespace = self._writable()
            for batch in batches:
                _expect(namespace, batch)
            recorded = max((_recorded(namespace, batch) for batch in batches), default=0)
            # all entries are made before anything is changed: if one can't be, nothing is left behind
            drained = [(batch, list(batch.entries)) for batch in batches]
            versions = [self._append(namespace, batch, entries, recorded) for batch, entries in drained]
            self._space.written.notify_all()
            return versions

    def _append(self, namespace: _Namespace, batch: Batch, entries: list[Entry], recorded: int) -> int:
        known = namespace.streams.get(batch.stream, _Records())
        if batch.if_live and not known.live:
            return known.version
        stream = namespace.streams.setdefault(batch.stream, _Records(version=namespace.floor, floor=namespace.floor))
        if batch.replace:
            replaced = len(stream.records)
            stream.replace(())
            namespace.erase(replaced)
        for entry in entries:
            stream.version += 1
            self._space.position += 1
            stream.add(Record(stream.version, self._space.position, recorded, *entry))
            namespace.feed.append((self._space.position, batch.stream, stream.version))
        if batch.replace:
            stream.floor = stream.version
        if not batch.live:
            stream.died = stream.version
        namespace.live[batch.stream.kind] += batch.live - stream.live
        stream.live = batch.live
        return stream.version

    def restore(self, copies: Sequence[Copy]) -> None:
        heads, records = merged_copies(copies)
        with self._space.lock:
            namespace = self._writable()
            # a new stream begins at version 0, whatever was forgotten: versions come from elsewhere
            known = {stream: namespace.streams.setdefault(stream, _Records()) for stream in heads}
            for name, record in records:
                stream = known[name]
                if record.version > stream.version:
                    self._space.position += 1
                    stream.version = stream.floor = record.version
                    stream.add(record._replace(position=self._space.position))
                    namespace.feed.append((self._space.position, name, record.version))
            for name, copy in heads.items():
                stream = known[name]
                if copy.version >= stream.version:
                    stream.floor = stream.floor if copy.version == stream.version else copy.version
                    stream.version, stream.died = copy.version, copy.died
                    namespace.live[name.kind] += copy.live - stream.live
                    stream.live = copy.live
            self._space.written.notify_all()

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        with self._space.lock:
            found = self._streams().get(stream)
            if found is None:
                return
            above = query.above(found.died)
            records = found.newer(above, query) if above else found.touching(query)
        for record in islice(query.matching(records), query.limit):
            yield record
            self._check_open()

    def replay(self, queries: Sequence[ReplayQuery], room: int | None = None) -> list[Replay | None]:
        with self._space.lock:
            return fitting(room, map(self._replayed, queries))

    def _replayed(self, asked: ReplayQuery) -> Replay | None:
        stream, query, horizon = asked
        head, snapshot = self.head(stream), None
        if head is None:
            return None
        if horizon is not None:
            newest = Query(end=min(query.end, horizon), until=query.until, reverse=True, limit=1)
            snapshot = next(self.read(Stream(SS, stream.key), newest), None)
            query = query._replace(after=folded_version(snapshot))
        return Replay(head, snapshot, list(self.read(stream, query)))

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        with self._space.lock:
            found = map(self._streams().get, streams)
            lasts = [None if records is None else records.last(until) for records in found]
        return lasts if room is None else next(within(room, ((last, _size(last)) for last in lasts)), [])

    # -- list ---------------------------------------------------------------------------------------------------------

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        with self._space.lock:
            found = self._streams().get(stream)
            if found is None:
                return None
            last = found.last(until)
            if until is None:
                end = last.end if last and stream.kind == KV else 0
                return Head(stream, found.version, found.floor, found.live, found.died, end)
            return None if last is None else head_then(stream, last.version, last.op, last.end)

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        with self._space.lock:
            keys = sorted(
                stream.key
                for stream, found in self._streams().items()
                if stream.kind == kind
                and stream.key.startswith(prefix)
                and (found.live or not live or until is not None)
            )
        for key in keys[bisect_right(keys, after) if after is not None else 0 :]:
            head = self.head(Stream(kind, key), until)
            if head is not None and (head.live or not live):
                yield head
                self._check_open()

    def counts(self, kinds: Sequence[str]) -> list[int]:
        with self._space.lock:
            self._check_open()
            return [self._namespaced().live[kind] for kind in kinds]

    def namespaces(self) -> list[str]:
        with self._space.lock:
            self._check_open()
            return sorted(self._space.namespaces)

    # -- erase --------------------------------------------------------------------------------------------------------

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Reclaimed:
        with self._space.lock:
            namespace = self._writable()
            for rewrite in rewrites:
                _expect(namespace, rewrite)
            reclaimed = Reclaimed(0, 0)
            for rewrite, put in [(rewrite, list(rewrite.put)) for rewrite in rewrites]:
                reclaimed = reclaimed.plus(self._rewrite(namespace, rewrite, put))
            return reclaimed

    def _rewrite(self, namespace: _Namespace, rewrite: Rewrite, put: list[Record]) -> Reclaimed:
        stream = namespace.streams.get(rewrite.stream)
        if stream is None:
            return Reclaimed(0, 0)
        dropped = {version: record for version, record in stream.records.items() if version in rewrite.drop}
        live = stream.live if rewrite.live is None else rewrite.live
        if not dropped and live == stream.live and (live or stream.records):
            return Reclaimed(0, 0)
        kept = [record for version, record in stream.records.items() if version not in dropped]
        put = [record for record in put if record.version in dropped]  # a record that was erased does not come back
        stream.replace([*kept, *(record._replace(position=dropped[record.version].position) for record in put)])
        stream.died = min([stream.died, *(record.version - 1 for record in put)])
        if rewrite.bump_version:
            stream.version += 1
            stream.floor = stream.version
        namespace.live[rewrite.stream.kind] += live - stream.live
        stream.live = live
        if not stream.records and not live:
            namespace.floor = max(namespace.floor, stream.version)
            del namespace.streams[rewrite.stream]
        namespace.erase(len(dropped) - len(put))
        size = sum(len(record.data) for record in dropped.values()) - sum(len(record.data) for record in put)
        return Reclaimed(len(dropped) - len(put), size)

    def vacuum(self) -> None:
        self._check_open()

    def discard(self) -> None:
        with self._space.lock:
            versions = [found.version for found in self._streams().values()]
            self._space.floor = max(self._space.floor, *versions, self._writable().floor) + 1
            del self._space.namespaces[self._namespace]

    # -- follow -------------------------------------------------------------------------------------------------------

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        with self._space.lock:
            self._check_open()
            namespace = self._namespaced()
            feed = namespace.feed
            places = range(bisect_right(feed, number(after), key=itemgetter(0)), len(feed))
        for position, stream, version in map(feed.__getitem__, places):
            record = namespace.record(stream, version)
            if record is not None:
                yield position, stream, record
                self._check_open()

    def wait(self, after: Position | None, seconds: float) -> bool:
        with self._space.written:
            if next(self.follow(after), None) is not None:
                return True
            return self._space.written.wait(seconds)

    def checkpoint(self, position: Position) -> str:
        return str(number(position))

    def position(self, checkpoint: str) -> Position:
        return undotted(checkpoint, 1)[0]

    # -- the space ----------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._opened:
            raise StoreClosedError(self.name)

    def _streams(self) -> dict[Stream, _Records]:
        self._check_open()
        return self._namespaced().streams

    def _namespaced(self) -> _Namespace:
        return self._space.namespaces.get(self._namespace, _Namespace())

    def _writable(self) -> _Namespace:
        self._check_open()
        return self._space.namespaces.setdefault(self._namespace, _Namespace(floor=self._space.floor))


def _size(record: Record | None) -> int:
    return 0 if record is None else len(record.data) + len(record.meta or b"")


def _recorded(namespace: _Namespace, batch: Batch) -> int:
    stream = namespace.streams.get(batch.stream)
    last = stream.last() if stream else None
    return max(batch.recorded, last.recorded) if last else batch.recorded


def _expect(namespace: _Namespace, write: Batch | Rewrite) -> None:
    found = namespace.streams.get(write.stream, _Records())
    check_expected(write, found.version, found.floor)
