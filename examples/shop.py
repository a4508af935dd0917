"""A shop that four processes serve at once: orders, payments, mails, a read model in SQL, and the log of it all.

    python examples/shop.py [DSN]

Without a DSN the shop is in a temporary SQLite file. With one, it uses the namespace 'shop-example' of that store, and
erases it at the end. It needs cattrs: pip install 'rlib-store[models,cli]'
"""

from __future__ import annotations

import operator
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import field, frozen
from attrs.validators import ge

from rstore import Changes, DatabaseTarget, Delivery, Occurrence, Repository, Store

NAMESPACE = "shop-example"
PROCESSES, QUEUE = 4, 12

# -- the domain: it knows nothing of a store ---------------------------------------------------------------------------


@frozen
class Article:
    name: str
    price: Decimal
    stock: int = field(default=0, validator=ge(0))

    def take(self, quantity: int) -> Changes:
        if quantity > self.stock:
            raise SoldOutError(f"there are {self.stock} of {self.name}, not {quantity}")
        return {"stock": (operator.sub, quantity)}

    def put_back(self, quantity: int) -> Changes:
        return {"stock": (operator.add, quantity)}


class SoldOutError(Exception):
    """There is not enough of an article."""


@frozen
class Customer:
    name: str
    orders: int = 0

    def has_ordered(self) -> Changes:
        return {"orders": (operator.add, 1)}


class Status(Enum):
    OPEN = "open"
    SHIPPED = "shipped"
    REFUNDED = "refunded"  # the earlier program had no such state


@frozen
class Address:
    street: str
    postcode: str  # it was called zip
    city: str


@frozen
class Line:
    article: str
    quantity: int
    price: Decimal


@frozen
class Paid:
    amount: Decimal
    how: str

    def changes(self, _: Order) -> Changes:
        return {"paid": (operator.add, self.amount)}


@frozen
class Shipped:
    parcel: str

    def changes(self, _: Order) -> Changes:
        return {"parcels": (operator.add, (self.parcel,)), "status": Status.SHIPPED}


@frozen
class Refunded:
    amount: Decimal
    reason: str

    def changes(self, _: Order) -> Changes:
        return {"paid": (operator.sub, self.amount), "status": Status.REFUNDED}


@frozen
class Order:
    customer: str  # it was called client
    address: Address
    lines: tuple[Line, ...] = ()
    paid: Decimal = Decimal(0)
    status: Status = Status.OPEN
    parcels: tuple[str, ...] = ()

    @property
    def total(self) -> Decimal:
        return sum((line.quantity * line.price for line in self.lines), Decimal(0))

    @property
    def is_paid(self) -> bool:
        """Whether all is paid. It is no field: payments may become known in any order."""
        return self.paid >= self.total

    def add(self, line: Line) -> Changes:
        return {"lines": (operator.add, (line,))}

    def move(self, street: str) -> Changes:
        return {"address.street": street}

    def pay(self, amount: Decimal, how: str) -> Paid:
        return Paid(amount, how)

    def ship(self, parcel: str) -> Shipped:
        if not self.is_paid:
            raise ValueError(f"{self.total - self.paid} are not paid yet")
        return Shipped(parcel)

    def refund(self, reason: str) -> Refunded:
        return Refunded(self.paid, reason)


# -- the service: the classes that are stored, and the names that they had before --------------------------------------


class Shop:
    """The repositories of the shop, and the decisions that concern several of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.articles = Repository(store, Article)
        self.customers = Repository(store, Customer)
        self.orders = Repository(
            store,
            Order,
            events=[Paid, Shipped, Refunded],
            upcast={"client": "customer", Address: {"zip": "postcode"}},
            index=["customer", "status"],
        )

    def place(self, number: str, customer: str, address: Address, quantities: dict[str, int]) -> None:
        """Take an order, all or nothing. If its number comes twice, as from a second click, it is taken once."""

        def work(_: Store) -> None:
            self.orders.create(number, customer=customer, address=address)
            for name, quantity in quantities.items():
                article = self.articles.do(name, Article.take, quantity)
                self.orders.do(number, Order.add, Line(name, quantity, article.price))
            self.customers.do(customer, Customer.has_ordered)

        self.store.transact(work, attempts=100, once=number)

    def refund(self, number: str, reason: str) -> None:
        """Give the money back, and put the articles back on the shelf."""
        with self.store.transaction():
            order = self.orders.do(number, Order.refund, reason)
            for line in order.lines:
                self.articles.do(line.article, Article.put_back, line.quantity)

    def prices(self) -> dict[str, Decimal]:
        """Return the prices of all articles. They are looked up once in a minute."""
        found: dict[str, Decimal] | None = self.store.get("prices")
        if found is None:
            found = {key: article.price for key, article in self.articles.all()}
            self.store.set("prices", found, ttl=60)
        return found


class Gateway:
    """Sends mails. It is down at first, and knows a mail that it was given before by its token."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.is_down = True

    def send(self, token: str, text: str) -> None:
        if self.is_down:
            self.is_down = False
            raise ConnectionError("the gateway is down")
        self.sent[token] = text


def main() -> None:
    with TemporaryDirectory() as folder:
        dsn = sys.argv[1] if len(sys.argv) > 1 else str(Path(folder, "shop.db"))
        with Store(dsn, namespace=NAMESPACE, frozen=False) as store:
            shop = Shop(store)
            last_year(shop)
            rush_hour(shop, dsn)
            an_order(shop, "o-00")
            look_up(shop)
            with closing(sqlite3.connect(Path(folder, "cash.db"))) as database:
                count_cash(shop, database)
            send_mails(shop, Gateway())
            show_log(dsn, "Order/o-00")
            store.discard()


def last_year(shop: Shop) -> None:
    """Store an order as an earlier program did, with other names and fewer states, and read it as one of today."""
    address = {"street": "Ring 1", "zip": "8010", "city": "Graz"}
    old = {"client": "ada", "address": address, "paid": "28.90", "status": "shipped"}
    with shop.store.context(who="shop 1.0"):
        shop.store.apply("Order/2025-1", old, t=datetime(2025, 12, 1, tzinfo=UTC))
    shop.orders.reindex()  # the earlier program kept no index
    order = shop.orders["2025-1"]
    print(f"Last year: {order.customer}, {order.address.postcode} {order.address.city}, {order.status.value}")


def rush_hour(shop: Shop, dsn: str) -> None:
    """Let each process take all orders of one queue. An order that another process has taken is not taken again."""
    shop.articles.create("mug", name="Mug", price=Decimal("10.45"), stock=20)
    for name in ("ada", "bob", "eve"):
        shop.customers.create(name, name=name.title())
    with get_context("spawn").Pool(PROCESSES) as pool:
        pool.map(partial(serve, dsn), range(PROCESSES))
    print(f"{PROCESSES} processes took {len(shop.orders) - 1} orders of {QUEUE}: then the mugs were sold out")
    print("Mugs in stock:", shop.articles["mug"].stock)
    print("Orders of each:", {key: customer.orders for key, customer in shop.customers.all()})


def serve(dsn: str, process: int) -> None:
    """Try to take each order of the queue. Those for which no mugs are left are refused."""
    with Store(dsn, namespace=NAMESPACE, frozen=False) as store, store.context(who=f"till {process + 1}"):
        shop = Shop(store)
        for n in range(QUEUE):
            customer, address = ("ada", "bob", "eve")[n % 3], Address("Ring 1", "8010", "Graz")
            with suppress(SoldOutError):
                shop.place(f"o-{n:02}", customer, address, {"mug": 2})


def an_order(shop: Shop, number: str) -> None:
    """Payments come in parts, one of them becomes known late, and a refund follows. The sum is right at each time."""
    orders, store = shop.orders, shop.store
    yesterday = orders.history(number)[-1].recorded  # not as long ago, in this example
    time.sleep(0.01)
    with store.context(who="ada", why="moved"):
        orders.do(number, Order.move, "Allee 7")
    with store.context(who="card terminal"):
        orders.do(number, Order.pay, Decimal("5.00"), "card")
    with store.context(who="bank", why="statement of yesterday"):
        orders.when(t=yesterday + 1).do(number, Order.pay, Decimal("15.90"), "transfer")
    then = orders.past(number, yesterday + 1)
    print("Paid by then, as we know now:", then and then.paid, "and today:", orders[number].paid)
    with store.context(who="eve"):
        orders.do(number, Order.ship, "PX-17")
        shop.refund(number, "broken")
    print("What happened:", *orders.events(number), sep="\n  ")
    print("Mugs in stock:", shop.articles["mug"].stock)


def look_up(shop: Shop) -> None:
    """Find orders by an index, which is stored with each change of an order; and read a list of prices from a cache."""
    counts = {status.value: shop.orders.count(status=status) for status in Status}
    print("Orders by status:", counts, "and of ada:", [key for key, _ in shop.orders.by(customer="ada")])
    shop.prices()
    with shop.store.context(who="assistant"):
        shop.articles.do("mug", lambda _: {"price": Decimal("11.00")})
    print("Price of a mug, as it was cached:", shop.prices()["mug"], "and in truth:", shop.articles["mug"].price)


def count_cash(shop: Shop, database: sqlite3.Connection) -> None:
    """Keep a read model in a table of another database. Its checkpoint is there too, so each event counts once."""
    database.execute("CREATE TABLE cash (what TEXT, amount INTEGER)")

    def pay(occurrence: Occurrence[Order], cursor: sqlite3.Cursor) -> None:
        cursor.execute("INSERT INTO cash VALUES ('in', ?)", [int(occurrence.event.amount * 100)])

    def refund(occurrence: Occurrence[Order], cursor: sqlite3.Cursor) -> None:
        cursor.execute("INSERT INTO cash VALUES ('out', ?)", [int(occurrence.event.amount * 100)])

    for _ in range(2):  # the second time there is nothing new
        shop.orders.project("cash", {Paid: pay, Refunded: refund}, into=DatabaseTarget(database))
    print(
        "Cash, in cents:", database.execute("SELECT what, sum(amount) FROM cash GROUP BY what ORDER BY what").fetchall()
    )


def send_mails(shop: Shop, gateway: Gateway) -> None:
    """Tell customers what was shipped. A mail that fails is tried again, and a gateway that fails loses none."""

    def send(delivery: Delivery) -> None:
        if delivery.commit.did == "ship":
            gateway.send(delivery.token, f"{delivery.key} is on its way: {(delivery.commit.arguments or {})['parcel']}")

    shop.store.deliver("mails", send, prefix="Order/", backoff=0.1, wait=1)
    print("Mails:", *gateway.sent.values(), "and behind:", sum(each.records for each in shop.store.deliveries()))


def show_log(dsn: str, key: str) -> None:
    """Run `rstore log`. At a terminal it shows an entry for each commit, the newest first."""
    sys.stdout.flush()
    command = [sys.executable, "-m", "rstore", "log", "--dsn", dsn, "--namespace", NAMESPACE, "--prefix", key]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
