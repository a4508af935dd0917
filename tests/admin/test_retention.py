"""Retention: what is older than somebody has said goes with a compaction, and nothing else does."""

from __future__ import annotations

import operator
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from attrs import define, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore import Changes, FrozenStoreError, Repository, Store, StoreIntegrityError, StorePayloadError
from rstore.admin.check import check
from rstore.admin.erasures import Eraser
from rstore.core import core_of
from rstore.domain.log import Batch
from rstore.domain.streams import RETAIN, Stream
from rstore.encoding.notes import note_body
from rstore.transfer import copy
from tests.conftest import KEY, OTHER_KEY, Backend, in_turn

DAY = timedelta(days=1)
DAY_MS = 86_400_000
START = datetime(2026, 1, 1, tzinfo=UTC)


@frozen
class Account:
    balance: Decimal


def deposit(account: Account, amount: Decimal) -> Changes:
    return {"balance": (operator.add, amount)}


def ms(days: float) -> int:
    """Return the time so many days after the start, in POSIX milliseconds."""
    return int((START + days * DAY).timestamp() * 1000)


@define
class Clock:
    """A clock that stands still until somebody moves it. Freezegun would look into every module at each test."""

    at: int = ms(0)

    def time_ns(self) -> int:
        return self.at * 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    held = Clock()
    monkeypatch.setattr(time, "time_ns", held.time_ns)
    return held


def later(clock: Clock, days: float) -> None:
    """Let days pass."""
    clock.at += int(days * DAY_MS)


def clean(store: Store) -> None:
    """Compact, but for what is from after the start: so only retentions erase. Compare with a dry run."""
    expected = store.compact(before="2020-01-01T00:00Z", dry_run=True)
    assert store.compact(before="2020-01-01T00:00Z").records == expected.records
    assert list(check(store)) == []


class TestPolicy:
    def test_it_is_listed_until_it_is_ended(self, store: Store) -> None:
        with store.context(who="ada", why="law"):
            store.retain("log/*", "90 days", kind="kv")
        store.retain("a", timedelta(hours=1), unit="s")
        store.retain("log/*", "1h")
        store.retain("unknown", None)
        assert core_of(store).base.head(Stream(RETAIN, "unknown")) is None
        first, second = store.retentions()
        assert first[:4] == ("a", timedelta(hours=1), None, "s")
        assert (second.pattern, second.age, second.kind, second.who) == ("log/*", timedelta(hours=1), None, None)
        store.retain("a", None)
        store.retain("log/*", None)
        assert store.retentions() == []

    @in_turn(
        ("age", "length"),
        [
            ("90 days", 90 * DAY),
            ("1 day", DAY),
            ("D", DAY),
            ("12h", DAY / 2),
            ("30min", timedelta(minutes=30)),
            ("5 ms", timedelta(milliseconds=5)),
            (timedelta(milliseconds=1), timedelta(milliseconds=1)),
            (pd.Timedelta(days=2), 2 * DAY),
        ],
    )
    def test_ages(self, backend: Backend, age: Any, length: timedelta) -> None:
        store = backend.store()
        store.retain("x", age)
        assert store.retentions()[0].age == length

    @in_turn(
        ("options", "error"),
        [
            ({"age": "0 days"}, ValueError),
            ({"age": "90 moons"}, ValueError),
            ({"age": "1 ns"}, ValueError),
            ({"age": timedelta(0)}, ValueError),
            ({"age": -DAY}, ValueError),
            ({"age": 90}, TypeError),
            ({"age": pd.NaT}, (TypeError, ValueError)),
            ({"pattern": ""}, ValueError),
            ({"pattern": 1}, TypeError),
            ({"kind": "keys"}, ValueError),
            ({"unit": "D"}, ValueError),
            ({"unit": []}, ValueError),
        ],
    )
    def test_what_is_none_is_refused(self, backend: Backend, options: dict[str, Any], error: Any) -> None:
        store = backend.store()
        with pytest.raises(error):
            store.retain(**{"pattern": "x", "age": "1 day", **options})
        assert store.retentions() == []

    def test_a_frozen_store_and_a_view_set_none(self, backend: Backend, store: Store, key: str | None) -> None:
        store.retain("x", "1 day")
        frozen = backend.store(key=key, frozen=True)
        assert [each.pattern for each in frozen.retentions()] == ["x"]
        for place in (frozen, store.at(0)):
            with pytest.raises(FrozenStoreError):
                place.retain("x", "1 day")

    def test_it_is_sealed_and_damage_is_told(self, backend: Backend) -> None:
        store = backend.store(key=KEY)
        with store.context(why="secret reason"):
            store.retain("x", "1 day", unit="ms")
        stored = repr([(record.item, record.data, record.meta) for *_, record in core_of(store).base.follow()])
        assert "secret" not in stored
        assert "milliseconds" not in stored
        with pytest.raises(StorePayloadError):
            backend.store().retentions()
        with pytest.raises(StorePayloadError):
            backend.store().compact()
        core, stream = core_of(store), Stream(RETAIN, "x")
        good = {"milliseconds": 1, "kind": None, "unit": None}
        for words in (
            {},
            {**good, "newer": 1},
            {**good, "milliseconds": "1"},
            {**good, "kind": "x"},
            {**good, "unit": 1},
        ):
            entry = core.envelope.entry(stream, RETAIN, note_body(words), start=0, end=0)
            core.append([Batch(stream, (entry,), 0)])
            with pytest.raises(StorePayloadError, match="a newer rstore wrote it"):
                store.retentions()

    def test_a_copy_and_a_new_key_keep_it(self, backend: Backend) -> None:
        with backend.store(key=KEY) as store:
            store.retain("x", "1 day")
        with backend.store(key=[OTHER_KEY, KEY]) as store:
            store.rekey()
            target = backend.store(namespace="target", key=OTHER_KEY)
            copy(store, target)
        assert [each.pattern for each in target.retentions()] == ["x"]


class TestKeys:
    def test_values_that_were_stored_longer_ago_go(self, store: Store, clock: Clock) -> None:
        store["log/old"] = store["log/new"] = store["other"] = 1
        store.retain("log/*", "10 days")
        later(clock, 10)
        clean(store)
        assert sorted(store) == ["log/new", "log/old", "other"]  # not more than ten days
        store["log/new"] = 2
        later(clock, 1)
        clean(store)
        assert dict(store.items()) == {"log/new": 2, "other": 1}
        assert [change.op for change in store.history("log/old")] == ["compact"]
        assert len(store) == 2
        store["log/old"] = 3
        assert store["log/old"] == 3

    def test_the_past_goes_as_far_as_views_since_then_allow(self, store: Store, clock: Clock) -> None:
        for day in range(5):
            store["log"] = day
            later(clock, 1)
        later(clock, 0.5)
        store.retain("log", "2 days")
        clean(store)
        assert [change.value for change in store.history("log") if change.op == "setitem"] == [3, 4]
        assert store.at(ms(3))["log"] == 3

    def test_the_erasure_says_who_and_why(self, store: Store, clock: Clock) -> None:
        store["log"] = store["log/2"] = 1
        store.retain("log", "90 days")
        store.retain("log/*", "36h")
        later(clock, 91)
        with store.context(who="ada"):
            store.compact()
        (change,) = store.history("log")
        assert (change.op, change.who, change.why) == ("compact", "ada", "retention 'log' 90 days")
        (change,) = store.history("log/2")
        assert change.why == "retention 'log/*' 1 day, 12:00:00"
        store["log"] = 1
        later(clock, 91)
        with store.context(why="ticket 42"):
            store.compact()
        assert store.history("log")[-1].why == "retention 'log' 90 days: ticket 42"

    def test_the_shortest_of_several_counts_and_kinds_are_apart(self, store: Store, clock: Clock) -> None:
        store["a/1"] = store["b/1"] = 1
        store.apply("a/1", {"n": 1})
        store.retain("a/*", "10 days", kind="es")
        store.retain("*", "90 days", kind="kv")
        store.retain("b/*", "10 days")
        later(clock, 11)
        clean(store)
        assert list(store) == ["a/1"]

    def test_a_dry_run_erases_nothing_and_counts_the_same(self, store: Store, clock: Clock) -> None:
        for n in range(3):
            store["log/1"] = store["log/2"] = store["x"] = n
            later(clock, 1)
        store["log/2"] = 4
        store.retain("log/*", "36h")
        expected = store.compact(dry_run=True)
        assert len(store) == 3
        assert store.compact() == expected
        assert sorted(store) == ["log/1", "log/2", "x"]
        later(clock, 1)
        assert store.compact(dry_run=True).records == 1
        assert store.compact().records == 1
        assert sorted(store) == ["log/2", "x"]

    def test_what_is_ended_erases_nothing_more(self, store: Store, clock: Clock) -> None:
        store["log"] = 1
        store.retain("log", "1 day")
        store.retain("log", None)
        later(clock, 2)
        store.compact()
        assert store["log"] == 1

    def test_what_others_write_meanwhile_stays(
        self,
        backend: Backend,
        store: Store,
        key: str | None,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        store["k"] = 1
        store.apply("e", {"n": 1})
        store.apply("e", {"n": (operator.add, 1)})
        store.extend("whole", (ms(0), 0))
        store.extend("cut", (ms(0), 0), (ms(9), 9))
        store.retain("*", "1 day", unit="ms")
        later(clock, 5)
        other, record = backend.store(key=key), Eraser.record

        def write(eraser: Eraser, plans: Any) -> None:
            plans = list(plans)
            record(eraser, plans)
            streams = {rewrite.stream for plan in plans for rewrite in plan.rewrites}
            if Stream("kv", "k") in streams:
                other["k"] = 2
            if Stream("ts", "cut") in streams and other.range("cut") != [(ms(9), 9)]:
                other.extend("whole", (ms(9), 9))
                other.extend("cut", (ms(8), 8))
            if Stream("es", "e") in streams and (other.current("e") or {})["n"] == 2:
                other.apply("e", {"n": (operator.add, 5)})

        monkeypatch.setattr(Eraser, "record", write)
        store.compact(before=0)
        monkeypatch.undo()
        assert store["k"] == 2
        assert store.current("e") == {"n": 7}
        assert store.range("whole") == [(ms(9), 9)]
        assert store.range("cut") == [(ms(8), 8), (ms(9), 9)]
        assert list(check(store)) == []


class TestSeries:
    def test_older_points_go(self, store: Store, clock: Clock) -> None:
        for day in range(8):
            store.extend("t", *((ms(day) + hour, day) for hour in range(3)))
        store.retain("t", "3 days", unit="ms")
        later(clock, 8)
        clean(store)
        assert [day for _, day in store.range("t")] == [5, 5, 5, 6, 6, 6, 7, 7, 7]
        assert store.first("t") == (ms(5), 5)
        assert all(
            point[0] >= ms(5) for change in store.history("t") if change.op == "extend" for point in change.value
        )
        changes = store.history("t")
        clean(store)
        assert store.history("t") == changes, "nothing is left to erase"

    def test_segments_that_came_out_of_order_are_listed_in_order(self, store: Store, clock: Clock) -> None:
        for day in (3, 1, 2, 9):
            store.extend("t", (ms(day), day))
        store.retain("t", "1 day", unit="ms")
        later(clock, 10)
        clean(store)
        (change,) = (each for each in store.history("t") if each.op == "compact")
        (erased,) = change.value.streams
        assert (len(erased.versions), erased.records) == (1, 3), "one range"

    def test_a_segment_is_cut_and_keeps_its_note(self, store: Store, clock: Clock) -> None:
        with store.context(who="ada"):
            store.extend("t", *((ms(day), day) for day in range(8)))
        store.extend("t", (ms(6), 66))
        store.remove("t", start=ms(1), end=ms(5))
        store.extend("edge", (ms(0), 0), (ms(4), 4))
        store.retain("*", "4 days", unit="ms")
        later(clock, 8)
        clean(store)
        assert store.range("edge") == [(ms(4), 4)]
        assert [value for _, value in store.range("t")] == [66, 7]
        assert [(each.op, each.who) for each in store.history("t")][:2] == [("extend", "ada"), ("extend", None)]
        store.compact()
        assert [value for _, value in store.range("t")] == [66, 7]

    def test_a_series_of_which_no_point_is_left_is_forgotten(self, store: Store, clock: Clock) -> None:
        store.extend("t", (ms(0), 0), (ms(9), 9))
        store.remove("t", start=ms(9), end=ms(9))
        store.extend("gone", (ms(0), 0))
        store.remove("gone", start=ms(0), end=ms(0))
        store.retain("*", "1 day", unit="ms")
        later(clock, 1)
        clean(store)
        assert [each.op for each in store.history("gone")] == ["extend", "remove"], "exactly so old is not too old"
        later(clock, 8)
        clean(store)
        assert store.timeseries() == []
        assert [each.op for each in store.history("t")] == ["compact"]
        assert [each.op for each in store.history("gone")] == ["compact"]

    def test_one_that_was_rewritten_meanwhile_is_cut_all_the_same(
        self, backend: Backend, store: Store, key: str | None, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process joins both segments in the place of the one that the plan cuts."""
        store.extend("t", (ms(8), 8))
        store.extend("t", (ms(0), 0), (ms(9), 9))
        store.retain("t", "2 days", unit="ms")
        later(clock, 9)
        other, record, left = backend.store(key=key), Eraser.record, [1]

        def join(eraser: Eraser, plans: Any) -> None:
            record(eraser, plans)
            if left and plans:
                left.clear()
                other.retain("t", None)
                other.compact()

        monkeypatch.setattr(Eraser, "record", join)
        store.compact(before=0)
        assert store.range("t") == [(ms(8), 8), (ms(9), 9)]
        assert list(check(store)) == []

    def test_times_in_seconds_are_cut_at_the_next_whole_one(self, store: Store, clock: Clock) -> None:
        store.extend("t", (0, 0), (ms(1) // 1000, 1), (ms(1) // 1000 + 1, 2))
        store.retain("t", "1 day", unit="s")
        clock.at = ms(2)
        clean(store)
        assert [value for _, value in store.range("t")] == [1, 2], "exactly so old is not too old"
        clock.at += 1
        clean(store)
        assert [value for _, value in store.range("t")] == [2]

    @in_turn("unit", ["s", "ms", "us", "ns"])
    def test_frames_have_a_unit_of_their_own(self, backend: Backend, clock: Clock, unit: str) -> None:
        clock.at = ms(10)
        store = backend.store(namespace=unit)
        index = pd.date_range(START, periods=11, freq="D", unit=unit)
        store.extend("t", pd.DataFrame({"n": range(11), "x": 1.5}, index=index))
        store.retain("t", "3 days", unit="ns")  # only of series without one
        clean(store)
        assert [row["n"] for _, row in store.range("t")] == [7, 8, 9, 10]
        assert store.time_axis("t").unit == unit

    def test_plain_times_without_a_unit_are_refused_before_anything_goes(self, store: Store, clock: Clock) -> None:
        store.retain("*", "1 day")
        store["k"] = 1
        store.extend("t", (1, 1))
        with pytest.raises(ValueError, match=r"plain ints.*unit="):
            store.retain("t*", "1 day")
        later(clock, 2)
        for dry_run in (True, False):
            with pytest.raises(ValueError, match=r"plain ints.*nothing was erased"):
                store.compact(dry_run=dry_run)
        assert store["k"] == 1
        store.retain("*", "1 day", kind="kv")
        store.compact()
        assert "k" not in store
        assert store.range("t") == [(1, 1)]

    def test_a_series_that_comes_after_the_check_of_units_stays(
        self, backend: Backend, store: Store, key: str | None, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store["k"] = 1
        store.retain("*", "1 day")
        later(clock, 2)
        other, record = backend.store(key=key), Eraser.record

        def extend(eraser: Eraser, plans: Any) -> None:
            record(eraser, plans)
            other.extend("new", (1, 1))

        monkeypatch.setattr(Eraser, "record", extend)
        store.compact(before=0)
        assert ("k" in store, store.range("new")) == (False, [(1, 1)])

    def test_values_that_can_not_be_loaded_stay_until_all_of_them_are_old(
        self, backend: Backend, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = backend.store()
        monkeypatch.setitem(globals(), "Lost", type("Lost", (), {"__module__": __name__, "__qualname__": "Lost"}))
        store.extend("t", (ms(0), globals()["Lost"]()), (ms(2), 1))
        monkeypatch.delitem(globals(), "Lost")
        store.retain("t", "1 day", unit="ms")
        later(clock, 2)
        store.compact()
        assert len(core_of(store).base.last([Stream("ts", "t")])) == 1
        later(clock, 2)
        store.compact()
        assert store.timeseries() == []


class TestSequences:
    def test_older_events_become_one_of_each_item(self, store: Store, clock: Clock) -> None:
        with store.context(who="ada"):
            store.apply("a", {"n": 1, "name": "x", "gone": 0})
        for day in range(1, 6):
            later(clock, 1)
            store.apply("a", {"n": (operator.add, day)})
        store.apply("a", {"gone": (operator.delitem, None)})
        store.apply("plain", {"n": 1})
        store.retain("a", "2 days")
        before = store.current("a")
        clean(store)
        assert store.current("a") == before == {"n": 16, "name": "x"}
        assert [(each.item, each.op.__name__, each.value) for each in store.events("a") or []] == [
            ("name", "setitem", "x"),
            ("gone", "setitem", 0),
            ("n", "setitem", 4),
            ("n", "add", 3),
            ("n", "add", 4),
            ("n", "add", 5),
            ("gone", "delitem", None),
        ]
        assert store.past("a", ms(4)) == store.at(ms(4)).current("a") == {"n": 11, "name": "x", "gone": 0}
        assert [(each.item, each.who) for each in store.history("a")][:3] == [
            ("name", "ada"),
            ("gone", "ada"),
            ("n", None),
        ]
        assert len(store.history("plain")) == 1
        assert store.apply("a", {"n": (operator.add, 1)}) == {"n": 17, "name": "x"}

    def test_without_any_later_event_the_state_stays(self, store: Store, clock: Clock) -> None:
        store.apply("a", {"n": 1})
        store.apply("a", {"n": (operator.add, 1)})
        store.apply("empty", {"n": 1})
        store.apply("empty", {"n": (operator.delitem, None)})
        store.apply("deleted", {"n": 1})
        store.delete_events("deleted")
        store.retain("*", "1 day")
        later(clock, 2)
        clean(store)
        assert store.current("a") == {"n": 2}
        assert [each.op for each in store.history("a")] == ["setitem", "compact"]
        assert store.eventsources() == ["a"]
        assert [each.op for each in store.history("deleted")] == ["compact"]
        version = store.version("a")
        clean(store)
        assert store.version("a") == version  # there is nothing left to erase

    def test_an_event_that_came_in_late_ends_what_is_folded(self, store: Store, clock: Clock) -> None:
        store.apply("a", {"n": 1}, t=ms(-5))
        store.apply("a", {"n": (operator.add, 5)}, t=ms(-3))
        later(clock, 10)
        store.apply("a", {"n": (operator.mul, 2)}, t=ms(-4))
        store.retain("a", "1 day")
        clean(store)
        assert store.current("a") == {"n": 7}
        assert store.at(ms(9)).current("a") == {"n": 6}
        later(clock, 2)
        clean(store)
        assert [(each.value, each.recorded) for each in store.history("a") if each.op == "setitem"] == [(7, ms(0))]

    def test_an_event_of_a_time_to_come_stays_as_it_is(self, store: Store, clock: Clock) -> None:
        store.apply("a", {"n": 1})
        store.apply("a", {"n": (operator.add, 5)}, t=ms(20))
        store.retain("a", "1 day")
        later(clock, 10)
        clean(store)
        assert [each.op for each in store.history("a")] == ["setitem", "add"]

    def test_items_of_which_all_began_later_are_still_there(self, store: Store, clock: Clock) -> None:
        store.apply("a", {"old": 1})
        store.apply("a", {"old": (operator.delitem, None)})
        later(clock, 5)
        store.apply("a", {"new": 2})
        store.retain("a", "1 day")
        store.compact(before=0)
        assert (store.eventsources(), store.current("a")) == (["a"], {"new": 2})
        assert [each.item for each in store.history("a") if each.item] == ["new"]

    def test_a_late_event_between_the_plan_and_the_erasure_counts(
        self, backend: Backend, store: Store, key: str | None, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.apply("a", {"n": 1}, t=ms(-5))
        store.apply("a", {"n": (operator.add, 5)}, t=ms(-3))
        store.retain("a", "1 day")
        later(clock, 5)
        other, record, left = backend.store(key=key), Eraser.record, [1]

        def double(eraser: Eraser, plans: Any) -> None:
            record(eraser, plans)
            if left and plans:
                left.clear()
                other.apply("a", {"n": (operator.mul, 2)}, t=ms(-4))

        monkeypatch.setattr(Eraser, "record", double)
        store.compact(before=0)
        assert store.current("a") == {"n": 7}

    def test_a_deletion_and_a_new_beginning(self, store: Store, clock: Clock) -> None:
        store.apply("a", {"n": 1, "m": 1})
        store.delete_events("a")
        later(clock, 1)
        store.apply("a", {"n": (operator.setitem, 2)})
        later(clock, 1)
        store.apply("a", {"n": (operator.add, 1)})
        store.retain("a", "12h")
        clean(store)
        assert store.current("a") == {"n": 3}
        assert [each.op for each in store.history("a")][:2] == ["setitem", "add"]

    def test_many_events_with_snapshots(self, store: Store, clock: Clock) -> None:
        for n in range(300):
            store.apply("a", {"n": n} if n == 0 else {"n": (operator.add, 1)})
        store.retain("a", "1 day")
        later(clock, 2)
        store.apply("a", {"n": (operator.add, 1)})
        clean(store)
        core_of(store).cache.clear()
        assert store.current("a") == {"n": 300}
        assert len(store.events("a") or []) == 2

    def test_typed_operators_of_a_repository(self, store: Store, clock: Clock) -> None:
        accounts = Repository(store, Account)
        accounts.create("ada", balance=Decimal("1.10"))
        (key,) = store.eventsources()
        accounts.do("ada", deposit, amount=Decimal("2.20"))
        store.retain("*", "1 day")
        later(clock, 2)
        accounts.do("ada", deposit, amount=Decimal("3.30"))
        clean(store)
        core_of(store).cache.clear()
        assert accounts["ada"].balance == Decimal("6.60")
        assert [each.op for each in store.history(key)][:2] == ["setitem", "decimal.add"]

    def test_values_that_can_not_be_loaded_are_not_folded(
        self, backend: Backend, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = backend.store()
        monkeypatch.setitem(globals(), "Lost", type("Lost", (), {"__module__": __name__, "__qualname__": "Lost"}))
        store.apply("a", {"n": 1, "lost": globals()["Lost"]()})
        monkeypatch.delitem(globals(), "Lost")
        store.apply("a", {"n": 2})
        store.apply("a", {"n": (operator.add, 1)})
        store.retain("a", "1 day")
        later(clock, 2)
        store.compact(before="2020-01-01T00:00Z")
        assert [(each.item, each.op) for each in store.history("a")][:3] == [
            ("lost", "setitem"),
            ("n", "setitem"),
            ("n", "add"),
        ]


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 3)),
        st.tuples(st.just("set"), st.integers(0, 2)),
        st.tuples(st.just("extend"), st.integers(0, 6), st.integers(1, 8)),
        st.tuples(st.just("remove"), st.integers(0, 6), st.integers(0, 4)),
        st.tuples(st.just("item"), st.sampled_from("xyz"), st.sampled_from(["setitem", "add", "mul", "delitem"])),
        st.tuples(st.just("late"), st.sampled_from("xy"), st.integers(1, 5)),
        st.tuples(st.just("end")),
    ),
    max_size=25,
)


def take(store: Store, clock: Clock, n: int, step: tuple[Any, ...]) -> None:
    """Make a change; nothing, if it is refused."""
    today = clock.at
    match step:
        case ("wait", days):
            later(clock, days)
        case ("set", key):
            store[f"k{key}"] = n
        case ("extend", back, count):
            store.extend("t", *((today - back * DAY_MS + i * DAY_MS // 2, n) for i in range(count)))
        case ("remove", back, days):
            store.remove("t", start=today - back * DAY_MS, end=today + (days - back) * DAY_MS)
        case ("item", item, op):
            with suppress(StoreIntegrityError):
                store.apply("e", {item: (getattr(operator, op), None if op == "delitem" else n)})
        case ("late", item, days):
            with suppress(StoreIntegrityError):
                store.apply("e", {item: n}, t=today - days * DAY_MS - n)
        case ("end",):
            store.delete_events("e")


@given(_steps, st.integers(1, 8))
@settings(max_examples=40)
def test_all_that_is_younger_is_read_as_before(steps: list[tuple[Any, ...]], days: int) -> None:
    clock = Clock(ms(10))
    with pytest.MonkeyPatch.context() as patch, Store("memory://", frozen=False) as store:
        patch.setattr(time, "time_ns", clock.time_ns)
        for n, step in enumerate(steps, 1):
            take(store, clock, n, step)
        at = clock.at
        cutoff = at - days * DAY_MS
        times = [cutoff, (cutoff + at) // 2, at]
        values = {key: value for key, value in store.items() if store.history(key)[-1].recorded >= cutoff}
        points = [point for point in store.range("t") if point[0] >= cutoff]
        states = [store.current("e"), *(store.at(seen).past("e", t) for seen in times for t in times)]
        store.retain("*", timedelta(days=days), unit="ms")
        expected = store.compact(before=0, dry_run=True)
        assert store.compact(before=0).records == expected.records
        core_of(store).cache.clear()
        assert dict(store.items()) == values
        assert store.range("t") == points
        now_read = [store.current("e"), *(store.at(seen).past("e", t) for seen in times for t in times)]
        assert [each or None for each in now_read] == [each or None for each in states]
        assert list(check(store)) == []
        assert store.compact(before=0).records == 0
