"""Redis and Valkey alone: what one server's keys, users, replicas and failures do to a store."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count
from signal import SIGCONT, SIGSTOP
from typing import Any
from urllib.parse import quote

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from rstore import FrozenStoreError, Store, StoreConflictError, StoreError, StoreNotAvailableError
from rstore.adapters.dsn import open_log
from rstore.admin.check import check
from rstore.domain.log import Batch, Copy, Entry, Log, Query, Record, Rewrite
from rstore.domain.spans import TIME_MAX, TIME_MIN
from rstore.domain.streams import ES, KV, SS, TS, Stream
from tests.conftest import KEY
from tests.support.proxy import CALLS, Proxy, turns_of
from tests.support.servers import HOST, Valkey, free_port, wait_until

SECRET = "s3cret-w0rd"
S = Stream(TS, "series")


@pytest.fixture(scope="module")
def shared() -> Iterator[Valkey]:
    with Valkey.start() as server:
        yield server


@pytest.fixture
def server(shared: Valkey) -> Iterator[Valkey]:
    """A server that has nothing in it, and that no test may kill."""
    yield shared
    shared.command("FLUSHALL")


@pytest.fixture
def durable() -> Iterator[Valkey]:
    """A server that a test may kill: what it has acknowledged is on its disk."""
    with Valkey.start("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def proxy(server: Valkey) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def log(server: Valkey) -> Iterator[Log]:
    log = open_log(server.dsn)("default", False)
    log.open()
    yield log
    log.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def test_a_version_that_leaves_no_room_for_more_is_refused(log: Log) -> None:
    stream = Stream(TS, "high")
    log.restore([Copy(stream, 2**52 - 1, True, 0)])
    with pytest.raises(StoreError, match=r"'high' is at version 4503599627370496.* up to 4503599627370495"):
        log.restore([Copy(Stream(TS, "first"), 1, True, 0), Copy(stream, 2**52, True, 0)])
    assert [head.stream.key for head in log.heads(TS)] == ["high"]
    assert log.append([Batch(stream, [Entry(0, 0, "", "extend", b"")], 1, expect=2**52 - 1)])[0] >= 2**52


def opened(stack: ExitStack, dsn: str, **options: Any) -> Store:
    return stack.enter_context(Store(dsn, **{"frozen": False, **options}))


def through(proxy: Proxy, options: str = "") -> str:
    return f"redis://{HOST}:{proxy.port}/0{options}"


def fill(store: Store, events: int = 300) -> None:
    store.set_many({"a": 1, "b": {"x": [2]}})
    store["a"] = 3
    store.extend("series", ((t, t * 1.5) for t in range(10_000)))
    for _ in range(3):
        store.extend("series", (-1, 0))
    store.apply("events", {"n": 1})
    for _ in range(events):  # 300 are enough for a snapshot
        store.apply("events", {"n": (operator.add, 1)})


def contents(store: Store) -> list[object]:
    series = store.range("series", 10, n=5), store.first("series"), store.last("series"), store.timeseries()
    events = store.current("events"), store.past("events", 0), len(store.events("events")), store.eventsources()
    pairs = dict(store), store.get("b"), store.get_many(["a", "b", "c"]), store.has("c"), len(store), store.find("*")
    return [*pairs, *series, *events, len(list(store._core.log.follow()))]


def keys_of(server: Valkey) -> set[str]:
    return set(server.command("KEYS", "*"))


def appended(store: Store, stream: Stream) -> list[int]:
    return [record.start for record in store._core.log.read(stream)]


def entries(*starts: int, data: bytes = b"x") -> list[Entry]:
    return [Entry(start, start, "", "extend", data) for start in starts]


def write(log: Log, *starts: int, stream: Stream = S, **options: Any) -> int:
    return log.append([Batch(stream, entries(*starts), 1, **options)])[0]


def traceback_of(error: BaseException | None) -> str:
    """All that a traceback shows of an error and of its causes."""
    assert error is not None
    return "".join(traceback.format_exception(error)) + repr(error)


# -- round trips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_one_round_trip(proxy: Proxy, stack: ExitStack, name: str) -> None:
    store = opened(stack, through(proxy))
    assert turns_of(proxy, store, name, 5) == [1] * 5


def test_apply_takes_two_round_trips_when_its_key_is_cold(server: Valkey, proxy: Proxy, stack: ExitStack) -> None:
    opened(stack, server.dsn).apply("events", {"n": 0})
    store = opened(stack, through(proxy))
    store["a"] = 1  # the first write over a connection looks whether the server is still the same
    before = proxy.turns
    store.apply("events", {"n": (operator.add, 1)})
    assert proxy.turns - before == 2


def test_a_server_that_has_forgotten_the_scripts_costs_one_round_trip_and_writes_once(
    server: Valkey, proxy: Proxy, stack: ExitStack
) -> None:
    store = opened(stack, through(proxy))
    store["key"] = 0
    for number in (1, 2):
        server.command("SCRIPT FLUSH")
        before = proxy.turns
        store["key"] = number
        assert proxy.turns - before == 2
    assert len(list(store._core.log.follow())) == 3


# -- times -------------------------------------------------------------------------------------------------------------

NOW = 1_800_000_000_123_456_789  # in nanoseconds
TIMES = {
    "nanoseconds": [NOW, NOW + 1, NOW + 2, NOW + 1_000_000_000],
    "before the epoch": [-NOW, 1 - NOW, -2, -1, 0, 1],
    "beyond what a double can tell apart": [2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**62 + 1],
    "the limits": [TIME_MIN, TIME_MIN + 1, TIME_MIN + 2, -1, 0, TIME_MAX - 2, TIME_MAX - 1, TIME_MAX],
}


@pytest.mark.parametrize("together", [True, False], ids=["one segment", "a segment each"])
@pytest.mark.parametrize("name", TIMES)
def test_the_times_of_points_are_exact(server: Valkey, stack: ExitStack, name: str, together: bool) -> None:
    store, points = opened(stack, server.dsn), [(t, str(t)) for t in TIMES[name]]
    for batch in [points] if together else [[point] for point in reversed(points)]:
        store.extend("series", *batch)
    assert store.range("series") == points
    assert (store.first("series"), store.last("series")) == (points[0], points[-1])
    for low, first in enumerate(points):
        for high, last in enumerate(points):
            assert store.range("series", first[0], end=last[0]) == points[low : high + 1]
    store.remove("series", start=points[1][0], end=points[1][0])
    assert store.range("series") == [points[0], *points[2:]]


@pytest.mark.parametrize("name", TIMES)
def test_the_times_of_events_are_exact(server: Valkey, stack: ExitStack, name: str) -> None:
    store, times = opened(stack, server.dsn), TIMES[name]
    for t in reversed(times):
        store.apply("events", {"t": t}, t=t)
    for reader in (store, opened(stack, server.dsn), opened(stack, server.dsn, frozen=True)):
        assert [event.timestamp for event in reader.events("events")] == times
        assert [event.value for event in reader.events("events", start=times[1], end=times[2])] == times[1:3]
        assert [reader.past("events", t) for t in times] == [{"t": t} for t in times]
        assert reader.current("events", withtimestamp=True) == (times[-1], {"t": times[-1]})


# -- the keys on the server --------------------------------------------------------------------------------------------


def test_discard_leaves_no_key_of_the_namespace(server: Valkey, stack: ExitStack) -> None:
    store = opened(stack, server.dsn, key=KEY)
    for _ in range(2):
        fill(store)
        store.set_many((str(i), i) for i in range(2500))  # more than are erased at once
        store.delete("a", "7", "8")
        store.remove("series", start=5, end=700)
        store.compact()  # takes much away, which stays for a while
        store.apply("gone", {"n": 1})
        store.apply("gone", {"n": (operator.delitem, None)})
        store.prune("gone")
        assert len(keys_of(server)) > 2500
        store.discard()
        assert keys_of(server) <= {"rstore:epoch"}
        assert (len(store), store.timeseries(), store.eventsources()) == (0, [], [])


def test_discard_finds_retired_records_however_old(server: Valkey, log: Log) -> None:
    for waited in (10, 59, 61, 119):
        for stream in (S, Stream(TS, "other")):
            write(log, 1, 2, stream=stream)
            log.rewrite([Rewrite(stream, None, range(TIME_MAX), live=False)])  # the stream is forgotten
            pass_time(server, waited)
        pass_time(server, 2)
        log.discard()
        assert keys_of(server) <= {"rstore:epoch"}


ODD = ["a", "a:0", "a}b", "{x}", "a*", "a:0}:h", "%61", "a\n", " ", "\N{SNOWMAN}\N{PILE OF POO}", "rstore:", "?", "[a]"]


def test_a_namespace_may_have_any_name_and_is_discarded_alone(server: Valkey, stack: ExitStack) -> None:
    theirs = ["", "a", "rstore", "rstore:", "rstore:{a}", "rstore:{a:0", "rstore:{a:1}:meta", "{a:0}:meta", "h:kv:a"]
    for key in theirs:
        server.command("SET", key, f"of {key}")
    stores = [opened(stack, server.dsn, namespace=name) for name in ODD]
    for number, store in enumerate(stores):
        fill(store, events=1)
        store["number"] = number
        store.compact()
    left = dict(enumerate(stores))
    for number in list(left):
        left.pop(number).discard()
        for other, store in left.items():
            assert (store["number"], store["a"], store.current("events")) == (other, 3, {"n": 2})
            assert store.range("series", end=1) == [(-1, 0), (0, 0.0), (1, 1.5)]
    assert keys_of(server) == {*theirs, "rstore:epoch"}
    assert [server.command("GET", key) for key in theirs] == [f"of {key}" for key in theirs]


def test_a_key_and_an_item_may_have_any_name(server: Valkey, stack: ExitStack) -> None:
    store = opened(stack, server.dsn)
    store.set_many((name, name) for name in ["", *ODD])
    for name in ["", *ODD]:
        store.extend(name, (1, name))
        store.apply(name, {name: name})
    assert store.keys() == store.timeseries() == store.eventsources() == sorted(["", *ODD])
    for name in ["", *ODD]:
        assert (store[name], store.last(name), store.current(name)) == (name, (1, name), {name: name})


# -- reading only ------------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(server: Valkey) -> Iterator[str]:
    """The DSN of a user who has just the permissions that reading takes."""
    server.command("ACL SETUSER", "reader", "on", f">{SECRET}", "~rstore:*", "+@read", "+@connection")
    yield f"redis://reader:{SECRET}@{HOST}:{server.port}/0"
    server.command("ACL DELUSER", "reader")


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_a_user_who_may_only_read_reads_everything_and_writes_nothing(
    server: Valkey, stack: ExitStack, reader: str, key: str | None
) -> None:
    store = opened(stack, server.dsn, key=key)
    fill(store)
    theirs = opened(stack, reader, key=key, frozen=True)
    assert contents(theirs) == contents(store)
    assert "default" in theirs.namespaces()
    assert list(check(theirs)) == []
    points = theirs.points("series")
    first = next(points)
    store.remove("series", start=100)
    store.compact()
    store.apply("events", {"n": (operator.add, 1)})
    store.delete("a")
    assert [first, *points] == [(-1, 0), *((t, t * 1.5) for t in range(10_000))]
    assert contents(theirs) == contents(store)
    for call in (lambda: theirs.set("a", 1), theirs.discard, lambda: theirs.apply("events", {"n": 1})):
        with pytest.raises(FrozenStoreError):
            call()


@pytest.mark.parametrize("exists", [True, False], ids=["a namespace", "a new namespace"])
def test_a_user_who_may_only_read_is_told_so_when_opening_for_writing(
    server: Valkey, stack: ExitStack, reader: str, exists: bool
) -> None:
    if exists:
        fill(opened(stack, server.dsn))
    before = keys_of(server)
    with pytest.raises(StoreNotAvailableError, match=rf"{HOST}:{server.port}.*may not do this.*writing \+@"):
        Store(reader, frozen=False).open()
    assert keys_of(server) == before


def test_a_frozen_store_makes_nothing(server: Valkey) -> None:
    for _ in range(2):
        with pytest.raises(StoreNotAvailableError, match=r"no namespace 'default'.*frozen=False"):
            Store(server.dsn).open()
    assert keys_of(server) == set()


@pytest.fixture(scope="module")
def shared_replica(shared: Valkey) -> Iterator[Valkey]:
    shared.command("CONFIG SET", "repl-diskless-sync-delay", 0)
    with Valkey.start("--replicaof", HOST, str(shared.port)) as replica:
        yield replica


@pytest.fixture
def replica(server: Valkey, shared_replica: Valkey) -> Valkey:
    """A server that follows the shared one."""
    wait_until(lambda: shared_replica.command("INFO")["master_link_status"] == "up", shared_replica)
    wait_until(lambda: server.command("INFO").get("slave0", {}).get("state") == "online", server)
    return shared_replica


def test_a_replica_can_be_read(server: Valkey, stack: ExitStack, replica: Valkey) -> None:
    store = opened(stack, f"{server.dsn}?replicas=1")
    fill(store)
    reader = opened(stack, replica.dsn, frozen=True)
    assert contents(reader) == contents(store)
    store["a"] = "later"
    store.extend("series", (50_000, 1.0))
    assert contents(reader) == contents(store)


@pytest.mark.parametrize("exists", [True, False], ids=["a namespace", "a new namespace"])
def test_a_replica_that_is_opened_for_writing_says_what_it_is(
    server: Valkey, stack: ExitStack, replica: Valkey, exists: bool
) -> None:
    if exists:
        fill(opened(stack, f"{server.dsn}?replicas=1"))
    with pytest.raises(StoreNotAvailableError, match=f"{replica.port}.*replica.*master.*frozen=True"):
        Store(replica.dsn, frozen=False).open()


def test_a_server_that_becomes_a_replica_tells_its_writers(server: Valkey, stack: ExitStack, replica: Valkey) -> None:
    stack.callback(replica.command, "REPLICAOF", HOST, server.port)
    replica.command("REPLICAOF", "NO", "ONE")
    store = opened(stack, replica.dsn)
    store["a"] = 1
    replica.command("REPLICAOF", HOST, server.port)
    with pytest.raises(StoreNotAvailableError, match="replica"):
        store["a"] = 2


# -- failures ----------------------------------------------------------------------------------------------------------


def address(server: Valkey) -> str:
    """The DSN of a user with a password."""
    return f"redis://ada:{SECRET}@{HOST}:{server.port}/0?timeout=5"


@pytest.fixture
def guarded() -> Iterator[Valkey]:
    """A server that a test may kill, which knows the user of :func:`address` when it comes back."""
    ada = "--user", "ada", "on", f">{SECRET}", "~*", "+@all"
    with Valkey.start("--appendonly", "yes", "--appendfsync", "always", *ada) as server:
        yield server


def with_idle_connections(server: Valkey, store: Store, number: int = 4) -> None:
    """Let a store have several connections that wait to be used: one for each of the writers that were held up."""
    before = len(server.command("CLIENT LIST"))
    server.command("CLIENT PAUSE", 60_000, "WRITE")
    with ThreadPoolExecutor(number) as pool:
        waiting = [pool.submit(store.set, f"idle {i}", i) for i in range(number)]
        wait_until(lambda: len(server.command("CLIENT LIST")) >= before - 1 + number, server)
        server.command("CLIENT UNPAUSE")
        for each in waiting:
            each.result()


def test_a_server_that_was_killed_is_missed_and_used_again_when_it_is_back(guarded: Valkey, stack: ExitStack) -> None:
    store = opened(stack, address(guarded))
    store.extend("series", ((t, t) for t in range(10_000)))
    store["a"] = 1
    calls: list[Callable[[], object]] = [
        lambda: store.set("a", 2),
        lambda: store["a"],
        lambda: store.last("series"),
        lambda: store.extend("series", (20_000, 1)),
        lambda: store.apply("events", {"n": 1}),
    ]
    for call in calls:
        with_idle_connections(guarded, store)
        guarded.kill()
        for _ in range(2):
            with pytest.raises(StoreNotAvailableError, match=f"{HOST}:{guarded.port}") as caught:
                call()
            assert SECRET not in traceback_of(caught.value)
        guarded.restart()
        call()
        store["b"] = store["a"]


def test_each_idle_connection_is_found_dead_before_it_is_used(durable: Valkey, stack: ExitStack) -> None:
    store = opened(stack, durable.dsn)
    with_idle_connections(durable, store, 6)
    durable.kill()
    durable.restart()
    for number in range(6):
        store.extend("series", (number, number))
    assert appended(store, S) == list(range(6))


def test_an_iterator_ends_with_an_error_when_its_server_is_killed(durable: Valkey) -> None:
    log = open_log(durable.dsn)("default", False)
    log.open()
    write(log, *range(2000))
    iterators = log.read(S), log.read(S, Query(reverse=True)), log.follow()
    for iterator in iterators:
        next(iterator)
    durable.kill()
    for iterator in iterators:
        with pytest.raises(StoreNotAvailableError):
            list(iterator)
    durable.restart()
    assert len(list(log.read(S))) == 2000
    log.close()


def test_what_was_acknowledged_survives_kills_and_nothing_is_written_twice(
    guarded: Valkey, stack: ExitStack, pool: ThreadPoolExecutor
) -> None:
    store = opened(stack, address(guarded))
    numbers, acknowledged, stop = count(), set[int](), threading.Event()

    def work() -> None:
        while not stop.is_set():
            number = next(numbers)
            with suppress(StoreNotAvailableError):
                store.extend("series", (number, number))
                acknowledged.add(number)
            time.sleep(0)

    workers = [pool.submit(work) for _ in range(4)]
    for kills in range(5):
        known = len(acknowledged)
        wait_until(lambda: len(acknowledged) >= known + 40, guarded)  # noqa: B023  # called before the next turn
        if kills < 4:
            guarded.kill()
            guarded.restart()
    stop.set()
    for worker in workers:
        worker.result()
    stored = appended(opened(stack, address(guarded), frozen=True), S)
    assert len(acknowledged) >= 200
    assert acknowledged <= set(stored)
    assert len(stored) == len(set(stored))


def unheard(
    proxy: Proxy, pool: ThreadPoolExecutor, call: Callable[[], object], is_done: Callable[[], bool]
) -> BaseException | None:
    """Cut the line when the server has done what it was asked for and was not heard; return what the caller gets."""
    proxy.silent = True
    waiting: Future[object] = pool.submit(call)
    deadline = time.monotonic() + 30
    while not is_done():
        assert time.monotonic() < deadline
    proxy.cut()
    proxy.silent = False
    return waiting.exception()


WRITES: dict[str, Callable[[Store], object]] = {
    "set": lambda store: store.set("a", 2),
    "set a new key": lambda store: store.set("new", 2),
    "delete": lambda store: store.delete("a"),
    "extend": lambda store: store.extend("series", (1, 2)),
    "apply": lambda store: store.apply("events", {"n": (operator.add, 1)}),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_answer_is_lost_says_so_and_is_not_repeated(
    server: Valkey, proxy: Proxy, stack: ExitStack, pool: ThreadPoolExecutor, name: str
) -> None:
    direct, store = opened(stack, server.dsn), opened(stack, through(proxy))
    store["a"] = 1
    store.extend("series", (0, 0))
    store.apply("events", {"n": 0})
    before = len(list(direct._core.log.follow()))
    error = unheard(proxy, pool, lambda: WRITES[name](store), lambda: len(list(direct._core.log.follow())) > before)
    assert isinstance(error, StoreNotAvailableError)
    assert "may or may not have been stored" in str(error)
    assert len(list(store._core.log.follow())) == len(list(direct._core.log.follow())) == before + 1
    WRITES[name](store)  # works again
    assert store.current("events") == direct.current("events")


def test_a_read_whose_answer_is_lost_does_not_speak_of_writes(
    server: Valkey, proxy: Proxy, stack: ExitStack, pool: ThreadPoolExecutor
) -> None:
    store = opened(stack, through(proxy, "?timeout=2"))
    store["a"] = 1
    before = int(server.command("INFO", "commandstats")["cmdstat_get"]["calls"])

    def is_done() -> bool:
        return int(server.command("INFO", "commandstats")["cmdstat_get"]["calls"]) > before

    error = unheard(proxy, pool, lambda: store.get("a"), is_done)
    assert error is None or isinstance(error, StoreNotAvailableError)  # it may be repeated
    assert "stored" not in str(error)
    assert store["a"] == 1


def test_where_no_server_is_opening_fails_at_once() -> None:
    port = free_port()
    store = Store(f"redis://ada:{SECRET}@{HOST}:{port}/0?timeout=60", frozen=False)
    started = time.monotonic()
    with pytest.raises(StoreNotAvailableError, match=f"{HOST}:{port}.*reached") as caught:
        store.open()
    assert time.monotonic() - started < 20
    assert SECRET not in traceback_of(caught.value) + repr(store)


@pytest.mark.parametrize("fault", ["silent", "deaf"])
def test_a_server_that_does_not_answer_is_given_up_within_the_timeout(
    proxy: Proxy, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("rstore.adapters.redis.dsn._GRACE_SECONDS", 0.1)
    store = opened(stack, through(proxy, "?timeout=0.1"))
    store["a"] = 1
    setattr(proxy, fault, True)
    calls: list[Callable[[], object]] = [
        lambda: store.get("a"),
        lambda: store.set("a", 2),
        Store(through(proxy, "?timeout=0.1")).open,
    ]
    for call in calls:
        started = time.monotonic()
        with pytest.raises(StoreNotAvailableError, match=r"in time.*\?timeout="):
            call()
        assert time.monotonic() - started < 20


def is_refused(store: Store) -> bool:
    try:
        store.get("b")
    except StoreNotAvailableError:
        return True
    return False


def test_a_server_that_is_busy_with_a_script_is_waited_for(
    server: Valkey, stack: ExitStack, pool: ThreadPoolExecutor
) -> None:
    patient, hasty = opened(stack, f"{server.dsn}?timeout=60"), opened(stack, f"{server.dsn}?timeout=0.2")
    patient["a"] = hasty["b"] = 1
    server.command("CONFIG SET", "busy-reply-threshold", 1)

    def run() -> None:
        with suppress(Exception):
            server.command("EVAL", "while true do end", 0)

    busy = pool.submit(run)
    wait_until(lambda: is_refused(hasty), server)
    with pytest.raises(StoreNotAvailableError, match=r"busy with a script.*\?timeout="):
        hasty["b"] = 2
    waiting = pool.submit(patient.set, "a", 2)
    assert not waiting.done()
    server.command("SCRIPT KILL")
    waiting.result(30)
    busy.result(30)
    assert patient["a"] == 2
    assert len(list(patient._core.log.read(Stream(KV, "a")))) == 2


def test_without_memory_to_spare_nothing_is_stored_and_all_is_read(server: Valkey, stack: ExitStack) -> None:
    store = opened(stack, server.dsn)
    fill(store)
    before, keys = contents(store), keys_of(server)
    server.command("CONFIG SET", "maxmemory", 1)
    try:
        calls: list[Callable[[], object]] = [
            lambda: store.set("a", 2),
            lambda: store.set_many({"a": 2, "new": 3}),
            lambda: store.extend("series", (1, 2)),
            lambda: store.extend("new", ((t, os.urandom(100)) for t in range(200_000))),
            lambda: store.apply("events", {"n": 1}),
            store.compact,
        ]
        for call in calls:
            with pytest.raises(StoreNotAvailableError, match=r"memory is full.*nothing was stored"):
                call()
            assert contents(store) == before
        assert keys_of(server) == keys
    finally:
        server.command("CONFIG SET", "maxmemory", 0)
    store["a"] = 2


def test_memory_that_gets_full_during_a_large_append_leaves_nothing_of_it(server: Valkey, stack: ExitStack) -> None:
    store = opened(stack, server.dsn)
    fill(store)
    before, keys = contents(store), keys_of(server)
    used = int(server.command("INFO", "memory")["used_memory"])
    server.command("CONFIG SET", "maxmemory", used + (20 << 20))
    try:
        with pytest.raises(StoreNotAvailableError, match=r"memory is full.*nothing was stored"):
            store.extend("series", ((t, os.urandom(1 << 16)) for t in range(1000)))
        assert contents(store) == before
        assert keys_of(server) == keys
    finally:
        server.command("CONFIG SET", "maxmemory", 0)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_server_that_would_evict_the_log_is_refused_to_writers(server: Valkey, stack: ExitStack, policy: str) -> None:
    store = opened(stack, server.dsn)
    fill(store)
    server.command("CONFIG SET", "maxmemory-policy", policy)
    try:
        with pytest.raises(StoreNotAvailableError, match=r"evicts.*noeviction"):
            Store(server.dsn, frozen=False).open()
        assert contents(opened(stack, server.dsn, frozen=True)) == contents(store)
    finally:
        server.command("CONFIG SET", "maxmemory-policy", "noeviction")


def test_a_server_that_wants_more_replicas_says_that_nothing_was_stored(server: Valkey, stack: ExitStack) -> None:
    store = opened(stack, server.dsn)
    store["a"] = 1
    server.command("CONFIG SET", "min-replicas-to-write", 9)
    try:
        with pytest.raises(StoreNotAvailableError, match=r"fewer replicas.*nothing was stored"):
            store["a"] = 2
        assert store["a"] == 1
    finally:
        server.command("CONFIG SET", "min-replicas-to-write", 0)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_newer_schema_is_refused_and_left_alone(server: Valkey, stack: ExitStack, frozen: bool) -> None:
    opened(stack, server.dsn)["a"] = 1
    (meta,) = server.command("KEYS", "rstore:*:meta")
    server.command("HSET", meta, "schema", 2)
    before = {key: server.command("DUMP", key) for key in keys_of(server)}
    with pytest.raises(StoreNotAvailableError, match=r"'default'.*newer version of rstore"):
        Store(server.dsn, frozen=frozen).open()
    assert {key: server.command("DUMP", key) for key in keys_of(server)} == before


# -- keys that somebody else has written to ----------------------------------------------------------------------------

INTRUSIONS: dict[str, Callable[[Redis, bytes], object]] = {
    "another string": lambda db, key: db.set(key, b"x" * 66),
    "a string that is no text": lambda db, key: db.set(key, b"\xff" * 200),
    "a list": lambda db, key: (db.delete(key), db.rpush(key, b"x")),
    "another set": lambda db, key: (db.delete(key), db.zadd(key, {b"x": 1, b"\xff": 0, b"kv:": 0})),
    "another hash": lambda db, key: (db.delete(key), db.hset(key, b"x", b"y")),
    "other values": lambda db, key: db.hset(key, mapping=dict.fromkeys(db.hkeys(key), b"\xff")),
    "other members": lambda db, key: db.zadd(key, {b"\xffx": 0, b"\0": 0, b"kv:x": 0, b"ts:": 0, b"es:\xff": 0}),
    "other entries": lambda db, key: (db.xadd(key, {b"s": b"\xff", b"v": b"\xff"}), db.xadd(key, {b"x": b"y"})),
}

READS: dict[str, Callable[[Store], object]] = {
    "pairs": lambda store: (dict(store), store.get_many(["a", "b"]), len(store)),
    "points": lambda store: list(store.points("series")),
    "state": lambda store: store.current("events"),
    "history": lambda store: (list(store._core.log.read(Stream(KV, "a"))), list(store._core.log.follow())),
}
USES: dict[str, Callable[[Store], object]] = {
    "state": lambda store: store.current("events"),
    "set": lambda store: store.set("a", 1),
    "extend": lambda store: store.extend("series", (1, 1)),
    "apply": lambda store: store.apply("events", {"n": 1}),
    "compact": lambda store: store.compact(),
    "discard": lambda store: store.discard(),
}


def restore(db: Redis, dumps: dict[bytes, bytes | None]) -> None:
    db.flushdb()
    for key, dump in dumps.items():
        if dump is not None:
            db.restore(key, 0, dump)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", INTRUSIONS)
def test_a_key_of_ours_that_somebody_else_has_written_is_a_store_error(stack: ExitStack, name: str) -> None:
    server = stack.enter_context(Valkey.start())
    db = stack.enter_context(Redis(HOST, server.port))
    with Store(server.dsn, frozen=False) as store:
        fill(store)
    before = {key: db.dump(key) for key in db.scan_iter()}
    raised = []
    for key in before:
        with suppress(ResponseError):  # it is of another type
            INTRUSIONS[name](db, key)
        now = before | {key: db.dump(key)}
        uses = [(uses is READS, *use) for uses in (READS, USES) for use in uses.items() if now != before]
        for frozen, use, call in uses:
            try:
                with Store(f"{server.dsn}?timeout=1", frozen=frozen) as store:
                    call(store)
            except StoreError:
                pass
            except Exception as exc:
                raised.append(f"{key!r}: {use}: {exc!r}")
            if not frozen:
                restore(db, now)  # fails if a script runs for ever
        restore(db, before)
    assert not raised


@pytest.mark.parametrize("n", [None, 1, 5], ids=["lost", "that of a new one", "an older one"])
def test_a_namespace_whose_last_position_is_not_its_own_takes_no_writes(
    server: Valkey, stack: ExitStack, n: int | None
) -> None:
    store = opened(stack, server.dsn)
    fill(store, events=9)
    (meta,) = server.command("KEYS", "rstore:*:meta")
    if n is None:
        server.command("DEL", meta)
    else:
        server.command("HSET", meta, "n", n)
    kept = {key: server.command("DUMP", key) for key in keys_of(server) - {meta}}
    calls: list[Callable[[], object]] = [
        lambda: store.set("a", 1),
        lambda: store.set("new", 1),
        lambda: store.set_many({"b": 1, "new": 2}),
        lambda: store.extend("series", (1, 1)),
        lambda: store._core.log.append([Batch(Stream(TS, "series"), entries(1), 1, replace=True)]),
        lambda: store._core.log.rewrite([Rewrite(Stream(TS, "series"), None, range(TIME_MAX), live=False)]),
    ]
    for call in [*calls, store.discard] if n is None else calls:
        with pytest.raises(StoreError):
            call()
        assert {key: server.command("DUMP", key) for key in keys_of(server) - {meta}} == kept


def test_a_snapshot_of_more_than_there_is_is_an_error_and_not_waited_for(server: Valkey, stack: ExitStack) -> None:
    store = opened(stack, server.dsn)
    store.apply("events", {"n": 1})
    store._core.log.append([Batch(Stream(SS, "events"), [Entry(0, TIME_MAX, str(2**52), "snapshot", b"x")], 1)])
    code = "import sys; from rstore import Store; Store(sys.argv[1]).open().current('events')"
    command = [sys.executable, "-c", code, server.dsn]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    assert "rstore.domain.errors." in done.stderr.splitlines()[-1]


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["wr0ng!", "p@ss/w#rd?&%: +\N{SNOWMAN}"])
def test_a_password_may_be_anything_and_is_not_told(server: Valkey, stack: ExitStack, word: str) -> None:
    server.command("ACL SETUSER", "ada", "on", "resetpass", f">{word}", "~*", "+@all")
    host, encoded = f"{HOST}:{server.port}", quote(word, safe="")
    for number, dsn in enumerate(
        (f"redis://ada:{encoded}@{host}/0", f"redis://{host}/0?username=ada&password={encoded}")
    ):
        store = opened(stack, dsn, namespace=str(number))
        store["a"] = 1
        shown_of_it = f"{store!r} {store._core.log!r} {store._core.log.name} {vars(store._core.log)!r}"
        assert host in shown_of_it
        assert word not in shown_of_it
        assert encoded not in shown_of_it
        wrong = Store(dsn.replace(encoded, f"{encoded}-{SECRET}"), frozen=False)
        with pytest.raises(StoreNotAvailableError, match=f"{host}.*password") as caught:
            wrong.open()
        for secret in (word, encoded, SECRET):
            assert secret not in traceback_of(caught.value) + repr(wrong)
    server.command("ACL DELUSER", "ada")


def test_a_missing_password_is_asked_for(stack: ExitStack) -> None:
    server = stack.enter_context(Valkey.start("--requirepass", SECRET))
    with pytest.raises(StoreNotAvailableError, match=f"{server.port}.*password"):
        Store(server.dsn, frozen=False).open()
    opened(stack, f"redis://:{SECRET}@{HOST}:{server.port}")["a"] = 1


@pytest.mark.parametrize(
    "dsn",
    [
        f"redis://ada:{SECRET}@[host/0",
        f"redis://ada:{SECRET}@[::1",
        f"redis://ada:{SECRET}@host:port/0",
        f"redis://ada:{SECRET}@host:99999/0",
        f"redis://ada:{SECRET}@host/db",
        f"redis://ada:{SECRET}@host/0/1",
        f"redis://ada:#{SECRET}@host/0",
        f"redis://ada:/{SECRET}@host/0",
        f"redis://ada:?{SECRET}@host/0",
        f"redis://ada:1/{SECRET}",
        f"redis://:{SECRET}@host/0?replicas=many",
        f"redis://:{SECRET}@host/0?replicas=-1",
        f"redis://:{SECRET}@host/0?db=x",
        f"redis://:{SECRET}@host/0?speed={SECRET}",
        f"redis://:{SECRET}@host/0?speed=fast",
        f"redis://:{SECRET}@host/0?timeout=soon",
        f"redis://:{SECRET}@host/0?timeout=-1",
        f"redis://:{SECRET}@host/0?durability=some",
        f"redis://host/0?password=&{SECRET}",
        f"redis://host/0?password=#{SECRET}",
        f"rediss://:{SECRET}@host/0?ssl_cert_reqs=perhaps",
        f"rediss://:{SECRET}@host/0?ssl_min_version=9",
        f"redis://:{SECRET}@host/0?ssl_ca_certs=file",
        f"redis+cluster://:{SECRET}@host,other?ssl_ca_certs=file",
        f"rediss+cluster://:{SECRET}@host,other?ssl_cert_reqs=perhaps",
        f"unix://ada:{SECRET}@/socket?socket_keepalive=1",
        f"unix://ada:{SECRET}@/socket?speed=1",
        f"unix://ada:{SECRET}@host:port/socket?db=x",
    ],
)
def test_a_bad_dsn_is_a_value_error_that_keeps_its_secret(dsn: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Store(dsn).open()
    assert SECRET not in traceback_of(caught.value)


def test_an_unknown_option_names_ours() -> None:
    with pytest.raises(ValueError, match=r"'speed'.*durability=full\|normal.*timeout=SECONDS.*replicas=NUMBER"):
        Store("redis://host/0?speed=fast")


def test_a_server_is_reached_by_each_kind_of_dsn(server: Valkey) -> None:
    host = f"{HOST}:{server.port}"
    shown_as = {
        f"redis://{host}": f"redis://{host}/0",
        f"redis://{host}/": f"redis://{host}/0",
        f"redis://{host}/3": f"redis://{host}/3",
        f"redis://{host}/?db=3&timeout=3": f"redis://{host}/3",
        f"redis://{host}?client_name=x&durability=normal&replicas=0": f"redis://{host}/0",
        f"valkey://{host}/2": f"valkey://{host}/2",
        server.unix_dsn: server.unix_dsn.partition("?")[0],
    }
    for dsn, name in shown_as.items():
        with Store(dsn, frozen=False) as store:
            store["a"] = dsn
            assert (store._core.log.name, store["a"], len(store)) == (name, dsn, 1)
        with Store(dsn, frozen=False) as store:
            store.discard()
    with Store(f"valkey://{host}/2", frozen=False) as store:
        store["a"] = 1
        with pytest.raises(StoreNotAvailableError, match="no namespace"):
            Store(f"redis://{host}/0").open()


# -- readers, and what is taken away meanwhile -------------------------------------------------------------------------


def pass_time(server: Valkey, seconds: int) -> None:
    """Let so much time pass for all that expires."""
    for key in keys_of(server):
        left = server.command("PTTL", key)
        if left >= 0:
            server.command("PEXPIRE", key, max(0, left - 1000 * seconds))


def put_anew(log: Log) -> None:
    records = list(log.read(S))
    log.rewrite([Rewrite(S, None, range(TIME_MAX), [record._replace(data=b"new") for record in records[::2]])])


DISTURBANCES: dict[str, Callable[[Log], object]] = {
    "records that are dropped": lambda log: log.rewrite([Rewrite(S, None, [r.version for r in log.read(S)][5:-5])]),
    "records that are replaced": put_anew,
    "a whole that is replaced": lambda log: write(log, *range(1000, 2000), replace=True),
    "a stream that is forgotten": lambda log: log.rewrite([Rewrite(S, None, range(TIME_MAX), live=False)]),
}


class Reader:
    """Somebody who has begun to read."""

    def __init__(self, log: Log, *, reverse: bool) -> None:
        self.expected = list(log.read(S, Query(reverse=reverse)))
        self._records = log.read(S, Query(reverse=reverse))
        self._seen = [next(self._records)]

    def all(self) -> list[Record]:
        return [*self._seen, *self._records]


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_reader_sees_all_as_it_was_through_many_generations(
    server: Valkey, log: Log, name: str, reverse: bool
) -> None:
    readers = []
    for generation in range(4):
        write(log, *range(generation, 1000 + generation))
        readers.append(Reader(log, reverse=reverse))
        DISTURBANCES[name](log)
        pass_time(server, 15)
    write(log, *range(50))
    for reader in readers:
        assert reader.all() == reader.expected


def test_retired_records_stay_for_a_minute_and_not_for_ever(server: Valkey, log: Log) -> None:
    readers = []
    for generation in range(8):
        write(log, *range(generation, 400 + generation))
        readers.append(Reader(log, reverse=False))
        put_anew(log)
        pass_time(server, 19)
        if generation >= 3:
            reader = readers[generation - 2]  # has begun 57 seconds ago
            assert reader.all() == reader.expected
    with pytest.raises(StoreError, match=r"erased.*read it again"):
        readers[0].all()
    pass_time(server, 240)
    assert not [key for key in keys_of(server) if server.command("PTTL", key) != -1]


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_reader_that_takes_too_long_is_told_so(server: Valkey, log: Log, name: str) -> None:
    write(log, *range(2000))
    reader = Reader(log, reverse=False)
    DISTURBANCES[name](log)
    pass_time(server, 121)
    with pytest.raises(StoreError, match=r"erased.*while it was being read: read it again"):
        reader.all()
    assert [record.version for record in log.read(S)] == sorted({record.version for record in log.read(S)})


def test_a_reader_does_not_mind_records_that_were_retired_before(server: Valkey, log: Log) -> None:
    write(log, *range(2000))
    put_anew(log)
    pass_time(server, 121)
    reader = Reader(log, reverse=False)
    write(log, *range(100))
    assert reader.all() == reader.expected


def test_a_reader_of_a_namespace_that_is_discarded_is_told_so(server: Valkey, log: Log) -> None:
    write(log, *range(2000))
    reader = Reader(log, reverse=False)
    log.discard()
    write(log, *range(2000))
    with pytest.raises(StoreError, match=r"erased.*while it was being read"):
        reader.all()


def test_points_are_shown_as_they_were_while_a_series_is_removed_and_compacted(
    server: Valkey, stack: ExitStack
) -> None:
    store = opened(stack, server.dsn)
    store.extend("series", ((t, t) for t in range(100_000)))
    began = []
    for step in range(3):
        began.append((store.range("series"), store.points("series")))
        next(began[-1][1])
        store.remove("series", start=20_000 * step, end=20_000 * step + 15_000)
        store.extend("series", ((t, -t) for t in range(90_000, 95_000)))
        store.compact()
    for expected, points in began:
        assert list(points) == expected[1:]


def test_the_past_of_a_key_is_shown_as_it_was_when_it_is_replaced_by_its_present(
    server: Valkey, log: Log, stack: ExitStack
) -> None:
    stream = Stream(KV, "a")
    store = opened(stack, server.dsn, history=False)
    for number in range(500):
        write(log, number, stream=stream)
    records, expected = log.read(stream), list(log.read(stream))
    first = next(records)
    store["a"] = 1
    store["a"] = 2
    assert [first, *records] == expected
    assert len(list(log.read(stream))) == 1


# -- large writes ------------------------------------------------------------------------------------------------------

MB = 1 << 20


def large(number: int) -> Iterator[Entry]:
    return (Entry(i, i, "", "extend", bytes([i]) * MB) for i in range(number))


def test_a_large_append_is_all_or_nothing(server: Valkey, log: Log) -> None:
    other = Stream(TS, "other")
    write(log, 1, stream=other)
    before = keys_of(server)

    def failing() -> Iterator[Entry]:
        yield from large(30)
        uploaded = keys_of(server) - before
        assert uploaded
        assert all(server.command("PTTL", key) > 0 for key in uploaded)  # would expire if this process were killed
        raise RuntimeError

    with pytest.raises(RuntimeError):
        log.append([Batch(other, entries(2), 1), Batch(S, failing(), 1)])
    with pytest.raises(StoreConflictError):
        log.append([Batch(other, entries(2), 1), Batch(S, large(30), 1, expect=1)])
    assert keys_of(server) == before
    assert [record.start for record in log.read(other)] == [1]

    log.append([Batch(other, entries(2), 1), Batch(S, large(30), 1)])
    assert [record.start for record in log.read(other)] == [1, 2]
    assert all(record.data == bytes([i]) * MB for i, record in enumerate(log.read(S)))
    assert not [key for key in keys_of(server) if server.command("PTTL", key) != -1]


def test_a_large_append_is_seen_by_nobody_before_it_is_done(server: Valkey, log: Log) -> None:
    write(log, 7)

    def watched() -> Iterator[Entry]:
        yield from large(20)
        assert [record.start for record in log.read(S)] == [7]
        assert len(list(log.follow())) == 1
        assert [head.stream for head in log.heads(TS)] == [S]

    log.append([Batch(S, watched(), 1)])
    assert len(list(log.follow())) == 21


def test_an_upload_that_expires_before_it_is_done_stores_nothing(server: Valkey, log: Log) -> None:
    write(log, 7)
    before = keys_of(server)

    def slow() -> Iterator[Entry]:
        yield from large(20)
        pass_time(server, 3600)
        yield from large(1)

    with pytest.raises(StoreError, match=r"took too long.*nothing was stored"):
        log.append([Batch(S, slow(), 1)])
    assert [record.start for record in log.read(S)] == [7]
    assert keys_of(server) == before


def test_a_large_rewrite_is_all_or_nothing(server: Valkey, log: Log) -> None:
    log.append([Batch(S, large(30), 1)])
    before, keys = list(log.read(S)), keys_of(server)
    shorter = [record._replace(data=record.data[1:]) for record in before]

    def failing() -> Iterator[Record]:
        yield from shorter
        raise RuntimeError

    with pytest.raises(RuntimeError):
        log.rewrite([Rewrite(S, None, range(TIME_MAX), failing())])
    assert keys_of(server) == keys
    assert list(log.read(S)) == before
    assert log.rewrite([Rewrite(S, None, range(TIME_MAX), iter(shorter))]) == (0, 30)
    assert list(log.read(S)) == shorter


def test_a_value_of_64_megabytes_is_kept(log: Log) -> None:
    stream, data = Stream(KV, "a"), os.urandom(MB) * 64
    log.append([Batch(stream, entries(0, data=data), 1)])
    assert log.last([stream])[0].data == data  # type: ignore[union-attr]
    write(log, 0, stream=stream)
    assert [len(record.data) for record in log.read(stream)] == [64 * MB, 1]


# -- durability --------------------------------------------------------------------------------------------------------


def calls_of(server: Valkey, command: str) -> int:
    return int(server.command("INFO", "commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize(("durability", "waits"), [("full", 8), ("normal", 0)])
def test_full_durability_waits_for_the_disk(durable: Valkey, stack: ExitStack, durability: str, waits: int) -> None:
    store = opened(stack, f"{durable.dsn}?durability={durability}")
    store["a"] = 0
    durable.command("CONFIG RESETSTAT")
    store["a"] = 1
    store["new"] = 1
    store.set_many({"a": 2, "b": 3})
    store.delete("b")
    store.extend("series", ((t, t) for t in range(10_000)))
    store.apply("events", {"n": 1})
    store._core.log.append([Batch(Stream(TS, "large"), large(10), 1)])
    store._core.log.rewrite([Rewrite(Stream(TS, "large"), None, range(TIME_MAX), live=False)])
    assert calls_of(durable, "waitaof") == waits
    store.compact()
    store.discard()
    assert (calls_of(durable, "waitaof") > waits) == bool(waits)
    assert calls_of(durable, "wait") == 0


def test_a_disk_that_does_not_confirm_in_time_is_told(stack: ExitStack) -> None:
    server = stack.enter_context(Valkey.start("--appendonly", "yes", "--appendfsync", "no"))
    store = opened(stack, f"{server.dsn}?durability=normal")
    store["a"] = 1
    with pytest.raises(StoreNotAvailableError, match=f"{server.port}.*was stored, but not confirmed by its disk"):
        Store(f"{server.dsn}?timeout=0.2", frozen=False).open().set("a", 2)
    assert store["a"] == 2
    assert len(list(store._core.log.read(Stream(KV, "a")))) == 2


def test_a_server_too_old_to_confirm_does_not_make_writes_fail(stack: ExitStack) -> None:
    server = stack.enter_context(Valkey.start("--rename-command", "WAITAOF", "unknown"))
    store = opened(stack, server.dsn)
    store["a"] = 1
    store.extend("series", (1, 1))
    assert (store["a"], store.range("series")) == (1, [(1, 1)])


def test_a_server_without_a_file_is_not_asked_for_it_again_for_a_while(
    server: Valkey, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(stack, server.dsn)
    store["a"] = 0
    server.command("CONFIG RESETSTAT")
    for number in range(10):
        store["a"] = number
    assert calls_of(server, "waitaof") == 0
    monkeypatch.setattr("rstore.adapters.redis.node._UNCONFIRMED_SECONDS", 0)
    with Store(server.dsn, frozen=False) as other:
        for number in range(10):
            other["a"] = number
    assert calls_of(server, "waitaof") == 10


def test_a_replica_is_waited_for(server: Valkey, stack: ExitStack, replica: Valkey) -> None:
    store = opened(stack, f"{server.dsn}?replicas=1&timeout=20")
    hasty = opened(stack, f"{server.dsn}?durability=normal")
    store["a"] = -1  # not counted: the first write may wait once more, to go on above what a server has lost
    server.command("CONFIG RESETSTAT")
    for number in range(50):
        store["a"] = number
        with Store(replica.dsn) as there:
            assert there["a"] == number
    assert calls_of(server, "wait") == 50
    hasty["a"] = 1
    assert calls_of(server, "wait") == 50


def test_a_replica_that_does_not_confirm_in_time_is_told(server: Valkey, stack: ExitStack, replica: Valkey) -> None:
    store = opened(stack, f"{server.dsn}?replicas=1&timeout=0.5")
    store["a"] = 1
    assert replica._process is not None
    os.kill(replica._process.pid, SIGSTOP)
    stack.callback(os.kill, replica._process.pid, SIGCONT)
    with pytest.raises(StoreNotAvailableError, match=f"{server.port}.*was stored, but not confirmed by 1 replica"):
        store["a"] = 2
    assert store["a"] == 2
    assert len(list(store._core.log.read(Stream(KV, "a")))) == 2


def test_more_replicas_than_there_are_do_not_confirm(server: Valkey, stack: ExitStack, replica: Valkey) -> None:
    with pytest.raises(StoreNotAvailableError, match="was stored, but not confirmed by 2 replicas"):
        opened(stack, f"{server.dsn}?replicas=2&timeout=0.2")["a"] = 1


# -- forks and threads -------------------------------------------------------------------------------------------------

FORK = """
    import os, sys
    from rstore import Store

    def work(name):
        for i in range(300):
            store[name] = i
            assert store[name] == i
            store.extend("of " + name, (i, i))
        return [point for point in points]

    with Store(sys.argv[1], frozen=False) as store:
        store.extend("series", ((t, t) for t in range(50_000)))
        points = store.points("series")
        first = next(points)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert [first, *work("child")] == [(t, t) for t in range(50_000)]
                status = 0
            finally:
                os._exit(status)
        assert [first, *work("parent")] == [(t, t) for t in range(50_000)]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (store["child"], store["parent"]) == (299, 299)
        assert len(store.range("of child")) == len(store.range("of parent")) == 300
"""


def test_after_a_fork_both_go_on(server: Valkey) -> None:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(FORK), server.dsn]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_share_a_store(server: Valkey, stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    store = opened(stack, server.dsn)

    def work(name: str) -> None:
        for i in range(100):
            store[name] = i
            assert store[name] == i
            store.apply("events", {"n": i})

    for each in [pool.submit(work, str(number)) for number in range(4)]:
        each.result()
    assert len(list(store._core.log.read(Stream(ES, "events")))) == 400
    assert dict(store) == {str(number): 99 for number in range(4)}


def test_creating_and_discarding_a_namespace_at_once_repeats_no_version(
    server: Valkey, pool: ThreadPoolExecutor
) -> None:
    def work(number: int) -> list[int]:
        log, versions = open_log(server.dsn)("default", False), []
        log.open()
        for i in range(40):
            versions.append(write(log, number))
            if i % 8 == number:
                log.discard()
        log.close()
        return versions

    each = list(pool.map(work, range(6)))
    assert all(versions == sorted(versions) for versions in each)
    given = [version for versions in each for version in versions]
    assert len(given) == len(set(given)) == 240
