"""Types of nested values that have a stored form of their own: they load, and tables of ``upcast`` reach into them."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from enum import Enum, StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import attrs
import pytest
from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union
from pydantic import BaseModel, RootModel, computed_field, create_model, model_serializer, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypeAliasType

from rstore import Repository, Store, StoreIntegrityError, StoreModelError
from tests.conftest import in_turn

T = TypeVar("T")


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
class Flat:
    address: Address | None = None
    floor: int = 0


@attrs.frozen
class Box(Generic[T]):
    inside: list[T]


@attrs.frozen
class Hidden:
    _street: str


@attrs.frozen
class Three:
    one: int
    two: int
    three: int


@attrs.frozen
class Homes:
    one: Home | None = None
    many: list[Home] = attrs.field(factory=list)


class City(BaseModel):
    name: str


class Open(BaseModel, extra="allow"):
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
    city: str = ""

    @model_validator(mode="before")
    @classmethod
    def before(cls, stored: Any) -> Any:
        return stored


class Street(BaseModel):
    street: str


class Point(BaseModel):
    x: int
    label: str = ""
    note: str = ""


class Label(BaseModel):
    label: str = ""
    note: str = ""
    size: int = 0


class Serialized(BaseModel):
    street: str

    @model_serializer
    def stored(self) -> dict[str, str]:
        return {"street": self.street, "kind": "road"}


class Checked(BaseModel):
    street: str

    @model_validator(mode="after")
    def after(self) -> Checked:
        return self


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


class Town(TypedDict):
    name: str


class Depth(TypedDict):
    depth: Nowhere  # type: ignore[name-defined]  # noqa: F821


def attrs_of(of_type: Any) -> type[Any]:
    return attrs.make_class("Model", {"field": attrs.field(type=of_type)}, frozen=True)


def pydantic_of(of_type: Any) -> type[Any]:
    return create_model("Model", field=(of_type, ...))


def load(store: Store, model: type[Any], stored: Any, **options: Any) -> Any:
    """Return the value of the field that a class makes of what an earlier version has stored."""
    store.delete_events("Model/old")
    store.apply("Model/old", {"field": stored})
    return Repository(store, model, **options)["old"].field


def fail(stored: Any) -> Any:
    raise StoreIntegrityError("the disk is gone")


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
        (pydantic_of(Open), Open(name="a")),
        (pydantic_of(Serialized), Serialized(street="a")),
        (pydantic_of(City | dict[str, int]), {"name": 1, "more": 2}),
        (pydantic_of(Street | Own), Own(street="a", city="Graz")),
        (pydantic_of(Point | Label), Label(label="a", size=1)),
        (pydantic_of(Label | Point), Point(x=1, label="a")),
        (attrs_of(list[Address | None]), [None, Address("a")]),
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
        (
            pydantic_of(Status | list[City]),
            [{"title": "Graz"}],
            {Status: {"open": "new"}, City: {"title": "name"}},
            [City(name="Graz")],
        ),
        (
            pydantic_of(Point | Label),
            {"label": 5, "note": "n"},
            {Point: {"label": lambda _: "wrong"}, Label: {"label": str}},
            Label(label="5", note="n"),
        ),
        (
            pydantic_of(City | dict[str, City]),
            {"g": {"title": "Graz"}},
            {City: {"title": "name"}},
            {"g": City(name="Graz")},
        ),
        (attrs_of(NewType("Near", Address)), {"road": "a"}, {Address: {"road": "street"}}, Address("a")),
        (attrs_of(Box[Address]), {"inside": [{"road": "a"}]}, {Address: {"road": "street"}}, Box([Address("a")])),
        (pydantic_of(list[Annotated[City, "near"]]), [{"title": "a"}], {City: {"title": "name"}}, [City(name="a")]),
        (pydantic_of(TypeAliasType("Town", City)), {"title": "a"}, {City: {"title": "name"}}, City(name="a")),
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


@in_turn(
    ("model", "stored"),
    [
        (pydantic_of(Counted), {"first": 1, "second": 2}),
        (pydantic_of(Square), {"side": 3, "area": 9}),
        (pydantic_of(Street | int), {"street": "a"}),
        (pydantic_of(Checked), {"street": "a"}),
        (attrs_of(Town), {"name": "a"}),
    ],
)
def test_an_unknown_field_is_an_error(store: Store, model: type[Any], stored: Any) -> None:
    with pytest.raises(StoreModelError, match=r"'field\.odd': .* has no such field"):
        load(store, model, {**stored, "odd": 1})


def test_a_class_whose_fields_nobody_knows_has_no_table(store: Store) -> None:
    with pytest.raises(TypeError, match="upcast: Open can have no table, since Open allows extra values"):
        Repository(store, pydantic_of(Open), upcast={Open: {"title": "name"}})


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


def test_a_converter_of_the_users_may_know_types_that_python_does_not_find(store: Store) -> None:
    converter = make_converter()
    converter.register_structure_hook(Size, lambda stored, _: Size(*stored))
    converter.register_unstructure_hook(Size, list)
    models = Repository(store, attrs_of(Size), converter=converter)
    assert models.create("1", field=Size(5)).field == models["1"].field == Size(5)
    converter.register_structure_hook(Depth, lambda stored, _: stored)
    converter.register_unstructure_hook(Depth, dict)
    models = Repository(store, attrs_of(Depth), converter=converter)
    assert models.create("2", field={"depth": 5}).field == models["2"].field == {"depth": 5}


@in_turn("use_alias", [False, True])
def test_a_converter_may_store_the_names_of_arguments(store: Store, use_alias: bool) -> None:
    models = Repository(store, attrs_of(Hidden), f"{use_alias}/", converter=make_converter(use_alias=use_alias))
    assert models.create("1", field=Hidden("a")) == models["1"]


class WithoutHooks:
    """A converter of the user's, which makes no hook for any type."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_structure_hook(self, of_type: Any) -> Any:
        raise self.error

    def structure(self, stored: Any, of_type: Any) -> Any:
        return of_type(**stored)

    def unstructure(self, value: Any, of_type: Any = None) -> Any:
        return attrs.asdict(value)


def test_a_converter_needs_no_hook_of_a_nested_class(store: Store) -> None:
    models = Repository(store, attrs_of(Address), converter=WithoutHooks(LookupError()))
    assert models.create("1", field=Address("a")) == models["1"]
    with pytest.raises(StoreIntegrityError, match="the disk is gone"):
        Repository(store, attrs_of(Address), converter=WithoutHooks(StoreIntegrityError("the disk is gone")))


def test_unknown_fields_are_kept_in_a_field_that_had_another_name(store: Store) -> None:
    old = {"adr": {"street": "a", "planet": "earth"}}
    store.apply("Homes/1", {"one": old, "many": [old]})
    homes = Repository(store, Homes, upcast={Home: {"adr": "address"}}, unknown="keep")
    new = Home(Address("b"))
    homes.do("1", lambda _: {"one": new, "many": [new]})
    kept = {"address": {"street": "b", "postcode": "", "planet": "earth"}}
    assert store.current("Homes/1") == {"one": kept, "many": [kept]}


def test_unknown_fields_are_kept_in_elements_that_are_tuples(store: Store) -> None:
    store.apply("Model/1", {"field": [[n, {"street": f"{n}", "planet": n}] for n in (1, 2, 3)]})
    models = Repository(store, attrs_of(list[tuple[int, Address]]), unknown="keep")
    models.do("1", lambda model: {"field": [model.field[2], (2, Address("b"))]})
    state = store.current("Model/1")
    assert state is not None
    assert [each[1].get("planet") for each in state["field"]] == [3, None]


@in_turn(
    ("of_type", "old", "new"),
    [
        (Address, 5, Address("a")),
        (list[Address], 5, [Address("a")]),
        (dict[str, Address], 5, {"x": Address("a")}),
        (tuple[int, Address], 5, (1, Address("a"))),
        (tuple[int, Address], [1, {"street": "b", "planet": "earth"}, 3], (1, Address("a"))),
        (list[Address], ["b"], [Address("a")]),
        (list[Address], [None, {"street": "b", "planet": "earth"}], [Address("a"), Address("b")]),
        (Home | Address, 5, Home(Address("a"))),
        (Home | Address, {"street": "b", "planet": "earth"}, Home(Address("a"))),
        (Address | None, {"street": "b", "planet": "earth"}, None),
    ],
)
def test_a_value_of_another_form_has_no_unknown_fields_to_keep(store: Store, of_type: Any, old: Any, new: Any) -> None:
    model = attrs_of(of_type)
    store.delete_events("Model/1")
    store.apply("Model/1", {"field": old})
    stored = make_converter().unstructure(new, of_type)
    models = Repository(store, model, upcast={"field": lambda _: stored}, unknown="keep")
    models.do("1", lambda _: {"field": new})
    assert json.dumps(store.current("Model/1")) == json.dumps({"field": stored})


NEAR = {"street": "a", "postcode": "", "planet": "earth"}


@in_turn(
    ("of_type", "old", "new", "stored"),
    [
        (list[Address | None], [None, NEAR], [Address("a"), None], [NEAR, None]),
        (dict[str, Address | None], {"x": NEAR, "y": None}, {"x": None, "y": Address("b")}, None),
        (tuple[int, Address | None], [1, NEAR], (1, None), None),
        (tuple[int, Address | None], [1, None], (1, Address("b")), None),
        (list[tuple[int, Address]], [[1, NEAR]], [(1, Address("a"))], [[1, NEAR]]),
        (Address | None, NEAR, None, None),
        (Home | Address, {"address": NEAR, "note": 1}, Address("b"), None),
        (Home | Address, NEAR, Address("a"), NEAR),
        (
            Flat,
            {"floor": 1, "note": 1},
            Flat(Address("a")),
            {"address": {"street": "a", "postcode": ""}, "floor": 0, "note": 1},
        ),
        (list[Flat], [{"floor": 1, "note": 1}], [Flat(floor=2)], [{"address": None, "floor": 2, "note": 1}]),
    ],
)
def test_unknown_fields_are_kept_where_a_value_stays(
    store: Store, of_type: Any, old: Any, new: Any, stored: Any
) -> None:
    store.delete_events("Model/1")
    store.apply("Model/1", {"field": old})
    models = Repository(store, attrs_of(of_type), unknown="keep")
    models.do("1", lambda _: {"field": new})
    stored = make_converter().unstructure(new, of_type) if stored is None else stored
    assert json.dumps(store.current("Model/1")) == json.dumps({"field": stored})


@in_turn(
    ("news", "notes"),
    [
        ([Three(1, 20, 30)], [20]),
        ([Three(0, 0, 0), Three(5, 5, 5), Three(5, 5, 5)], [None, 50, 51]),
        ([Three(9, 10, 9), Three(9, 9, 10)], [10, None]),
        ([Three(10, 20, 9)], [10]),
        ([Three(5, 5, 9)], [None]),
    ],
)
def test_unknown_fields_follow_the_element_with_the_most_telling_values(
    store: Store, news: list[Three], notes: list[int | None]
) -> None:
    """A value that several elements have tells none of them apart, and each element is the same as one other."""
    rows = [(10, 10, 10, 10), (1, 2, 3, 1), (2, 20, 30, 20), (5, 5, 5, 50), (5, 5, 5, 51)]
    names = ("one", "two", "three", "note")
    store.delete_events("Model/1")
    store.apply("Model/1", {"field": [dict(zip(names, row, strict=True)) for row in rows]})
    models = Repository(store, attrs_of(list[Three]), unknown="keep")
    models.do("1", lambda _: {"field": news})
    state = store.current("Model/1")
    assert state is not None
    assert [each.get("note") for each in state["field"]] == notes


def test_a_field_that_a_converter_omits_is_not_kept(store: Store) -> None:
    store.apply("Model/1", {"field": {"address": NEAR, "floor": 3}})
    models = Repository(store, attrs_of(Flat), converter=make_converter(omit_if_default=True), unknown="keep")
    models.do("1", lambda _: {"field": Flat(floor=4)})
    assert store.current("Model/1") == {"field": {"floor": 4}}


def test_fields_of_a_class_with_a_validator_of_its_own_are_not_kept(store: Store) -> None:
    store.apply("Model/1", {"field": {"street": "a", "road": "b"}})
    models = Repository(store, pydantic_of(Own), unknown="keep")
    models.do("1", lambda _: {"field": Own(street="c")})
    assert store.current("Model/1") == {"field": {"street": "c", "city": ""}}


@in_turn("upcast", [{"field": fail}, {"field.name": fail}, {Town: {"name": fail}}])
def test_a_failing_store_is_no_matter_of_a_row(store: Store, upcast: Any) -> None:
    with pytest.raises(StoreIntegrityError, match="the disk is gone"):
        load(store, attrs_of(Town), {"name": "a"}, upcast=upcast)


def test_a_fault_is_that_of_the_value_also_if_the_store_fails_meanwhile(store: Store) -> None:
    errors = [StoreIntegrityError("the disk is gone"), ValueError()]

    @attrs.frozen
    class Failing:
        name: str

        def __attrs_post_init__(self) -> None:
            raise errors.pop()

    with pytest.raises(StoreModelError, match=r"is no Failing \(ValueError\); correct it"):
        load(store, attrs_of(Failing), {"name": "a"})
