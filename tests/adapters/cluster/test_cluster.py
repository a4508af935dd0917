"""Redis Cluster alone: a namespace on many nodes, writers that die half-way, slots that move and masters that fail."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count, islice, pairwise
from signal import SIGSTOP
from typing import Any

import pytest
from freezegun import freeze_time

from rstore import Store, StoreConflictError, StoreError, StoreNotAvailableError
from rstore.adapters.dsn import open_log
from rstore.adapters.redis import write
from rstore.adapters.redis.cluster import router
from rstore.adapters.redis.codec import EPOCH_SIZE
from rstore.adapters.redis.keys import Partition, partition_of
from rstore.adapters.redis.two_phase import Transaction, Transactions
from rstore.admin.check import check
from rstore.domain.erasure import REKEY
from rstore.domain.log import Batch, Copy, Entry, Log, Rewrite
from rstore.domain.spans import TIME_MAX
from rstore.domain.streams import KV, Stream
from rstore.transfer import copy, digest
from tests.conftest import KEY, OTHER_KEY
from tests.support.servers import HOST, Cluster, Valkey, free_port

SECRET = "s3cret-w0rd"
PARTITIONS = 64
KEYS = [f"key {number}" for number in range(24)]
NAMESPACE = "default"
PATIENT, HASTY = "?timeout=30", "?timeout=2"  # who meets a transaction that does not go on waits a quarter of it


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with Cluster.start() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """A cluster that has nothing in it, and of which no test may kill a node."""
    yield shared
    for node in shared.nodes:
        node.command("FLUSHALL")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def opened(cluster: Cluster, stack: ExitStack) -> Callable[..., Store]:
    """Open a store on the cluster until the test ends."""

    def opened(query: str = PATIENT, **options: Any) -> Store:
        return stack.enter_context(Store(cluster.dsn + query, **{"frozen": False, **options}))

    return opened


@pytest.fixture
def store(opened: Callable[..., Store]) -> Store:
    return opened()


@pytest.fixture
def log(cluster: Cluster, stack: ExitStack) -> Log:
    log = open_log(cluster.dsn)(NAMESPACE, False)
    log.open()
    stack.callback(log.close)
    return log


def partition(key: str) -> Partition:
    return Partition(NAMESPACE, partition_of(key, PARTITIONS))


def apart(number: int) -> list[str]:
    """Return keys of which each is in another partition, in the order of these."""
    found: dict[int, str] = {}
    for each in map(str, count()):
        found.setdefault(partition_of(each, PARTITIONS), each)
        if len(found) == number:
            return [found[at] for at in sorted(found)]
    raise AssertionError


def beside(key: str) -> str:
    """Return another key of the same partition."""
    others = (f"beside {number}" for number in count())
    return next(other for other in others if partition(other).number == partition(key).number)


def keys_on(node: Valkey) -> set[str]:
    return set(node.command("KEYS", "*"))


def keys_in(cluster: Cluster) -> set[str]:
    return set().union(*map(keys_on, cluster.running))


def batch(key: str, **options: Any) -> Batch:
    return Batch(Stream(KV, key), [Entry(0, 0, "", "setitem", b"")], 1, **options)


def large() -> str:
    """Return a value that is uploaded before it is written."""
    return secrets.token_hex(2000)  # see _DIE; it can't be compressed to less than half


def values(store: Store, key: str) -> list[Any]:
    """Return all values that a key ever had."""
    stream = Stream(KV, key)
    return [store._core.envelope.value(stream, record) for record in store._core.log.read(stream)]


# -- where things are --------------------------------------------------------------------------------------------------


def test_a_namespace_is_spread_over_all_masters(cluster: Cluster, store: Store) -> None:
    store.set_many(dict.fromkeys(map(str, range(300)), 1))
    assert all(len(keys_on(node)) > 50 for node in cluster.nodes)
    assert (len(store), len(store.keys())) == (300, 300)


def test_a_key_has_all_that_is_known_of_it_in_one_slot(cluster: Cluster, store: Store) -> None:
    store["a"] = 1
    store["a"] = 2
    store.extend("a", (1, 1), (2, 2))
    store.apply("a", {"x": 1})
    of_key = {name for name in keys_in(cluster) if name.endswith(":a")}
    assert len(of_key) == 3 * 3  # head, records and spans of three kinds
    slots = {cluster.nodes[0].command("CLUSTER KEYSLOT", name) for name in of_key}
    assert slots == {partition("a").slot}


def test_a_namespace_keeps_its_number_of_partitions(
    cluster: Cluster, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([batch(key) for key in KEYS])
    monkeypatch.setattr(router.Cluster, "partitions", 8)
    other = open_log(cluster.dsn)(NAMESPACE, False)
    other.open()
    assert [record is not None for record in other.last([Stream(KV, key) for key in KEYS])] == [True] * len(KEYS)
    other.close()


def test_any_node_that_answers_is_enough_to_find_the_others(cluster: Cluster, store: Store) -> None:
    store["a"] = 1
    dsn = f"redis+cluster://{HOST}:{free_port()},{HOST}:{cluster.nodes[2].port}"
    with Store(dsn) as found:
        assert found["a"] == 1


def test_a_user_who_may_only_read_is_led_by_redirections(cluster: Cluster, store: Store, stack: ExitStack) -> None:
    """``CLUSTER SLOTS`` is neither in @read nor in @connection."""
    store.set_many(dict.fromkeys(KEYS, 1))
    store.extend("series", (1, 1))
    for node in cluster.nodes:
        rights = ["on", f">{SECRET}", "~rstore:*", "+@read", "+@connection"]
        node.command("ACL", "SETUSER", "reader", *rights)
        stack.callback(node.command, "ACL", "DELUSER", "reader")
    with Store(f"redis+cluster://reader:{SECRET}@{HOST}:{cluster.nodes[0].port}") as frozen:
        assert frozen.get_many(KEYS) == dict.fromkeys(KEYS, 1)
        assert (frozen.keys(), frozen.range("series")) == (sorted(KEYS), [(1, 1)])
        assert len(list(frozen._core.log.follow())) == len(KEYS) + 1
        assert list(check(frozen)) == []
        with pytest.raises(StoreNotAvailableError, match=r"allow this user \+cluster\|slots"):
            frozen.namespaces()  # redirections lead to keys that one knows of


def test_discard_leaves_nothing_on_any_node_and_others_alone(cluster: Cluster, opened: Callable[..., Store]) -> None:
    other, store = opened(namespace="other"), opened()
    other.set_many(dict.fromkeys(KEYS, 1))
    cluster.master_of(cluster.nodes[0].command("CLUSTER KEYSLOT", "foreign")).command("SET", "foreign", 1)
    before = keys_in(cluster) - {name for name in keys_in(cluster) if "{default:" in name}
    store.set_many(dict.fromkeys(map(str, range(300)), 1))
    store.extend("series", *((t, t) for t in range(5000)))
    store.remove("series", start=10, end=20)
    store.compact()
    store.delete(*map(str, range(100)))
    store.discard()
    assert keys_in(cluster) - before == {"rstore:epoch"}
    assert before <= keys_in(cluster)
    assert other.get_many(KEYS) == dict.fromkeys(KEYS, 1)


def test_versions_follow_the_epoch_of_another_partition_once_that_was_followed(cluster: Cluster, log: Log) -> None:
    """Partitions that are made in different seconds begin in different epochs, and a follower levels them."""
    one, other = apart(2)
    (first,) = log.append([batch(one)])
    log.append([batch(other)])
    meta = partition(other).meta
    node = cluster.master_of(cluster.nodes[0].command("CLUSTER KEYSLOT", meta))
    node.command("HSET", meta, "n", int(node.command("HGET", meta, "n")) + EPOCH_SIZE)
    assert len(list(log.follow())) == 2
    (second,) = log.append([batch(one)])
    assert second - 1 == (first // EPOCH_SIZE + 1) * EPOCH_SIZE


def test_discard_takes_what_dead_writers_had_prepared_too(cluster: Cluster, opened: Callable[..., Store]) -> None:
    first, second = apart(2)
    store = opened()
    die(cluster, "after prepare", dict.fromkeys([first, second], large()))
    assert any(":p:" in name for name in keys_in(cluster))
    assert any(":s:" in name for name in keys_in(cluster))
    store.discard()
    uploads = {name for name in keys_in(cluster) if ":s:" in name}
    assert keys_in(cluster) - uploads == {"rstore:epoch"}
    assert all(
        0 < ttl <= 600
        for node in cluster.nodes
        for name in uploads & keys_on(node)
        for ttl in [node.command("TTL", name)]
    )


def test_versions_go_on_after_a_discard_in_every_partition(log: Log) -> None:
    before = log.append([batch(key) for key in KEYS])
    log.discard()
    assert min(log.append([batch(key, expect=0) for key in KEYS])) > max(before)


def test_a_namespace_that_was_made_anew_with_another_number_of_partitions_is_told(stack: ExitStack) -> None:
    cluster = stack.enter_context(Cluster.start(1))
    spread = stack.enter_context(Store(cluster.dsn, frozen=False))
    key = next(key for key in KEYS if partition(key).number)
    spread[key] = 1
    spread.discard()
    stack.enter_context(Store(cluster.nodes[0].dsn, frozen=False))["a"] = 2
    before = keys_in(cluster)
    for pairs in ({key: 3}, dict.fromkeys(KEYS, 3)):
        with pytest.raises(StoreNotAvailableError, match=r"with 1 partitions instead of 64.*open it again"):
            spread.set_many(pairs)
    assert keys_in(cluster) == before
    with Store(cluster.dsn, frozen=False) as again:
        again[key] = 3
        assert dict(again) == {"a": 2, key: 3}


# -- positions ---------------------------------------------------------------------------------------------------------


def test_what_was_seen_before_a_write_has_a_smaller_position(cluster: Cluster, stack: ExitStack) -> None:
    one, two = (open_log(cluster.dsn)(NAMESPACE, False) for _ in range(2))
    for each in (one, two):
        each.open()
        stack.callback(each.close)
    for key in [KEYS[0]] * 20:
        one.append([batch(key)])
    (cause,) = two.last([Stream(KV, KEYS[0])])
    two.append([batch(KEYS[1])])
    (effect,) = two.last([Stream(KV, KEYS[1])])
    assert cause is not None
    assert effect is not None
    assert cause.position < effect.position


@pytest.mark.parametrize("frozen", [True, False])
def test_a_follower_skips_nothing_that_comes_late_with_a_smaller_position(
    cluster: Cluster, stack: ExitStack, frozen: bool
) -> None:
    busy, idle = apart(2)
    one, two, follower = (open_log(cluster.dsn)(NAMESPACE, each) for each in (False, False, frozen))
    for each in (one, two, follower):
        each.open()
        stack.callback(each.close)
    for _ in range(20):
        one.append([batch(busy)])
    *_, (checkpoint, *_) = follower.follow()
    two.append([batch(idle)])  # knows nothing of the positions in the other partition
    ((position, stream, _),) = follower.follow(checkpoint)
    assert stream.key == idle
    assert list(follower.follow(position)) == []
    if not frozen:
        assert position > checkpoint


def test_followers_that_may_write_agree_on_the_order_of_racing_writers(cluster: Cluster, stack: ExitStack) -> None:
    logs = [open_log(cluster.dsn)(NAMESPACE, False) for _ in range(5)]
    for each in logs:
        each.open()
        stack.callback(each.close)
    follower, *writers = logs
    written = threading.Event()
    seen: list[Any] = []

    def tail() -> None:
        last = False
        while not last:
            last = written.is_set()
            seen.extend(follower.follow(seen[-1][0] if seen else None))

    with ThreadPoolExecutor(5) as pool:
        tailing = pool.submit(tail)
        try:
            list(pool.map(lambda log: [log.append([batch(key)]) for key in KEYS * 3], writers))
        finally:
            written.set()
        tailing.result()
    assert len(seen) == 4 * 3 * len(KEYS)
    assert all(a[0] < b[0] for a, b in pairwise(seen))
    assert seen == list(writers[0].follow())


# -- all or nothing ----------------------------------------------------------------------------------------------------

# Dies at a moment of a write to several partitions: before a step, after it, or with the first of many done.
_DIE = """
    import os, sys
    from rstore import Store
    from rstore.adapters.redis import scripts, write
    from rstore.adapters.redis import two_phase
    from rstore.adapters.redis.cluster import router

    write._PARTS_BYTES = 1000
    dsn, moment, step, pairs = sys.argv[1], *sys.argv[2].split(), eval(sys.stdin.read())
    cls, written_each = two_phase.Transaction, {"prepare": scripts.PREPARE, "commit": scripts.COMMIT}
    original, write_each = getattr(cls, step), router.Cluster.write_each

    def dying(self):
        if moment == "after":
            original(self)
        os._exit(42)

    def dying_half_way(self, runs):
        if not runs or runs[0].script is not written_each[step]:
            return write_each(self, runs)
        assert len(runs) > 1
        write_each(self, runs[:1])
        os._exit(42)

    if moment == "half":
        router.Cluster.write_each = dying_half_way
    else:
        setattr(cls, step, dying)
    with Store(dsn, frozen=False) as store:
"""


@pytest.mark.parametrize("end", ["feed", "live", "all"])
@pytest.mark.parametrize("nth", [0, 1], ids=["coordinator", "participant"])
def test_nothing_is_stored_if_another_program_wrote_over_a_key_of_one_partition(
    cluster: Cluster, log: Log, nth: int, end: str
) -> None:
    batches = [batch(key) for key in apart(2)]
    streams = [each.stream for each in batches]
    versions = log.append(batches)
    key = getattr(partition(streams[nth].key), end)
    node = cluster.master_of(cluster.nodes[0].command("CLUSTER KEYSLOT", key))
    node.command("DEL", key)
    node.command("SET", key, "foreign")
    with pytest.raises(StoreError, match="was not written by rstore"):
        log.append(batches)
    assert [head and head.version for head in map(log.head, streams)] == versions
    node.command("DEL", key)
    assert log.append(batches) == [version + 1 for version in versions]


UNDECIDED = ["before begin", "after begin", "half prepare", "after prepare"]
DECIDED = ["after decide", "half commit", "after commit"]


def die(cluster: Cluster, moment: str, pairs: dict[str, Any], write: str = "store.set_many(pairs)") -> None:
    """Let a process write to several partitions, and die at a moment of that."""
    program = textwrap.dedent(_DIE) + textwrap.indent(textwrap.dedent(write), 8 * " ")
    command = [sys.executable, "-c", program, cluster.dsn, moment]
    ended = subprocess.run(command, input=repr(pairs), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 42, ended.stderr


def unfinished(cluster: Cluster) -> set[str]:
    return {name for name in keys_in(cluster) if name.endswith(("}:promised", "}:notes")) or "}:p:" in name}


@pytest.mark.parametrize("moment", [*UNDECIDED, *DECIDED])
def test_of_a_writer_that_died_the_next_open_finds_all_or_nothing(
    cluster: Cluster, opened: Callable[..., Store], moment: str
) -> None:
    keys = apart(5)
    store = opened()
    store.set_many(dict.fromkeys(keys, "before"))
    with freeze_time("2100-01-01"):  # by a clock that is fast: what comes after is not recorded before
        store[keys[3]] = "before"
    die(cluster, moment, dict.fromkeys(keys, "after"))
    with Store(cluster.dsn + HASTY, frozen=False):
        assert unfinished(cluster) == set()
    assert len({change.recorded for change in store.log() if change.value == "after"}) == (moment in DECIDED)
    added = ["after"] if moment in DECIDED else []
    assert [values(store, key) for key in keys] == [["before"] * (1 + (key == keys[3])) + added for key in keys]


@pytest.mark.parametrize("moment", [*UNDECIDED, *DECIDED])
@pytest.mark.parametrize("which", [0, 2, 4])
def test_of_a_writer_that_died_the_next_writer_finds_all_or_nothing(
    cluster: Cluster, opened: Callable[..., Store], moment: str, which: int
) -> None:
    keys = apart(5)
    store = opened(HASTY)
    store.set_many(dict.fromkeys(keys, "before"))
    die(cluster, moment, dict.fromkeys(keys, "after"))
    store.set_many(dict.fromkeys(keys[which:], "next"))
    died = ["before", "after"] if moment in DECIDED else ["before"]
    assert [values(store, key) for key in keys[which:]] == [[*died, "next"]] * (5 - which)
    # whom nobody has met waits for the next open
    assert all(values(store, key) in (died, ["before"]) for key in keys[:which])
    with Store(cluster.dsn + HASTY, frozen=False):
        assert [values(store, key) for key in keys[:which]] == [died] * which


def test_only_those_that_want_its_keys_wait_for_a_dead_writer(cluster: Cluster, opened: Callable[..., Store]) -> None:
    keys = apart(3)
    store = opened()
    die(cluster, "after prepare", dict.fromkeys(keys, 1))
    left = unfinished(cluster)
    assert left
    store.set_many({beside(key): 2 for key in keys})
    store[beside(keys[1])] = 3
    store.extend(keys[1], (1, 1))
    assert unfinished(cluster) == left, "it has not been recovered, so nobody has waited for it"
    assert store.get_many(keys) == {}
    assert store.get_many(map(beside, keys)) == {beside(keys[0]): 2, beside(keys[1]): 3, beside(keys[2]): 2}


@pytest.mark.parametrize("moment", ["after prepare", "half commit"])
def test_a_single_write_to_a_prepared_key_recovers_the_whole_transaction(
    cluster: Cluster, opened: Callable[..., Store], moment: str
) -> None:
    keys = apart(4)
    store = opened(HASTY)
    die(cluster, moment, dict.fromkeys(keys, 1))
    store[keys[-1]] = 2
    assert store.get_many(keys) == (dict.fromkeys(keys, 1) if moment in DECIDED else {}) | {keys[-1]: 2}
    if moment in DECIDED:
        assert unfinished(cluster) == set()


VIEWED: dict[str, Callable[[Any, list[str]], list[Any]]] = {
    "one": lambda view, keys: [view.get(key) for key in keys],
    "many": lambda view, keys: [view.get_many(keys).get(key) for key in keys],
    "listing": lambda view, keys: [1 if key in view.keys() else None for key in keys],  # noqa: SIM118
    "versions": lambda view, keys: [1 if view.version(key, "kv") else None for key in keys],
    "points": lambda view, keys: [dict(view.range(key)).get(1) for key in keys],
    "fold": lambda view, keys: [(view.current(key) or {}).get("item") for key in keys],
}

_ALL_KINDS = """
    with store.transaction():
        for key, value in pairs.items():
            store[key] = value
            store.extend(key, (1, value))
            store.apply(key, {"item": value})
"""


@pytest.mark.parametrize("read", VIEWED)
def test_a_view_has_all_or_nothing_of_a_writer_that_died(
    cluster: Cluster, opened: Callable[..., Store], read: str
) -> None:
    keys = apart(3)
    store = opened(HASTY)
    die(cluster, "after decide", dict.fromkeys(keys, 1), _ALL_KINDS)
    view = store.at(time.time_ns() // 1_000_000)
    assert VIEWED[read](view, keys) == [1] * 3
    assert unfinished(cluster) == set()


def test_a_view_that_may_not_write_shows_what_is_there(cluster: Cluster, opened: Callable[..., Store]) -> None:
    keys = apart(2)
    opened()
    die(cluster, "after decide", dict.fromkeys(keys, 1))
    left = unfinished(cluster)
    assert opened(HASTY, frozen=True).at(time.time_ns() // 1_000_000).get_many(keys) == {keys[0]: 1}
    assert unfinished(cluster) == left


def test_a_prepared_write_is_committed_though_nobody_comes_for_long(
    cluster: Cluster, opened: Callable[..., Store]
) -> None:
    """Uploads expire, but not those of a prepared write."""
    keys = apart(2)
    die(cluster, "after decide", dict.fromkeys(keys, value := large()))
    staged = [(node, name) for node in cluster.nodes for name in keys_on(node) if "}:s:" in name]
    assert [node.command("TTL", name) for node, name in staged] == [-1]
    assert opened(HASTY).get_many(keys) == dict.fromkeys(keys, value)
    assert not any("}:s:" in name for name in keys_in(cluster))


def test_rewrites_are_all_or_nothing_too(cluster: Cluster, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [Stream(KV, key) for key in apart(4)]
    log.append([batch(stream.key) for stream in streams])
    before = [list(log.read(stream)) for stream in streams]
    rewrites = [Rewrite(stream, None, range(TIME_MAX), live=False) for stream in streams]
    with pytest.raises(StoreConflictError):
        log.rewrite([*rewrites[:2], rewrites[2]._replace(expect=10**6), rewrites[3]])
    assert [list(log.read(stream)) for stream in streams] == before
    assert unfinished(cluster) == set()
    assert log.rewrite(rewrites).records == 4
    assert list(log.heads(KV, live=False)) == []


@pytest.mark.parametrize("moment", ["half prepare", "after decide", "half commit"])
def test_a_rekey_that_died_is_called_again(cluster: Cluster, opened: Callable[..., Store], moment: str) -> None:
    keys = apart(5)
    old = opened(key=KEY)
    with old.context(who="ada"):
        old.set_many(dict.fromkeys(keys, 1))
        old.set_many(dict.fromkeys(keys, 2))
    before = list(old.log())
    again = f"with Store(dsn, key={[OTHER_KEY, KEY]}, frozen=False) as rekeying:\n    rekeying.rekey()"
    die(cluster, moment, {}, again)
    rekeying = opened(HASTY, key=[OTHER_KEY, KEY])
    assert [change for change in rekeying.log() if change.op != REKEY] == before
    assert rekeying.rekey() == (0 if moment in DECIDED else 10)
    assert unfinished(cluster) == set()
    new = opened(key=OTHER_KEY)
    assert [change for change in new.log() if change.op != REKEY] == before
    assert list(check(new)) == []


@pytest.mark.parametrize("moment", ["half prepare", "after prepare"])
def test_a_copy_is_not_held_up_by_what_a_dead_writer_had_prepared(
    cluster: Cluster, opened: Callable[..., Store], moment: str
) -> None:
    keys, target = apart(5), opened(HASTY)
    die(cluster, moment, dict.fromkeys(keys, "lost"))
    assert unfinished(cluster)
    with Store("memory://", frozen=False) as source:
        for number in range(3):
            source.set_many(dict.fromkeys(keys, number))
        assert copy(source, target) == digest(source)
        assert list(target.log()) == list(source.log())
    assert unfinished(cluster) == set()
    target.set_many(dict.fromkeys(keys, "next"))
    assert list(check(target)) == []


def test_a_copy_keeps_what_a_dead_writer_had_decided_and_says_so(
    cluster: Cluster, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, target = apart(5), opened(HASTY)
    restore = target._core.base.restore

    def beaten(copies: Sequence[Copy]) -> None:
        monkeypatch.undo()
        die(cluster, "after decide", dict.fromkeys(keys, "kept"))
        restore(copies)

    monkeypatch.setattr(target._core.base, "restore", beaten)
    with Store("memory://", frozen=False) as source:
        source.set_many(dict.fromkeys(keys, "copied"))
        with pytest.raises(StoreError, match=r"copied records of kv differ .* wrote to the target.* discard\(\)"):
            copy(source, target)
    assert target.get_many(keys) == dict.fromkeys(keys, "kept")


def test_a_conflict_in_any_partition_leaves_nothing_in_the_others(cluster: Cluster, log: Log) -> None:
    keys = apart(5)
    log.append([batch(keys[0])])
    for wrong in range(5):
        with pytest.raises(StoreConflictError) as raised:
            log.append([batch(key, expect=10**6 if at == wrong else None) for at, key in enumerate(keys)])
        assert raised.value.key == keys[wrong]
    assert [len(list(log.read(Stream(KV, key)))) for key in keys] == [1, 0, 0, 0, 0]
    assert unfinished(cluster) == set()
    assert not any("h:kv" in name for name in keys_in(cluster) if not name.endswith(keys[0]))


def test_an_upload_stays_if_it_may_have_been_decided_to_write_it(
    opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the writer is still there to clear up, and has only lost the connection."""
    keys, store = apart(3), opened()

    def lost(*_: object) -> Any:
        raise StoreNotAvailableError("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr(write, "_PARTS_BYTES", 1000)
        patched.setattr(Transactions, "commit", lost)
        with pytest.raises(StoreNotAvailableError):
            store.set_many(dict.fromkeys(keys, value := large()))
    assert opened(HASTY).get_many(keys) == dict.fromkeys(keys, value)


def test_racing_writers_of_many_partitions_have_one_order(opened: Callable[..., Store]) -> None:
    """And none of them waits for ever for what the other holds."""
    keys, stores = apart(6), [opened() for _ in range(4)]

    def race(me: int) -> None:
        for number in range(10):
            mine = keys[me:] + keys[:me] if number % 2 else keys
            stores[me].set_many(dict.fromkeys(mine, (me, number)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(race, range(4)))
    first, *others = (values(stores[0], key) for key in keys)
    assert sorted(first) == [(me, number) for me in range(4) for number in range(10)]
    assert others == [first] * 5


def test_a_slow_writer_that_others_aborted_begins_again(
    cluster: Cluster, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = apart(3)
    slow, other = opened(), opened(HASTY)
    decide = Transaction.decide
    calls = []

    def after_others(self: Transaction) -> Any:
        calls.append(self)
        if len(calls) == 1:
            other[keys[1]] = "other"  # waits for a while, aborts it, and calls nothing that was patched
        return decide(self)

    monkeypatch.setattr(Transaction, "decide", after_others)
    slow.set_many(dict.fromkeys(keys, "slow"))
    assert [values(slow, key) for key in keys] == [["slow"], ["other", "slow"], ["slow"]]
    assert len(calls) == 2
    assert unfinished(cluster) == set()


def test_a_slow_writer_that_others_committed_for_is_told_that_it_was_stored(
    opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = apart(3)
    slow, other = opened(), opened(HASTY)
    commit = Transaction.commit

    def after_others(self: Transaction) -> Any:
        other[keys[1]] = "other"
        return commit(self)

    monkeypatch.setattr(Transaction, "commit", after_others)
    with pytest.raises(StoreNotAvailableError, match="it was stored"):
        slow.set_many(dict.fromkeys(keys, "slow"))
    assert [values(slow, key) for key in keys] == [["slow"], ["slow", "other"], ["slow"]]


def test_a_connection_lost_before_the_decision_says_that_nothing_was_stored(
    cluster: Cluster, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = apart(3)
    prepare = Transaction.prepare

    def lost(self: Transaction) -> Any:
        prepare(self)
        raise StoreNotAvailableError("somewhere: it can't be reached; the write may or may not have been stored")

    monkeypatch.setattr(Transaction, "prepare", lost)
    with pytest.raises(StoreNotAvailableError, match="it can't be reached; nothing was stored"):
        store.set_many(dict.fromkeys(keys, 1))
    assert (store.get_many(keys), unfinished(cluster)) == ({}, set())


def test_a_writer_that_is_interrupted_aborts(cluster: Cluster, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = apart(3)

    def interrupted(self: Transaction) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Transaction, "decide", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.set_many(dict.fromkeys(keys, 1))
    assert (store.get_many(keys), unfinished(cluster)) == ({}, set())


def test_closing_a_store_lets_a_write_that_has_begun_come_to_its_end(
    cluster: Cluster, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = apart(3)
    store, other = opened(), opened()
    decide = Transaction.decide

    def after_close(self: Transaction) -> Any:
        store.close()
        return decide(self)

    monkeypatch.setattr(Transaction, "decide", after_close)
    store.set_many(dict.fromkeys(keys, 1))
    assert (other.get_many(keys), unfinished(cluster)) == (dict.fromkeys(keys, 1), set())


def test_a_writer_kept_from_writing_for_too_long_says_that_nothing_was_stored(
    opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, hasty = apart(2), opened("?timeout=0.2")
    monkeypatch.setattr(Transaction, "decide", lambda self: [b"given up"])
    with pytest.raises(StoreNotAvailableError, match="nothing was stored"):
        hasty.set_many(dict.fromkeys(keys, 1))
    assert hasty.get_many(keys) == {}


# -- while slots move --------------------------------------------------------------------------------------------------


class Writer(threading.Thread):
    """Counts keys up until it is told to stop: ``acknowledged`` is how far it is sure to have come with each."""

    def __init__(self, store: Store, keys: list[str]) -> None:
        super().__init__()
        self.store, self.keys = store, keys
        self.acknowledged = dict.fromkeys(keys, 0)
        self.unknown = dict.fromkeys(keys, 0)
        self.failures: list[StoreError] = []
        self._enough = threading.Event()

    def run(self) -> None:
        for number in count(1):
            for key in self.keys:
                self._write(key, number)
            if self._enough.is_set():
                return

    def finish(self) -> None:
        self._enough.set()
        self.join(120)
        assert not self.is_alive()

    def check(self) -> None:
        """Check that all that was acknowledged is there, once, and nothing else but what may be."""
        for key in self.keys:
            found = values(self.store, key)
            assert found == sorted(set(found)), "in order, and nothing twice"
            missing = set(range(1, max(found) + 1)) - set(found)
            assert len(missing) <= self.unknown[key]
            assert self.acknowledged[key] in found

    def _write(self, key: str, number: int) -> None:
        try:
            self.store[key] = number
        except StoreNotAvailableError as error:
            self.failures.append(error)
            self.unknown[key] += 1
        else:
            self.acknowledged[key] = number


def test_a_slot_may_move_while_others_write_and_read(
    cluster: Cluster, opened: Callable[..., Store], stack: ExitStack
) -> None:
    writing = opened()
    reading = opened(frozen=True)
    moving, staying = apart(2)
    names = (f"neighbour {number}" for number in count())
    neighbours = list(islice((key for key in names if partition(key).number == partition(moving).number), 20))
    writing.set_many(dict.fromkeys(neighbours, "here"))
    writing.extend(moving, *((t, t) for t in range(100)))
    slot = partition(moving).slot
    source = cluster.master_of(slot)
    target = next(node for node in cluster.nodes if node is not source)
    writer = Writer(writing, [moving, staying])
    writer.start()
    stack.callback(writer.finish)
    moved = []
    for number in cluster.move_slot(slot, source, target, batch=5):
        moved.append(number)
        acknowledged = dict(writer.acknowledged)
        found = reading.get_many([moving, staying])
        assert all(found.get(key, 0) >= number for key, number in acknowledged.items())
        assert reading.get_many(neighbours) == dict.fromkeys(neighbours, "here")
        assert reading.range(moving) == [(t, t) for t in range(100)]
        assert reading.find("neighbour *") == sorted((key, "here") for key in neighbours)
    writer.finish()
    assert moved[-1] > 20
    assert cluster.master_of(slot) is target
    assert writer.failures == []
    writer.check()
    assert [record.version for *_, record in reading._core.log.follow() if record.op == "setitem"]
    for _ in cluster.move_slot(slot, target, source):
        pass
    assert reading[moving] == writing[moving] == writer.acknowledged[moving]


def test_a_transaction_goes_through_while_the_slots_of_its_partitions_move(cluster: Cluster, store: Store) -> None:
    keys = apart(4)
    store.set_many(dict.fromkeys(keys, 0))
    slot = partition(keys[1]).slot
    source = cluster.master_of(slot)
    target = next(node for node in cluster.nodes if node is not source)
    moving = cluster.move_slot(slot, source, target, batch=1)
    next(moving)
    next(moving)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(store.set_many, dict.fromkeys(keys, 1))
        for _ in moving:
            assert set(store.get_many(keys).values()) <= {0, 1}
        written.result()
    assert [values(store, key) for key in keys] == [[0, 1]] * 4
    for _ in cluster.move_slot(slot, target, source):
        pass


# -- while nodes fail --------------------------------------------------------------------------------------------------


def test_a_promoted_replica_has_what_was_acknowledged_and_the_store_goes_on(stack: ExitStack) -> None:
    cluster = stack.enter_context(Cluster.start(3, 1))
    store = stack.enter_context(Store(f"{cluster.dsn}?replicas=1&timeout=10", frozen=False))
    keys = apart(9)
    writer = Writer(store, keys)
    writer.start()
    stack.callback(writer.finish)
    wait_for(lambda: min(writer.acknowledged.values()) > 20)
    dead = cluster.master_of(partition(keys[0]).slot)
    cluster.kill(dead)
    cluster.wait_for_failover(dead)
    dead.restart()  # as a replica: without one, nothing is safe, and no write acknowledged
    cluster.settle()
    before = dict(writer.acknowledged)
    wait_for(lambda: all(writer.acknowledged[key] > before[key] + 20 for key in keys))
    writer.finish()
    writer.check()
    store.set_many(dict.fromkeys(keys, "all of them"))
    assert store.get_many(keys) == dict.fromkeys(keys, "all of them")


def test_a_master_that_hangs_is_left_for_its_replica(stack: ExitStack) -> None:
    cluster = stack.enter_context(Cluster.start(3, 1))
    store = stack.enter_context(Store(f"{cluster.dsn}?timeout=0.5", frozen=False))
    keys = apart(9)
    store.set_many(dict.fromkeys(keys, 1))
    for node in cluster.nodes[:3]:
        node.command("WAIT", 1, 10_000)
    hanging = cluster.master_of(partition(keys[0]).slot)
    assert hanging._process is not None
    os.kill(hanging._process.pid, SIGSTOP)

    def written() -> bool:
        with suppress(StoreNotAvailableError):
            store.set_many(dict.fromkeys(keys, 2))
            return store.get_many(keys) == dict.fromkeys(keys, 2)
        return False

    wait_for(written)


def test_a_write_waits_for_the_promotion_if_it_was_not_sent_yet(stack: ExitStack) -> None:
    cluster = stack.enter_context(Cluster.start(3, 1))
    store = stack.enter_context(Store(f"{cluster.dsn}?timeout=30", frozen=False))
    keys = apart(9)
    store.set_many(dict.fromkeys(keys, 1))
    for node in cluster.nodes[:3]:
        node.command("WAIT", 1, 10_000)
    dead = cluster.master_of(partition(keys[0]).slot)
    cluster.kill(dead)
    store[keys[0]] = 2
    assert store.get_many(keys) == dict.fromkeys(keys, 1) | {keys[0]: 2}
    store.set_many(dict.fromkeys(keys, 3))
    assert set(store.get_many(keys).values()) == {3}


def test_reads_are_repeated_when_connections_are_lost(cluster: Cluster, opened: Callable[..., Store]) -> None:
    store, enough = opened(), threading.Event()
    store.set_many(dict.fromkeys(KEYS, 1))
    store.extend("series", *((t, t) for t in range(5000)))

    def read() -> int:
        rounds = 0
        while not enough.is_set() or not rounds:
            assert store.get_many(KEYS) == dict.fromkeys(KEYS, 1)
            assert len(store.range("series")) == 5000
            assert len(store.keys()) == len(KEYS)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for _ in range(30):
            for node in cluster.nodes:
                node.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        enough.set()
        assert all(reader.result() for reader in readers)


def test_a_script_that_a_node_has_forgotten_is_sent_again(cluster: Cluster, store: Store) -> None:
    store.set_many(dict.fromkeys(KEYS, 1))
    for node in cluster.nodes:
        node.command("SCRIPT", "FLUSH")
    store.set_many(dict.fromkeys(KEYS, 2))
    assert [values(store, key) for key in KEYS] == [[1, 2]] * len(KEYS)


# -- durability --------------------------------------------------------------------------------------------------------


def test_what_was_acknowledged_survives_the_death_of_all_nodes(stack: ExitStack) -> None:
    cluster = stack.enter_context(Cluster.start(3, 0, "--appendonly", "yes", "--appendfsync", "always"))
    store = stack.enter_context(Store(cluster.dsn, frozen=False))
    store.set_many(dict.fromkeys(KEYS, 1))
    for key in KEYS:
        store[key] = 2
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.restart()
    cluster.settle()
    assert store.get_many(KEYS) == dict.fromkeys(KEYS, 2)
    store.set_many(dict.fromkeys(KEYS, 3))
    assert [values(store, key) for key in KEYS] == [[1, 2, 3]] * len(KEYS)


@pytest.mark.parametrize("write", [lambda store: store.set("a", 1), lambda store: store.set_many({"a": 1, "b": 1})])
def test_a_write_that_no_disk_confirms_is_not_acknowledged(stack: ExitStack, write: Callable[[Store], Any]) -> None:
    cluster = stack.enter_context(Cluster.start(3, 0, "--appendonly", "yes"))
    store = stack.enter_context(Store(f"{cluster.dsn}?timeout=1.5", frozen=False))
    normal = stack.enter_context(Store(f"{cluster.dsn}?timeout=1.5&durability=normal", frozen=False))
    write(store)
    for node in cluster.nodes:
        node.command("CONFIG", "SET", "appendfsync", "no")
    with pytest.raises(StoreNotAvailableError, match="not confirmed by its disk"):
        write(store)
    write(normal)


def test_a_write_that_no_replica_confirms_is_not_acknowledged(cluster: Cluster, stack: ExitStack) -> None:
    stack.enter_context(Store(cluster.dsn, frozen=False)).set("a", 1)
    with pytest.raises(StoreNotAvailableError, match="not confirmed by 1 replicas"):
        stack.enter_context(Store(f"{cluster.dsn}?replicas=1&timeout=0.2", frozen=False)).set("a", 1)


# -- addresses and errors ----------------------------------------------------------------------------------------------


def test_the_name_has_the_addresses_and_no_password(stack: ExitStack) -> None:
    log = open_log(f"redis+cluster://me:{SECRET}@one:7000,[::1]:7001,two?timeout=3")(NAMESPACE, True)
    assert log.name == "redis+cluster://one:7000,[::1]:7001,two:6379"


@pytest.mark.parametrize(
    "rest", ["host:port", "host:1,host:x", "host:1/3", "host?db=1", "a@b@c/d@e", "host?replicas=x"]
)
def test_a_malformed_dsn_shows_how_it_is_written_and_no_password(rest: str) -> None:
    with pytest.raises(ValueError, match=r"host\[:port\]\[,host:port") as raised:
        open_log(f"redis+cluster://me:{SECRET}@{rest}")
    assert SECRET not in str(raised.value)


def test_a_single_server_is_no_cluster_and_says_so() -> None:
    with Valkey.start() as server, pytest.raises(StoreNotAvailableError, match="write redis://"):
        Store(f"redis+cluster://{HOST}:{server.port}").open()


def test_a_node_alone_says_that_it_is_part_of_a_cluster(cluster: Cluster) -> None:
    elsewhere = next(
        name for name in map(str, count()) if cluster.master_of(Partition(name, 0).slot) is cluster.nodes[1]
    )
    with pytest.raises(StoreNotAvailableError, match=r"write redis\+cluster://"):
        Store(cluster.nodes[0].dsn, namespace=elsewhere).open()


def test_a_wrong_password_is_not_tried_until_the_timeout(cluster: Cluster) -> None:
    with pytest.raises(StoreNotAvailableError, match="password") as raised:
        Store(f"redis+cluster://nobody:{SECRET}@{HOST}:{cluster.nodes[0].port}?timeout=1000").open()
    assert SECRET not in str(raised.value)


def test_a_cluster_of_which_no_node_answers_is_not_available() -> None:
    with pytest.raises(StoreNotAvailableError, match="can't be reached"):
        Store(f"redis+cluster://{HOST}:{free_port()},{HOST}:{free_port()}?timeout=1000").open()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return once a condition holds."""
    reached = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        reached.wait(0.01)
    raise AssertionError("it takes too long")
