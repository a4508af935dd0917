"""What a Redis server has lost, by a restart or a failover, and others have seen: nobody may go on from it."""

from __future__ import annotations

import operator
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rstore import Store, StoreNotAvailableError
from rstore.adapters.dsn import open_log
from rstore.adapters.redis.codec import EPOCH_SIZE
from rstore.adapters.redis.keys import Partition, partition_of
from rstore.domain.log import Batch, Entry, Log, Query, ReplayQuery, Rewrite
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import ES, TS, Stream
from tests.support.proxy import Proxy
from tests.support.servers import HOST, Cluster, Valkey, wait_until

SECRET = "s3cret-w0rd"
KEY = "events"
S = Stream(TS, "series")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(stack: ExitStack, dsn: str, **options: Any) -> Store:
    return stack.enter_context(Store(dsn, **{"frozen": False, **options}))


def opened_log(stack: ExitStack, dsn: str, *, frozen: bool = False) -> Log:
    log = open_log(dsn)("default", frozen)
    log.open()
    stack.callback(log.close)
    return log


def write(log: Log, *starts: int, **options: Any) -> int:
    return log.append([Batch(S, [Entry(start, start, "", "extend", b"x") for start in starts], 1, **options)])[0]


def items(log: Log, after: Any = None) -> list[str]:
    """Return the items of the events that a follower sees."""
    return [record.item for _, stream, record in log.follow(after) if stream.kind == ES]


# -- servers that lose what they have acknowledged ---------------------------------------------------------------------


class Dumped:
    """A server that keeps what it had when it last saved a dump."""

    options: tuple[str, ...] = ()

    def __init__(self, stack: ExitStack) -> None:
        self.server = stack.enter_context(Valkey.start(*self.options))
        self.dsn = self.server.dsn

    def keep(self) -> None:
        self.server.command("SAVE")

    def lose(self) -> None:
        """Lose what came later."""
        self.server.kill()
        self.server.restart()


class Copied(Dumped):
    """A server whose append-only file is exchanged for an older one."""

    options = "--appendonly", "yes", "--appendfsync", "always"

    def keep(self) -> None:
        shutil.copytree(self.server.directory / "appendonlydir", self.server.directory / "copy")

    def lose(self) -> None:
        self.server.kill()
        shutil.rmtree(self.server.directory / "appendonlydir")
        self.keep_again()
        self.server.restart()

    def keep_again(self) -> None:
        shutil.copytree(self.server.directory / "copy", self.server.directory / "appendonlydir")


class Promoted:
    """A server whose replica is promoted, though it was not up to date; clients reach both by one address."""

    def __init__(self, stack: ExitStack) -> None:
        self.master = stack.enter_context(Valkey.start("--repl-diskless-sync-delay", "0"))
        self.replica = stack.enter_context(Valkey.start("--replicaof", HOST, str(self.master.port)))
        self.proxy = stack.enter_context(Proxy(self.master.port))
        self.dsn = f"redis://{HOST}:{self.proxy.port}/0"
        wait_until(lambda: self.master.command("INFO").get("slave0", {}).get("state") == "online", self.master)

    def keep(self) -> None:
        cut_off(self.master, self.replica)

    def lose(self) -> None:
        self.master.kill()
        self.replica.command("REPLICAOF", "NO", "ONE")
        self.proxy.lead_to(self.replica.port)


class PromotedInCluster:
    """A master of a cluster whose replica takes over, though it was not up to date."""

    def __init__(self, stack: ExitStack) -> None:
        self.cluster = stack.enter_context(Cluster.start(1, 1))
        self.dsn = f"redis+cluster://{HOST}:{self.cluster.nodes[0].port},{HOST}:{self.cluster.nodes[1].port}"

    def keep(self) -> None:
        cut_off(*self.cluster.nodes)

    def lose(self) -> None:
        master, replica = self.cluster.nodes
        self.cluster.kill(master)
        replica.command("CLUSTER", "FAILOVER", "TAKEOVER")
        wait_until(lambda: replica.command("ROLE")[0] == "master", replica)
        wait_until(lambda: replica.command("CLUSTER INFO")["cluster_state"] == "ok", replica)


def cut_off(master: Valkey, replica: Valkey) -> None:
    """Let a replica get what there is, and nothing that comes later."""
    end = int(master.command("INFO")["master_repl_offset"])
    wait_until(lambda: int(replica.command("INFO").get("slave_repl_offset", 0)) >= end, replica)
    master.command("ACL", "SETUSER", "default", "-psync", "-sync", "-replconf")  # where PSYNC is refused, it tries SYNC
    master.command("CLIENT", "KILL", "TYPE", "replica")
    wait_until(lambda: replica.command("INFO")["master_link_status"] == "down", replica)


LOSSES: dict[str, Callable[[ExitStack], Any]] = {
    "an older dump": Dumped,
    "an older append-only file": Copied,
    "a replica that was behind": Promoted,
    "a replica that was behind, in a cluster": PromotedInCluster,
}


@pytest.fixture(params=LOSSES)
def loser(request: pytest.FixtureRequest, stack: ExitStack) -> Any:
    return LOSSES[request.param](stack)


class Witness:
    """Stores and followers that have seen three events that are kept, and three that are lost."""

    def __init__(self, stack: ExitStack, loser: Any) -> None:
        self.store, self.reader = opened(stack, loser.dsn), opened(stack, loser.dsn)
        self.log = opened_log(stack, loser.dsn)
        for number in range(3):
            self.store.apply(KEY, {f"kept {number}": number})
        loser.keep()
        for number in range(3):
            self.store.apply(KEY, {f"lost {number}": number})
        self.frozen = opened(stack, loser.dsn, frozen=True)
        self.follower = opened_log(stack, loser.dsn, frozen=True)
        assert len(self.reader.current(KEY) or ()) == len(self.frozen.current(KEY) or ()) == 6
        self.checkpoints = [(log, list(log.follow())[-1][0]) for log in (self.log, self.follower)]
        loser.lose()

    def check(self, stack: ExitStack, dsn: str, expected: list[str]) -> None:
        """Check that all see these events, and the followers those of them that are new."""
        assert [event.item for event in opened(stack, dsn).events(KEY) or ()] == expected
        for store in (self.store, self.reader, self.frozen, opened(stack, dsn), opened(stack, dsn, frozen=True)):
            assert list(store.current(KEY) or ()) == expected
        new = [item for item in expected if not item.startswith("kept")]
        for log, checkpoint in self.checkpoints:
            assert items(log, checkpoint) == new
            assert items(log) == expected


KEPT = ["kept 0", "kept 1", "kept 2"]


@pytest.mark.parametrize("number", [0, 2, 3, 5])
def test_a_follower_of_lost_records_sees_those_that_came_instead(loser: Any, stack: ExitStack, number: int) -> None:
    """Also when that are just as many events."""
    witness = Witness(stack, loser)
    other = opened(stack, loser.dsn)
    for each in range(number):
        other.apply(KEY, {f"new {each}": each})
    witness.check(stack, loser.dsn, [*KEPT, *(f"new {each}" for each in range(number))])


@pytest.mark.parametrize("number", [0, 2, 3, 5])
def test_a_writer_builds_on_records_that_came_instead_of_lost_ones(loser: Any, stack: ExitStack, number: int) -> None:
    witness = Witness(stack, loser)
    other = opened(stack, loser.dsn)
    for each in range(number):
        other.apply(KEY, {f"new {each}": each})
    expected = [*KEPT, *(f"new {each}" for each in range(number))]
    for name, store in (("writer", witness.store), ("reader", witness.reader)):
        expected.append(name)
        assert list(store.apply(KEY, {name: 1})) == expected
    witness.check(stack, loser.dsn, expected)


def test_no_snapshot_has_what_was_lost(loser: Any, stack: ExitStack) -> None:
    witness = Witness(stack, loser)
    other = opened(stack, loser.dsn)
    for each in range(3):
        other.apply(KEY, {f"new {each}": each})
    witness.store.apply(KEY, {"n": 0})
    for _ in range(600):
        witness.store.apply(KEY, {"n": (operator.add, 1)})
    assert len(list(witness.log.read(Stream("ss", KEY)))) >= 2
    expected = {**{f"kept {i}": i for i in range(3)}, **{f"new {i}": i for i in range(3)}, "n": 600}
    for store in (opened(stack, loser.dsn), opened(stack, loser.dsn, frozen=True), witness.reader, witness.frozen):
        assert store.current(KEY) == expected


def test_a_lost_namespace_that_is_made_anew_begins_above_it(stack: ExitStack) -> None:
    """A server that keeps nothing comes back empty, as one that never had anything."""
    server = stack.enter_context(Valkey.start())
    store = opened(stack, server.dsn)
    for _ in range(2):
        log = opened_log(stack, server.dsn)
        for number in range(3):
            store.apply(KEY, {f"lost {number}": number})
        *_, (checkpoint, *_) = log.follow()
        server.kill()
        restart_later(server)
        for number in range(3):
            opened(stack, server.dsn).apply(KEY, {f"new {number}": number})
        assert list(store.current(KEY) or ()) == ["new 0", "new 1", "new 2"]
        assert items(log, checkpoint) == ["new 0", "new 1", "new 2"]
        store.discard()


def test_an_epoch_that_was_lost_itself_is_not_repeated(stack: ExitStack) -> None:
    loser = Dumped(stack)
    log = opened_log(stack, loser.dsn)
    write(log, 1)
    loser.keep()
    versions, checkpoint = [write(log, 2)], None
    for number in range(2):
        loser.lose()
        restart_later(loser.server)
        versions.append(write(log, 10 + number))
        assert [record.start for *_, record in log.follow(checkpoint)][-1] == 10 + number
        *_, (checkpoint, *_) = log.follow()
    assert versions == sorted(set(versions))


def test_a_server_that_is_a_replica_for_a_while_and_a_master_again_keeps_connections_but_no_trust(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rstore.adapters.redis.connection._FENCED_SECONDS", 0)
    one, other = (stack.enter_context(Valkey.start("--repl-diskless-sync-delay", "0")) for _ in range(2))
    other.command("REPLICAOF", HOST, one.port)
    wait_until(lambda: one.command("INFO").get("slave0", {}).get("state") == "online", one)
    opened(stack, f"{one.dsn}?replicas=1").apply(KEY, {"kept": 1})
    store, reader = opened(stack, one.dsn), opened(stack, one.dsn)
    other.command("REPLICAOF", "NO", "ONE")
    store.apply(KEY, {"lost": 1})
    assert list(reader.current(KEY) or ()) == ["kept", "lost"]
    one.command("REPLICAOF", HOST, other.port)
    wait_until(lambda: one.command("INFO").get("master_link_status") == "up", one)
    one.command("REPLICAOF", "NO", "ONE")
    assert list(store.apply(KEY, {"new": 1})) == list(reader.current(KEY) or ()) == ["kept", "new"]


def restart_later(server: Valkey) -> None:
    """Start a server when its clock is above what was given out: at most by as much as two epochs."""
    ended = time.monotonic()
    wait_until(lambda: time.monotonic() > ended + 3, server)
    server.restart()


# -- versions with gaps ------------------------------------------------------------------------------------------------


def begin_epoch(server: Valkey) -> None:
    """Let the next connection find another run of the server than the one that was written to."""
    (meta,) = server.command("KEYS", "rstore:*:meta")
    server.command("HSET", meta, "incarnation", "another")
    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def versions(log: Log, stream: Stream = S, **options: Any) -> list[int]:
    return [record.version for record in log.read(stream, Query(**options))]


@pytest.fixture(scope="module")
def shared() -> Iterator[Valkey]:
    with Valkey.start() as server:
        yield server


@pytest.fixture
def server(shared: Valkey) -> Iterator[Valkey]:
    yield shared
    shared.command("FLUSHALL")


@pytest.mark.parametrize("frozen", [False, True])
def test_what_follows_a_version_is_found_beyond_gaps_at_the_cost_of_what_there_is(
    server: Valkey, stack: ExitStack, frozen: bool
) -> None:
    log = opened_log(stack, server.dsn)
    reader = opened_log(stack, server.dsn, frozen=frozen)
    given: list[int] = []
    for number in (300, 5, 1, 40):
        given += [write(log, start) for start in range(number)]
        begin_epoch(server)
    assert given == sorted(set(given)) == sorted(versions(log))
    assert given[-1] - given[0] > 6 * EPOCH_SIZE
    server.command("CONFIG RESETSTAT")
    for at in (0, 1, 100, 298, 299, 300, 304, 305, 306, 345):
        (replay,) = reader.replay([ReplayQuery(S, Query(after=given[at]), None)])
        assert replay is not None
        assert sorted(record.version for record in replay.records) == given[at + 1 :]
        assert replay.head.floor < given[0]
        assert sorted(versions(reader, after=given[at])) == given[at + 1 :]
    stats = server.command("INFO", "commandstats")
    assert sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("hget", "hmget")) < 10 * len(given)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_version_that_was_lost_is_told_by_a_floor_above_it(server: Valkey, stack: ExitStack, frozen: bool) -> None:
    log, reader = opened_log(stack, server.dsn), opened_log(stack, server.dsn, frozen=frozen)
    last = write(log, 1, 2, 3)
    begin_epoch(server)
    newest = write(log, 4)
    there, lost, present = reader.replay(
        [ReplayQuery(S, Query(after=version), None) for version in (last, last + 1, newest)]
    )
    assert there is not None
    assert lost is not None
    assert present is not None
    assert (there.head.floor < last, [record.start for record in there.records]) == (True, [4])
    assert lost.head.floor > last + 1
    assert (present.head, present.records) == (there.head, [])


WAYS: dict[str, Callable[[Log], object]] = {
    "one entry": lambda log: write(log, 1),
    "several entries": lambda log: write(log, 2, 3, 4, 5, 6),
    "a stream that is not live": lambda log: write(log, 1, live=False),
    "a replacement": lambda log: write(log, 7, 8, replace=True),
    "a rewrite": lambda log: log.rewrite([Rewrite(S, None, [versions(log)[0]])]),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_version_goes_on_above_an_epoch_however_it_is_given_out(
    server: Valkey, stack: ExitStack, name: str, left: int
) -> None:
    """As long as few positions are ``left`` in one, and when they are used up."""
    log = opened_log(stack, server.dsn)
    newest = write(log, *range(20))
    (meta,) = server.command("KEYS", "rstore:*:meta")
    server.command("HSET", meta, "n", (newest // EPOCH_SIZE + 5) * EPOCH_SIZE - left)
    for _ in range(5):
        before = int(server.command("HGET", meta, "n"))
        WAYS[name](log)
        head = log.head(S)
        assert head is not None
        assert max(newest, before - before % EPOCH_SIZE) < head.version <= int(server.command("HGET", meta, "n"))
        newest = head.version
        assert max(versions(log)) <= newest
        assert {record.version for *_, record in log.follow()} == set(versions(log))


def test_a_new_stream_begins_in_the_epoch_of_its_partition(server: Valkey, stack: ExitStack) -> None:
    """Or its versions could be those of a stream of that name that was lost."""
    log = opened_log(stack, server.dsn)
    first = write(log, 1)
    begin_epoch(server)
    for kind in ("new", "other"):
        (version,) = log.append([Batch(Stream(ES, kind), [Entry(0, 0, "", "setitem", b"")], 1)])
        head = log.head(Stream(ES, kind))
        assert head is not None
        assert version > head.floor >= first + EPOCH_SIZE - EPOCH_SIZE // 2


def test_a_server_that_is_the_same_leaves_no_gaps(server: Valkey, stack: ExitStack) -> None:
    given = []
    for _ in range(3):
        with Store(server.dsn, frozen=False) as store:
            given += store._core.log.append([Batch(S, [Entry(0, 0, "", "extend", b"")], 1)])
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert given == [given[0], given[0] + 1, given[0] + 2]


def test_an_epoch_is_safe_before_anything_is_written_above_it(stack: ExitStack) -> None:
    server = stack.enter_context(Valkey.start("--appendonly", "yes"))
    store = opened(stack, f"{server.dsn}?timeout=0.5")
    store["a"] = 1
    server.command("CONFIG", "SET", "appendfsync", "no")
    begin_epoch(server)
    with pytest.raises(StoreNotAvailableError, match=r"goes on above.*not confirmed by its disk"):
        store["a"] = 2
    assert store["a"] == 1


def test_partitions_of_a_cluster_are_fenced_one_by_one(stack: ExitStack) -> None:
    cluster = stack.enter_context(Cluster.start(2, 0))
    log = opened_log(stack, cluster.dsn)
    keys = [f"key {number}" for number in range(40)]
    batches = [Batch(Stream(TS, key), [Entry(0, 0, "", "extend", b"")], 1) for key in keys]
    before = log.append(batches)
    for node in cluster.nodes:
        for meta in node.command("KEYS", "rstore:*:meta"):
            if Partition("default", partition_of(keys[0], 64)).meta.decode() != meta:
                node.command("HSET", meta, "incarnation", "another")
        node.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    after = log.append([batch._replace(entries=[Entry(1, 1, "", "extend", b"")]) for batch in batches])
    assert all(new > old for old, new in zip(before, after, strict=True))
    own = partition_of(keys[0], 64)
    assert all(
        new > old + EPOCH_SIZE
        for key, old, new in zip(keys, before, after, strict=True)
        if partition_of(key, 64) != own
    )
    assert [versions(log, Stream(TS, key)) for key in keys] == [list(pair) for pair in zip(before, after, strict=True)]


# -- permissions -------------------------------------------------------------------------------------------------------


def test_a_writer_that_may_not_ask_for_info_is_told_what_to_grant(server: Valkey, stack: ExitStack) -> None:
    server.command("ACL", "SETUSER", "ada", "on", f">{SECRET}", "~*", "+@all", "-info")
    stack.callback(server.command, "ACL", "DELUSER", "ada")
    dsn = f"redis://ada:{SECRET}@{HOST}:{server.port}/0"
    with pytest.raises(StoreNotAvailableError, match=r"writing \+@all"):
        Store(dsn, frozen=False).open()
    assert server.command("KEYS", "*") == []
    server.command("ACL", "SETUSER", "ada", "+info")
    store = opened(stack, dsn)
    store["a"] = 1
    server.command("ACL", "SETUSER", "ada", "-info")
    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(StoreNotAvailableError, match=r"grant \+info"):
        store["a"] = 2
    assert opened(stack, dsn, frozen=True)["a"] == 1


def test_a_pruned_sequence_is_no_lost_one(server: Valkey, stack: ExitStack) -> None:
    log = opened_log(stack, server.dsn)
    write(log, 1, 2, 3)
    log.rewrite([Rewrite(S, None, range(TIME_MAX), live=True)])
    head = log.head(S)
    assert head is not None
    begin_epoch(server)
    write(log, 4)
    for frozen in (False, True):
        (replay,) = opened_log(stack, server.dsn, frozen=frozen).replay(
            [ReplayQuery(S, Query(after=head.version), None)]
        )
        assert replay is not None
        assert replay.head.floor == head.version
        assert [record.start for record in replay.records] == [4]
