"""Decisions on parts of a field: what is inside of nested classes, dicts and lists."""

from __future__ import annotations

import datetime
import operator
from collections import OrderedDict, defaultdict
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import cattrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstore import (
    JsonStore,
    MsgpackStore,
    Repository,
    Store,
    StoreIntegrityError,
    StoreModelError,
    StoreNotAvailableError,
)
from rstore.admin.check import check
from rstore.domain.operators import update_in
from rstore.repository.paths import updated
from rstore.text.describe import describe
from tests.conftest import Backend, in_turn


@attrs.frozen
class Address:
    street: str
    city: str = attrs.field(default="Wien", validator=attrs.validators.min_len(2))
    _zip: str = "1010"


@dataclass(frozen=True)
class Line:
    article: str
    price: Decimal = Decimal(0)
    on: datetime.date | None = None


class Numbers(list[int]):
    """A list of a class of its own."""


class Size(NamedTuple):
    width: int
    height: int


@attrs.frozen
class Shop:
    address: Address | None = None
    lines: tuple[Line, ...] = ()
    levels: dict[str, int] = attrs.Factory(dict)
    prices: dict[str, dict[str, Decimal]] = attrs.Factory(dict)
    counts: dict[int, int] = attrs.Factory(dict)
    days: dict[datetime.date, int] = attrs.Factory(dict)
    anything: Any = None
    name: str = "shop"


DAY = datetime.date(2026, 5, 1)
FULL = Shop(
    Address("Lendplatz 1"),
    (Line("tea", Decimal("1.10"), DAY), Line("milk")),
    {"apple": 5, "a.b": 1},
    {"at": {"tea": Decimal(1)}},
    {5: 1},
    {DAY: 1},
    {"x": [1, {"y": 2}]},
)
VALUES = {field.name: getattr(FULL, field.name) for field in attrs.fields(Shop)}

DECIDED: list[tuple[Any, Any, str, Any, Any]] = [
    ("address.city", "Graz", "address", [["city"], "setitem", "Graz"], Address("Lendplatz 1", "Graz")),
    ("address._zip", "8010", "address", [["_zip"], "setitem", "8010"], Address("Lendplatz 1", zip="8010")),
    ("lines.0.price", (operator.add, Decimal("0.40")), "lines", [[0, "price"], "decimal.add", "0.40"], Decimal("1.50")),
    (("lines", -1, "price"), Decimal(9), "lines", [[1, "price"], "setitem", "9"], Decimal(9)),
    ("lines.0.on", (operator.add, datetime.timedelta(1)), "lines", [[0, "on"], "date.add", 86_400_000_000], None),
    ("lines.1", (operator.delitem, None), "lines", [[1], "delitem", None], FULL.lines[:1]),
    ("lines.0.price", (operator.delitem, None), "lines", [[0, "price"], "setitem", "0"], Decimal(0)),
    ("levels.apple", (operator.sub, 3), "levels", [["apple"], "sub", 3], {"apple": 2, "a.b": 1}),
    ("levels.pear", 4, "levels", [["pear"], "setitem", 4], {"apple": 5, "a.b": 1, "pear": 4}),
    (("levels", "a.b"), (operator.neg, None), "levels", [["a.b"], "neg", None], {"apple": 5, "a.b": -1}),
    ("levels.apple", (operator.delitem, None), "levels", [["apple"], "delitem", None], {"a.b": 1}),
    ("prices.at.tea", (operator.mul, 2), "prices", [["at", "tea"], "decimal.mul", "2"], {"at": {"tea": Decimal(2)}}),
    ("counts.5", (operator.add, 1), "counts", None, {5: 2}),
    (("days", DAY), (operator.add, 1), "days", [["2026-05-01"], "add", 1], {DAY: 2}),
    ("anything.x.1.y", 3, "anything", [["x", 1, "y"], "setitem", 3], {"x": [1, {"y": 3}]}),
]


@pytest.mark.parametrize("cls", [Store, JsonStore, MsgpackStore])
def test_a_part_is_changed_by_an_event_of_its_own(backend: Backend, key: str | None, cls: type[Store]) -> None:
    store = backend.store(cls, key=key)
    shops = Repository(store, Shop)
    for number, (name, change, item, value, result) in enumerate(DECIDED):
        shops.create(f"{number}", **VALUES)
        changed = shops.do(f"{number}", lambda _, name=name, change=change: {name: change})  # type: ignore[misc]
        last = shops.history(f"{number}")[-1]
        assert last.item == item, name
        assert value is None or (last.op, last.value) == ("update_in", value), name
        assert changed == shops[f"{number}"] == Repository(backend.store(cls, key=key), Shop)[f"{number}"]
        assert result in (None, getattr(changed, item), changed.lines[0].price, changed.lines[-1].price), name
        others = attrs.evolve(changed, **{item: getattr(FULL, item)})
        assert others == FULL, name
    assert list(check(store)) == []


def test_two_parts_at_once_and_the_whole_with_a_part(store: Store) -> None:
    shops = Repository(store, Shop)
    shops.create("s", **VALUES)
    shops.do("s", lambda _: {"address.city": "Graz", "address.street": "Ring 2", "levels.apple": (operator.add, 1)})
    changes = [(change.item, change.value) for change in shops.history("s")[-3:]]
    assert changes == [
        ("address", [["city"], "setitem", "Graz"]),
        ("address", [["street"], "setitem", "Ring 2"]),
        ("levels", [["apple"], "add", 1]),
    ]
    assert [describe(change) for change in shops.history("s")[-3:]] == [
        "address.city = Graz",
        "address.street = Ring 2",
        "levels.apple += 1",
    ]
    both = shops.do("s", lambda _: {"address": Address("Weg 1"), "address.city": "Wels"})
    assert both.address == shops["s"].address == Address("Weg 1", "Wels")
    assert describe(shops.history("s")[-1]).startswith('address = {"street":"Weg 1"'), "set once, to its final value"
    assert shops.history("s")[-2].value == [["apple"], "add", 1]
    grown = shops.do("s", lambda _: {"prices.new": {}, "prices.new.tea": Decimal(3)})
    assert grown.prices["new"] == shops["s"].prices["new"] == {"tea": Decimal(3)}


def test_parts_that_come_in_late_change_what_was_decided_later(store: Store) -> None:
    shops = Repository(store, Shop)
    shops.when(t=1000).create("s", **VALUES)
    shops.when(t=3000).do("s", lambda _: {"levels.apple": (operator.add, 2)})
    late = shops.when(t=2000).do("s", lambda _: {"levels.apple": (operator.mul, 10), "address.city": "Graz"})
    assert (late.levels["apple"], late.address) == (52, Address("Lendplatz 1", "Graz"))
    assert shops["s"] == late
    assert shops.past("s", 2000).levels["apple"] == 50  # type: ignore[union-attr]
    with pytest.raises(StoreIntegrityError, match=r"operator\.update_in fails on item 'levels'"):
        shops.when(t=2500).do("s", lambda _: {"levels": {}})
    assert shops["s"] == late
    assert shops.revert("s", 1000) == FULL


@in_turn(
    ("name", "change", "message"),
    [
        ("address.town", "Graz", r"field 'address\.town': .*Address has no field 'town'"),
        ("address.city.x", "Graz", r"field 'address\.city\.x': .*str has no parts"),
        ("lines.7.price", Decimal(1), r"field 'lines\.7\.price': .*no place 7 among 2"),
        ("lines.2.price", Decimal(1), r"field 'lines\.2\.price': .*no place 2 among 2"),
        (("lines", -3), Decimal(1), r"field 'lines\.-3': .*no place -3 among 2"),
        ("lines.first", Decimal(1), r"field 'lines\.first': .*no place first among 2"),
        (("lines", True), Decimal(1), r"field 'lines\.True': .*no place True among 2"),
        ("levels.pear", (operator.add, 1), r"field 'levels\.pear': operator\.add of 1 fails with KeyError"),
        ("levels.pear", (operator.delitem, None), r"field 'levels\.pear': operator\.delitem fails with KeyError"),
        ("prices.at.tea", (operator.add, "x"), r"field 'prices\.at\.tea': operator\.add of 'x' fails with TypeError"),
        ("prices.at.tea", "x", r"field 'prices'"),
        ("name.x", 1, r"field 'name\.x': .*str has no parts"),
        ("nothing.x", 1, r"'nothing\.x', which is no field of Shop"),
        ((), 1, r"\(\), which is no field"),
        (5, 1, r"5, which is no field"),
    ],
)
def test_errors_name_the_whole_path(store: Store, name: Any, change: Any, message: str) -> None:
    shops = Repository(store, Shop)
    shops.delete("s")
    shops.create("s", **VALUES)
    version = shops.version("s")
    with pytest.raises(StoreModelError, match=message):
        shops.do("s", lambda _: {name: change})
    assert shops.version("s") == version


def test_validators_of_the_nested_class_have_the_last_word(store: Store) -> None:
    shops = Repository(store, Shop)
    shops.create("s", **VALUES)
    with pytest.raises(ValueError, match="Length of 'city'") as raised:
        shops.do("s", lambda _: {"address.city": "G"})
    assert "rstore: field 'address.city' of Shop 's'; nothing was stored" in raised.value.__notes__
    shops.create("empty")
    with pytest.raises(StoreModelError, match=r"field 'address\.city': .*NoneType has no parts"):
        shops.do("empty", lambda _: {"address.city": "Graz"})


def test_containers_keep_their_class_and_are_not_changed_themselves(store: Store) -> None:
    @dataclass
    class Box:
        order: OrderedDict[str, int] = field(default_factory=OrderedDict)
        size: tuple[int, int] = (1, 2)
        numbers: list[int] = field(default_factory=list)

    boxes = Repository(store, Box)
    order, numbers = OrderedDict(a=1), [1, 2]
    boxes.create("b", order=order, numbers=numbers)
    changed = boxes.do("b", lambda _: {"order.a": 2, "size.1": 7, "numbers.0": (operator.add, 5)})
    assert changed == boxes["b"] == Box(OrderedDict(a=2), (1, 7), [6, 2])
    assert (order, numbers) == (OrderedDict(a=1), [1, 2])
    assert type(updated(order, ("a",), "add", 1)) is OrderedDict
    size = updated(Size(1, 2), (-1,), "add", 5)
    assert (type(size), size) == (Size, Size(1, 7))
    assert type(updated((1, 2), (0,), "neg", None)) is tuple
    assert type(updated(Numbers([1, 2]), (0,), "neg", None)) is Numbers
    counts = defaultdict(int, a=1)
    assert updated(counts, ("b",), "add", 1) == {"a": 1, "b": 1}
    with pytest.raises(KeyError):
        updated(counts, ("c",), "delitem", None)
    assert counts == {"a": 1}, "reading a part has made none"


def test_a_text_stands_for_a_number_that_no_text_is_equal_to() -> None:
    assert updated({5: 1}, ("5",), "add", 1) == {5: 2}
    assert updated({5: 1, "5": 1}, ("5",), "add", 1) == {5: 1, "5": 2}
    for key in (DAY, True, 5.0):
        with pytest.raises(KeyError):
            updated({key: 1}, (str(key),), "add", 1)


def test_pydantic_models_are_validated(store: Store) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        model_config = pydantic.ConfigDict(frozen=True)
        price: Decimal = pydantic.Field(alias="cost", ge=0)

    class Outer(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        inner: Inner
        more: list[Inner] = pydantic.Field(default_factory=list)

    outers = Repository(store, Outer)
    outers.create("o", inner=Inner(cost=Decimal(5)))
    one = Inner(cost=Decimal(1))
    changed = outers.do("o", lambda _: {"inner.price": (operator.sub, Decimal(2)), "more": (operator.add, [one])})
    assert changed == outers["o"] == Outer(inner=Inner(cost=Decimal(3)), more=[one])
    changes = [(change.item, change.op, change.value) for change in outers.history("o")[-2:]]
    assert changes == [
        ("inner", "update_in", [["price"], "decimal.sub", "2"]),
        ("more", "add", [{"price": "1"}]),
    ]
    with pytest.raises(pydantic.ValidationError) as raised:
        outers.do("o", lambda _: {"more.0.price": (operator.sub, Decimal(2))})
    assert any("more.0.price" in note for note in raised.value.__notes__)


def test_a_part_that_is_stored_as_it_is_keeps_its_operator(store: Store) -> None:
    shops = Repository(store, Shop)
    shops.when(t=1000).create("s", anything={"price": Decimal(1)})
    shops.when(t=3000).do("s", lambda _: {"anything.price": (operator.add, Decimal(2))})
    assert shops.history("s")[-1].value == [["price"], "add", Decimal(2)]
    assert shops.when(t=2000).do("s", lambda _: {"anything.price": Decimal(5)}).anything == {"price": Decimal(7)}


@attrs.frozen(eq=False)
class Linked:
    """A value that reads a store for all that is done to it, and fails."""

    fails_at: str
    error: type[Exception]

    def __add__(self, other: object) -> Linked:
        self._read("add")
        return attrs.evolve(self)

    def __eq__(self, other: object) -> bool:
        self._read("eq")
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def _read(self, operation: str) -> None:
        if operation == self.fails_at:
            raise self.error("no connection")


@in_turn("error", [StoreNotAvailableError, MemoryError])
def test_a_failing_store_is_no_matter_of_a_value(store: Store, error: type[Exception]) -> None:
    shops = Repository(store, Shop)
    for fails_at in ("add", "eq"):
        linked = Linked(fails_at, error)
        shops.delete("s")
        shops.create("s", anything={"x": linked})
        store.apply("Shop/whole", {"anything": linked})
        for key, name in (("s", "anything.x"), ("whole", "anything")):
            version = shops.version(key)
            with pytest.raises(error, match="no connection"):
                shops.do(key, lambda _, name=name: {name: (operator.add, 1)})  # type: ignore[misc]
            assert shops.version(key) == version
    store.apply("o", {"item": Linked("add", error)})
    with pytest.raises(error, match="no connection"):
        store.apply("o", {"item": (operator.add, 1)})


def test_values_that_can_not_be_compared_are_recorded_whole(store: Store) -> None:
    shops = Repository(store, Shop)
    shops.create("s", anything=Linked("eq", ValueError))
    shops.do("s", lambda _: {"anything": (operator.add, 1)})
    assert shops.history("s")[-1].op == "setitem"
    assert shops["s"].anything.error is ValueError


@attrs.frozen
class Tag:
    text: str


@attrs.frozen
class Words:
    tags: list[Tag] = attrs.Factory(list)


class OfTypes(cattrs.Converter):
    """A converter that needs the type of what it unstructures."""

    error: type[Exception] = NotImplementedError

    def unstructure(self, obj: Any, unstructure_as: Any = None) -> Any:
        if unstructure_as is None:
            raise self.error("of which type?")
        return super().unstructure(obj, unstructure_as)


def test_an_operand_that_the_converter_does_not_take_is_recorded_with_the_result(store: Store) -> None:
    words = Repository(store, Words, converter=OfTypes())
    words.create("w")
    assert words.do("w", lambda _: {"tags": (operator.add, [Tag("new")])}) == Words([Tag("new")]) == words["w"]
    assert words.history("w")[-1].op == "setitem"

    class Unreachable(OfTypes):
        error = StoreNotAvailableError

    with pytest.raises(StoreNotAvailableError):
        Repository(store, Words, converter=Unreachable()).do("w", lambda _: {"tags": (operator.add, [Tag("new")])})


@in_turn(
    "update",
    [
        None,
        [],
        [["a"], "setitem"],
        [[], "setitem", 1],
        ["a", "setitem", 1],
        [["a"], "unheard", 1],
        [["a"], ["add"], 1],
        [["inner"], "update_in", [["b"], "setitem", 1]],
        [["a", "b"], "setitem", 1],
        [["list", "0"], "setitem", 1],
        [["list", True], "setitem", 1],
        [["list", 5], "setitem", 1],
        [[["a"]], "setitem", 1],
        [["number"], "lshift", 10**9],
    ],
)
def test_what_is_no_update_is_refused(store: Store, update: Any) -> None:
    store.apply("o", {"item": {"a": 1, "list": [1, 2], "number": 1, "inner": {"b": 0}}})
    version = store.version("o")
    with pytest.raises(StoreIntegrityError, match=r"operator\.update_in fails on item 'item'"):
        store.apply("o", {"item": (update_in, update)})
    assert store.version("o") == version
    stored = store.history("o")[-1]._replace(op="update_in", value=update)  # by another program
    assert describe(stored).startswith("item"), "the log shows it all the same"


def test_an_update_keeps_a_tuple(store: Store) -> None:
    store.apply("o", {"item": {"pair": (1, 2)}})
    assert store.apply("o", {"item": (update_in, [["pair", 0], "add", 5])}) == {"item": {"pair": (6, 2)}}
    assert store.current("o") == {"item": {"pair": (6, 2)}}


NAMES = ("levels.a", "levels.b", "tree.x.n", "tree.x.m", "tree.y", "row.0", "row.1", "levels", "row")


@attrs.frozen
class Tree:
    levels: dict[str, int] = attrs.field(factory=lambda: {"a": 0, "b": 0})
    tree: dict[str, Any] = attrs.field(factory=lambda: {"x": {"n": 0, "m": 0}, "y": 0})
    row: list[int] = attrs.field(factory=lambda: [0, 0])


def naive(states: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Apply all decisions in order of time to plain dicts and lists."""
    found: dict[str, Any] = deepcopy(attrs.asdict(Tree()))
    for _, changes in sorted(states, key=lambda pair: pair[0]):
        for name, change in changes.items():
            *outer, last = (int(part) if part.isdecimal() else part for part in name.split("."))
            inside: Any = found
            for part in outer:
                inside = inside[part]
            inside[last] = change[0](inside[last], change[1]) if isinstance(change, tuple) else deepcopy(change)
    return found


def changes_of(name: str) -> st.SearchStrategy[Any]:
    number = st.integers(-3, 3)
    if name == "levels":
        return st.fixed_dictionaries({"a": number, "b": number})
    if name == "row":
        return st.tuples(number, number).map(list)
    return number | st.tuples(st.sampled_from([operator.add, operator.mul, operator.sub]), number)


DECISIONS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: changes_of(name) for name in names})
)


@pytest.mark.slow
@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 10**6), DECISIONS), max_size=8, unique_by=lambda pair: pair[0]))
def test_parts_fold_as_plain_dicts_do(decisions: list[tuple[int, dict[str, Any]]]) -> None:
    for cls in (Store, JsonStore):
        with cls("memory://", frozen=False) as store:
            trees = Repository(store, Tree)
            trees.when(t=0).create("t")
            for number, (time, changes) in enumerate(decisions, 1):
                trees.when(t=time).do("t", lambda _, changes=changes: changes)  # type: ignore[misc]
                assert attrs.asdict(trees["t"]) == naive(decisions[:number])
            store._core.cache.clear()
            assert attrs.asdict(trees["t"]) == naive(decisions)
            for time, _ in decisions:
                then = [pair for pair in decisions if pair[0] <= time]
                assert attrs.asdict(trees.past("t", time)) == naive(then)  # type: ignore[arg-type]
