"""What a repository decides has a name in the log, and arguments."""

from __future__ import annotations

import datetime
import enum
import operator
from decimal import Decimal
from fractions import Fraction
from functools import partial, wraps
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import attrs
import cattrs
import pytest

from rstore import Changes, Commit, Repository, Store
from tests.conftest import Backend


class Card(enum.Enum):
    DEBIT = "debit"


@attrs.frozen
class Line:
    article: str
    price: Decimal


@attrs.frozen
class Order:
    customer: str
    paid: Decimal = Decimal(0)
    status: str = "open"
    lines: list[Line] = attrs.Factory(list)

    def pay(self, amount: Decimal, by: Any = None, *, card: str = "") -> Changes:
        if amount <= 0:
            raise ValueError("amount must be positive")
        return {"paid": (operator.add, amount), "status": "paid"}

    def add(self, *lines: Line, **more: Any) -> Changes:
        return {"lines": [*self.lines, *lines]}

    def nothing(self) -> Changes:
        return {}


@pytest.fixture
def orders(store: Store) -> Repository[Order]:
    orders = Repository(store, Order)
    orders.create("o-1", customer="Ada")
    return orders


def last(orders: Repository[Order]) -> Commit:
    return orders.history("o-1", by="commit")[-1]


def test_a_decision_is_one_commit_with_name_and_arguments(orders: Repository[Order], store: Store) -> None:
    with store.context(who="ada"):
        orders.do("o-1", Order.pay, Decimal("20.90"), by=Card.DEBIT)
    commit = last(orders)
    assert (commit.who, commit.did, commit.arguments) == ("ada", "pay", {"amount": "20.90", "by": "debit"})
    assert [change.item for change in commit.changes] == ["paid", "status"]
    assert [change.item for change in store.log(did="pay")] == ["paid", "status"]


def test_the_other_calls_have_names_too(orders: Repository[Order], store: Store) -> None:
    orders.do("o-1", Order.pay, Decimal(1))
    orders.revert("o-1", orders.history("o-1")[0].timestamp or 0)
    orders.delete("o-1")
    assert [commit.did for commit in orders.history("o-1", by="commit")] == ["create", "pay", "revert", "delete"]

    store["stock"] = 3
    store.update_with("stock", operator.neg)
    store.update_with("stock", lambda n: n + 1)
    store.revert("stock", store.history("stock")[0].recorded, kind="kv")
    with store.context(did="by hand"):
        store.update_with("stock", operator.neg)
    assert [change.did for change in store.history("stock")][:3] == [None, "neg", None]
    assert store.history("stock")[-1].did == "by hand"
    with store.context(who="ada"):
        store.update_with("stock", operator.neg)
    assert (store.history("stock")[-1].who, store.history("stock")[-1].did) == ("ada", "neg")


def test_a_lambda_has_the_name_that_it_is_given(orders: Repository[Order], store: Store) -> None:
    orders.do("o-1", lambda order: {"status": "lost"})
    assert (last(orders).did, last(orders).arguments) == (None, None)
    with store.context(did="find"):
        orders.do("o-1", lambda order: {"status": "found"})
        assert (last(orders).did, last(orders).arguments) == ("find", None)
        orders.do("o-1", partial(Order.pay, by="cash"), Decimal(2))
    assert (last(orders).did, last(orders).arguments) == ("pay", {"amount": "2", "by": "cash"})


class Send:
    def __call__(self, order: Order, to: str) -> Changes:
        return {"status": f"sent to {to}"}


def test_any_callable_decides(orders: Repository[Order]) -> None:
    orders.do("o-1", Send(), "Graz")
    assert (last(orders).did, last(orders).arguments) == ("Send", {"to": "Graz"})


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (2**70, 2**70),
        (1.5, 1.5),
        (float("nan"), "nan"),
        ("\ud800", "\\ud800"),
        (Card.DEBIT, "debit"),
        (datetime.date(2026, 5, 1), "2026-05-01"),
        (datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC), "2026-05-01T00:00:00+00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"a": (1, {Decimal(2)})}, {"a": [1, ["2"]]}),
        (Line("book", Decimal("9.90")), {"article": "book", "price": "9.90"}),
        (print, "(builtin_function_or_method)"),
        (object(), "(object)"),
        ({"\ud800": 1, 2: None}, {"\\ud800": 1, "2": None}),
        (PurePosixPath("a\udcff"), "a\\udcff"),
        (range(10**9), "range(0, 1000000000)"),
        (memoryview(b"abc"), "(memoryview)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arguments_are_what_json_can_hold(orders: Repository[Order], value: Any, kept: Any) -> None:
    orders.do("o-1", Order.pay, Decimal(1), value)
    assert last(orders).arguments == {"amount": "1", "by": kept}


def test_numbers_that_python_does_not_write_are_kept_as_their_type(orders: Repository[Order]) -> None:
    huge = 10**5_000
    orders.do("o-1", Order.pay, Decimal(1), [huge, 10**4_200, Fraction(1, 3), Fraction(huge, 3), {huge: 1}])
    assert (last(orders).arguments or {})["by"] == ["(int)", 10**4_200, "1/3", "(Fraction)", {"(int)": 1}]


def test_arguments_of_a_partial_function_come_after_its_own(store: Store, orders: Repository[Order]) -> None:
    def pay(bank: str, order: Order, amount: Decimal, by: str) -> Changes:
        return order.pay(amount, by)

    with store.context(did="pay"):
        orders.do("o-1", partial(pay, "bank"), Decimal(1), by="card")
    assert last(orders).arguments == {"amount": "1", "by": "card"}


def test_a_class_of_an_argument_that_fails_fails_no_decision(orders: Repository[Order]) -> None:
    class Odd(list[int]):
        def __str__(self) -> str:
            raise RuntimeError

        def __iter__(self) -> Any:
            raise RuntimeError

        __hash__ = object.__hash__  # type: ignore[assignment]

    orders.do("o-1", Order.pay, Decimal(1), [Odd(), {Odd(): 2}])
    assert last(orders).arguments == {"amount": "1", "by": ["(Odd)", {"(Odd)": 2}]}


def test_values_without_end_are_kept_in_part(orders: Repository[Order]) -> None:
    endless: list[Any] = []
    endless.append(endless)
    orders.do("o-1", Order.pay, Decimal(1), endless)
    assert last(orders).arguments == {"amount": "1", "by": ["(list)"]}

    twice: list[Any] = [1]
    orders.do("o-1", Order.pay, Decimal(1), [twice, twice])
    assert last(orders).arguments == {"amount": "1", "by": [[1], [1]]}

    deep: Any = "end"
    for _ in range(100):
        deep = [deep]
    orders.do("o-1", Order.pay, Decimal(1), deep)
    assert str(last(orders).arguments) == str({"amount": "1", "by": "X"}).replace(
        "'X'", "[" * 20 + "'(list)'" + "]" * 20
    )


def test_a_branching_value_without_end_takes_no_time(orders: Repository[Order]) -> None:
    """Each level would have ten times as many values as the one before it."""
    endless: list[Any] = []
    endless += [endless] * 10
    orders.do("o-1", Order.pay, Decimal(1), {"all": endless})
    assert last(orders).arguments == {"amount": "1", "by": {"all": ["(list)"] * 10}}


def test_a_hook_of_the_converter_that_fails_fails_no_decision(store: Store) -> None:
    def hook(line: Line) -> Any:
        raise LookupError

    converter = cattrs.Converter()
    converter.register_structure_hook(Decimal, lambda value, _: value)
    converter.register_unstructure_hook(Line, hook)
    orders = Repository(store, Order, converter=converter)
    orders.create("o-1", customer="Ada")
    orders.do("o-1", Order.pay, Decimal(1), [Line("book", Decimal(9)), 2])
    assert last(orders).arguments == {"amount": "1", "by": ["(Line)", 2]}


def test_arguments_that_are_many_have_the_names_of_the_signature(orders: Repository[Order]) -> None:
    orders.do("o-1", Order.add, Line("a", Decimal(1)), Line("b", Decimal(2)), note="x")
    assert last(orders).arguments == {
        "lines": [{"article": "a", "price": "1"}, {"article": "b", "price": "2"}],
        "more": {"note": "x"},
    }


@attrs.define
class Sort:
    """A callable without a hash, since it compares by its fields."""

    by: str

    def __call__(self, order: Order, *, descending: bool = False) -> Changes:
        return {"status": f"sorted by {self.by}"}


def test_a_callable_without_a_hash_decides(orders: Repository[Order]) -> None:
    orders.do("o-1", Sort("price"), descending=True)
    assert (last(orders).did, last(orders).arguments) == ("Sort", {"descending": True})


@wraps(type)
def without_signature(order: Order, status: str) -> Changes:
    return {"status": status}


def test_arguments_without_a_signature_have_their_place_for_a_name(orders: Repository[Order]) -> None:
    orders.do("o-1", without_signature, "odd")
    assert (last(orders).did, last(orders).arguments) == ("type", {"1": "odd"})


def test_secrets_among_more_keyword_arguments_stay_out_of_the_log(store: Store) -> None:
    orders = Repository(store, Order, arguments={"add": ["card", "lines"]})
    orders.create("o-1", customer="Ada")
    orders.do("o-1", Order.add, Line("a", Decimal(1)), card="4711 0815", note="x")
    assert last(orders).arguments == {"lines": "(hidden)", "more": {"card": "(hidden)", "note": "x"}}
    orders.do("o-1", partial(Order.add, card="4711 0815"))
    assert last(orders).arguments == {"more": {"card": "(hidden)"}}


def test_secrets_stay_out_of_the_log(backend: Backend) -> None:
    store = backend.store()
    none, some = (
        Repository(store, Order, prefix=f"{hidden}/", arguments=hidden) for hidden in (False, {"pay": ["card"]})
    )  # type: ignore[arg-type]
    for orders in (none, some):
        orders.create("o-1", customer="Ada")
        orders.do("o-1", Order.pay, Decimal(1), card="4711 0815")
    assert (last(none).did, last(none).arguments) == ("pay", None)
    assert last(some).arguments == {"amount": "1", "card": "(hidden)"}
    assert not any(b"4711" in (record.meta or b"") for _, _, record in store._core.log.follow())
    assert some.at(2**53).history("o-1", by="commit")[-1].did == "pay"
    for wrong in ("card", {"pay": "card"}, None):
        with pytest.raises(TypeError, match="table of what to hide"):
            Repository(store, Order, arguments=wrong)  # type: ignore[arg-type]


def test_what_fails_or_changes_nothing_leaves_nothing(orders: Repository[Order], store: Store) -> None:
    before = list(store.log())
    with pytest.raises(ValueError, match="positive"):
        orders.do("o-1", Order.pay, Decimal(0))
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        orders.do("o-1", Order.pay)  # type: ignore[call-arg]
    assert orders.do("o-1", Order.nothing) == orders["o-1"]
    assert list(store.log()) == before
    assert store._core.note.get() is None
