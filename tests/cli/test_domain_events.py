"""Domain events on the command line: a line each, in their commits."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from typing import ClassVar

import attrs
import pytest

from rstore import Changes, Repository, Store

Say = Callable[..., str]


@attrs.frozen
class Paid:
    amount: int
    by: str = "hand"
    version: ClassVar[int] = 2

    def changes(self, order: Order) -> Changes:
        return {"paid": (operator.add, self.amount)}


@attrs.frozen
class Closed:
    def changes(self, order: Order) -> None: ...


@attrs.frozen
class Order:
    paid: int = 0

    def pay(self, amount: int, by: str) -> list[Paid | Closed]:
        return [Paid(amount, by), Closed()]


@pytest.fixture
def paid(file: Store) -> Repository[Order]:
    orders = Repository(file, Order, events=[Paid, Closed])
    orders.create("o-1")
    orders.do("o-1", Order.pay, 20, "card \x1b[2J")
    return orders


def test_programs_get_all_that_is_stored(paid: Repository[Order], say: Say) -> None:
    logged = [json.loads(line) for line in say("--json", "log", "--oldest", "--changes").splitlines()]
    assert [(each["op"], each["item"], each["value"]) for each in logged[1:]] == [
        ("event", "Paid", {"amount": 20, "by": "card \x1b[2J", "rstore.version": 2}),
        ("add", "paid", 20),
        ("event", "Closed", {}),
    ]


def test_columns_have_their_fields_as_text(paid: Repository[Order], say: Say) -> None:
    cells = [line.split("\t")[5:8] for line in say("history", "Order/o-1").splitlines()[1:]]
    assert cells == [
        ["Paid", "event", r'amount=20 by="card \u001b[2J"'],
        ["paid", "add", "20"],
        ["Closed", "event", ""],
    ]


def test_events_of_items_do_not_show_them(paid: Repository[Order], say: Say) -> None:
    assert [line.split("\t")[1] for line in say("events", "Order/o-1").splitlines()] == ["paid", "paid"]
