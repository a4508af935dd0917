"""Classes that change: values of enums, fields of nested classes, types and places, and what newer versions store."""

from __future__ import annotations

import dataclasses
import operator
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, computed_field, create_model, model_validator

from rstore import Repository, Store, StoreIntegrityError, StoreModelError
from tests.conftest import in_turn

T = TypeVar("T")


class Status(Enum):
    NEW = "new"
    PAID = "paid"


STATUS = {Status: {"open": Status.NEW, "settled": "paid", "fresh": "open"}}


@attrs.frozen
class Address:
    street: str
    postcode: str = ""
    status: Status = Status.NEW


@dataclasses.dataclass(frozen=True)
class Line:
    article: str
    price: Decimal = Decimal(0)


class Pair(NamedTuple):
    first: Status
    second: PydanticAddress


@attrs.frozen
class Box(Generic[T]):
    inside: T


@attrs.frozen
class Home:
    address: Address


@attrs.frozen
class Tree:
    label: str
    below: list[Tree] = attrs.field(factory=list)


@attrs.frozen
class Order:
    address: Address | None = None
    status: Status = Status.NEW
    all: list[Status] = attrs.field(factory=list)
    by: dict[Status, Address] = attrs.field(factory=dict)
    some: frozenset[Status] = frozenset()
    lines: tuple[Line, ...] = ()
    bag: frozenset[Line] = frozenset()
    two: tuple[Status, Address] | None = None
    box: Box[Address] | None = None
    tree: Tree | None = None
    number: Decimal = Decimal(0)
    zip: str = ""


@dataclasses.dataclass
class Plain:
    address: Address | None = None
    status: Status = Status.NEW
    all: list[Status] = dataclasses.field(default_factory=list)
    by: dict[Status, Address] = dataclasses.field(default_factory=dict)


class PydanticAddress(BaseModel):
    street: str
    postcode: str = ""
    status: Status = Status.NEW


class PydanticOrder(BaseModel):
    address: PydanticAddress | None = None
    status: Status = Status.NEW
    all: list[Status] = []
    by: dict[Status, PydanticAddress] = {}


class PydanticPair(BaseModel):
    pair: Pair


@attrs.frozen
class Mixed:
    address: PydanticAddress
    many: list[PydanticAddress] = attrs.field(factory=list)


MODELS: list[tuple[Any, Any]] = [(Order, Address), (Plain, Address), (PydanticOrder, PydanticAddress)]


def load(store: Store, model: Any, state: dict[str, Any], **options: Any) -> Any:
    """Return the instance that a class makes of what an earlier version has stored."""
    store.delete_events("x/k")
    store.apply("x/k", state)
    return Repository(store, model, "x/", **options)["k"]


class TestEnums:
    @in_turn(("model", "address"), MODELS)
    def test_old_values_are_members_wherever_they_are(self, store: Store, model: Any, address: Any) -> None:
        old = {
            "status": "fresh",
            "all": ["settled", "new", "open"],
            "by": {"settled": {"street": "a", "status": "open"}},
            "address": {"street": "b", "status": "settled"},
        }
        found = load(store, model, old, upcast=STATUS)
        assert (found.status, found.all) == (Status.NEW, [Status.PAID, Status.NEW, Status.NEW])
        assert found.by == {Status.PAID: address(street="a")}
        assert found.address == address(street="b", status=Status.PAID)

    def test_in_tuples_sets_and_generic_classes(self, store: Store) -> None:
        near = {"street": "a", "status": "settled"}
        old = {"some": ["open"], "two": ["settled", near], "box": {"inside": near}}
        found, a = load(store, Order, old, upcast=STATUS), Address("a", status=Status.PAID)
        assert (found.some, found.two) == (frozenset({Status.NEW}), (Status.PAID, a))
        assert found.box == Box(a)
        pair = load(store, PydanticPair, {"pair": ["open", near]}, upcast=STATUS).pair
        assert pair == Pair(Status.NEW, PydanticAddress(street="a", status=Status.PAID))

    def test_a_decision_stores_the_value_of_now(self, store: Store) -> None:
        store.apply("Order/1", {"status": "open", "all": ["open"]})
        orders = Repository(store, Order, upcast=STATUS)
        orders.do("1", lambda order: {"all": (operator.add, [Status.PAID])})
        assert store.current("Order/1") == {"status": "open", "all": ["new", "paid"]}

    def test_a_value_of_no_member_says_where_and_what_to_do(self, store: Store) -> None:
        with pytest.raises(StoreModelError, match=r"upcast=\{Status: \.\.\.\} what its earlier values are now"):
            load(store, Order, {"status": "lost"}, upcast=STATUS)
        with pytest.raises(StoreModelError, match=r"'address': .* in 'address.status'\); say in upcast=\{Status"):
            load(store, Order, {"address": {"street": "a", "status": "lost"}})
        with pytest.raises(StoreModelError, match=r"in 'all\[1\]'\); say in upcast=\{Status"):
            load(store, Order, {"all": ["new", []]})

    def test_values_may_be_numbers(self, store: Store) -> None:
        level = Enum("Level", {"LOW": 1, "HIGH": 2})
        model = attrs.make_class("Model", {"level": attrs.field(type=level)}, frozen=True)
        assert load(store, model, {"level": 0}, upcast={level: {0: 1}}).level is level.LOW  # type: ignore[attr-defined]

    @in_turn(
        "table",
        [
            {"new": "paid"},
            {Status.NEW: "paid"},
            {"a": "b"},
            {"a": "b", "b": "a"},
            {"a": ["b"]},
            {"a": (["b"],)},
            {"a": "b", "b": "c", "c": "b"},
        ],
    )
    def test_tables_are_checked(self, store: Store, table: Any) -> None:
        with pytest.raises(ValueError, match=r"upcast: .*Status"):
            Repository(store, Order, upcast={Status: table})


class TestNestedClasses:
    @in_turn(("model", "address"), MODELS)
    def test_their_fields_are_renamed_gone_or_made_anew(self, store: Store, model: Any, address: Any) -> None:
        table = {"zip": "postcode", "planet": None, "road": lambda road: {"street": road.title()}}
        old = {"address": {"road": "main", "zip": "1", "planet": "earth"}, "by": {"new": {"street": "b", "zip": "2"}}}
        found = load(store, model, old, upcast={address: table})
        assert found.address == address(street="Main", postcode="1")
        assert found.by == {Status.NEW: address(street="b", postcode="2")}

    def test_in_lists_tuples_and_in_themselves(self, store: Store) -> None:
        old = {
            "lines": [{"name": "a", "price": "1"}, {"article": "b"}],
            "two": ["new", {"street": "c", "zip": "3"}],
            "box": {"content": {"street": "d", "zip": "4"}},
            "tree": {"name": "e", "below": [{"label": "f"}, {"name": "g", "below": [{"name": "h"}]}]},
        }
        upcast = {
            Address: {"zip": "postcode"},
            Line: {"name": "article"},
            Box: {"content": "inside"},
            Tree: {"name": "label"},
        }
        found = load(store, Order, old, upcast=upcast)
        assert found.lines == (Line("a", Decimal(1)), Line("b"))
        assert (found.two, found.box) == ((Status.NEW, Address("c", "3")), Box(Address("d", "4")))
        assert found.tree == Tree("e", [Tree("f"), Tree("g", [Tree("h")])])

    def test_an_attrs_class_around_pydantic_models(self, store: Store) -> None:
        old = {"address": {"road": "a"}, "many": [{"road": "b", "status": "open"}]}
        found = load(store, Mixed, old, upcast={PydanticAddress: {"road": "street"}, **STATUS})
        assert found == Mixed(PydanticAddress(street="a"), [PydanticAddress(street="b")])

    def test_the_class_of_a_union_is_the_one_with_most_of_the_fields(self, store: Store) -> None:
        @attrs.frozen
        class Card:
            number: str
            kind: Literal["card"] = "card"

        @attrs.frozen
        class Cash:
            amount: int
            kind: Literal["cash"] = "cash"

        model = attrs.make_class("Sale", {"paid": attrs.field(type=Card | Cash)}, frozen=True)
        upcast = {Card: {"digits": "number"}, Cash: {"sum": "amount"}}
        assert load(store, model, {"paid": {"digits": "1", "kind": "card"}}, upcast=upcast).paid == Card("1")
        assert load(store, model, {"paid": {"sum": 5, "kind": "cash"}}, upcast=upcast).paid == Cash(5)
        with pytest.raises(StoreModelError, match=r"'paid\.currency': Cash has no such field"):
            load(store, model, {"paid": {"amount": 5, "kind": "cash", "currency": "EUR"}})

    @in_turn("table", [{"street": "postcode"}, {"zip": "plz"}, {"a": "b", "b": "a"}, {"street": None}])
    def test_tables_are_checked(self, store: Store, table: Any) -> None:
        with pytest.raises(ValueError, match="upcast: "):
            Repository(store, Order, upcast={Address: table})

    def test_an_error_says_where(self, store: Store) -> None:
        with pytest.raises(StoreModelError, match=r"'box\.inside': upcast of 'zip' fails: ZeroDivisionError"):
            load(store, Order, {"box": {"inside": {"zip": 1}}}, upcast={Address: {"zip": lambda old: {"a": 1 / 0}}})
        tree = {"label": "a", "below": [{"label": "b"}, {"name": "c"}]}
        with pytest.raises(StoreModelError, match=r"'tree.below\[1\]': upcast of 'name' gives 'x': no field of Tree"):
            load(store, Order, {"tree": tree}, upcast={Tree: {"name": lambda old: {"x": 1}}})


class TestItems:
    def test_a_field_of_another_type_has_a_function_of_its_value(self, store: Store) -> None:
        upcast = {"number": str}
        assert load(store, Order, {"number": 5}, upcast=upcast).number == Decimal(5)
        orders = Repository(store, Order, "x/", upcast=upcast)
        assert orders.do("k", lambda order: {"number": (operator.add, Decimal("1.5"))}).number == Decimal("6.5")
        assert orders["k"].number == Decimal("6.5")
        assert load(store, Order, {"address": {"street": 7}}, upcast={"address.street": str}).address == Address("7")

    def test_a_path_leads_into_nested_classes_and_out_of_them(self, store: Store) -> None:
        upcast: dict[str, Any] = {"address.zip": "address.postcode"}
        assert load(store, Order, {"address": {"street": "a", "zip": "1"}}, upcast=upcast).address == Address("a", "1")
        assert load(store, Order, {"address": None}, upcast=upcast).address is None
        found = load(store, Order, {"address": {"street": "a", "plz": "1"}}, upcast={"address.plz": "zip"})
        assert (found.address, found.zip) == (Address("a"), "1")
        upcast = {"road": "address.street", "plz": "address.postcode"}
        assert load(store, Order, {"road": "a", "plz": "1"}, upcast=upcast).address == Address("a", "1")
        assert load(store, Order, {"address": None, "plz": "1"}, upcast={"plz": "address.postcode"}).address is None
        upcast = {"home": "address", "address.plz": "address.postcode"}
        assert load(store, Order, {"home": {"street": "a", "plz": "1"}}, upcast=upcast).address == Address("a", "1")

    def test_a_new_name_may_itself_be_an_old_one(self, store: Store) -> None:
        upcast = {"plz": "zip_code", "zip_code": "zip", "zip": str, "nr": lambda nr: {"plz": nr}, "gone": None}
        for old in ({"zip": 1}, {"zip_code": 1}, {"plz": 1}, {"nr": 1}, {"nr": 2, "plz": 1}, {"plz": 2, "zip_code": 1}):
            assert load(store, Order, {**old, "gone": 1}, upcast=upcast).zip == "1"

    def test_functions_that_go_in_circles_are_an_error(self, store: Store) -> None:
        upcast = {"a": "b", "b": lambda old: {"c": old}, "c": lambda old: {"b": old}}
        with pytest.raises(StoreModelError, match="again and again"):
            load(store, Order, {"a": 1, "zip": "1"}, upcast=upcast)

    def test_a_name_with_a_dot_is_no_path_where_no_field_begins_it(self, store: Store) -> None:
        assert load(store, Order, {"a.b": "1"}, upcast={"a.b": "zip"}).zip == "1"

    @in_turn(
        ("error", "table"),
        [
            (ValueError, {"address.status": None}),
            (ValueError, {"zip.code": "zip"}),
            (ValueError, {"lines.name": "lines.article"}),
            (ValueError, {"a": "address.nowhere"}),
            (ValueError, {"a": "b", "b": "a"}),
            (ValueError, {"a": "b", "b": "c", "c": "b"}),
            (TypeError, {"a": 5}),
            (TypeError, {Address: {"a": 5}}),
            (TypeError, {int: {"a": "b"}}),
            (TypeError, {Status: "paid"}),
            (TypeError, {5: "zip"}),
        ],
    )
    def test_tables_are_checked(self, store: Store, error: type[Exception], table: Any) -> None:
        with pytest.raises(error, match="upcast: "):
            Repository(store, Order, upcast=table)


class TestUnknownFields:
    """Of nested classes, as a newer version of the program stores them."""

    NEAR: ClassVar = {"street": "a", "postcode": "1", "status": "new", "planet": "earth"}

    @in_turn(("model", "address"), MODELS)
    def test_by_default_they_are_an_error(self, store: Store, model: Any, address: Any) -> None:
        name = address.__name__
        with pytest.raises(StoreModelError, match=rf"field 'address.planet': {name} has no such field: say in upcast="):
            load(store, model, {"address": self.NEAR})
        with pytest.raises(StoreModelError, match=r"field 'by\.new\.planet'"):
            load(store, model, {"by": {"new": self.NEAR}})
        with pytest.raises(StoreModelError, match="planet"):
            Repository(store, model, "x/").at(2**62)["k"]

    def test_an_error_says_which_element_has_one(self, store: Store) -> None:
        with pytest.raises(StoreModelError, match=r"field 'lines\[1\]\.note': Line has no such field"):
            load(store, Order, {"lines": [{"article": "a"}, {"article": "b", "note": 1}]})

    @in_turn(("model", "address"), MODELS)
    def test_kept_they_are_written_back(self, store: Store, model: Any, address: Any) -> None:
        state = {"address": self.NEAR, "by": {"new": self.NEAR, "paid": self.NEAR}}
        assert load(store, model, state, unknown="keep").address == address(street="a", postcode="1")
        orders = Repository(store, model, "x/", unknown="keep")
        near, far = address(street="a", postcode="2"), address(street="b")
        orders.do("k", lambda order: {"address": near, "by": {**order.by, Status.NEW: far}})
        assert store.current("x/k") == {
            "address": {**self.NEAR, "postcode": "2"},
            "by": {"new": {**self.NEAR, "street": "b", "postcode": ""}, "paid": self.NEAR},
        }

    @in_turn(("model", "address"), MODELS)
    def test_kept_they_follow_a_key_that_had_another_value(self, store: Store, model: Any, address: Any) -> None:
        load(store, model, {"by": {"settled": self.NEAR}}, upcast=STATUS, unknown="keep")
        orders = Repository(store, model, "x/", upcast=STATUS, unknown="keep")
        orders.do("k", lambda order: {"by": {Status.PAID: address(street="b", postcode="1")}})
        assert store.current("x/k") == {"by": {"paid": {**self.NEAR, "street": "b"}}}

    def test_dropped_they_go_when_their_field_is_stored_again(self, store: Store) -> None:
        load(store, Order, {"address": self.NEAR, "zip": "1"}, unknown="drop")
        orders = Repository(store, Order, "x/", unknown="drop")
        orders.do("k", lambda order: {"zip": "2"})
        assert store.current("x/k") == {"address": self.NEAR, "zip": "2"}
        orders.do("k", lambda order: {"address": attrs.evolve(order.address, street="b")})
        assert store.current("x/k")["address"] == {"street": "b", "postcode": "1", "status": "new"}

    @in_turn(
        ("change", "left"),
        [
            (lambda lines: [*lines, Line("new")], ["a1", "b2", "c3", "new"]),
            (lambda lines: [lines[2], lines[0]], ["c3", "a1"]),
            (lambda lines: [lines[0], Line("b", Decimal(9)), lines[2]], ["a1", "b2", "c3"]),
            (lambda lines: [lines[0], Line("x", Decimal(9)), lines[2]], ["a1", "x2", "c3"]),
            (lambda lines: [Line("b", Decimal(9)), lines[2]], ["b2", "c3"]),
            (lambda lines: [lines[1], lines[2], Line("d", Decimal(9))], ["b2", "c3", "d"]),
            (lambda lines: [Line("b", Decimal(9)), Line("c", Decimal(9))], ["b2", "c3"]),
            (lambda lines: [lines[1], Line("a", Decimal(9)), lines[2]], ["b2", "a1", "c3"]),
            (lambda lines: [*(Line(line.article, Decimal(0)) for line in lines), Line("d")], ["a1", "b2", "c3", "d"]),
            (lambda lines: [], []),
        ],
    )
    def test_in_a_list_they_follow_their_element(self, store: Store, change: Any, left: list[str]) -> None:
        lines = [{"article": name, "price": str(n), "note": n} for n, name in enumerate("abc", 1)]
        load(store, Order, {"lines": lines}, unknown="keep")
        orders = Repository(store, Order, "x/", unknown="keep")
        orders.do("k", lambda order: {"lines": tuple(change(order.lines))})
        state = store.current("x/k")
        assert state is not None
        assert [f"{line['article']}{line.get('note', '')}" for line in state["lines"]] == left

    def test_in_a_set_they_follow_the_values_that_only_their_element_has(self, store: Store) -> None:
        lines = [{"article": name, "price": "1", "note": name} for name in "abcdef"]
        load(store, Order, {"bag": lines}, unknown="keep")
        orders = Repository(store, Order, "x/", unknown="keep")
        orders.do("k", lambda order: {"bag": frozenset(Line(line.article, Decimal(2)) for line in order.bag)})
        state = store.current("x/k")
        assert state is not None
        assert {line["article"]: line["note"] for line in state["bag"]} == {name: name for name in "abcdef"}

    def test_a_pydantic_model_may_know_better(self, store: Store) -> None:
        class Inner(BaseModel):
            street: str

            @model_validator(mode="before")
            @classmethod
            def before(cls, stored: Any) -> Any:
                return {"street": stored["road"]} if isinstance(stored, dict) and "road" in stored else stored

        class Area(BaseModel):
            side: int

            @computed_field  # type: ignore[prop-decorator]
            @property
            def size(self) -> int:
                return self.side**2

        model = create_model("Model", inner=(Inner, ...), area=(Area, Area(side=2)))
        assert load(store, model, {"inner": {"road": "a"}}).inner == Inner(street="a")
        models = Repository(store, model, "x/")
        assert models.create("2", inner=Inner(street="a"), area=Area(side=3)) == models["2"]

    def test_a_converter_may_tag_the_classes_of_a_union(self, store: Store) -> None:
        from cattrs.preconf.json import make_converter
        from cattrs.strategies import configure_tagged_union

        either, converter = Address | Tree, make_converter()
        configure_tagged_union(either, converter)
        model = attrs.make_class("Model", {"either": attrs.field(type=either)}, frozen=True)
        models = Repository(store, model, converter=converter)
        assert models.create("1", either=Tree("a")).either == models["1"].either == Tree("a")

    def test_a_field_with_an_upcast_is_not_unknown(self, store: Store) -> None:
        options: Any = {"upcast": {Address: {"zip": "postcode"}}, "unknown": "keep"}
        load(store, Order, {"address": {"street": "a", "zip": "1", "planet": "earth"}}, **options)
        orders = Repository(store, Order, "x/", **options)
        orders.do("k", lambda order: {"address": attrs.evolve(order.address, street="b")})
        assert store.current("x/k") == {"address": {**self.NEAR, "street": "b"}}

    def test_a_converter_of_the_users_may_know_better(self, store: Store) -> None:
        from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
        from cattrs.preconf.json import make_converter

        converter = make_converter()
        rename = {"street": override(rename="road")}
        converter.register_structure_hook(Address, make_dict_structure_fn(Address, converter, **rename))
        converter.register_unstructure_hook(Address, make_dict_unstructure_fn(Address, converter, **rename))
        orders = Repository(store, Home, converter=converter)
        assert orders.create("1", address=Address("a")).address == orders["1"].address == Address("a")
        converter = make_converter()
        converter.register_structure_hook(Address, lambda stored, _: Address(stored["s"]))
        converter.register_unstructure_hook(Address, lambda address: {"s": address.street})
        orders = Repository(store, Home, converter=converter)
        assert orders.create("2", address=Address("a")).address == orders["2"].address == Address("a")
        assert orders.at(2**62)["2"].address == Address("a")

    def test_a_failing_store_is_no_matter_of_an_argument(self, store: Store) -> None:
        from cattrs.preconf.json import make_converter

        def look(home: Home, line: Line) -> None: ...

        def fail(line: Line) -> Any:
            raise StoreIntegrityError("the disk is gone")

        converter = make_converter()
        converter.register_unstructure_hook(Line, fail)
        homes = Repository(store, Home, converter=converter)
        homes.create("1", address=Address("a"))
        with pytest.raises(StoreIntegrityError, match="the disk is gone"):
            homes.do("1", look, Line("a"))


MEMBERS = {"a": Status.NEW, "b": Status.PAID}


@st.composite
def versions(draw: st.DrawFn) -> tuple[Any, dict[Any, Any], st.SearchStrategy[tuple[Any, Any]]]:
    """Return a random type, tables for it, and a strategy of stored forms of an old version with their values now."""
    old_values = draw(st.dictionaries(st.sampled_from("stuv"), st.sampled_from(list(Status)), max_size=4))
    statuses = {**{each.value: each for each in Status}, **old_values}
    enums: st.SearchStrategy[tuple[Any, Any]] = st.sampled_from(list(statuses.items()))
    upcast: dict[Any, Any] = {Status: {old: draw(st.sampled_from([new, new.value])) for old, new in old_values.items()}}
    numbers = st.integers(0, 9).map(lambda n: (n, n))

    def grow(of_type: Any, pairs: Any) -> tuple[Any, Any]:
        kind = draw(st.sampled_from(["list", "tuple", "dict", "optional", "class"]))
        if kind == "list":
            return list[of_type], st.lists(pairs, max_size=3).map(
                lambda rows: [[r[0] for r in rows], [r[1] for r in rows]]
            )
        if kind == "tuple":
            both = st.tuples(numbers, pairs)
            return tuple[int, of_type], both.map(lambda rows: ([r[0] for r in rows], tuple(r[1] for r in rows)))
        if kind == "dict":
            some = st.dictionaries(st.sampled_from("xyz"), pairs, max_size=2)
            return dict[str, of_type], some.map(
                lambda d: ({k: v[0] for k, v in d.items()}, {k: v[1] for k, v in d.items()})
            )
        if kind == "optional":
            return of_type | None, st.one_of(st.just((None, None)), pairs)
        return grown_class(of_type, pairs)

    def grown_class(of_type: Any, pairs: Any) -> tuple[Any, Any]:
        made = attrs.make_class("Nested", {"n": attrs.field(type=int), "inner": attrs.field(type=of_type)}, frozen=True)
        names = draw(
            st.fixed_dictionaries({"n": st.sampled_from(["n", "m"]), "inner": st.sampled_from(["inner", "in"])})
        )
        gone = draw(st.booleans())
        upcast[made] = {old: new for new, old in names.items() if old != new} | ({"gone": None} if gone else {})

        def both(row: Any) -> tuple[Any, Any]:
            (old_n, n), (old_inner, inner) = row
            stored = {names["n"]: old_n, names["inner"]: old_inner} | ({"gone": 1} if gone else {})
            return stored, made(n, inner)

        return made, st.tuples(numbers, pairs).map(both)

    of_type, pairs = Status, enums
    for _ in range(draw(st.integers(0, 4))):
        of_type, pairs = grow(of_type, pairs)
    return of_type, upcast, pairs


@settings(max_examples=150, deadline=None)
@given(data=st.data(), version=versions())
def test_random_models_with_random_tables(data: st.DataObject, version: Any) -> None:
    of_type, upcast, pairs = version
    stored, value = data.draw(pairs)
    model = attrs.make_class("Model", {"field": attrs.field(type=of_type)}, frozen=True)
    with Store("memory://", frozen=False) as store:
        store.apply("Model/k", {"field": stored})
        for unknown in ("error", "keep", "drop"):
            models = Repository(store, model, upcast=upcast, unknown=unknown)  # type: ignore[arg-type]
            assert models["k"].field == value
            assert models.do("k", lambda each: {"field": value}).field == value
        assert Repository(store, model)["k"].field == value, "stored anew, it needs no table"


@pytest.mark.parametrize("of", [0, 1, 2], ids=["attrs", "dataclass", "pydantic"])
def test_a_part_of_what_an_earlier_version_stored_is_decided_on(store: Store, of: int) -> None:
    """The first decision stores the address as it is now, and with it what a newer version knows; then parts do."""
    model, address = MODELS[of]
    store.apply(f"{model.__name__}/1", {"address": {"street": "Ring 1", "zip": "8010", "floor": 2}})
    orders = Repository(store, model, upcast={address: {"zip": "postcode"}}, unknown="keep")
    for street in "Allee 7", "Gasse 9":
        decided: Any = orders.do("1", lambda order, to=street: {"address.street": to})
        assert decided == orders["1"]
        assert (decided.address.street, decided.address.postcode) == (street, "8010")
        stored = store.current(f"{model.__name__}/1")
        assert stored is not None
        assert (stored["address"]["street"], stored["address"]["postcode"]) == (street, "8010")
        assert (stored["address"]["floor"], "zip" in stored["address"]) == (2, False)
    assert [change.op for change in orders.history("1")] == ["setitem", "setitem", "update_in"]


def test_a_part_of_a_field_that_had_another_name_is_decided_on(store: Store) -> None:
    store.apply("Order/1", {"home": {"street": "Ring 1"}})
    orders = Repository(store, Order, upcast={"home": "address"})
    assert orders.do("1", lambda order: {"address.street": "Allee 7"}).address == Address("Allee 7")
    assert orders.do("1", lambda order: {"address.postcode": "8010"}).address == Address("Allee 7", "8010")
    assert [(change.item, change.op) for change in orders.history("1")] == [
        *(("home", "setitem"), ("address", "setitem"), ("address", "update_in")),
    ]
