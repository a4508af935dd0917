"""The short way through the script that writes: it stores the same bytes as the long way, or leaves the case to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from random import Random

import pytest

from rstore import Store, StoreConflictError, StoreError
from rstore.adapters.dsn import open_log
from rstore.adapters.redis import write
from rstore.adapters.redis.scripts import WRITE, Script
from rstore.domain.log import ALL_VERSIONS, Adapter, Batch, Entry, Rewrite
from rstore.domain.streams import ES, KV, SS, Stream
from tests.support.servers import Valkey

pytestmark = pytest.mark.server

SHORT = b"if append_each("  # or forget_each
STREAMS = [Stream(kind, f"key {n}") for kind in (KV, ES, SS) for n in range(40)]
Write = Callable[[list[Batch]], list[int] | None]


@pytest.fixture(scope="module")
def shared() -> Iterator[Valkey]:
    with Valkey.start() as server:
        yield server


@pytest.fixture
def server(shared: Valkey) -> Iterator[Valkey]:
    yield shared
    shared.command("FLUSHALL")


def long_way() -> Script:
    """Return the script without its short way."""
    script = Script("write", fenced=True)
    lines = WRITE.source.splitlines(keepends=True)
    assert sum(line.startswith(SHORT) for line in lines) == 1
    script.__dict__["source"] = b"".join(line for line in lines if not line.startswith(SHORT))
    return script


def short_way() -> Script:
    """Return the script without its long way: where a case is not simple, it says so."""
    script = Script("write", fenced=True)
    before, at, _ = WRITE.source.partition(b"local function promised_to")
    assert at
    script.__dict__["source"] = before + b'return {"left"}\n'
    return script


def opened(server: Valkey, namespace: str) -> Adapter:
    log = open_log(server.dsn)(namespace, False)
    log.open()
    server.command("HSET", f"rstore:{{{namespace}:0}}:meta", "n", 3 << 40, "floor", 3 << 40)
    return log


def dumped(server: Valkey, namespace: str) -> dict[str, object]:
    """Return everything that a namespace has, by the ends of its keys."""
    prefix = f"rstore:{{{namespace}:0}}:"
    read = {"string": ("GET",), "hash": ("HGETALL",), "zset": ("ZRANGE", 0, -1), "stream": ("XRANGE", "-", "+")}
    keys = server.command("KEYS", prefix + "*")
    ways = [read[kind] for kind in server.commands(*(("TYPE", key) for key in keys))]
    found = server.commands(*((verb, key, *rest) for key, (verb, *rest) in zip(keys, ways, strict=True)))
    return {key.removeprefix(prefix): value for key, value in zip(keys, found, strict=True)}


def entry(random: Random, stream: Stream) -> Entry:
    start = 0 if stream.kind == KV else random.choice([0, 5, -(2**63), 10**18])
    end = start if stream.kind == KV else start + random.choice([0, 1, 2**40])
    meta = random.choice([None, b"", b"who"])
    return Entry(start, end, random.choice(["", "item"]), "setitem", random.randbytes(random.randrange(40)), meta)


def batch(random: Random, stream: Stream, version: int) -> Batch:
    live, if_live = random.random() < 0.7, random.random() < 0.3
    number = 1 if stream.kind == KV else random.choice([1, 1, 2, 5])
    if random.random() < 0.1:
        number, live, if_live = 0, True, True  # it only checks
    entries = tuple(entry(random, stream) for _ in range(number))
    expect = random.choice([None, version])
    return Batch(stream, entries, random.randrange(1000), expect, live=live, if_live=if_live)


@pytest.mark.parametrize("seed", range(6))
def test_the_short_way_stores_the_same_bytes_as_the_long_one(
    server: Valkey, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    short, long = opened(server, "short"), opened(server, "long")
    random = Random(seed)
    versions: dict[Stream, int] = {}
    for _ in range(12):
        streams = random.sample(STREAMS, random.choice([1, 2, 63, 64, 65, 120]))
        batches = [batch(random, stream, versions.get(stream, 0)) for stream in streams]
        monkeypatch.setattr(write, "WRITE", short_way())
        answer = short.append(batches)
        monkeypatch.setattr(write, "WRITE", long_way())
        assert answer == long.append(batches)
        versions |= zip(streams, answer, strict=True)
    found = dumped(server, "short")
    expected = dumped(server, "long")
    for each in (found, expected):
        each["meta"].pop("incarnation")  # type: ignore[attr-defined]
    assert found == expected
    assert len(found) > 100


@pytest.mark.parametrize("before_epoch", [0, 30])
def test_keys_are_forgotten_as_on_the_long_way(
    server: Valkey, monkeypatch: pytest.MonkeyPatch, before_epoch: int
) -> None:
    logs = opened(server, "short"), opened(server, "long")
    random = Random(before_epoch)
    known = [Stream(KV, f"{n:03}") for n in range(130)]
    appends = [
        [
            Batch(stream, (entry(random, stream),), n, live=n % 7 > 0, replace=n % 2 > 0)
            for n, stream in enumerate(known)
        ],
        [
            Batch(stream, (entry(random, stream),), n, live=n % 5 > 0, replace=True)
            for n, stream in enumerate(known[:70])
        ],
        [Batch(known[3], (), 0, live=False, replace=True)],
    ]
    for log, batches in product(logs, appends):
        log.append(batches)
    heads = {stream: logs[0].head(stream) for stream in [*known[:128], Stream(KV, "unknown")]}
    rewrites = [
        Rewrite(
            stream,
            random.choice([None, head.version if head else 0]),
            random.choice([ALL_VERSIONS, range(head.version + 1 if head else 7)]),
            live=False,
            floor=random.choice([None, head.floor if head else 0]),
        )
        for stream, head in heads.items()
    ]
    if before_epoch:
        for name in ("short", "long"):
            server.command("HSET", f"rstore:{{{name}:0}}:meta", "n", (7 << 40) - before_epoch)
    answers = []
    for log, script in zip(logs, (short_way(), long_way()), strict=True):
        monkeypatch.setattr(write, "WRITE", script)
        answers.append(log.rewrite(rewrites))
    assert answers[0] == answers[1]
    assert answers[0].records == 127
    found = [dumped(server, name) for name in ("short", "long")]
    for each in found:
        each["meta"].pop("incarnation")  # type: ignore[attr-defined]
    assert found[0] == found[1]
    assert {name for name in found[0] if name.startswith("h:")} == {"h:kv:128", "h:kv:129"}


def test_positions_and_versions_cross_an_epoch_in_the_middle_of_a_call(server: Valkey) -> None:
    log = opened(server, "short")
    one = Entry(0, 0, "", "setitem", b"")
    batches = [Batch(Stream(KV, f"{n:03}"), (one,), 0) for n in range(98)] + [Batch(Stream(ES, "e"), (one, one), 0)]
    for epoch in (7 << 40, 8 << 40):  # of new streams, and of known ones
        server.command("HSET", "rstore:{short:0}:meta", "n", epoch - 50)
        versions = log.append(batches)
        assert all(version <= epoch for version in versions[:50])
        assert versions[50:] == [epoch + 1] * 48 + [epoch + 2]
        positions = [position for position, _, _ in log.follow(epoch - 50)]
        assert positions == list(range(epoch - 49, epoch + 51))


def test_a_write_that_comes_while_a_namespace_is_discarded_finds_it_gone(server: Valkey) -> None:
    meta = "rstore:{default:0}:meta"
    with Store(server.dsn, frozen=False) as store:
        store.set_many({"a": 1, "b": 1})
        last = server.command("HGET", meta, "n")
        server.command("HSET", meta, "ending", last)  # as the first step of a discard does
        server.command("HDEL", meta, "n")
        store.set("a", 2)
        assert dict(store) == {"a": 2}
        assert store.version("a", "kv") > int(last)


def test_values_without_history_are_replaced_by_the_thousand(server: Valkey) -> None:
    with Store(server.dsn, history=False, frozen=False) as store:
        for value in range(3):
            store.set_many({f"{key:04}": value for key in range(1500)})
        assert dict(store) == {f"{key:04}": 2 for key in range(1500)}
        assert [change.value for change in store.log()] == [2] * 1500
        assert server.command("XLEN", "rstore:{default:0}:feed") == 1500
    assert not [key for key in server.command("KEYS", "*") if key.startswith("rstore:{default:0}:r:kv:")]


FOREIGN = [
    *(("SET", key, "foreign") for key in ("h:kv:b", "r:kv:a", "i:kv:a", "feed", "live", "all")),
    ("HSET", "h:kv:b", "a", "1"),
]


@pytest.mark.parametrize("words", FOREIGN, ids=" ".join)
def test_what_another_program_wrote_is_found_before_anything_is_written(server: Valkey, words: tuple[str, ...]) -> None:
    prefix = "rstore:{default:0}:"
    with Store(server.dsn, frozen=False) as store, Store(server.dsn, frozen=False, history=False) as plain:
        store.set_many({"a": 1, "z": 1})
        store.set("a", 2)
        verb, key, *rest = words
        server.command("DEL", prefix + key)
        server.command(verb, prefix + key, *rest)
        before = {key: server.command("DUMP", key) for key in server.command("KEYS", "*") if "meta" not in key}
        with pytest.raises(StoreError, match=r"was not written by rstore|that rstore did not write"):
            store.set_many({"z": 2, "a": 3, "b": 3, "c": 3})
        if not key.endswith(":a"):
            with pytest.raises(StoreError, match=r"was not written by rstore|that rstore did not write"):
                plain.delete("z", "b", "c")
    assert {key: server.command("DUMP", key) for key in server.command("KEYS", "*") if "meta" not in key} == before


def test_nothing_is_stored_if_one_of_thousands_is_not_as_expected(server: Valkey) -> None:
    log = opened(server, "short")
    new = [Batch(Stream(KV, f"{n:04}"), (Entry(0, 0, "", "setitem", b""),), 0, expect=0) for n in range(3000)]
    log.append(new[2500:2501])
    before = dumped(server, "short")
    with pytest.raises(StoreConflictError, match="2500"):
        log.append(new)
    assert dumped(server, "short") == before
    log.append(new[:2500])


def test_a_deletion_of_keys_that_are_not_there_does_not_bring_back_a_discarded_namespace(server: Valkey) -> None:
    with Store(server.dsn, frozen=False) as store, Store(server.dsn, frozen=False) as other:
        store.set("a", 1)
        other.set("b", 1)
        store.discard()
        other.delete("x", "y")
        other.delete("x")
        floors = server.command("HMGET", "rstore:{default:0}:meta", "n", "floor")
        assert None not in floors
        assert int(floors[0]) >= int(floors[1]) > 0
