"""Values that have an end. From then on, all reads agree that they are not there."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory

from rstore import FrozenStoreError, Store, StoreConflictError, StorePayloadError
from rstore.admin.check import check
from rstore.domain.log import Rewrite
from rstore.domain.streams import KV, Stream
from rstore.transfer.copying import copy
from rstore.transfer.jsonlines import export, load
from tests.conftest import Backend, in_turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MS = int(NOW.timestamp() * 1000)
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> Iterator[FrozenDateTimeFactory]:
    with freeze_time(NOW) as clock:
        assert isinstance(clock, FrozenDateTimeFactory)
        yield clock


def contents(store: Any) -> dict[str, Any]:
    """Return all keys and values, as each of the reads shows them."""
    found = dict(store.items())
    assert store.keys() == list(store) == list(found)
    assert list(store.values()) == list(found.values())
    assert len(store) == len(found)
    assert store.find() == store.find("*") == list(found.items())
    names = ["a", "b", "c", "d", *found]
    assert store.get_many(names) == found
    for name in names:
        assert store.has(name) == (name in store) == (name in found)
        assert store.get(name, "none") == found.get(name, "none")
    return found


class TestEnds:
    def test_a_value_is_there_up_to_its_end(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=10)
        store.set("b", 2, until=NOW + 20 * SECOND)
        store.set("c", None, ttl=timedelta(milliseconds=1))
        store["d"] = 4
        assert contents(store) == {"a": 1, "b": 2, "c": None, "d": 4}
        clock.tick(timedelta(milliseconds=2))  # freezegun's nanoseconds are a little behind
        assert contents(store) == {"a": 1, "b": 2, "d": 4}
        clock.move_to(NOW + timedelta(seconds=9.999))
        assert contents(store) == {"a": 1, "b": 2, "d": 4}
        clock.move_to(NOW + 10 * SECOND)
        assert contents(store) == {"b": 2, "d": 4}
        with pytest.raises(KeyError):
            store["a"]
        clock.move_to(NOW + 20 * SECOND)
        assert contents(store) == {"d": 4}

    def test_expiry_tells_the_end(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=1.5)
        store["b"] = 2
        assert [store.expiry(key) for key in "abc"] == [MS + 1500, None, None]
        assert store.at(NOW).expiry("a") == MS + 1500
        store.set("b", 2, until="2026-01-01T00:00:10Z")
        assert store.expiry("b") == MS + 10_000
        clock.tick(10 * SECOND)
        assert [store.expiry(key) for key in "ab"] == [None, None]

    def test_a_value_whose_end_has_passed_is_not_there(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        for until in (NOW, NOW - SECOND, 0, -(2**63)):
            store["a"] = 1
            store.set("a", 2, until=until)
            assert contents(store) == {}

    def test_a_new_value_has_an_end_of_its_own_or_none(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        for key in "abc":
            store.set(key, 1, ttl=10)
        store.set("a", 2)
        store.set("b", 2, ttl=20)
        store.set("c", 2, ttl=5)
        clock.tick(10 * SECOND)
        assert contents(store) == {"a": 2, "b": 2}

    def test_writers_find_a_key_that_has_expired_as_if_it_were_deleted(
        self, store: Store, clock: FrozenDateTimeFactory
    ) -> None:
        for key in ("a", "b", "c", "d"):
            store.set(key, 1, ttl=1)
        clock.tick(SECOND)
        assert store.setdefault("a", 2, ttl=5) == 2
        assert store.pop("b", "none") == "none"
        with pytest.raises(KeyError):
            del store["c"]
        assert store.update_with("d", lambda old: (old or 0) + 1) == 1
        assert contents(store) == {"a": 2, "d": 1}
        assert store.popitem() == ("a", 2)
        clock.tick(5 * SECOND)
        assert contents(store) == {"d": 1}

    def test_a_version_is_not_changed_by_an_end(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=1)
        version = store.version("a", KV)
        clock.tick(SECOND)
        assert store.version("a", KV) == version
        with pytest.raises(StoreConflictError):
            store.set("a", 2, expect=version + 1, ttl=1)
        store.set("a", 2, expect=version, ttl=1)
        store.set("a", 3, once="token", ttl=5)
        store.set("a", 4, once="token", ttl=50)
        clock.tick(SECOND)
        assert contents(store) == {"a": 3}

    def test_many_at_once_have_one_end(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set_many({"a": 1, "b": 2}, ttl=3)
        store.set_many([("c", 3), ("c", 4)], until=NOW + 2 * SECOND)
        store.set_many((), ttl=9)
        clock.tick(2 * SECOND)
        assert contents(store) == {"a": 1, "b": 2}
        clock.tick(SECOND)
        assert contents(store) == {}

    def test_more_pairs_than_memory_holds_have_one_end(
        self, store: Store, clock: FrozenDateTimeFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rstore.models.keyvalues._ROOM", 1000)
        store.set_many(((f"key {n:02}", n) for n in range(40)), ttl=1)
        assert len(store) == 40
        clock.tick(SECOND)
        assert contents(store) == {}

    def test_an_update_keeps_the_end(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        """As of a counter of requests within a minute."""
        store.set("a", 1, ttl=3)
        assert store.update_with("a", lambda count: count + 1) == 2
        clock.tick(2 * SECOND)
        assert contents(store) == {"a": 2}
        clock.tick(SECOND)
        assert contents(store) == {}

    def test_an_end_that_passes_meanwhile_is_kept_too(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        def late(count: int) -> int:
            clock.tick(2 * SECOND)
            return count + 1

        store.set("a", 41, ttl=1)
        assert store.update_with("a", late) == 42
        assert contents(store) == {}

    def test_a_key_that_has_expired_is_as_good_as_new(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        """As a lock is, whose owner never came back."""
        store.set("a", "ada", expect=0, ttl=10)
        with pytest.raises(StoreConflictError):
            store.set("a", "bob", expect=0, ttl=10)
        clock.tick(10 * SECOND)
        store.set("a", "bob", expect=0, ttl=10)
        assert contents(store) == {"a": "bob"}

    def test_clear_takes_those_that_have_expired_too(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=1)
        clock.tick(SECOND)
        store.clear()
        assert [change.op for change in store.history("a", KV)] == ["setitem", "delitem"]

    @in_turn(
        ("options", "error"),
        [
            ({"ttl": 1, "until": NOW}, TypeError),
            ({"ttl": True}, TypeError),
            ({"ttl": 1j}, TypeError),
            ({"ttl": "1"}, TypeError),
            ({"ttl": 0}, ValueError),
            ({"ttl": -1.5}, ValueError),
            ({"ttl": float("nan")}, ValueError),
            ({"ttl": float("inf")}, ValueError),
            ({"ttl": timedelta(0)}, ValueError),
            ({"until": "tomorrow"}, ValueError),
            ({"until": NOW.replace(tzinfo=None)}, ValueError),
            ({"until": 2**63}, OverflowError),
        ],
    )
    def test_a_ttl_or_until_that_is_no_end_is_refused(
        self, store: Store, options: dict[str, Any], error: type[Exception]
    ) -> None:
        for write in (store.set, store.setdefault):
            with pytest.raises(error):
                write("a", 1, **options)
        with pytest.raises(error):
            store.set_many({"a": 1}, **options)
        assert not list(store.log())

    def test_an_end_may_be_as_far_as_times_go(self, store: Store) -> None:
        store.set("a", 1, ttl=10**300)
        store.set("b", 1, until=2**63 - 1)
        assert contents(store) == {"a": 1, "b": 1}
        assert store.expiry("a") == store.expiry("b") == 2**63 - 1
        store.set("c", 1, until=store.expiry("a"))
        assert contents(store) == {"a": 1, "b": 1, "c": 1}


class TestThePast:
    def test_a_view_shows_what_held_at_its_time(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=10)
        clock.tick(5 * SECOND)
        store.set("b", 2, ttl=1)
        clock.tick(15 * SECOND)
        store["a"] = 3
        assert contents(store.at(NOW)) == {"a": 1}
        assert contents(store.at(NOW + 5 * SECOND)) == {"a": 1, "b": 2}
        assert contents(store.at(NOW + 6 * SECOND)) == {"a": 1}
        assert contents(store.at(NOW + 10 * SECOND)) == {}
        assert contents(store.at(NOW + 20 * SECOND)) == {"a": 3}
        assert contents(store.at(NOW + 20 * SECOND).at(NOW)) == {"a": 1}
        assert contents(store.at(NOW).at(NOW + 20 * SECOND)) == {"a": 1}

    def test_the_log_tells_what_was_set_and_until_when(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=10)
        store["a"] = 2
        clock.tick(20 * SECOND)
        assert [(each.op, each.value, each.until) for each in store.history("a", KV)] == [
            ("setitem", 1, MS + 10_000),
            ("setitem", 2, None),
        ]
        assert [change.until for _, change in store.follow()] == [MS + 10_000, None]

    def test_a_value_comes_back_with_its_end(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=10)
        clock.tick(SECOND)
        store["a"] = 2
        store.revert("a", NOW, kind=KV)
        assert contents(store) == {"a": 1}
        clock.tick(9 * SECOND)
        assert contents(store) == {}

    def test_differences_leave_out_what_has_expired(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=10)
        clock.tick(10 * SECOND)
        assert store.diff("a", NOW, NOW + 10 * SECOND, kind=KV).removed == {"a": 1}


class TestTransactions:
    def test_it_shows_the_ends_of_what_it_writes(self, store: Store, clock: FrozenDateTimeFactory) -> None:
        store.set("a", 1, ttl=10)
        with store.transaction():
            store.set("b", 2, ttl=1)
            store.set("c", 3, ttl=2)
            store["a"] = 4
            assert contents(store) == {"a": 4, "b": 2, "c": 3}
            clock.tick(SECOND)
            assert contents(store) == {"a": 4, "c": 3}
        assert contents(store) == {"a": 4, "c": 3}
        clock.tick(SECOND)
        assert contents(store) == {"a": 4}

    def test_one_that_is_given_up_leaves_no_mark(self, backend: Backend, clock: FrozenDateTimeFactory) -> None:
        store = backend.store()
        with suppress(LookupError), store.transaction():
            store.set("a", 1, ttl=1)
            raise LookupError
        store.set("a", 1, ttl=1)
        clock.tick(SECOND)
        assert len(store) == len(backend.store()) == 0

    def test_two_writers_mark_the_namespace_in_turn(self, backend: Backend, clock: FrozenDateTimeFactory) -> None:
        one, other = backend.store(), backend.store()
        one["d"] = 0
        one.set("a", 1, ttl=1)
        other.set("b", 1, ttl=1)
        one.discard()
        for store in (other, one):
            store.set("c", 1, ttl=1)
        clock.tick(SECOND)
        assert len(one) == len(other) == len(backend.store()) == 0

    def test_that_two_are_the_first_is_no_conflict(self, backend: Backend, clock: FrozenDateTimeFactory) -> None:
        one, other = backend.store(), backend.store()
        with one.transaction():
            one.set("a", 1, ttl=1)
            other.set("b", 1, ttl=1)
            one.set("c", 1, ttl=1)
            assert len(one) == 3
            clock.tick(SECOND)
            assert len(one) == 0
        assert len(one) == len(other) == len(one.at(NOW + SECOND)) == 0
        assert len(one.at(NOW)) == len(one.at(NOW).keys()) == 1


class TestElsewhere:
    def test_queries_leave_out_what_has_expired(self, backend: Backend) -> None:
        store = backend.store()  # by the real clock: Arrow can't be imported while the clock is held
        store.set("a", 1, until=10)
        store["b"] = 2
        store.set("c", 3, ttl=0.05)
        time.sleep(0.06)
        for text in ("select key from kv", "select key from kv where key in ('a', 'b', 'c')"):
            assert list(store.sql(text)) == [("b",)]
        assert list(store.sql("select key, value from kv")) == [("b", 2)]
        (set_at,) = [change.recorded for change in store.history("c", KV)]
        assert list(store.at(set_at).sql("select key from kv order by key")) == [("b",), ("c",)]

    def test_a_program_that_knows_no_ends_refuses_such_a_value(self, backend: Backend) -> None:
        """Earlier versions of rstore look for the operators of the values that they know."""
        backend.store().set("a", 1, ttl=10)
        (record,) = backend.log().last([Stream(KV, "a")])
        assert record is not None
        assert record.op not in ("setitem", "delitem")

    @pytest.mark.parametrize("history", [True, False])
    def test_compact_erases_what_has_expired(
        self, backend: Backend, clock: FrozenDateTimeFactory, history: bool
    ) -> None:
        store = backend.store(history=history)
        store.set("a", 1, ttl=1)
        store.set("b", 2, ttl=10)
        store["c"] = 3
        clock.tick(SECOND)
        assert store.compact(dry_run=True).records == 1
        store.compact()
        assert contents(store) == {"b": 2, "c": 3}
        assert store.version("a", KV) == 0
        assert store.history("a", KV)[:-1] == []
        assert list(check(store)) == []

    def test_compact_before_a_time_keeps_what_held_then(self, backend: Backend, clock: FrozenDateTimeFactory) -> None:
        store = backend.store()
        store.set("a", 1, ttl=2)
        store.set("b", 2, ttl=10)
        clock.tick(5 * SECOND)
        store.set("b", 3, ttl=10)
        clock.tick(20 * SECOND)
        store.compact(before=NOW + 3 * SECOND)
        assert contents(store.at(NOW + 3 * SECOND)) == {"b": 2}
        assert contents(store.at(NOW + 6 * SECOND)) == {"b": 3}
        assert contents(store) == {}
        store.compact()
        assert [store.version(key, KV) for key in "ab"] == [0, 0]

    def test_without_history_a_value_has_an_end_too(self, backend: Backend, clock: FrozenDateTimeFactory) -> None:
        store = backend.store(history=False)
        for ttl in (1, 3):
            store.set("a", ttl, ttl=ttl)
            store.set_many({"b": ttl, "c": ttl}, ttl=ttl)
        clock.tick(2 * SECOND)
        assert contents(store) == {"a": 3, "b": 3, "c": 3}
        clock.tick(SECOND)
        assert contents(store) == {}

    def test_copies_keep_the_ends(self, backend: Backend, clock: FrozenDateTimeFactory, tmp_path: Path) -> None:
        store = backend.store()
        store.set("a", 1, ttl=10)
        store.set("b", 2)
        export(store, tmp_path / "export.jsonl")
        copied, loaded = backend.store(namespace="copied"), backend.store(namespace="loaded")
        copy(store, copied)
        load(loaded, tmp_path / "export.jsonl")
        for each in (copied, loaded):
            assert contents(each) == {"a": 1, "b": 2}
        clock.tick(10 * SECOND)
        for each in (copied, loaded):
            assert contents(each) == {"b": 2}
            assert contents(each.at(NOW)) == {"a": 1, "b": 2}

    def test_frozen_stores_show_the_ends(self, backend: Backend, clock: FrozenDateTimeFactory) -> None:
        backend.store().set("a", 1, ttl=10)
        frozen = backend.store(frozen=True)
        with pytest.raises(FrozenStoreError):
            frozen.set("a", 1, ttl=10)
        assert contents(frozen) == {"a": 1}
        clock.tick(10 * SECOND)
        assert contents(frozen) == {}
        assert contents(frozen.at(NOW)) == {"a": 1}

    def test_an_end_that_was_tampered_with_is_noticed(self, backend: Backend, clock: FrozenDateTimeFactory) -> None:
        store, stream = backend.store(key="A" * 43 + "="), Stream(KV, "a")
        store.set("a", 1, ttl=10)
        log = backend.log()
        for end in (MS + 99_999, MS - 1):  # longer, or shorter
            (record,) = log.read(stream)
            log.rewrite([Rewrite(stream, None, [record.version], [record._replace(end=end)], bump_version=False)])
            with pytest.raises(StorePayloadError):
                store.get("a")


@pytest.mark.parametrize("seed", range(2))
def test_at_each_time_a_store_is_as_a_naive_dict(store: Store, clock: FrozenDateTimeFactory, seed: int) -> None:
    """Random writes with and without an end, then looks at random times of the past and of the present."""
    chosen = random.Random(seed)
    written: list[tuple[int, str, Any, float]] = []
    for _ in range(60):
        clock.tick(timedelta(milliseconds=chosen.randint(1, 2000)))
        now = int(datetime.now(UTC).timestamp() * 1000)
        key, value, ttl = chosen.choice("abcd"), chosen.random(), chosen.choice([None, 1, 2.5, 20])
        if chosen.random() < 0.15:
            store.delete(key)
            written.append((now, key, None, 0))
        else:
            store.set(key, value, ttl=ttl)
            written.append((now, key, value, float("inf") if ttl is None else now + ttl * 1000))

    def expected_at(moment: int) -> dict[str, Any]:
        last = {key: (value, end) for recorded, key, value, end in written if recorded <= moment}
        return {key: value for key, (value, end) in sorted(last.items()) if moment < end}

    last = written[-1][0]
    for _ in range(15):
        moment = chosen.randint(MS, last)
        assert contents(store.at(moment)) == expected_at(moment)
    for _ in range(5):
        clock.tick(timedelta(seconds=chosen.randint(0, 6)))
        assert contents(store) == expected_at(int(datetime.now(UTC).timestamp() * 1000))
