"""Another key for all that a store holds: afterwards the new one reads everything, and nobody notices otherwise."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import psycopg
import pytest

from rstore import (
    Change,
    FrozenStoreError,
    Reclaimed,
    Store,
    StoreError,
    StorePayloadError,
    StorePlaintextError,
    StoreWrongKeyError,
)
from rstore.admin.check import check
from rstore.domain.erasure import ERASURES, REKEY
from rstore.domain.log import Head, Log, Record, Rewrite
from rstore.domain.streams import Stream
from rstore.encoding.sealing import is_encrypted
from rstore.progress import Progress
from rstore.protection import STREAM
from tests import conftest
from tests.conftest import KEY, OTHER_KEY, Backend, case

BOTH = [OTHER_KEY, KEY]
EVENTS = 300  # more than it takes for a snapshot


def count(change: Change, store: Store) -> None:
    store["counted " + change.key] = store.get("counted " + change.key, 0) + 1


def fill(store: Store) -> None:
    """Write all that there is: each kind, with who and why, tokens, a snapshot, a projection, and what is gone."""
    with store.context(who="ada", why="ticket 42"):
        store.set_many({f"k{i}": "value" * 100 * i for i in range(5)})
        store["k1"] = "newer"
        store.extend("series", ((i, i * i) for i in range(5000)))
    store.delete("k2")
    store.extend("series", (7, "seven"))
    store.remove("series", start=10, end=20)
    for i in range(EVENTS):
        store.apply("events", {"n": i} if i % 10 == 0 else {"n": (operator.add, 1)}, t=2 * i)
    store.apply("events", {"late": 1}, t=5, once="token")
    store.set("k3", "once", once="token")
    store.project("counts", count)


def shown(store: Store) -> list[object]:
    """Return all that a store shows, but for the news that it was encrypted with another key."""
    past = [change.recorded for change in store.log() if change.op != REKEY]
    view = store.at(past[len(past) // 2])
    return [
        dict(store),
        store.range("series"),
        store.current("events"),
        [store.past("events", t) for t in (4, 5, EVENTS)],
        store.events("events"),
        [store.version(key, kind) for key, kind in (("k1", "kv"), ("series", "ts"), ("events", "es"))],
        [change for change in store.log() if change.op != REKEY],
        # without how far other partitions were read
        [checkpoint.split(".")[:2] for checkpoint, change in store.follow() if change.op != REKEY],
        dict(view),
        view.range("series"),
        view.current("events"),
    ]


def outside(log: Log) -> list[tuple[Stream, Record]]:
    """Return all that can be seen of the records without a key, but for what a rekey adds: an erasure, check values."""
    found = ((stream, record) for _, stream, record in log.follow() if stream not in (STREAM, ERASURES))
    return [(stream, record._replace(data=b"", meta=None)) for stream, record in found]


def heads(log: Log) -> list[Head]:
    """Return all heads, but for when they died: a rewrite may forget it, and then a little more is read."""
    return [head._replace(died=0) for kind in ("kv", "ts", "es", "ss") for head in log.heads(kind, live=False)]


def is_current(log: Log, store: Store) -> bool:
    return all(store._core.envelope.sealer.is_current(record) for _, _, record in log.follow())


def test_the_new_key_alone_reads_everything_afterwards(backend: Backend) -> None:
    store, log = backend.store(key=KEY), backend.log()
    fill(store)
    before, seen, known = shown(store), outside(log), heads(log)
    followed = list(store.follow())
    rekeying = backend.store(key=BOTH)

    assert rekeying.rekey() == len(seen)

    new = backend.store(key=OTHER_KEY)
    assert shown(new) == before
    for at in (0, 3, len(followed) - 1):
        rest = [change for _, change in new.follow(after=followed[at][0]) if change.op != REKEY]
        assert rest == [change for _, change in followed[at + 1 :]]
    assert (outside(log), heads(log)) == (seen, known)
    assert is_current(log, rekeying)
    with pytest.raises(StoreWrongKeyError):
        backend.store(key=KEY).get("k1")
    assert rekeying.rekey() == 0


def test_nobody_who_was_there_before_notices(backend: Backend) -> None:
    store = backend.store(key=BOTH[::-1])
    fill(store)
    version = store.version("k1", "kv")
    store.current("events")
    backend.store(key=BOTH).rekey()

    store.set("k1", "expected", expect=version)
    assert store.apply("events", {"n": (operator.add, 1)}, t=2 * EVENTS) == {"n": EVENTS, "late": 1}
    assert store.apply("events", {"late": 2}, once="token")["late"] == 1
    assert store.project("counts", count) == 2
    assert backend.store(key=BOTH).current("events") == store.current("events")


def test_what_is_not_encrypted_becomes_so_if_it_may_be_read(backend: Backend) -> None:
    plain, log = backend.store(), backend.log()
    with plain.context(who="ada"):
        plain["k"] = "plain"
    with pytest.raises(StorePlaintextError):
        backend.store(key=KEY).rekey()
    assert backend.store(key=KEY, plaintext=True).rekey() == 1
    assert backend.store(key=KEY).history("k")[0].who == "ada"
    assert all(is_encrypted(record.data) for _, _, record in log.follow())


def test_a_new_note_beside_an_old_value_counts_too(backend: Backend) -> None:
    store, log = backend.store(key=BOTH), backend.log()
    with store.context(who="ada"):
        backend.store(key=KEY)["k"] = 1
        store["other"] = 2
    assert store.rekey() == 1
    assert is_current(log, store)


def test_it_goes_on_after_an_interrupt(backend: Backend) -> None:
    values = {f"k{i}": os.urandom(300_000) for i in range(20)}
    old, store = backend.store(key=KEY), backend.store(key=BOTH)
    for key, value in values.items():
        old[key] = value
    heard: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        heard.append(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.rekey(interrupt)
    assert dict(store) == values  # some with one key, some with the other
    rest = store.rekey()
    assert 0 < rest < len(values)
    assert rest + heard[0].done == len(values)
    assert dict(backend.store(key=OTHER_KEY)) == values


KILLED = """
import os, signal, sys
from rstore import Store
from rstore.history import follow as following

dsn, keys, at = sys.argv[1], sys.argv[2:4], int(sys.argv[4])
following._PAGE = 40
with Store(dsn, key=keys, frozen=False) as store:
    rewrite = store._core.base.rewrite

    def mortal(rewrites):
        global at
        at -= 1
        if at == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        saved = rewrite(rewrites)
        at -= 1
        if at == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return saved

    store._core.base.rewrite = mortal
    store.rekey()
"""


def test_it_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    with Store(path, key=KEY, frozen=False) as store:
        fill(store)
        before, seen, known = shown(store), outside(store._core.base), heads(store._core.base)
    for at in (2, 5):  # after the first page; before the third of what is left
        with case(at):
            ended = subprocess.run([sys.executable, "-c", KILLED, path, *BOTH, str(at)], timeout=60, check=False)
            assert ended.returncode == -signal.SIGKILL
            with Store(path, key=BOTH) as store:
                assert shown(store) == before
    with Store(path, key=BOTH, frozen=False) as store:
        assert 0 < store.rekey() == len(seen) - (3 * 40 - 1)  # a check value is on the first page
        assert list(check(store)) == []
    with Store(path, key=OTHER_KEY) as store:
        assert shown(store) == before
        assert (outside(store._core.base), heads(store._core.base)) == (seen, known)


class Between:
    """Something that happens right before the next rewrite of a store's log."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
        self._rewrite, self._happens = store._core.base.rewrite, happens
        monkeypatch.setattr(store._core.base, "rewrite", self)

    def __call__(self, rewrites: Sequence[Rewrite]) -> Reclaimed:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
        return self._rewrite(rewrites)


def test_what_others_compact_meanwhile_does_not_come_back(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged segments take the versions of what they replace: the old ones must not be put there again."""
    other, store = backend.store(key=BOTH[::-1]), backend.store(key=BOTH)
    for i in range(10):
        other.extend("series", (i, "old"), (i + 1, "kept"))
    other.remove("series", start=3, end=3)
    other.set_many({"a": 1, "b": 1})
    other["a"] = 2
    points = other.range("series")
    Between(store, monkeypatch, other.compact)

    store.rekey()

    new = backend.store(key=OTHER_KEY)
    assert new.range("series") == points
    assert [(change.op, change.value) for change in new.history("a")] == [("setitem", 2), ("compact", ANY)]
    assert [change.op for change in new.log(kind="ts")] == ["extend", "compact"]


def test_what_was_replaced_or_discarded_meanwhile_does_not_come_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, store = backend.store(key=BOTH, history=False), backend.store(key=BOTH)
    backend.store(key=KEY).set_many({"a": 1, "b": 1})

    def meanwhile() -> None:
        other["a"] = 2
        other.delete("b")

    Between(store, monkeypatch, meanwhile)
    store.rekey()
    assert dict(backend.store(key=OTHER_KEY)) == {"a": 2}
    assert [(change.op, change.value) for change in store.log()] == [("rekey", ANY), ("setitem", 2)]


def test_others_write_and_erase_meanwhile(backend: Backend) -> None:
    old = backend.store(key=KEY)
    old.set_many({f"k{i}": i for i in range(200)})
    old.extend("series", ((i, i) for i in range(100)))
    ready = backend.store(key=BOTH)
    stopped = threading.Event()

    def write(number: int) -> int:
        store, n = backend.store(key=BOTH, history=bool(number)), 0
        while not stopped.is_set():
            store[f"k{number}"] = n
            store.apply("events", {f"item {number}": n})
            store.extend("series", (1000 * (number + 1) + n, n))
            if n % 10 == 0:
                store.compact()
            n += 1
        return n

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, number) for number in range(2)]
        try:
            for _ in range(3):
                ready.rekey()
        finally:
            stopped.set()
    done = [writer.result() for writer in writers]
    ready.rekey()

    new = backend.store(key=OTHER_KEY)
    written = {f"k{number}": n - 1 for number, n in enumerate(done) if n}
    assert dict(new) == {f"k{i}": i for i in range(200)} | written
    assert new.current("events") == {f"item {number}": n - 1 for number, n in enumerate(done) if n}
    points = [(i, i) for i in range(100)]
    assert new.range("series") == points + [(1000 * (k + 1) + i, i) for k, n in enumerate(done) for i in range(n)]


def test_damage_is_reported_and_what_came_before_it_is_done(backend: Backend) -> None:
    store, log = backend.store(key=BOTH), backend.log()
    backend.store(key=KEY)["k"] = 1
    (record,) = log.last([Stream("kv", "k")])
    assert record is not None
    broken = record.data[:-1] + bytes([record.data[-1] ^ 1])
    log.rewrite([Rewrite(Stream("kv", "k"), None, [record.version], [record._replace(data=broken)])])
    with pytest.raises(StorePayloadError, match="not authentic"):
        store.rekey()


def test_it_takes_a_key_and_leave_to_write(backend: Backend) -> None:
    store = backend.store()
    store["k"] = 1
    with pytest.raises(StoreError, match=r"no key.*key=\[new, old\]"):
        store.rekey()
    with pytest.raises(FrozenStoreError):
        backend.store(key=KEY, frozen=True).rekey()
    with pytest.raises(StoreError, match="transaction"), backend.store(key=KEY, plaintext=True).transaction() as inside:
        inside.rekey()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_what_a_transaction_in_progress_hides_is_not_forgotten(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followers do not go on beyond a writer that has not ended. A rekey waits for it, and says so in the end."""
    monkeypatch.setattr("rstore.admin.rekey._WAITS", 2)
    old, store = backend.store(key=KEY), backend.store(key=BOTH)
    with psycopg.connect(conftest.postgresql()) as writer:
        writer.execute("LOCK TABLE rstore.stream IN ROW SHARE MODE")
        writer.execute("SELECT pg_current_xact_id()")
        old["k"] = 1
        with pytest.raises(StoreError, match=r"a transaction that has not ended.*call rekey\(\) again"):
            store.rekey()
    assert store.rekey() == 1
    assert backend.store(key=OTHER_KEY)["k"] == 1
