"""Operators on fields that are stored as text: the log keeps the operator, and a late event refolds them."""

from __future__ import annotations

import copy
import datetime
import decimal
import operator
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import pytest

from rstore import Changes, JsonStore, MsgpackStore, Repository, Store, StoreFormatError, StoreIntegrityError, transfer
from rstore.admin.check import check
from rstore.domain.operators import OPERATORS
from rstore.domain.typed_operators import TYPED_OPERATORS, TypedOperator
from rstore.text.changes import parse_changes
from rstore.text.describe import describe
from tests.conftest import Backend, in_turn

DAY = datetime.timedelta(days=1)
NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)


@attrs.frozen
class Order:
    paid: Decimal = Decimal(0)
    limit: Decimal | None = None
    share: Fraction = Fraction(1, 3)
    due: datetime.date = datetime.date(2026, 5, 1)
    made: datetime.datetime = NOON
    status: str = "open"

    def pay(self, amount: Decimal) -> Changes:
        return {"paid": (operator.add, amount)}


def last(orders: Repository[Any], key: str = "o") -> tuple[str, str, Any]:
    change = orders.history(key)[-1]
    return change.item, change.op, change.value


def test_money_is_added_by_an_operator(store: Store) -> None:
    orders = Repository(store, Order)
    orders.create("o")
    assert orders.do("o", Order.pay, Decimal("5.00")).paid == Decimal("5.00")
    assert last(orders) == ("paid", "decimal.add", "5.00")
    assert store.current("Order/o")["paid"] == "5.00"  # type: ignore[index]
    assert describe(orders.history("o")[-1]) == "paid += 5.00"


@pytest.mark.parametrize("cls", [Store, JsonStore, MsgpackStore])
def test_a_late_decision_refolds_money(backend: Backend, key: str | None, cls: type[Store]) -> None:
    store = backend.store(cls, key=key)
    orders = Repository(store, Order)
    orders.when(t=1000).create("o")
    orders.when(t=3000).do("o", Order.pay, Decimal("5.25"))
    late = orders.when(t=2000).do("o", Order.pay, Decimal("0.75"))
    assert late == orders["o"] == Order(Decimal("6.00"))
    assert [orders.past("o", t) for t in (1000, 2000, 3000)] == [
        Order(),
        Order(Decimal("0.75")),
        Order(Decimal("6.00")),
    ]
    other = Repository(backend.store(cls, key=key), Order)
    assert other["o"] == late
    assert [change.op for change in orders.history("o")][-2:] == ["decimal.add"] * 2
    assert list(check(store)) == []


DECIDED: list[tuple[str, Any, str, Any, Any]] = [
    ("paid", (operator.sub, Decimal("0.10")), "decimal.sub", "0.10", Decimal("9.90")),
    ("paid", (operator.mul, 3), "decimal.mul", "3", Decimal("30.00")),
    ("paid", (operator.truediv, Decimal(3)), "decimal.truediv", "3", Decimal("3.333333333333333333333333333")),
    ("paid", (operator.floordiv, Decimal(3)), "decimal.floordiv", "3", Decimal(3)),
    ("paid", (operator.mod, Decimal(3)), "decimal.mod", "3", Decimal("1.00")),
    ("paid", (operator.neg, None), "decimal.neg", None, Decimal("-10.00")),
    ("paid", (operator.abs, None), "decimal.abs", None, Decimal("10.00")),
    ("paid", (operator.pos, None), "decimal.pos", None, Decimal("10.00")),
    ("paid", (operator.pow, 2), "setitem", "100.0000", Decimal("100.0000")),
    ("paid", (operator.add, Decimal("Infinity")), "decimal.add", "Infinity", Decimal("Infinity")),
    ("limit", (operator.add, Decimal(1)), "decimal.add", "1", Decimal(8)),
    ("share", (operator.add, Fraction(1, 6)), "fraction.add", "1/6", Fraction(1, 2)),
    ("share", (operator.mul, 3), "fraction.mul", "3", Fraction(1)),
    ("share", (operator.neg, None), "fraction.neg", None, Fraction(-1, 3)),
    ("share", (operator.pow, 2), "setitem", "1/9", Fraction(1, 9)),
    ("due", (operator.add, 3 * DAY), "date.add", 3 * 86_400_000_000, datetime.date(2026, 5, 4)),
    ("due", (operator.sub, DAY), "date.sub", 86_400_000_000, datetime.date(2026, 4, 30)),
    ("made", (operator.add, DAY / 7), "datetime.add", 12_342_857_143, NOON + DAY / 7),
    ("made", (operator.sub, DAY), "datetime.sub", 86_400_000_000, NOON - DAY),
]


@in_turn(("name", "change", "op", "value", "result"), DECIDED)
def test_each_operator_is_kept_if_it_gives_the_same(
    store: Store, name: str, change: Any, op: str, value: Any, result: Any
) -> None:
    orders = Repository(store, Order)
    orders.delete("o")
    orders.create("o", paid=Decimal("10.00"), limit=Decimal(7))
    changed = orders.do("o", lambda _: {name: change})
    assert last(orders) == (name, op, value)
    assert type(getattr(changed, name)) is type(result)
    assert getattr(changed, name) == getattr(orders["o"], name) == result


def test_what_no_text_gives_is_recorded_as_its_result(store: Store) -> None:
    orders = Repository(store, Order)
    orders.create("o", paid=Decimal(1))
    with decimal.localcontext(decimal.Context(prec=3)):
        orders.do("o", lambda _: {"paid": (operator.truediv, 3)})
    assert last(orders) == ("paid", "setitem", "0.333")
    orders.do("o", lambda _: {"made": (operator.sub, DAY), "paid": (operator.add, True)})
    assert last(orders) == ("paid", "setitem", "1.333")

    @attrs.frozen
    class Rounded:
        paid: Decimal = attrs.field(default=Decimal(0), converter=lambda paid: paid.quantize(Decimal("0.01")))

    rounded = Repository(store, Rounded)
    rounded.create("r")
    rounded.do("r", lambda _: {"paid": (operator.add, Decimal("0.005"))})
    assert last(rounded, "r") == ("paid", "setitem", "0.00")
    rounded.do("r", lambda _: {"paid": (operator.add, Decimal("0.05"))})
    assert last(rounded, "r") == ("paid", "decimal.add", "0.05")


def test_a_result_of_another_type_is_recorded(store: Store) -> None:
    @attrs.frozen
    class Level:
        height: float = attrs.field(default=0, converter=float)

    store.apply("Level/l", {"height": 1})  # another program stores an int
    levels = Repository(store, Level)
    levels.do("l", lambda _: {"height": (operator.add, 2)})
    assert last(levels, "l") == ("height", "setitem", 3.0)
    assert type(store.current("Level/l")["height"]) is float  # type: ignore[index]
    levels.do("l", lambda _: {"height": (operator.add, 2)})
    assert last(levels, "l") == ("height", "add", 2)


def test_an_item_that_is_not_stored_yet_is_set(store: Store) -> None:
    store.apply("Order/o", {"status": "open"})
    orders = Repository(store, Order)
    orders.do("o", Order.pay, Decimal(5))
    assert last(orders) == ("paid", "setitem", "5")
    store.apply("Order/o", {"paid": 7})  # another program stores a number
    orders.do("o", Order.pay, Decimal(5))
    assert last(orders) == ("paid", "setitem", "12")


def test_the_context_of_a_thread_changes_no_fold(store: Store) -> None:
    store.apply("o", {"paid": "10"}, t=1)
    divide = OPERATORS["decimal.truediv"].function
    store.apply("o", {"paid": (divide, "3")}, t=2)
    expected = store.current("o")
    with decimal.localcontext(decimal.Context(prec=2, capitals=0, traps=[decimal.Inexact])):
        assert store.past("o", 2) == expected == {"paid": "3.333333333333333333333333333"}
        with pytest.raises(StoreIntegrityError, match=r"operator\.decimal\.truediv fails on item 'paid'"):
            store.apply("o", {"paid": (divide, "a few")})
    store.apply("huge", {"paid": "1E+30"}, t=1)
    with decimal.localcontext(decimal.Context(capitals=0)):
        added = store.apply("huge", {"paid": (OPERATORS["decimal.add"].function, "1E+30")}, t=2)
        assert added == store.past("huge", 2) == {"paid": "2E+30"}


@in_turn(
    ("name", "item", "operand"),
    [
        ("decimal.add", "1", 0.5),
        ("decimal.add", 1, "1"),
        ("decimal.truediv", "1", "0"),
        ("fraction.add", "1/3", "1e999999999"),
        ("fraction.add", "1/0", "1"),
        ("fraction.mul", "9" * 4_000, "9" * 4_000),
        ("fraction.mul", "9" * 2_125, "9" * 2_125),  # Python would write it, and it would not be read
        ("fraction.mul", f"1/{'9' * 2_125}", f"1/{'9' * 2_125}"),
        ("date.add", "2026-05-01", "1"),
        ("date.add", "2026-05-01", True),
        ("date.add", "2026-05-01", 10**30),
        ("datetime.sub", "0001-01-01T00:00:00", 1),
        ("datetime.add", 5, 1),
        ("decimal.neg", None, None),
    ],
)
def test_what_is_no_such_value_is_refused(store: Store, name: str, item: Any, operand: Any) -> None:
    store.apply("o", {"item": item})
    version = store.version("o")
    with pytest.raises(StoreIntegrityError, match=rf"operator\.{name} fails on item 'item'"):
        store.apply("o", {"item": (OPERATORS[name].function, operand)})
    assert store.version("o") == version


def test_events_are_found_by_their_operator_and_can_be_applied_again(store: Store) -> None:
    orders = Repository(store, Order)
    orders.create("o")
    orders.do("o", lambda _: {"paid": (operator.add, Decimal(5)), "due": (operator.add, DAY), "status": "paid"})
    found = store.events("Order/o", ops=operator.add) or []
    assert [(event.item, event.op.__name__, event.value) for event in found] == [
        ("paid", "decimal.add", "5"),
        ("due", "date.add", 86_400_000_000),
    ]
    assert store.events("Order/o", ops=found[0].op) == found[:1]
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found
    store.apply("copy", {"paid": "1"})
    assert store.apply("copy", {"paid": pickle.loads(pickle.dumps((found[0].op, found[0].value)))}) == {"paid": "6"}


def test_diff_revert_and_views_see_texts(store: Store) -> None:
    orders = Repository(store, Order)
    orders.when(t=1).create("o")
    orders.when(t=2).do("o", Order.pay, Decimal("1.50"))
    assert orders.diff("o", 1, 2).changed == {"paid": ("0", "1.50")}
    assert orders.revert("o", 1) == Order()
    assert orders.past("o", 2) == Order(Decimal("1.50"))
    assert Repository(store.at(2**62), Order).past("o", 2) == Order(Decimal("1.50"))


def test_a_transaction_and_an_idempotency_key(store: Store) -> None:
    orders = Repository(store, Order)
    orders.create("o")
    with store.transaction():
        orders.do("o", Order.pay, Decimal(1))
        orders.do("o", Order.pay, Decimal(2))
    for _ in range(2):
        assert orders.when(once="p").do("o", Order.pay, Decimal(4)).paid == Decimal(7)
    assert [change.op for change in orders.history("o")][-3:] == ["decimal.add"] * 3


def test_they_are_copied_exported_and_imported(backend: Backend, key: str | None, tmp_path: Any) -> None:
    store, copied, imported = (backend.store(namespace=name, key=key) for name in ("one", "two", "three"))
    orders = Repository(store, Order)
    orders.create("o")
    orders.do("o", Order.pay, Decimal("2.50"))
    transfer.copy(store, copied)
    transfer.export(store, tmp_path / "all.jsonl")
    transfer.load(imported, tmp_path / "all.jsonl")
    for other in (copied, imported):
        assert Repository(other, Order)["o"] == Order(Decimal("2.50"))
        assert last(Repository(other, Order)) == ("paid", "decimal.add", "2.50")
        assert list(check(other)) == []


def test_an_operator_of_a_newer_version_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.apply("o", {"paid": "1"})
    store.apply("o", {"paid": (OPERATORS["decimal.add"].function, "1")})
    monkeypatch.setattr("rstore.models.event_states.EVENTS", {"setitem", "add"})
    store._core.cache.clear()
    with pytest.raises(StoreFormatError, match=r"'decimal\.add': a newer rstore wrote it"):
        store.current("o")


def test_the_command_takes_and_shows_them(store: Store) -> None:
    store.apply("o", {"paid": "1", "due": "2026-05-01", "made": "2026-05-01T12:00:00Z"}, t=1)
    words = ["paid:decimal.add=9.90", "due:date.add=86400000000", "made:datetime.sub=1000000"]
    assert store.apply("o", parse_changes(words), t=2) == {
        "paid": "10.90",
        "due": "2026-05-02",
        "made": "2026-05-01T11:59:59Z",
    }
    store.apply("o", parse_changes(["paid:decimal.neg"]), t=3)
    shown = ["paid += 9.90", "due += 1 day, 0:00:00", "made -= 0:00:01", "paid neg"]
    assert [describe(change) for change in store.history("o")[3:]] == shown
    assert describe(store.history("o")[3]._replace(value=[5])) == "paid decimal.add [5]"


def test_each_has_a_name_and_equals_its_copy() -> None:
    assert len({each.__name__ for each in TYPED_OPERATORS}) == len(TYPED_OPERATORS) == 21
    for each in TYPED_OPERATORS:
        assert OPERATORS[each.__name__] == (TypedOperator(each.type, each.operator), each.is_binary)


def test_pydantic_models_have_them_too(store: Store) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Bill(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        total: Decimal = Decimal(0)
        made: datetime.datetime = NOON
        due: datetime.date | None = datetime.date(2026, 5, 1)

    bills = Repository(store, Bill)
    bills.create("o")
    bills.do("o", lambda _: {name: (operator.add, x) for name, x in {"total": 1, "made": DAY, "due": DAY}.items()})
    assert bills["o"] == Bill(total=Decimal(1), made=NOON + DAY, due=datetime.date(2026, 5, 2))
    assert [change.op for change in bills.history("o")[-3:]] == ["decimal.add", "datetime.add", "date.add"]
    assert store.current("Bill/o")["made"] == "2026-05-02T12:00:00Z"  # type: ignore[index]
