"""Transactions: all writes inside one append, seen by those inside, and by nobody else before the end."""

from __future__ import annotations

import asyncio
import contextvars
import operator
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from freezegun import freeze_time

from rstore import FrozenStoreError, Store, StoreConflictError, StoreError, StoreIntegrityError
from rstore.domain.log import Batch, Entry, Log
from rstore.domain.paging import newest
from rstore.domain.streams import ES, KV, SS, TS, Stream
from rstore.domain.transaction import Transaction
from tests.conftest import KEY, Backend


@pytest.fixture
def other(backend: Backend, store: Store, key: str | None) -> Store:
    """Somebody else at the same data."""
    return backend.store(key=key)


def test_all_is_stored_at_the_end(store: Store, other: Store) -> None:
    with store.transaction() as inside:
        assert inside is store
        store["k"] = 1
        store.extend("s", (1, "a"), (2, "b"))
        store.apply("e", {"n": 1})
        store.apply("e", {"n": (operator.add, 1)})
        assert (other.get("k"), other.range("s"), other.current("e")) == (None, [], None)
    for each in (store, other):
        assert (each["k"], each.range("s"), each.current("e")) == (1, [(1, "a"), (2, "b")], {"n": 2})
    assert len({change.recorded for change in store.log()}) == 1


def test_an_exception_takes_all_back(store: Store, other: Store) -> None:
    store["k"] = "before"
    with pytest.raises(ZeroDivisionError), store.transaction():
        store["k"] = "inside"
        store["new"] = 1
        store.apply("e", {"n": 1})
        assert store["k"] == "inside"
        raise ZeroDivisionError
    for each in (store, other):
        assert (dict(each.items()), each.current("e")) == ({"k": "before"}, None)
    assert store.apply("e", {"m": 1}) == {"m": 1}


class TestReadsInside:
    def test_of_keys(self, store: Store) -> None:
        store.set_many({"a": 1, "b": 2, "c": 3})
        with store.transaction():
            store["b"] = 20
            store["bb"] = 21
            del store["c"]
            assert (store["b"], store.get("c"), "bb" in store, "c" in store) == (20, None, True, False)
            assert store.keys() == ["a", "b", "bb"]
            assert len(store) == 3
            assert dict(store.items()) == {"a": 1, "b": 20, "bb": 21}
            assert store.find("b*") == [("b", 20), ("bb", 21)]
            assert store.get_many(["a", "bb", "c"]) == {"a": 1, "bb": 21}
            assert store.pop("a") == 1
            assert store.setdefault("a", 5) == 5
            assert store.setdefault("a", 6) == 5
            store.clear()
            assert store.keys() == []
            store["z"] = 1
        assert dict(store.items()) == {"z": 1}

    def test_of_series(self, store: Store) -> None:
        store.extend("s", *((t, t) for t in range(10)))
        with store.transaction():
            store.extend("s", (3, "three"), (20, 20))
            store.extend("new", (1, 1))
            store.remove("s", start=5, end=15)
            assert store.range("s") == [(0, 0), (1, 1), (2, 2), (3, "three"), (4, 4), (20, 20)]
            assert store.range("s", 2, n=2) == [(2, 2), (3, "three")]
            assert (store.first("s"), store.last("s")) == ((0, 0), (20, 20))
            assert store.timeseries() == ["new", "s"]
            store.remove("s")
            assert store.timeseries() == ["new"]
            assert store.last("s") is None
            store.extend("s", (7, "again"))
        assert store.range("s") == [(7, "again")]

    def test_of_event_sequences(self, store: Store) -> None:
        store.apply("e", {"n": 1}, t=10)
        with store.transaction():
            assert store.apply("e", {"n": (operator.add, 1)}, t=20) == {"n": 2}
            assert store.apply("e", {"n": (operator.mul, 10)}, t=15) == {"n": 11}
            assert store.current("e") == {"n": 11}
            assert store.past("e", 15) == {"n": 10}
            assert [event.timestamp for event in store.events("e") or ()] == [10, 15, 20]
            assert store.eventsources() == ["e"]
            assert store.apply("f", {"a": 1}) == {"a": 1}
            with pytest.raises(StoreIntegrityError, match="no such item"):
                store.apply("f", {"b": (operator.add, 1)})
            assert len(store.history("e")) == 3
        assert store.past("e", 15) == {"n": 10}
        assert store.current("f") == {"a": 1}

    def test_many_events_and_snapshots(self, store: Store, other: Store) -> None:
        for n in range(250):
            store.apply("e", {"n": n})
        with store.transaction():
            for n in range(250, 600):
                store.apply("e", {"n": n})
                assert store.current("e") == {"n": n}
        assert store.current("e") == other.current("e") == {"n": 599}
        assert store.apply("e", {"n": (operator.add, 1)}) == other.current("e") == {"n": 600}


READS: Any = {
    "get": lambda store: store.get("k"),
    "range": lambda store: store.range("k"),
    "current": lambda store: store.current("k"),
    "past": lambda store: store.past("k", 5),
    "events": lambda store: store.events("k"),
    "version": lambda store: store.version("k", "kv"),
    "many": lambda store: store.get_many(["a", "k"]),
    "many states": lambda store: store.current_many(["a", "k"]),
}


class TestOthersInBetween:
    @pytest.mark.parametrize("read", READS)
    def test_what_was_read_must_not_have_changed(self, store: Store, other: Store, read: str) -> None:
        store["k"] = 1
        store.extend("k", (1, 1))
        store.apply("k", {"n": 1}, t=1)
        with pytest.raises(StoreConflictError), store.transaction():
            READS[read](store)
            store["written"] = 1
            other["k"] = 2
            other.extend("k", (2, 2))
            other.apply("k", {"n": 2})
        assert "written" not in store
        assert store["k"] == 2

    def test_also_what_was_not_there(self, store: Store, other: Store) -> None:
        with pytest.raises(StoreConflictError), store.transaction():
            if "k" not in store:
                store["written"] = 1
            other["k"] = 2
        assert store.keys() == ["k"]

    @pytest.mark.parametrize("there", [True, False])
    def test_of_two_that_read_what_the_other_writes_one_is_stored(
        self, backend: Backend, store: Store, other: Store, there: bool
    ) -> None:
        if there:
            store.set_many({f"{letter}{n}": 0 for letter in "ab" for n in range(20)})
        barrier, stored = threading.Barrier(2), []

        def write(mine: Store, read: str, written: str) -> None:
            with suppress(StoreConflictError):
                with mine.transaction():
                    mine.get(read)
                    mine[written] = 1
                    barrier.wait()
                stored.append(written)

        for n in range(20):
            with ThreadPoolExecutor(2) as pool:
                both = [
                    pool.submit(write, store, f"a{n}", f"b{n}"),
                    pool.submit(write, other, f"b{n}", f"a{n}"),
                ]
                for each in both:
                    each.result()
            assert len(stored) in (0, 1), n
            stored.clear()

    def test_what_was_only_written_may_have(self, store: Store, other: Store) -> None:
        with store.transaction():
            store["k"] = "mine"
            other["k"] = "yours"
        assert store["k"] == "mine"
        assert [change.value for change in store.history("k")] == ["yours", "mine"]

    def test_a_second_look_at_what_has_changed_ends_it(self, store: Store, other: Store) -> None:
        store["k"] = 1
        with pytest.raises(StoreConflictError), store.transaction():
            assert store["k"] == 1
            other["k"] = 2
            store.get("k")
            raise AssertionError("not reached")

    def test_reading_one_key_only_never_conflicts_at_the_end(self, store: Store, other: Store) -> None:
        store["k"] = 1
        with store.transaction():
            store.get("k")
            other["k"] = 2

    def test_transact_tries_again(self, store: Store, other: Store) -> None:
        store.apply("e", {"n": 0})
        tries = []

        def work(inside: Store) -> int:
            state = inside.current("e")
            tries.append(state)
            if len(tries) < 3:
                other.apply("e", {"n": (operator.add, 10)})
            inside.apply("e", {"n": (operator.add, 1)})
            inside["done"] = len(tries)
            return len(tries)

        assert store.transact(work) == 3
        assert tries == [{"n": 0}, {"n": 10}, {"n": 20}]
        assert (store.current("e"), store["done"]) == ({"n": 21}, 3)
        tries.clear()
        with pytest.raises(StoreConflictError):
            store.transact(work, attempts=2)

    def test_expect_inside(self, store: Store, other: Store) -> None:
        store["k"] = 1
        version = store.version("k", "kv")
        with store.transaction():
            store.set("k", 2, expect=version)
            with pytest.raises(StoreConflictError):
                store.set("k", 3, expect=version)
            store.set("k", 4, expect=store.version("k", "kv"))
        assert store["k"] == 4
        with pytest.raises(StoreConflictError), store.transaction():
            store.set("k", 5, expect=store.version("k", "kv"))
            other["k"] = 6
        assert store["k"] == 6

    def test_once_inside(self, store: Store) -> None:
        for _ in range(2):
            with store.transaction():
                store.apply("e", {"n": 1})
                state = store.apply("e", {"n": (operator.add, 1)}, once="t")
                assert state == {"n": 2}
                store.set("k", "once", once="t")
                store.set("k", "twice", once="t")
        assert store["k"] == "once"
        assert store.current("e") == {"n": 1}

    def test_racing_transfers_lose_nothing(self, backend: Backend, store: Store, key: str | None) -> None:
        for account in "abc":
            store.apply(account, {"balance": 100})
        errors: list[BaseException] = []

        def move(mine: Store, seed: int) -> None:
            try:
                for n in range(8):
                    source, target = "abc"[(n + seed) % 3], "abc"[(n * seed + 1 + seed) % 3]
                    mine.transact(lambda each, s=source, t=target: transfer(each, s, t, 7))  # type: ignore[misc]
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=move, args=(backend.store(key=key), seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        times = sorted({change.recorded for change in store.log()})
        totals = {
            sum((store.at(time).current(account) or {"balance": 0})["balance"] for account in "abc") for time in times
        }
        assert totals <= {100, 200, 300}
        assert sum(store.current(account)["balance"] for account in "abc") == 300  # type: ignore[index]


def transfer(store: Store, source: str, target: str, amount: int) -> None:
    if source != target and store.current(source)["balance"] >= amount:  # type: ignore[index]
        store.apply(source, {"balance": (operator.sub, amount)})
        store.apply(target, {"balance": (operator.add, amount)})


class TestNesting:
    def test_an_inner_block_takes_back_its_own_writes_only(self, store: Store) -> None:
        with store.transaction():
            store.apply("e", {"n": 1})
            with pytest.raises(ZeroDivisionError), store.transaction():
                store.apply("e", {"n": (operator.add, 1)})
                store["k"] = 1
                raise ZeroDivisionError
            assert store.current("e") == {"n": 1}
            assert "k" not in store
            with store.transaction():
                store.apply("e", {"n": (operator.add, 5)})
            store["k"] = 2
        assert (store.current("e"), store["k"]) == ({"n": 6}, 2)

    def test_the_outer_one_takes_back_all(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError), store.transaction():
            with store.transaction():
                store["k"] = 1
            raise ZeroDivisionError
        assert store.keys() == []


class TestWhoIsInside:
    def test_other_threads_are_not(self, store: Store) -> None:
        seen = []
        with store.transaction():
            store["k"] = 1
            thread = threading.Thread(target=lambda: seen.append(store.get("k")))
            thread.start()
            thread.join()
        assert seen == [None]

    def test_other_stores_are_not(self, store: Store, other: Store) -> None:
        with pytest.raises(ZeroDivisionError), store.transaction():
            other["k"] = 1
            raise ZeroDivisionError
        assert store["k"] == 1

    def test_a_task_that_outlives_it_is_told_so(self, store: Store) -> None:
        async def late() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            store["k"] = 1

        async def main() -> None:
            with store.transaction():
                store["a"] = 1
                task = asyncio.create_task(late())
            with pytest.raises(StoreError, match="has ended"):
                await task

        asyncio.run(main())
        assert store.keys() == ["a"]

    def test_context_holds_inside(self, store: Store) -> None:
        with store.context(who="ada"), store.transaction():
            store["k"] = 1
            with store.context(why="because"):
                store["k"] = 2
        assert [(change.who, change.why) for change in store.history("k")] == [("ada", None), ("ada", "because")]


def test_what_erases_has_to_wait(store: Store) -> None:
    store.apply("e", {"n": 1})
    store.apply("e", {"n": 2})
    for erase in (lambda: store.prune("e"), store.compact, store.discard):
        with pytest.raises(StoreError, match="can't be part of a transaction"), store.transaction():
            store["k"] = 1
            erase()
        assert "k" not in store
    assert len(store.history("e")) == 2


def test_a_frozen_store_has_none(backend: Backend) -> None:
    backend.store()
    with pytest.raises(FrozenStoreError), backend.store(frozen=True).transaction():
        raise AssertionError("not reached")


def test_without_history(backend: Backend) -> None:
    store = backend.store(history=False)
    store.set_many({"a": 1, "b": 2})
    with store.transaction():
        store["a"] = 10
        store.delete("b")
        assert store.pop("a") == 10
        store["a"] = 11
        assert dict(store.items()) == {"a": 11}
    assert dict(store.items()) == {"a": 11}
    assert len(store.history("a")) == 1


def test_an_empty_one_changes_nothing(store: Store) -> None:
    with store.transaction():
        pass
    assert list(store.log()) == []


def test_revert_of_all_kinds_inside(store: Store) -> None:
    store["k"] = 1
    store.extend("s", (1, 1))
    store.apply("e", {"n": 1}, t=1)
    store.apply("e", {"n": 2}, t=2)
    with store.transaction():
        store.revert("k", 0, kind=KV)
        store.revert("s", 0, kind=TS)
        assert store.revert("e", 1, kind=ES) == {"n": 1}
        assert (store.keys(), store.timeseries()) == ([], [])
    assert (store.keys(), store.timeseries(), store.current("e")) == ([], [], {"n": 1})


class TestWhoEndsIt:
    def test_threads_that_inherit_the_context_can_not_join(self, store: Store) -> None:
        async def main() -> None:
            with store.transaction():
                store["a"] = 1
                await asyncio.to_thread(store.set, "b", 2)

        with pytest.raises(StoreError, match="belongs to the thread or task that began it"):
            asyncio.run(main())
        assert store.keys() == []

    def test_a_generator_that_is_closed_elsewhere_takes_nothing_along(self, store: Store) -> None:
        def holding() -> Iterator[None]:
            with store.transaction():
                store["a"] = 1
                yield

        held = holding()
        contextvars.copy_context().run(next, held)
        with pytest.raises(StoreError, match="has to end where it began"):
            held.close()
        store["b"] = 2
        assert store.keys() == ["b"]


def test_many_small_transactions_on_one_sequence_make_snapshots_and_keep_what_they_folded(
    backend: Backend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = []
    replay = store._core.base.replay
    monkeypatch.setattr(store._core.base, "replay", lambda *args: replayed.extend(replay(*args)) or replayed[-1:])
    for _ in range(300):
        store.transact(lambda each: each.apply("e", {"n": (operator.add, 1) if each.current("e") else 1}))
    assert store.current("e") == {"n": 300}
    assert max(len(found.records) for found in replayed if found) <= 2
    assert backend.store(key=KEY if store._core.envelope.sealer.has_key else None).current("e") == {"n": 300}
    snapshots = list(store._core.base.read(Stream(SS, "e")))
    assert len(snapshots) == 1


def test_what_only_reads_is_checked_if_it_reads_several(store: Store, other: Store) -> None:
    store.set_many({"a": 50, "b": 50})
    totals = []

    def total(each: Store) -> int:
        first = each["a"]
        if not totals:
            other.set_many({"a": 0, "b": 100})
        totals.append(first + each["b"])
        return totals[-1]

    assert store.transact(total) == 100
    assert totals[-1] == 100


def test_an_error_over_what_does_not_fit_together_is_a_conflict(store: Store, other: Store) -> None:
    store.set_many({"a": 50, "b": 50})
    tried = []

    def check(each: Store) -> int:
        total = each["a"]
        if not tried:
            other.set_many({"a": 0, "b": 100})
        total += each["b"]
        tried.append(total)
        if total != 100:
            raise LookupError("money is missing")
        return total

    assert store.transact(check) == 100
    assert tried == [150, 100]
    tried.clear()
    other.set_many({"a": 50, "b": 50})
    with pytest.raises(StoreConflictError) as caught:
        store.transact(check, attempts=1)
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_error_over_what_is_still_true_is_passed_on(store: Store, other: Store) -> None:
    store["a"] = 1

    def fail(each: Store) -> None:
        each["b"] = each["a"]
        other["c"] = 3
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        store.transact(fail)
    assert "b" not in store


def test_who_has_done_it_already_is_no_error(store: Store, other: Store) -> None:
    """Both take the last one under the same token: the slower one finds that the faster one has done that."""
    store["stock"] = 1

    def take(each: Store) -> str:
        if each is store and other["stock"]:
            other.transact(take, once="order 1")
        if not each["stock"]:
            raise LookupError("sold out")
        each["stock"] -= 1
        return "taken"

    assert store.transact(take, once="order 1") is None
    assert store["stock"] == 0


def test_a_whole_transaction_may_be_done_once(store: Store, other: Store) -> None:
    def work(each: Store) -> str:
        each["n"] = each.get("n", 0) + 1
        return "done"

    assert store.transact(work, once="t") == "done"
    assert store.transact(work, once="t") is None
    assert other.transact(work, once="t") is None
    assert other.transact(work, once="another") == "done"
    assert store["n"] == 2
    with pytest.raises(ValueError, match="once at least"):
        store.transact(work, attempts=0)


# -- the log inside ---------------------------------------------------------------------------------------------------


def test_log_history_and_follow_inside_show_the_same(store: Store, other: Store) -> None:
    store["a"] = "stored"
    with store.transaction():
        store["b"] = "inside"
        store.apply("a", {"n": 1})
        store["a"] = "inside"
        found = [(change.kind, change.key, change.value) for change in store.log()]
        assert found == [(KV, "a", "stored"), (KV, "b", "inside"), (ES, "a", 1), (KV, "a", "inside")]
        assert [(change.kind, change.key, change.value) for _, change in store.follow()] == found
        assert [change.value for change in store.history("a", KV)] == ["stored", "inside"]
        assert [change.value for change in store.log(kind=KV, prefix="a")] == ["stored", "inside"]
        assert [change.value for change in other.log()] == ["stored"]
    # what is stored together has no order of its own from stream to stream
    assert sorted((change.kind, change.key, change.value) for change in store.log() if change.kind == KV) == sorted(
        each for each in found if each[0] == KV
    )
    assert len(list(store.log())) == len(found)


def test_what_is_replaced_inside_is_not_in_the_log_inside(backend: Backend) -> None:
    store = backend.store(history=False)
    store["a"] = 1
    with store.transaction():
        store["a"] = 2
        assert [change.value for change in store.log()] == [change.value for change in store.history("a")] == [2]


def test_what_is_taken_back_inside_is_not_in_the_log_inside(store: Store) -> None:
    with store.transaction():
        store["a"] = 1
        with pytest.raises(ZeroDivisionError), store.transaction():
            store["b"] = 2
            raise ZeroDivisionError
        assert [change.key for change in store.log()] == ["a"]


def test_nothing_goes_on_from_the_checkpoint_of_a_change_that_is_not_stored_yet(store: Store) -> None:
    store["a"] = 1
    with store.transaction():
        store["b"] = 2
        (stored, _), (pending, _) = store.follow()
        assert [change.key for _, change in store.follow(stored)] == ["b"]
        with pytest.raises(ValueError, match="had not stored yet"):
            store.follow(pending)
    with pytest.raises(ValueError, match="had not stored yet"):
        store.follow(pending)
    assert [change.key for _, change in store.follow(stored)] == ["b"]


def test_a_follower_inside_waits_and_gets_each_change_once(store: Store) -> None:
    store["a"] = 1
    with store.transaction():
        store["b"] = 2
        assert [change.key for _, change in store.follow(wait=0.1)] == ["a", "b"]


def test_a_projection_inside_is_fed_what_is_stored_and_later_the_rest(store: Store) -> None:
    seen: list[str] = []
    store["in/a"] = 1
    with store.transaction():
        store["in/b"] = 2
        assert store.project("p", lambda change, _: seen.append(change.key), prefix="in/") == 1
    assert store.project("p", lambda change, _: seen.append(change.key), prefix="in/") == 1
    assert seen == ["in/a", "in/b"]


def test_a_log_above_a_log_follows_the_stored_records_and_then_its_own(log: Log) -> None:
    stream, entry = Stream(KV, "k"), Entry(0, 0, "", "setitem", b"x")
    log.append([Batch(stream, (entry,), 1)])
    above = Transaction(log)
    above.append([Batch(Stream(KV, "other"), (entry,), 2)])
    above.append([Batch(stream, (entry,), 3)])
    first, second, third = above.follow()
    assert [each[1].key for each in (first, second, third)] == ["k", "other", "k"]
    assert list(above.follow(first[0])) == [second, third]
    assert list(above.follow(second[0])) == [third]
    assert list(above.follow(third[0])) == []
    assert not above.wait(third[0], 0)
    log.append([Batch(Stream(KV, "new"), (entry,), 4)])
    assert [each[1].key for each in above.follow(third[0])] == ["new"]
    with pytest.raises(ValueError, match="had not stored yet"):
        above.position(above.checkpoint(third[0]))
    assert len(list(log.follow())) == 2


def test_a_log_above_a_log_has_as_many_newest_records_as_there_is_room_for(log: Log) -> None:
    stored, own = [Stream(TS, f"s{number}") for number in range(3)], Stream(TS, "own")
    log.append([Batch(stream, (Entry(0, 0, "", "extend", bytes(2_000)),), 1) for stream in stored])
    above = Transaction(log)
    above.append([Batch(own, (Entry(0, 0, "", "extend", bytes(2_000)),), 1)])
    asked = [own, stored[0], stored[1], own, stored[2], own]
    whole = above.last(asked)
    assert [len(above.last(asked, room=room)) for room in (0, 2_900, 4_900, 6_900)] == [2, 2, 4, 6]
    assert above.last(asked, room=4_900) == whole[:4]
    assert list(newest(above, asked)) == whole


def test_a_call_repeated_in_its_own_transaction_returns_what_the_first_one_did(store: Store) -> None:
    with store.transaction():
        for second, changes in enumerate(({"n": 1}, {"n": 2})):
            with freeze_time(f"2026-01-01T00:00:0{second}Z"):
                store.apply("k", changes, once="x" if second else None)
        with freeze_time("2026-01-01T00:00:09Z"):
            store.apply("k", {"n": 9})
            assert store.apply("k", {"n": 3}, once="x") == {"n": 2}
