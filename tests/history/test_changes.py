"""The time machine: views of the past, histories, who and why, differences, and the way back."""

from __future__ import annotations

import asyncio
import datetime
import operator
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from freezegun import freeze_time

from rstore import Diff, FrozenStoreError, JsonStore, Store, StoreConflictError, StoreError, View
from rstore.admin.check import check
from rstore.domain.log import Batch, Rewrite
from rstore.domain.streams import ES, KV, TS, Stream
from tests.conftest import KEY, OTHER_KEY, Backend

NOON = 1_704_110_400_000
"""2024-01-01 12:00 UTC in POSIX milliseconds."""


@pytest.fixture
def clock() -> Iterator[Any]:
    """Noon, for as long as nobody moves the clock."""
    with freeze_time("2024-01-01 12:00:00") as clock:
        yield clock


def tick(clock: Any, seconds: float = 1) -> None:
    clock.tick(datetime.timedelta(seconds=seconds))


# -- views of the past ------------------------------------------------------------------------------------------------


class TestAt:
    def test_keys_are_as_they_were(self, store: Store, clock: Any) -> None:
        store.set_many({"a": 1, "b": 2})
        tick(clock)
        store["a"] = 10
        del store["b"]
        store["c"] = 3
        tick(clock)
        store["b"] = 20
        shown = {seconds: dict(store.at(NOON + seconds * 1000).items()) for seconds in (-1, 0, 1, 2)}
        assert shown == {-1: {}, 0: {"a": 1, "b": 2}, 1: {"a": 10, "c": 3}, 2: {"a": 10, "b": 20, "c": 3}}
        then = store.at(NOON + 1000)
        assert then.keys() == ["a", "c"]
        assert len(then) == 2
        assert "b" not in then
        assert then.find("[bc]") == [("c", 3)]
        assert then.get_many(["a", "b"]) == {"a": 10}
        with pytest.raises(KeyError):
            then["b"]

    def test_series_are_as_they_were(self, store: Store, clock: Any) -> None:
        store.extend("s", *((t, t) for t in range(10)))
        tick(clock)
        store.extend("s", (5, "five"))
        store.remove("s", start=0, end=1)
        tick(clock)
        store.remove("s")
        tick(clock)
        store.extend("s", (100, "new"))
        at_noon, later, gone = (store.at(NOON + 1000 * seconds) for seconds in (0, 1, 2))
        assert at_noon.range("s") == [(t, t) for t in range(10)]
        assert later.range("s", end=5) == [(2, 2), (3, 3), (4, 4), (5, "five")]
        assert (later.first("s"), later.last("s")) == ((2, 2), (9, 9))
        assert gone.range("s") == []
        assert (gone.first("s"), gone.last("s")) == (None, None)
        assert [view.timeseries() for view in (at_noon, later, gone)] == [["s"], ["s"], []]
        assert store.at(NOON - 1).missing("s", 0, 1, freq=1) == [0, 1]

    def test_event_sequences_are_as_they_were_in_both_times(self, store: Store, clock: Any) -> None:
        store.apply("k", {"balance": 100}, t=10)
        tick(clock)
        store.apply("k", {"balance": (operator.add, 5)}, t=30)
        tick(clock)
        store.apply("k", {"balance": (operator.mul, 2)}, t=20)  # comes in late
        assert store.past("k", 25) == {"balance": 200}
        assert [store.at(NOON + 1000 * seconds).past("k", 25) for seconds in (-1, 0, 1, 2)] == [
            None,
            {"balance": 100},
            {"balance": 100},
            {"balance": 200},
        ]
        assert [store.at(NOON + 1000 * seconds).current("k") for seconds in (0, 1, 2)] == [
            {"balance": 100},
            {"balance": 105},
            {"balance": 205},
        ]
        assert len(store.at(NOON + 1000).events("k") or ()) == 2
        assert store.at(NOON - 1).eventsources() == []

    def test_snapshots_do_not_show(self, store: Store, clock: Any) -> None:
        for n in range(600):
            store.apply("k", {"n": n} if n == 0 else {"n": (operator.add, 1)})
            tick(clock)
        for n in (0, 1, 255, 256, 257, 400, 511, 512, 513, 599):
            view = store.at(NOON + 1000 * n)
            assert view.current("k") == {"n": n}
            assert view.past("k", NOON + 1000 * (n // 2)) == {"n": n // 2}

    def test_a_view_is_asked_by_int_datetime_or_text(self, store: Store, clock: Any) -> None:
        store["k"] = 1
        tick(clock)
        store["k"] = 2
        east = datetime.timezone(datetime.timedelta(hours=2))
        moments: list[Any] = [
            NOON,
            "2024-01-01T12:00:00Z",
            "2024-01-01 14:00+02:00",
            datetime.datetime(2024, 1, 1, 14, tzinfo=east),
        ]
        assert [store.at(moment)["k"] for moment in moments] == [1, 1, 1, 1]

    @pytest.mark.parametrize(
        ("moment", "message"),
        [
            ("2024-01-01 12:00", "has no offset from UTC"),
            (datetime.datetime(2024, 1, 1, 12), "has no offset from UTC"),  # noqa: DTZ001
            ("yesterday", "is no time"),
        ],
    )
    def test_a_naive_time_is_refused(self, store: Store, moment: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            store.at(moment)

    def test_nothing_can_be_written_in_it(self, store: Store) -> None:
        store["k"] = 1
        view = store.at(2**62)
        writes = [
            lambda: view.set("k", 2),
            lambda: view.delete("k"),
            lambda: view.extend("s", (1, 1)),
            lambda: view.remove("s"),
            lambda: view.apply("e", {"a": 1}),
            lambda: view.delete_events("e"),
            lambda: view.prune("e"),
            lambda: view.revert("k", 0, kind=KV),
            lambda: view.pop("k"),
        ]
        for write in writes:
            with pytest.raises(FrozenStoreError, match="the past can't be written to"):
                write()
        assert store["k"] == 1

    def test_every_call_of_a_store_that_writes_is_refused_in_it(self, store: Store) -> None:
        of_a_store_alone = {"open", "close", "namespaces", "backup", "is_protected", "skipped", "follow"}
        of_a_store_alone |= {"deliveries", "due", "parked", "projections", "lag", "retentions"}
        others = {name for name in dir(Store) if not name.startswith("_") and not hasattr(View, name)}
        view = store.at(NOON)
        for name in others - of_a_store_alone:
            with pytest.raises(FrozenStoreError, match="the past can't be written to"):
                getattr(view, name)()

    def test_of_what_was_pruned_it_does_not_invent_a_state(self, store: Store, clock: Any) -> None:
        store.apply("k", {"n": 1})
        tick(clock)
        store.apply("k", {"n": (operator.add, 1)})
        tick(clock)
        store.apply("k", {"n": (operator.mul, 1), "m": 1}, t=NOON + 500)
        tick(clock)
        store.apply("k", {"n": 5}, t=NOON + 700)
        store.prune("k")
        with pytest.raises(StoreError, match="was pruned"):
            store.at(NOON + 1000).current("k")
        assert store.current("k") == {"n": 6, "m": 1}

    def test_it_says_what_it_is(self, backend: Backend) -> None:
        view = backend.store().at(NOON)
        assert "View" in repr(view)
        assert str(NOON) in repr(view)

    def test_what_was_erased_is_gone_from_it(self, store: Store, clock: Any) -> None:
        store["k"] = 1
        store.apply("e", {"a": 1})
        tick(clock)
        store["k"] = 2
        store.apply("e", {"a": 2})
        store.compact()
        assert store.at(NOON).get("k") is None
        assert store.at(NOON).current("e") is None
        assert store.at(NOON + 1000)["k"] == 2


class TestEraseBefore:
    """What is erased before a time is missed by no view of that time or a later one."""

    def test_keys(self, store: Store, clock: Any) -> None:
        for n in range(6):
            store["k"] = n
            store["deleted later"] = n
            if n == 1:
                store["deleted"] = n
            elif n == 2:
                del store["deleted"]
            elif n == 4:
                del store["deleted later"]
            store["old"] = 0 if n < 2 else store.get("old", 0)
            tick(clock)
        times = [NOON + 1000 * n for n in range(3, 7)]
        before = [dict(store.at(time).items()) for time in times]
        assert store.compact(before=NOON + 3000).records == 3 + 3 + 2 + 3
        assert [dict(store.at(time).items()) for time in times] == before
        assert [change.op for change in store.history("deleted")] == ["compact"]
        assert store.at(NOON).keys() == []
        assert store.compact(before=NOON + 3000).records == 0

    def test_series(self, store: Store, clock: Any) -> None:
        for n in range(6):
            store.extend("s", *((t, n) for t in range(n, n + 10)))
            store.extend("ended", (n, n))
            store.extend("ended later", (n, n))
            if n == 2:
                store.remove("ended")
            if n == 5:
                store.remove("ended later")
            tick(clock)

        def shown(time: int) -> list[Any]:
            view = store.at(time)
            return [view.timeseries(), *(view.range(key) for key in ("s", "ended", "ended later"))]

        times = [NOON + 1000 * n for n in range(3, 7)]
        before = [shown(time) for time in times]
        assert store.compact(before="2024-01-01T12:00:03Z").records > 0
        assert [shown(time) for time in times] == before
        assert [change.op for change in store.history("s")] == ["extend"] * (1 + 2) + ["compact"]
        assert store.compact(before=NOON + 3000).records == 0
        store.compact()
        assert store.range("s") == before[-1][1]
        assert store.timeseries() == ["ended", "s"]

    def test_a_series_that_had_no_points_at_that_time(self, store: Store, clock: Any) -> None:
        store.extend("s", (1, 1), (2, 2))
        store.remove("s")
        tick(clock)
        store.extend("s", (3, 3))
        assert store.compact(before=NOON).records == 2
        assert store.at(NOON).range("s") == []
        assert store.range("s") == [(3, 3)]
        assert [change.op for change in store.history("s")] == ["extend", "compact"]

    def test_event_sequences(self, store: Store, clock: Any) -> None:
        for n in range(6):
            store.apply("k", {"set": n, "sum": n if n == 0 else (operator.add, n), "late": n})
            if n == 2:
                store.apply("k", {"gone": 1, "late": (operator.delitem, None)})
                store.apply("k", {"gone": (operator.delitem, None)})
            tick(clock)
        store.apply("k", {"late": (operator.neg, None)}, t=NOON + 1500)  # comes in late: it builds on what is older
        times = [NOON + 1000 * n for n in range(3, 7)]

        def shown(time: int) -> list[Any]:
            view = store.at(time)
            return [view.current("k"), *(view.past("k", t) for t in times)]

        before = [shown(time) for time in times]
        assert store.prune("k", before=NOON + 3000).records == 3 + 1 + 2
        assert [shown(time) for time in times] == before
        assert store.past("k", NOON + 1700) == {"sum": 1, "late": -1}
        assert store.prune("k", before=NOON + 3000).records == 0
        assert store.prune("k", before=NOON - 1).records == 0
        store.prune("k")
        assert store.current("k") == before[-1][0]

    def test_a_sequence_that_ended_goes(self, store: Store, clock: Any) -> None:
        store.apply("k", {"a": 1})
        store.apply("k", {"a": (operator.delitem, None)})
        tick(clock)
        store.compact(before=NOON - 1)
        assert store.eventsources() == ["k"]
        store.compact(before=NOON + 1000)
        assert store.eventsources() == []


# -- histories --------------------------------------------------------------------------------------------------------


class TestHistory:
    def test_of_a_key(self, store: Store, clock: Any) -> None:
        store["k"] = 1
        tick(clock)
        with store.context(who="ada", why="ticket 42", ticket=42):
            del store["k"]
        first, second = store.history("k")
        assert (first.recorded, first.timestamp, first.op, first.value, first.who) == (NOON, None, "setitem", 1, None)
        assert (second.recorded, second.op, second.value) == (NOON + 1000, "delitem", None)
        assert (second.who, second.why, second.more) == ("ada", "ticket 42", {"ticket": 42})
        assert first.version < second.version
        assert (first.kind, first.key) == ("kv", "k")

    def test_of_an_event_sequence_is_in_the_order_of_storing(self, store: Store, clock: Any) -> None:
        store.apply("k", {"a": 1, "b": 2}, t=20)
        store.apply("k", {"a": (operator.neg, None)}, t=10 + 20)
        store.apply("k", {"c": 3}, t=10)
        changes = store.history("k", kind=ES)
        assert [(change.timestamp, change.item, change.op, change.value) for change in changes] == [
            (20, "a", "setitem", 1),
            (20, "b", "setitem", 2),
            (30, "a", "neg", None),
            (10, "c", "setitem", 3),
        ]

    def test_of_a_series(self, store: Store) -> None:
        store.extend("s", (1, "a"), (2, "b"))
        store.extend("s", (9, "c"))
        store.remove("s", start=0, end=1)
        assert [(change.timestamp, change.op, change.value) for change in store.history("s")] == [
            (1, "extend", [(1, "a"), (2, "b")]),
            (9, "extend", [(9, "c")]),
            (1, "remove", (1, 1)),
        ]

    def test_of_all_kinds_of_one_key(self, store: Store, clock: Any) -> None:
        for write in (lambda: store.extend("k", (1, 1)), lambda: store.set("k", 2), lambda: store.apply("k", {"a": 3})):
            write()
            tick(clock)
        assert [change.kind for change in store.history("k")] == ["ts", "kv", "es"]
        assert [change.kind for change in store.history("k", kind=KV)] == ["kv"]
        assert store.history("unknown") == []
        with pytest.raises(ValueError, match="kind is one of kv, ts, es"):
            store.history("k", kind="ss")

    def test_of_the_namespace(self, store: Store, clock: Any) -> None:
        store["a"] = 1
        tick(clock)
        with store.context(who="ada"):
            store.apply("b", {"n": 2})
        tick(clock)
        with store.context(who="bob"):
            store.extend("ab", (3, 3))
            del store["a"]

        def keys(**filters: Any) -> list[str]:
            return [f"{change.kind}/{change.key}" for change in store.log(**filters)]

        assert keys() == ["kv/a", "es/b", "ts/ab", "kv/a"]
        assert keys(since=NOON + 1) == ["es/b", "ts/ab", "kv/a"]
        assert keys(until=NOON + 1000) == ["kv/a", "es/b"]
        assert keys(since="2024-01-01T12:00:01Z", until="2024-01-01T12:00:01Z") == ["es/b"]
        assert keys(kind=KV) == ["kv/a", "kv/a"]
        assert keys(prefix="a") == ["kv/a", "ts/ab", "kv/a"]
        assert keys(who="bob") == ["ts/ab", "kv/a"]
        assert keys(who="bob", kind=TS, prefix="b") == []
        assert next(store.log()).value == 1
        with pytest.raises(ValueError, match="kind is one of"):
            store.log(kind="events")

    def test_snapshots_and_tokens_are_not_in_it(self, store: Store) -> None:
        for n in range(300):
            store.apply("k", {"n": n}, once=str(n))
        assert len(list(store.log())) == 300
        assert {change.kind for change in store.log()} == {"es"}


# -- who and why ------------------------------------------------------------------------------------------------------


class TestContext:
    def test_it_nests_and_ends(self, store: Store) -> None:
        with store.context(who="ada", why="audit", ticket=1):
            store["k"] = 1
            with store.context(why="typing error"):
                store["k"] = 2
            store["k"] = 3
        store["k"] = 4
        assert [(change.who, change.why, change.more) for change in store.history("k")] == [
            ("ada", "audit", {"ticket": 1}),
            ("ada", "typing error", {"ticket": 1}),
            ("ada", "audit", {"ticket": 1}),
            (None, None, {}),
        ]

    def test_it_ends_with_an_error_too(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError), store.context(who="ada"):
            raise ZeroDivisionError
        store["k"] = 1
        assert store.history("k")[0].who is None

    def test_every_kind_of_write_carries_it(self, store: Store) -> None:
        store.set_many({"k": 0, "gone": 0, "popped": 0})
        store.extend("s", (1, 1), (5, 5))
        before = sum(1 for _ in store.log())
        with store.context(who="ada"):
            store["k"] = 1
            store.set_many({"m": 1})
            store.delete("gone")
            store.pop("popped")
            store.setdefault("d", 1)
            store.extend("s", (2, 2))
            store.remove("s", end=1)
            store.apply("e", {"a": 1, "b": 2})
            store.revert("k", 0, kind=KV)
        changes = list(store.log())[before:]
        assert len(changes) == 10
        assert {change.who for change in changes} == {"ada"}

    def test_each_thread_and_task_has_its_own(self, store: Store) -> None:
        def write(who: str) -> None:
            with store.context(who=who):
                barrier.wait()
                store.apply(who, {"a": 1})

        barrier = threading.Barrier(3)
        threads = [threading.Thread(target=write, args=(who,)) for who in ("ada", "bob")]
        with store.context(who="main"):
            for thread in threads:
                thread.start()
            barrier.wait()
            for thread in threads:
                thread.join()
        assert {change.key: change.who for change in store.log()} == {"ada": "ada", "bob": "bob"}

        async def task(who: str) -> None:
            with store.context(who=who):
                await asyncio.sleep(0)
                store[f"task {who}"] = 1
                await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(*(task(who) for who in ("cleo", "dan")))

        asyncio.run(main())
        assert {change.key: change.who for change in store.log(kind=KV)} == {"task cleo": "cleo", "task dan": "dan"}

    def test_two_stores_do_not_share_it(self, backend: Backend) -> None:
        one, other = backend.store(), backend.store()
        with one.context(who="ada"):
            other["k"] = 1
        assert one.history("k")[0].who is None

    @pytest.mark.parametrize(
        "what", [object(), {1, 2}, float("nan"), "\ud800", pytest.param(secrets.token_hex(40_000), id="long")]
    )
    def test_what_json_can_not_hold_is_refused_before_anything_is_written(self, backend: Backend, what: Any) -> None:
        store = backend.store()
        with pytest.raises((TypeError, ValueError)), store.context(note=what):
            raise AssertionError("not reached")

    def test_it_is_json_whatever_the_values_are(self, backend: Backend) -> None:
        store = backend.store(JsonStore)
        with store.context(who="ada", more=[1, {"a": None}]):
            store["k"] = [1]
        assert store.history("k")[0].more == {"more": [1, {"a": None}]}

    def test_it_is_sealed_like_a_value(self, backend: Backend) -> None:
        with backend.store(key=KEY) as store, store.context(who="Ada Lovelace", why="her secret"):
            store["k"] = 1
        log = backend.log()
        (record,) = log.read(Stream(KV, "k"))
        assert record.meta is not None
        assert b"Ada" not in record.meta
        assert b"secret" not in record.meta
        (change,) = backend.store(key=OTHER_KEY).history("k")
        assert (change.who, change.why, change.value.error) == (None, None, "StoreWrongKeyError")

    def test_it_can_not_be_moved_changed_or_slipped_in(self, backend: Backend) -> None:
        store = backend.store(key=KEY)
        with store.context(who="ada"):
            store["a"] = 1
            store["b"] = 1
        log = backend.log()
        (record,) = log.read(Stream(KV, "a"))
        plain = backend.store(namespace="plain")
        with plain.context(who="mallory"):
            plain["a"] = 1
        (foreign,) = backend.log("plain").read(Stream(KV, "a"))
        forged = {
            "moved": record.meta,
            "the value itself": log.last([Stream(KV, "b")])[0].data,
        }
        for meta in forged.values():
            log.append([Batch(Stream(KV, "b"), [_entry(log, "b", meta)], 1)])
            change = store.history("b")[-1]
            assert (change.who, change.value.error) == (None, "StorePayloadError")
            assert "not authentic" in change.value.reason
        log.append([Batch(Stream(KV, "a"), [_entry(log, "a", foreign.meta)], 1)])
        change = store.history("a")[-1]
        assert (change.who, change.value.error) == (None, "StorePlaintextError")

    def test_it_can_not_be_taken_away_exchanged_or_put_where_none_was(self, backend: Backend, key: str | None) -> None:
        store = backend.store(key=key)
        for who in ("ada", "bob"):
            with store.context(who=who):
                store["price"] = 100
        store["price"] = 100
        log, stream = backend.log(), Stream(KV, "price")
        ada, bob, nobody = log.read(stream)
        cases = {
            "who and why are gone": (ada.data, None),
            "there was no who and why when it was written": (nobody.data, bob.meta),
            **({"it is not authentic": (ada.data, bob.meta)} if key else {}),
        }
        for message, (data, meta) in cases.items():
            log.rewrite(
                [Rewrite(stream, None, [nobody.version], [nobody._replace(data=data, meta=meta)], bump_version=False)]
            )
            for change in (store.history("price")[-1], list(store.log(who="ada"))[-1]):
                assert (change.version, change.who) == (nobody.version, None)
                assert message in change.value.reason
            (problem,) = check(store)
            assert (problem.version, message in problem.message) == (nobody.version, True)


def _entry(log: Any, key: str, meta: bytes | None) -> Any:
    from rstore.domain.log import Entry

    record = log.last([Stream(KV, key)])[0]
    return Entry(record.start, record.end, record.item, record.op, record.data, meta)


# -- differences and the way back -------------------------------------------------------------------------------------


class TestDiff:
    def test_of_an_event_sequence_between_valid_times(self, store: Store) -> None:
        store.apply("k", {"a": 1, "b": 2, "c": 3}, t=10)
        store.apply("k", {"a": (operator.add, 1), "b": (operator.delitem, None), "d": 4}, t=20)
        assert store.diff("k", 10, 20) == Diff({"d": 4}, {"b": 2}, {"a": (1, 2)})
        assert store.diff("k", 20, 10) == Diff({"b": 2}, {"d": 4}, {"a": (2, 1)})
        assert store.diff("k", 0, 10).added == {"a": 1, "b": 2, "c": 3}
        assert store.diff("unknown", 0, 10) == Diff({}, {}, {})

    def test_of_a_value_between_transaction_times(self, store: Store, clock: Any) -> None:
        store["k"] = 1
        tick(clock)
        store["k"] = 2
        tick(clock)
        del store["k"]
        assert store.diff("k", NOON, NOON + 1000, kind=KV).changed == {"k": (1, 2)}
        assert store.diff("k", NOON + 1000, NOON + 2000, kind=KV).removed == {"k": 2}
        assert store.diff("k", "2024-01-01T11:00Z", NOON, kind=KV).added == {"k": 1}

    def test_of_a_series_between_transaction_times(self, store: Store, clock: Any) -> None:
        store.extend("s", *((t, t) for t in range(100)))
        tick(clock)
        store.extend("s", (5, "five"), (200, 200))
        store.remove("s", start=10, end=11)
        assert store.diff("s", NOON, NOON + 1000, kind=TS) == Diff({200: 200}, {10: 10, 11: 11}, {5: (5, "five")})
        assert store.diff("s", NOON + 1000, NOON + 9999, kind=TS) == Diff({}, {}, {})
        assert len(store.diff("s", 0, NOON, kind=TS).added) == 100


class TestRevert:
    def test_an_event_sequence_to_a_valid_time(self, store: Store) -> None:
        store.apply("k", {"a": 1, "b": 2}, t=10)
        store.apply("k", {"a": (operator.mul, 50), "b": (operator.delitem, None), "c": 3}, t=20)
        with store.context(who="ada", why="booked twice"):
            assert store.revert("k", 10) == {"a": 1, "b": 2}
        assert store.current("k") == {"a": 1, "b": 2}
        assert store.past("k", 20) == {"a": 50, "c": 3}
        assert {change.who for change in store.history("k")[-3:]} == {"ada"}
        before = store.version("k")
        assert store.revert("k", 10) == {"a": 1, "b": 2}
        assert store.version("k") == before

    def test_to_before_it_was_there(self, store: Store) -> None:
        store.apply("k", {"a": 1}, t=10)
        assert store.revert("k", 5) == {}

    def test_an_operator_that_is_a_value_comes_back_as_one(self, store: Store) -> None:
        store.apply("k", {"a": (operator.setitem, (operator.add, 1))}, t=10)
        store.apply("k", {"a": 2}, t=20)
        assert store.revert("k", 10) == {"a": (operator.add, 1)}

    def test_a_value_and_a_series_to_transaction_times(self, store: Store, clock: Any) -> None:
        store["k"] = 1
        store.extend("s", *((t, t) for t in range(50)))
        tick(clock)
        store["k"] = 2
        store.extend("s", (5, "five"), (60, 60))
        store.remove("s", start=40)
        tick(clock)
        store.revert("k", NOON, kind=KV)
        store.revert("s", NOON, kind=TS)
        assert store["k"] == 1
        assert store.range("s") == [(t, t) for t in range(50)]
        assert store.at(NOON + 1000).last("s") == (39, 39)
        store.revert("k", NOON - 1, kind=KV)
        store.revert("s", NOON - 1, kind=TS)
        assert "k" not in store
        assert store.timeseries() == []

    def test_of_an_unknown_key(self, store: Store) -> None:
        for kind in (ES, KV, TS):
            with pytest.raises(KeyError):
                store.revert("k", 0, kind=kind)
        store["k"] = 1
        with pytest.raises(KeyError, match="pass kind='kv'"):
            store.revert("k", 0)

    def test_what_is_equal_but_of_another_type_is_brought_back(self, store: Store) -> None:
        nan = float("nan")
        store.apply("k", {"a": True, "b": nan, "c": 1}, t=10)
        store.apply("k", {"a": 1, "b": float("nan"), "c": 1.0}, t=20)
        assert store.diff("k", 10, 20).changed == {"a": (True, 1), "c": (1, 1.0)}
        back = store.revert("k", 10)
        assert (back["a"] is True, type(back["c"])) == (True, int)
        before = store.version("k")
        store.revert("k", 10)
        assert store.version("k") == before


# -- deciding safely --------------------------------------------------------------------------------------------------


WRITES: dict[str, Any] = {
    "kv": lambda store, expect: store.set("k", "new", expect=expect),
    "ts": lambda store, expect: store.extend("k", (9, 9), expect=expect),
    "es": lambda store, expect: store.apply("k", {"new": 1}, expect=expect),
    "delete": lambda store, expect: store.delete("k", expect=expect),
    "remove": lambda store, expect: store.remove("k", end=1, expect=expect),
}
KIND_OF: dict[str, str] = {"delete": "kv", "remove": "ts"}


class TestExpect:
    @pytest.mark.parametrize("write", WRITES)
    def test_who_expects_what_is_there_may_write(self, store: Store, write: str) -> None:
        kind = KIND_OF.get(write, write)
        store["k"] = 1
        store.extend("k", (1, 1), (2, 2))
        store.apply("k", {"a": 1})
        version = store.version("k", kind)
        assert version > 0
        for wrong in (0, version - 1, version + 1):
            if wrong == 0 or wrong != version:
                with pytest.raises(StoreConflictError) as raised:
                    WRITES[write](store, wrong)
                assert (raised.value.expected, raised.value.actual) == (wrong, version)
        assert store.version("k", kind) == version
        WRITES[write](store, version)
        assert store.version("k", kind) > version
        with pytest.raises(StoreConflictError):
            WRITES[write](store, version)

    @pytest.mark.parametrize("kind", ["kv", "ts", "es"])
    def test_zero_means_new(self, store: Store, kind: str) -> None:
        assert store.version("k", kind) == 0
        WRITES[kind](store, 0)
        with pytest.raises(StoreConflictError):
            WRITES[kind](store, 0)

    def test_what_was_deleted_is_as_good_as_new(self, store: Store) -> None:
        store["k"] = 1
        del store["k"]
        assert store.version("k", "kv") > 0
        store.set("k", 2, expect=0)
        assert store["k"] == 2
        store.extend("s", (1, 1))
        store.remove("s")
        store.extend("s", (2, 2), expect=0)
        assert store.range("s") == [(2, 2)]

    def test_another_process_is_noticed(self, backend: Backend, key: str | None) -> None:
        one, other = backend.store(key=key), backend.store(key=key)
        one.apply("k", {"n": 1})
        version = one.version("k")
        other.apply("k", {"n": 2})
        with pytest.raises(StoreConflictError):
            one.apply("k", {"n": 3}, expect=version)
        assert one.apply("k", {"m": 3}, expect=other.version("k")) == {"n": 2, "m": 3}

    def test_it_is_checked_before_anything_is_sent(self, store: Store) -> None:
        for wrong in ("1", 1.0, True):
            with pytest.raises(TypeError):
                store.set("k", 1, expect=wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="0 or more"):
            store.set("k", 1, expect=-1)
        with pytest.raises(TypeError, match="one key"):
            store.delete("a", "b", expect=1)

    def test_update_with_repeats_until_nobody_comes_in_between(self, backend: Backend) -> None:
        one, other = backend.store(), backend.store()
        one["n"] = 0
        calls = []

        def increase(n: int) -> int:
            calls.append(n)
            if len(calls) < 3:
                other["n"] = n + 10
            return n + 1

        assert one.update_with("n", increase) == 21
        assert calls == [0, 10, 20]
        assert one["n"] == 21
        assert one.update_with("new", lambda n: n + 1, default=0) == 1
        with pytest.raises(StoreConflictError):
            one.update_with("n", lambda n: (other.set("n", n), n)[1], retries=2)

    def test_update_with_an_event_sequence(self, store: Store) -> None:
        store.apply("k", {"n": 1})
        state = store.update_with("k", lambda state: {"n": (operator.add, state["n"])}, kind="es")
        assert state == {"n": 2}
        assert store.update_with("new", lambda state: {"n": len(state)}, kind="es") == {"n": 0}


class TestOnce:
    def test_each_kind_of_write_is_done_once(self, backend: Backend, key: str | None) -> None:
        one, other = backend.store(key=key), backend.store(key=key)
        for store, n in ((one, 1), (one, 2), (other, 3)):
            store.set("k", n, once="token")
            store.extend("k", (n, n), once="token")
            state = store.apply("k", {"n": n}, once="token")
            assert state == {"n": 1}
        assert one["k"] == 1
        assert one.range("k") == [(1, 1)]
        assert one.current("k") == {"n": 1}
        one.set("k", 5, once="another token")
        one.set("other", 6, once="token")
        assert (one["k"], one["other"]) == (5, 6)

    def test_the_second_call_returns_what_the_first_did(self, backend: Backend) -> None:
        one, other = backend.store(), backend.store()
        one.apply("k", {"n": 1, "m": 1})
        assert one.apply("k", {"n": (operator.add, 1), "m": (operator.delitem, None)}, once="t") == {"n": 2}
        one.apply("k", {"n": (operator.add, 10)})
        for store in (one, other):
            assert store.apply("k", {"n": (operator.add, 1), "m": (operator.delitem, None)}, once="t") == {"n": 2}
        assert one.current("k") == {"n": 12}

    def test_after_a_prune_it_is_still_done_and_the_present_is_returned(self, store: Store) -> None:
        store.apply("k", {"n": 1}, t=10)
        assert store.apply("k", {"n": (operator.add, 1), "m": 0}, t=20, once="t") == {"n": 2, "m": 0}
        store.apply("k", {"n": 5, "m": 1, "o": 1}, t=30)
        assert store.apply("k", {"n": (operator.add, 1), "m": 0}, t=20, once="t") == {"n": 2, "m": 0}
        store.prune("k")
        assert store.apply("k", {"n": (operator.add, 1), "m": 0}, t=20, once="t") == {"n": 5, "m": 1, "o": 1}
        store.apply("new", {"a": 1}, once="t")
        store.apply("new", {"a": 2})
        store.prune("new")
        store.apply("new", {"b": 3})
        assert store.apply("new", {"a": 1}, once="t") == {"a": 2, "b": 3}

    def test_it_is_looked_at_before_what_was_expected(self, store: Store) -> None:
        version = store.version("k", "kv")
        store.set("k", 1, expect=version, once="t")
        store.set("k", 1, expect=version, once="t")
        assert store.apply("e", {"a": 1}, expect=0, once="t") == {"a": 1}
        assert store.apply("e", {"a": 1}, expect=0, once="t") == {"a": 1}
        assert store.apply("e", {"a": 1}, t=5, once="t5") == store.apply("e", {"a": 1}, t=5, once="t5")

    def test_what_failed_can_be_done_again(self, store: Store) -> None:
        with pytest.raises(ArithmeticError):
            store.extend("s", ((1 // (1 - n), n) for n in range(3)), once="t")
        store.extend("s", (1, 1), once="t")
        assert store.range("s") == [(1, 1)]

    def test_racing_threads_do_it_once(self, backend: Backend) -> None:
        stores = [backend.store() for _ in range(4)]
        stores[0].apply("k", {"n": 0})
        states = []

        def work(store: Store) -> None:
            states.extend(store.apply("k", {"n": (operator.add, 1)}, once=str(token)) for token in range(10))

        threads = [threading.Thread(target=work, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stores[0].current("k") == {"n": 10}
        assert len(states) == 40

    def test_a_token_is_a_text(self, store: Store) -> None:
        with pytest.raises(ValueError, match="token"):
            store.set("k", 1, once="")
        with pytest.raises(TypeError):
            store.set("k", 1, once=1)  # type: ignore[arg-type]
