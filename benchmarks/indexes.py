"""Indexes of domain models: ``python -m benchmarks.indexes [instances] [sqlite] [postgresql] [redis]``.

It measures how long it takes to find 100 instances among 100,000 by a value, by a range and by a prefix, to count them,
and to build the indexes. Then it measures what an index adds to a decision: one that changes an indexed field, one that
changes another field, and the same one without any index, in turn. Figures are medians, of wall time and of the time of
this process.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen

from rstore import Between, Repository, StartsWith, Store
from tests.support.servers import Postgres, Valkey

FOUND = 100
ROUNDS = 40
DECISIONS = 300
PAGE = 500


@frozen
class Order:
    customer: str
    number: int
    notes: int = 0

    def note(self, n: int) -> Mapping[str, Any]:
        return {"notes": n}

    def move(self, n: int) -> Mapping[str, Any]:
        return {"number": n}


def fill(store: Store, instances: int) -> None:
    orders = Repository(store, Order)
    for start in range(0, instances, PAGE):
        with store.transaction():
            for n in range(start, min(start + PAGE, instances)):
                orders.create(f"o-{n}", customer=f"c-{n * 7919 % (instances // FOUND):06}.", number=n)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    begun = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - begun[0]) * 1000, (time.process_time() - begun[1]) * 1000


def show(name: str, what: str, times: list[tuple[float, float]]) -> None:
    wall, own = (median(each) for each in zip(*times, strict=True))
    print(f"{name:10}  {what:44}  {wall:10,.2f} ms  of which {own:10,.2f} here", flush=True)


def find(name: str, orders: Repository[Order], instances: int) -> None:
    def customer() -> str:
        return f"c-{random.randrange(instances // FOUND):06}."

    def between() -> Between:
        start = random.randrange(instances - FOUND)
        return Between(start, start + FOUND - 1)

    searches: dict[str, Callable[[], int]] = {
        "by a value": lambda: len(list(orders.by(customer=customer()))),
        "by a range": lambda: len(list(orders.by(number=between()))),
        "by a prefix": lambda: len(list(orders.by(customer=StartsWith(customer()[:-1])))),
        "count of a value": lambda: orders.count(customer=customer()),
    }
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in searches}
    for _ in range(ROUNDS):
        for what, search in searches.items():
            times[what].append(timed(search))
            assert search() == FOUND
    for what in searches:
        show(name, f"{FOUND} of {instances:,} {what}", times[what])


def decide(name: str, store: Store) -> None:
    sides = {
        "do without an index": (Repository(store, Order, "plain/"), Order.note),
        "do that changes another field": (
            Repository(store, Order, "indexed/", index=["customer", "number"]),
            Order.note,
        ),
        "do that changes an indexed field": (Repository(store, Order, "moved/", index=["number"]), Order.move),
        "do that changes a unique field": (Repository(store, Order, "unique/", unique=["number"]), Order.move),
    }
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in sides}
    for repository, _ in sides.values():
        repository.create("a", customer="Ada", number=-1)
    for n in range(DECISIONS):
        for what, (repository, decision) in sides.items():
            times[what].append(timed(lambda r=repository, d=decision, n=n: r.do("a", d, n)))  # type: ignore[misc]
    for what in sides:
        show(name, what, times[what])


def measure(name: str, dsn: str, instances: int) -> None:
    with Store(dsn, frozen=False) as store:
        decide(name, store)
        fill(store, instances)
        orders = Repository(store, Order, index=["customer", "number"])
        show(name, f"reindex of two fields of {instances:,}", [timed(orders.reindex)])
        find(name, orders, instances)


def main(words: list[str]) -> None:
    numbers = [int(word) for word in words if word.isdigit()]
    names = [word for word in words if not word.isdigit()] or ["sqlite", "postgresql", "redis"]
    instances = numbers[0] if numbers else 100_000
    if "sqlite" in names:
        with TemporaryDirectory() as folder:
            measure("sqlite", str(Path(folder) / "orders.db"), instances)
    if "postgresql" in names:
        with Postgres.start() as postgres:
            measure("postgresql", postgres.dsn, instances)
    if "redis" in names:
        with Valkey.start() as valkey:
            measure("redis", valkey.dsn, instances)


if __name__ == "__main__":
    main(sys.argv[1:])
