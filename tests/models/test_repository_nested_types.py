"""Types of nested values that have a stored form of their own: they load, and tables of ``upcast`` reach into them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from enum import Enum, StrEnum
from typing import Any, Literal, NamedTuple

import attrs
import pytest
from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union
from pydantic import BaseModel, RootModel, computed_field, create_model, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from rstore import Repository, Store, StoreIntegrityError, StoreModelError
from tests.conftest import in_turn


class Status(Enum):
    NEW = "new"
    PAID = "paid"


class Method(StrEnum):
    CARD = "card"
    CASH = "cash"


@attrs.frozen
class Address:
    street: str
    postcode: str = ""


@attrs.frozen
class Home:
    address: Address


@attrs.frozen
class Homes:
    one: Home | None = None
    many: list[Home] = attrs.field(factory=list)


class City(BaseModel):
    name: str


class Cities(RootModel[dict[str, City]]):
    pass


class Menu(RootModel[dict[str, "Menu | int"]]):
    pass


@dataclasses.dataclass
class Counted:
    first: int
    second: int = dataclasses.field(init=False, default=2)


@pydantic_dataclass
class Square:
    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.side**2


@pydantic_dataclass
class Road:
    street: str

    @model_validator(mode="before")
    @classmethod
    def before(cls, stored: Any) -> Any:
        return {"street": stored["road"]} if isinstance(stored, dict) else stored


class Own(BaseModel):
    street: str

    @model_validator(mode="before")
    @classmethod
    def before(cls, stored: Any) -> Any:
        return stored


class ByCard(BaseModel):
    method: Literal[Method.CARD]
    cents: int


class InCash(BaseModel):
    method: Literal[Method.CASH]
    cents: int


@attrs.frozen
class New:
    cents: int
    status: Literal[Status.NEW] = Status.NEW


@attrs.frozen
class Paid:
    cents: int
    status: Literal[Status.PAID] = Status.PAID


class Size(NamedTuple):
    width: Nowhere  # type: ignore[name-defined]  # noqa: F821


def attrs_of(of_type: Any) -> type[Any]:
    return attrs.make_class("Model", {"field": attrs.field(type=of_type)}, frozen=True)


def pydantic_of(of_type: Any) -> type[Any]:
    return create_model("Model", field=(of_type, ...))


def load(store: Store, model: type[Any], stored: Any, **options: Any) -> Any:
    """Return the value of the field that a class makes of what an earlier version has stored."""
    store.delete_events("Model/old")
    store.apply("Model/old", {"field": stored})
    return Repository(store, model, **options)["old"].field


@in_turn(
    ("model", "value"),
    [
        (pydantic_of(Cities), Cities({"graz": City(name="Graz")})),
        (attrs_of(Cities), Cities({"graz": City(name="Graz")})),
        (pydantic_of(Menu), Menu({"soups": Menu({"onion": 5}), "bread": 1})),
        (pydantic_of(Counted), Counted(1)),
        (pydantic_of(Square), Square(3)),
        (attrs_of(Counter[Status]), Counter({Status.NEW: 3})),
        (attrs_of(Literal[Status.NEW]), Status.NEW),
        (pydantic_of(ByCard | InCash), InCash(method=Method.CASH, cents=5)),
    ],
)
def test_a_value_loads_as_it_was_stored(store: Store, model: type[Any], value: Any) -> None:
    models = Repository(store, model)
    models.delete("1")
    assert models.create("1", field=value) == models["1"]
    assert models["1"].field == value


@in_turn(
    ("model", "stored", "upcast", "value"),
    [
        (pydantic_of(Cities), {"g": {"title": "Graz"}}, {City: {"title": "name"}}, Cities({"g": City(name="Graz")})),
        (pydantic_of(Square), {"length": 3, "area": 9}, {Square: {"length": "side"}}, Square(3)),
        (attrs_of(Counter[Status]), {"open": 3}, {Status: {"open": "new"}}, Counter({Status.NEW: 3})),
        (attrs_of(Literal[Status.NEW]), "open", {Status: {"open": "new"}}, Status.NEW),
        (pydantic_of(Own), {"road": "a"}, {"field.road": "field.street"}, Own(street="a")),
        (pydantic_of(Own), {"road": "a"}, {Own: {"road": "street"}}, Own(street="a")),
        (
            pydantic_of(ByCard | InCash),
            {"method": "coins", "sum": 5},
            {InCash: {"sum": "cents"}, Method: {"coins": Method.CASH}},
            InCash(method=Method.CASH, cents=5),
        ),
    ],
)
def test_tables_reach_into_it(store: Store, model: type[Any], stored: Any, upcast: Any, value: Any) -> None:
    assert load(store, model, stored, upcast=upcast) == value


@in_turn("model", [pydantic_of(Counted), pydantic_of(Square)])
def test_an_unknown_field_of_a_dataclass_is_an_error(store: Store, model: type[Any]) -> None:
    with pytest.raises(StoreModelError, match=r"'field\.odd': .* has no such field"):
        load(store, model, {"first": 1, "side": 3, "odd": 1}, upcast={Counted: {"side": None}, Square: {"first": None}})


def test_a_validator_of_a_pydantic_dataclass_may_know_other_fields(store: Store) -> None:
    assert load(store, pydantic_of(Road), {"road": "a"}) == Road(street="a")  # type: ignore[call-arg]


def test_the_classes_of_a_tagged_union_are_told_apart_by_members_of_enums(store: Store) -> None:
    either, converter = New | Paid, make_converter()
    configure_tagged_union(either, converter)
    stored = {"sum": 5, "status": "paid", "_type": "Paid"}
    upcast: dict[Any, Any] = {New: {"sum": None}, Paid: {"sum": "cents"}}
    assert load(store, attrs_of(either), stored, upcast=upcast, converter=converter) == Paid(5)


def test_a_converter_of_the_users_may_store_more_than_fields(store: Store) -> None:
    converter = make_converter()
    converter.register_unstructure_hook(Address, lambda address: {"kind": "address", "street": address.street})
    models = Repository(store, attrs_of(Address), converter=converter)
    assert models.create("1", field=Address("a")) == models["1"]


def test_a_converter_of_the_users_may_know_the_places_of_a_named_tuple(store: Store) -> None:
    converter = make_converter()
    converter.register_structure_hook(Size, lambda stored, _: Size(*stored))
    converter.register_unstructure_hook(Size, list)
    models = Repository(store, attrs_of(Size), converter=converter)
    assert models.create("1", field=Size(5)).field == models["1"].field == Size(5)


def test_unknown_fields_are_kept_in_a_field_that_had_another_name(store: Store) -> None:
    old = {"adr": {"street": "a", "planet": "earth"}}
    store.apply("Homes/1", {"one": old, "many": [old]})
    homes = Repository(store, Homes, upcast={Home: {"adr": "address"}}, unknown="keep")
    new = Home(Address("b"))
    homes.do("1", lambda _: {"one": new, "many": [new]})
    kept = {"address": {"street": "b", "postcode": "", "planet": "earth"}}
    assert store.current("Homes/1") == {"one": kept, "many": [kept]}


def test_a_fault_is_that_of_the_value_also_if_the_store_fails_meanwhile(store: Store) -> None:
    errors = [StoreIntegrityError("the disk is gone"), ValueError()]

    @attrs.frozen
    class Failing:
        name: str

        def __attrs_post_init__(self) -> None:
            raise errors.pop()

    with pytest.raises(StoreModelError, match=r"is no Failing \(ValueError\); correct it"):
        load(store, attrs_of(Failing), {"name": "a"})
