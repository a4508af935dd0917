"""Decisions that do not fit: what could not be loaded is never stored, and the error says which value that is."""

from __future__ import annotations

import datetime
import enum
import operator
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore import JsonStore, MsgpackStore, Repository, Store, StoreError, StoreModelError
from tests.conftest import Backend, in_turn


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@attrs.frozen
class Line:
    what: str
    price: Decimal


NOBODY = uuid.UUID(int=0)


@attrs.frozen
class Item:
    title: str = ""
    price: Decimal = Decimal(0)
    due: datetime.date | None = None
    made: datetime.datetime = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    colour: Colour = Colour.RED
    lines: list[Line] = attrs.Factory(list)
    first: Line | None = None
    ident: uuid.UUID = NOBODY
    takes: datetime.timedelta = datetime.timedelta()
    prices: dict[str, Decimal] = attrs.Factory(dict)


WRONG: list[tuple[str, Any]] = [
    ("price", "12,50"),
    ("price", None),
    ("due", "tomorrow"),
    ("due", 5),
    ("made", "2024-01-01"),
    ("colour", "red"),
    ("colour", None),
    ("lines", None),
    ("lines", [Line("tea", Decimal(1)), "milk"]),
    ("lines", [Line("tea", "1,10")]),  # type: ignore[arg-type]
    ("first", "tea"),
    ("ident", 5),
    ("takes", 5),
    ("prices", {"tea": "1,10"}),
    ("prices", 5),
]


@pytest.fixture
def items(store: Store) -> Repository[Item]:
    """A repository of one item, ``a``."""
    items = Repository(store, Item)
    items.create("a", title="first")
    return items


@in_turn(("field", "wrong"), WRONG)
def test_a_decision_that_can_not_be_loaded_is_not_stored(
    store: Store, items: Repository[Item], field: str, wrong: Any
) -> None:
    before = store.version("Item/a")
    with pytest.raises(StoreModelError) as told:
        items.do("a", lambda _: {"title": "second", field: wrong})
    assert (told.value.key, store.version("Item/a")) == ("a", before)
    for part in ("'a'", f"field {field!r}", repr(wrong)[:100]):
        assert part in str(told.value)
    assert items["a"] == Item("first")
    assert list(items.all()) == [("a", Item("first"))]


@in_turn(("field", "wrong"), WRONG)
def test_an_instance_that_can_not_be_loaded_is_not_created(
    store: Store, items: Repository[Item], field: str, wrong: Any
) -> None:
    with pytest.raises(StoreModelError, match=f"'b': field {field!r}") as told:
        items.create("b", **{field: wrong})
    assert repr(wrong)[:100] in str(told.value)
    assert "b" not in items
    assert items.keys() == ["a"]


def test_in_a_transaction_it_leaves_the_rest_as_it_was(store: Store, items: Repository[Item]) -> None:
    with store.transaction():
        items.do("a", lambda _: {"title": "second"})
        with pytest.raises(StoreModelError):
            items.do("a", lambda _: {"price": "12,50"})
        items.do("a", lambda _: {"price": Decimal("12.50")})
    assert items["a"] == Item("second", Decimal("12.50"))


def test_what_was_decided_is_returned_as_it_is_got_from_then_on(store: Store, items: Repository[Item]) -> None:
    decided = items.do("a", lambda _: {"price": "12.50", "lines": [Line("tea", 1)]})  # type: ignore[arg-type]
    assert decided == items["a"] == Item("first", Decimal("12.50"), lines=[Line("tea", Decimal(1))])
    assert type(decided.price) is type(decided.lines[0].price) is Decimal
    assert items.do("a", lambda item: {"price": (operator.mul, 2)}).price == items["a"].price == Decimal(25)


@pytest.mark.parametrize("cls", [JsonStore, MsgpackStore])
def test_it_is_returned_as_the_serializer_gives_it_back(backend: Backend, cls: type[Store]) -> None:
    @dataclass
    class Box:
        content: Any

    boxes = Repository(backend.store(cls), Box)
    again = [1, 2] if cls is JsonStore else (1, 2)
    assert boxes.create("b", content=(1, 2)) == boxes["b"] == Box(again)
    assert boxes.do("b", lambda box: {"content": {"a": (1, 2)}}) == boxes["b"] == Box({"a": again})


def test_a_rule_of_the_class_speaks_for_itself(backend: Backend) -> None:
    @attrs.frozen
    class Account:
        balance: int = attrs.field(validator=[attrs.validators.instance_of(int), attrs.validators.ge(0)])

    accounts = Repository(backend.store(), Account)
    accounts.create("a", balance=1)
    with pytest.raises(ValueError, match="'balance' must be >= 0") as told:
        accounts.do("a", lambda _: {"balance": -1})
    assert told.value.__notes__ == ["rstore: of Account 'a'; nothing was stored"]
    with pytest.raises(
        StoreModelError, match=r"'a': balance='1' makes no Account \(TypeError: .* must be <class 'int'>"
    ):
        accounts.do("a", lambda _: {"balance": "1"})
    assert accounts["a"] == Account(1)


def test_a_class_that_fails_on_a_value_of_another_type_is_told_with_the_value(backend: Backend) -> None:
    @attrs.frozen
    class Rounded:
        name: str
        price: Decimal = attrs.field(converter=lambda price: price.quantize(Decimal("0.01")))

    @dataclass
    class Named:
        name: str

        def __post_init__(self) -> None:
            self.name = self.name.strip()

    @attrs.frozen
    class Parsed:
        price: Decimal = attrs.field(converter=Decimal)

    store = backend.store()
    prices, names, parsed = Repository(store, Rounded), Repository(store, Named), Repository(store, Parsed)
    prices.create("p", name="tea", price=Decimal("1.005"))
    names.create("n", name=" tea ")
    parsed.create("d", price="1.50")
    before = len(list(store.log()))
    for call, message in (
        (lambda: prices.do("p", lambda _: {"price": "12.50"}), r"'p': price='12.50' makes no Rounded \(AttributeError"),
        (lambda: names.do("n", lambda _: {"name": None}), r"'n': name=None makes no Named \(AttributeError"),
        (lambda: parsed.do("d", lambda _: {"price": "1,50"}), r"'d': price='1,50' makes no Parsed \(InvalidOperation"),
        (lambda: names.create("m", name=5), r"'m': name=5 makes no Named \(AttributeError"),
    ):
        with pytest.raises(StoreModelError, match=message):
            call()
    assert len(list(store.log())) == before
    assert (prices["p"].price, names["n"].name, parsed["d"].price) == (Decimal("1.00"), "tea", Decimal("1.50"))


def test_what_somebody_else_stored_is_told_by_its_field_alone(backend: Backend) -> None:
    @attrs.frozen
    class Account:
        balance: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        price: Decimal = Decimal(0)

    store = backend.store()
    store.apply("Account/a", {"balance": -123456}, t=1)
    store.apply("Account/b", {"price": "123,456"}, t=1)
    store.apply("Account/b", {"price": "1"}, t=2)
    accounts = Repository(store, Account)
    for call, message in (
        (lambda: accounts.get("a"), r"'a': field 'balance': it makes no Account \(ValueError\)"),
        (lambda: accounts.past("b", 1), r"'b': field 'price': the stored value is no Decimal \(InvalidOperation\)"),
        (lambda: accounts.revert("b", 1), r"'b': field 'price': the stored value is no Decimal"),
    ):
        with pytest.raises(StoreModelError, match=message) as told:
            call()
        assert "123" not in str(told.value)
    assert accounts["b"] == Account(0, Decimal(1))


def test_a_field_is_at_fault_for_its_own_value_alone(backend: Backend) -> None:
    @attrs.frozen
    class Booking:
        name: str = attrs.field(converter=attrs.Converter(lambda name: name.strip()))
        room: str = attrs.field(converter=attrs.Converter(lambda room, self_: self_.name + room, takes_self=True))
        start: int
        end: int = attrs.field()
        seats: int = attrs.field(alias="places", validator=attrs.validators.ge(1))

        @end.validator
        def after(self, attribute: Any, end: int) -> None:
            if end < self.start:
                raise ValueError("it ends before it starts")

    store = backend.store()
    good = {"name": "Ada", "room": "1", "start": 5, "end": 6, "seats": 2}
    bookings = Repository(store, Booking)
    for key, wrong, message in (
        ("seats", {"seats": 0}, r"field 'seats': it makes no Booking \(ValueError\)"),
        ("several", {"end": 4}, r"name, room, start, end, seats make no Booking \(ValueError\)"),
    ):
        store.apply(f"Booking/{key}", {**good, **wrong})
        with pytest.raises(StoreModelError, match=message):
            bookings.get(key)


def test_what_somebody_else_stored_can_be_corrected_as_the_error_says(store: Store, items: Repository[Item]) -> None:
    store.apply("Item/a", {"price": "12,50"})
    with pytest.raises(StoreModelError, match=r"correct it with store\.apply\('Item/a', {'price': \.\.\.}\)"):
        items.do("a", lambda _: {"title": "second"})
    store.apply("Item/a", {"price": "12.50"})
    assert items.do("a", lambda _: {"title": "second"}) == Item("second", Decimal("12.50"))


def test_arguments_are_named_by_the_class(items: Repository[Item]) -> None:
    for wrong, message in (({"what": "", "price": 1, "unknown": 1}, "unknown"), ({}, "what")):
        with pytest.raises(TypeError, match=message):
            Repository(items._store, Line).create("l", **wrong)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.decimals()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from(Colour)
    | st.builds(Line, st.text(max_size=5), st.decimals(allow_nan=False)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from([field.name for field in attrs.fields(Item)]), VALUES, min_size=1))
@pytest.mark.slow
def test_whatever_is_decided_is_got_as_it_was_returned_or_not_stored(changes: dict[str, Any]) -> None:
    for cls in (Store, JsonStore, MsgpackStore):
        with cls("memory://", frozen=False) as store:
            items = Repository(store, Item)
            before = repr(items.create("a", title="first"))
            try:
                decided = repr(items.do("a", lambda _: changes))
            except (
                StoreError,
                TypeError,
                ValueError,
                OverflowError,
            ):  # it was refused
                decided = before
            assert repr(items["a"]) == decided
