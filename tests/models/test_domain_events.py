"""Domain events: classes that say what happened, stored beside the changes that they come to."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import operator
from decimal import Decimal
from typing import Any, ClassVar

import attrs
import cattrs
import pydantic
import pytest

from rstore import (
    Changes,
    JsonStore,
    MsgpackStore,
    Repository,
    Store,
    StoreConflictError,
    StoreIntegrityError,
    StoreModelError,
    StoreNotAvailableError,
    UnknownEvent,
    View,
)
from rstore.text.describe import describe
from tests.conftest import Backend, in_turn


@attrs.frozen
class Paid:
    amount: Decimal
    on: datetime.date | None = None

    def changes(self, order: Order) -> Changes:
        if self.amount > order.open:
            raise ValueError("too much")
        return {"open": (operator.sub, self.amount), "status": "paid" if self.amount == order.open else "partly paid"}


@dataclasses.dataclass(frozen=True)
class Shipped:
    parcels: list[str]
    version: ClassVar[int] = 2


@attrs.frozen
class Called:
    by: str

    def changes(self, order: Order) -> None:
        return None


@attrs.frozen
class Order:
    customer: str
    open: Decimal = Decimal(0)
    status: str = "new"
    parcels: int = 0
    shipped: bool = False

    def pay(self, amount: Decimal) -> Paid:
        return Paid(amount)

    def ship(self, *parcels: str) -> Shipped:
        return Shipped(list(parcels))


@attrs.frozen
class Line:
    name: str


@attrs.frozen
class LongLine(Line):
    price: int = 0


@attrs.frozen
class Added:
    line: Line
    count: int = 1
    price: Decimal = Decimal(0)

    def changes(self, order: Order) -> None: ...


@attrs.frozen
class Reading:
    number: int = 0


@attrs.frozen(eq=False)
class Sample:
    number: float


@attrs.frozen
class Measured:
    samples: list[Sample]

    def changes(self, reading: Reading) -> None: ...


class Weights:
    def __init__(self, numbers: Any) -> None:
        self.numbers = list(numbers)

    def __eq__(self, other: object) -> bool:
        raise ValueError("as arrays do")

    __hash__ = None  # type: ignore[assignment]


@attrs.frozen(eq=False)
class Weighed:
    weights: Weights

    def changes(self, order: Order) -> None: ...


def on_shipped(event: Shipped, order: Order) -> Changes:
    return {"parcels": (operator.add, len(event.parcels)), "shipped": True}


EVENTS = {"Paid": Paid, "Shipped": Shipped, "Called": Called}


def orders_of(store: Store | View, **options: Any) -> Repository[Order]:
    return Repository(store, Order, **{"events": EVENTS, "changes": {Shipped: on_shipped}, **options})


@pytest.fixture
def orders(store: Store) -> Repository[Order]:
    orders = orders_of(store)
    orders.create("o-1", customer="Ada", open=Decimal("20.90"))
    return orders


class TestEvents:
    def test_are_stored_with_what_they_change(self, store: Store, orders: Repository[Order]) -> None:
        assert orders.do("o-1", Order.pay, Decimal("20.90")) == Order("Ada", Decimal("0.00"), "paid") == orders["o-1"]
        _, commit = orders.history("o-1", by="commit")
        assert (commit.did, commit.arguments) == ("pay", {"amount": "20.90"})
        assert [(change.op, change.item) for change in commit.changes] == [
            ("event", "Paid"),
            ("decimal.sub", "open"),
            ("setitem", "status"),
        ]
        assert commit.changes[0].value == {"amount": "20.90", "on": None}
        assert len({change.timestamp for change in commit.changes}) == 1

    def test_come_back_as_instances(self, backend: Backend, store: Store, orders: Repository[Order]) -> None:
        orders.do("o-1", Order.pay, Decimal("20.90"))
        orders.do("o-1", lambda order: {"customer": "Bob"})
        orders.do("o-1", Order.ship, "p-1", "p-2")
        assert orders["o-1"].parcels == 2
        assert orders.events("o-1") == [Paid(Decimal("20.90")), Shipped(["p-1", "p-2"])]
        assert orders.history("o-1")[-3].value == {"parcels": ["p-1", "p-2"], "rstore.version": 2}
        assert orders.events("o-2") == []

    def test_may_change_nothing(self, store: Store, orders: Repository[Order]) -> None:
        before = orders["o-1"]
        assert orders.do("o-1", lambda order: Called("Ada")) == before == orders["o-1"]
        assert orders.events("o-1") == [Called("Ada")]
        assert store.current("Order/o-1", withtimestamp=True)[0] == orders.history("o-1")[-1].timestamp  # type: ignore[index]

    def test_are_no_items(self, store: Store, orders: Repository[Order]) -> None:
        orders.do("o-1", lambda order: Called("Ada"))
        assert set(store.current("Order/o-1") or {}) == {"customer", "open", "status", "parcels", "shipped"}
        assert all(event.item != "Called" for event in store.events("Order/o-1") or [])

    def test_that_refuse_store_nothing(self, orders: Repository[Order]) -> None:
        version = orders.version("o-1")
        with pytest.raises(ValueError, match="too much"):
            orders.do("o-1", Order.pay, Decimal(99))
        assert orders.version("o-1") == version


class TestUnknownEvents:
    def test_are_values(self, store: Store, orders: Repository[Order]) -> None:
        orders.do("o-1", Order.pay, Decimal("0.90"))
        orders.do("o-1", Order.ship, "p-1")
        paid, shipped = Repository(store, Order).events("o-1")
        assert paid == UnknownEvent("Paid", 1, {"amount": "0.90", "on": None}, "no class is registered under this name")
        assert (shipped.name, shipped.version, shipped.fields) == ("Shipped", 2, {"parcels": ["p-1"]})

    def test_have_fields_that_do_not_fit(self, store: Store, orders: Repository[Order]) -> None:
        @attrs.frozen
        class Other:
            amount: datetime.date

            def changes(self, order: Order) -> None: ...

        orders.do("o-1", Order.pay, Decimal("0.90"))
        orders.do("o-1", Order.ship, "p-1")
        unknown, newer = orders_of(store, events={"Paid": Other, "Shipped": Called}, changes={}).events("o-1")
        assert isinstance(unknown, UnknownEvent)
        assert unknown.fields == {"amount": "0.90", "on": None}
        assert unknown.reason == "'on' is no field of Other: say in upcast= what became of it"
        assert newer.reason == "Called has version 1, and this one 2"

    def test_instances_load_without_their_classes(self, store: Store, orders: Repository[Order]) -> None:
        after = orders.do("o-1", Order.pay, Decimal("0.90"))
        assert Repository(store, Order)["o-1"] == after


class TestNames:
    def test_are_those_of_classes_or_of_a_table(self, store: Store) -> None:
        orders = orders_of(store, events={"paid": Paid, "Paid": Paid}, changes={})
        orders.create("o-1", customer="Ada", open=Decimal(9))
        orders.do("o-1", Order.pay, Decimal(4))
        named = orders_of(store, events=[Paid], changes={})
        named.do("o-1", Order.pay, Decimal(5))
        assert [change.item for change in orders.history("o-1") if change.op == "event"] == ["paid", "Paid"]
        assert orders.events("o-1") == [Paid(Decimal(4)), Paid(Decimal(5))]

    def test_may_be_those_of_fields(self, store: Store) -> None:
        orders = orders_of(store, events={"open": Paid}, changes={})
        orders.create("o-1", customer="Ada", open=Decimal(9))
        assert orders.do("o-1", Order.pay, Decimal(4)).open == 5
        assert orders["o-1"].open == 5
        assert [event.value for event in store.events("Order/o-1", item="open") or []] == ["9", "4"]

    @in_turn(
        ("events", "changes", "error", "message"),
        [
            ([Paid, Paid], {}, ValueError, "two classes of events are called 'Paid'"),
            ({"": Paid}, {}, ValueError, "at least one character"),
            ([Shipped], {}, TypeError, "Shipped does not say what it changes"),
            (["Paid"], {}, TypeError, r"events has classes, such as \[Paid\]"),
            (Paid, {}, TypeError, "events has classes"),
            ([int], {}, TypeError, "int is neither an attrs class"),
            ([Paid], {Called: on_shipped}, ValueError, "changes has .*Called.*, which events has not"),
        ],
    )
    def test_are_checked(self, events: Any, changes: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            Repository(Store("memory://"), Order, events=events, changes=changes)

    @in_turn("version", [0, True, "2", 1.0])
    def test_stand_beside_a_version(self, version: Any) -> None:
        @attrs.frozen
        class Odd:
            def changes(self, order: Order) -> None: ...

        Odd.version = version  # type: ignore[attr-defined]
        with pytest.raises(TypeError, match="the version of Odd is a whole number from 1 on"):
            Repository(Store("memory://"), Order, events=[Odd])

    def test_a_field_may_be_called_version(self, orders: Repository[Order], store: Store) -> None:
        @dataclasses.dataclass
        class Signed:
            version: str = "draft"

            def changes(self, order: Order) -> None: ...

        orders = orders_of(store, events=[Signed], changes={})
        orders.do("o-1", lambda order: Signed("final"))
        assert orders.events("o-1") == [Signed("final")]


class TestRefusals:
    def test_of_a_class_that_is_not_registered(self, orders: Repository[Order]) -> None:
        @attrs.frozen
        class Refunded:
            def changes(self, order: Order) -> None: ...

        version = orders.version("o-1")
        with pytest.raises(StoreModelError, match=r"not Refunded; .* in Repository\(\.\.\., events=\[Refunded\]\)"):
            orders.do("o-1", lambda order: Refunded())
        assert orders.version("o-1") == version

    def test_of_fields_that_would_not_come_back(self, store: Store, orders: Repository[Order]) -> None:
        orders = orders_of(store, events=[Added], changes={})
        version = orders.version("o-1")
        for event, message in [
            (Added(LongLine("tea", 5)), "event 'Added': field 'line': LongLine.* would come back as Line"),
            (Added(Line("tea"), "1"), "event 'Added': field 'count': '1' is no int"),  # type: ignore[arg-type]
            (Added(Line("tea"), price="x"), "event 'Added': field 'price': 'x' is no Decimal"),  # type: ignore[arg-type]
            (Added(Line("tea"), price=0.1), "field 'price': 0.1 would come back as Decimal"),  # type: ignore[arg-type]
        ]:
            with pytest.raises(StoreModelError, match=message) as raised:
                orders.do("o-1", lambda order, event=event: event)  # type: ignore[misc]
            assert raised.value.key == "o-1"
        assert orders.version("o-1") == version
        orders.do("o-1", lambda order: Added(Line("tea"), price=Decimal("NaN")))
        assert orders.events("o-1")[0].price.is_nan()

    def test_of_values_that_nothing_but_their_stored_form_compares(self, store: Store) -> None:
        converter = cattrs.Converter()
        converter.register_unstructure_hook(Weights, lambda weights: weights.numbers)
        converter.register_structure_hook(Weights, lambda numbers, _: Weights(map(int, numbers)))
        readings = Repository(store, Reading, converter=converter, events=[Weighed, Measured])
        readings.create("r")
        readings.do("r", lambda _: Weighed(Weights([1, 2])))
        with pytest.raises(StoreModelError, match=r"field 'weights': .* would come back as"):
            readings.do("r", lambda _: Weighed(Weights([1.5])))
        assert [event.weights.numbers for event in readings.events("r")] == [[1, 2]]
        readings.do("r", lambda _: Measured([Sample(1)]))
        assert type(readings.events("r")[-1].samples[0].number) is float, "1 and 1.0 are equal"

    @in_turn(("error", "is_stored"), [(NotImplementedError, True), (StoreNotAvailableError, False)])
    def test_of_what_a_converter_does_not_unstructure_by_itself(
        self, store: Store, error: type[Exception], is_stored: bool
    ) -> None:
        class OfTypes(cattrs.Converter):
            def unstructure(self, obj: Any, unstructure_as: Any = None) -> Any:
                if unstructure_as is None:
                    raise error("of which type?")
                return super().unstructure(obj, unstructure_as)

        events: Any = {"events": {"read": Measured}, "prefix": f"{error.__name__}/"}
        readings = Repository(store, Reading, converter=OfTypes(), **events)
        readings.create("r")
        with contextlib.nullcontext() if is_stored else pytest.raises(StoreNotAvailableError):
            readings.do("r", lambda _: Measured([Sample(1.5)]))
        assert len(readings.events("r")) == is_stored


class TestLists:
    def test_are_applied_one_after_the_other(self, store: Store, orders: Repository[Order]) -> None:
        seen: list[Decimal] = []

        @attrs.frozen
        class Looked:
            def changes(self, order: Order) -> None:
                seen.append(order.open)

        orders = orders_of(store, events={**EVENTS, "Looked": Looked})
        parts = [Looked(), Paid(Decimal("0.90")), Looked(), Paid(Decimal(20)), Looked(), {"parcels": (operator.add, 1)}]
        assert orders.do("o-1", lambda order: parts) == Order("Ada", Decimal("0.00"), "paid", 1)
        assert seen == [Decimal("20.90"), Decimal("20.00"), Decimal("0.00")]
        assert [event for event in orders.events("o-1") if isinstance(event, Paid)] == [parts[1], parts[3]]
        (commit,) = orders.history("o-1", by="commit")[1:]
        assert [(change.op, change.item, change.value) for change in commit.changes if change.item == "open"] == [
            ("decimal.sub", "open", "0.90"),
            ("decimal.sub", "open", "20"),
        ]

    def test_may_hold_instances(self, orders: Repository[Order]) -> None:
        def decide(order: Order) -> tuple[Any, ...]:
            return Paid(Decimal("0.90")), attrs.evolve(order, customer="Bob"), None, {}, attrs.evolve(order, parcels=3)

        assert orders.do("o-1", decide) == Order("Bob", Decimal("20.00"), "partly paid", 3) == orders["o-1"]

    def test_of_nothing_store_nothing(self, orders: Repository[Order]) -> None:
        version = orders.version("o-1")
        for nothing in ([], (), [None, {}], lambda order: order):
            orders.do("o-1", nothing if callable(nothing) else lambda order, nothing=nothing: nothing)  # type: ignore[misc]
        assert orders.version("o-1") == version

    def test_name_the_value_of_any_part_that_can_not_be_loaded(self, orders: Repository[Order]) -> None:
        for parts in ([{"open": "much"}, {"customer": "Bob"}], [{"customer": "Bob"}, {"open": "much"}]):
            with pytest.raises(StoreModelError, match="field 'open': 'much' is no Decimal"):
                orders.do("o-1", lambda _, parts=parts: parts)  # type: ignore[misc]

    def test_are_stored_whole_or_not_at_all(self, orders: Repository[Order]) -> None:
        version = orders.version("o-1")
        for wrong in (Paid(Decimal(21)), {"parcels": "many"}, {"unknown": 1}, 7, [Called("Ada")]):
            with pytest.raises((StoreModelError, ValueError)):
                orders.do("o-1", lambda order, wrong=wrong: [Paid(Decimal(1)), wrong])  # type: ignore[misc]
        assert orders.version("o-1") == version
        assert orders.events("o-1") == []


class TestInstances:
    def test_stand_for_the_fields_that_differ(self, orders: Repository[Order]) -> None:
        version = orders.version("o-1")
        assert orders.do("o-1", attrs.evolve, parcels=2).parcels == 2
        assert [(change.item, change.value) for change in orders.history("o-1") if change.version > version] == [
            ("parcels", 2)
        ]

    def test_may_be_those_that_the_decider_got_and_changed(self, store: Store) -> None:
        @dataclasses.dataclass
        class Basket:
            names: list[str]
            count: int = 0

            def put(self, name: str) -> Any:
                self.names.append(name)
                self.count += 1
                return self

        baskets = Repository(store, Basket)
        baskets.create("b", names=[])
        assert baskets.do("b", Basket.put, "tea") == Basket(["tea"], 1) == baskets["b"]

    def test_may_be_those_that_an_event_got_and_changed(self, store: Store) -> None:
        @attrs.frozen
        class Put:
            name: str

            def changes(self, basket: Any) -> Any:
                basket.names.append(self.name)
                basket.notes.append(self.name)
                return basket

        @dataclasses.dataclass
        class Basket:
            names: list[str] = dataclasses.field(default_factory=list)
            notes: Any = dataclasses.field(default_factory=list)

        baskets = Repository(store, Basket, events=[Put])
        baskets.create("b")
        both = Basket(["tea", "milk"], ["tea", "milk"])
        assert baskets.do("b", lambda _: [Put("tea"), Put("milk")]) == both == baskets["b"]

    def test_are_returned_by_events_too(self, store: Store) -> None:
        @attrs.frozen
        class Renamed:
            to: str

            def changes(self, order: Order) -> Order:
                return attrs.evolve(order, customer=self.to)

        orders = orders_of(store, events=[Renamed], changes={})
        orders.create("o-1", customer="Ada", parcels=3)
        assert orders.do("o-1", lambda order: [{"parcels": 4}, Renamed("Bob")]) == Order("Bob", parcels=4)
        assert orders.history("o-1")[-1].item == "customer"


class TestConditions:
    def test_once_returns_what_the_first_call_returned(self, orders: Repository[Order]) -> None:
        first = orders.when(once="receipt").do("o-1", Order.pay, Decimal(1))
        orders.do("o-1", Order.pay, Decimal(2))
        called = orders.when(once="call").do("o-1", lambda order: Called("Ada"))
        assert orders.when(once="receipt").do("o-1", Order.pay, Decimal(1)) == first
        assert orders.when(once="call").do("o-1", lambda order: Called("Ada")) == called
        assert orders.events("o-1") == [Paid(Decimal(1)), Paid(Decimal(2)), Called("Ada")]

    def test_expect_is_the_version_with_events(self, orders: Repository[Order]) -> None:
        version = orders.version("o-1")
        orders.when(expect=version).do("o-1", lambda order: Called("Ada"))
        assert orders.version("o-1") > version
        with pytest.raises(StoreConflictError):
            orders.when(expect=version).do("o-1", lambda order: Called("Ada"))

    def test_late_events_are_in_order_of_time(self, store: Store) -> None:
        orders = orders_of(store)
        orders.when(t=1000).create("o-1", customer="Ada", open=Decimal(10))
        orders.when(t=3000).do("o-1", Order.pay, Decimal(1))
        late = orders.when(t=2000).do("o-1", lambda order: [Paid(Decimal(2)), Called("Ada"), Paid(Decimal(3))])
        assert late.open == 4
        assert orders.past("o-1", 2000).open == 5  # type: ignore[union-attr]
        assert orders.events("o-1") == [Paid(Decimal(2)), Called("Ada"), Paid(Decimal(3)), Paid(Decimal(1))]
        assert orders_of(store.at(orders.history("o-1")[-1].recorded))["o-1"] == late

    def test_one_time_may_have_several_events_and_one_commit_for_each_item(self, store: Store) -> None:
        orders = orders_of(store)
        orders.when(t=1000).create("o-1", customer="Ada", open=Decimal(10))
        at = orders.when(t=2000)
        at.do("o-1", lambda order: [Paid(Decimal(2)), Paid(Decimal(2))])
        at.do("o-1", lambda order: Called("Ada"))
        with pytest.raises(StoreIntegrityError, match="'open' of 'Order/o-1' has an event at time 2000"):
            at.do("o-1", Order.pay, Decimal(1))
        assert orders.events("o-1") == [Paid(Decimal(2)), Paid(Decimal(2)), Called("Ada")]

    def test_an_event_takes_no_time_from_an_item_of_its_name(self, store: Store) -> None:
        orders = orders_of(store, events={"customer": Called}, changes={})
        orders.when(t=1000).create("o-1", customer="Ada")
        orders.when(t=1000).do("o-1", lambda order: Called("Ada"))
        orders.when(t=2000).do("o-1", lambda order: Called("Bob"))
        assert orders.when(t=2000).do("o-1", lambda order: {"customer": "Bob"}).customer == "Bob"
        assert orders.events("o-1") == [Called("Ada"), Called("Bob")]

    def test_a_transaction_has_all_or_none(self, store: Store, orders: Repository[Order]) -> None:
        orders.create("o-2", customer="Bob", open=Decimal(1))
        with store.transaction():
            orders.do("o-1", Order.pay, Decimal(1))
            orders.do("o-2", Order.pay, Decimal(1))
            assert orders.events("o-1") == orders.events("o-2") == [Paid(Decimal(1))]
            orders.do("o-1", Order.pay, Decimal(2))
        assert orders.events("o-1") == [Paid(Decimal(1)), Paid(Decimal(2))]
        with pytest.raises(ValueError, match="too much"), store.transaction():
            orders.do("o-1", lambda order: [Called("Ada"), Paid(order.open + 1)])
        assert len(orders.events("o-1")) == 2

    def test_unknown_items_are_kept_or_dropped(self, store: Store, orders: Repository[Order]) -> None:
        store.apply("Order/o-1", {"points": 7})
        orders_of(store, unknown="keep").do("o-1", Order.pay, Decimal(1))
        assert (store.current("Order/o-1") or {})["points"] == 7
        orders_of(store, unknown="drop").do("o-1", lambda order: [Called("Ada"), Paid(Decimal(2))])
        assert "points" not in (store.current("Order/o-1") or {})


class Tip(pydantic.BaseModel):
    amount: Decimal
    by: str = pydantic.Field(alias="from")

    def changes(self, bill: Bill) -> Changes:
        return {"total": (operator.add, self.amount)}


class Bill(pydantic.BaseModel):
    total: Decimal = Decimal(0)

    def tip(self, amount: str) -> list[Tip]:
        return [Tip.model_validate({"amount": amount, "from": "Ada"})]


def test_events_and_models_may_be_of_pydantic(store: Store) -> None:
    bills = Repository(store, Bill, events=[Tip, Called])
    bills.create("1")
    assert bills.do("1", Bill.tip, "2.50").total == Decimal("2.50")
    bills.do("1", lambda bill: [*bill.tip("1"), Called("Bob")])
    assert bills["1"].total == Decimal("3.50")
    assert [getattr(event, "by", None) for event in bills.events("1")] == ["Ada", "Ada", "Bob"]


def test_events_of_pydantic_hold_nan(store: Store) -> None:
    class Series(pydantic.BaseModel):
        values: list[float]

        def changes(self, bill: Bill) -> None: ...

    bills = Repository(store, Bill, events=[Series])
    bills.create("1")
    bills.do("1", lambda bill: Series(values=[math.nan, 1.5]))
    (event,) = bills.events("1")
    assert math.isnan(event.values[0])
    assert event.values[1] == 1.5


@pytest.mark.parametrize("cls", [JsonStore, MsgpackStore])
def test_other_serializers_keep_events(backend: Backend, cls: type[Store]) -> None:
    orders = orders_of(backend.store(cls))
    orders.create("o-1", customer="Ada", open=Decimal(9))
    orders.do("o-1", lambda order: [Paid(Decimal(2), datetime.date(2026, 1, 1)), Shipped(["p"])])
    assert orders.events("o-1") == [Paid(Decimal(2), datetime.date(2026, 1, 1)), Shipped(["p"])]
    assert orders["o-1"] == orders_of(backend.store(cls))["o-1"]


def test_the_log_shows_events_in_their_commits(orders: Repository[Order]) -> None:
    orders.do("o-1", Order.pay, Decimal("0.90"))
    orders.do("o-1", Order.ship, "p-1")
    orders.do("o-1", lambda order: Called("Ada Lovelace"))
    shown = [describe(change) for change in orders.history("o-1") if change.op == "event"]
    assert shown == ['Paid amount="0.90" on=null', 'Shipped parcels=["p-1"]', "Called by=Ada Lovelace"]
