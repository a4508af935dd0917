"""An inspection finds whatever was done to a store behind its back, and nothing where nothing was done."""

from __future__ import annotations

import operator
import random
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count as counting
from itertools import product, takewhile
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis as driver
from freezegun import freeze_time

from rstore import Change, JsonStore, Store, StoreNotAvailableError
from rstore.adapters.redis.codec import span_range
from rstore.adapters.redis.keys import Partition, stream_name
from rstore.admin.check import Info, Problem, check, info
from rstore.domain.log import Record, Rewrite
from rstore.domain.spans import level
from rstore.domain.streams import Stream
from rstore.progress import Progress
from rstore.protection import STREAM
from tests import conftest
from tests.conftest import KEY, OTHER_KEY, Backend, in_turn

PRICE, SERIES, ACCOUNT = Stream("kv", "price"), Stream("ts", "series"), Stream("es", "account")
EVENTS = 600  # two snapshots

only = pytest.mark.parametrize


def count(change: Change, store: Store) -> None:
    store["counted " + change.key] = store.get("counted " + change.key, 0) + 1


def fill(store: Store) -> None:
    """Write to all kinds of streams, with some of all that makes a history."""
    with store.context(who="ada", why="ticket 42"):
        store["price"] = 10
        store["price"] = 11
        store["gone"] = "for now"
    store.set("once", 1, once="token")
    del store["gone"]
    store.extend("series", ((i, i * i) for i in range(5000)))
    store.extend("series", (7, "seven"), (9000, "late"))
    store.remove("series", start=20, end=30)
    store.extend("ended", (1, 1))
    store.remove("ended")
    store.apply("account", {"balance": 0, "owner": "Ada"}, t=0)
    for t in range(1, 4):
        store.apply("account", {"balance": (operator.add, t)}, t=10 * t)
    store.apply("account", {"note": "late"}, t=15)


def fill_with_snapshots(store: Store) -> None:
    for t in range(EVENTS):
        store.apply("long", {f"item {t % 7}": t}, t=2 * t)


def problems(store: Store) -> list[Problem]:
    found = list(check(store))
    assert len(set(found)) == len(found)
    return found


def put(backend: Backend, stream: Stream, **changes: Any) -> Record:
    """Change the newest record of a stream behind the store's back, and return what it was."""
    log = backend.log()
    (record,) = log.last([stream])
    assert record is not None
    changed = record._replace(**changes)
    log.rewrite([Rewrite(stream, None, [record.version], [changed], bump_version=False)])
    return record


def newest(backend: Backend, stream: Stream) -> Record:
    (record,) = backend.log().last([stream])
    assert record is not None
    return record


def flipped(data: bytes, bit: int) -> bytes:
    at, mask = bit // 8, 1 << bit % 8
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_info_tells_what_is_there_without_a_key(backend: Backend) -> None:
    with freeze_time("2026-01-01T00:00:00Z"):
        fill(backend.store(key=KEY))
    with freeze_time("2026-01-02T00:00:00Z"):
        backend.store()["plain"] = 1
    store, log = backend.store(frozen=True), backend.log()
    heard: list[Progress] = []

    found = info(store, heard.append)

    assert isinstance(found, Info)
    assert (found.backend, found.namespace) == (log.name, "default")
    assert store._core.base.namespaces() == found.namespaces
    assert found.keys == {"kv": len(store), "ts": len(store.timeseries()), "es": 1} == {"kv": 3, "ts": 1, "es": 1}
    assert found.records == {"es": 6, "kv": 6, "once": 1, "ts": 6}
    shown = [record for _, stream, record in log.follow() if stream != STREAM]
    assert found.bytes == sum(len(record.data) + len(record.meta or b"") for record in shown)
    assert (found.oldest, found.newest) == (1767225600000, 1767312000000)
    assert found.encrypted == 18 / 19
    assert heard == [Progress(20, None)]  # and a check value


def test_info_of_an_empty_store(backend: Backend) -> None:
    found = info(backend.store())
    assert (found.records, found.bytes, found.oldest, found.newest, found.encrypted) == ({}, 0, None, None, 0.0)


# -- nothing is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Store, JsonStore])
def test_nothing_is_wrong_with_what_was_written(backend: Backend, key: str | None, cls: type[Store]) -> None:
    store = backend.store(cls, key=key)
    assert problems(store) == []
    fill(store)
    heard: list[Progress] = []
    assert list(check(backend.store(cls, key=key, frozen=True), heard.append)) == []
    assert heard == [Progress(18 if key is None else 19, None)]  # with a check value


def test_nothing_is_wrong_after_anything_was_erased(backend: Backend) -> None:
    store = backend.store(key=KEY)
    fill(store)
    store.prune("account")
    assert problems(store) == []
    store.compact()
    assert problems(store) == []
    replacing = backend.store(key=KEY, history=False)
    for n in range(3):
        replacing["price"] = n
    replacing.delete("once")
    store.prune("account", remove=False)
    assert problems(store) == []
    backend.store(key=[OTHER_KEY, KEY]).rekey()
    new = backend.store(key=OTHER_KEY)
    new.project("counts", count)
    assert problems(new) == []
    new.discard()
    new["new"] = 1
    assert problems(new) == []


def test_snapshots_agree_with_the_events_also_when_some_came_late(backend: Backend) -> None:
    store = backend.store()
    fill_with_snapshots(store)
    for t in (1, 301, 901):
        store.apply("long", {"late": t}, t=t)
    for t in range(EVENTS, EVENTS + 300):
        store.apply("long", {"more": t}, t=2 * t)
    assert len(list(backend.log().read(Stream("ss", "long")))) > 2
    assert problems(store) == []


class Opaque:
    """A value that is equal to nothing, not even to its copy."""


def test_values_that_can_not_be_compared_are_no_problem(backend: Backend) -> None:
    store = backend.store()
    store.apply("long", {"opaque": Opaque(), "nan": float("nan")}, t=0)
    for t in range(1, 300):
        store.apply("long", {"n": t}, t=t)
    assert len(list(backend.log().read(Stream("ss", "long")))) == 1
    assert problems(store) == []


ACTIONS: tuple[Callable[[Store, str, int], object], ...] = (
    lambda store, key, n: store.set(key, n),
    lambda store, key, n: store.delete(key),
    lambda store, key, n: store.set_many({f"{key} {i}": n for i in range(3)}),
    lambda store, key, n: store.extend(key, ((i, n) for i in range(n, n + 50))),
    lambda store, key, n: store.extend(key, (n, n), (n + 1000, n)),
    lambda store, key, n: store.remove(key, start=n, end=n + 30),
    lambda store, key, n: store.remove(key),
    lambda store, key, n: store.apply(key, {f"item {n % 3}": n}),
    lambda store, key, n: store.apply(key, {"one": n, "two": n}, once=f"{n}"),
    lambda store, key, n: store.prune(key, remove=bool(n % 2)),
    lambda store, key, n: store.compact(),
    lambda store, key, n: store.transact(lambda each: (each.set(key, n), each.extend(key, (n, n)))),
    lambda store, key, n: store.project("counts", count),
)


def act(store: Store, dice: random.Random, steps: Iterable[int]) -> None:
    for n in steps:
        dice.choice(ACTIONS)(store, dice.choice("abc"), n)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_wrong_after_whatever_was_done(backend: Backend, seed: int) -> None:
    store = backend.store()
    act(store, random.Random(seed), range(60))
    assert problems(store) == []


def test_nothing_is_wrong_while_others_write_and_erase(backend: Backend) -> None:
    """They rewrite all the time: what one look shows is different at the next one, and no problem."""
    stopped = threading.Event()
    backend.store()["a"] = 0

    def work(seed: int) -> None:
        dice = random.Random(seed)
        store = backend.store(history=bool(seed % 2))
        act(store, dice, takewhile(lambda _: not stopped.is_set(), counting()))

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work, seed) for seed in range(2)]
        try:
            store = backend.store(frozen=True)
            for _ in range(5):
                assert problems(store) == []
        finally:
            stopped.set()
    for worker in workers:
        worker.result()
    assert problems(store) == []


@in_turn(("at", "again"), product((3, 18), (False, True)))
def test_nothing_is_wrong_with_what_was_discarded_meanwhile(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, at: int, again: bool
) -> None:
    """Neither in the middle of the feed nor after its end, when all that it has shown is looked up."""
    other = backend.store()
    fill(other)
    store = backend.store(frozen=True)
    shown = counting(1)

    def follow() -> Iterator[tuple[Any, Stream, Record]]:
        for found in type(store._core.base).follow(store._core.base):
            yield found
            if next(shown) == at:
                other.discard()
                if again:
                    fill(other)

    with monkeypatch.context() as patch:
        patch.setattr(store._core.base, "follow", follow)
        assert problems(store) == []
    assert len(other) == (2 if again else 0)
    store.close()
    other.discard()
    other.close()


# -- damaged payloads --------------------------------------------------------------------------------------------------


@in_turn(("stream", "field"), product((PRICE, SERIES, ACCOUNT), ("data", "meta")))
def test_a_flipped_bit_is_found(backend: Backend, key: str | None, stream: Stream, field: str) -> None:
    store = backend.store(key=key)
    with store.context(who="ada"):
        store["price"] = "a value"
        store.extend("series", (1, "a"), (2, "b"))
        store.apply("account", {"balance": 10})
    sealed = getattr(newest(backend, stream), field)
    for bit in random.Random(0).sample(range(8 * len(sealed)), 1):
        was = put(backend, stream, **{field: flipped(sealed, bit)})
        found = problems(store)
        assert {problem[:3] for problem in found} == {(*stream, was.version)}
        assert all(problem.message.startswith("who and why: ") for problem in found) == (field == "meta")
        put(backend, stream, **{field: sealed})
    assert problems(store) == []


def test_all_that_is_damaged_is_found_and_nothing_else(backend: Backend) -> None:
    store = backend.store()
    store.set_many({f"k{i}": i for i in range(10)})
    for key in ("k3", "k7"):
        put(backend, Stream("kv", key), data=b"\x01\x00\x00\x00\x00\x00damaged")
    # on a cluster, records of one commit come in the order of their partitions
    assert sorted((problem.key, problem.message) for problem in problems(store)) == [
        (key, "the payload can't be read (the checksum does not match: it was damaged)") for key in ("k3", "k7")
    ]


def test_a_record_that_was_moved_to_another_key_is_found(backend: Backend) -> None:
    store = backend.store(key=KEY)
    store["other"] = "value"
    store["price"] = "price"
    put(backend, PRICE, data=newest(backend, Stream("kv", "other")).data)
    (problem,) = problems(store)
    assert problem[:2] == PRICE
    assert "moved" in problem.message


def test_a_wrong_key_is_found_for_each_record(backend: Backend) -> None:
    fill(backend.store(key=KEY))
    for key, words in ((OTHER_KEY, "encrypted with another key"), (None, "encrypted: open the store with key")):
        found = [problem for problem in problems(backend.store(key=key)) if "who" not in problem.message]
        assert len(found) == 19  # and a check value
        assert all(problem.message.startswith(words) for problem in found)


def test_what_is_not_encrypted_is_found_where_it_should_be(backend: Backend) -> None:
    backend.store()["price"] = 1
    (problem,) = problems(backend.store(key=KEY))
    assert problem.message.startswith("not encrypted")
    assert problems(backend.store(key=KEY, plaintext=True)) == []


# -- records that nobody would write -----------------------------------------------------------------------------------


@only("backend", ["memory", "sqlite"], indirect=True)  # what is read is looked at, wherever it comes from
@pytest.mark.parametrize(
    ("stream", "changes", "words"),
    [
        (PRICE, {"op": "extend"}, "operator 'extend'"),
        (PRICE, {"start": 1, "end": 1}, "its span is 1..1"),
        (SERIES, {"op": "setitem"}, "operator 'setitem'"),
        (SERIES, {"end": 3}, "times don't"),
        (SERIES, {"start": 0}, "times don't"),
        (ACCOUNT, {"end": 2**40}, "should be a single time"),
        (ACCOUNT, {"op": "exec"}, "operator 'exec'"),
    ],
)
def test_what_does_not_fit_its_kind_is_found(
    backend: Backend, stream: Stream, changes: dict[str, Any], words: str
) -> None:
    store = backend.store()
    store["price"] = 1
    store.extend("series", (1, "a"))
    store.extend("series", (2, "b"))
    store.apply("account", {"balance": 10}, t=5)
    was = put(backend, stream, **changes)
    assert any(words in problem.message for problem in problems(store) if problem[:3] == (*stream, was.version))


def test_times_that_go_back_are_found(backend: Backend) -> None:
    store = backend.store()
    store["price"] = 1
    store["price"] = 2
    was = put(backend, PRICE, recorded=5)
    assert Problem(*PRICE, was.version, "it was recorded before the one before it") in problems(store)


def test_an_event_that_fails_is_found(backend: Backend) -> None:
    store = backend.store()
    store.apply("account", {"n": 1}, t=1)
    store.apply("account", {"n": (operator.add, 1)}, t=2)
    was = put(backend, ACCOUNT, item="unknown")
    (problem,) = problems(store)
    assert problem[:3] == (*ACCOUNT, was.version)
    assert "operator.add fails on item 'unknown' at time 2" in problem.message


def test_a_snapshot_that_is_not_what_the_events_come_to_is_found(backend: Backend, key: str | None) -> None:
    store = backend.store(key=key)
    fill_with_snapshots(store)
    snapshots = Stream("ss", "long")
    record = newest(backend, snapshots)
    state = {**store._core.envelope.state(snapshots, record), "item 3": "forged"}
    body = store._core.envelope.dump_state("long", state)
    assert body is not None
    forged = store._core.envelope.entry(
        snapshots, record.op, body, item=record.item, start=record.start, end=record.end
    )
    put(backend, snapshots, data=forged.data)
    assert problems(store) == [Problem(*snapshots, record.version, "it differs from the state of the events: 'item 3'")]


def test_a_snapshot_from_before_a_late_event_is_compared_with_what_was_known_then(backend: Backend) -> None:
    store = backend.store()
    fill_with_snapshots(store)
    snapshots, events = Stream("ss", "long"), Stream("es", "long")
    log = backend.log()
    first = next(iter(log.read(snapshots)))
    store.apply("long", {"late": 1}, t=1)
    folded = [record for record in log.read(events) if record.version <= int(first.item)]
    version, _, _, start, end, item, op, *_ = folded[-1]
    forged = store._core.envelope.entry(
        events, op, store._core.envelope.dump("long", "forged"), item=item, start=start, end=end
    )
    log.rewrite([Rewrite(events, None, [version], [folded[-1]._replace(data=forged.data)], bump_version=False)])
    assert [problem[:3] for problem in problems(store)] == [(*snapshots, first.version)]


# -- indexes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as db:
        yield db


@pytest.fixture
def filled(backend: Backend) -> Store:
    store = backend.store()
    fill(store)
    store.extend("series", (3, "three"))
    assert problems(store) == []
    return store


@only("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE rstore_record SET level = 9 WHERE stream = {series} AND version = 2", {"it is not found by its span"}),
        ("UPDATE rstore_head SET levels = 1 WHERE id = {series}", {"it is not found by its span"}),
        ("UPDATE rstore_head SET live = 0 WHERE id = {price}", {"the key is not live after setitem"}),
        ("UPDATE rstore_head SET floor = 99 WHERE id = {account}", set()),
        ("UPDATE rstore_count SET live = live + 1 WHERE kind = 'kv'", {"3 live streams are counted, and 2 are listed"}),
        ("DELETE FROM rstore_record WHERE stream = {account} AND version = 3", {"the record before it is missing"}),
        ("DELETE FROM rstore_record WHERE stream = {series} AND version = 1", {"the record before it is missing"}),
        ("DROP INDEX rstore_record_span", {"it can't be read by its span: "}),
        ("UPDATE rstore_record SET item = 'x' WHERE stream = {account} AND version = 1", {"operator.add fails"}),
        (
            "UPDATE rstore_record SET start = 'text' WHERE stream = {series} AND version = 1",
            {"the log can't be read on"},
        ),
    ],
)
def test_sqlite_tables_that_were_tampered_with_are_found(
    backend: Backend, filled: Store, sqlite: sqlite3.Connection, statement: str, expected: set[str]
) -> None:
    ids = {
        stream.key: sqlite.execute("SELECT id FROM rstore_head WHERE kind = ? AND key = ?", stream).fetchone()[0]
        for stream in (PRICE, SERIES, ACCOUNT)
    }
    sqlite.execute(statement.format(**ids))
    messages = [problem.message for problem in problems(filled)]
    for words in expected:
        assert any(words in message for message in messages), messages
    assert bool(messages) == bool(expected)  # a greater floor only says that there was a rewrite


@only("backend", ["sqlite"], indirect=True)
def test_an_entry_that_an_index_has_lost_is_found(backend: Backend, filled: Store, sqlite: sqlite3.Connection) -> None:
    """While the index is hidden from SQLite, a record is inserted: it is in the table and not in the index."""
    row = sqlite.execute("SELECT rowid, * FROM sqlite_schema WHERE name = 'rstore_record_span'").fetchone()
    filled.close()
    sqlite.execute("PRAGMA writable_schema = ON")
    sqlite.execute("DELETE FROM sqlite_schema WHERE name = 'rstore_record_span'")
    sqlite.execute("PRAGMA schema_version = 1001")
    (series,) = sqlite.execute("SELECT id FROM rstore_head WHERE kind = 'ts' AND key = 'series'").fetchone()
    columns = 'stream, version, recorded, start, "end", level, item, op, data, meta'
    sqlite.execute(
        f'INSERT INTO rstore_record ({columns}) SELECT stream, version + 1, recorded, start, "end", level, item, op, '
        "data, meta FROM rstore_record WHERE stream = ? ORDER BY version DESC LIMIT 1",
        (series,),
    )
    (version,) = sqlite.execute("SELECT max(version) FROM rstore_record WHERE stream = ?", (series,)).fetchone()
    sqlite.execute(
        "INSERT INTO sqlite_schema (rowid, type, name, tbl_name, rootpage, sql) VALUES (?, ?, ?, ?, ?, ?)", row
    )
    sqlite.execute("PRAGMA schema_version = 1002")
    filled.open()
    found = {problem for problem in problems(filled) if problem.version == version}
    assert Problem(*SERIES, version, "it is not found by its span") in found


@only("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "DELETE FROM rstore.record WHERE stream = {account} AND version = {first} + 2",
            "the record before it is missing",
        ),
        ("DELETE FROM rstore.record WHERE stream = {price} AND version = {newest}", "newest record, and is not found"),
        ("DELETE FROM rstore.record WHERE stream = {price}", "newest record, and is not found"),
        (
            "DELETE FROM rstore.record WHERE stream = {series} AND version = {first} + 2",
            "the record before it is missing",
        ),
        (
            "UPDATE rstore.record SET data = set_byte(data, 5, 1 # get_byte(data, 5)) WHERE stream = {series}",
            "the checksum does not match",
        ),
        (
            "UPDATE rstore.record SET meta = set_byte(meta, 9, 1 # get_byte(meta, 9)) WHERE stream = {price}",
            "who and why: ",
        ),
        ("UPDATE rstore.stream SET version = version - 1 WHERE id = {account}", "its head is at version"),
        ("UPDATE rstore.stream SET newest = newest - 1 WHERE id = {price}", "newest record, and is not found"),
        ("UPDATE rstore.stream SET levels = 1 WHERE id = {series}", "it is not found by its span"),
        ("UPDATE rstore.record SET level = 60 WHERE stream = {series} AND version = {newest}", "not found by its span"),
        ("UPDATE rstore.stream SET live = false WHERE id = {price}", "the key is not live after setitem"),
        ("UPDATE rstore.stream SET live = true WHERE kind = 'kv' AND key = 'gone'", "the key is live after delitem"),
        ("UPDATE rstore.stream SET floor = version + 1 WHERE id = {series}", "above its version"),
        ("DELETE FROM rstore.stream WHERE id = {series}", ""),
    ],
)
def test_postgresql_tables_that_were_tampered_with_are_found(
    backend: Backend, filled: Store, statement: str, expected: str
) -> None:
    connect: Any = backend.connect
    target = "account" if "{account}" in statement else "series" if "{series}" in statement else "price"
    with psycopg.connect(conftest.postgresql(), autocommit=True) as db:
        ids = dict(
            db.execute(
                "SELECT key, s.id FROM rstore.stream AS s JOIN rstore.namespace AS n ON n.id = s.namespace "
                "WHERE n.name = %s AND (kind, key) IN (('kv', 'price'), ('ts', 'series'), ('es', 'account'))",
                (f"{connect._prefix} default",),
            ).fetchall()
        )
        row = db.execute("SELECT min(version), max(version) FROM rstore.record WHERE stream = %s", (ids[target],))
        first, newest = row.fetchone() or (0, 0)
        namespace = f"(SELECT id FROM rstore.namespace WHERE name = '{connect._prefix} default')"
        statement = statement.replace("WHERE kind", f"WHERE namespace = {namespace} AND kind")
        db.execute(statement.format(**ids, first=first, newest=newest).encode())
        messages = [problem.message for problem in problems(filled)]
        assert any(expected in message for message in messages) or not expected, messages


class Behind:
    """The keys of a stream in Redis."""

    def __init__(self, backend: Backend) -> None:
        connect: Any = backend.connect
        self.db = driver.Redis.from_url(conftest.redis())
        self.home = Partition(f"{connect._prefix} default", 0)

    def forget_span(self, stream: Stream, start: int, end: int) -> None:
        low, high = span_range(level(start, end), start, start)
        assert self.db.zremrangebylex(self.home.spans(stream), b"[" + low, b"(" + high)

    def forget_record(self, stream: Stream, version: int) -> None:
        assert self.db.hdel(self.home.records(stream), str(version))

    def flip(self, stream: Stream, version: int, bit: int) -> None:
        """Flip a bit of a record, counted from its end, where records of the past are."""
        name = self.home.records(stream)
        packed = self.db.hget(name, str(version))
        assert isinstance(packed, bytes)
        self.db.hset(name, str(version), flipped(packed[::-1], bit)[::-1])

    def forget_feed(self, position: int) -> None:
        assert self.db.xdel(self.home.feed, f"{position}-0")

    def change_head(self, stream: Stream, change: Callable[[bytes], bytes]) -> None:
        packed = self.db.get(self.home.head(stream))
        assert isinstance(packed, bytes)
        self.db.set(self.home.head(stream), change(packed))

    def unlist(self, key: bytes, stream: Stream) -> None:
        assert self.db.zrem(key, stream_name(stream))


@pytest.fixture
def behind(backend: Backend) -> Iterator[Behind]:
    made = Behind(backend)
    with made.db:
        yield made


@only("backend", ["redis"], indirect=True)
class TestRedis:
    def test_a_span_that_is_not_in_the_index(self, backend: Backend, filled: Store, behind: Behind) -> None:
        behind.forget_span(SERIES, 3, 3)
        found = problems(filled)
        assert Problem(*SERIES, newest(backend, SERIES).version, "it is not found by its span") in found
        assert {problem[:2] for problem in found} == {SERIES}

    def test_an_older_value_of_a_key_that_is_not_in_the_index(self, filled: Store, behind: Behind) -> None:
        behind.forget_span(PRICE, 0, 0)
        assert [(problem.key, problem.message) for problem in problems(filled)] == [
            ("price", "it is not found by its span")
        ]

    @pytest.mark.parametrize("number", [0, 2, -1])
    def test_a_record_that_is_not_there(self, backend: Backend, filled: Store, behind: Behind, number: int) -> None:
        records = sorted(backend.log().read(SERIES))
        behind.forget_record(SERIES, records[number].version)
        assert SERIES in {problem[:2] for problem in problems(filled)}

    def test_a_bit_that_was_flipped_in_a_record(self, backend: Backend, filled: Store, behind: Behind) -> None:
        first = min(record.version for record in backend.log().read(SERIES))
        behind.flip(SERIES, first, 100)
        (problem,) = problems(filled)
        assert problem[:3] == (*SERIES, first)
        assert "the checksum does not match" in problem.message

    def test_a_bit_that_was_flipped_in_the_value_behind_a_head(self, filled: Store, behind: Behind) -> None:
        behind.change_head(PRICE, lambda head: flipped(head, 8 * len(head) - 5))
        (problem,) = problems(filled)
        assert problem[:2] == PRICE
        assert "the checksum does not match" in problem.message

    def test_a_record_that_is_not_in_the_feed(self, backend: Backend, filled: Store, behind: Behind) -> None:
        record = sorted(backend.log().read(ACCOUNT))[1]
        behind.forget_feed(record.position)
        assert Problem(
            *ACCOUNT,
            record.version,
            "it is found by its span, and should not be: it is not in the feed, or differs there",
        ) in problems(filled)

    @pytest.mark.parametrize("part", ["live", "all"])
    def test_a_stream_that_is_not_listed(self, filled: Store, behind: Behind, part: str) -> None:
        behind.unlist(getattr(behind.home, part), PRICE)
        assert PRICE in {problem[:2] for problem in problems(filled)}

    @pytest.mark.parametrize(
        "change",
        [
            lambda head: (int.from_bytes(head[:8], "big") - 1).to_bytes(8, "big") + head[8:],  # version
            lambda head: head[:48] + bytes([1 - head[48]]) + head[49:],  # live
            lambda head: head[:57] + bytes(8) + head[65:],  # levels
            lambda head: head[:40],
        ],
    )
    def test_a_head_that_is_wrong(self, filled: Store, behind: Behind, change: Callable[[bytes], bytes]) -> None:
        behind.change_head(SERIES, change)
        # of a head that can't be read at all, the server's answer does not say whose it is
        assert {problem.kind for problem in problems(filled)} & {"ts", ""}


def test_a_backend_that_is_gone_is_no_problem_but_an_error(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    store = backend.store()
    store["k"] = 1

    def fail(*_: object, **__: object) -> None:
        raise StoreNotAvailableError("gone")

    monkeypatch.setattr(store._core.base, "last", fail)
    with pytest.raises(StoreNotAvailableError):
        list(check(store))
