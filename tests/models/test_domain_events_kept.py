"""Domain events in all that deals with records: views, erasures, copies, exports, checks, projections."""

from __future__ import annotations

import io
import operator
from pathlib import Path

import attrs
import pytest

from rstore import Changes, Repository, Store, StoreFormatError, StorePayloadError, UnknownEvent, Unreadable, View
from rstore.admin.check import check
from rstore.core import core_of
from rstore.domain.log import Batch, Entry, Query, Rewrite
from rstore.domain.operators import EVENT, OPERATORS
from rstore.domain.streams import ES, SS, Stream
from rstore.models.event_states import current_state
from rstore.transfer.copying import copy
from rstore.transfer.jsonlines import export, load
from tests.conftest import KEY, OTHER_KEY, Backend


@attrs.frozen
class Paid:
    amount: int

    def changes(self, order: Order) -> Changes:
        return {"paid": (operator.add, self.amount)}


@attrs.frozen
class Order:
    customer: str
    paid: int = 0

    def pay(self, amount: int) -> Paid:
        return Paid(amount)


def orders_of(store: Store | View) -> Repository[Order]:
    return Repository(store, Order, events={"paid": Paid})


@pytest.fixture
def orders(store: Store) -> Repository[Order]:
    orders = orders_of(store)
    orders.create("o-1", customer="Ada")
    orders.do("o-1", Order.pay, 3)
    orders.do("o-1", Order.pay, 4)
    return orders


STREAM = Stream(ES, "Order/o-1")


def test_a_view_shows_the_events_up_to_its_time(store: Store, orders: Repository[Order]) -> None:
    stored = [change for change in orders.history("o-1") if change.op == EVENT]
    for moment in (stored[0].recorded - 1, stored[0].recorded, stored[1].recorded):
        known = [Paid(change.value["amount"]) for change in stored if change.recorded <= moment]
        assert orders.at(moment).events("o-1") == known
    assert orders_of(store.at(orders.history("o-1")[-1].recorded))["o-1"] == Order("Ada", 7)


def test_snapshots_and_caches_leave_events_alone(backend: Backend, key: str | None) -> None:
    orders = orders_of(backend.store(key=key))
    orders.create("o-1", customer="Ada")
    for _ in range(140):
        orders.do("o-1", lambda order: [Paid(1), Paid(2)])
    reader = backend.store(key=key)
    assert len(list(core_of(reader).log.read(Stream(SS, STREAM.key), Query()))) > 0
    assert reader.current(STREAM.key) == {"customer": "Ada", "paid": 420}
    assert reader.current_many([STREAM.key]) == {STREAM.key: {"customer": "Ada", "paid": 420}}
    assert orders_of(reader)["o-1"] == Order("Ada", 420)
    assert len(orders_of(reader).events("o-1")) == 280
    assert list(check(reader)) == []


def test_prune_and_compact_drop_them(store: Store, orders: Repository[Order]) -> None:
    timestamp = orders.history("o-1")[-1].timestamp
    store.prune(STREAM.key)
    assert orders.events("o-1") == []
    assert store.current(STREAM.key, withtimestamp=True) == (timestamp, {"customer": "Ada", "paid": 7})
    orders.do("o-1", Order.pay, 5)
    store.compact()
    assert orders.events("o-1") == []
    assert orders["o-1"] == Order("Ada", 12)
    assert [change.op for change in orders.history("o-1") if change.op in OPERATORS] == [
        "setitem",
        "setitem",
        *3 * ["add"],
    ]
    assert list(check(store)) == []


def test_compact_keeps_those_that_came_later(store: Store, orders: Repository[Order]) -> None:
    recorded = orders.history("o-1")[-1].recorded
    store.compact(before=recorded - 3_600_000)
    assert orders.events("o-1") == [Paid(3), Paid(4)]


def test_a_deleted_instance_keeps_its_events(store: Store, orders: Repository[Order]) -> None:
    before = orders.history("o-1")[-1].timestamp
    assert before is not None
    orders.delete("o-1")
    assert "o-1" not in orders
    assert orders.events("o-1") == [Paid(3), Paid(4)]
    assert orders.revert("o-1", before) == Order("Ada", 7)
    assert orders.events("o-1") == [Paid(3), Paid(4)]
    orders.delete("o-1")
    store.compact()
    assert orders.events("o-1") == []
    assert core_of(store).log.head(STREAM) is None


def test_erase_erases_them(store: Store, orders: Repository[Order]) -> None:
    assert orders.erase("o-1").records == 6
    assert orders.events("o-1") == []


def test_copies_and_exports_have_them(
    backend: Backend, store: Store, key: str | None, orders: Repository[Order]
) -> None:
    with Store("memory://", frozen=False, key=key) as other:
        copy(store, other)
        assert orders_of(other).events("o-1") == [Paid(3), Paid(4)]
    file = io.StringIO()
    before = export(store, file)
    assert '"item": "paid", "op": "event"' in file.getvalue()
    file.seek(0)
    loaded = backend.store(namespace="loaded", key=key)
    assert load(loaded, file).records == before.records
    assert orders_of(loaded).events("o-1") == [Paid(3), Paid(4)]
    assert orders_of(loaded)["o-1"] == Order("Ada", 7)


def test_rekey_seals_them_anew(backend: Backend) -> None:
    orders = orders_of(backend.store(key=KEY))
    orders.create("o-1", customer="Ada")
    orders.do("o-1", Order.pay, 3)
    backend.store(key=[OTHER_KEY, KEY]).rekey()
    reader = backend.store(key=OTHER_KEY)
    assert orders_of(reader).events("o-1") == [Paid(3)]
    assert list(check(reader)) == []


def test_projections_are_fed_with_them(store: Store, orders: Repository[Order]) -> None:
    def add_up(change, store):  # type: ignore[no-untyped-def]
        event = orders.event_in(change)
        if event is not None:
            store.update_with("turnover", lambda total: total + event.amount, default=0)

    store.project("turnover", add_up, prefix="Order/")
    assert store["turnover"] == 7


def test_changes_hold_events_of_their_own_repository_only(store: Store, orders: Repository[Order]) -> None:
    found = [orders.event_in(change) for change in orders.history("o-1")]
    assert found == [None, None, Paid(3), None, Paid(4), None]
    other = Repository(store, Order, prefix="Other/", events=[Paid])
    assert [other.event_in(change) for change in orders.history("o-1")] == [None] * 6
    change = orders.history("o-1")[2]._replace(value=Unreadable("its class is gone", "StorePayloadError"))
    assert orders.event_in(change) == UnknownEvent("paid", 0, {}, "its class is gone")


def test_an_event_without_a_version_is_unknown(orders: Repository[Order]) -> None:
    change = orders.history("o-1")[2]
    for version in (0, -1, "1", None, True, 1.0):
        stored = {"amount": 1, "rstore.version": version}
        assert orders.event_in(change._replace(value=stored)) == UnknownEvent(
            "paid", 0, {"amount": 1}, "it has no version"
        )
    assert orders.event_in(change._replace(value={"amount": 1, "rstore.version": 1})) == Paid(1)


def test_a_diff_shows_fields_only(store: Store, orders: Repository[Order]) -> None:
    first, last = orders.history("o-1")[0].timestamp, orders.history("o-1")[-1].timestamp
    assert first is not None
    assert last is not None
    assert orders.diff("o-1", first, last).changed == {"paid": (0, 7)}


def test_damage_is_an_error_of_the_payload(tmp_path: Path) -> None:
    for damaged in ("events", "current", "check"):
        with Store(tmp_path / f"{damaged}.db", frozen=False) as store:
            orders_of(store).create("o-1", customer="Ada")
            core = core_of(store)
            entry = core.new_commit().entry(
                STREAM, EVENT, core.envelope.dump("", {"amount": 1}), item="paid", start=9, end=9
            )
            broken = entry._replace(data=entry.data[:-1] + bytes([entry.data[-1] ^ 1]))
            core.append([Batch(STREAM, (broken,), 0)])
            with Store(tmp_path / f"{damaged}.db") as reader:
                if damaged == "events":
                    with pytest.raises(StorePayloadError):
                        orders_of(reader).events("o-1")
                elif damaged == "current":
                    with pytest.raises(StorePayloadError):
                        reader.current(STREAM.key)
                else:
                    assert len(list(check(reader))) > 0


def test_no_event_of_an_item_passes_for_a_domain_event(backend: Backend) -> None:
    store = backend.store(key=KEY)
    orders = orders_of(store)
    orders.create("o-1", customer="Ada")
    orders.do("o-1", lambda order: {"paid": 5})
    log = core_of(store).base
    (record,) = list(log.read(STREAM))[-1:]
    log.rewrite([Rewrite(STREAM, None, [record.version], [record._replace(op=EVENT)])])
    with pytest.raises(StorePayloadError, match="not authentic"):
        backend.store(key=KEY).current(STREAM.key)


def test_an_event_of_another_program_is_unknown(store: Store, orders: Repository[Order]) -> None:
    core = core_of(store)
    for value in (7, None, [1], "text"):
        body = core.envelope.dump("", value)
        core.append([Batch(STREAM, (core.envelope.entry(STREAM, EVENT, body, item="x", start=9, end=9),), 0)])
    assert [event.reason for event in orders.events("o-1") if isinstance(event, UnknownEvent)] == [
        "it has no fields"
    ] * 4
    assert orders["o-1"] == Order("Ada", 7)


def test_an_operator_of_a_newer_rstore_is_refused(store: Store, orders: Repository[Order]) -> None:
    core = core_of(store)
    current = current_state(core, STREAM.key)
    assert current is not None
    core.append(
        [Batch(STREAM, (Entry(9, 9, "paid", "newer", core.envelope.entry(STREAM, EVENT, start=9, end=9).data),), 0)]
    )
    with pytest.raises(StoreFormatError, match="a newer rstore wrote it"):
        store.current(STREAM.key)
