"""Deliveries: each commit of each key at least once, in order of each key, by any number of workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attrs import define, field

from rstore import Delivery, FrozenStoreError, JsonStore, Store, StoreConflictError, StoreError, StorePayloadError
from rstore.admin.check import check
from rstore.admin.erase import erase_sequences
from rstore.core import core_of
from rstore.domain.leases import Lease
from rstore.domain.log import Batch, Record
from rstore.domain.streams import DELIVER, ES, KV, TS, Stream, due_kind
from rstore.encoding.notes import note_body
from rstore.history import deliverer, messages, searcher
from rstore.history.follow import Pauses
from rstore.history.group_commit import GroupCommit
from rstore.history.queue import Queue
from rstore.transfer import copy
from tests.conftest import KEY, OTHER_KEY, Backend, in_turn


class Crash(BaseException):
    """The end of a worker that has no time to store anything."""


@define
class Gateway:
    """The other side: it keeps what it was sent, and may fail."""

    sent: list[Delivery] = field(factory=list)
    fails: Callable[[Delivery], object] = lambda delivery: None
    lock: Any = field(factory=threading.Lock)

    def __call__(self, delivery: Delivery) -> None:
        with self.lock:
            self.sent.append(delivery)
        error = self.fails(delivery)
        if isinstance(error, BaseException):
            raise error

    def values(self, key: str | None = None) -> list[Any]:
        chosen = [each for each in self.sent if key in (None, each.key)]
        return [change.value for each in chosen for change in each.commit.changes]


@pytest.fixture
def other(backend: Backend, store: Store, key: str | None) -> Store:
    """Somebody else at the same data."""
    return backend.store(key=key)


def refuse(*_: object) -> Exception:
    return ConnectionError("no route")


def lease_stream(name: str, kind: str, key: str) -> Stream:
    return Stream(due_kind(name, kind), key)


class TestMessages:
    def test_each_commit_of_each_key_comes_once_in_order(self, store: Store) -> None:
        with store.context(who="ada", why="test", did="open"):
            store.apply("order", {"status": "new", "total": 20}, t=100)
        store.apply("order", {"total": 5}, t=50)  # late: its time is before that of the first
        store["order"] = "a value"
        store.extend("order", (1, "a"), (2, "b"))
        gateway = Gateway()
        assert store.deliver("mail", gateway, workers=1) == 4
        by_kind = {kind: [each for each in gateway.sent if each.kind == kind] for kind in (KV, TS, ES)}
        first, late = by_kind[ES]
        assert (first.key, first.commit.who, first.commit.why, first.commit.did) == ("order", "ada", "test", "open")
        assert [(change.item, change.value) for change in first.commit.changes] == [("status", "new"), ("total", 20)]
        assert [(change.timestamp, change.value) for change in late.commit.changes] == [(50, 5)]
        assert [each.commit.changes[0].value for each in by_kind[KV]] == ["a value"]
        assert [each.commit.changes[0].value for each in by_kind[TS]] == [[(1, "a"), (2, "b")]]
        assert {each.attempt for each in gateway.sent} == {1}
        assert len({each.token for each in gateway.sent}) == 4
        assert first.version == store.history("order", ES)[1].version
        assert store.deliver("mail", gateway) == 0
        store["order"] = "another"
        assert store.deliver("mail", gateway) == 1
        assert not list(check(store))

    def test_many_keys_with_many_messages(self, store: Store) -> None:
        for n in range(8):
            store.set_many({f"k{i}": n for i in range(20)})
        gateway = Gateway()
        assert store.deliver("mail", gateway) == 160
        assert all(gateway.values(f"k{i}") == list(range(8)) for i in range(20))

    def test_only_a_kind_or_a_prefix(self, store: Store) -> None:
        store["a1"] = store["b1"] = 1
        store.apply("a1", {"n": 2})
        gateway = Gateway()
        assert store.deliver("values of a", gateway, kind=KV, prefix="a") == 1
        assert [(each.kind, each.key) for each in gateway.sent] == [(KV, "a1")]
        with pytest.raises(ValueError, match="was begun with kind='kv' and prefix='a'"):
            store.deliver("values of a", gateway, kind=KV, prefix="b")
        with pytest.raises(ValueError, match="kind is one of"):
            store.deliver("others", gateway, kind="project")

    def test_a_new_name_begins_at_a_checkpoint(self, store: Store, backend: Backend) -> None:
        store["k"] = 1
        store["k"] = 2
        [(first, _), (last, _)] = store.follow()
        gateway = Gateway()
        assert store.deliver("late", gateway, after=first) == 1
        assert gateway.values() == [2]
        assert store.deliver("late", gateway, after=last) == 0
        assert store.deliver("never", gateway, after=last) == 0
        other = backend.store(namespace="other")
        with pytest.raises(ValueError, match="no checkpoint of the namespace"):
            other.deliver("late", gateway, after=first)
        assert other.deliveries() == []

    def test_the_token_is_that_of_the_message(self, store: Store) -> None:
        store["k"] = 1
        store["k"] = 2
        first, second = Gateway(fails=refuse), Gateway()
        store.deliver("mail", first, backoff=0, attempts=2)
        store.retry("mail")
        store.deliver("mail", first, backoff=0, attempts=2)
        assert [each.attempt for each in first.sent] == [1, 2, 1, 2]
        store.retry("mail", "k")
        store.deliver("mail", second)
        tokens = [each.token for each in second.sent]
        assert {each.token for each in first.sent} == {tokens[0]} != {tokens[1]}
        store.deliver("web", second)
        assert not {each.token for each in second.sent[2:]} & set(tokens)

    def test_an_attempt_delivers_the_same_records_as_the_one_before(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was stored in the same millisecond meanwhile looks like a part of the commit, and is none."""
        monkeypatch.setattr("rstore.core.time.time_ns", lambda: 10**18)
        store.extend("k", (1, 1))
        gateway = Gateway(fails=lambda delivery: (store.extend("k", (2, 2)), refuse())[1])
        assert store.deliver("mail", gateway, backoff=0, attempts=1) == 0
        gateway.fails = lambda delivery: None
        store.retry("mail")
        assert store.deliver("mail", gateway) == 2
        assert [[change.value for change in each.commit.changes] for each in gateway.sent] == [
            [[(1, 1)]],
            [[(1, 1)]],
            [[(2, 2)]],
        ]
        assert gateway.sent[0].token == gateway.sent[1].token != gateway.sent[2].token

    def test_a_page_ends_between_commits(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(messages.oldest, "__defaults__", (4, 1 << 20))
        for n in range(5):
            store.apply("e", {f"i{i}": n for i in range(3)}, t=100 - n)
        gateway = Gateway()
        assert store.deliver("mail", gateway) == 5
        assert [{change.value for change in each.commit.changes} for each in gateway.sent] == [{n} for n in range(5)]
        assert {len(each.commit.changes) for each in gateway.sent} == {3}

    def test_a_commit_that_fills_a_page_comes_in_parts(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(messages.oldest, "__defaults__", (2, 1 << 20))
        store.apply("e", {f"i{i}": i for i in range(3)})
        gateway = Gateway()
        assert store.deliver("mail", gateway) == 2
        assert [len(each.commit.changes) for each in gateway.sent] == [2, 1]
        assert gateway.values() == [0, 1, 2]

    def test_a_page_of_some_bytes_has_the_oldest(self) -> None:
        def records(*sizes: tuple[int, int]) -> Iterator[Record]:
            return (Record(version, version, 0, 0, 0, "", "setitem", b"x" * size) for version, size in sizes)

        def kept(*sizes: tuple[int, int], most: int = 9, room: int = 10) -> tuple[list[int], bool]:
            found, more = messages.oldest(records(*sizes), most, room)
            return [record.version for record in found], more

        assert kept((3, 1), (1, 1), (2, 1)) == ([1, 2, 3], False)
        assert kept((3, 1), (1, 1), (2, 1), most=2) == ([1, 2], True)
        assert kept((1, 1), (3, 100), (2, 50), (4, 1)) == ([1], True)
        assert kept((5, 100)) == ([5], False)
        assert kept((5, 100), (1, 100), (6, 1)) == ([1], True)

    def test_records_that_are_erased_before_are_not_delivered(self, store: Store) -> None:
        for n in range(3):
            store["k"] = n
        store.compact()
        gateway = Gateway()
        assert store.deliver("mail", gateway) == 1
        assert gateway.values() == [2]

    def test_a_message_in_hand_that_is_erased_is_gone(self, store: Store) -> None:
        store["k"] = 1
        store.deliver("mail", Gateway(fails=refuse), backoff=0, attempts=1)
        store["k"] = 2
        store.compact()
        store.retry("mail")
        gateway = Gateway()
        assert store.deliver("mail", gateway) == 1
        assert (gateway.values(), gateway.sent[0].attempt) == ([2], 1)

    def test_the_attempts_at_a_message_that_is_erased_do_not_count_for_the_next(self, store: Store) -> None:
        store["k"] = 1
        store.deliver("mail", Gateway(fails=refuse), backoff=0.5)
        assert [each.attempts for each in store.due("mail")] == [1]
        store["k"] = 2
        store.compact()
        time.sleep(0.5)
        gateway = Gateway()
        store.deliver("mail", gateway, attempts=1)
        assert (gateway.values(), store.parked("mail")) == ([2], [])

    def test_writes_of_fn_are_delivered_too(self, store: Store) -> None:
        store["k"] = 1
        gateway = Gateway(fails=lambda delivery: store.set("k", 2) if delivery.commit.changes[0].value == 1 else None)
        assert store.deliver("mail", gateway) == 2
        assert gateway.values() == [1, 2]
        assert [each.records for each in store.deliveries()] == [0]  # also of what no search has passed yet

    def test_fn_has_the_words_of_the_context(self, store: Store) -> None:
        store.apply("e", {"n": 1})
        with store.context(who="mailer"):
            store.deliver("mail", lambda delivery: store.set("done", delivery.key), kind=ES)
        assert store.history("done")[-1].who == "mailer"

    @in_turn("key", ["", "__:.%*{}", "é😀", "k" * 1024])
    def test_odd_keys_and_names(self, store: Store, key: str) -> None:
        store[key] = 1
        gateway = Gateway()
        assert store.deliver(key or "-", gateway, kind=KV) >= 1
        assert key in {each.key for each in gateway.sent}
        assert key or "-" in {each.name for each in store.deliveries()}


class TestFailures:
    def test_a_key_that_fails_waits_and_others_go_on(self, store: Store) -> None:
        for n in range(3):
            store.set_many({"bad": n, "good": n})
        gateway = Gateway(fails=lambda delivery: refuse() if delivery.key == "bad" else None)
        assert store.deliver("mail", gateway, backoff=60) == 3
        assert gateway.values("good") == [0, 1, 2]
        assert gateway.values("bad") == [0]
        (bad,) = store.due("mail")
        assert (bad.key, bad.state, bad.attempts, bad.error) == ("bad", "waiting", 1, "ConnectionError: no route")
        assert store.deliver("mail", gateway, backoff=60) == 0
        assert gateway.values("bad") == [0]
        assert store.parked("mail") == []

    def test_pauses_double(self) -> None:
        rules = deliverer.Rules(None, 1.0, 10.0)
        assert [rules.after_failure(Lease(0, attempt=n), "", 0).until for n in (1, 2, 3, 20, 5000)] == [
            *(1000, 2000, 4000),
            *(300_000, 300_000),
        ]

    def test_it_is_parked_and_retried_or_skipped(self, store: Store, other: Store) -> None:
        store["k"] = 1
        store["k"] = 2
        gateway = Gateway(fails=refuse)
        assert store.deliver("mail", gateway, attempts=3, backoff=0.001, wait=1.0) == 0
        assert [each.attempt for each in gateway.sent] == [1, 2, 3]
        (parked,) = other.parked("mail")
        assert (parked.kind, parked.key, parked.state, parked.attempts) == (KV, "k", "parked", 3)
        assert parked.version == store.history("k")[0].version
        assert parked.since is not None
        gateway.fails = lambda delivery: None
        assert store.deliver("mail", gateway) == 0
        assert other.retry("mail", "unknown") == []
        assert other.retry("mail", "k") == [parked]
        assert other.skip("mail", "k") == []
        assert store.deliver("mail", gateway, wait=0) == 2
        store["k"] = 3
        store["k"] = 4
        store.deliver("mail", Gateway(fails=refuse), attempts=1)
        assert [each.key for each in other.skip("mail", "k", "unknown")] == ["k"]
        assert store.deliver("mail", gateway) == 1
        assert gateway.values()[3:] == [1, 2, 4]
        with pytest.raises(TypeError, match="takes the keys"):
            store.skip("mail")

    def test_a_message_that_cannot_be_read_is_parked(self, backend: Backend) -> None:
        writer, reader = backend.store(), backend.store(JsonStore)
        writer["k"] = 1
        gateway = Gateway()
        assert reader.deliver("mail", gateway, attempts=1) == 0
        assert gateway.sent == []
        (parked,) = reader.parked("mail")
        assert parked.error is not None
        assert parked.error.startswith("StoreFormatError: ")
        assert "a Store without a _load pickled it" in parked.error
        assert reader.skip("mail", "k")
        writer["k"] = 2
        writer.retry("mail")
        assert writer.deliver("mail", gateway) == 1
        assert gateway.values() == [2]

    def test_a_worker_that_ends_in_the_message_is_an_attempt(self, store: Store) -> None:
        store["k"] = 1
        gateway = Gateway(fails=lambda delivery: Crash())
        for _ in range(2):
            with pytest.raises(Crash):
                store.deliver("mail", gateway, attempts=2, lease=0.01)
            time.sleep(0.02)
        assert store.deliver("mail", gateway, attempts=2) == 0
        assert [each.attempt for each in gateway.sent] == [1, 2]
        (parked,) = store.parked("mail")
        assert parked.error is not None
        assert "its worker was lost" in parked.error

    def test_a_worker_that_ends_in_the_last_attempt_leaves_the_error_of_the_one_before(self, store: Store) -> None:
        store["k"] = 1
        errors = iter([ConnectionError("no route"), Crash()])
        with pytest.raises(Crash):
            store.deliver("mail", Gateway(fails=lambda delivery: next(errors)), attempts=2, backoff=0, lease=0.01)
        time.sleep(0.02)
        assert store.deliver("mail", Gateway(), attempts=2) == 0
        assert [each.error for each in store.parked("mail")] == ["ConnectionError: no route"]

    def test_an_error_may_have_any_text(self, store: Store) -> None:
        class OddError(Exception):
            def __str__(self) -> str:
                raise ValueError

        errors = iter([ValueError("\ud800" * 5), ValueError("x" * 9999), OddError(), KeyError()])
        gateway = Gateway(fails=lambda delivery: next(errors))
        store["k"] = 1
        told = []
        for _ in range(4):
            store.deliver("mail", gateway, attempts=1)
            told += [each.error for each in store.retry("mail")]
        assert told == ["ValueError: ?????", f"ValueError: {'x' * 488}", "OddError", "KeyError"]

    def test_an_error_of_the_store_ends_it(self, backend: Backend) -> None:
        store = backend.store()
        store["k"] = 1
        gateway = Gateway(fails=lambda delivery: store.close())
        with pytest.raises(StoreError):
            store.deliver("mail", gateway)


class TestWorkers:
    def test_keys_are_spread_and_nothing_is_skipped(self, store: Store, other: Store) -> None:
        for n in range(5):
            store.set_many({f"k{i}": n for i in range(40)})
        gateway = Gateway()
        with ThreadPoolExecutor(2) as workers:
            counts = list(workers.map(lambda each: each.deliver("mail", gateway, wait=0.3), (store, other)))
        assert sum(counts) == 200
        assert all(gateway.values(f"k{i}") == list(range(5)) for i in range(40))

    def test_a_lease_keeps_others_out_as_long_as_it_is_renewed(self, store: Store, other: Store) -> None:
        store["k"] = 1
        begun, end, gateway = threading.Event(), threading.Event(), Gateway()

        def slow(delivery: Delivery) -> None:
            gateway(delivery)
            begun.set()
            end.wait(10)

        thread = threading.Thread(target=store.deliver, args=("mail", slow), kwargs={"lease": 0.4})
        thread.start()
        assert begun.wait(10)
        (leased,) = other.due("mail")
        assert (leased.state, leased.attempts) == ("leased", 1)
        assert leased.owner
        assert other.deliver("mail", gateway, wait=1.0) == 0
        end.set()
        thread.join(10)
        assert len(gateway.sent) == 1
        assert other.due("mail") == []

    def test_the_lease_of_another_worker_is_not_renewed(self, store: Store) -> None:
        store["k"] = 1
        core, stream = core_of(store), Stream(KV, "k")
        queue = Queue(core, "mail")
        core.append([queue.batch(stream, Lease(0, 1, 1, "killed", 5), 0)])
        (found,) = queue.leases([stream])
        assert found is not None
        deliverer._Held(queue, GroupCommit(core), found).renew("alive", 100, before=50)
        assert queue.leases([stream]) == [found]
        held = deliverer._Held(queue, GroupCommit(core), found)
        for before, until in ((4, 5), (5, 100)):
            held.renew("killed", 100, before=before)
            assert held.stored.lease.until == until
        assert queue.leases([stream]) == [held.stored]

    def test_the_keys_of_a_worker_that_was_killed_go_to_others(self, store: Store, other: Store) -> None:
        store["k"] = 1
        store["k"] = 2
        gateway = Gateway(fails=lambda delivery: Crash())
        with pytest.raises(Crash):
            store.deliver("mail", gateway, lease=0.5)
        gateway.fails = lambda delivery: None
        assert other.deliver("mail", gateway) == 0
        assert other.deliver("mail", gateway, wait=1.5) == 2
        assert gateway.values() == [1, 1, 2]
        assert [each.attempt for each in gateway.sent] == [1, 2, 1]

    def test_a_worker_that_has_lost_its_lease_stops(self, store: Store, other: Store) -> None:
        """It was suspended, say, and renewed nothing."""
        for n in range(3):
            store["k"] = n
        taken = Gateway()

        def suspended(delivery: Delivery) -> None:
            gateway(delivery)
            time.sleep(0.1)
            if len(gateway.sent) == 1:
                (found,) = other.due("mail")
                assert found.state == "leased"
                core, place = core_of(other), lease_stream("mail", KV, "k")
                queue = Queue(core, "mail")
                (held,) = queue.leases([Stream(KV, "k")])
                assert held is not None
                core.append([queue.batch(held.stream, held.lease._replace(until=0), held.version)])
                assert other.deliver("mail", taken) == 3
                assert core.base.head(place)

        gateway = Gateway()
        assert store.deliver("mail", suspended) == 0
        assert gateway.values() == [0]
        assert taken.values() == [0, 1, 2]

    def test_records_that_come_while_a_stream_leaves_the_queue_are_found(self, store: Store, other: Store) -> None:
        """A searcher passes over a stream that is in the queue, so that stream can't leave with anything left."""
        store["k"] = 0
        gateway = Gateway()

        def late(delivery: Delivery) -> None:
            gateway(delivery)
            value = delivery.commit.changes[0].value
            if value < 5:
                other["k"] = value + 1
                searching = searcher.Searcher(searcher.Queue(core_of(other), "mail"))
                searching.begin()
                while searching.search():
                    pass

        assert store.deliver("mail", late) == 6
        assert gateway.values() == [0, 1, 2, 3, 4, 5]

    def test_searchers_go_on_from_where_another_one_is(self, store: Store, other: Store) -> None:
        one, two = (searcher.Searcher(Queue(core_of(each), "mail")) for each in (store, other))
        one.begin()
        two.begin()
        assert one.identity == two.identity
        for n, each in enumerate((one, two, two, one, two)):
            store[f"k{n}"] = n
            for _ in range(20):
                if not each.search():
                    break
            else:
                raise AssertionError("it comes to no end")
            assert [found.stream.key for found in each.queue.all()] == [f"k{i}" for i in range(n + 1)]

    def test_messages_delivered_ahead_of_the_search_are_not_looked_for_again(self, store: Store) -> None:
        store["k"] = 1
        store.deliver("mail", Gateway())
        again = searcher.Searcher(Queue(core_of(store), "mail"))
        again.begin()
        again.position = None
        again.search()
        assert list(again.queue.all()) == []

    def test_it_waits_for_messages_that_come(self, store: Store, other: Store) -> None:
        """The last message ends it, so that no test waits for the end of a wait that a busy machine can't outlast."""
        gateway = Gateway(fails=lambda delivery: Crash() if delivery.commit.changes[0].value == 2 else None)
        with ThreadPoolExecutor(1) as worker:
            ended = worker.submit(store.deliver, "mail", gateway, wait=60)
            for n in range(3):
                time.sleep(0.1)
                other["k"] = n
            assert isinstance(ended.exception(30), Crash)
        assert gateway.values() == [0, 1, 2]

    def test_a_key_with_many_messages_lets_others_have_their_turn(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deliverer, "_TURN_MS", -1)
        for n in range(3):
            store.set_many({"a": n, "b": n})
        gateway = Gateway()
        assert store.deliver("mail", gateway, workers=1) == 6
        assert {each.key for each in gateway.sent[:2]} == {"a", "b"}
        assert gateway.values("a") == gateway.values("b") == [0, 1, 2]

    def test_each_message_begins_the_wait_anew(self, store: Store) -> None:
        class Counted(Pauses):
            restarts = 0

            def restart(self) -> None:
                super().restart()
                self.restarts += 1

        queue, pauses = Queue(core_of(store), "mail"), Counted(0)
        rules = deliverer.Rules(1, 0.0, 10.0)
        for n in range(2):
            worker = deliverer.Deliverer(queue, searcher.Searcher(queue), Gateway(), rules, 1)
            assert (worker.run(pauses), pauses.restarts) == (n, 1 + n)
            store["k"] = 1

    def test_an_interrupt_lets_no_thread_begin(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store["k"] = 1
        gateway, leases, workers = Gateway(), Queue.leases, list[deliverer.Deliverer]()

        def interrupted(worker: deliverer.Deliverer, *_: Any) -> int:
            workers.append(worker)
            if worker.running:
                raise KeyboardInterrupt
            return 0

        def slow(*args: Any) -> Any:
            found = leases(*args)
            while threading.current_thread() is not threading.main_thread() and not workers[0].is_ending:
                time.sleep(0.001)
            return found

        monkeypatch.setattr(deliverer.Deliverer, "_collect", interrupted)
        monkeypatch.setattr(Queue, "leases", slow)
        with pytest.raises(KeyboardInterrupt):
            store.deliver("mail", gateway)
        assert gateway.sent == []

    def test_an_interrupt_lets_the_message_in_hand_end(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store["k"] = 1
        store["k"] = 2
        gateway = Gateway(fails=lambda delivery: time.sleep(0.2))

        def interrupted(self: Any, *_: Any) -> int:
            if gateway.sent:
                raise KeyboardInterrupt
            return 0

        monkeypatch.setattr(deliverer.Deliverer, "_collect", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.deliver("mail", gateway)
        monkeypatch.undo()
        assert gateway.values() == [1]
        (due,) = store.due("mail")
        assert due.state == "due"
        assert store.deliver("mail", gateway) == 1
        assert gateway.values() == [1, 2]


class TestPlace:
    def test_private_streams_do_not_show(self, store: Store) -> None:
        store["k"] = 1
        shown = list(store.log()), list(store.follow()), store.keys()
        store.deliver("mail", Gateway(fails=refuse))
        assert (list(store.log()), list(store.follow()), store.keys()) == shown
        assert store.project("p", lambda change, _: None) == 1
        assert store.deliver("web", Gateway()) == 1
        assert not list(check(store))

    def test_it_stores_nothing_when_there_is_nothing(self, store: Store) -> None:
        store["k"] = 1
        store.deliver("mail", Gateway())
        core = core_of(store)
        before = [position for position, *_ in core.base.follow()]
        for _ in range(3):
            assert store.deliver("mail", Gateway()) == 0
        assert [position for position, *_ in core.base.follow()] == before

    def test_the_checkpoint_moves_past_records_that_are_not_for_it(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(searcher, "_SCANNED", 5)
        store.deliver("mail", Gateway(), prefix="x")
        stream = Stream(DELIVER, "mail")
        (first,) = core_of(store).base.last([stream])
        for n in range(12):
            store["k"] = n
        store.deliver("mail", Gateway(), prefix="x")
        (last,) = core_of(store).base.last([stream])
        assert first is not None
        assert last is not None
        assert first.item != last.item

    def test_how_far_behind(self, store: Store) -> None:
        assert store.deliveries() == []
        store["a"] = store["b"] = 1
        store.deliver("mail", Gateway(fails=lambda each: refuse() if each.key == "a" else None), attempts=1)
        for n in range(3):
            store["a"] = store["b"] = n
        store["c"] = 1
        (mail,) = store.deliveries()
        assert mail[:6] == ("mail", 0, 0, 0, 1, 1 + 3 + 3 + 1)
        assert 0 <= mail.seconds < 60
        store.skip("mail", "a")
        store.deliver("mail", Gateway())
        assert [each[1:6] for each in store.deliveries()] == [(0, 0, 0, 0, 0)]

    def test_a_frozen_store_lists_deliveries_and_delivers_nothing(self, backend: Backend, key: str | None) -> None:
        with backend.store(key=key) as store:
            store["k"] = 1
            store.deliver("mail", Gateway(fails=refuse), attempts=1)
        with backend.store(key=key, frozen=True) as frozen:
            assert [each.parked for each in frozen.deliveries()] == [1]
            assert [each.key for each in frozen.parked("mail")] == ["k"]
            for call in (frozen.retry, frozen.skip, frozen.deliver):
                with pytest.raises(FrozenStoreError):
                    call("mail", Gateway())  # type: ignore[operator]

    def test_it_is_refused_in_a_transaction(self, store: Store) -> None:
        with store.transaction():
            for call in (lambda: store.deliver("m", Gateway()), lambda: store.retry("m"), lambda: store.skip("m", "k")):
                with pytest.raises(StoreError, match="can't be called in a transaction"):
                    call()

    def test_an_encrypted_store_keeps_nothing_in_clear(self, backend: Backend) -> None:
        store = backend.store(key=KEY)
        store["k"] = 1
        store.deliver("mail", Gateway(fails=lambda _: ValueError("secret reason")), attempts=1)
        stored = repr([(record.item, record.data, record.meta) for *_, record in core_of(store).base.follow()])
        assert "secret" not in stored
        assert "owner" not in stored
        with pytest.raises(StorePayloadError):
            backend.store().due("mail")

    def test_it_outlives_a_new_key(self, backend: Backend) -> None:
        with backend.store(key=KEY) as store:
            store["k"] = 1
            store["k"] = 2
            store.deliver("mail", Gateway(fails=refuse), attempts=1)
        with backend.store(key=[OTHER_KEY, KEY]) as store:
            store.rekey()
        with backend.store(key=OTHER_KEY) as store:
            gateway = Gateway()
            store.skip("mail", "k")
            assert store.deliver("mail", gateway) == 1
            assert gateway.values() == [2]

    def test_a_copy_has_none(self, backend: Backend, store: Store, key: str | None) -> None:
        store["k"] = 1
        store.deliver("mail", Gateway(fails=refuse), attempts=1)
        target = backend.store(namespace="target", key=key)
        copy(store, target)
        assert target.deliveries() == []
        gateway = Gateway()
        assert target.deliver("mail", gateway) == 1

    def test_an_erased_sequence_leaves_no_lease(self, store: Store) -> None:
        store.apply("e", {"n": 1})
        store.deliver("mail", Gateway(fails=lambda _: ValueError("about Ada")), attempts=1)
        erase_sequences(core_of(store), "", ["e"])
        assert store.parked("mail") == []
        store.apply("e", {"n": 2})
        store["e"] = "a value of the same name"
        store.deliver("values", Gateway(fails=refuse), kind=KV, attempts=1)
        erase_sequences(core_of(store), "", ["other", "e"])
        assert [each.kind for each in store.parked("values")] == [KV]
        store.apply("e", {"n": 2})
        gateway = Gateway()
        assert store.deliver("mail", gateway) == 2
        assert sorted(map(str, gateway.values())) == ["2", "a value of the same name"]

    def test_damage_is_an_error(self, store: Store) -> None:
        store["k"] = 1
        store.deliver("mail", Gateway(fails=refuse), attempts=1)
        core, place = core_of(store), lease_stream("mail", KV, "k")
        for words in ({"cursor": "1"}, {}, {"cursor": 1, "newer": 1}):
            entry = core.envelope.entry(place, "due", note_body(words), start=0, end=0)
            core.append([Batch(place, (entry,), 0, replace=True)])
            with pytest.raises(StorePayloadError, match="a newer rstore wrote it"):
                store.due("mail")
            assert [problem.key for problem in check(store)] == ["k"]
        checkpoint = Stream(DELIVER, "mail")
        entry = core.envelope.entry(checkpoint, DELIVER, note_body({"id": 1}), start=0, end=0)
        core.append([Batch(checkpoint, (entry,), 0, replace=True)])
        with pytest.raises(StorePayloadError, match="no checkpoint of a delivery"):
            store.deliver("mail", Gateway())
        assert {problem.key for problem in check(store)} == {"k", "mail"}

    @in_turn(
        ("options", "error"),
        [
            ({"wait": -1}, ValueError),
            ({"wait": "1"}, TypeError),
            ({"attempts": 0}, ValueError),
            ({"attempts": 1.5}, TypeError),
            ({"backoff": float("nan")}, ValueError),
            ({"lease": 0}, ValueError),
            ({"workers": 0}, ValueError),
            ({"workers": True}, TypeError),
            ({"prefix": 1}, TypeError),
            ({"after": "x"}, ValueError),
            ({"fn": None}, TypeError),
            ({"name": ""}, ValueError),
        ],
    )
    def test_a_value_that_does_not_fit_an_option_is_refused_at_once(
        self, backend: Backend, options: dict[str, Any], error: type[Exception]
    ) -> None:
        store = backend.store()
        with pytest.raises(error):
            store.deliver(**{"name": "mail", "fn": Gateway(), **options})
        assert store.deliveries() == []

    def test_a_function_that_is_to_be_awaited_is_refused(self, backend: Backend) -> None:
        async def send(delivery: Delivery) -> None: ...

        with pytest.raises(TypeError, match="plain function"):
            backend.store().deliver("mail", send)


def test_a_conflict_that_fn_raises_is_a_failure_of_the_message(store: Store) -> None:
    """It is not taken for a lease that was lost."""
    store["k"] = 1
    gateway = Gateway(fails=lambda _: StoreConflictError("kv", "other", 1, 2))
    assert store.deliver("mail", gateway, attempts=1) == 0
    assert [each.key for each in store.parked("mail")] == ["k"]
