"""The time machine beside the present: ``python -m benchmarks.time_machine [rounds] [sqlite] [postgresql] [redis]``.

It compares reads of the past with those of the present, and writes with a note with those without. The figures are
medians over rounds in turn. Then it measures followers: how fast one catches up, and how long a change takes to reach
one that waits, in a process of its own. It starts servers for this, which have nothing else to do.
"""

from __future__ import annotations

import operator
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.core import Row, each, in_turn, timed
from benchmarks.servers import one_core
from rstore import Store, View
from rstore.core import core_of, reading_of
from tests.support.servers import Postgres, Valkey

CALLS = 200
CHANGES = 100_000
DELIVERIES = 60
VALUES = 20
"""How many values a key has had, and segments a series. Half of them are later than the time of the view."""
LATER = 50_000
"""How many values a key that is written to often has had since that time."""


def fill(store: Store) -> int:
    """Store values, series and events, and return a time. Half of the records are later."""
    then = 0
    for n in range(VALUES):
        store.set_many({f"key {i:03}": [n, i] for i in range(CALLS)})
        for i in range(20):
            store.extend(f"series {i}", ((t, float(n)) for t in range(n * 500, n * 500 + 1000)))
            for _ in range(30):
                store.apply(f"events {i}", {"n": (operator.add, 1) if store.current(f"events {i}") else 0})
        store["often"] = n
        if n == VALUES // 2:
            then = time.time_ns() // 1_000_000
            time.sleep(0.01)
            for _ in range(0, LATER, 1000):
                with store.transaction():
                    for i in range(1000):
                        store["often"] = i
    return then


def past(dsn: str, rounds: int) -> Iterator[Row]:
    """Measure reads of the present, of a view of now, and of a view of a time after which as much again was stored.

    The state cache is empty for each: a cached event state would be no read.
    """
    with Store(dsn, "past", frozen=False) as store:
        halfway, latest = store.at(fill(store)), store.at(2**62)
        keys = [f"key {i:03}" for i in range(CALLS)]
        some = [f"{i % 20}" for i in range(CALLS // 10)]
        first = (store.events("events 0") or [])[0]
        reads: dict[str, Callable[[Store | View], object]] = {
            "get": lambda at: each(at.get, keys),
            "get_many of 200 keys": lambda at: at.get_many(keys),
            f"get with {LATER:,} later values": lambda at: each(at.get, ["often"] * 10),
            "range of 1,000 points": lambda at: each(lambda i: at.range(f"series {i}", 1000, end=1999), some),
            "last of a series": lambda at: each(lambda i: at.last(f"series {i}"), some),
            "current": lambda at: each(lambda i: at.current(f"events {i}"), some),
            "past": lambda at: each(lambda i: at.past(f"events {i}", first.timestamp + 100), some),
            "keys": lambda at: at.keys(),
            "version of an event sequence": lambda at: each(lambda i: at.version(f"events {i}"), some),
        }
        assert (store[keys[0]], halfway[keys[0]]) == ([VALUES - 1, 0], [VALUES // 2, 0])
        for name, read in reads.items():
            present, now, then = in_turn(rounds * 5, *(partial(cold, at, read) for at in (store, latest, halfway)))
            yield Row(f"{name}: at(now)", present * 1e3, now * 1e3, "ms", "at most 1.5")
            yield Row("  at(halfway)", present * 1e3, then * 1e3, "ms", "at most 1.5")


def cold(store: Store | View, read: Callable[[Store | View], object]) -> None:
    """Empty the state cache, then read."""
    reading_of(store).states.clear()
    read(store)


def context(dsn: str, rounds: int) -> Iterator[Row]:
    """Measure a set without and with a note."""
    numbers = count()
    with Store(dsn, "context", frozen=False) as store:
        keys = [f"key {i:03}" for i in range(CALLS)]
        store.set_many(dict.fromkeys(keys, 0))

        def without() -> None:
            each(lambda key: store.set(key, next(numbers)), keys)

        def within() -> None:
            with store.context(who="ada", why="ticket 42"):
                without()

        plain, noted = in_turn(rounds * 5, without, within)
        yield Row("set: with who and why", plain * 1e6 / CALLS, noted * 1e6 / CALLS, "us", "at most 1.1")


def catching_up(dsn: str, rounds: int, aim: str) -> Iterator[Row]:
    """Measure how many changes a second a follower reads, from the log itself and with their values."""
    with Store(dsn, "catch up", frozen=False) as store:
        for i in range(0, CHANGES, 1000):
            store.set_many({f"key {i + j}": i + j for j in range(1000)})
        follow = core_of(store).log.follow
        raw, ours = in_turn(rounds, lambda: sum(1 for _ in follow()), lambda: sum(1 for _ in store.follow()))
        yield Row(f"follow {CHANGES:,} (raw: records only)", CHANGES / raw, CHANGES / ours, "/s", aim)
        seconds = timed(lambda: store.project("count", _count, prefix="key 1"))
        fed = sum(str(i).startswith("1") for i in range(CHANGES))
        yield Row(f"project {fed:,} of them", 0, fed / seconds, "/s", "")


def _count(_: object, store: Store) -> None:
    store["counted"] = store.get("counted", 0) + 1


WRITER = """
import sys, time
from rstore import Store

with Store(sys.argv[1], "delivery", frozen=False) as store:
    for _ in range(int(sys.argv[2])):
        time.sleep(0.1)
        store["written"] = time.time()
"""


def delivery(dsn: str, aim: str) -> Iterator[Row]:
    """Measure how long a change takes from the start of its write to a follower in another process."""
    with Store(dsn, "delivery", frozen=False) as store:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, dsn, str(DELIVERIES)])
        following = store.follow(wait=10)
        taken = [-next(following)[1].value + time.time() for _ in range(DELIVERIES)]  # in this order
        writer.wait()
        latest = [checkpoint for checkpoint, _ in store.follow()][-1]
        began, busy = time.perf_counter(), time.process_time()
        assert not list(store.follow(after=latest, wait=3))
        idle = (time.process_time() - busy) / (time.perf_counter() - began)
    yield Row("delivery: median; slowest", median(taken) * 1e3, max(taken) * 1e3, "ms", aim)
    yield Row("a follower that waits, of one core", 0, idle * 100, "%", "")


def show(rows: Iterator[Row]) -> None:
    for row in rows:
        without = f"{row.raw:.3g} {row.unit}" if row.raw else ""
        ratio = f"{row.ours / row.raw:.2f}" if row.raw else ""
        print(f"{row.name:36}{without:>14}{f'{row.ours:.3g} {row.unit}':>14}{ratio:>8}  {row.aim}", flush=True)


def sqlite(rounds: int) -> None:
    with TemporaryDirectory() as folder:
        dsn = str(Path(folder) / "bench.db")
        show(past(dsn, rounds))
        show(context(dsn, rounds))
        show(context(f"sqlite://{dsn}?durability=normal", rounds))
        show(catching_up(dsn, rounds, "at least 100,000"))
        show(delivery(dsn, "at most 100"))


def on_server(dsn: str, rounds: int) -> None:
    show(past(dsn, rounds))
    show(context(dsn, rounds))
    show(catching_up(dsn, rounds, ""))


def postgresql(rounds: int) -> None:
    with one_core(), Postgres.start() as server:
        on_server(server.dsn, rounds)
    with Postgres.start() as server:
        show(delivery(server.dsn, "at most 20"))


def redis(rounds: int) -> None:
    with one_core(), Valkey.start() as server:
        on_server(server.dsn, rounds)
    with Valkey.start() as server:
        show(delivery(server.dsn, "at most 20"))


PLACES: dict[str, Callable[[int], None]] = {"sqlite": sqlite, "postgresql": postgresql, "redis": redis}


def main() -> None:
    """Print the tables."""
    rounds = next((int(word) for word in sys.argv[1:] if word.isdigit()), 5)
    for name in [word for word in sys.argv[1:] if word in PLACES] or PLACES:
        print(f"{name:36}{'without':>14}{'with':>14}{'ratio':>8}  aim")
        PLACES[name](rounds)


if __name__ == "__main__":
    main()
