"""What one append writes is one commit: who, why and what was decided, for all of its changes."""

from __future__ import annotations

import datetime
import operator
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from time import sleep
from typing import Any

import pytest
from freezegun import freeze_time

from rstore import Change, Commit, Store
from rstore.commits import ARGUMENTS, DID
from rstore.domain.log import Batch
from rstore.domain.operators import SETITEM
from rstore.domain.streams import ES, KV, TS, Stream
from rstore.encoding.notes import note_body
from rstore.history import follow as follow_module
from rstore.history import projector
from rstore.transactions import context
from tests.conftest import case

WRITES: dict[str, Callable[[Store], Any]] = {
    "set": lambda store: store.set("a", 1),
    "set_many": lambda store: store.set_many({"a": 1, "b": 2, "c": 3}),
    "update": lambda store: store.update(a=1, b=2),
    "setdefault": lambda store: store.setdefault("new", 1),
    "delete": lambda store: store.delete("x", "y"),
    "pop": lambda store: store.pop("x"),
    "clear": lambda store: store.clear(),
    "apply": lambda store: store.apply("e", {"a": 1, "b": 2, "c": 3}),
    "delete_events": lambda store: store.delete_events("events"),
    "revert": lambda store: store.revert("events", 1),
    "extend": lambda store: store.extend("series", ((t, os.urandom(8)) for t in range(10_000))),
    "remove": lambda store: store.remove("series", start=2, end=3),
    "prune": lambda store: store.prune("events"),
}


def decide(store: Store, did: str, changes: dict[str, Any], key: str = "e", **arguments: Any) -> None:
    with context(store._core, {DID: did, ARGUMENTS: arguments}):
        store.apply(key, changes)


def prepared(store: Store) -> int:
    """Store something to change, and return how many changes that were."""
    store.set_many({"x": 1, "y": 2})
    store.apply("events", {"n": 1}, t=1)
    store.apply("events", {"n": 2, "m": 1}, t=2)
    store.extend("series", (1, 1), (2, 2), (3, 3))
    return len(list(store.log()))


@pytest.mark.parametrize("name", WRITES)
def test_all_changes_of_an_append_have_one_id(store: Store, name: str) -> None:
    before = prepared(store)
    with store.context(who="ada", did=name):
        WRITES[name](store)
    written = [change for change in store.log() if change.who == "ada"]
    assert written
    assert name == "prune" or len(list(store.log())) == before + len(written)
    (commit,) = {change.commit for change in written}
    assert commit is not None
    assert len(bytes.fromhex(commit)) == 8
    assert {change.did for change in written} == {name}
    assert {change.arguments for change in written} == {None}


def test_another_append_has_another_id(store: Store) -> None:
    with freeze_time("2026-01-01"), store.context(who="ada"):
        for n in range(20):
            store["k"] = n
    ids = [change.commit for change in store.history("k")]
    assert len(set(ids)) == 20
    assert [len(commit.changes) for commit in store.history("k", by="commit")] == [1] * 20


def test_without_words_nothing_is_stored_for_it(store: Store) -> None:
    prepared(store)
    streams = [Stream(KV, "x"), Stream(TS, "series"), Stream(ES, "events")]
    assert {record.meta for stream in streams for record in store._core.log.read(stream)} == {None}
    assert {change.commit for change in store.log()} == {None}


def test_without_words_the_changes_of_one_millisecond_stand_together(store: Store) -> None:
    with freeze_time("2026-01-01") as clock:
        store.apply("e", {"a": 1, "b": 2})
        clock.tick(1)
        store.apply("e", {"a": 3})
    first, second = store.history("e", by="commit")
    assert [change.item for change in first.changes] == ["a", "b"]
    assert (first.id, first.who, first.did, first.arguments, first.more) == (None, None, None, None, {})
    assert second.recorded == first.recorded + 1000


def test_a_transaction_is_one_commit_of_several_decisions(store: Store) -> None:
    with freeze_time("2026-01-01"), store.context(who="ada"), store.transaction():
        decide(store, "withdraw", {"balance": 5, "last": "out"}, key="a", amount=5)
        decide(store, "deposit", {"balance": 5, "last": "in"}, key="b", amount=5)
        decide(store, "deposit", {"balance": (operator.add, 1), "last": "again"}, key="b", amount=1)
        store["note"] = "moved"
    assert len({change.commit for change in store.log()}) == 1

    found = [commit for key in "ab" for commit in store.history(key, by="commit")]
    assert [(commit.did, commit.arguments, len(commit.changes)) for commit in found] == [
        ("withdraw", {"amount": 5}, 2),
        ("deposit", {"amount": 5}, 2),
        ("deposit", {"amount": 1}, 2),
    ]
    assert store.history("note")[0].did is None
    assert {commit.who for commit in found} == {"ada"}


def test_the_arguments_stand_beside_the_first_change_of_each_key(store: Store) -> None:
    decide(store, "pay", {"paid": True, "status": "paid"}, amount="20.90", by={"card": [1, 2]})
    first, second = store.history("e")
    assert first.arguments == {"amount": "20.90", "by": {"card": [1, 2]}}
    assert second.arguments is None
    assert (first.did, first.commit) == (second.did, second.commit)
    (commit,) = store.history("e", by="commit")
    assert commit == Commit(first.commit, first.recorded, None, None, "pay", first.arguments, {}, [first, second])


def test_long_arguments_are_no_matter_but_long_words_are(store: Store) -> None:
    decide(store, "import", {"a": 1, "b": 2}, text="x" * 100_000)
    assert store.history("e")[0].arguments == {"text": "x" * 100_000}
    with pytest.raises(ValueError, match="at most 16 KiB"), store.context(did="x" * 20_000):
        pass


def test_an_inner_decision_has_arguments_of_its_own(store: Store) -> None:
    with context(store._core, {"who": "ada", DID: "outer", ARGUMENTS: {"a": 1}}):
        store.apply("e", {"n": 1})
        with store.context(did="inner"):
            store.apply("e", {"n": 2})
        with store.context(why="more words"):
            store.apply("e", {"n": 3})
    found = [(change.did, change.arguments, change.who) for change in store.history("e")]
    assert found == [("outer", {"a": 1}, "ada"), ("inner", None, "ada"), ("outer", {"a": 1}, "ada")]


def test_the_log_is_filtered_by_what_was_decided_and_by_other_words(store: Store) -> None:
    for n, did in enumerate(["pay", "ship", "pay"]):
        with store.context(who="ada" if n else "eve", did=did, request=n, tags=["a", n]):
            store.apply("order", {"n": n, "m": n})
    store["without"] = 1

    def first_values(**filters: Any) -> list[Any]:
        return [commit.changes[0].value for commit in store.log(by="commit", **filters)]

    assert first_values(did="pay") == [0, 2]
    assert first_values(did="pay", who="ada") == [2]
    assert first_values(more={"request": 1}) == [1]
    assert first_values(more={"request": 1, "tags": ["a", 1]}) == [1]
    assert (
        first_values(more={"request": 1}, did="pay")
        == first_values(more={"unknown": 1})
        == first_values(did="unknown")
        == []
    )
    assert first_values() == [0, 1, 2, 1]
    assert [change.value for change in store.log(did="ship")] == [1, 1]
    assert {change.did for change in store.at(2**53).log(did="ship")} == {"ship"}


def test_changes_come_by_change_or_by_commit(store: Store) -> None:
    store["a"] = 1
    for read in (store.log, store.follow, store.at(2**53).log, lambda by: store.history("a", by=by)):
        with pytest.raises(ValueError, match="by is 'change' or 'commit', not 'day'"):
            list(read(by="day"))


def test_a_follower_gets_whole_commits_and_goes_on_after_each(store: Store) -> None:
    for n in range(5):
        with store.context(who="ada", did=f"step {n}"):
            store.apply("e", dict.fromkeys("abc", n))
    store["without"] = 1
    found = list(store.follow(by="commit"))
    assert [commit.did for _, commit in found] == [*(f"step {n}" for n in range(5)), None]
    assert [len(commit.changes) for _, commit in found] == [3] * 5 + [1]
    for (checkpoint, _), (_, following) in pairwise(found):
        assert next(store.follow(checkpoint, by="commit"))[1] == following
    assert [change for _, commit in found for change in commit.changes] == [change for _, change in store.follow()]


def test_a_waiting_follower_gets_a_commit_at_once_and_whole(store: Store) -> None:
    def write() -> None:
        with store.context(did="written meanwhile"):
            store.apply("e", dict.fromkeys("abcdef", 1))

    with store.context(did="first"):
        store.apply("e", {"a": 0, "b": 0})
    follower = store.follow(by="commit", wait=20)
    assert (next(follower)[1].did) == "first"
    thread = threading.Thread(target=write)
    thread.start()
    _, commit = next(follower)
    thread.join()
    assert (commit.did, len(commit.changes)) == ("written meanwhile", 6)


def test_a_batch_of_a_projection_splits_no_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "_BATCH", 4)
    with store.context(who="ada"):
        for n in range(3):
            time.sleep(0.002)  # commits of one millisecond on one key may come in one batch
            store.apply("e", {f"{n}.{item}": n for item in range(7)})

    def fail(change: Change, store: Store) -> None:
        store["seen"] = store.get("seen", 0) + 1
        if change.item == "1.6":
            raise LookupError

    with pytest.raises(LookupError):
        store.project("failing", fail, kind="es")
    assert store["seen"] == 7  # those of the first commit, and none of the second
    monkeypatch.setattr(projector, "_COMMIT_MOST", 5)
    with pytest.raises(LookupError):
        store.project("in parts", fail, kind="es")
    assert 7 + 7 < store["seen"] < 7 + 14  # a part of the second one was fed before
    monkeypatch.undo()
    monkeypatch.setattr(projector, "_COMMIT_BYTES", 100)
    store["seen"] = 0
    with pytest.raises(LookupError):
        store.project("in parts by bytes", fail, kind="es")
    assert 7 < store["seen"] < 14


@pytest.mark.parametrize("backend", ["memory", "sqlite", "postgresql", "redis"], indirect=True)
def test_a_batch_splits_no_commit_to_several_keys(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Private records stand between those of two keys. A cluster alone may split it by key."""
    monkeypatch.setattr(projector, "_BATCH", 1)
    with freeze_time("2026-01-01") as clock:
        store.apply("b", {"n": 0})  # it stays together with the next one of this key
        with store.context(who="ada"), store.transaction():
            for key in "abc":
                store.apply(key, {"n": 1}, once=f"token of {key}")
        clock.tick(1)
        store.apply("d", {"n": 2})

    def fail(change: Change, store: Store) -> None:
        store["fed"] = [*store.get("fed", []), change.key]
        if change.key == broken:
            raise LookupError

    for broken, fed in ("c", None), ("d", ["b", "a", "b", "c"]):
        with case(broken):
            with pytest.raises(LookupError):
                store.project("p", fail, kind="es")
            assert store.get("fed") == fed


def test_a_batch_ends_between_commits_without_words(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "_BATCH", 1)
    with freeze_time("2026-01-01") as clock:
        store.set_many({"a": 1, "b": 2})
        store["b"] = 3  # in the same millisecond: it counts as of the same commit
        clock.tick(1)
        store["c"] = 4

    def fail(change: Change, store: Store) -> None:
        store["sum"] = store.get("sum", 0) + change.value
        if change.value == broken:
            raise LookupError

    for broken, fed in (3, None), (4, 6):
        with case(broken):
            with pytest.raises(LookupError):
                store.project("p", fail, kind="kv")
            assert store.get("sum") == fed


def test_a_look_at_large_records_of_others_ends_before_memory_does(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "_PAGE_BYTES", 2_000)
    monkeypatch.setattr(projector, "_SCANNED_BYTES", 5_000)
    for n in range(300):
        store[f"image {n}"] = os.urandom(1_000)
    with store.context(who="ada"):
        store.set_many({"order 1": 1, "order 2": 2})
    held, look = list[int](), projector.Work._next
    monkeypatch.setattr(projector.Work, "_next", lambda self: (look(self), held.append(len(self.ahead)))[0])
    assert store.project("p", lambda change, store: None, prefix="order") == 2
    assert 5 < max(held) < 250


def test_the_words_are_those_of_the_call_and_not_of_the_iterator(store: Store) -> None:
    def pairs() -> Iterator[tuple[str, int]]:
        yield "a", 1
        with store.context(who="the iterator"):
            yield "b", 2
        yield "c", 3

    with store.context(who="the caller"):
        store.set_many(pairs())
    assert {change.who for change in store.log()} == {"the caller"}
    store.set_many(pairs())
    assert [change.who for change in store.history("b")] == ["the caller", None]
    assert store["c"] == 3


def test_words_without_an_id_that_an_earlier_version_wrote_stand_together(store: Store) -> None:
    core, stream = store._core, Stream(ES, "e")
    for who in ("ada", "eve"):
        note = note_body({"who": who})
        entries = [
            core.envelope.entry(stream, SETITEM, core.envelope.dump("e", 1), item=item, start=1, end=1, note=note)
            for item in (f"{who} 1", f"{who} 2")
        ]
        core.base.append([Batch(stream, entries, 1)])
    assert [(commit.id, commit.who, len(commit.changes)) for commit in store.history("e", by="commit")] == [
        (None, "ada", 2),
        (None, "eve", 2),
    ]


def test_a_word_that_is_called_as_the_arguments_are_is_a_word(store: Store) -> None:
    with store.context(**{ARGUMENTS: {"a": 1}}):
        store.apply("e", {"n": 1, "m": 2})
    assert [(change.value, change.arguments, change.did) for change in store.history("e")] == [
        (1, {"a": 1}, None),
        (2, {"a": 1}, None),
    ]


def test_a_word_that_cannot_be_kept_is_named_as_the_caller_names_it(store: Store) -> None:
    with pytest.raises(ValueError, match=r"context\(did=\.\.\.\): a text can't have lone surrogates"):
        store.context(did="\ud800").__enter__()


def test_a_follower_that_takes_long_over_a_commit_does_not_end_for_that(store: Store) -> None:
    store["a"] = 1
    followers = [store.follow(by="commit", wait=0.2, prefix="a"), store.follow(wait=0.2, prefix="a")]
    for follower in followers:
        next(follower)
    sleep(0.3)
    store["a"] = 2
    assert [next(follower)[1].recorded for follower in followers] == [store.history("a")[1].recorded] * 2
    assert [list(follower) for follower in followers] == [[], []]


def test_a_commit_of_one_kind_is_not_torn_apart_by_another_kind_of_the_key(store: Store) -> None:
    """All within a millisecond, as fast programs write. The versions of two kinds tell nothing of their order."""
    with freeze_time("2026-01-01"):
        store["k"] = 0
        for did in ("first", "second"):
            with store.context(did=did):
                store.apply("k", dict.fromkeys("abc", did))
                store.extend("k", (1, did))
                store["k"] = did
    told = [(change.kind, change.did) for change in store.log()]
    assert [(change.kind, change.did) for change in store.history("k")] == told
    assert told[:4] == [("kv", None), *[("es", "first")] * 3]
    assert [(commit.did, len(commit.changes)) for commit in store.history("k", by="commit")] == [
        *((None, 1), ("first", 3), ("first", 1), ("first", 1)),
        *(("second", 3), ("second", 1), ("second", 1)),
    ]


def test_in_a_transaction_the_changes_of_one_decision_stand_together(store: Store) -> None:
    with freeze_time("2026-01-01") as clock:
        store["k"] = 0
        clock.tick(1)
        store.apply("k", {"a": 0})
        clock.tick(-10)  # this clock is behind that of the writer before
        with store.transaction():
            for did in ("first", "second"):
                with store.context(did=did):
                    store.apply("k", {"a": did, "b": did})
                    clock.tick(1)
                    store["k"] = did
            found = store.history("k", by="commit")
            assert found == list(store.log(by="commit"))
    assert [(commit.did, len(commit.changes)) for commit in found] == [
        *((None, 1), (None, 1)),
        *(("first", 3), ("second", 3)),
    ]


def test_a_batch_of_large_changes_may_end_within_a_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "_BATCH", 4)
    monkeypatch.setattr(projector, "_COMMIT_BYTES", 7_000)
    store.set_many({f"k{n}": os.urandom(1_000) for n in range(20)})

    def fail(change: Change, store: Store) -> None:
        store["fed"] = store.get("fed", 0) + 1
        if store["fed"] > 10:
            raise LookupError

    with pytest.raises(LookupError):
        store.project("failing", fail, kind="kv", prefix="k")
    assert store["fed"] == 7


@pytest.mark.parametrize("words", [({"why": "a"}, {"why": "b"}), ({"request": 1}, {"request": 2}), ({"who": "a"}, {})])
def test_other_words_are_another_commit_within_a_transaction_too(store: Store, words: Any) -> None:
    with store.transaction(), store.context(did="pay"):
        for n, inner in enumerate(words):
            with store.context(**inner):
                store.apply("e", {"n": n, "m": n})
    assert [len(commit.changes) for commit in store.history("e", by="commit")] == [2, 2]


def test_a_time_between_two_milliseconds_leaves_out_the_one_before_it(store: Store) -> None:
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    with freeze_time(moment):
        store["k"] = 1
    assert [change.value for change in store.log(since=moment)] == [1]
    assert list(store.log(since=moment + datetime.timedelta(microseconds=1))) == []
    assert [change.value for change in store.log(until=moment + datetime.timedelta(microseconds=1))] == [1]


def test_the_kinds_of_a_key_come_in_the_order_of_their_times(store: Store) -> None:
    """Clocks of writers differ, and a view shows what was stored by a time."""
    with freeze_time("2026-01-01") as clock:
        store["k"] = 1
        clock.tick(-10)
        store.apply("k", {"a": 1})
    assert [change.kind for change in store.history("k")] == ["es", "kv"]


def test_erasures_stand_between_the_changes_before_them_and_after_them(store: Store) -> None:
    """The second one is of other keys too: the log finds it before the first one."""
    with freeze_time("2026-01-01") as clock:
        for n in range(2):
            store["k"] = n
        store.compact()
        for n in range(2):
            store.set_many({"a": n, "k": n})
        store.compact()
        clock.tick(1)
        store["k"] = 2
    found = store.history("k")
    assert [change.op for change in found] == ["setitem", "compact", "compact", "setitem"]
    assert found[1].version < found[2].version
