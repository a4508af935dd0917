"""The log in Redis or Valkey.

Its keys are described in ``keys.py``, the bytes in them in ``codec.py``. Writes are scripts (``write.py``, ``lua/``),
each atomic. Reads are plain commands, and hold no lock (``snapshot.py``).

On a cluster a namespace has several partitions, which may be on different nodes (``cluster/router.py``). A write to
more than one of them is a transaction (``two_phase.py``). Readers ask all of them at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from rstore.adapters.redis import feed
from rstore.adapters.redis.cluster.router import Servers, connect
from rstore.adapters.redis.codec import MAX_NUMBER, unpack_head
from rstore.adapters.redis.dsn import Server
from rstore.adapters.redis.heads import count_live, first_within, heads_of, listed, newest
from rstore.adapters.redis.keys import Partition
from rstore.adapters.redis.namespace import create_partitions, discard, find_partitions, list_namespaces
from rstore.adapters.redis.opened import Opened
from rstore.adapters.redis.positions import Clock, checkpoint_of, position_of
from rstore.adapters.redis.replay import replays
from rstore.adapters.redis.snapshot import Snapshot
from rstore.adapters.redis.write import Call, Restoring, Write
from rstore.domain.errors import FrozenStoreError, StoreClosedError
from rstore.domain.log import (
    EVERYTHING,
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
from rstore.domain.rules import merged_copies, no_namespace
from rstore.domain.streams import Stream
from rstore.domain.waiting import wait_for_change

__all__ = ["RedisLog", "Server"]

_LOOK_SECONDS: Final = 0.05
_MOST_RESTORED: Final = MAX_NUMBER // 2  # so that there is room for later versions


class RedisLog:
    """A namespace in Redis."""

    instead_of_backup: Final = (
        "is backed up by BGSAVE and a copy of the RDB file of each server; "
        "or by 'rstore copy', which makes a SQLite file of a namespace"
    )

    def __init__(self, server: Server, namespace: str, frozen: bool) -> None:
        self._server, self._namespace, self._frozen = server, namespace, frozen
        self._open: Opened | None = None
        self._clock = Clock()

    @property
    def name(self) -> str:
        return self._server.name

    # -- connect ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        servers = connect(self._server)
        try:
            servers.check_server(Partition(self._namespace, 0), writing=not self._frozen)
            partitions = find_partitions(servers, self._namespace) or self._create(servers)
            opened = Opened(servers, partitions, self._clock, frozen=self._frozen)
            if opened.is_spread and not self._frozen:
                opened.transactions.recover_all()
        except BaseException:
            servers.close()
            raise
        self.close()
        self._open = opened

    def _create(self, servers: Servers) -> list[Partition]:
        if self._frozen:
            raise no_namespace(self.name, self._namespace)
        partitions = [Partition(self._namespace, number) for number in range(servers.partitions)]
        create_partitions(servers, partitions)
        return partitions

    def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.servers.close()

    def _opened(self) -> Opened:
        opened = self._open  # looked at once: another thread may close the log in between
        if opened is None:
            raise StoreClosedError(self.name)
        return opened

    def _writable(self) -> Opened:
        opened = self._opened()
        if self._frozen:
            raise FrozenStoreError(self.name)
        return opened

    # -- append -------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Batch]) -> list[int]:
        return _written(self._writable(), batches, self._clock)

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Reclaimed:
        reclaimed = _written(self._writable(), rewrites, self._clock)
        return Reclaimed(sum(reclaimed[::2]), sum(reclaimed[1::2]))

    def restore(self, copies: Sequence[Copy]) -> None:
        opened = self._writable()
        heads, records = merged_copies(copies, _MOST_RESTORED)
        restoring = {stream: Restoring(copy, []) for stream, copy in heads.items()}
        for place, (stream, record) in enumerate(records, 1):
            restoring[stream].records.append((place, record))
        writes: dict[Partition, list[Restoring]] = {}
        for stream, each in restoring.items():
            writes.setdefault(opened.locate(stream).partition, []).append(each)
        # all partitions count from one number, so that positions are in the order of the records across them
        start = self._clock.n
        if opened.is_spread:
            start = max([*opened.leveled_positions(), self._clock.n, *(copy.version for copy in heads.values())])
        for of_partition in writes.values():  # each by itself, all or nothing
            clock = Clock(start)
            _written(opened, of_partition, clock)
            self._clock.see(clock.n)

    # -- read ---------------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, query: Query = EVERYTHING) -> Iterator[Record]:
        opened = self._opened()
        location = opened.locate(stream)
        owner = opened.servers.at(location.slot)
        opened.await_writers(query.until, [stream])
        head = unpack_head(*owner.ask((b"GET", location.head)))
        if head is None:
            return
        for record in Snapshot(owner, location, head).matching(query):
            yield opened.placed(location.partition, record)
            opened.servers.check_open()

    def replay(self, queries: Sequence[ReplayQuery], room: int | None = None) -> list[Replay | None]:
        opened = self._opened()
        if not queries:
            return []
        bounded = {each.stream: each.query.until for each in queries if each.query.until is not None}
        if bounded:
            opened.await_writers(max(bounded.values()), list(bounded))
        return replays(opened, queries, room)

    def last(self, streams: Sequence[Stream], until: int | None = None, room: int | None = None) -> list[Record | None]:
        opened = self._opened()
        if not streams:
            return []
        if room is not None and len(streams) > 1:
            streams = first_within(opened, streams, room)
        opened.await_writers(until, streams)
        return newest(opened, streams, until)

    # -- list ---------------------------------------------------------------------------------------------------------

    def head(self, stream: Stream, until: int | None = None) -> Head | None:
        opened = self._opened()
        at = opened.locate(stream)
        if until is not None:
            opened.await_writers(until, [stream])
        (found,) = heads_of(opened, [at], until)
        return found

    def heads(
        self, kind: str, prefix: str = "", *, live: bool = True, after: str | None = None, until: int | None = None
    ) -> Iterator[Head]:
        opened = self._opened()
        opened.await_writers(until)
        for head in listed(opened, kind, prefix, live=live, after=after, until=until):
            yield head
            opened.servers.check_open()

    def counts(self, kinds: Sequence[str]) -> list[int]:
        return count_live(self._opened(), kinds)

    def namespaces(self) -> list[str]:
        return list_namespaces(self._opened().servers)

    # -- erase --------------------------------------------------------------------------------------------------------

    def discard(self) -> None:
        opened = self._writable()
        discard(opened.servers, opened.partitions)

    def vacuum(self) -> None:
        self._opened()  # Redis gives memory back by itself

    # -- follow -------------------------------------------------------------------------------------------------------

    def follow(self, after: Position | None = None) -> Iterator[tuple[Position, Stream, Record]]:
        opened = self._opened()
        for found in feed.follow(opened, after):
            yield found
            opened.servers.check_open()

    def wait(self, after: Position | None, seconds: float) -> bool:
        opened = self._opened()
        if not opened.is_spread:
            return feed.wait(opened, after, seconds)
        # rejected: to block, since one command can't wait for the feeds of several nodes
        news = partial(self.follow, after)
        return wait_for_change(opened.last_positions, news, time.sleep, seconds, _LOOK_SECONDS, _LOOK_SECONDS)

    def checkpoint(self, position: Position) -> str:
        return checkpoint_of(position)

    def position(self, checkpoint: str) -> Position:
        return position_of(checkpoint, len(self._opened().partitions))


def _written(opened: Opened, writes: Sequence[Write], clock: Clock) -> list[int]:
    """Write all or nothing, and return the numbers that the script answers for each write."""
    if not writes:
        return []
    calls: dict[int, Call] = {}
    try:
        for index, write in enumerate(writes):
            partition = opened.locate(write.stream).partition
            call = calls.get(partition.number)
            if call is None:
                call = Call(opened.servers, partition, clock if opened.is_spread else None)
                calls[partition.number] = call
            call.add(index, write)
        in_order = [calls[number] for number in sorted(calls)]
        return _merged(in_order, opened.transactions.write(in_order))
    except BaseException:
        for call in calls.values():
            call.forget()
        raise


def _merged(calls: Sequence[Call], answers: Sequence[Sequence[int]]) -> list[int]:
    """Return the answers to calls, each about some of the writes, in the order of the writes."""
    if len(answers) == 1:
        return list(answers[0])
    by_index: list[tuple[int, Sequence[int]]] = []
    for call, answer in zip(calls, answers, strict=True):
        width = len(answer) // len(call.indices)  # one number for each batch, two for each rewrite
        by_index += [(index, answer[at * width : (at + 1) * width]) for at, index in enumerate(call.indices)]
    return [number for _, numbers in sorted(by_index) for number in numbers]
