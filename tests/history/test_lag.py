"""How far behind projections are: records and seconds."""

from __future__ import annotations

import math
import operator

import pytest
from attrs import frozen
from freezegun import freeze_time

from rstore import Change, Changes, Repository, Store, StorePayloadError
from rstore.core import core_of, now
from rstore.domain.log import Batch
from rstore.domain.streams import PROJECT, Stream
from rstore.encoding.notes import note_body
from tests.conftest import Backend, in_turn


@frozen
class Order:
    paid: int = 0
    shipped: bool = False

    def pay(self) -> Changes:
        return {"paid": (operator.add, 1)}

    def ship(self) -> Changes:
        return {"shipped": True}


def count(change: Change, store: Store) -> None:
    name = "changes of " + change.key
    store[name] = store.get(name, 0) + 1


def ignore(change: Change, store: Store) -> None:
    """Deal with a change."""


def fail(change: Change, store: Store) -> None:
    raise LookupError


def records(store: Store) -> dict[str, int]:
    return {each.name: each.records for each in store.projections()}


def test_each_projection_is_listed_with_the_number_of_records_behind_its_checkpoint(store: Store) -> None:
    assert store.projections() == []
    store["a"] = 1
    store.project("one", ignore)
    store["a"] = 2
    store.project("another", ignore)
    store.extend("series", (1, 2.0))
    assert records(store) == {"one": 2, "another": 1}
    assert [each.name for each in store.projections()] == ["another", "one"]
    assert store.lag("one")._replace(seconds=0) == store.projections()[1]._replace(seconds=0)


def test_its_own_output_is_nothing_to_deal_with_but_for_others(store: Store) -> None:
    store["a"] = 1
    store.project("count", count)
    store.project("other", ignore, prefix="changes")
    store["a"] = 2
    store.project("count", count)
    assert records(store) == {"count": 0, "other": 1}


def test_only_records_of_its_streams_count(store: Store) -> None:
    store["a"] = store["b"] = 1
    store.project("a", ignore, prefix="a")
    store.project("es", ignore, kind="es")
    for n in range(3):
        store["a"] = store["b"] = n
        store.apply("e", {"n": n})
    store.project("es", ignore, kind="es")
    store.apply("e", {"n": 4})
    assert records(store) == {"a": 3, "es": 1}


@in_turn("seconds", [0, math.inf])
def test_changes_that_no_function_wants_are_dealt_with(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The checkpoint moves past them: at once if it has not moved lately, else at the end of the call."""
    monkeypatch.setattr("rstore.history.projector._MOVE_SECONDS", seconds)
    store, shipped = backend.store(namespace=f"after {seconds}"), list[str]()
    orders = Repository(store, Order)
    handlers = {Order.ship: lambda occurrence, _: shipped.append(occurrence.key)}
    orders.create("a")
    orders.do("a", Order.pay)
    assert orders.project("p", handlers) == 0
    assert records(store) == {"p": 0}
    orders.do("a", Order.pay)
    assert records(store) == {"p": 1}
    assert orders.project("p", handlers, wait=0.01) == 0
    assert records(store) == {"p": 0}
    orders.do("a", Order.ship)
    assert orders.project("p", handlers) == 1
    assert (shipped, records(store)) == (["a"], {"p": 0})


def test_the_checkpoint_is_one_to_follow_from(store: Store) -> None:
    store["a"] = 1
    store.project("p", ignore)
    store["a"] = 2
    assert [change.value for _, change in store.follow(store.lag("p").checkpoint)] == [2]


def test_the_age_is_that_of_the_oldest(store: Store) -> None:
    with freeze_time("2026-11-01T09:00Z", tick=False) as clock:
        store["a"] = 1
        store.project("p", ignore)
        clock.move_to("2026-11-01T09:01Z")
        assert store.lag("p")[2:4] == (0, 0.0)
        store["b"] = 1
        clock.move_to("2026-11-01T09:02Z")
        store["c"] = 1
        clock.move_to("2026-11-01T09:02:30.500Z")
        assert store.lag("p")[2:4] == (2, 90.5)
        clock.move_to("2026-11-01T08:00Z")  # a clock that is behind that of the writer
        assert store.lag("p")[2:4] == (2, 0.0)


def test_skipped_changes_are_counted_until_a_rebuild(store: Store) -> None:
    store["a"] = store["b"] = 1
    store.project("p", fail, on_error="skip")
    assert store.lag("p")[2:] == (0, 0.0, 2)
    store.project("p", ignore, rebuild=True)
    assert store.lag("p")[2:] == (0, 0.0, 0)


def test_a_rebuild_that_fails_is_behind_from_the_beginning(store: Store) -> None:
    store["a"] = store["b"] = 1
    store.project("p", ignore)
    with pytest.raises(LookupError):
        store.project("p", fail, rebuild=True)
    assert store.lag("p")[1:3] == (None, 2)


def test_counting_stops_where_the_caller_says(store: Store) -> None:
    store["a"] = 1
    store.project("p", ignore)
    store.deliver("mail", lambda delivery: None)
    for n in range(9):
        store["a"] = store[f"b{n}"] = n
    assert [store.lag("p", most=n).records for n in (1, 5, 100)] == [1, 5, 18]
    assert [store.deliveries(most=n)[0].records for n in (1, 5, 100)] == [1, 5, 18]


@in_turn(("most", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_limit_that_is_no_number_of_records_is_refused(backend: Backend, most: int, error: type[Exception]) -> None:
    store = backend.store()
    for call in (store.projections, store.deliveries):
        with pytest.raises(error, match="number of records"):
            call(most=most)
    with pytest.raises(error, match="number of records"):
        store.lag("p", most=most)


def test_a_name_of_no_projection_is_a_key_error(store: Store) -> None:
    store.deliver("mail", lambda delivery: None)
    with pytest.raises(KeyError, match="mail"):
        store.lag("mail")


def test_a_frozen_store_counts_too_and_a_transaction_counts_stored_records(
    backend: Backend, store: Store, key: str | None
) -> None:
    store["a"] = 1
    store.project("p", ignore, prefix="a")
    store["a"] = 2
    with store.transaction():
        store["a"] = 3
        assert records(store) == {"p": 1}
    assert records(backend.store(key=key, frozen=True)) == {"p": 2}


def test_a_checkpoint_of_an_earlier_version_names_no_streams(store: Store) -> None:
    store["a"] = store["b"] = 1
    put_checkpoint(store, {})
    assert records(store) == {"p": 2}
    assert store.project("p", ignore, prefix="a") == 1
    store["b"] = 2
    assert records(store) == {"p": 0}


@in_turn("words", [{"kind": "none"}, {"prefix": 1}, {"newer": 1}])
def test_a_damaged_checkpoint_is_an_error(store: Store, words: dict[str, object]) -> None:
    put_checkpoint(store, words)
    for call in (store.projections, lambda: store.lag("p")):
        with pytest.raises(StorePayloadError, match="a newer rstore wrote it"):
            call()


def put_checkpoint(store: Store, words: dict[str, object]) -> None:
    core, stream = core_of(store), Stream(PROJECT, "p")
    note = note_body(words) if words else None
    entry = core.envelope.entry(stream, PROJECT, start=0, end=0, note=note)
    core.append([Batch(stream, (entry,), now(), replace=True)])
