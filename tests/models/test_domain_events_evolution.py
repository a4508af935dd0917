"""Classes of events that change: versions, enums and nested classes of events that are in the log."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar

import attrs
import pytest
from pydantic import BaseModel

from rstore import Repository, Store, StoreIntegrityError, UnknownEvent
from tests.conftest import in_turn


class Method(Enum):
    CARD = "card"
    BANK = "bank"


@attrs.frozen
class Order:
    paid: Decimal = Decimal(0)


@attrs.frozen
class First:
    cents: int
    method: str = "plastic"

    def changes(self, order: Order) -> dict[str, Any]:
        return {"paid": order.paid + Decimal(self.cents) / 100}


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str = "EUR"


@attrs.frozen
class Third:
    version: ClassVar[int] = 3
    money: Money
    method: Method = Method.CARD
    by: str = ""

    def changes(self, order: Order) -> dict[str, Any]:
        return {"paid": order.paid + self.money.amount}


class Pydantic(BaseModel):
    version: ClassVar[int] = 3
    money: Money
    method: Method = Method.CARD

    def changes(self, order: Order) -> dict[str, Any]:
        return {"paid": order.paid + self.money.amount}


def to_second(fields: dict[str, Any]) -> dict[str, Any]:
    return {"amount": f"{fields.pop('cents') / 100:.2f}", **fields}


def to_third(fields: dict[str, Any]) -> dict[str, Any]:
    return {"money": {"sum": fields.pop("amount")}, **fields}


VERSIONS: dict[int, Any] = {1: to_second, 2: to_third}
TYPES: dict[Any, Any] = {Method: {"plastic": Method.CARD}, Money: {"sum": "amount"}}


def repository(store: Store, event: Any = Third, versions: Any = None, **options: Any) -> Repository[Order]:
    upcast = {**TYPES, event: VERSIONS if versions is None else versions}
    return Repository(store, Order, events={"paid": event}, upcast=upcast, **options)


@pytest.fixture
def first(store: Store) -> Repository[Order]:
    orders = Repository(store, Order, events={"paid": First})
    orders.create("1")
    orders.do("1", lambda order: First(2090))
    return orders


@in_turn("event", [Third, Pydantic])
def test_versions_are_chained_up_to_that_of_the_class(store: Store, first: Repository[Order], event: Any) -> None:
    orders = repository(store, event)
    assert orders.events("1")[0] == event(money=Money(Decimal("20.90")))
    before = len(orders.events("1"))
    orders.do("1", lambda order: event(money=Money(Decimal(1)), method=Method.BANK))
    assert orders.events("1")[before] == event(money=Money(Decimal(1)), method=Method.BANK)
    assert next(iter(Repository(store, Order).events("1"))).fields == {"cents": 2090, "method": "plastic"}
    assert isinstance(first.events("1")[before], UnknownEvent), "older code has no class of the new version"


def test_a_view_of_the_past_has_them_too(store: Store, first: Repository[Order]) -> None:
    assert repository(store).at(2**62).events("1") == [Third(Money(Decimal("20.90")))]


def test_fields_of_one_version_may_be_renamed_as_those_of_nested_classes(store: Store) -> None:
    newer: Any = attrs.make_class("First", {"amount": attrs.field(type=int), "how": attrs.field(type=Method)})
    Repository(store, Order, events=[First]).create("1")
    Repository(store, Order, events=[First]).do("1", lambda order: First(5))
    table = {newer: {"cents": "amount", "method": "how"}, Method: {"plastic": Method.CARD}}
    with_changes: Any = {"events": [newer], "changes": {newer: lambda event, order: None}}
    assert Repository(store, Order, upcast=table, **with_changes).events("1") == [newer(5, Method.CARD)]


@in_turn(
    ("reason", "versions"),
    [
        (r"say in upcast={Third: {1: ...}} what became of version 1", {2: to_third}),
        (r"upcast of version 1 fails: ZeroDivisionError", {**VERSIONS, 1: lambda fields: 1 / 0}),
        (r"upcast of version 2 fails: TypeError", {**VERSIONS, 2: lambda fields: 5}),
        (r"'odd' is no field of Third: say in upcast= what became of it", {**VERSIONS, 2: lambda fields: {"odd": 1}}),
        (r"field 'money': the stored value is no Money", {**VERSIONS, 2: lambda fields: {"money": {"amount": "x"}}}),
        (r"field 'money' of Third has no value and no default", {**VERSIONS, 2: lambda fields: {}}),
        (r"field 'money.x': Money has no such field", {**VERSIONS, 2: lambda fields: {"money": {"x": 1, "amount": 1}}}),
    ],
)
def test_an_event_without_a_way_is_unknown_and_says_why(
    store: Store, first: Repository[Order], reason: str, versions: Any
) -> None:
    orders = repository(store, versions=versions)
    found = orders.events("1")[0]
    assert isinstance(found, UnknownEvent)
    assert (found.name, found.version, found.fields) == ("paid", 1, {"cents": 2090, "method": "plastic"})
    assert found.reason.startswith(reason)
    assert "store.apply" not in found.reason, "no state can be corrected"
    assert orders["1"] == Order(Decimal("20.90")), "the instance needs no event"


def test_an_event_of_a_newer_version_is_unknown(store: Store) -> None:
    orders = repository(store)
    orders.create("1")
    orders.do("1", lambda order: Third(Money(Decimal(1))))
    found = Repository(store, Order, events={"paid": First}).events("1")[0]
    assert isinstance(found, UnknownEvent)
    assert (found.version, found.reason) == (3, "First has version 1, and this one 3")


def test_a_failing_store_is_no_matter_of_an_event(store: Store, first: Repository[Order]) -> None:
    def fail(fields: Any) -> Any:
        raise StoreIntegrityError("the disk is gone")

    with pytest.raises(StoreIntegrityError, match="the disk is gone"):
        repository(store, versions={**VERSIONS, 1: fail}).events("1")


@in_turn("unknown", ["keep", "drop"])
def test_unknown_fields_of_events_are_passed_over_where_those_of_instances_are(
    store: Store, first: Repository[Order], unknown: Any
) -> None:
    versions = {**VERSIONS, 2: lambda fields: {"money": {"amount": "1", "x": 1}, "odd": 1}}
    assert repository(store, versions=versions, unknown=unknown).events("1") == [Third(Money(Decimal(1)))]


@in_turn(
    ("error", "versions"),
    [
        (ValueError, {0: to_second}),
        (ValueError, {3: to_second}),
        (ValueError, {True: to_second}),
        (TypeError, {1: "amount"}),
        (TypeError, {1.5: to_second}),
        (ValueError, {"cents": "nowhere"}),
    ],
)
def test_tables_are_checked(store: Store, error: type[Exception], versions: Any) -> None:
    with pytest.raises(error, match="upcast: "):
        repository(store, versions=versions)
    with pytest.raises(ValueError, match="events has not this class"):
        Repository(store, Order, upcast={Third: VERSIONS})
