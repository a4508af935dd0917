"""Reactions: functions of a projection for decisions and domain events, on all backends."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore import (
    Changes,
    FrozenStoreError,
    Occurrence,
    Repository,
    Store,
    StoreError,
    StoreModelError,
    StorePayloadError,
)
from rstore.core import core_of
from rstore.domain.event_state import EventState, fold
from rstore.domain.streams import ES, Stream
from rstore.history import projector
from rstore.models.event_states import copied, facts_of
from rstore.repository import earlier
from tests.conftest import Backend


@attrs.frozen
class Shipped:
    parcels: int

    def changes(self, order: Order) -> Changes:
        return {"state": "shipped", "parcels": (operator.add, self.parcels)}


@attrs.frozen
class Praised:
    stars: int

    def changes(self, order: Order) -> Changes:
        return {}


@attrs.frozen
class Order:
    customer: str
    total: int = 0
    state: str = "new"
    parcels: int = 0

    def add(self, price: int) -> Changes:
        return {"total": (operator.add, price)}

    def pay(self, card: str) -> Changes:
        return {"state": "paid"}

    def ship(self, *parcels: int) -> list[Any]:
        return [Shipped(each) for each in parcels]


@attrs.frozen
class Customer:
    name: str


def orders_of(store: Store) -> Repository[Order]:
    return Repository(store, Order, events=[Shipped, Praised])


def note(seen: list[Any], *names: str) -> Callable[[Occurrence[Any], Any], None]:
    """Return a function that notes some attributes of what it is called with."""
    return lambda occurrence, store: seen.append(tuple(getattr(occurrence, name) for name in names))


def test_each_decision_and_event_has_the_state_of_its_own_commit(store: Store) -> None:
    orders = orders_of(store)
    with freeze_time("2026-01-01"):  # several commits share a millisecond
        orders.create("1", customer="Ada")
        orders.do("1", Order.add, 5)
        orders.create("2", customer="Bob", total=7)
        orders.do("1", Order.add, 6)
        orders.do("1", Order.ship, 2, 3)
        orders.do("1", lambda order: {"total": 0})
    orders.do("2", Order.pay, card="4711")
    seen: list[Any] = []
    sales = orders.projection("sales")
    sales.on(Order.add, "create", "pay")(note(seen, "key", "arguments", "event", "before", "after"))
    sales.on(Shipped)(note(seen, "key", "arguments", "event", "before", "after"))
    assert sales.run() == 7
    shipped = Order("Ada", 11), Order("Ada", 11, "shipped", 5)
    assert seen == [
        ("1", {}, None, None, Order("Ada")),
        ("1", {"price": 5}, None, Order("Ada"), Order("Ada", 5)),
        ("2", {}, None, None, Order("Bob", 7)),
        ("1", {"price": 6}, None, Order("Ada", 5), Order("Ada", 11)),
        ("1", {"parcels": [2, 3]}, Shipped(2), *shipped),
        ("1", {"parcels": [2, 3]}, Shipped(3), *shipped),
        ("2", {"card": "4711"}, None, Order("Bob", 7), Order("Bob", 7, "paid")),
    ]
    assert sales.run() == 0


def test_it_is_fed_exactly_once_and_writes_in_the_same_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "_BATCH", 3)
    orders = orders_of(store)

    def add_up(occurrence: Occurrence[Order], store: Store) -> None:
        store["turnover"] = store.get("turnover", 0) + occurrence.arguments["price"]
        if occurrence.arguments["price"] == broken:
            raise ZeroDivisionError

    for n in range(10):
        orders.create(f"{n}", customer="Ada")
        orders.do(f"{n}", Order.add, n)
    broken = 6
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as raised:
            orders.project("turnover", {Order.add: add_up})
        (told,) = raised.value.__notes__
        assert "in projection 'turnover', at version " in told
        assert "of es 'Order/6', whose checkpoint is" in told
    broken = -1
    orders.project("turnover", {Order.add: add_up})
    assert store["turnover"] == sum(range(10))
    assert orders.project("turnover", {Order.add: add_up}, rebuild=True) == 10
    assert store["turnover"] == sum(range(10))
    assert [each.records for each in store.projections()] == [0]


def test_a_call_that_fails_is_skipped_and_listed_and_its_writes_are_taken_back(store: Store) -> None:
    orders = orders_of(store)
    for n in range(5):
        orders.create(f"{n}", customer="Ada", total=n)
        orders.do(f"{n}", Order.ship, n, 10 * n)

    def count(occurrence: Occurrence[Order], store: Store) -> None:
        store["parcels"] = store.get("parcels", 0) + occurrence.event.parcels
        if occurrence.event == Shipped(20):
            raise LookupError("secret")

    sales = orders.projection("sales")
    sales.on(Shipped)(count)
    assert sales.run(on_error="skip") == 10
    assert store["parcels"] == 110 - 20
    ((key, error),) = {(each.key, each.error) for each in sales.skipped()}
    assert (key, error) == ("Order/2", "LookupError")
    (skipped,) = store.skipped("sales")
    assert orders.history("2")[-3].version >= skipped.version, "it is the version of the event"
    rest = next(change for _, change in store.follow(after=skipped.checkpoint))
    assert rest.key == "Order/3"
    told: list[Any] = []
    assert sales.run(rebuild=True, on_error=lambda *given: told.append(given)) == 10
    assert [(occurrence.event, type(error)) for occurrence, error in told] == [(Shipped(20), LookupError)]
    assert (store["parcels"], sales.skipped()) == (90, [])


def test_a_commit_that_no_function_wants_is_not_loaded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = orders_of(store)
    orders.create("1", customer="Ada")
    for _ in range(5):
        orders.do("1", Order.add, 1)
    orders.do("1", Order.pay, "4711")
    loaded: list[int] = []
    at = earlier.EarlierStates.at
    monkeypatch.setattr(
        earlier.EarlierStates, "at", lambda self, key, version: loaded.append(version) or at(self, key, version)
    )
    read: list[int] = []
    read_change = projector.read_change
    monkeypatch.setattr(projector, "read_change", lambda *args: read.append(1) or read_change(*args))
    assert orders.project("a", {Order.ship: note([], "after")}) == 0
    assert read == []
    with store.context(did=["odd"]):  # type: ignore[arg-type]
        orders.do("1", lambda order: {"total": 0})
    assert orders.project("b", {Order.pay: note([], "arguments")}) == 1
    assert (loaded, len(read)) == ([], 1)
    assert orders.project("c", {Order.pay: note([], "after")}) == 1
    assert len(loaded) == 1


def test_several_repositories_feed_one_projection(store: Store) -> None:
    orders, customers = orders_of(store), Repository(store, Customer)
    seen: list[Any] = []
    customers.create("c", name="Ada")
    orders.create("o", customer="c")
    both = orders.projection("both")
    both.on("create")(note(seen, "after"))

    @both.on("create", repository=customers)
    def greet(occurrence: Occurrence[Customer], store: Store) -> None:
        seen.append(f"hello {occurrence.after.name}")  # type: ignore[union-attr]

    both.run()
    assert seen == ["hello Ada", (Order("c"),)]
    assert greet.__name__ == "greet"


def test_a_deletion_ends_an_instance_and_a_new_one_begins(store: Store) -> None:
    orders = orders_of(store)
    orders.create("1", customer="Ada", total=3)
    orders.delete("1")
    orders.create("1", customer="Bob")
    seen: list[Any] = []
    ends = note(seen, "before", "after")
    orders.project("ends", {"create": ends, orders.delete: ends})
    assert seen == [(None, Order("Ada", 3)), (Order("Ada", 3), None), (None, Order("Bob"))]


def test_two_decisions_of_one_transaction_are_two(store: Store) -> None:
    orders = orders_of(store)
    orders.create("1", customer="Ada")
    orders.create("2", customer="Bob")
    with store.transaction():
        orders.do("1", Order.add, 1)
        orders.do("2", Order.add, 2)
        orders.do("1", Order.add, 3)
    seen: list[Any] = []
    orders.project("adds", {Order.add: note(seen, "key", "arguments", "before", "after")})
    assert sorted(seen, key=lambda each: (each[0], each[1]["price"])) == [
        ("1", {"price": 1}, Order("Ada"), Order("Ada", 1)),
        ("1", {"price": 3}, Order("Ada", 1), Order("Ada", 4)),
        ("2", {"price": 2}, Order("Bob"), Order("Bob", 2)),
    ]


def test_a_batch_ends_with_a_commit_also_if_others_write_in_between(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster, commits to several keys are mixed in the log: each partition gives out positions by itself."""
    monkeypatch.setattr(projector, "_BATCH", 1)
    store = backend.store()
    orders = orders_of(store)
    with store.transaction():
        for n in range(40):
            orders.create(f"{n}", customer="Ada")
    for n in range(40):
        orders.do(f"{n}", lambda order: {"state": "a", "total": 1, "parcels": 2})
    writers = [backend.store() for _ in range(8)]
    assert list(store.follow())  # from here on, all partitions of a cluster have the same next position
    for n in range(40):
        writer = writers[n % len(writers)]
        with writer.context(did="all"):
            orders_of(writer).do(f"{n}", lambda order: {"state": "b", "total": 2, "parcels": 3})
    seen: list[Any] = []
    assert orders.project("all", {"all": note(seen, "key", "before", "after")}) == 40
    states = Order("Ada", 1, "a", 2), Order("Ada", 2, "b", 3)
    assert sorted(seen) == sorted((f"{n}", *states) for n in range(40))


def test_an_event_that_is_none_any_more_fails_there(store: Store) -> None:
    orders = orders_of(store)
    orders.create("1", customer="Ada")
    orders.do("1", Order.ship, 1)
    orders.do("1", Order.ship, 2)

    @attrs.frozen
    class Renamed:
        boxes: int

        def changes(self, order: Order) -> Changes:
            return {}

    newer = Repository(store, Order, events={"Shipped": Renamed})
    seen: list[Any] = []
    with pytest.raises(StoreModelError, match=r"'1': event 'Shipped': .*parcels") as raised:
        newer.project("new", {Renamed: note(seen, "event")})
    assert "in projection 'new'" in raised.value.__notes__[0]
    assert newer.project("new", {Renamed: note(seen, "event")}, on_error="skip") == 2
    assert (seen, len(store.skipped("new"))) == ([], 2)


def test_a_commit_that_can_not_be_read_goes_to_on_error(backend: Backend) -> None:
    key = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG="
    clear, sealed = backend.store(), backend.store(key=key, other_key=True)
    orders_of(clear).create("1", customer="Ada")
    orders_of(sealed).create("2", customer="Bob")
    orders_of(clear).create("3", customer="Eve")
    seen: list[Any] = []
    with pytest.raises(StorePayloadError):
        orders_of(clear).project("p", {"create": note(seen, "key")})
    assert orders_of(clear).project("p", {"create": note(seen, "key")}, on_error="skip") == 3
    assert [key for (key,) in seen][-2:] == ["1", "3"]
    assert [each.key for each in clear.skipped("p")] == ["Order/2"]


def test_a_late_decision_is_folded_where_it_belongs(store: Store) -> None:
    orders = orders_of(store)
    orders.when(t=1_000).create("1", customer="Ada")
    orders.when(t=3_000).do("1", lambda order: {"total": 10})
    with store.context(did="late"):
        orders.when(t=2_000).do("1", lambda order: {"total": 5, "state": "odd"})
    orders.do("1", Order.add, 1)
    seen: list[Any] = []
    noted = note(seen, "before", "after")
    orders.project("p", {"late": noted, Order.add: noted, "create": noted})
    assert seen == [
        (None, Order("Ada")),
        (Order("Ada", 10), Order("Ada", 10, "odd")),
        (Order("Ada", 10, "odd"), Order("Ada", 11, "odd")),
    ]


def test_snapshots_spare_the_events_before_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = orders_of(store)
    orders.create("1", customer="Ada")
    with store.transaction():
        for _ in range(300):
            orders.do("1", Order.add, 1)
    for _ in range(5):
        orders.do("1", Order.add, 1)
    orders.project("begun", {Order.pay: note([])})
    orders.do("1", Order.pay, "4711")
    folded: list[int] = []
    monkeypatch.setattr(earlier, "fold", lambda start, facts: folded.append(start.version) or fold(start, facts))
    seen: list[Any] = []
    orders.project("begun", {Order.pay: note(seen, "before", "after")})
    assert seen == [(Order("Ada", 305), Order("Ada", 305, "paid"))]


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=30), st.data())
def test_states_at_versions_are_those_of_a_naive_fold(writes: list[tuple[int, int]], data: st.DataObject) -> None:
    """Whatever order they are asked in, and however late events came."""
    with Store("memory://", frozen=False) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(earlier, "_AHEAD", 3)
        patch.setattr(earlier, "_KEPT", 2)
        for n, (key, time) in enumerate(writes):
            try:
                store.apply(
                    f"{key}", {f"{n % 3}": n, "sum": (operator.add, 1) if store.version(f"{key}") else 1}, t=time
                )
            except StoreError:
                continue
            if n % 7 == 6:
                store.delete_events(f"{key}")
        core = core_of(store)
        versions = {key: store.version(key) for key in ("0", "1", "2")}
        states = earlier.EarlierStates(core)
        for _ in range(10):
            key = data.draw(st.sampled_from(sorted(versions)))
            version = data.draw(st.integers(0, versions[key]))
            stream = Stream(ES, key)
            records = [record for record in core.base.read(stream) if record.version <= version]
            naive = fold(EventState(), facts_of(core, stream, records))
            assert states.at(key, version) == (copied(naive.state) if naive.lives else None)


def test_a_state_is_there_also_if_it_came_after_the_last_look(store: Store) -> None:
    states = earlier.EarlierStates(core_of(store))
    for n in range(5):
        store.apply("key", {"n": n})
        version = store.version("key")
        assert states.at("key", version) == {"n": n}
        assert states.at("key", version - 1) == ({"n": n - 1} if n else None)


def test_names_and_repositories_that_do_not_fit_are_refused(store: Store, backend: Backend) -> None:
    orders = orders_of(store)
    sales = orders.projection("sales")
    with pytest.raises(TypeError, match="has no functions yet"):
        sales.run()
    with pytest.raises(TypeError, match="takes decisions or classes"):
        sales.on()
    for wanted in (lambda order: None, 5, None, ""):
        with pytest.raises(TypeError, match="has no name"):
            sales.on(wanted)(print)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Customer is no class of events of Order"):
        sales.on(Customer)(print)
    with pytest.raises(ValueError, match="of another store"):
        sales.on("create", repository=Repository(backend.store(namespace="other"), Customer))
    with pytest.raises(FrozenStoreError):
        orders.at("2020-01-01T00:00Z").project("p", {"create": print})
