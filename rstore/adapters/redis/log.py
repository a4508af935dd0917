"""The log in Redis or Valkey.

What is stored is described in ``keys.py``. Writes are scripts (``write.py``, ``scripts.py``), each atomic.
Reads are plain commands, and hold no lock (``snapshot.py``).

On a cluster a namespace has several partitions, which may be on different nodes (``cluster/router.py``). A write to
more than one of them is a transaction (``cluster/two_phase.py``). Readers ask all of them at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import merge
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Final, TypeAlias

from rstore.adapters.redis.as_of import At, last_of, newest_by_reads, newest_by_script
from rstore.adapters.redis.cluster.router import Servers, connect
from rstore.adapters.redis.cluster.two_phase import Transactions
from rstore.adapters.redis.codec import HEAD_END, MAX_NUMBER, StoredHead, stored_number, unpack_head
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.dsn import Server
from rstore.adapters.redis.feed import PAGE_BYTES, Place, feed
from rstore.adapters.redis.keys import Partition, partition_of, stream_name, stream_named
from rstore.adapters.redis.namespace import create_partitions, discard, find_partitions, list_namespaces
from rstore.adapters.redis.node import Request, Run
from rstore.adapters.redis.replay import replay_by_reads, replay_by_script
from rstore.adapters.redis.scripts import ADVANCE
from rstore.adapters.redis.snapshot import Snapshot, head_of
from rstore.adapters.redis.write import Call, Clock, Restoring, Write
from rstore.domain.checkpoints import dotted, number, undotted
from rstore.domain.errors import FrozenStoreError, StoreClosedError, StoreNotAvailableError
from rstore.domain.log import (
    EVERYTHING,
    PRESENT,
    Batch,
    Copy,
    Head,
    Position,
    Query,
    Reclaimed,
    Record,
    Replay,
    ReplayQuery,
    Rewrite,
)
from rstore.domain.paging import within
from rstore.domain.rules import head_then, merged_copies
from rstore.domain.streams import KV, Stream
from rstore.domain.waiting import wait_for_change

__all__ = ["RedisLog", "Server"]

_PAGE: Final = 256
_FIRST_PAGE: Final = 16
_LOOK_SECONDS: Final = 0.05
_SHARE_BYTES: Final = PAGE_BYTES // 8  # for each of many feeds that are merged
_ABOVE: Final = b"\xff"
_MOST_RESTORED: Final = MAX_NUMBER // 2  # so that there is room for what comes after it

_Shown: TypeAlias = Callable[[Servers, Sequence[At]], list[Head | None]]


class RedisLog:
    """A namespace in Redis."""

    instead_of_backup: Final = (
        "is backed up by BGSAVE and a copy of the RDB file of each server; "
        "or by 'rstore copy', which makes a SQLite file of a namespace"
    )

    def __init__(self, server: Server, namespace: str, frozen: bool) -> None:
        self._server, self._namespace, self._frozen = server, namespace, frozen
        self._ledger: Transactions | None = None
        self._partitions: list[Partition] = []
        self._clock = Clock()

    @property
    def name(self) -> str:
        return self._server.name

    def open(self) -> None:
        node = connect(self._server)
        try:
            node.check_server(Partition(self._namespace, 0), writing=not self._frozen)
            self._partitions = find_partitions(node, self._namespace) or self._create(node)
            ledger = Transactions(node, self._partitions, self._clock)
            if self._is_spread and not self._frozen:
                ledger.recover_all()
        except BaseException:
            node.close()
            raise
        self.close()
        self._ledger = ledger

    def _create(self, node: Servers) -> list[Partition]:
        if self._frozen:
            raise StoreNotAvailableError(
                f"no namespace {self._namespace!r} in {self.name} (open it with frozen=False to create it)"
            )
        partitions = [Partition(self._namespace, number) for number in range(node.partitions)]
        create_partitions(node, partitions)
        return partitions

    def close(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.servers.close()

    @property
    def _is_spread(self) -> bool:
        """Whether there are several partitions."""
        return len(self._partitions) > 1

    def _opened(self) -> Servers:
        ledger = self._ledger  # looked at once: another thread may close the log in between
        if ledger is None:
            raise StoreClosedError(self.name)
        return ledger.servers

    def _writable(self) -> Transactions:
        ledger = self._ledger
        if ledger is None:
            raise StoreClosedError(self.name)
        if self._frozen:
            raise FrozenStoreError(self.name)
        return ledger

    # -- write --------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        return self._write(batches)

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Reclaimed:
        saved = self._write(rewrites)
        return Reclaimed(sum(saved[::2]), sum(saved[1::2]))

    def _write(self, writes: Sequence[Write]) -> list[int]:
        """Write all or nothing, and return what the script says of each."""
        ledger = self._writable()
        if not writes:
            return []
        clock = self._clock if self._is_spread else None
        calls: dict[int, Call] = {}
        try:
            for index, write in enumerate(writes):
                partition = self._partition(write.stream)
                call = calls.get(partition.number)
                if call is None:
                    call = calls[partition.number] = Call(ledger.servers, partition, clock)
                call.add(index, write)
            in_order = [calls[number] for number in sorted(calls)]
            return _merged(in_order, ledger.write(in_order))
        except BaseException:
            for call in calls.values():
                call.forget()
            raise

    def restore(self, copies: Sequence[Copy]) -> None:
        ledger = self._writable()
        heads, records = merged_copies(copies, _MOST_RESTORED)
        writes: dict[Partition, dict[Stream, Restoring]] = {}
        for stream, copy in heads.items():
            writes.setdefault(self._partition(stream), {})[stream] = Restoring(copy, [])
        for place, (stream, record) in enumerate(records, 1):
            writes[self._partition(stream)][stream].records.append((place, record))
        # all partitions count from one number, so that positions are in the order of the records across them
        start = self._clock.n
        if self._is_spread:
            start = max([*self._lasts(ledger.servers), self._clock.n, *(copy.version for copy in heads.values())])
        for home, restoring in writes.items():
            self._restore(ledger, home, list(restoring.values()), start)

    def _restore(self, ledger: Transactions, home: Partition, restoring: Sequence[Restoring], start: int) -> None:
        """Restore what is of one partition, all or nothing, with positions after a start if there are several."""
        clock = Clock()
        clock.see(start)
        call = Call(ledger.servers, home, clock if self._is_spread else None)
        try:
            for index, each in enumerate(restoring):
                call.add(index, each)
            ledger.write([call])
        except BaseException:
            call.forget()
            raise
        self._clock.see(clock.n)

    def discard(self) -> None:
        discard(self._writable().servers, self._partitions)

    def vacuum(self) -> None:
        self._opened()  # Redis gives memory back by itself

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        node = self._opened()
        home = self._partition(stream)
        self._await_writers(query.until, [stream])
        head = head_of(node, home, stream)
        if head is None:
            return
        found = Snapshot(node, home, stream, head).select(query._replace(after=query.above(head.died)))
        for record in islice(filter(query.matches, found), query.limit):
            yield self._placed(stream, record)
            node.check_open()

    def replay(self, stream: Stream, query: ReplayQuery = PRESENT) -> Replay | None:
        replay = replay_by_reads if self._frozen else replay_by_script
        self._await_writers(query.until, [stream])
        found = replay(self._opened(), self._partition(stream), stream, query)
        if found is None or not self._is_spread:
            return found
        head, snapshot, records = found
        placed = [self._placed(stream, record) for record in records]
        return Replay(head, None if snapshot is None else self._placed(stream, snapshot), placed)

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        node = self._opened()
        if not streams:
            return []
        if room is not None and len(streams) > 1:
            streams = self._first_within(node, streams, room)
        self._await_writers(until, streams)
        places = self._places(streams)
        if until is not None and len(streams) == 1 and not self._frozen:  # in one round trip
            records = newest_by_script(node, places, until, whole=True)
        else:
            heads = list(map(unpack_head, self._packed_heads(node, streams)))
            earlier = {} if until is None else self._earlier(node, places, heads, until, whole=True)
            records = [
                earlier[index] if index in earlier else last_of(node, place, head)
                for index, (place, head) in enumerate(zip(places, heads, strict=True))
            ]
        return [
            None if record is None else self._placed(stream, record)
            for stream, record in zip(streams, records, strict=True)
        ]

    def _first_within(self, node: Servers, streams: Sequence[Stream], room: int) -> list[Stream]:
        """Return as many streams as have newest records of so many bytes together, and at least one."""
        places = self._places(streams)
        looks = [
            Request(home.slot, [(b"GETRANGE", home.head(stream), 0, HEAD_END), (b"STRLEN", home.head(stream))])
            for home, stream in places
        ]
        found = [(unpack_head(packed), length) for packed, length in node.ask_each(looks)]
        # the newest record of a key is behind its head, that of another stream among its records
        filed = [
            Request(home.slot, [(b"HSTRLEN", home.records(stream), head.newest)])
            for (home, stream), (head, length) in zip(places, found, strict=True)
            if head is not None and length <= HEAD_END + 1
        ]
        lengths = (length for (length,) in node.ask_each(filed))
        sizes = (0 if head is None else next(lengths) if length <= HEAD_END + 1 else length for head, length in found)
        return next(within(room, zip(streams, sizes, strict=True)))

    def _await_writers(self, until: int | None, streams: Sequence[Stream] | None = None) -> None:
        """Before streams, or all, are read as of a time, wait for whom they are promised to, and finish if he is dead.

        Of a write to several partitions, one part may be there and the others not. Who looks at a time that is over
        does not expect that to change. A frozen log could not finish it, and reads of the present save the round trip.
        """
        ledger = self._ledger
        if until is None or ledger is None or self._frozen or not self._is_spread:
            return
        if streams is None:
            ledger.await_prepared()
            return
        names: dict[Partition, list[bytes]] = {}
        for stream in streams:
            names.setdefault(self._partition(stream), []).append(stream_name(stream))
        ledger.await_prepared(names)

    def _earlier(
        self, node: Servers, places: Sequence[At], heads: Sequence[StoredHead | None], until: int, *, whole: bool
    ) -> dict[int, Record | None]:
        """Return of the streams that were written to since a time the newest record by then, by their number."""
        asked = {
            index: (place, head)
            for index, (place, head) in enumerate(zip(places, heads, strict=True))
            if head is not None and head.recorded > until
        }
        if self._frozen:
            return newest_by_reads(node, asked, until)
        found = newest_by_script(node, [place for place, _ in asked.values()], until, whole=whole)
        return dict(zip(asked, found, strict=True))

    def _places(self, streams: Sequence[Stream]) -> list[At]:
        return [(self._partition(stream), stream) for stream in streams]

    def _packed_heads(self, node: Servers, streams: Sequence[Stream]) -> list[bytes | None]:
        """Return the heads of streams, in one round trip to each server."""
        if len(streams) == 1:
            home = self._partition(streams[0])
            return node.at(home.slot).ask((b"GET", home.head(streams[0])))
        if not self._is_spread:
            (home,) = self._partitions
            (found,) = node.at(home.slot).ask((b"MGET", *map(home.head, streams)))
            return list(found)
        # not MGET: while a slot moves to another node, that has to wait until all of it is there
        homes = [self._partition(stream) for stream in streams]
        commands: dict[int, list[Command]] = {}
        for home, stream in zip(homes, streams, strict=True):
            commands.setdefault(home.slot, []).append((b"GET", home.head(stream)))
        answers = node.ask_each([Request(slot, each) for slot, each in commands.items()])
        heads = dict(zip(commands, map(iter, answers), strict=True))
        return [next(heads[home.slot]) for home in homes]

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        node, home = self._opened(), self._partition(stream)
        if until is not None:
            self._await_writers(until, [stream])
            (found,) = self._shown(node, [(home, stream)], until)
            return found
        head = unpack_head(*node.at(home.slot).ask((b"GETRANGE", home.head(stream), 0, HEAD_END)))
        return None if head is None else head.shown(stream)

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        node = self._opened()
        self._await_writers(until)
        low, high = b"[" + stream_name(Stream(kind, prefix)), b"(" + stream_name(Stream(kind, prefix)) + _ABOVE
        if after is not None and after >= prefix:
            low = b"(" + stream_name(Stream(kind, after))
        listing = _Listing(node, high, live=live and until is None, shown=partial(self._shown, until=until))
        firsts = listing.pages([(home, low) for home in self._partitions], _FIRST_PAGE)
        each = [listing.heads(home, page) for home, page in zip(self._partitions, firsts, strict=True)]
        for head in merge(*each, key=attrgetter("stream.key")) if self._is_spread else each[0]:
            if head.live or not live:
                yield head
                node.check_open()

    def _shown(self, node: Servers, places: Sequence[At], until: int | None) -> list[Head | None]:
        """Return the heads of streams, or those of a time; None of one that is gone, or was not there."""
        looks = [Request(home.slot, [(b"GETRANGE", home.head(stream), 0, HEAD_END)]) for home, stream in places]
        heads = [unpack_head(packed) for (packed,) in node.ask_each(looks)]
        if until is None:
            return [head and head.shown(stream) for head, (_, stream) in zip(heads, places, strict=True)]
        earlier = self._earlier(node, places, heads, until, whole=False)
        return [
            head and _head_then(stream, head, earlier.get(index, head))
            for index, (head, (_, stream)) in enumerate(zip(heads, places, strict=True))
        ]

    def count(self, kind: str) -> int:
        node, low = self._opened(), stream_name(Stream(kind, ""))
        edges = b"[" + low, b"(" + low + _ABOVE
        answers = node.ask_each([Request(each.slot, [(b"ZLEXCOUNT", each.live, *edges)]) for each in self._partitions])
        return sum(int(number) for (number,) in answers)

    def namespaces(self) -> list[str]:
        return list_namespaces(self._opened())

    def _partition(self, stream: Stream) -> Partition:
        number = len(self._partitions)
        return self._partitions[0 if number == 1 else partition_of(stream.key, number)]

    def _placed(self, stream: Stream, record: Record) -> Record:
        """Return a record with its position among those of all partitions, if there are several."""
        if not self._is_spread:
            return record
        n = number(record.position)
        self._clock.see(n)
        return record._replace(position=Place(n, self._partition(stream).number))

    # -- follow -------------------------------------------------------------------------------------------------------

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        # a script gives out positions and adds to the feed at once, so what comes later has a greater one
        node = self._opened()
        yield from self._follow_all(node, after) if self._is_spread else self._follow_one(node, number(after))

    def wait(self, after: Position | None, seconds: float) -> bool:
        node = self._opened()
        if self._is_spread:  # nobody can block on the feeds of several nodes
            look = partial(self._given_out, node)
            return wait_for_change(look, partial(self.follow, after), time.sleep, seconds, _LOOK_SECONDS, _LOOK_SECONDS)
        (home,) = self._partitions
        milliseconds = max(1, int(1000 * min(seconds, node.server.timeout / 2)))
        block = b"XREAD", b"COUNT", 1, b"BLOCK", milliseconds, b"STREAMS", home.feed, b"%d" % number(after)
        (found,) = node.at(home.slot).ask(block)
        return found is not None

    def checkpoint(self, position: Position) -> str:
        if isinstance(position, Place):
            return dotted((position.n, position.partition, *position.seen))
        return dotted((number(position),))

    def position(self, checkpoint: str) -> Position:
        if not self._is_spread:
            return undotted(checkpoint, 1)[0]
        n, partition, *seen = undotted(checkpoint, 2, 2 + len(self._partitions))
        return Place(n, partition, tuple(seen))

    def _follow_one(self, node: Servers, after: int) -> Iterator[tuple[Position, Stream, Record]]:
        (home,) = self._partitions
        ((last,),) = node.at(home.slot).ask((b"HMGET", home.meta, b"n"))
        if last is None:
            return
        for stream, record in feed(node.at(home.slot), home, after, stored_number(last), PAGE_BYTES):
            yield record.position, stream, record
            node.check_open()

    def _follow_all(self, node: Servers, after: Position | None) -> Iterator[tuple[Position, Stream, Record]]:
        """Merge the feeds of all partitions.

        A log that may write first lets all partitions give out only greater positions than there are: so the order in
        which records are seen is that of their positions for ever. A frozen one can't, and what is written at the same
        time may be seen in another order than by others; it misses nothing either, since positions say what was seen.
        """
        lasts = self._lasts(node)
        seen = [after.after(each) if isinstance(after, Place) else 0 for each in range(len(lasts))]
        feeds = [
            _numbered(each.number, feed(node.at(each.slot), each, low, last, _SHARE_BYTES))
            for each, low, last in zip(self._partitions, seen, lasts, strict=True)
            if last > low
        ]
        for n, partition, stream, record in merge(*feeds, key=itemgetter(0, 1)):
            seen[partition] = n
            position = Place(n, partition, tuple(seen))
            yield position, stream, record._replace(position=position)
            node.check_open()

    def _lasts(self, node: Servers) -> list[int]:
        """Return the last position that each partition gave out; 0 if it is not there."""
        answers = self._given_out(node)
        known = {each: stored_number(n) for each, (n,) in zip(self._partitions, answers, strict=True) if n is not None}
        highest = max(known.values(), default=0)
        self._clock.see(highest)
        if not self._frozen:
            behind = [each for each, last in known.items() if last < highest]
            node.query_each([Run(each.slot, ADVANCE, (each.meta,), (b"%d" % highest,)) for each in behind])
            known = dict.fromkeys(known, highest)
        return [known.get(each, 0) for each in self._partitions]

    def _given_out(self, node: Servers) -> list[list[bytes | None]]:
        node.check_open()
        return node.ask_each([Request(each.slot, [(b"HGET", each.meta, b"n")]) for each in self._partitions])


def _merged(calls: Sequence[Call], answers: Sequence[Sequence[int]]) -> list[int]:
    """Return the answers to calls, each about some of the writes, in the order of the writes."""
    if len(answers) == 1:
        return list(answers[0])
    by_index: list[tuple[int, Sequence[int]]] = []
    for call, answer in zip(calls, answers, strict=True):
        width = len(answer) // len(call.indices)  # one number for each batch, two for each rewrite
        by_index += [(index, answer[at * width : (at + 1) * width]) for at, index in enumerate(call.indices)]
    return [number for _, numbers in sorted(by_index) for number in numbers]


class _Listing:
    """The pages of streams by name, up to ``high``, of one or more partitions, and what is shown of them."""

    def __init__(self, node: Servers, high: bytes, *, live: bool, shown: _Shown) -> None:
        self._node, self._high, self._live, self._shown = node, high, live, shown

    def heads(self, home: Partition, first: list[tuple[bytes, Head | None]]) -> Iterator[Head]:
        """Yield the heads of a partition whose first page is given."""
        page, size = first, _FIRST_PAGE
        while True:
            yield from (head for _, head in page if head is not None)
            if len(page) < size:
                return
            size = _PAGE
            (page,) = self.pages([(home, b"(" + page[-1][0])], size)

    def pages(self, starts: Sequence[tuple[Partition, bytes]], size: int) -> list[list[tuple[bytes, Head | None]]]:
        """Return for partitions and lower edges a page of each: names, and heads unless they are gone."""
        listed = self._node.ask_each(
            [
                Request(
                    home.slot,
                    [(b"ZRANGE", home.live if self._live else home.all, low, self._high, b"BYLEX", b"LIMIT", 0, size)],
                )
                for home, low in starts
            ]
        )
        places = [
            (home, stream_named(name)) for (home, _), (names,) in zip(starts, listed, strict=True) for name in names
        ]
        heads = iter(self._shown(self._node, places))
        return [[(name, next(heads)) for name in names] for (names,) in listed]


def _head_then(stream: Stream, head: StoredHead, newest: StoredHead | Record | None) -> Head | None:
    """Return a head as it was by its newest record of then, if that is not the newest of all."""
    if isinstance(newest, Record):
        return head_then(stream, newest.version, newest.op)
    if newest is None or not head.newest:
        return None
    return Head(stream, head.newest, 0, stream.kind != KV or bool(head.live))


def _numbered(partition: int, feed: Iterable[tuple[Stream, Record]]) -> Iterator[tuple[int, int, Stream, Record]]:
    return ((number(record.position), partition, stream, record) for stream, record in feed)
