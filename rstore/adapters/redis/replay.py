"""The snapshots and records that event states are folded from, each state's in one consistent read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any, Final, TypeAlias

from rstore.adapters.redis.codec import packed_time, stored_head, unpack_head, unpack_record
from rstore.adapters.redis.connection import Command
from rstore.adapters.redis.errors import damaged
from rstore.adapters.redis.keys import Location
from rstore.adapters.redis.node import Request, Run
from rstore.adapters.redis.opened import Opened
from rstore.adapters.redis.scripts import REPLAY_EACH
from rstore.adapters.redis.snapshot import Owner, Snapshot
from rstore.domain.log import Query, Replay, ReplayQuery
from rstore.domain.paging import size_of
from rstore.domain.rules import folded_version, is_tail
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import SS, Stream

_Ask: TypeAlias = Callable[[Sequence[ReplayQuery]], list[Replay | None]]

_FIRST: Final = 4
"""So many streams are read at first where their sizes are not known beforehand."""
_PAGE: Final = 16
"""So many records of one stream are read at first."""


def replays(opened: Opened, queries: Sequence[ReplayQuery], room: int | None) -> list[Replay | None]:
    """Return the replays that ``Log.replay`` promises."""
    if opened.frozen or not all(is_tail(query.query) for query in queries):
        found = _few_first(partial(_by_reads, opened), queries, room)
    elif opened.servers.partitions == 1:
        found = _by_scripts(opened, [_run(opened, queries, room)], queries)
    else:
        found = _few_first(partial(_one_by_one, opened), queries, room)
    if not opened.is_spread:
        return found
    return [replay and _placed(opened, query, replay) for query, replay in zip(queries, found, strict=False)]


def _placed(opened: Opened, query: ReplayQuery, found: Replay) -> Replay:
    placed = partial(opened.placed, opened.locate(query.stream).partition)
    return Replay(found.head, found.snapshot and placed(found.snapshot), list(map(placed, found.records)))


def _few_first(read: _Ask, queries: Sequence[ReplayQuery], room: int | None) -> list[Replay | None]:
    """Read few streams at first, and then as many as should fit if they are as large as those before."""
    if room is None:
        return read(queries)
    found, size = list[Replay | None](), _FIRST
    while size > 0 and len(found) < len(queries):
        found += read(queries[len(found) : len(found) + size])
        taken = sum(map(size_of, found))
        size = min(4 * len(found), (room - taken) * len(found) // (taken or 1))
    return found


def _one_by_one(opened: Opened, queries: Sequence[ReplayQuery]) -> list[Replay | None]:
    """Run a script for each stream: it waits until all of its keys are there, while a slot moves to another node."""
    return _by_scripts(opened, [_run(opened, (query,), None) for query in queries], queries)


def _by_scripts(opened: Opened, runs: Sequence[Run], queries: Sequence[ReplayQuery]) -> list[Replay | None]:
    """Ask in one round trip to each server."""
    opened.servers.check_open()
    answers = chain.from_iterable(opened.servers.query_each(runs))
    return [answer and _unpacked(query, *answer) for query, answer in zip(queries, answers, strict=False)]


def _run(opened: Opened, queries: Sequence[ReplayQuery], room: int | None) -> Run:
    keys: list[bytes] = []
    args = [b"" if room is None else b"%d" % room]
    for stream, query, horizon in queries:
        partition, snapshots = opened.locate(stream).partition, Stream(SS, stream.key)
        keys += (*partition.current(stream), partition.records(snapshots), partition.spans(snapshots))
        times = query.end, min(query.end, horizon or 0), TIME_MAX if query.until is None else query.until
        args += (b"%d" % query.after if horizon is None else b"", *map(packed_time, times))
    return Run(partition.slot, REPLAY_EACH, keys, args)  # there is one query at least


def _unpacked(query: ReplayQuery, packed: bytes, found: bytes | None, *tail: bytes) -> Replay:
    head, snapshot = stored_head(packed), unpack_record(found) if found else None
    if folded_version(snapshot) > head.version:
        raise damaged()
    if not tail:
        return Replay(head.as_head(query.stream), snapshot, [])
    counted = query.query.matching(map(unpack_record, tail))
    return Replay(head.as_head(query.stream), snapshot, sorted(counted, key=attrgetter("start", "version")))


# -- by plain reads: a script needs more than permission to read, and knows no spans ----------------------------------


def _by_reads(opened: Opened, queries: Sequence[ReplayQuery]) -> list[Replay | None]:
    """Ask by plain reads: about many streams in as many round trips as about one."""
    servers = opened.servers
    deadline = time.monotonic() + servers.server.timeout
    located = [(opened.locate(query.stream), query) for query in queries]
    if len(located) == 1:
        return [_replay(servers.at(location.slot), query, location, deadline) for location, query in located]
    reads = [_Read(location, query, deadline) for location, query in located]
    while waiting := [read for read in reads if read.commands]:
        servers.check_open()
        answers = servers.ask_each([Request(read.location.slot, read.commands) for read in waiting])
        for read, replies in zip(waiting, answers, strict=True):
            read.go_on(replies)
    return [read.found for read in reads]


class _UnansweredError(Exception):
    """A read needs the replies to more commands."""

    def __init__(self, commands: Sequence[Command]) -> None:
        super().__init__()
        self.commands = commands


class _Read:
    """A read that stops where it needs more replies, and is done again from its beginning when it has them.

    So the reads of many streams go on together, and each is written as if it were alone. Rejected: threads, which cost
    more than they wait for; and generators, which the reader of a snapshot would have to be made of down to its pages.
    """

    def __init__(self, location: Location, query: ReplayQuery, deadline: float) -> None:
        self.location, self._query, self._deadline = location, query, deadline
        self._known: list[list[Any]] = []
        self._unused: Iterator[list[Any]] = iter(())
        self.commands: Sequence[Command] = ()
        """The commands that it waits for; none when it is done."""
        self.found: Replay | None = None
        self._advance()

    def ask(self, *commands: Command) -> list[Any]:
        """Return the replies to commands, if they are known."""
        replies = next(self._unused, None)
        if replies is None:
            raise _UnansweredError(commands)
        return replies

    def go_on(self, replies: list[Any]) -> None:
        """Read on with the replies to the commands."""
        self._known.append(replies)
        self._advance()

    def _advance(self) -> None:
        self._unused, self.commands = iter(self._known), ()
        try:
            self.found = _replay(self, self._query, self.location, self._deadline)
        except _UnansweredError as exc:
            self.commands = exc.commands


def _replay(owner: Owner, asked: ReplayQuery, location: Location, deadline: float) -> Replay | None:
    (stream, query, horizon), tried = asked, None
    snapshots = location._replace(stream=Stream(SS, stream.key))
    while True:
        heads = [location.head] if horizon is None else [location.head, snapshots.head]
        head, *of_snapshots = map(unpack_head, owner.ask(*((b"GET", key) for key in heads)))
        if head is None:
            return None
        shown, snapshot, seen = head.as_head(stream), None, Snapshot(owner, location, head)
        if horizon is None:
            if query.after == head.version:
                return Replay(shown, None, [])
            if head.is_before_gap(query.after) and not seen.has(query.after):
                return Replay(shown._replace(floor=head.version), None, [])
            if is_tail(query):
                return Replay(shown, None, seen.after(query))
            size = _PAGE if query.limit is None else max(1, min(query.limit, _PAGE))
            return Replay(shown, None, list(seen.matching(query, size)))
        if of_snapshots[0] is not None:
            newest = Query(end=min(query.end, horizon), until=query.until, reverse=True)
            snapshot = next(Snapshot(owner, snapshots, of_snapshots[0]).select(newest), None)
        folded = folded_version(snapshot)
        if folded <= head.version:
            return Replay(shown, snapshot, seen.after(query._replace(after=folded)))
        # it was made after a rewrite; if not, it has folded records that never were
        if tried == (head.version, head.generation) or time.monotonic() > deadline:
            raise damaged()
        tried = head.version, head.generation
