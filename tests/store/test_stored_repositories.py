"""Repositories that were stored before there were domain events stay readable; `tests/fixtures/shop.py` wrote them."""

from __future__ import annotations

import datetime
import operator
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest

from rstore import Repository, Store, transfer
from rstore.admin.check import check
from tests.conftest import Backend
from tests.fixtures import shop
from tests.fixtures.shop import (
    BEGIN,
    BEGIN_MS,
    COUNTED,
    HERE,
    NAMESPACES,
    Address,
    Counter,
    Customer,
    Line,
    Order,
    Status,
    orders_of,
)

HOME, WORK = Address("Hauptplatz 1", "8010"), Address("Ring 2", "1010")
LAMP, BULB, LATE = Line("lamp", Decimal("20.90"), 2), Line("bulb", Decimal("2.50")), Line("late", Decimal("0.10"), 3)
DAY = datetime.timedelta(days=1)

pytestmark = pytest.mark.parametrize("namespace", NAMESPACES)


@contextmanager
def stored(namespace: str, tmp_path: Path) -> Iterator[Store]:
    """Open a copy of the stored file."""
    kind, key = NAMESPACES[namespace]
    with kind(shutil.copy(HERE / "sqlite.db", tmp_path / "copy.db"), namespace, key, frozen=False) as store:
        yield store


def loaded(namespace: str, backend: Backend) -> Store:
    """Load the export into a backend of each kind."""
    kind, key = NAMESPACES[namespace]
    store = backend.store(kind, key=key)
    transfer.load(store, HERE / f"{namespace}.jsonl.gz")
    return store


def test_the_file_is_read(namespace: str, tmp_path: Path) -> None:
    with stored(namespace, tmp_path) as store:
        check_content(store)


def test_the_export_is_read(namespace: str, backend: Backend) -> None:
    check_content(loaded(namespace, backend))


def test_the_file_is_written_on(namespace: str, tmp_path: Path) -> None:
    with stored(namespace, tmp_path) as store:
        paid = orders_of(store).when(once="payment 7").do("1", Order.pay, Decimal("44.30"), card="1234")
        assert (paid.paid, paid.points, paid.address) == (Decimal("44.30"), 3, HOME), "the result of the first call"
        check_further_writes(store)


def test_the_export_is_written_on(namespace: str, backend: Backend) -> None:
    check_further_writes(loaded(namespace, backend))


def check_content(store: Store) -> None:
    """Compare a store with what ``shop.fill`` has written: states, the past, a view, and the decisions in the log."""
    orders, customers, counters = orders_of(store), Repository(store, Customer), Repository(store, Counter)
    now = Order(
        *("Bob", WORK, BEGIN + 31 * DAY, Status.PAID, (LAMP, BULB), {"before": HOME}, [Status.OPEN]),
        *(Decimal("44.30"), Fraction(1, 2), 14 * DAY, 60),
    )
    assert dict(orders.all()) == {"1": now}
    assert orders.past("1", BEGIN_MS) == Order("Bob", HOME, BEGIN + 30 * DAY)
    late = orders.past("1", BEGIN_MS + 1_500)
    assert late is not None
    assert (late.lines, late.points) == ((LAMP, LATE), 5)
    sent = orders.past("2", BEGIN_MS + 8_000)
    assert sent is not None
    assert (sent.customer, sent.status) == ("Eve", Status.SENT)
    assert orders.at(BEGIN_MS + 3_999)["1"].address == HOME
    assert [(tag.name, tag.moment) for tag in store.tags()] == [("before the move", BEGIN_MS + 3_500)]
    since = BEGIN.date()
    assert dict(customers.all()) == {"bob": Customer(name="Bob", place=shop.Place(city="Wien", since=since))}
    assert dict(counters.all()) == {"c": Counter(COUNTED)}

    commits = orders.history("1", by="commit")
    assert [commit.did for commit in commits] == ["create", "add", "add", "pay", "move", "postpone", "praise", "add"]
    first, second, _, paid, moved, *_ = commits
    assert (first.who, first.why, first.more) == ("ada", "by phone", {"ticket": 42})
    assert second.arguments == {"article": "lamp", "price": "20.90", "number": 2}
    assert [(change.op, change.item, change.value) for change in paid.changes] == [
        ("setitem", "paid", "44.30"),
        ("setitem", "status", "paid"),
        ("setitem", "seen", ["open"]),
    ]
    assert (paid.who, paid.arguments) == ("bank", {"amount": "44.30", "card": "(hidden)"})
    assert moved.arguments == {"address": {"street": "Ring 2", "zip": "1010"}}
    assert len({commit.id for commit in commits} - {None}) == len(commits)
    assert orders.history("2")[-1].op == "delete"
    assert list(check(store)) == []


def check_further_writes(store: Store) -> None:
    """Decide on what was stored, and compact it."""
    orders = orders_of(store)
    assert orders.do("1", Order.pay, Decimal("0.10"), card="1").paid == Decimal("44.40")
    assert orders.do("1", Order.move, HOME).others == {"before": WORK}
    assert Repository(store, Counter).do("c", Counter.count) == Counter(COUNTED + 1)
    assert Repository(store, Customer).do("bob", Customer.move, "Oslo").place.city == "Oslo"
    assert orders.create("2", customer="Eve", address=HOME, due=BEGIN).status is Status.OPEN
    store.compact()
    assert orders["1"].paid == Decimal("44.40")
    assert list(check(store)) == []


class Now(Enum):
    NEW = "new"
    PAID = "settled"


@attrs.frozen
class Place:
    street: str
    postcode: str


@attrs.frozen
class Item:
    article: str
    cents: int
    number: int = 1


@attrs.frozen
class Purchase:
    customer: str
    home: Place
    status: Now
    lines: tuple[Item, ...] = ()
    others: dict[str, Place] = attrs.field(factory=dict)
    seen: list[Now] = attrs.field(factory=list)
    points: Decimal = Decimal(0)


def test_classes_of_now_load_it(namespace: str, tmp_path: Path) -> None:
    upcast: dict[Any, Any] = {
        "address": "home",
        "points": str,
        "due": None,
        "paid": None,
        "share": None,
        "patience": None,
        Now: {"open": Now.NEW, "paid": Now.PAID},
        Place: {"zip": "postcode"},
        Item: {"price": lambda price: {"cents": int(Decimal(price) * 100)}},
    }
    with stored(namespace, tmp_path) as store:
        purchases = Repository(store, Purchase, "Order/", upcast=upcast)
        work, home = Place("Ring 2", "1010"), Place("Hauptplatz 1", "8010")
        lines = (Item("lamp", 2090, 2), Item("bulb", 250))
        now = Purchase("Bob", work, Now.PAID, lines, {"before": home}, [Now.NEW], Decimal(60))
        assert purchases["1"] == now
        changed = purchases.do("1", lambda each: {"points": (operator.add, Decimal("0.5")), "lines": lines[:1]})
        assert changed == purchases["1"] == attrs.evolve(now, points=Decimal("60.5"), lines=lines[:1])
        first = purchases.past("1", BEGIN_MS)
        assert first is not None
        assert (first.home, first.status) == (home, Now.NEW)
