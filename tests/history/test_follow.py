"""Following: each change once, in one order, from a checkpoint on; and projections, which are fed exactly once."""

from __future__ import annotations

import math
import operator
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from rstore import (
    Change,
    Erasure,
    FrozenStoreError,
    JsonStore,
    Store,
    StoreClosedError,
    StoreConflictError,
    StoreError,
    StorePayloadError,
    Unreadable,
)
from rstore.admin.check import check
from rstore.domain.log import Batch, Entry
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.history import follow as following_module
from rstore.history import projector, targets
from rstore.transfer import copy
from tests.conftest import KEY, Backend
from tests.support.workers import SECONDS, WORKERS, Crew

PATIENCE = 30
"""Seconds after which whoever is not done hangs."""


@pytest.fixture
def other(backend: Backend, store: Store, key: str | None) -> Store:
    """Somebody else at the same data."""
    return backend.store(key=key)


def keys(changes: Iterator[tuple[str, Change]]) -> list[str]:
    return [f"{change.kind}/{change.key}" for _, change in changes]


def values(changes: Iterator[tuple[str, Change]]) -> list[Any]:
    return [change.value for _, change in changes]


def last(changes: Iterator[tuple[str, Change]]) -> str:
    """Return the last checkpoint."""
    return [checkpoint for checkpoint, _ in changes][-1]


class Doing(threading.Thread):
    """A thread of which the result, or the error, is handed on."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work, self._done = work, list[Any]()
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._done.append(self._work())
        except BaseException as exc:
            self._error = exc

    def result(self) -> Any:
        self.join(PATIENCE)
        assert not self.is_alive()
        if self._error:
            raise self._error
        return self._done[0]


# -- following --------------------------------------------------------------------------------------------------------


class TestFollow:
    def test_all_that_was_stored_in_the_order_of_the_log(self, store: Store) -> None:
        with store.context(who="ada", why="test"):
            store["k"] = 1
        store.extend("s", (1, "a"), (2, "b"))
        store.apply("e", {"n": 1, "m": 2}, t=5)
        store.remove("s", end=1)
        del store["k"]
        changes = [change for _, change in store.follow()]
        assert changes == list(store.log())
        assert [(change.kind, change.key, change.op, change.value) for change in changes] == [
            (KV, "k", "setitem", 1),
            (TS, "s", "extend", [(1, "a"), (2, "b")]),
            (ES, "e", "setitem", 1),
            (ES, "e", "setitem", 2),
            (TS, "s", "remove", (1, 1)),
            (KV, "k", "delitem", None),
        ]
        assert (changes[0].who, changes[0].why) == ("ada", "test")

    def test_from_any_checkpoint_on(self, store: Store) -> None:
        for n in range(10):
            store[f"k{n % 3}"] = n
        found = list(store.follow())
        for i, (checkpoint, _) in enumerate(found):
            assert list(store.follow(after=checkpoint)) == found[i + 1 :]

    def test_a_checkpoint_is_a_text_that_outlives_its_store(self, backend: Backend, key: str | None) -> None:
        with backend.store(key=key) as store:
            store["a"] = 1
            checkpoint = last(store.follow())
        assert type(checkpoint) is str
        assert checkpoint.isascii()
        assert checkpoint.isprintable()
        store = backend.store(key=key)
        store["b"] = 2
        assert values(store.follow(after=checkpoint)) == [2]
        assert values(backend.store(key=key, frozen=True).follow(after=checkpoint)) == [2]

    def test_only_a_kind_or_a_prefix(self, store: Store) -> None:
        store["a"] = 1
        store.extend("ab", (1, 1))
        store.apply("b", {"n": 1})
        store["ab"] = 2
        assert keys(store.follow(kind=KV)) == ["kv/a", "kv/ab"]
        assert keys(store.follow(kind=TS)) == ["ts/ab"]
        assert keys(store.follow(prefix="ab")) == ["ts/ab", "kv/ab"]
        assert keys(store.follow(kind=ES, prefix="a")) == []
        assert keys(store.follow(after=last(store.follow(kind=TS)))) == ["es/b", "kv/ab"]

    @pytest.mark.parametrize("wait", [None, 0.1])
    def test_what_users_do_not_see_does_not_come(self, store: Store, wait: float | None) -> None:
        for n in range(300):
            store.apply("k", {"n": n}, once=str(n))
        store.project("p", lambda change, store: None)
        changes = [change for _, change in store.follow(wait=wait)]
        assert [change.value for change in changes] == list(range(300))
        assert {change.kind for change in changes} == {"es"}

    def test_nothing_of_a_transaction_comes_to_others_before_its_end(self, store: Store, other: Store) -> None:
        with store.transaction():
            store["a"] = 1
            assert (keys(store.follow()), keys(other.follow())) == (["kv/a"], [])
        assert keys(store.follow()) == keys(other.follow()) == ["kv/a"]

    def test_a_frozen_store_is_followed_and_not_written_to(self, backend: Backend, key: str | None) -> None:
        store = backend.store(key=key)
        store["a"] = 1
        frozen = backend.store(key=key, frozen=True)
        following = frozen.follow(wait=PATIENCE)
        assert next(following)[1].value == 1
        store["a"] = 2
        assert next(following)[1].value == 2

    def test_without_the_key_it_says_what_is_wrong(self, backend: Backend) -> None:
        backend.store(key="0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=")["a"] = 1
        ((_, change),) = backend.store().follow()
        assert change.value == Unreadable("encrypted: open the store with key=...", "StoreMissingKeyError")

    def test_what_does_not_count_is_not_opened(self, backend: Backend) -> None:
        """A follower of one prefix may share a namespace with what it has no key for."""
        backend.store(key="0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=")["secret"] = 1
        store = backend.store()
        store["plain"] = 2
        assert values(store.follow(prefix="plain")) == [2]
        assert store.project("p", lambda change, store: None, prefix="plain") == 1

    def test_the_loop_itself_may_write(self, store: Store) -> None:
        store["n"] = 0
        for _, change in store.follow(wait=0.2):
            if change.value < 5:
                store["n"] = change.value + 1
        assert store["n"] == 5

    def test_it_ends_with_what_there_is_though_the_loop_writes(self, store: Store) -> None:
        store.set_many({str(n): n for n in range(20)})
        for _, change in store.follow():
            store[f"seen {change.key}"] = change.value
        assert len(store) == 40

    def test_more_than_a_page(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(following_module, "_PAGE", 7)
        monkeypatch.setattr(following_module, "_PAGE_BYTES", 1000)
        for n in range(50):
            store[f"k{n % 4}"] = [n, "long" * (n % 5) * 100]
        assert [value[0] for value in values(store.follow(wait=0.05))] == list(range(50))
        assert list(store.follow(wait=0.05)) == list(store.follow())


BAD = ["", "x", "1;2", "1.", ".", "-1", "1e3", " 1", "\u0661", "1.2.3.4.5.6.7", "9" * 40, "9" * 5000, "None"]


class TestCheckpoints:
    @pytest.mark.parametrize("checkpoint", BAD)
    def test_what_is_none_is_refused_at_once(self, backend: Backend, checkpoint: str) -> None:
        store = backend.store()
        store["a"] = 1
        ((good, _),) = store.follow()
        for bad in (checkpoint, good.partition("-")[0] + "-" + checkpoint):
            with pytest.raises(ValueError, match="checkpoint"):
                store.follow(after=bad)

    def test_of_another_kind_of_store_they_are_refused_where_that_can_be_told(self, backend: Backend) -> None:
        """One number is a place in memory, in a file and on one Redis; it takes two and more elsewhere."""
        store = backend.store()
        store["a"] = 1
        ((checkpoint, _),) = store.follow()
        foreign = "1" if backend.name in ("postgresql", "cluster") else "1.2"
        with pytest.raises(ValueError, match="is no checkpoint of this kind of store"):
            store.follow(after=f"{checkpoint.partition('-')[0]}-{foreign}")

    @pytest.mark.parametrize("checkpoint", [1, 1.5, b"1", ("1", None)])
    def test_it_has_to_be_a_text(self, backend: Backend, checkpoint: Any) -> None:
        with pytest.raises(TypeError, match="checkpoint"):
            backend.store().follow(after=checkpoint)

    @pytest.mark.parametrize("wait", [-1, math.nan])
    def test_one_waits_for_a_number_of_seconds(self, backend: Backend, wait: float) -> None:
        for call in (backend.store().follow, lambda wait: backend.store().project("p", print, wait=wait)):
            with pytest.raises(ValueError, match="wait"):
                call(wait=wait)  # type: ignore[operator]

    def test_an_unknown_kind_is_refused_at_once(self, backend: Backend) -> None:
        for call in (backend.store().follow, lambda kind: backend.store().project("p", print, kind=kind)):
            with pytest.raises(ValueError, match="kind is one of"):
                call(kind="events")  # type: ignore[operator]


class TestWaiting:
    def test_what_another_thread_writes_comes_while_it_writes(self, store: Store, other: Store) -> None:
        store["n"] = -1
        following = store.follow(wait=PATIENCE)
        assert next(following)[1].value == -1

        def write() -> None:
            for n in range(30):
                other["n"] = n
                time.sleep(0.002)

        writing = Doing(write)
        assert [next(following)[1].value for _ in range(30)] == list(range(30))
        writing.result()

    def test_it_comes_soon(self, store: Store, other: Store) -> None:
        delays = []
        following = store.follow(wait=PATIENCE)
        for _ in range(9):
            waiting = Doing(lambda: (next(following), time.perf_counter())[1])
            time.sleep(0.05)
            other["k"] = 1
            written = time.perf_counter()
            delays.append(waiting.result() - written)
        assert sorted(delays)[4] < PATIENCE / 10  # some milliseconds where nobody else is at work

    def test_it_ends_when_nothing_comes(self, store: Store) -> None:
        store["a"] = 1
        began = time.monotonic()
        assert values(store.follow(wait=0.3)) == [1]
        assert 0.3 <= time.monotonic() - began < PATIENCE

    @pytest.mark.slow
    def test_what_comes_begins_the_time_anew(self, store: Store, other: Store) -> None:
        def write() -> None:
            for n in range(5):
                time.sleep(0.25)
                other["n"] = n

        writing = Doing(write)
        assert values(store.follow(wait=0.9)) == list(range(5))
        writing.result()

    def test_what_does_not_count_does_not(self, store: Store) -> None:
        done = threading.Event()

        def write() -> None:
            while not done.is_set():
                store["noise"] = 1
                time.sleep(0.01)

        writing = Doing(write)
        assert values(store.follow(prefix="wanted", wait=0.2)) == []
        done.set()
        writing.result()

    def test_also_while_the_clock_is_held(self, store: Store, other: Store) -> None:
        with freeze_time("2024-01-01 12:00:00"):
            store["a"] = 1
            assert values(store.follow(wait=0.1)) == [1]
            following = store.follow(wait=PATIENCE)
            next(following)
            writing = Doing(lambda: other.set("a", 2))
            assert next(following)[1].value == 2
            writing.result()
            assert store.project("p", lambda change, store: None, wait=0.1) == 2

    def test_a_store_that_is_closed_ends_it_with_an_error(self, backend: Backend, key: str | None) -> None:
        store = backend.store(key=key)
        store["a"] = 1
        following = store.follow(wait=PATIENCE)
        next(following)
        store.close()
        with pytest.raises(StoreClosedError):
            next(following)
        store.open()
        assert values(store.follow()) == [1]


class TestErasing:
    def test_what_was_told_is_not_told_again(self, store: Store) -> None:
        for n in range(10):
            store["k"] = n
            store["gone"] = n
            store.apply("e", {"n": n})
            store.extend("s", (n, n), (n + 5, n))
        del store["gone"]
        store.remove("s", start=3, end=4)
        checkpoint = last(store.follow())
        live = store.follow(after=checkpoint, wait=PATIENCE)
        store.prune("e")
        store.compact()
        erasures = [("es", "e"), ("kv", ""), ("ts", "s")]
        for following in (store.follow(after=checkpoint), live):
            told = [next(following)[1] for _ in erasures]
            assert [(change.kind, change.key) for change in told] == erasures
            assert {type(change.value) for change in told} == {Erasure}
        checkpoint = last(store.follow())
        assert list(store.follow(after=checkpoint)) == []
        store.apply("e", {"n": (operator.add, 1)})
        store.remove("s")
        store["k"] = "new"
        store.extend("s", (1, "new"))
        new: list[tuple[str, str, Any]] = [
            ("es", "e", 1),
            ("ts", "s", (0, 14)),
            ("kv", "k", "new"),
            ("ts", "s", [(1, "new")]),
        ]
        assert [(change.kind, change.key, change.value) for _, change in store.follow(after=checkpoint)] == new
        assert [(change.kind, change.key, change.value) for _, change in (next(live) for _ in new)] == new
        store.compact()
        assert list(store.follow(after=checkpoint)) != []
        assert list(store.follow(after=last(store.follow()))) == []

    def test_who_is_late_gets_what_is_left(self, store: Store) -> None:
        store["first"] = 1
        checkpoint = last(store.follow())
        for n in range(5):
            store["k"] = n
            store.apply("e", {"n": n, f"m{n}": n})
        store.apply("e", {"m0": (operator.delitem, None)})
        store.compact()
        changes = [change for _, change in store.follow(after=checkpoint) if change.op != "compact"]
        assert [change.value for change in changes if change.kind == KV] == [4]
        state: dict[str, Any] = {change.item: change.value for change in changes if change.kind == ES}
        assert state == store.current("e")

    def test_without_history_the_last_value_comes(self, backend: Backend) -> None:
        store = backend.store(history=False)
        for n in range(5):
            store["k"] = n
        (checkpoint, change), *rest = list(store.follow())
        assert (change.value, rest) == (4, [])
        store["k"] = 5
        assert values(store.follow(after=checkpoint)) == [5]

    def test_a_discarded_namespace_begins_behind_the_old_one(self, backend: Backend, store: Store) -> None:
        backend.store(namespace="other")  # a SQLite file goes with its last namespace, and the next begins from nothing
        for n in range(5):
            store["k"] = n
        checkpoint = last(store.follow())
        live = store.follow(after=checkpoint, wait=PATIENCE)
        store.discard()
        store["k"] = "new"
        assert next(live)[1].value == "new"
        assert values(store.follow(after=checkpoint)) == ["new"]


# -- projections ------------------------------------------------------------------------------------------------------


def count(change: Change, store: Any) -> None:
    """Count the changes of each key, and all of them."""
    for key in (f"changes of {change.key}", "changes"):
        store[f"n/{key}"] = store.get(f"n/{key}", 0) + 1


class TestProject:
    def test_each_change_is_fed_once(self, store: Store) -> None:
        for n in range(7):
            store[f"k{n % 2}"] = n
        assert store.project("p", count, prefix="k") == 7
        assert store.project("p", count, prefix="k") == 0
        store["k0"] = 7
        assert store.project("p", count, prefix="k") == 1
        assert store.find("n/*") == [("n/changes", 8), ("n/changes of k0", 5), ("n/changes of k1", 3)]

    def test_by_whatever_store_runs_it(self, backend: Backend, key: str | None) -> None:
        for n in range(4):
            with backend.store(key=key) as store:
                store.apply("e", {"n": n})
                assert store.project("p", count) == 1
        assert backend.store(key=key)["n/changes"] == 4

    def test_two_of_different_names_are_fed_both(self, store: Store) -> None:
        store["k"] = 1
        seen: list[str] = []
        for name in ("p", "q", "p", "q"):
            store.project(name, lambda change, store, name=name: seen.append(f"{name} {change.key}"))  # type: ignore[misc]
        assert seen == ["p k", "q k"]

    def test_it_may_write_to_all_three_models(self, store: Store) -> None:
        def fn(change: Change, store: Store) -> None:
            store["value"] = change.value
            store.extend("series", (change.value, change.value))
            store.apply("events", {"sum": (operator.add, change.value) if store.current("events") else change.value})

        for n in range(1, 251):
            store.extend("in", (n, n)) if n % 50 == 0 else store.set("in", n)
        assert store.project("p", fn, kind=KV, prefix="in") == 245
        assert store["value"] == 249
        assert [t for t, _ in store.range("series")] == [n for n in range(1, 251) if n % 50]
        assert store.current("events") == {"sum": sum(n for n in range(1, 251) if n % 50)}

    def test_it_is_not_fed_what_it_writes_itself(self, store: Store) -> None:
        def fn(change: Change, store: Store) -> None:
            with store.context(why="inside"):
                store[f"copy of {change.key}"] = change.value

        store["k"] = 1
        assert store.project("p", fn) == 1
        assert store.project("p", fn) == 0
        assert store.keys() == ["copy of k", "k"]
        assert store.project("another", fn) == 2
        assert store.project("p", fn) == 2

    def test_the_users_own_words_are_left_to_him(self, store: Store) -> None:
        with store.context(who="ada", project="p", projection="p"):
            store["k"] = 1
        assert store.project("p", count) == 1
        with store.context(who="bob", why="nightly run"):
            store["k"] = 2
            store.project("p", count)
        changes = store.history("n/changes")
        assert [(change.who, change.why) for change in changes] == [(None, None), ("bob", "nightly run")]
        assert changes[0].more == {"rstore.projection": "p"}

    def test_projections_of_projections(self, store: Store) -> None:
        for n in range(150):
            store[f"k{n % 2}"] = n
        assert store.project("counts", count, prefix="k") == 150

        def top(change: Change, store: Store) -> None:
            store["top"] = max(store.get("top", 0), change.value)

        assert store.project("top", top, prefix="n/changes of") == 150
        assert store["top"] == 75

    def test_what_raises_takes_its_batch_and_the_checkpoint_back(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(projector, "_BATCH", 4)
        for n in range(10):
            with store.context(who="ada"):  # else all of one millisecond may be one commit, which is never split
                store[f"k{n}"] = n
        broken = True

        def fn(change: Change, store: Store) -> None:
            if change.value == 6 and broken:
                raise ZeroDivisionError
            count(change, store)

        for _ in range(2):
            with pytest.raises(ZeroDivisionError) as raised:
                store.project("p", fn, prefix="k")
            assert "projection 'p'" in raised.value.__notes__[0]
            assert "kv 'k6'" in raised.value.__notes__[0]
            assert store["n/changes"] == 4
        broken = False
        assert store.project("p", fn, prefix="k") == 6
        assert store["n/changes"] == 10

    def test_it_can_be_built_again(self, store: Store) -> None:
        store.set_many({f"k{n}": n for n in range(150)})
        store.project("p", count, prefix="k")
        assert store.project("p", count, prefix="k", rebuild=True) == 150
        assert store["n/changes"] == 150
        assert store.project("p", count, prefix="k") == 0

    def test_the_checkpoint_moves_with_what_is_not_for_it(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else who starts a projection of something rare would read everything each time."""
        monkeypatch.setattr(projector, "_SCANNED", 10)
        for n in range(95):
            store["noise"] = n
        store["rare"] = 1
        read: list[Any] = []
        follow = store._core.base.follow

        def counted(after: Any = None) -> Iterator[Any]:
            for found in follow(after):
                read.append(found)
                yield found

        monkeypatch.setattr(store._core.base, "follow", counted)
        assert store.project("p", count, prefix="rare") == 1
        first = len(read)
        assert store.project("p", count, prefix="rare") == 0
        assert len(read) - first < 25
        read.clear()
        store["noise"] = 1
        assert store.project("p", count, prefix="rare", wait=0.2) == 0
        assert len(read) < 25, "while it waits it does not look twice at what it has seen"

    def test_it_writes_nothing_when_there_is_nothing(self, store: Store) -> None:
        store["k"] = 1
        store.project("p", count)
        before = [record for _, _, record in store._core.log.follow()]
        for _ in range(3):
            assert store.project("p", count, wait=0.02) == 0
        assert [record for _, _, record in store._core.log.follow()] == before

    def test_it_waits_for_changes(self, store: Store, other: Store) -> None:
        def write() -> None:
            for n in range(20):
                other["k"] = n
                time.sleep(0.01)

        writing = Doing(write)
        assert store.project("p", count, prefix="k", wait=1) == 20
        writing.result()
        assert store["n/changes"] == 20

    def test_others_that_write_to_the_read_model_lose_nothing(self, store: Store, other: Store) -> None:
        """What ``fn`` has read is what it decides on: if somebody writes to it, it decides again."""
        store.set_many({f"k{n}": n for n in range(250)})
        done = threading.Event()

        def write() -> int:
            added = 0
            while not done.is_set() and added < 30_000:  # a slow machine would never come to an end otherwise
                other.update_with("n/changes", lambda n: n + 1000, default=0)
                added += 1000
                time.sleep(0.01)
            return added

        writing = Doing(write)
        assert store.project("p", count, prefix="k") == 250
        done.set()
        added = writing.result()
        assert store["n/changes"] == 250 + added

    def test_who_comes_in_between_each_time_makes_it_give_up(
        self, store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        store["k"] = 1
        calls: list[int] = []

        def fn(change: Change, store: Store) -> None:
            store["read"] = store.get("read", 0)
            other["read"] = len(calls)
            calls.append(1)

        with pytest.raises(StoreConflictError):
            store.project("p", fn, prefix="k")
        assert len(calls) == 100

    def test_a_frozen_store_has_none(self, backend: Backend) -> None:
        backend.store()["k"] = 1
        with pytest.raises(FrozenStoreError):
            backend.store(frozen=True).project("p", count)

    @pytest.mark.parametrize("name", ["", "x" * 2000, "a\0b"])
    def test_a_name_is_like_a_key(self, backend: Backend, name: str) -> None:
        with pytest.raises(ValueError, match="projection"):
            backend.store().project(name, count)

    def test_a_name_may_be_that_of_a_key(self, store: Store) -> None:
        store["k"] = 1
        assert store.project("k", count) == 1
        assert store.keys() == ["k", "n/changes", "n/changes of k"]
        assert store.history("k")[0].value == 1

    def test_values_are_not_shared_between_attempts(self, store: Store, other: Store) -> None:
        store["k"] = [1]
        attempts: list[Any] = []

        def fn(change: Change, store: Store) -> None:
            change.value.append(2)
            attempts.append(change.value)
            store["copy"] = [store.get("copy"), change.value]
            if len(attempts) == 1:
                other["copy"] = "in between"

        assert store.project("p", fn, prefix="k") == 1
        assert attempts == [[1, 2], [1, 2]]
        assert store["copy"] == ["in between", [1, 2]]

    def test_as_part_of_a_transaction_it_is_taken_back_with_it(self, store: Store) -> None:
        store["k"] = 1
        with pytest.raises(ZeroDivisionError), store.transaction():
            assert store.project("p", count) == 1
            assert store["n/changes"] == 1
            raise ZeroDivisionError
        assert store.keys() == ["k"]
        with store.transaction():
            assert store.project("p", count) == 1
            assert store.project("p", count) == 0
        assert store["n/changes"] == 1
        assert store.project("p", count) == 0

    def test_its_checkpoint_can_not_be_moved_where_there_is_a_key(self, backend: Backend) -> None:
        store = backend.store(key="0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=")
        store["k"] = 1
        store.project("p", count)
        log = backend.log()
        stream = Stream("project", "p")
        (record,) = log.read(stream)
        forged = Entry(0, 0, "0", record.op, record.data, None)
        log.append([Batch(stream, [forged], record.recorded, replace=True)])
        with pytest.raises(StorePayloadError, match="not authentic"):
            store.project("p", count)

    def test_under_a_serializer_of_ones_own(self, backend: Backend) -> None:
        store = backend.store(JsonStore)
        store["k"] = [1]
        assert store.project("p", count) == 1
        assert store["n/changes"] == 1

    def test_racing_threads_feed_each_change_once(self, backend: Backend, key: str | None) -> None:
        stores = [backend.store(key=key) for _ in range(3)]
        done = threading.Event()

        def write() -> int:
            n = 0
            while n < 150:
                stores[0][f"k{n % 7}"] = n
                n += 1
            done.set()
            return n

        def project(store: Store) -> int:
            fed = 0
            while not done.is_set():
                fed += store.project("p", count, prefix="k")
            return fed + store.project("p", count, prefix="k")

        writing = Doing(write)
        projecting = [Doing(lambda store=store: project(store)) for store in stores]
        written = writing.result()
        assert sum(each.result() for each in projecting) == written
        assert stores[0]["n/changes"] == written


# -- all at once ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_followers_of_writers_that_are_killed_see_what_was_acknowledged_once_and_in_one_order(
    backend: Backend, key: str | None, tmp_path: Path
) -> None:
    """One follower waits all the time; the other stops and goes on from its checkpoint, each time in another store."""
    stopped = threading.Event()
    seen: list[list[tuple[str, Change]]] = [[], []]

    def wait(store: Store) -> None:
        for found in store.follow(wait=math.inf):
            seen[0].append(found)
            if found[1].key == "the end":
                return

    def come_and_go() -> None:
        while True:
            last = stopped.is_set()
            with Store(backend.connect, key=key, frozen=False) as store:
                seen[1].extend(store.follow(after=seen[1][-1][0] if seen[1] else None, wait=None if last else 0.02))
            if last:
                return

    store = backend.store(key=key)
    followers = [Doing(lambda: wait(store)), Doing(come_and_go)]
    with Crew(backend, tmp_path, key, seed=1) as crew:
        for n in range(WORKERS):
            crew.start("write", f"w{n}")
        crew.work(SECONDS)
        crew.stop()
        for _ in store.follow():  # on a cluster, positions are above those that their writer has seen, not above all
            pass
        store["the end"] = "the end"
        stopped.set()
        for follower in followers:
            follower.result()
        told = crew.told("write")
    first, second = ([change for _, change in found] for found in seen)
    assert first == second == list(store.log())
    places = [(change.kind, change.key, change.version) for change in first]
    assert max(Counter(places).values()) == 1
    by_stream: dict[tuple[str, str], list[int]] = {}
    for kind, of, version in places:
        by_stream.setdefault((kind, of), []).append(version)
    assert all(versions == sorted(versions) for versions in by_stream.values())
    idents = {change.value[0][1] if change.kind == TS else change.value for change in first} - {"the end"}
    assert len(told) == len(set(told)) > WORKERS
    assert set(told) <= idents
    assert len(idents - set(told)) <= crew.killed, "what was not acknowledged was under way when its writer was killed"
    print(f"{len(first):,} changes, {len(told):,} acknowledged writes, {crew.killed} killed")


def test_a_projection_whose_processes_are_killed_feeds_each_change_once(
    backend: Backend, key: str | None, tmp_path: Path
) -> None:
    store = backend.store(key=key)
    store.transact(lambda each: [each.apply(f"account {n}", {"balance": 0}) for n in range(3)])
    n = 3
    with Crew(backend, tmp_path, key, seed=2) as crew:
        for name in ("a", "b"):
            crew.start("books", name)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or (backend.name != "memory" and crew.killed < 2):
            for _ in range(20):
                store.apply(f"account {n % 3}", {"balance": (operator.add, n)})
                n += 1
            crew.work(0.01)
        crew.stop()
    store.project("books", _book, kind=ES, prefix="account ")
    assert store["bookings"] == n
    assert store["balance of all"] == sum(range(3, n))
    assert [store[f"balance of account {i}"] for i in range(3)] == [
        sum(each for each in range(3, n) if each % 3 == i) for i in range(3)
    ]


def _book(change: Change, store: Any) -> None:
    from tests.support.workers import book

    book(change, store)


def test_a_checkpoint_of_another_namespace_is_refused(backend: Backend) -> None:
    one, other = backend.store(), backend.store(namespace="other")
    one["k"] = other["k"] = 1
    ((checkpoint, _),) = one.follow()
    with pytest.raises(ValueError, match="no checkpoint of the namespace 'other'"):
        other.follow(after=checkpoint)


def test_a_follower_goes_on_after_a_change_that_it_cannot_read(backend: Backend) -> None:
    store = backend.store()
    store["a"] = 1
    backend.store(key=KEY)["b"] = 2
    store["c"] = 3
    found = list(store.follow())
    assert {change.key: isinstance(change.value, Unreadable) for _, change in found} == {
        "a": False,
        "b": True,
        "c": False,
    }
    for place, (checkpoint, _) in enumerate(found, 1):
        assert list(store.follow(after=checkpoint)) == found[place:]


# -- a rebuild --------------------------------------------------------------------------------------------------------


def write_all_kinds(change: Change, store: Store) -> None:
    """Write what depends on what is there, so that a run over the output of an earlier one shows."""
    count(change, store)
    store.extend("out series", (len(store.range("out series")), change.value))
    store.apply(
        "out events", {change.key: (operator.add, 1) if change.key in (store.current("out events") or {}) else 1}
    )


def output(store: Store) -> Any:
    return dict(store.items()), store.range("out series"), store.current("out events")


class TestRebuild:
    def test_what_a_projection_has_written_is_deleted_first(self, store: Store) -> None:
        store["k1"], store["k2"], store["mine"] = 1, 2, "too"
        store.extend("series", (1, 1))
        store.apply("events", {"n": 1})
        store.project("p", write_all_kinds, kind=KV, prefix="k")
        before = output(store)
        for _ in range(2):
            assert store.project("p", write_all_kinds, kind=KV, prefix="k", rebuild=True) == 2
            assert output(store) == before
        deleted = [change for change in store.history("n/changes") if change.op == "delitem"]
        assert [change.more for change in deleted] == [{"rstore.projection": "p"}] * 2
        store.project("p", lambda change, inside: inside.set("new", change.value), kind=KV, prefix="k", rebuild=True)
        assert output(store) == ({"k1": 1, "k2": 2, "mine": "too", "new": 2}, [], None)
        assert (store.timeseries(), store.eventsources()) == (["series"], ["events"])
        assert list(check(store)) == []

    def test_what_others_have_written_to_is_named_and_nothing_is_changed(self, store: Store) -> None:
        store["k1"], store["k2"] = 1, 2
        store.apply("out events", {"k1": 7})
        store.project("p", write_all_kinds, prefix="k")
        store.extend("out series", (-1, "by hand"))
        store["n/changes of k1"] = 1
        store["n/changes of k2"] = 1
        before, seen = list(store.log()), output(store)
        message = r"others have written to es 'out events', kv 'n/changes of k1', kv 'n/changes of k2' and 1 more too"
        with pytest.raises(StoreError, match=message):
            store.project("p", write_all_kinds, prefix="k", rebuild=True)
        assert (list(store.log()), output(store)) == (before, seen)
        assert store.project("p", write_all_kinds, prefix="k") == 0
        store.delete("n/changes of k1", "n/changes of k2")
        store.remove("out series")
        store.delete_events("out events")
        assert store.project("p", write_all_kinds, prefix="k", rebuild=True) == 2
        assert output(store)[1:] == ([(0, 1), (1, 2)], {"k1": 1, "k2": 1})

    def test_only_what_came_since_the_birth_of_a_key_counts(self, store: Store) -> None:
        store["k"] = 1
        store["n/changes"] = "somebody's"
        store.extend("out series", (1, "somebody's"))
        store.apply("out events", {"somebody's": 1})
        del store["n/changes"]
        store.remove("out series")
        store.delete_events("out events")
        store.project("p", write_all_kinds, prefix="k")
        before = output(store)
        assert store.project("p", write_all_kinds, prefix="k", rebuild=True) == 1
        assert output(store) == before

    def test_what_was_compacted_is_still_known_to_be_its_own(self, store: Store) -> None:
        store.extend("out series", (1, "somebody's"))
        store.remove("out series")
        store.extend("shared", (-1, "somebody's"))
        for n in range(5):
            store[f"k{n}"] = n

        def fn(change: Change, inside: Store) -> None:
            write_all_kinds(change, inside)
            inside.extend("shared", (change.value, 1))

        store.project("p", fn, prefix="k")
        before = output(store)
        store.compact()
        with pytest.raises(StoreError, match="others have written to ts 'shared' too"):
            store.project("p", fn, prefix="k", rebuild=True)
        store.remove("shared")
        assert store.project("p", fn, prefix="k", rebuild=True) == 5
        assert output(store) == before
        assert list(check(store)) == []

    def test_what_raises_afterwards_leaves_nothing_of_the_earlier_run(self, store: Store) -> None:
        store["k1"], store["k2"] = 1, 2
        store.project("p", write_all_kinds, prefix="k")
        before = output(store)

        def fail(change: Change, inside: Store) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.project("p", fail, prefix="k", rebuild=True)
        assert output(store) == ({"k1": 1, "k2": 2}, [], None)
        assert store.project("p", write_all_kinds, prefix="k") == 2
        assert output(store) == before

    def test_if_it_is_not_stored_all_is_as_it_was(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store["k1"], store["k2"] = 1, 2
        store.project("p", write_all_kinds, prefix="k")
        before = output(store)

        def fail(batches: Any) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(store._core.base, "append", fail)
            with pytest.raises(ZeroDivisionError):
                store.project("p", write_all_kinds, prefix="k", rebuild=True)
        assert output(store) == before
        assert store.project("p", write_all_kinds, prefix="k") == 0

    def test_whoever_goes_on_with_it_meanwhile_leaves_nothing(
        self, store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store["k1"] = 1
        store.project("p", write_all_kinds, prefix="k")
        delete, more = targets.delete_sequence, iter(["k2", "k3"])

        def late(*words: Any) -> None:
            for key in more:
                other[key] = 5
                assert other.project("p", write_all_kinds, prefix="k") == 1
                break
            delete(*words)

        with monkeypatch.context() as patch:
            patch.setattr(targets, "delete_sequence", late)
            assert store.project("p", write_all_kinds, prefix="k", rebuild=True) == 3
        assert output(store)[1:] == ([(0, 1), (1, 5), (2, 5)], {"k1": 1, "k2": 1, "k3": 1})
        assert store["n/changes"] == 3

    def test_another_projection_of_the_output_is_fed_with_the_deletions(self, store: Store) -> None:
        store["k1"] = 1
        store.project("p", count, prefix="k")
        ops: list[str] = []
        store.project("q", lambda change, inside: ops.append(change.op), prefix="n/")
        store.project("p", count, prefix="k", rebuild=True)
        ops.clear()
        store.project("q", lambda change, inside: ops.append(change.op), prefix="n/")
        assert ops == ["delitem", "delitem", "setitem", "setitem"]

    def test_a_copy_is_built_again(self, store: Store) -> None:
        store["k1"], store["k2"] = 1, 2
        store.project("p", write_all_kinds, prefix="k")
        with Store("memory://", frozen=False, key=KEY) as target:
            copy(store, target)
            assert target.project("p", write_all_kinds, prefix="k", rebuild=True) == 2
            assert output(target) == output(store)

    def test_it_waits_for_output_that_the_log_does_not_show_yet(self, store: Store, monkeypatch: Any) -> None:
        store["k1"] = 1
        store.project("p", write_all_kinds, prefix="k")
        before, follow, held = output(store), store._core.base.follow, iter([True, True])

        def lagging(after: Any = None) -> Iterator[Any]:
            return iter([]) if next(held, False) else follow(after)

        monkeypatch.setattr(store._core.base, "follow", lagging)
        assert store.project("p", write_all_kinds, prefix="k", rebuild=True) == 1
        assert output(store) == before
        monkeypatch.setattr(store._core.base, "follow", lambda after=None: iter([]))
        monkeypatch.setattr(store._core.base, "wait", lambda after, seconds: False)
        with pytest.raises(StoreError, match="what projection 'p' wrote last is not shown yet"):
            store.project("p", write_all_kinds, prefix="k", rebuild=True)
        assert output(store) == before

    def test_it_notices_also_others_that_the_log_does_not_show_yet(self, store: Store, monkeypatch: Any) -> None:
        store["k1"] = 1
        store.project("p", write_all_kinds, prefix="k")
        store["n/changes"] = 5
        hidden, follow = store.version("n/changes", KV), store._core.base.follow

        def lagging(after: Any = None) -> Iterator[Any]:
            found = follow(after)
            return (each for each in found if (each[1].key, each[2].version) != ("n/changes", hidden))

        monkeypatch.setattr(store._core.base, "follow", lagging)
        with pytest.raises(StoreError, match="others have written to kv 'n/changes' too"):
            store.project("p", write_all_kinds, prefix="k", rebuild=True)
        assert store["n/changes"] == 5


def test_a_projection_that_calls_itself_is_told_so(store: Store) -> None:
    def again(change: Change, inside: Store) -> None:
        inside.project("mine", again)

    store["price"] = 1
    with pytest.raises(StoreError, match="projection 'mine' is at work: its function can't call project"):
        store.project("mine", again)
